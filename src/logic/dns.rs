//! Answers DNS questions from the catalog, without a byte of the wire format.
//!
//! Names in the zone, with `.DC` optional before the domain:
//! `[TAG.]SERVICE.service`, `_SERVICE._tcp[.service]`, `_SERVICE._TAG[.service]`, `NODE.node`,
//! `HEX.addr`. Services are answered with instances that pass all their checks, unless the
//! configuration wants those that warn too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::catalog::{Instance, View};
use crate::config::{DnsConfig, SoaConfig};
use crate::model::{CHECK_CRITICAL, CHECK_PASSING, CatalogNode};
use crate::time::Time;

#[cfg(test)]
mod tests;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    A,
    Aaaa,
    Srv,
    Txt,
    Soa,
    Ns,
    Ptr,
    Any,
    /// A type that no name here has.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ns(String),
    Ptr(String),
    Srv {
        port: u16,
        target: String,
    },
    Txt(String),
    Soa {
        primary: String,
        mailbox: String,
        serial: u32,
        times: SoaConfig,
    },
}

/// A record's owner: what was asked for, letter case included, or another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Question,
    Name(String),
}

/// Names are in lower case, end in a dot and may be too long for DNS if a node's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub owner: Owner,
    pub ttl: u32,
    pub data: Data,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    #[default]
    NoError,
    NoSuchName,
    /// The name isn't in this zone.
    Refused,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub code: Code,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

/// What the zone is called and how long its answers may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Without dots at its ends.
    pub domain: String,
    pub config: DnsConfig,
}

/// Answers one question. `labels` are the name's, outermost last. `below(n)` draws a number
/// smaller than `n`, so that clients don't all use the same instance.
pub fn answer(
    zone: &Zone,
    view: &View,
    labels: &[String],
    asked: RecordType,
    now: Time,
    below: &mut dyn FnMut(u64) -> u64,
) -> Answer {
    let labels: Vec<String> = labels.iter().map(|label| label.to_lowercase()).collect();
    let domain: Vec<String> = zone.domain.split('.').map(str::to_lowercase).collect();
    let inside = labels.strip_suffix(domain.as_slice());
    let address = reversed(&labels);
    let mut answering = Answering {
        zone,
        view,
        asked,
        below,
        now,
        answer: Answer::default(),
    };
    answering.answer.code = match (inside, address) {
        (Some(inside), _) => answering.find(inside),
        (None, Some(address)) => answering.names_of(address),
        (None, None) => Code::Refused,
    };
    let soa = answering.soa();
    let mut answer = answering.answer;
    if answer.code == Code::Refused {
        return Answer {
            code: Code::Refused,
            ..Answer::default()
        };
    }
    if answer.answers.is_empty() {
        answer.additionals.clear();
        answer.authorities = vec![soa];
    }
    answer
}

/// One question on its way to its answer.
struct Answering<'a> {
    zone: &'a Zone,
    view: &'a View,
    asked: RecordType,
    below: &'a mut dyn FnMut(u64) -> u64,
    now: Time,
    answer: Answer,
}

impl<'a> Answering<'a> {
    /// Answers for a name, without the zone's domain.
    fn find(&mut self, name: &[String]) -> Code {
        let Some(name) = self.without_datacenter(name) else {
            return Code::NoSuchName;
        };
        let parts: Vec<&str> = name.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => self.apex(),
            // Resolvers that ask label by label must not be told that nothing is below these.
            ["service" | "node" | "addr"] => Code::NoError,
            [parts @ .., "node"] => self.node(&parts.join(".")),
            [hex, "addr"] => self.address(hex),
            [service] | [service, "service"] if service.starts_with('_') => Code::NoError,
            [service, tag] | [service, tag, "service"]
                if service.starts_with('_') && tag.starts_with('_') =>
            {
                let tag = Some(&tag[1..]).filter(|tag| *tag != "tcp");
                self.service(&service[1..], tag)
            }
            [service, "service"] => self.service(service, None),
            [tag @ .., service, "service"] => self.service(service, Some(&tag.join("."))),
            _ => Code::NoSuchName,
        }
    }

    /// Takes our datacenter off a name's end; none if the name is in another one.
    fn without_datacenter<'n>(&self, name: &'n [String]) -> Option<&'n [String]> {
        let ends_in_a_kind = |name: &[String]| {
            name.last().is_none_or(|last| {
                matches!(last.as_str(), "service" | "node" | "addr") || last.starts_with('_')
            })
        };
        if ends_in_a_kind(name) {
            return Some(name);
        }
        let (last, rest) = name.split_last()?;
        let ours = last.eq_ignore_ascii_case(&self.view.datacenter);
        (ours && ends_in_a_kind(rest)).then_some(rest)
    }

    /// The zone itself: its SOA and the servers that answer for it.
    fn apex(&mut self) -> Code {
        if self.wants(RecordType::Soa) {
            let soa = self.soa();
            self.answer.answers.push(Record {
                owner: Owner::Question,
                ..soa
            });
        }
        if self.wants(RecordType::Ns) {
            let mut seen = BTreeSet::new();
            for server in self.view.instances("consul") {
                if server.passing() && seen.insert(&server.node.node) {
                    let name = self.node_name(&server.node);
                    let ttl = self.zone.config.node_ttl;
                    self.push(Owner::Question, ttl, Data::Ns(name.clone()));
                    self.add_address(Owner::Name(name), ttl, &server.node.address);
                }
            }
        }
        Code::NoError
    }

    /// What is at an address: nodes, and services with an address of their own. Others may know
    /// more.
    fn names_of(&mut self, address: IpAddr) -> Code {
        let is_it = |text: &str| text.parse() == Ok(address);
        let view = self.view;
        let mut names = BTreeSet::new();
        for node in view.nodes.values().filter(|node| is_it(&node.address)) {
            names.insert(self.node_name(node));
        }
        for (name, instances) in &view.services {
            let passing = instances.iter().filter(|instance| instance.passing());
            if passing
                .into_iter()
                .any(|found| is_it(&found.service.address))
            {
                let domain = &self.zone.domain;
                names.insert(format!("{name}.service.{domain}.").to_lowercase());
            }
        }
        if names.is_empty() {
            return Code::Refused;
        }
        if self.wants(RecordType::Ptr) {
            for name in names {
                self.push(Owner::Question, 0, Data::Ptr(name));
            }
        }
        Code::NoError
    }

    fn node(&mut self, name: &str) -> Code {
        let nodes = &self.view.nodes;
        let found = nodes.get(name).or_else(|| {
            nodes
                .values()
                .find(|node| node.node.eq_ignore_ascii_case(name))
        });
        let Some(node) = found else {
            return Code::NoSuchName;
        };
        let ttl = self.zone.config.node_ttl;
        self.push_address(&node.address, ttl);
        let texts = texts(node);
        if self.wants(RecordType::Txt) {
            for text in texts {
                self.push(Owner::Question, ttl, Data::Txt(text));
            }
        } else {
            self.add_texts(&Owner::Question, texts);
        }
        Code::NoError
    }

    /// `7f000001.addr`: the address that the name spells.
    fn address(&mut self, hex: &str) -> Code {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Code::NoSuchName;
        }
        let address = match hex.len() {
            8 => u32::from_str_radix(hex, 16).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
            32 => u128::from_str_radix(hex, 16).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
            _ => return Code::NoSuchName,
        };
        let Ok(address) = address else {
            return Code::NoSuchName;
        };
        self.push_address(&address.to_string(), self.zone.config.node_ttl);
        Code::NoError
    }

    fn service(&mut self, name: &str, tag: Option<&str>) -> Code {
        let services = &self.view.services;
        let instances = services
            .get(name)
            .or_else(|| {
                let mut all = services.iter();
                all.find_map(|(key, all)| key.eq_ignore_ascii_case(name).then_some(all))
            })
            .map_or(&[][..], Vec::as_slice);
        let tagged = |instance: &&Instance| {
            let mut tags = instance.service.tags.iter();
            tag.is_none_or(|wanted| tags.any(|tag| tag.eq_ignore_ascii_case(wanted)))
        };
        let well = |instance: &&Instance| match instance.status() {
            CHECK_PASSING => true,
            CHECK_CRITICAL => false,
            _ => !self.zone.config.only_passing,
        };
        let mut found: Vec<&'a Instance> = instances.iter().filter(well).filter(tagged).collect();
        let Some(first) = found.first() else {
            return Code::NoSuchName;
        };
        let ttl = self.zone.config.ttl_of(&first.service.service);
        self.shuffle(&mut found);
        if self.asked == RecordType::Srv {
            self.service_ports(&found, ttl);
        } else {
            let limit = match self.zone.config.a_record_limit {
                0 => usize::MAX,
                limit => limit,
            };
            for instance in found {
                self.push_address(instance.address(), ttl);
                if self.answer.answers.len() >= limit {
                    break;
                }
            }
        }
        Code::NoError
    }

    fn service_ports(&mut self, instances: &[&Instance], ttl: u32) {
        for instance in instances {
            let target = self.target(instance);
            let port = instance.service.port;
            let answered = Data::Srv {
                port,
                target: target.clone(),
            };
            self.push(Owner::Question, ttl, answered);
            self.add_address(Owner::Name(target), ttl, instance.address());
            let node = Owner::Name(self.node_name(&instance.node));
            self.add_texts(&node, texts(&instance.node));
        }
    }

    /// The host name that an instance's SRV record points to.
    fn target(&self, instance: &Instance) -> String {
        let own = &instance.service.address;
        let (datacenter, domain) = (&self.view.datacenter, &self.zone.domain);
        match own.parse() {
            Ok(IpAddr::V4(ip)) => format!("{:08x}.addr.{datacenter}.{domain}.", ip.to_bits()),
            Ok(IpAddr::V6(ip)) => format!("{:032x}.addr.{datacenter}.{domain}.", ip.to_bits()),
            Err(_) if own.is_empty() => self.node_name(&instance.node),
            Err(_) => absolute(own),
        }
    }

    fn node_name(&self, node: &CatalogNode) -> String {
        let (datacenter, domain) = (&self.view.datacenter, &self.zone.domain);
        format!("{}.node.{datacenter}.{domain}.", node.node).to_lowercase()
    }

    fn wants(&self, kind: RecordType) -> bool {
        self.asked == kind || self.asked == RecordType::Any
    }

    /// Answers with an address, if one of its kind is asked for; once if it is there already.
    fn push_address(&mut self, address: &str, ttl: u32) {
        let data = address_data(address);
        let wanted = match &data {
            Data::A(_) => self.wants(RecordType::A),
            Data::Aaaa(_) => self.wants(RecordType::Aaaa),
            // A name stands for addresses of either kind.
            _ => self.wants(RecordType::A) || self.wants(RecordType::Aaaa),
        };
        if wanted {
            self.push(Owner::Question, ttl, data);
        }
    }

    fn push(&mut self, owner: Owner, ttl: u32, data: Data) {
        let record = Record { owner, ttl, data };
        if !self.answer.answers.contains(&record) {
            self.answer.answers.push(record);
        }
    }

    fn add(&mut self, record: Record) {
        if !self.answer.additionals.contains(&record) {
            self.answer.additionals.push(record);
        }
    }

    fn add_address(&mut self, owner: Owner, ttl: u32, address: &str) {
        let data = address_data(address);
        if !matches!(data, Data::Cname(_)) {
            self.add(Record { owner, ttl, data });
        }
    }

    fn add_texts(&mut self, owner: &Owner, texts: Vec<String>) {
        if !self.zone.config.node_meta_txt {
            return;
        }
        for text in texts {
            self.add(Record {
                owner: owner.clone(),
                ttl: self.zone.config.node_ttl,
                data: Data::Txt(text),
            });
        }
    }

    fn soa(&self) -> Record {
        let domain = &self.zone.domain;
        Record {
            owner: Owner::Name(format!("{domain}.")),
            ttl: self.zone.config.soa.min_ttl,
            data: Data::Soa {
                primary: format!("ns.{domain}."),
                mailbox: format!("hostmaster.{domain}."),
                // As in Consul, the time of asking; it wraps around as zone serials do.
                serial: u32::try_from(self.now.secs().rem_euclid(1 << 32)).unwrap_or(0),
                times: self.zone.config.soa.clone(),
            },
        }
    }

    fn shuffle(&mut self, instances: &mut [&'a Instance]) {
        for last in (1..instances.len()).rev() {
            let other = (self.below)(last as u64 + 1);
            instances.swap(last, usize::try_from(other).unwrap_or(last).min(last));
        }
    }
}

fn address_data(address: &str) -> Data {
    match address.parse() {
        Ok(IpAddr::V4(ip)) => Data::A(ip),
        Ok(IpAddr::V6(ip)) => Data::Aaaa(ip),
        Err(_) => Data::Cname(absolute(address)),
    }
}

/// The address that `d.c.b.a.in-addr.arpa` and its like stand for.
fn reversed(labels: &[String]) -> Option<IpAddr> {
    let (top, rest) = labels.split_last()?;
    let (kind, digits) = rest.split_last()?;
    if top != "arpa" {
        return None;
    }
    match (kind.as_str(), digits.len()) {
        ("in-addr", 4) => {
            let octets: Vec<_> = digits.iter().map(String::as_str).rev().collect();
            octets.join(".").parse().ok()
        }
        ("ip6", 32) => {
            let nibbles: String = digits.iter().map(String::as_str).rev().collect();
            let bits = u128::from_str_radix(&nibbles, 16);
            bits.ok().map(|bits| Ipv6Addr::from_bits(bits).into())
        }
        _ => None,
    }
}

fn absolute(host: &str) -> String {
    format!("{}.", host.trim_end_matches('.').to_lowercase())
}

/// A node's metadata as its TXT records.
fn texts(node: &CatalogNode) -> Vec<String> {
    node.meta
        .iter()
        .map(|(key, value)| {
            if key.starts_with("rfc1035-") {
                value.clone()
            } else {
                format!("{key}={value}")
            }
        })
        .collect()
}
