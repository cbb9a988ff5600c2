//! The table against fabio's own outputs, and what must hold for any catalog.

mod overrides;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::catalog::Contents;
use crate::model::{CHECK_CRITICAL, CHECK_PASSING, CatalogNode, Check, ServiceInstance};

const PREFIX: &str = "urlprefix-";

/// An instance for a test: service, address, port, tags, status of its check (none: no check).
type Row<'a> = (&'a str, &'a str, u16, &'a [&'a str], Option<&'a str>);

fn view(rows: &[Row]) -> View {
    let mut contents = Contents {
        datacenter: "dc1".into(),
        nodes: vec![CatalogNode {
            node: "n1".into(),
            address: "10.0.0.1".into(),
            ..CatalogNode::default()
        }],
        ..Contents::default()
    };
    for (n, (service, address, port, tags, status)) in rows.iter().enumerate() {
        let id = format!("{service}-{n}");
        contents.services.push(ServiceInstance {
            node: "n1".into(),
            id: id.clone(),
            service: (*service).to_owned(),
            address: (*address).to_owned(),
            port: *port,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..ServiceInstance::default()
        });
        if let Some(status) = status {
            contents.checks.push(Check {
                node: "n1".into(),
                check_id: format!("check-{id}"),
                service_id: id,
                status: (*status).to_owned(),
                ..Check::default()
            });
        }
    }
    View::new(contents)
}

fn table(rows: &[Row]) -> Table {
    Table::new(&view(rows), PREFIX)
}

/// A table with one passing instance for each tag; the n-th is at port n + 1.
fn tagged(tags: &[&str]) -> Table {
    let tags: Vec<[&str; 1]> = tags.iter().map(|tag| [*tag]).collect();
    let rows: Vec<Row> = tags
        .iter()
        .zip(1..)
        .map(|(tag, port)| ("web", "10.0.0.9", port, &tag[..], Some(CHECK_PASSING)))
        .collect();
    table(&rows)
}

fn found(table: &Table, host: &str, path: &str) -> Option<String> {
    let route = table.find(host, path)?;
    Some(format!("{}{}", route.host, route.path))
}

fn seed() -> Vec<Row<'static>> {
    type Services = [(
        &'static str,
        &'static [&'static str],
        [(&'static str, u16); 2],
    ); 5];
    const SERVICES: Services = [
        (
            "httpbackend",
            &["urlprefix-mysite.com:9999/"],
            [("172.16.66.103", 26258), ("172.16.66.104", 24093)],
        ),
        (
            "httpsbackend",
            &["urlprefix-mysite-https.com:9999/ proto=https tlsskipverify=true"],
            [("172.16.66.104", 31791), ("172.16.66.103", 21492)],
        ),
        (
            "httpsbackend-sni-1",
            &["urlprefix-mysite-sni-1.com/ proto=tcp+sni"],
            [("172.16.66.103", 20060), ("172.16.66.104", 31382)],
        ),
        (
            "httpsbackend-sni-2",
            &["urlprefix-mysite-sni-2.com/ proto=tcp+sni"],
            [("172.16.66.103", 23773), ("172.16.66.104", 28619)],
        ),
        (
            "httpsbackend-tcp",
            &["urlprefix-:9997 proto=tcp"],
            [("172.16.66.104", 25886), ("172.16.66.103", 31088)],
        ),
    ];
    let rows = |(service, tags, instances): &(&'static str, _, [(&'static str, u16); 2])| {
        let (service, tags) = (*service, *tags);
        instances.map(|(address, port)| (service, address, port, tags, Some(CHECK_PASSING)))
    };
    SERVICES.iter().flat_map(rows).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn the_walk_through_shows_the_routes_that_fabio_shows() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/golden/70-fabio-routes-final.out");
    let Ok(golden) = std::fs::read_to_string(&golden) else {
        eprintln!("skipped: {} is missing", golden.display());
        return;
    };
    let raw = golden.find("route add httpbackend").expect("the raw table");
    let table = table(&seed());
    let rows: serde_json::Value = serde_json::from_str(&golden[..raw]).expect("JSON rows");
    let ours = serde_json::to_value(table.rows()).expect("rows serialize");
    let plain = |rows: &serde_json::Value| {
        let strings = |row: &serde_json::Value| {
            ["service", "host", "path", "src", "dst", "opts", "cmd"]
                .map(|field| row[field].as_str().expect(field).to_owned())
        };
        rows.as_array()
            .expect("rows")
            .iter()
            .map(strings)
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&ours), plain(&rows));
    for (ours, theirs) in ours
        .as_array()
        .expect("rows")
        .iter()
        .zip(rows.as_array().expect("rows"))
    {
        assert_eq!(ours["weight"].as_f64(), theirs["weight"].as_f64());
        assert_eq!(ours["rate1"], theirs["rate1"]);
        let keys = |row: &serde_json::Value| {
            row.as_object()
                .expect("a row")
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(ours), keys(theirs));
    }
    assert_eq!(table.commands(), golden[raw..].lines().collect::<Vec<_>>());
}

#[test]
fn only_checked_and_passing_instances_get_a_route() {
    let tags: &[&str] = &["urlprefix-a/"];
    for (status, routed) in [
        (Some(CHECK_PASSING), true),
        (Some(CHECK_CRITICAL), false),
        (Some("warning"), false),
        (None, false),
    ] {
        assert_eq!(
            !table(&[("web", "", 80, tags, status)]).is_empty(),
            routed,
            "{status:?}"
        );
    }
}

#[test]
fn a_service_without_an_address_is_reached_at_its_node() {
    let table = table(&[("web", "", 8080, &["urlprefix-/"], Some(CHECK_PASSING))]);
    let route = table.find("x", "/").expect("the route for any host");
    assert_eq!(
        route.pick(0).map(|t| t.address.as_str()),
        Some("10.0.0.1:8080")
    );
}

#[test]
fn requests_find_the_most_specific_route() {
    let table = tagged(&[
        "urlprefix-mysite.com:9999/",
        "urlprefix-www.example.com/",
        "urlprefix-*.example.com/",
        "urlprefix-*.b.example.com/",
        "urlprefix-*.example.com/only-here/",
        "urlprefix-www.example.com/api/",
        "urlprefix-www.example.com/api/v2",
        "urlprefix-default-port.com:80/",
        "urlprefix-/fallback",
        "urlprefix-tcp.com/ proto=tcp+sni",
        "urlprefix-:9999 proto=tcp",
        "urlprefix-:80 proto=tcp",
    ]);
    for (host, path, expected) in [
        ("mysite.com:9999", "/x", Some("mysite.com:9999/")),
        ("MySite.com:9999", "/", Some("mysite.com:9999/")),
        ("mysite.com", "/", None),
        ("mysite.com:80", "/", None),
        ("www.example.com", "/", Some("www.example.com/")),
        ("www.example.com:80", "/", Some("www.example.com/")),
        ("www.example.com:443", "/", Some("www.example.com/")),
        ("www.example.com", "/api", Some("www.example.com/")),
        ("www.example.com", "/api/", Some("www.example.com/api/")),
        (
            "www.example.com",
            "/api/v2/x",
            Some("www.example.com/api/v2"),
        ),
        ("other.example.com", "/", Some("*.example.com/")),
        ("x.b.example.com", "/", Some("*.b.example.com/")),
        ("www.example.com", "/only-here/", Some("www.example.com/")),
        ("default-port.com", "/", Some("default-port.com:80/")),
        ("nope.com", "/fallback/x", Some("/fallback")),
        ("", "/fallback", Some("/fallback")),
        ("nope.com", "/", None),
        ("tcp.com", "/", None),
        (":9999", "/", None),
        (":80", "/", None),
    ] {
        assert_eq!(
            found(&table, host, path).as_deref(),
            expected,
            "{host}{path}"
        );
    }
}

#[test]
fn weights_share_out_the_requests() {
    for (tags, shares) in [
        (vec!["urlprefix-/", "urlprefix-/"], vec![5_000, 5_000]),
        (
            vec!["urlprefix-/ weight=0.25", "urlprefix-/"],
            vec![2_500, 7_500],
        ),
        (
            vec!["urlprefix-/ weight=3", "urlprefix-/ weight=1"],
            vec![7_500, 2_500],
        ),
        (
            vec!["urlprefix-/ weight=0.1", "urlprefix-/ weight=0.1"],
            vec![5_000, 5_000],
        ),
        (vec!["urlprefix-/ weight=1", "urlprefix-/"], vec![10_000, 0]),
    ] {
        let table = tagged(&tags);
        let route = table.find("any", "/").expect("a route");
        let mut counts = vec![0; tags.len()];
        for n in 0..10_000 {
            let target = route.pick(n).expect("a target");
            let port: usize = target
                .address
                .rsplit(':')
                .next()
                .expect("a port")
                .parse()
                .expect("");
            counts[port - 1] += 1;
        }
        assert_eq!(counts, shares, "{tags:?}");
    }
}

#[test]
fn a_request_never_goes_to_an_upstream_that_speaks_something_else() {
    let table = tagged(&[
        "urlprefix-/ proto=grpc",
        "urlprefix-/",
        "urlprefix-/ proto=tcp",
        "urlprefix-x/ proto=grpc",
        "urlprefix-y/ proto=tcp+sni",
    ]);
    let mixed = table.find("any", "/").expect("a route");
    for n in 0..10 {
        assert_eq!(mixed.pick(n).map(|t| t.protocol), Some(Protocol::Http));
    }
    assert_eq!(table.find("x", "/").expect("a route").pick(0), None);
    let fallback = table.find("y", "/").expect("the route of any host");
    assert_eq!(fallback.host, "");
}

#[test]
fn a_certificate_is_for_the_address_or_the_host_that_is_asked_for() {
    for (options, name, verified) in [
        ("", "10.0.0.9", true),
        ("tlsskipverify=true", "10.0.0.9", false),
        ("tlsskipverify=false", "10.0.0.9", true),
        ("host=dst", "10.0.0.9", true),
        ("host=inner.example", "inner.example", true),
        ("host=inner.example:8443", "inner.example", true),
    ] {
        let table = tagged(&[&format!("urlprefix-/ proto=https {options}")]);
        let target = table.find("h", "/").and_then(|route| route.pick(0));
        let tls = Tls {
            name: name.to_owned(),
            verified,
        };
        assert_eq!(target.and_then(|t| t.tls.clone()), Some(tls), "{options}");
    }
    let plain = tagged(&["urlprefix-/ tlsskipverify=true"]);
    let target = plain.find("h", "/").and_then(|route| route.pick(0));
    assert_eq!(target.expect("a target").tls, None);
}

#[test]
fn connections_are_routed_by_port_and_by_server_name() {
    let table = tagged(&[
        "urlprefix-:9997 proto=tcp",
        "urlprefix-a.com/ proto=tcp+sni",
        "urlprefix-*.a.com/ proto=tcp",
        "urlprefix-a.com/",
        "urlprefix-plain.com/",
        "urlprefix-a.com/deep proto=tcp",
        "urlprefix-moved.com/ redirect=301,https://b.com",
        "urlprefix-/",
    ]);
    let chosen = |route: Option<&Route>| {
        let ports: std::collections::BTreeSet<_> = (0..8)
            .filter_map(|n| route?.pick_for_connection(n))
            .filter_map(|t| t.address.strip_prefix("10.0.0.9:"))
            .map(str::to_owned)
            .collect();
        Vec::from_iter(ports).join(" ")
    };
    for (port, expected) in [(9997, "1"), (9996, ""), (80, "")] {
        assert_eq!(chosen(table.find_port(port)), expected, "{port}");
    }
    for (name, expected) in [
        ("a.com", "2"),
        ("A.com", "2"),
        ("www.a.com", "3"),
        ("plain.com", "5"),
        ("moved.com", ""),
        ("b.com", ""),
        ("*.a.com", ""),
        ("", ""),
    ] {
        assert_eq!(chosen(table.find_server_name(name)), expected, "{name}");
    }
}

#[test]
fn a_trace_tells_how_a_route_is_looked_for() {
    let table = tagged(&[
        "urlprefix-mysite.com:9999/",
        "urlprefix-mysite.com:9999/api",
        "urlprefix-*.com:9999/x",
        "urlprefix-/",
    ]);
    for (host, path, expected) in [
        (
            "mysite.com:9999",
            "/",
            "Tracing mysite.com:9999/\nMatching hosts: [mysite.com:9999 *.com:9999]\n\
             No match mysite.com:9999/api\nMatch mysite.com:9999/",
        ),
        (
            "other.com:9999",
            "/y",
            "Tracing other.com:9999/y\nMatching hosts: [*.com:9999]\n\
             No match *.com:9999/x\nMatch /",
        ),
        ("any", "/", "Tracing any/\nMatching hosts: []\nMatch /"),
    ] {
        assert_eq!(table.trace(host, path).join("\n"), expected);
    }
}

#[test]
fn the_others_are_all_targets_but_the_one_that_failed() {
    let table = tagged(&["urlprefix-/", "urlprefix-/", "urlprefix-/"]);
    let route = table.find("any", "/").expect("a route");
    for n in 0..3 {
        let first = route.pick(n).expect("a target");
        let others: Vec<_> = route.others(first).map(|t| &t.address).collect();
        assert_eq!(others.len(), 2);
        assert!(!others.contains(&&first.address));
    }
}

#[test]
fn paths_are_stripped_and_prepended() {
    for (options, path, expected) in [
        ("", "/a/b", "/a/b"),
        ("strip=/a", "/a/b", "/b"),
        ("strip=/a", "/a", "/"),
        ("strip=/a/", "/a/b", "/b"),
        ("strip=/a", "/x", "/x"),
        ("prepend=/v1", "/x", "/v1/x"),
        ("prepend=/v1/", "/x", "/v1/x"),
        ("strip=/a prepend=/v1", "/a/b", "/v1/b"),
    ] {
        let table = tagged(&[&format!("urlprefix-/ {options}")]);
        let target = table
            .find("h", "/")
            .and_then(|route| route.pick(0))
            .expect("a target");
        assert_eq!(target.rewrite(path), expected, "{options} {path}");
    }
}

#[test]
fn redirects_fill_in_host_and_path_and_never_loop() {
    for (url, path, query, expected) in [
        ("https://b.com", "/x", Some("q=1"), Some("https://b.com/")),
        (
            "https://b.com$path",
            "/x",
            Some("q=1"),
            Some("https://b.com/x?q=1"),
        ),
        ("https://b.com/$path", "/x", None, Some("https://b.com/x")),
        ("https://$host$path", "/x", None, Some("https://a.com/x")),
        ("http://$host$path", "/x", Some("q"), None),
        ("http://$host", "/", None, None),
    ] {
        let table = tagged(&[&format!("urlprefix-a.com/ redirect=301,{url}")]);
        let target = table
            .find("a.com", "/")
            .and_then(|route| route.pick(0))
            .expect("a target");
        let redirect = target.redirect_for("http", "a.com", path, query);
        assert_eq!(redirect, expected.map(|url| (301, url.to_owned())), "{url}");
    }
}

#[test]
fn a_bad_tag_is_told_once_and_doesnt_hide_the_good_ones() {
    let tags: &[&str] = &["urlprefix-nope", "urlprefix-good/", "unrelated"];
    let row: Row = ("web", "10.0.0.9", 80, tags, Some(CHECK_PASSING));
    let other: Row = ("web", "10.0.0.8", 80, tags, Some(CHECK_PASSING));
    let table = table(&[row, other]);
    assert_eq!(
        table.rejected(),
        [Rejected {
            service: "web".into(),
            tag: "urlprefix-nope".into(),
            reason: "\"nope\" has no path; write nope/".into(),
        }]
    );
    assert_eq!(
        table.commands(),
        [
            "route add web good/ http://10.0.0.9:80/ tags \"unrelated\"",
            "route add web good/ http://10.0.0.8:80/ tags \"unrelated\"",
        ]
    );
}

fn any_tag() -> impl Strategy<Value = String> {
    let host = prop_oneof!["[ab*{,}?.:$/]{0,6}", "[ab]\\.com", Just(String::new())];
    let path = prop_oneof!["(/[ab]{0,2}){0,3}/?", "\\PC{0,8}"];
    let option = prop_oneof![
        Just(String::new()),
        Just(" proto=https".to_owned()),
        Just(" proto=tcp+sni weight=0.3".to_owned()),
        Just(" strip=/a prepend=/b".to_owned()),
        " (weight|redirect|strip|proto)=\\PC{0,6}",
    ];
    (host, path, option).prop_map(|(host, path, option)| format!("{PREFIX}{host}{path}{option}"))
}

fn any_rows() -> impl Strategy<Value = Vec<(String, u16, Option<&'static str>)>> {
    let status = prop_oneof![
        3 => Just(Some(CHECK_PASSING)),
        1 => Just(Some(CHECK_CRITICAL)),
        1 => Just(None),
    ];
    proptest::collection::vec((any_tag(), 0u16..4, status), 0..12)
}

proptest! {
    #[test]
    fn whatever_the_tags_say_the_table_holds_only_passing_instances_and_the_longest_path_wins(
        rows in any_rows(),
        host in "[abAB.:]{0,6}|[ab]\\.com(:80)?",
        path in "(/[ab]{0,2}){0,4}|\\PC{0,6}",
        n: u64,
    ) {
        let tags: Vec<[&str; 1]> = rows.iter().map(|(tag, _, _)| [tag.as_str()]).collect();
        let rows: Vec<Row> = rows
            .iter()
            .zip(&tags)
            .map(|((_, port, status), tag)| ("web", "10.0.0.9", *port, &tag[..], *status))
            .collect();
        let view = view(&rows);
        let table = Table::new(&view, PREFIX);
        for target in table.routes().flat_map(|route| &route.targets) {
            let backed = view.instances("web").iter().any(|instance| {
                instance.passing()
                    && instance.checked()
                    && target.address == format!("{}:{}", instance.address(), instance.service.port)
            });
            prop_assert!(backed, "{target:?}");
        }
        for route in table.routes() {
            let sum: f64 = route.targets.iter().map(|target| target.weight).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6);
        }
        prop_assert_eq!(table.commands().len(), table.rows().len());
        let first = table.matching(&host, &path).next();
        prop_assert_eq!(table.find(&host, &path), first);
        if let Some(route) = first {
            prop_assert!(path.starts_with(&route.path));
            let same_host = table.routes().filter(|other| other.host == route.host);
            for other in same_host.filter(|other| path.starts_with(&other.path)) {
                prop_assert!(other.path.len() <= route.path.len() || !other.answers(&path));
            }
            if let Some(target) = route.pick(n) {
                prop_assert!(target.servable());
                prop_assert!(target.rewrite(&path).starts_with('/'));
                let _ = target.redirect_for("http", &host, &path, None);
                prop_assert!(route.others(target).all(Target::servable));
            }
        }
    }
}
