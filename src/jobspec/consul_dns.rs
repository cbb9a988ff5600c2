//! The `dns_config` of Consul's configuration files.

use logic::config::{DnsConfig, SoaConfig};
use logic::duration::SECOND;

use crate::fields::{Fields, Wrong};

pub(crate) fn read(fields: &Fields, into: &mut DnsConfig) -> Result<(), Wrong> {
    if let Some(seconds) = seconds(fields, "node_ttl")? {
        into.node_ttl = seconds;
    }
    for (service, nanos) in fields.periods("service_ttl")? {
        into.service_ttl.insert(service, in_seconds(nanos));
    }
    for (name, setting) in [
        ("only_passing", &mut into.only_passing),
        ("node_meta_txt", &mut into.node_meta_txt),
        ("enable_truncate", &mut into.enable_truncate),
        ("disable_compression", &mut into.disable_compression),
    ] {
        if fields.has(name) {
            *setting = fields.flag(name)?;
        }
    }
    for (name, setting) in [
        ("a_record_limit", &mut into.a_record_limit),
        ("udp_answer_limit", &mut into.udp_answer_limit),
    ] {
        if let Some(limit) = fields.number(name)? {
            *setting = usize::try_from(limit).unwrap_or(usize::MAX);
        }
    }
    if let Some(nanos) = fields.nanos("recursor_timeout")? {
        if nanos == 0 {
            return Err("dns_config.recursor_timeout must be more than 0".to_owned());
        }
        into.recursor_timeout = nanos;
    }
    if let Some(soa) = fields.object("soa")? {
        read_soa(&soa, &mut into.soa)?;
    }
    accepted(fields)
}

/// The same in seconds, as it travels.
fn seconds(fields: &Fields, name: &str) -> Result<Option<u32>, Wrong> {
    Ok(fields.nanos(name)?.map(in_seconds))
}

pub(crate) fn in_seconds(nanos: i64) -> u32 {
    u32::try_from(nanos / SECOND).unwrap_or(u32::MAX)
}

fn read_soa(fields: &Fields, into: &mut SoaConfig) -> Result<(), Wrong> {
    for (name, setting) in [
        ("refresh", &mut into.refresh),
        ("retry", &mut into.retry),
        ("expire", &mut into.expire),
        ("min_ttl", &mut into.min_ttl),
    ] {
        if let Some(seconds) = fields.number(name)? {
            let seconds = u32::try_from(seconds).ok();
            // Resolvers read the others as signed numbers.
            let fits = seconds.filter(|seconds| i32::try_from(*seconds).is_ok());
            *setting = fits.ok_or_else(|| format!("dns_config.soa.{name} is too large"))?;
        }
    }
    Ok(())
}

/// What needs no setting here must make sense all the same.
fn accepted(fields: &Fields) -> Result<(), Wrong> {
    for name in ["allow_stale", "use_cache"] {
        fields.flag(name)?;
    }
    for name in ["max_stale", "cache_max_age"] {
        fields.nanos(name)?;
    }
    Ok(())
}
