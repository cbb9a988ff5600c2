//! A real fabio that routes from our catalog, and from a real Consul that we register in.

use std::fs;

use super::programs::{Consul, Real, find};
use crate::program::{Agent, eventually, repository, request};

const SITE: &str = "hello.localhost";

/// A fabio with these ports; it registers nowhere.
fn fabio(program: &std::path::Path, agent: &Agent, port: u16) -> Real {
    let args = [
        format!("-proxy.addr=127.0.0.1:{port}"),
        format!("-ui.addr=127.0.0.1:{}", port + 1),
        format!("-registry.consul.addr=127.0.0.1:{}", agent.catalog_port()),
        "-registry.consul.register.enabled=false".to_owned(),
        "-log.access.target=stdout".to_owned(),
    ];
    Real::start(program, &args, agent.folder.path().join("fabio.log"))
}

fn routes(agent: &Agent, port: u16) {
    let path = repository().join("docs/jobs/quickstart.nomad");
    let job = fs::read_to_string(path).expect("the job file");
    let job = job.replace("hello.localhost:9999", SITE);
    let file = agent.write("hello.nomad", &job);
    agent.ask(&["job", "run", &file]);
    eventually("both instances pass", || {
        (agent.passing("hello").len() == 2).then_some(())
    });
    let get = || request(port, "GET", SITE, "/", "").ok();
    eventually("fabio routes to an instance", || {
        get().filter(|answer| answer.status == 200)
    });
    let mut met = std::collections::BTreeSet::new();
    eventually("fabio routes to both", || {
        let answer = get()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        met.extend(answer.header("x-instance").map(str::to_owned));
        (met.len() == 2).then_some(())
    });
    agent.ask(&["job", "stop", "hello"]);
    eventually("fabio has no route any more", || {
        get().filter(|answer| answer.status == 404)
    });
}

#[test]
fn a_real_fabio_routes_from_our_catalog() {
    let Some(program) = find("fabio", &["-v"], "1.") else {
        return;
    };
    let agent = Agent::dev(533);
    let _fabio = fabio(&program, &agent, 19_533);
    routes(&agent, 19_533);
}

#[test]
fn a_real_fabio_routes_from_the_consul_we_register_in() {
    let (Some(program), Some(consul)) = (find("fabio", &["-v"], "1."), Consul::find()) else {
        return;
    };
    let consul = Consul::start(consul, 543);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let address = consul.address();
    let agent = Agent::start(folder, 543, &["-dev", "-consul-address", &address]);
    let _fabio = fabio(&program, &agent, 19_543);
    routes(&agent, 19_543);
}

/// Ours, called `fabio`.
#[test]
fn our_edge_stands_alone_on_a_real_consul() {
    let Some(consul) = Consul::find() else {
        return;
    };
    let consul = Consul::start(consul, 553);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let address = consul.address();
    let agent = Agent::start(folder, 553, &["-dev", "-consul-address", &address]);
    let ours = agent.folder.path().join("fabio");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_drover"), &ours).expect("a link");
    let _edge = fabio(&ours, &agent, 19_553);
    routes(&agent, 19_553);
}
