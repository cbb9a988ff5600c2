//! `HOST:PORT`, as it is written where IPv6 addresses have brackets.

use std::fmt::Display;

pub fn join(host: &str, port: impl Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The host of `HOST:PORT`.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_joined_and_parted() {
        for (host, written) in [
            ("10.0.0.1", "10.0.0.1:80"),
            ("web.example.com", "web.example.com:80"),
            ("fd00::1", "[fd00::1]:80"),
        ] {
            assert_eq!(join(host, 80), written);
            assert_eq!(host_of(written), host);
        }
    }
}
