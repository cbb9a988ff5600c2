//! The edge as a program of its own, told what to be in fabio's words: flags, then variables of
//! the environment, then a file of properties.

pub mod options;
pub mod properties;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use self::options::{KNOWN, Kind, Known};
use self::values::Values;
use crate::config::EdgeConfig;
use crate::routes::{Health, Rules};
use crate::validate::closest;

/// What the program is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Fabio {
    pub edge: EdgeConfig,
    pub registry: Registry,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// How long connections may take to end when it is told to.
    pub shutdown_wait: Duration,
}

/// Where routes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Registry {
    Consul(Box<ConsulRegistry>),
    Static {
        routes: String,
        no_route_page: String,
    },
    /// Files that are read again when they change.
    File {
        path: String,
        no_route_path: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConsulRegistry {
    /// `HOST:PORT`.
    pub address: String,
    pub tls: Option<RegistryTls>,
    pub token: String,
    /// Keys without a slash in front.
    pub kv_path: String,
    pub no_route_path: String,
    pub health: Health,
    /// How soon it is asked again after the first failure.
    pub retry: Duration,
    pub registration: Option<Registration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryTls {
    pub verified: bool,
    /// Files or folders of authorities; empty: the machine's.
    pub authorities: Vec<String>,
}

/// How the program registers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub name: String,
    /// Unset: the machine's own address.
    pub address: Option<IpAddr>,
    pub port: u16,
    pub tags: Vec<String>,
    pub check_interval: Duration,
    pub check_timeout: Duration,
}

impl Fabio {
    /// How the routing table is made.
    pub fn rules(&self) -> Rules {
        let mut rules = self.edge.rules();
        if let Registry::Consul(consul) = &self.registry {
            rules.health = consul.health.clone();
        }
        rules
    }
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    pub version: bool,
    pub help: bool,
    /// The file or URL of `-cfg`.
    pub file: Option<String>,
    pub flags: BTreeMap<String, String>,
}

/// Reads the arguments after the program's name, as Go programs do.
pub fn typed(arguments: &[String]) -> Result<Typed, String> {
    let mut typed = Typed::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let body = argument.strip_prefix("--");
        let Some(body) = body.or_else(|| argument.strip_prefix('-')) else {
            return Err(format!("\"{argument}\" is no option: options begin with -"));
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let wants = || format!("-{name} wants a value: write -{name}=VALUE");
        match name {
            "v" | "version" => typed.version = true,
            "h" | "help" => typed.help = true,
            "cfg" => {
                let path = value.or_else(|| rest.next().cloned()).ok_or_else(wants)?;
                let path = path.trim_matches(['\'', '"']);
                if path.is_empty() {
                    return Err(wants());
                }
                typed.file = Some(path.to_owned());
            }
            _ => {
                let known = options::find(name).ok_or_else(|| unknown(name))?;
                let value = match value {
                    Some(value) => value,
                    None if known.kind == Kind::Switch => "true".to_owned(),
                    None => rest.next().cloned().ok_or_else(wants)?,
                };
                typed.flags.insert(name.to_owned(), value);
            }
        }
    }
    Ok(typed)
}

fn unknown(name: &str) -> String {
    let guess = closest(name, KNOWN.iter().map(|known| known.name));
    let guess = guess.map_or_else(String::new, |name| format!("; did you mean -{name}?"));
    format!("-{name} is unknown{guess}")
}

/// What is meant, and warnings: an option a line.
pub fn configured(
    typed: &Typed,
    env: &BTreeMap<String, String>,
    file: Option<&str>,
) -> Result<(Fabio, Vec<String>), String> {
    let properties = file.map(|text| properties::parse(text, env)).transpose()?;
    let properties = properties.unwrap_or_default();
    let mut warnings = Vec::new();
    for name in properties.keys() {
        if options::find(name).is_none() {
            warnings.push(format!("{}, in the file", unknown(name)));
        }
    }
    let upper = |(name, value): (&String, &String)| (name.to_uppercase(), value.clone());
    let env = env.iter().map(upper).collect();
    let mut values = Values::default();
    for known in KNOWN {
        if let Some(value) = given(known, typed, &env, &properties) {
            values.set(known, value, &mut warnings)?;
        }
    }
    let fabio = values.fabio(&mut warnings)?;
    Ok((fabio, warnings))
}

fn given<'v>(
    known: &Known,
    typed: &'v Typed,
    env: &'v BTreeMap<String, String>,
    properties: &'v BTreeMap<String, String>,
) -> Option<&'v String> {
    let plain = known.name.replace('.', "_").to_uppercase();
    typed
        .flags
        .get(known.name)
        .or_else(|| env.get(&format!("FABIO_{plain}")))
        .or_else(|| env.get(&plain))
        .or_else(|| properties.get(known.name))
}
