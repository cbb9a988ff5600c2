//! Reads a route tag: `urlprefix-HOST[:PORT]/PATH[ OPTIONS]` or `urlprefix-:PORT OPTIONS`.

use super::Protocol;
use super::access::Access;

/// A tag, read. What its host is asked as is up to the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RouteTag {
    /// Lower case; with its port if the tag has one; empty for any host.
    pub(super) host: String,
    /// Starts with `/`; empty for a `:PORT` route.
    pub(super) path: String,
    pub(super) protocol: Protocol,
    pub(super) weight: Option<f64>,
    /// Status and URL.
    pub(super) redirect: Option<(u16, String)>,
    pub(super) strip: String,
    pub(super) prepend: String,
    /// What the upstream's `Host` header is set to; `dst`: the upstream's own address.
    pub(super) host_header: String,
    pub(super) tls_skip_verify: bool,
    /// Set by a `redirect=STATUS` whose URL is told elsewhere.
    pub(super) redirect_status: Option<u16>,
    pub(super) access: Option<Access>,
    /// Whether the upstream is told by a PROXY header who connects.
    pub(super) proxy_protocol: bool,
    /// A service that the edge registers itself as.
    pub(super) registers: String,
    /// Whom the certificate of a gRPC upstream must be for.
    pub(super) server_name: String,
    /// Options as `/api/routes` shows them: those that the destination doesn't tell already.
    pub(super) shown: Vec<String>,
}

impl RouteTag {
    /// `tag` is what follows the prefix. An error is a sentence about what is wrong with it.
    pub(super) fn parse(tag: &str, datacenter: &str) -> Result<Self, String> {
        let mut words = tag.split_whitespace();
        let source = words
            .next()
            .ok_or_else(|| "names no host and no path; write HOST/PATH".to_owned())?;
        let mut route = Self::default();
        route.read_source(source, datacenter)?;
        for option in words {
            route.read_option(option)?;
        }
        Ok(route)
    }

    /// The same, of what a service says for itself: a route that redirects has to say where to.
    pub(super) fn of_service(tag: &str, datacenter: &str) -> Result<Self, String> {
        let route = Self::parse(tag, datacenter)?;
        if route.redirect.is_none() && route.redirect_status.is_some() {
            return Err("redirect: write redirect=STATUS,URL".to_owned());
        }
        Ok(route)
    }

    fn read_source(&mut self, source: &str, datacenter: &str) -> Result<(), String> {
        if let Some(port) = source.strip_prefix(':') {
            if port.parse::<u16>().is_ok_and(|port| port > 0) {
                source.clone_into(&mut self.host);
                return Ok(());
            }
            return Err(format!("\"{source}\" is not a port"));
        }
        if let Some((scheme, rest)) = source.split_once("://") {
            return Err(format!("leave out \"{scheme}://\"; write {rest}"));
        }
        let Some(slash) = source.find('/') else {
            return Err(format!("\"{source}\" has no path; write {source}/"));
        };
        let host = expand(&source[..slash], datacenter)?.to_lowercase();
        if let Some(bad) = host.chars().find(|c| !c.is_ascii_graphic() || *c == '"') {
            return Err(format!("{bad:?} can't be in a host name"));
        }
        self.host = host;
        source[slash..].clone_into(&mut self.path);
        Ok(())
    }

    fn read_option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "proto" => {
                self.protocol = Protocol::parse(value)?;
                if self.protocol == Protocol::TcpSni {
                    self.shown.push(option.to_owned());
                }
                return Ok(());
            }
            "weight" => {
                let weight = value.parse().ok().filter(|weight: &f64| weight.is_finite());
                let weight = weight.ok_or_else(|| format!("\"{value}\" is not a weight"))?;
                self.weight = (weight > 0.0).then_some(weight);
                return Ok(());
            }
            "redirect" => {
                let (status, url) = read_redirect(value)?;
                self.redirect = url.map(|url| (status, url.to_owned()));
                self.redirect_status = Some(status);
                self.shown.push(format!("redirect={status}"));
                return Ok(());
            }
            "strip" => value.clone_into(&mut self.strip),
            "prepend" => value.clone_into(&mut self.prepend),
            "host" => value.clone_into(&mut self.host_header),
            "tlsskipverify" => self.tls_skip_verify = read_switch(option, value)?,
            "pxyproto" => self.proxy_protocol = read_switch(option, value)?,
            "allow" | "deny" => {
                let access = Access::parse(name, value)?;
                if self.access.replace(access).is_some() {
                    return Err("a route has one of allow and deny, once".to_owned());
                }
            }
            "auth" => {
                return Err("auth isn't supported: the route would be open to everyone".to_owned());
            }
            "register" => value.clone_into(&mut self.registers),
            "grpcservername" => value.clone_into(&mut self.server_name),
            // What changes nothing here is shown and otherwise ignored.
            _ => {}
        }
        if matches!(name, "strip" | "prepend") && !value.starts_with('/') {
            return Err(format!("{name}={value}: a path starts with \"/\""));
        }
        self.shown.push(option.to_owned());
        Ok(())
    }
}

fn read_switch(option: &str, value: &str) -> Result<bool, String> {
    let name = option.split('=').next().unwrap_or(option);
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{option}: write {name}=true or leave it out")),
    }
}

/// Whether a service's tag may say `redirect=VALUE`.
pub fn redirects(value: &str) -> bool {
    read_redirect(value).is_ok_and(|(_, url)| url.is_some())
}

/// In a tag `STATUS,URL`; in a command the URL is the destination.
fn read_redirect(value: &str) -> Result<(u16, Option<&str>), String> {
    let wrong = || format!("redirect={value}: write redirect=STATUS,URL with a 3xx status");
    let (status, url) = match value.split_once(',') {
        Some((status, url)) => (status, Some(url)),
        None => (value, None),
    };
    match status.parse() {
        Ok(status @ 300..=399) if url != Some("") => Ok((status, url)),
        _ => Err(wrong()),
    }
}

/// Replaces `$DC` and `${DC}`.
fn expand(host: &str, datacenter: &str) -> Result<String, String> {
    let expanded = host.replace("${DC}", datacenter).replace("$DC", datacenter);
    if expanded.contains('$') {
        return Err(format!("\"{host}\": only ${{DC}} can be filled in"));
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: &str) -> Result<RouteTag, String> {
        RouteTag::parse(tag, "dc1")
    }

    #[test]
    fn a_tag_is_a_host_and_a_path() {
        for (tag, host, path) in [
            ("mysite.com:9999/", "mysite.com:9999", "/"),
            ("MySite.com/Some/Path", "mysite.com", "/Some/Path"),
            ("/", "", "/"),
            (":9997 proto=tcp", ":9997", ""),
            ("*.example.com/ proto=https", "*.example.com", "/"),
            ("web.${DC}.example.com/", "web.dc1.example.com", "/"),
        ] {
            let route = read(tag).expect(tag);
            assert_eq!((route.host.as_str(), route.path.as_str()), (host, path));
        }
    }

    #[test]
    fn a_tag_that_means_nothing_is_refused_with_a_hint() {
        for (tag, reason) in [
            ("", "names no host and no path; write HOST/PATH"),
            (
                "mysite.com",
                "\"mysite.com\" has no path; write mysite.com/",
            ),
            (":http", "\":http\" is not a port"),
            (
                "http://mysite.com/",
                "leave out \"http://\"; write mysite.com/",
            ),
            ("a/ weight=lots", "\"lots\" is not a weight"),
            (
                "a/ proto=htps",
                "proto=htps is unknown; write http, https, tcp, tcp+sni, grpc or grpcs",
            ),
            (
                "a/ redirect=200,https://b/",
                "redirect=200,https://b/: write redirect=STATUS,URL with a 3xx status",
            ),
            (
                "a/ tlsskipverify=yes",
                "tlsskipverify=yes: write tlsskipverify=true or leave it out",
            ),
            (
                "a/ allow=10.0.0.0/8",
                "allow=10.0.0.0/8: \"10.0.0.0/8\" is none of ip:ADDRESS and ip:ADDRESS/BITS",
            ),
            (
                "a/ allow=ip:10.0.0.0/8 deny=ip:10.0.0.1",
                "a route has one of allow and deny, once",
            ),
            (
                "a/ auth=mine",
                "auth isn't supported: the route would be open to everyone",
            ),
            (
                ":1 proto=tcp pxyproto=on",
                "pxyproto=on: write pxyproto=true or leave it out",
            ),
            ("a/ strip=b", "strip=b: a path starts with \"/\""),
            ("$HOST/", "\"$HOST\": only ${DC} can be filled in"),
        ] {
            assert_eq!(read(tag), Err(reason.to_owned()), "{tag}");
        }
    }

    #[test]
    fn options_the_destination_tells_are_not_shown() {
        let shown = |tag| read(tag).expect(tag).shown.join(" ");
        assert_eq!(
            shown("a/ proto=https tlsskipverify=true"),
            "tlsskipverify=true"
        );
        assert_eq!(shown("a/ proto=tcp+sni"), "proto=tcp+sni");
        assert_eq!(shown("a/ redirect=301,https://b$path"), "redirect=301");
        assert_eq!(shown("a/ weight=0.5 strip=/x"), "strip=/x");
    }
}
