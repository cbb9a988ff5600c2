//! Parts of a job that have parts themselves: services and checks, resources and networks.

use std::collections::BTreeMap;

use super::compare::{self, Flat, flat, kind_of, pairs, part, set, side, sort, strings};
use super::{Kind, ObjectDiff, fields};
use crate::model::{Network, Resources, Service, ServiceCheck, Value};

/// All values of a part, and the parts of it; nothing if both sides are equal.
fn whole<T: PartialEq>(
    name: &str,
    old: Option<&T>,
    new: Option<&T>,
    values: impl Fn(&T) -> Flat,
    objects: impl FnOnce() -> Vec<ObjectDiff>,
) -> Option<ObjectDiff> {
    let kind = kind_of(old, new);
    (kind != Kind::Same).then(|| ObjectDiff {
        r#type: kind,
        name: name.to_owned(),
        fields: compare::fields(&flat(old, &values), &flat(new, &values), true),
        objects: objects(),
    })
}

pub(super) fn config(
    old: Option<&BTreeMap<String, Value>>,
    new: Option<&BTreeMap<String, Value>>,
) -> Option<ObjectDiff> {
    let old = old.filter(|config| !config.is_empty());
    let new = new.filter(|config| !config.is_empty());
    whole("Config", old, new, fields::config, Vec::new)
}

pub(super) fn resources(old: Option<&Resources>, new: Option<&Resources>) -> Option<ObjectDiff> {
    let asks = |resources: Option<&Resources>| {
        let networks = resources.map(|resources| &resources.networks);
        networks.cloned().unwrap_or_default()
    };
    whole("Resources", old, new, fields::resources, || {
        networks(&asks(old), &asks(new))
    })
}

/// Networks have no names: one that differs in anything is another one.
pub(super) fn networks(old: &[Network], new: &[Network]) -> Vec<ObjectDiff> {
    let only = |these: &[Network], others: &[Network]| -> Vec<Network> {
        let only = these.iter().filter(|network| !others.contains(network));
        only.cloned().collect()
    };
    let gone = only(old, new);
    let come = only(new, old);
    let gone = gone.iter().filter_map(|asked| network(Some(asked), None));
    let come = come.iter().filter_map(|asked| network(None, Some(asked)));
    let mut objects: Vec<_> = gone.chain(come).collect();
    sort(&mut objects);
    objects
}

fn network(old: Option<&Network>, new: Option<&Network>) -> Option<ObjectDiff> {
    whole("Network", old, new, fields::network, || {
        let reserved = |network| side(network, |network: &Network| &network.reserved_ports);
        let dynamic = |network| side(network, |network: &Network| &network.dynamic_ports);
        let mut ports = set(
            "Static Port",
            reserved(old),
            reserved(new),
            fields::static_port,
        );
        ports.extend(set(
            "Dynamic Port",
            dynamic(old),
            dynamic(new),
            fields::dynamic_port,
        ));
        ports
    })
}

pub(super) fn services(old: &[Service], new: &[Service]) -> Vec<ObjectDiff> {
    let mut objects: Vec<_> = pairs(old, new, |service| &service.name)
        .filter_map(|(old, new)| service(old, new))
        .collect();
    sort(&mut objects);
    objects
}

fn service(old: Option<&Service>, new: Option<&Service>) -> Option<ObjectDiff> {
    whole("Service", old, new, fields::service, || {
        let canary = |service| side(service, |service: &Service| &service.canary_tags);
        let tags = |service| side(service, |service: &Service| &service.tags);
        let checks = |service| side(service, |service: &Service| &service.checks);
        let mut objects = Vec::from_iter(strings("CanaryTags", canary(old), canary(new)));
        objects.extend(strings("Tags", tags(old), tags(new)));
        let mut compared: Vec<_> = pairs(checks(old), checks(new), |check| &check.name)
            .filter_map(|(old, new)| check(old, new))
            .collect();
        sort(&mut compared);
        objects.extend(compared);
        objects
    })
}

fn check(old: Option<&ServiceCheck>, new: Option<&ServiceCheck>) -> Option<ObjectDiff> {
    whole("Check", old, new, fields::check, || {
        let header = |check: &ServiceCheck| {
            let header = Some(&check.header).filter(|header| !header.is_empty());
            header.map(fields::header)
        };
        let restart =
            |check: &ServiceCheck| check.check_restart.as_ref().map(fields::check_restart);
        let header = part("Header", old, new, header);
        header
            .into_iter()
            .chain(part("CheckRestart", old, new, restart))
            .collect()
    })
}
