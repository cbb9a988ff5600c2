//! fabio's route commands: `route add`, `route del`, `route weight`, a line each.

use super::Protocol;
use super::instance::{self, Upstream};
use super::tag::RouteTag;
use super::target::Target;

/// A line that is no command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    pub line: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Add {
        host: String,
        path: String,
        target: Box<Target>,
    },
    Delete {
        service: Option<String>,
        source: Option<(String, String)>,
        destination: Option<String>,
        tags: Vec<String>,
    },
    Weigh {
        service: Option<String>,
        source: (String, String),
        weight: f64,
        tags: Vec<String>,
    },
}

/// A command and the number of its line.
pub(super) type Numbered = (usize, Command);

/// Reads all lines; those that mean nothing don't keep others from being obeyed.
pub(super) fn read_all(text: &str, datacenter: &str) -> (Vec<Numbered>, Vec<BadLine>) {
    let (mut commands, mut bad) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let (number, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        match read(line, datacenter) {
            Ok(command) => commands.push((number, command)),
            Err(reason) => bad.push(BadLine {
                number,
                line: line.to_owned(),
                reason,
            }),
        }
    }
    (commands, bad)
}

fn read(line: &str, datacenter: &str) -> Result<Command, String> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["route", "add", rest @ ..] => read_add(rest, datacenter),
        ["route", "del", rest @ ..] => read_delete(rest, datacenter),
        ["route", "weight", rest @ ..] => read_weigh(rest, datacenter),
        _ => Err("write route add, route del or route weight".to_owned()),
    }
}

fn read_add(words: &[&str], datacenter: &str) -> Result<Command, String> {
    let [service, source, destination, rest @ ..] = words else {
        return Err(
            "write route add SERVICE SOURCE DESTINATION [weight W] [tags \"A,B\"] [opts \"K=V\"]"
                .to_owned(),
        );
    };
    let mut options = "";
    let (mut weight, mut tags) = (None, Vec::new());
    for pair in rest.chunks(2) {
        match *pair {
            ["weight", value] => weight = Some(read_weight(value)?),
            ["tags", value] => tags = split_tags(value),
            ["opts", value] => options = value,
            [name, ..] => return Err(unknown(name, "weight W, tags \"A,B\" or opts \"K=V\"")),
            [] => {}
        }
    }
    let mut route = RouteTag::parse(&format!("{source} {options}"), datacenter)?;
    if weight.is_some() {
        route.weight = weight.filter(|weight| *weight > 0.0);
    }
    let upstream = read_destination(destination, &mut route)?;
    let target = instance::target(service, &upstream, &route, tags);
    Ok(Command::Add {
        host: route.host,
        path: route.path,
        target: Box::new(target),
    })
}

/// `http://10.0.0.1:8080/`; a route that redirects may lead anywhere.
fn read_destination(text: &str, route: &mut RouteTag) -> Result<Upstream, String> {
    if route.redirect.is_none()
        && let Some(status) = route.redirect_status
    {
        route.redirect = Some((status, text.to_owned()));
    }
    if route.redirect.is_some() {
        return Ok(Upstream::default());
    }
    let wrong = || format!("\"{text}\" is no destination; write http://ADDRESS:PORT/");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let protocol = Protocol::parse(scheme)?;
    // SNI routes say http.
    if (protocol, route.protocol) != (Protocol::Http, Protocol::TcpSni) {
        route.protocol = protocol;
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let usual = match protocol {
        Protocol::Http => Some(80),
        Protocol::Https => Some(443),
        Protocol::Tcp | Protocol::TcpSni | Protocol::Grpc | Protocol::Grpcs => None,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, usual),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let valid = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic());
    match port {
        Some(port) if port > 0 && valid => Ok(Upstream {
            host: host.to_owned(),
            port,
        }),
        _ => Err(wrong()),
    }
}

fn read_delete(words: &[&str], datacenter: &str) -> Result<Command, String> {
    let delete = |service: Option<&str>, source, destination: Option<&str>, tags| {
        Ok(Command::Delete {
            service: service.map(str::to_owned),
            source,
            destination: destination.map(str::to_owned),
            tags,
        })
    };
    match *words {
        ["tags", tags] => delete(None, None, None, split_tags(tags)),
        [service, "tags", tags] => delete(Some(service), None, None, split_tags(tags)),
        [service] => delete(Some(service), None, None, Vec::new()),
        [service, source] => {
            let source = read_source(source, datacenter)?;
            delete(Some(service), Some(source), None, Vec::new())
        }
        [service, source, destination] => {
            let source = read_source(source, datacenter)?;
            delete(Some(service), Some(source), Some(destination), Vec::new())
        }
        _ => Err(
            "write route del SERVICE [SOURCE [DESTINATION]] or route del [SERVICE] \
             tags \"A,B\""
                .to_owned(),
        ),
    }
}

fn read_weigh(words: &[&str], datacenter: &str) -> Result<Command, String> {
    let (service, source, weight, tags) = match *words {
        [service, source, "weight", weight, "tags", tags] => (Some(service), source, weight, tags),
        [service, source, "weight", weight] => (Some(service), source, weight, ""),
        [source, "weight", weight, "tags", tags] => (None, source, weight, tags),
        _ => {
            return Err(
                "write route weight [SERVICE] SOURCE weight W [tags \"A,B\"]; without tags, \
                 with the service"
                    .to_owned(),
            );
        }
    };
    Ok(Command::Weigh {
        service: service.map(str::to_owned),
        source: read_source(source, datacenter)?,
        weight: read_weight(weight)?,
        tags: split_tags(tags),
    })
}

fn read_source(text: &str, datacenter: &str) -> Result<(String, String), String> {
    let route = RouteTag::parse(text, datacenter)?;
    Ok((route.host, route.path))
}

fn read_weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight: &f64| weight.is_finite());
    weight.ok_or_else(|| format!("\"{text}\" is not a weight"))
}

fn split_tags(text: &str) -> Vec<String> {
    let tags = text.split(',').map(str::trim);
    tags.filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unknown(name: &str, known: &str) -> String {
    format!("\"{name}\" is unknown or has no value; write {known}")
}

/// Words between spaces, or between quotes with `\"` and `\\` in them.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = rest.next() else {
            return Ok(words);
        };
        let mut word = String::new();
        if first == '"' {
            loop {
                match rest.next() {
                    Some('"') => break,
                    Some('\\') => word.extend(rest.next()),
                    Some(c) => word.push(c),
                    None => return Err("a quote isn't closed".to_owned()),
                }
            }
        } else {
            word.push(first);
            while let Some(c) = rest.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
}
