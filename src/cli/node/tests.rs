//! `node status` as the anchor prints it.

use super::super::golden;
use super::*;

#[test]
fn nodes_look_as_the_anchor_shows_them() {
    let (Some(nodes), Some(expected)) = (
        golden::answer::<Vec<NodeStub>>("nomad-api/GET_nodes.json"),
        golden::output("11-nomad-node-status-ready.out"),
    ) else {
        return;
    };
    // The anchor lists them in no particular order.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let text = render_list(&nodes, None, false);
    assert_eq!(sorted(&text), sorted(&expected));
}

#[test]
fn running_allocations_are_counted_by_node() {
    let alloc = |node: &str, status: &str| AllocStub {
        node_id: node.to_owned(),
        client_status: status.to_owned(),
        ..AllocStub::default()
    };
    let node = |id: &str| NodeStub {
        id: id.to_owned(),
        name: format!("node-{id}"),
        ..NodeStub::default()
    };
    let counts = running_by_node(&[
        alloc("a", "running"),
        alloc("a", "running"),
        alloc("b", "complete"),
    ]);
    let text = render_list(&[node("a"), node("b")], Some(&counts), false);
    let counts: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    assert_eq!(counts, ["Allocs", "2", "0"]);
}

/// The node of `12b-nomad-node-status-one.out`, from what the API said of its twin.
fn facts() -> Option<Facts> {
    let mut node: Node = golden::answer("nomad-api/GET_node_NODEID.json")?;
    node.id = "6dbe0d79-ad99-6a43-fddc-7b72c909748a".to_owned();
    node.name = "dxnode1".to_owned();
    for event in &mut node.events {
        event.timestamp = Time::parse_rfc3339("2026-11-24T13:11:58Z").expect("a time");
    }
    let mut usage: NodeUsage = golden::answer("nomad-api/GET_client_stats.json")?;
    usage.uptime = 14 * 60 + 25;
    usage.cpu_ticks = 5_172.9;
    usage.memory.used = 1 << 30;
    usage.disk.used = 16 << 30;
    Some(Facts {
        node,
        usage: Some(usage),
        ..Facts::default()
    })
}

#[test]
fn a_node_looks_as_the_anchor_shows_it() {
    let (Some(facts), Some(expected)) = (facts(), golden::output("12b-nomad-node-status-one.out"))
    else {
        return;
    };
    assert_eq!(
        render(&facts, false, false, Time(0), Style::PLAIN),
        expected
    );
}

#[test]
fn verbose_adds_drivers_and_attributes_in_the_anchors_order() {
    let (Some(facts), Some(expected)) =
        (facts(), golden::output("12-nomad-node-status-verbose.out"))
    else {
        return;
    };
    let titles = |text: &str| {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let title = |pair: &[String]| pair[0].is_empty().then(|| pair[1].clone());
        lines.windows(2).filter_map(title).collect::<Vec<_>>()
    };
    let text = render(&facts, false, true, Time(0), Style::PLAIN);
    assert_eq!(titles(&text), titles(&expected));
    assert!(text.contains("ID          = 6dbe0d79-ad99-6a43-fddc-7b72c909748a"));
    assert!(text.contains("2026-11-24T13:11:58Z  Cluster    Node registered  <none>"));
}

#[test]
fn an_unhealthy_driver_says_so() {
    let driver = |healthy| DriverInfo {
        detected: true,
        healthy,
        ..DriverInfo::default()
    };
    let drivers = BTreeMap::from([
        ("docker".to_owned(), driver(false)),
        ("exec".to_owned(), DriverInfo::default()),
        ("raw_exec".to_owned(), driver(true)),
    ]);
    assert_eq!(driver_status(&drivers), "docker (unhealthy),raw_exec");
}
