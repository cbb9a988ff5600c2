//! Answers against what a real Consul said about the same catalog.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::Contents;
use crate::model::{CHECK_CRITICAL, CHECK_PASSING, Check, ServiceInstance};

fn node(n: u8) -> CatalogNode {
    CatalogNode {
        node: format!("consul-{n}"),
        address: format!("172.16.66.10{}", n + 1),
        meta: BTreeMap::from([("consul-network-segment".into(), String::new())]),
        ..CatalogNode::default()
    }
}

fn service(n: u8, name: &str, address: &str, port: u16, tags: &[&str]) -> ServiceInstance {
    ServiceInstance {
        node: format!("consul-{n}"),
        id: format!("{name}-{n}"),
        service: name.into(),
        address: address.into(),
        port,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..ServiceInstance::default()
    }
}

fn check(n: u8, name: &str, status: &str) -> Check {
    Check {
        node: format!("consul-{n}"),
        check_id: format!("{name}-{n}"),
        service_id: format!("{name}-{n}"),
        status: status.into(),
        ..Check::default()
    }
}

/// Three nodes as in the walk-through.
fn view() -> View {
    View::new(Contents {
        datacenter: "dc1".into(),
        nodes: vec![node(1), node(2), node(3)],
        services: vec![
            service(2, "httpbackend", "172.16.66.103", 26258, &["v1", "Blue"]),
            service(3, "httpbackend", "172.16.66.104", 24093, &["v2"]),
            service(1, "Half-Dead", "", 80, &[]),
            service(2, "Half-Dead", "", 80, &[]),
            service(1, "dead", "", 80, &[]),
            service(1, "consul", "", 8300, &[]),
            service(1, "six", "2001:db8::1", 81, &[]),
            service(1, "elsewhere", "db.example.com", 5432, &[]),
        ],
        checks: vec![
            check(2, "httpbackend", CHECK_PASSING),
            check(3, "httpbackend", CHECK_PASSING),
            check(1, "Half-Dead", CHECK_CRITICAL),
            check(2, "Half-Dead", CHECK_PASSING),
            check(1, "dead", "warning"),
        ],
        ..Contents::default()
    })
}

fn ttl(seconds: u32) -> DnsConfig {
    DnsConfig {
        service_ttl: BTreeMap::from([("*".to_owned(), seconds)]),
        ..DnsConfig::default()
    }
}

fn ask(name: &str, asked: RecordType) -> Answer {
    ask_with(DnsConfig::default(), name, asked)
}

fn ask_with(config: DnsConfig, name: &str, asked: RecordType) -> Answer {
    let zone = Zone {
        domain: "consul".into(),
        config,
    };
    let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
    let now = Time::from_secs(1_795_525_975);
    // Draws that leave the order as it is.
    answer(&zone, &view(), &labels, asked, now, &mut |below| below - 1)
}

fn show(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| {
        let owner = match &record.owner {
            Owner::Question => "?",
            Owner::Name(name) => name,
        };
        let data = match &record.data {
            Data::A(ip) => format!("A {ip}"),
            Data::Aaaa(ip) => format!("AAAA {ip}"),
            Data::Cname(name) => format!("CNAME {name}"),
            Data::Ns(name) => format!("NS {name}"),
            Data::Ptr(name) => format!("PTR {name}"),
            Data::Srv { port, target } => format!("SRV {port} {target}"),
            Data::Txt(text) => format!("TXT {text}"),
            Data::Soa {
                primary,
                mailbox,
                serial,
                times: _,
            } => format!("SOA {primary} {mailbox} {serial}"),
        };
        format!("{owner} {data}")
    };
    records.iter().map(text).collect()
}

const SOA: &str = "consul. SOA ns.consul. hostmaster.consul. 1795525975";

#[test]
fn srv_answers_carry_the_addresses_and_the_nodes_metadata() {
    for name in [
        "httpbackend.service.dc1.consul",
        "HTTPBackend.Service.CONSUL",
        "_httpbackend._tcp.service.consul",
        "_httpbackend._tcp.consul",
        "_httpbackend._tcp.dc1.consul",
        "_httpbackend._tcp.service.dc1.consul",
    ] {
        let answer = ask(name, RecordType::Srv);
        assert_eq!(
            show(&answer.answers),
            [
                "? SRV 26258 ac104267.addr.dc1.consul.",
                "? SRV 24093 ac104268.addr.dc1.consul.",
            ],
            "{name}"
        );
        assert_eq!(
            show(&answer.additionals),
            [
                "ac104267.addr.dc1.consul. A 172.16.66.103",
                "consul-2.node.dc1.consul. TXT consul-network-segment=",
                "ac104268.addr.dc1.consul. A 172.16.66.104",
                "consul-3.node.dc1.consul. TXT consul-network-segment=",
            ]
        );
        assert_eq!((answer.code, answer.authorities.len()), (Code::NoError, 0));
    }
}

#[test]
fn names_are_answered_as_consul_does() {
    use RecordType::{A, Aaaa, Any, Ns, Soa, Srv, Txt};
    let segment = "? TXT consul-network-segment=";
    let cases: &[(&str, RecordType, &[&str])] = &[
        (
            "httpbackend.service.consul",
            A,
            &["? A 172.16.66.103", "? A 172.16.66.104"],
        ),
        (
            "httpbackend.service.consul",
            Any,
            &["? A 172.16.66.103", "? A 172.16.66.104"],
        ),
        ("v1.httpbackend.service.consul", A, &["? A 172.16.66.103"]),
        ("blue.httpbackend.service.consul", A, &["? A 172.16.66.103"]),
        (
            "_httpbackend._v2.service.consul",
            Srv,
            &["? SRV 24093 ac104268.addr.dc1.consul."],
        ),
        ("half-dead.service.consul", A, &["? A 172.16.66.103"]),
        (
            "half-dead.service.consul",
            Srv,
            &["? SRV 80 consul-2.node.dc1.consul."],
        ),
        ("six.service.consul", Aaaa, &["? AAAA 2001:db8::1"]),
        (
            "six.service.consul",
            Srv,
            &["? SRV 81 20010db8000000000000000000000001.addr.dc1.consul."],
        ),
        ("elsewhere.service.consul", A, &["? CNAME db.example.com."]),
        (
            "elsewhere.service.consul",
            Srv,
            &["? SRV 5432 db.example.com."],
        ),
        ("consul-1.node.consul", Any, &["? A 172.16.66.102", segment]),
        ("consul-1.node.dc1.consul", A, &["? A 172.16.66.102"]),
        ("consul-1.node.consul", Txt, &[segment]),
        ("7f000001.addr.dc1.consul", A, &["? A 127.0.0.1"]),
        (
            "20010db8000000000000000000000001.addr.consul",
            Aaaa,
            &["? AAAA 2001:db8::1"],
        ),
        ("consul", Ns, &["? NS consul-1.node.dc1.consul."]),
        (
            "consul",
            Soa,
            &["? SOA ns.consul. hostmaster.consul. 1795525975"],
        ),
    ];
    for (name, asked, expected) in cases {
        let answer = ask(name, *asked);
        assert_eq!(show(&answer.answers), *expected, "{name} {asked:?}");
        assert_eq!(answer.code, Code::NoError, "{name}");
        assert!(answer.authorities.is_empty(), "{name}");
    }
}

#[test]
fn a_name_that_is_unknown_differs_from_one_without_such_a_record() {
    use RecordType::{A, Aaaa, Other, Srv};
    for (name, asked, code) in [
        ("nosuch.service.consul", Srv, Code::NoSuchName),
        ("dead.service.consul", A, Code::NoSuchName),
        ("v9.httpbackend.service.consul", A, Code::NoSuchName),
        ("httpbackend.service.dc2.consul", A, Code::NoSuchName),
        ("nosuch.node.consul", A, Code::NoSuchName),
        ("7f0001.addr.consul", A, Code::NoSuchName),
        ("+f000001.addr.consul", A, Code::NoSuchName),
        ("x.consul", A, Code::NoSuchName),
        ("httpbackend.service.consul", Aaaa, Code::NoError),
        ("httpbackend.service.consul", Other, Code::NoError),
        ("consul-1.node.consul", Srv, Code::NoError),
        ("7f000001.addr.consul", Aaaa, Code::NoError),
        ("service.consul", A, Code::NoError),
        ("service.dc1.consul", A, Code::NoError),
        ("dc1.consul", A, Code::NoError),
        ("_tcp.service.consul", A, Code::NoError),
        ("consul", A, Code::NoError),
    ] {
        let answer = ask(name, asked);
        assert_eq!(answer.code, code, "{name}");
        assert_eq!(show(&answer.authorities), [SOA], "{name}");
        assert!(
            answer.answers.is_empty() && answer.additionals.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn names_outside_the_domain_are_refused() {
    for name in ["example.com", "consul.example", "", "xconsul"] {
        let answer = ask(name, RecordType::A);
        assert_eq!(
            answer,
            Answer {
                code: Code::Refused,
                ..Answer::default()
            },
            "{name}"
        );
    }
}

#[test]
fn what_warns_is_named_if_that_is_wanted() {
    let name = "dead.service.consul";
    assert_eq!(ask(name, RecordType::A).code, Code::NoSuchName);
    let config = DnsConfig {
        only_passing: false,
        ..DnsConfig::default()
    };
    let answer = ask_with(config.clone(), name, RecordType::A);
    assert_eq!(show(&answer.answers), ["? A 172.16.66.102"]);
    let answer = ask_with(config, "half-dead.service.consul", RecordType::A);
    assert_eq!(
        show(&answer.answers),
        ["? A 172.16.66.103"],
        "not what fails"
    );
}

#[test]
fn only_so_many_addresses_are_named() {
    let config = DnsConfig {
        a_record_limit: 1,
        ..DnsConfig::default()
    };
    for asked in [RecordType::A, RecordType::Any] {
        let answer = ask_with(config.clone(), "httpbackend.service.consul", asked);
        assert_eq!(show(&answer.answers), ["? A 172.16.66.103"]);
    }
    let answer = ask_with(config, "httpbackend.service.consul", RecordType::Srv);
    assert_eq!(answer.answers.len(), 2, "ports aren't addresses");
}

#[test]
fn records_live_as_long_as_is_said() {
    let soa = SoaConfig {
        refresh: 1,
        retry: 2,
        expire: 3,
        min_ttl: 4,
    };
    let config = DnsConfig {
        node_ttl: 5,
        soa: soa.clone(),
        ..ttl(6)
    };
    let ask = |name, asked| ask_with(config.clone(), name, asked);
    let ttls = |records: &[Record]| records.iter().map(|one| one.ttl).collect::<Vec<_>>();
    let node = ask("consul-2.node.consul", RecordType::A);
    assert_eq!(
        (ttls(&node.answers), ttls(&node.additionals)),
        (vec![5], vec![5])
    );
    let address = ask("7f000001.addr.consul", RecordType::A);
    assert_eq!(ttls(&address.answers), [5]);
    let service = ask("six.service.consul", RecordType::Srv);
    assert_eq!(
        (ttls(&service.answers), ttls(&service.additionals)),
        (vec![6], vec![6, 5])
    );
    let nothing = ask("nothing.service.consul", RecordType::A);
    assert_eq!(ttls(&nothing.authorities), [4]);
    let Data::Soa { times, .. } = &nothing.authorities[0].data else {
        panic!("an SOA is there: {nothing:?}");
    };
    assert_eq!(*times, soa);
}

#[test]
fn metadata_comes_along_only_if_that_is_wanted() {
    let config = DnsConfig {
        node_meta_txt: false,
        ..DnsConfig::default()
    };
    let ask = |name, asked| ask_with(config.clone(), name, asked);
    assert_eq!(ask("consul-2.node.consul", RecordType::A).additionals, []);
    let ports = ask("httpbackend.service.consul", RecordType::Srv);
    assert_eq!(ports.additionals.len(), 2, "addresses only");
    let asked_for = ask("consul-2.node.consul", RecordType::Txt);
    assert_eq!(show(&asked_for.answers), ["? TXT consul-network-segment="]);
}

#[test]
fn the_order_is_drawn() {
    let zone = Zone {
        domain: "consul".into(),
        config: ttl(7),
    };
    let labels = ["httpbackend", "service", "consul"].map(str::to_owned);
    let view = view();
    let first = |draw: u64| {
        let mut below = |_| draw;
        let answer = answer(
            &zone,
            &view,
            &labels,
            RecordType::A,
            Time::NEVER,
            &mut below,
        );
        assert!(answer.answers.iter().all(|record| record.ttl == 7));
        show(&answer.answers)[0].clone()
    };
    assert_eq!(first(0), "? A 172.16.66.104");
    assert_eq!(first(1), "? A 172.16.66.103");
}

#[test]
fn an_address_tells_who_is_there() {
    let names = |labels: &str, asked| {
        let labels: Vec<String> = labels.split('.').map(str::to_owned).collect();
        let zone = Zone {
            domain: "consul".into(),
            config: DnsConfig::default(),
        };
        let found = answer(&zone, &view(), &labels, asked, Time(0), &mut |_| 0);
        let names = found.answers.into_iter().map(|record| match record.data {
            Data::Ptr(name) => name,
            other => panic!("{other:?}"),
        });
        (found.code, names.collect::<Vec<_>>())
    };
    let node = "consul-2.node.dc1.consul.".to_owned();
    let service = "httpbackend.service.consul.".to_owned();
    assert_eq!(
        names("103.66.16.172.in-addr.arpa", RecordType::Ptr),
        (Code::NoError, vec![node, service])
    );
    let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    assert_eq!(
        names(six, RecordType::Any),
        (Code::NoError, vec!["six.service.consul.".to_owned()])
    );
    assert_eq!(
        names("103.66.16.172.in-addr.arpa", RecordType::A),
        (Code::NoError, vec![])
    );
    for unknown in [
        "9.9.9.9.in-addr.arpa",
        "16.172.in-addr.arpa",
        "in-addr.arpa",
    ] {
        assert_eq!(
            names(unknown, RecordType::Ptr),
            (Code::Refused, vec![]),
            "{unknown}"
        );
    }
}
