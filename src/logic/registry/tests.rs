//! Registrations, their clocks, and what the catalog is offered of them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

const TTL: i64 = 5 * SECOND;

fn at(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn service(id: &str) -> ServiceInstance {
    ServiceInstance {
        id: id.into(),
        service: "web".into(),
        tags: vec!["a".into()],
        ..ServiceInstance::default()
    }
}

fn check(id: &str, service_id: &str, way: CheckWay) -> RegisteredCheck {
    RegisteredCheck {
        id: id.into(),
        service_id: service_id.into(),
        way,
        ..RegisteredCheck::default()
    }
}

/// A registry with `web`, which has a check with a TTL.
fn registry() -> Registry {
    let none = Registrations::default();
    let mut registry = Registry::new("n1", none.clone(), none, at(0));
    let ttl = RegisteredCheck {
        deregister_after: 60 * SECOND,
        ..check("ttl", "web", CheckWay::Ttl(TTL))
    };
    registry
        .register_service(service("web"), vec![ttl], false, at(0))
        .unwrap();
    registry
}

fn statuses(registry: &Registry) -> Vec<(String, String)> {
    let checks = registry.checks().into_iter();
    checks.map(|check| (check.check_id, check.status)).collect()
}

fn is(id: &str, status: &str) -> (String, String) {
    (id.to_owned(), status.to_owned())
}

#[test]
fn a_ttl_has_to_be_renewed_in_time() {
    let mut registry = registry();
    assert_eq!(statuses(&registry), [is("ttl", CHECK_CRITICAL)]);
    registry
        .say("ttl", CHECK_PASSING, "fine".into(), at(1))
        .unwrap();
    assert!(!registry.tick(at(5)));
    registry
        .say("ttl", CHECK_PASSING, "fine".into(), at(5))
        .unwrap();
    assert!(!registry.tick(at(9)));
    assert_eq!(statuses(&registry), [is("ttl", CHECK_PASSING)]);
    assert!(registry.tick(at(10)));
    assert_eq!(statuses(&registry), [is("ttl", CHECK_CRITICAL)]);
    assert_eq!(registry.checks()[0].output, "TTL expired");
    assert_eq!(registry.checks()[0].service_tags, ["a"]);
    assert!(!registry.tick(at(60)), "it is told once");
}

#[test]
fn a_service_that_stays_critical_is_forgotten_if_it_says_so() {
    let mut registry = registry();
    registry
        .say("ttl", CHECK_PASSING, String::new(), at(50))
        .unwrap();
    registry.tick(at(55));
    assert!(!registry.tick(at(115)));
    assert!(registry.tick(at(116)));
    assert_eq!(
        (registry.services().count(), registry.checks().len()),
        (0, 0)
    );
}

#[test]
fn what_is_registered_again_keeps_what_its_checks_said() {
    let mut registry = registry();
    registry
        .say("ttl", CHECK_PASSING, "fine".into(), at(1))
        .unwrap();
    let again = |status: &str| RegisteredCheck {
        status: status.into(),
        ..check("ttl", "web", CheckWay::Ttl(TTL))
    };
    registry
        .register_service(service("web"), vec![again("")], false, at(2))
        .unwrap();
    assert_eq!(statuses(&registry), [is("ttl", CHECK_PASSING)]);
    let changed = vec![again(CHECK_WARNING)];
    registry
        .register_service(service("web"), changed, false, at(3))
        .unwrap();
    assert_eq!(statuses(&registry), [is("ttl", CHECK_WARNING)]);
    let other = || vec![check("other", "web", CheckWay::Ttl(TTL))];
    registry
        .register_service(service("web"), other(), false, at(3))
        .unwrap();
    assert_eq!(registry.checks().len(), 2);
    registry
        .register_service(service("web"), other(), true, at(3))
        .unwrap();
    assert_eq!(statuses(&registry), [is("other", CHECK_CRITICAL)]);
}

#[test]
fn what_is_kept_comes_back_but_for_what_the_configuration_says() {
    let mut registry = registry();
    registry
        .say("ttl", CHECK_PASSING, "fine".into(), at(1))
        .unwrap();
    let kept = registry.kept();
    let configured = Registrations {
        services: BTreeMap::from([("db".to_owned(), service("db"))]),
        checks: BTreeMap::new(),
    };
    let mut back = Registry::new("n1", kept.clone(), configured, at(1_000));
    assert_eq!(statuses(&back), [is("ttl", CHECK_PASSING)]);
    assert!(back.has_service("db") && back.has_service("web"));
    assert_eq!(back.kept(), kept);
    assert!(!back.tick(at(1_004)), "it has a whole TTL after a restart");
    assert!(back.tick(at(1_005)));
}

#[test]
fn maintenance_is_a_check_that_fails() {
    let mut registry = registry();
    let known = |id: &str| id == "of-a-task";
    let reason = || Some("because".to_owned());
    for (service, id) in [
        (None, NODE_MAINTENANCE),
        (Some("web"), "_service_maintenance:web"),
        (Some("of-a-task"), "_service_maintenance:of-a-task"),
    ] {
        registry.maintain(service, reason(), known, at(1)).unwrap();
        let check = registry
            .checks()
            .into_iter()
            .find(|check| check.check_id == id);
        let check = check.unwrap();
        assert_eq!(
            (check.status.as_str(), check.notes.as_str()),
            (CHECK_CRITICAL, "because")
        );
        registry.maintain(service, None, known, at(1)).unwrap();
        assert_eq!(registry.checks().len(), 1);
    }
    assert!(
        registry
            .maintain(Some("none"), reason(), known, at(1))
            .is_err()
    );
}

fn by_http() -> CheckWay {
    CheckWay::Http {
        url: "http://10.0.0.1:80/".into(),
        method: String::new(),
        headers: Vec::new(),
        body: String::new(),
        tls_skip_verify: false,
        tls_server_name: String::new(),
    }
}

#[test]
fn a_check_that_is_run_from_now_on_has_no_ttl_any_more() {
    let mut registry = registry();
    let http = check("ttl", "web", by_http());
    registry.register_check(http, |_| false, at(1)).unwrap();
    assert!(registry.note("ttl", CHECK_PASSING, String::new(), at(2)));
    assert!(!registry.tick(at(20)));
    assert_eq!(statuses(&registry), [is("ttl", CHECK_PASSING)]);
}

#[test]
fn what_is_unknown_is_refused() {
    let mut registry = registry();
    let nobody = |_: &str| false;
    let http = check("http", "web", by_http());
    registry.register_check(http, nobody, at(1)).unwrap();
    let say = |registry: &mut Registry, id| registry.say(id, CHECK_PASSING, String::new(), at(1));
    assert_eq!(
        say(&mut registry, "http"),
        Err(Refused::NoTtl("http".into()))
    );
    assert_eq!(
        say(&mut registry, "none"),
        Err(Refused::NoSuchCheck("none".into()))
    );
    let lost = check("lost", "none", CheckWay::Ttl(TTL));
    assert!(registry.register_check(lost, nobody, at(1)).is_err());
    assert!(registry.deregister_check("none").is_err());
    assert!(registry.deregister_service("none").is_err());
    assert_eq!(registry.plans().len(), 1, "only one check has to be run");
    registry.deregister_service("web").unwrap();
    assert_eq!(registry.plans().len(), 0);
}

#[test]
fn urls_are_taken_apart() {
    let url = |https, address: &str, path: &str| {
        Some(Url {
            https,
            address: address.into(),
            path: path.into(),
        })
    };
    for (text, taken) in [
        (
            "http://10.0.0.1:8080/health?a=b#c",
            url(false, "10.0.0.1:8080", "/health?a=b"),
        ),
        ("https://example.org", url(true, "example.org:443", "/")),
        ("http://[::1]:80", url(false, "[::1]:80", "/")),
        ("http://[::1]?x", url(false, "[::1]:80", "/?x")),
        ("HTTP://u:p@h/", url(false, "h:80", "/")),
        ("ftp://h/", None),
        ("h:80/", None),
        ("http://", None),
        ("http://a b/", None),
    ] {
        assert_eq!(parse_url(text), taken, "{text}");
    }
}

#[test]
fn a_configuration_is_taken_anew() {
    let with = |services: &[&str], ttl: i64| Registrations {
        services: services
            .iter()
            .map(|id| ((*id).to_owned(), service(id)))
            .collect(),
        checks: services
            .iter()
            .map(|id| {
                let own = RegisteredCheck {
                    status: CHECK_CRITICAL.to_owned(),
                    ..check(&format!("of-{id}"), id, CheckWay::Ttl(ttl))
                };
                (own.id.clone(), own)
            })
            .collect(),
    };
    let mut registry = registry();
    registry.reconfigure(with(&["a", "b"], TTL), at(0));
    let pass = |registry: &mut Registry, id: &str, now| {
        registry
            .say(id, CHECK_PASSING, "fine".into(), at(now))
            .unwrap();
    };
    pass(&mut registry, "of-a", 1);
    pass(&mut registry, "of-b", 1);
    registry.deregister_service("b").unwrap();
    // As before for `a`; `b` is there again, as at the beginning; `c` is new.
    registry.reconfigure(with(&["a", "b", "c"], TTL), at(2));
    let found = statuses(&registry);
    assert_eq!(
        found,
        [
            is("of-a", CHECK_PASSING),
            is("of-b", CHECK_CRITICAL),
            is("of-c", CHECK_CRITICAL),
            is("ttl", CHECK_CRITICAL)
        ]
    );
    // A check that is another one keeps what it said last.
    registry.reconfigure(with(&["a"], 2 * TTL), at(3));
    assert_eq!(
        statuses(&registry),
        [is("of-a", CHECK_PASSING), is("ttl", CHECK_CRITICAL)]
    );
    registry.tick(at(9));
    assert_eq!(statuses(&registry)[0], is("of-a", CHECK_PASSING));
    // What was registered by hand isn't the configuration's to take away, nor what is kept.
    registry.reconfigure(Registrations::default(), at(10));
    assert_eq!(statuses(&registry), [is("ttl", CHECK_CRITICAL)]);
    assert!(registry.kept().services.contains_key("web"));
}
