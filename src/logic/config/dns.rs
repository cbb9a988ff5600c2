//! How DNS answers, in the terms of Consul's `dns_config`.

use std::collections::BTreeMap;

use crate::duration::SECOND;

/// What stands for any service, or at a name's end for any that goes on.
const ANY: char = '*';

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Seconds, of records about nodes.
    pub node_ttl: u32,
    /// Seconds, by the names of services; one may end in `*`.
    pub service_ttl: BTreeMap<String, u32>,
    /// Only what passes all its checks is named; otherwise what doesn't fail one.
    pub only_passing: bool,
    /// Nodes' metadata comes along with other records.
    pub node_meta_txt: bool,
    /// How many addresses are named at most; 0: all.
    pub a_record_limit: usize,
    /// How many answers a resolver gets at most that doesn't say how much it takes; 0: all.
    pub udp_answer_limit: usize,
    /// Such a resolver is told that there are more.
    pub enable_truncate: bool,
    pub disable_compression: bool,
    pub soa: SoaConfig,
    /// How long a recursor may take, in nanoseconds.
    pub recursor_timeout: i64,
}

/// Seconds for those that keep copies of the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoaConfig {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    /// How long it may be kept that a name doesn't exist.
    pub min_ttl: u32,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            node_ttl: 0,
            service_ttl: BTreeMap::new(),
            only_passing: true,
            node_meta_txt: true,
            a_record_limit: 0,
            udp_answer_limit: 0,
            enable_truncate: false,
            disable_compression: false,
            soa: SoaConfig::default(),
            recursor_timeout: 2 * SECOND,
        }
    }
}

impl Default for SoaConfig {
    fn default() -> Self {
        Self {
            refresh: 3_600,
            retry: 600,
            expire: 86_400,
            min_ttl: 0,
        }
    }
}

impl DnsConfig {
    /// The seconds that answers about a service may be kept: of its own name, or else of the
    /// longest one with a star that fits.
    pub fn ttl_of(&self, service: &str) -> u32 {
        let service = service.to_lowercase();
        let mut best: Option<(usize, u32)> = None;
        for (name, ttl) in &self.service_ttl {
            let name = name.to_lowercase();
            let fit = match name.strip_suffix(ANY) {
                None if name == service => usize::MAX,
                Some(beginning) if service.starts_with(beginning) => beginning.len(),
                None | Some(_) => continue,
            };
            if best.is_none_or(|(before, _)| fit > before) {
                best = Some((fit, *ttl));
            }
        }
        best.map_or(0, |(_, ttl)| ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_fits_best_tells_how_long() {
        let ttls = [("*", 1), ("db", 2), ("web*", 3), ("web-A*", 4)];
        let config = DnsConfig {
            service_ttl: ttls.map(|(name, ttl)| (name.to_owned(), ttl)).into(),
            ..DnsConfig::default()
        };
        for (service, ttl) in [
            ("db", 2),
            ("DB", 2),
            ("db2", 1),
            ("web", 3),
            ("web-a1", 4),
            ("web-b1", 3),
        ] {
            assert_eq!(config.ttl_of(service), ttl, "{service}");
        }
        assert_eq!(DnsConfig::default().ttl_of("db"), 0);
    }
}
