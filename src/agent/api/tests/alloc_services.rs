//! What an allocation has in the catalog.

use std::collections::BTreeMap;

use logic::lifecycle::services::{Offer, offers};
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CatalogChange, Check};
use logic::state::Command;
use serde_json::json;

use super::fixture::{Agent, NODE, NODE_ID, get};

#[actix::test]
async fn an_allocation_tells_its_services_and_their_checks() {
    let (agent, id) = Agent::with_web().await;
    let nothing = get(&agent.nomad, &format!("/v1/allocation/{id}/services")).await;
    assert_eq!(
        nothing.json(),
        json!([]),
        "what was registered by hand isn't its own"
    );

    let store = agent.now();
    let (alloc, node) = (store.alloc(&id).unwrap(), store.node(NODE_ID).unwrap());
    let task = &alloc.group().unwrap().tasks[0];
    let mut offered = offers(alloc, Some(task), node, &BTreeMap::new());
    let Offer { instance, checks } = offered.remove(0);
    let say = async |status: &str, output: &str| {
        let row = |check: &Check| Check {
            status: status.to_owned(),
            output: output.to_owned(),
            ..check.clone()
        };
        let change = CatalogChange {
            node: NODE.to_owned(),
            services: vec![instance.clone()],
            checks: checks.iter().map(|plan| row(&plan.row)).collect(),
            ..CatalogChange::default()
        };
        agent.propose(Command::ChangeCatalog { change }).await
    };
    let index = say(
        CHECK_PASSING,
        "HTTP GET http://10.0.0.2:80/: 204 No Content Output: ",
    )
    .await;

    let services = get(&agent.nomad, &format!("/v1/allocation/{id}/services")).await;
    assert_eq!(services.headers["x-nomad-index"], index.to_string());
    let service = &services.json()[0];
    assert_eq!(service["ServiceName"], instance.service);
    assert_eq!(service["AllocID"], id);
    assert_eq!(service["NodeID"], NODE_ID);
    assert_eq!(service["Datacenter"], "dc1");
    assert_eq!(service["Port"], instance.port);
    assert_eq!(service["ModifyIndex"], index);

    let check = &checks[0].row;
    for path in ["allocation", "client/allocation"] {
        let shown = get(&agent.nomad, &format!("/v1/{path}/{id}/checks"))
            .await
            .json();
        let expected = json!({
            "ID": check.check_id,
            "Check": check.name,
            "Group": "web.web[0]",
            "Mode": "healthiness",
            "Output": "HTTP GET http://10.0.0.2:80/: 204 No Content Output: ",
            "Service": instance.service,
            "Task": "web",
            "Status": "success",
            "StatusCode": 204,
        });
        assert_eq!(shown[&check.check_id], expected, "{path}");
    }
    for (output, status) in [
        ("", "pending"),
        ("TCP connect 10.0.0.2:80: refused", "failure"),
    ] {
        say(CHECK_CRITICAL, output).await;
        let shown = get(&agent.nomad, &format!("/v1/allocation/{id}/checks"))
            .await
            .json();
        assert_eq!(shown[&check.check_id]["Status"], status);
        assert_eq!(shown[&check.check_id]["StatusCode"], 0);
    }
    for what in ["services", "checks"] {
        let unknown = format!("/v1/allocation/00000000-0000-0000-0000-000000000000/{what}");
        let unknown = get(&agent.nomad, &unknown).await;
        assert_eq!(
            (unknown.status.as_u16(), unknown.text.as_str()),
            (404, "alloc not found")
        );
    }
}
