//! Where an agent is to be greeted: `host[:port]`, as people write it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ports::Network;

const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, self.port).fmt(formatter),
            Err(_) => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

impl Target {
    /// Reads `host`, `host:port`, or the same with an IPv6 address, which needs brackets to have
    /// a port.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.trim();
        let whole = |host: &str, port| Self {
            host: host.to_owned(),
            port,
        };
        let wrong = || format!("{text:?} isn't an address of the form host or host:port");
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(whole(&ip.to_string(), default_port));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                (host, port.parse::<u16>().map_err(|_| wrong())?)
            }
            Some(_) | None => (text, default_port),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(bare) = bare {
            let ip = bare.parse::<IpAddr>().map_err(|_| wrong())?;
            return Ok(whole(&ip.to_string(), port));
        }
        let named = !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']);
        if named && port != 0 {
            Ok(whole(host, port))
        } else {
            Err(wrong())
        }
    }
}

/// Everything a target's name stands for.
pub(super) async fn resolve(
    network: &dyn Network,
    target: &Target,
) -> Result<Vec<SocketAddr>, String> {
    let asked = network.resolve(target.host.clone());
    let found = tokio::time::timeout(RESOLVE_WITHIN, asked)
        .await
        .map_err(|_| format!("lookup {} timed out", target.host))?
        .map_err(|error| error.to_string())?;
    let with_port = |ip| SocketAddr::new(ip, target.port);
    Ok(found.into_iter().map(with_port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, read) in [
            ("10.0.0.1", "10.0.0.1:4648"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("server-1", "server-1:4648"),
            (" server-1.example.com:5000 ", "server-1.example.com:5000"),
            ("::1", "[::1]:4648"),
            ("[::1]", "[::1]:4648"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            let target = Target::parse(text, 4648).expect(text);
            assert_eq!(target.to_string(), read);
        }
        for text in ["", ":4648", "a:b", "a:70000", "a:0", "http://a:1", "[a]:1", "a b"] {
            Target::parse(text, 4648).expect_err(text);
        }
    }
}
