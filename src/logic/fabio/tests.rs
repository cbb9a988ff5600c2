//! What fabio's users write, and what it means.

use super::*;
use crate::config::{AccessFormat, EdgeListener, Strategy};
use crate::routes::Matcher;

fn read(arguments: &[&str]) -> Result<(Fabio, Vec<String>), String> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    configured(&typed(&arguments)?, &BTreeMap::new(), None)
}

fn consul(fabio: &Fabio) -> &ConsulRegistry {
    match &fabio.registry {
        Registry::Consul(consul) => consul,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_options_it_is_what_fabio_is() {
    let (fabio, warnings) = read(&[]).expect("a configuration");
    assert_eq!(warnings, Vec::<String>::new());
    let registry = consul(&fabio);
    assert_eq!(registry.address, "localhost:8500");
    assert_eq!(registry.kv_path, "fabio/config");
    let registration = registry.registration.as_ref().expect("it registers");
    assert_eq!(
        (registration.name.as_str(), registration.port),
        ("fabio", 9998)
    );
    assert_eq!(fabio.edge.listeners, [EdgeListener::http(9999)]);
    assert_eq!((fabio.edge.ui_port, fabio.edge.ui.writable), (9998, true));
    assert_eq!(fabio.edge.access_log, None);
    assert_eq!(fabio.log_level, "info");
}

#[test]
fn the_walk_throughs_flags_are_read() {
    let (fabio, warnings) = read(&[
        "-proxy.addr=:9999;proto=http,:9997;proto=tcp,:9996;proto=tcp+sni",
        "-log.level=TRACE",
        "--log.access.target",
        "stdout",
        "-insecure",
    ])
    .expect("a configuration");
    assert_eq!(fabio.edge.listeners.len(), 3);
    assert_eq!(fabio.edge.access_log, Some(AccessFormat::Common));
    assert_eq!(fabio.log_level, "trace");
    let told = ["-insecure changes nothing: root may run it anyway"];
    assert_eq!(warnings, told);
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let env = [
        ("FABIO_PROXY_STRATEGY", "rr"),
        ("proxy_matcher", "glob"),
        ("FABIO_UI_TITLE", "env"),
        ("registry_consul_register_checkInterval", "5s"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let typed = typed(&["-ui.title=flag".to_owned()]).expect("flags");
    let file = "proxy.strategy = rnd\nregistry.consul.token = secret\nui.titel = x\n";
    let (fabio, warnings) = configured(&typed, &env.into(), Some(file)).expect("configured");
    assert_eq!(fabio.edge.proxy.strategy, Strategy::RoundRobin);
    assert_eq!(fabio.edge.proxy.matcher, Matcher::Glob);
    assert_eq!(fabio.edge.ui.title, "flag");
    let registry = consul(&fabio);
    assert_eq!(registry.token, "secret");
    let registration = registry.registration.as_ref().expect("it registers");
    assert_eq!(registration.check_interval, Duration::from_secs(5));
    let told = ["-ui.titel is unknown; did you mean -ui.title?, in the file"];
    assert_eq!(warnings, told);
}

#[test]
fn a_consul_is_named_by_an_address_or_an_url() {
    for (given, address, secure) in [
        ("10.0.0.1:8500", "10.0.0.1:8500", false),
        ("http://consul.example:80/", "consul.example:80", false),
        ("https://consul.example:8501", "consul.example:8501", true),
    ] {
        let (fabio, _) = read(&[&format!("-registry.consul.addr={given}")]).expect(given);
        let registry = consul(&fabio);
        assert_eq!(registry.address, address);
        assert_eq!(registry.tls.is_some(), secure, "{given}");
    }
}

#[test]
fn what_cant_be_done_is_said_by_the_options_name() {
    for (argument, why) in [
        ("x", "\"x\" is no option: options begin with -"),
        (
            "-proxy.adr=:1",
            "-proxy.adr is unknown; did you mean -proxy.addr?",
        ),
        (
            "-proxy.addr",
            "-proxy.addr wants a value: write -proxy.addr=VALUE",
        ),
        ("-cfg=", "-cfg wants a value: write -cfg=VALUE"),
        (
            "-proxy.strategy=best",
            "-proxy.strategy: \"best\" is unknown; write rnd or rr",
        ),
        (
            "-proxy.readtimeout=5",
            "-proxy.readtimeout: `5` has no unit: write `5s` for seconds",
        ),
        (
            "-proxy.noroutestatus=99",
            "-proxy.noroutestatus: write 100 to 999",
        ),
        (
            "-registry.backend=custom",
            "-registry.backend=custom isn't supported: write the routes to a file, and use \
             -registry.backend=file",
        ),
        (
            "-registry.backend=file",
            "-registry.backend=file wants a file: -registry.file.path=PATH",
        ),
        (
            "-proxy.auth=name=a;type=basic;file=b",
            "-proxy.auth isn't supported: routes can't ask for passwords, and would be open \
             without them",
        ),
        (
            "-registry.consul.service.status=pasing",
            "-registry.consul.service.status: \"pasing\" is unknown; write passing, warning or \
             critical",
        ),
        ("-ui.addr=:1,:2", "-ui.addr: write one address"),
    ] {
        assert_eq!(
            read(&[argument]).map(|_| ()),
            Err(why.to_owned()),
            "{argument}"
        );
    }
}

#[test]
fn every_options_default_means_what_it_says() {
    for known in KNOWN {
        if known.default.is_empty() {
            continue;
        }
        let argument = format!("-{}={}", known.name, known.default);
        let (_, warnings) = read(&[&argument]).expect(&argument);
        assert_eq!(warnings, Vec::<String>::new(), "{argument}");
    }
}
