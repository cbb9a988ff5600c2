//! Machines without an agent, next to those that have one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::invariants;
use crate::model::{CHECK_PASSING, Check, ServiceInstance};
use crate::state::{Command, Entry};
use crate::time::Time;

fn apply(store: &mut Store, command: Command) -> Result<Reply, Refusal> {
    let entry = Entry {
        index: store.index() + 1,
        at: Time(0),
        proposal: String::new(),
        command,
    };
    let reply = store.apply(entry).reply;
    assert_eq!(invariants::check(store), Ok(()));
    reply
}

fn node(name: &str, address: &str) -> CatalogNode {
    CatalogNode {
        id: format!("id-{name}"),
        node: name.into(),
        address: address.into(),
        ..CatalogNode::default()
    }
}

fn external(name: &str, address: &str) -> External {
    External {
        node: node(name, address),
        service: Some(ServiceInstance {
            id: "db-1".into(),
            service: "db".into(),
            tags: vec!["master".into()],
            ..ServiceInstance::default()
        }),
        checks: vec![Check {
            check_id: "alive".into(),
            service_id: "db-1".into(),
            status: CHECK_PASSING.into(),
            ..Check::default()
        }],
        ..External::default()
    }
}

fn register(store: &mut Store, external: External) -> Result<Reply, Refusal> {
    apply(
        store,
        Command::RegisterExternal {
            external: Box::new(external),
        },
    )
}

fn withdraw(store: &mut Store, node: &str, service: &str, check: &str) -> Result<Reply, Refusal> {
    let gone = Withdrawal {
        node: node.into(),
        service_id: service.into(),
        check_id: check.into(),
    };
    apply(store, Command::WithdrawExternal { gone })
}

#[test]
fn a_machine_without_an_agent_comes_and_goes() {
    let mut store = Store::default();
    assert!(
        register(&mut store, external("n1", "")).is_err(),
        "where is it?"
    );
    register(&mut store, external("n1", "10.0.0.1")).unwrap();
    let check = store.checks_on("n1").next().unwrap();
    assert_eq!(
        (check.service_name.as_str(), check.service_tags.len()),
        ("db", 1)
    );
    assert!(!store.has_agent("n1"));
    let index = store.index_of(Topic::Catalog);
    register(&mut store, external("n1", "")).unwrap();
    assert_eq!(
        store.index_of(Topic::Catalog),
        index,
        "nothing new was said"
    );
    let kept = External {
        keep_node: true,
        ..external("n1", "10.0.0.9")
    };
    register(&mut store, kept).unwrap();
    assert_eq!(store.catalog_nodes().next().unwrap().address, "10.0.0.1");
    let twin = External {
        node: CatalogNode {
            id: "id-n1".into(),
            ..node("n2", "10.0.0.2")
        },
        ..External::default()
    };
    assert!(register(&mut store, twin).is_err());
    withdraw(&mut store, "n1", "", "alive").unwrap();
    assert_eq!((store.services().count(), store.checks().count()), (1, 0));
    withdraw(&mut store, "n1", "db-1", "").unwrap();
    withdraw(&mut store, "n1", "", "").unwrap();
    withdraw(&mut store, "n1", "", "").unwrap();
    assert_eq!(
        (store.services().count(), store.catalog_nodes().count()),
        (0, 0)
    );
}

#[test]
fn an_agents_node_is_its_own_business() {
    let mut store = Store::default();
    let own = node("n1", "10.0.0.1");
    apply(&mut store, Command::RegisterCatalogNode { node: own }).unwrap();
    register(&mut store, external("n1", "10.0.0.9")).unwrap();
    assert_eq!(store.catalog_nodes().next().unwrap().address, "10.0.0.1");
    let dead = External {
        checks: vec![Check {
            check_id: SERF_HEALTH.into(),
            status: "critical".into(),
            ..Check::default()
        }],
        ..external("n1", "10.0.0.9")
    };
    assert!(register(&mut store, dead).is_err());
    assert!(withdraw(&mut store, "n1", "", "").is_err());
    assert!(withdraw(&mut store, "n1", "", SERF_HEALTH).is_err());
    withdraw(&mut store, "n1", "db-1", "").unwrap();
    apply(&mut store, Command::ForgetLeftNode { node: "n1".into() }).unwrap();
    assert_eq!(store.catalog_nodes().count(), 0);
}
