//! `alloc status` as the anchor prints it.

use std::collections::BTreeMap;

use super::super::golden;
use super::*;

const RECORDED_AT: Time = Time(1_795_526_029_500_000_000);

fn facts() -> Option<Facts> {
    let answer: Value = golden::answer("nomad-api/GET_allocation_ALLOCID.json")?;
    let mut facts = Facts::read(&answer).expect("an allocation");
    let mut usage: AllocUsage =
        golden::answer("nomad-api/GET_client_allocation_ALLOCID_stats.json")?;
    // The output was recorded a little earlier than the numbers.
    for task in usage.tasks.values_mut() {
        task.resource_usage.memory_stats.rss = 820 << 10;
    }
    facts.usage = Some(usage);
    Some(facts)
}

#[test]
fn an_allocation_looks_as_the_anchor_shows_it() {
    let (Some(facts), Some(expected)) = (facts(), golden::output("46-alloc-status.out")) else {
        return;
    };
    let text = facts.render(false, false, RECORDED_AT, Style::PLAIN);
    assert_eq!(text, expected);
}

#[test]
fn verbose_looks_as_the_anchor_shows_it() {
    let (Some(facts), Some(expected)) = (facts(), golden::output("46b-alloc-status-verbose.out"))
    else {
        return;
    };
    let text = facts.render(false, true, RECORDED_AT, Style::PLAIN);
    assert_eq!(text, expected);
}

#[test]
fn a_failed_allocation_tells_when_it_is_placed_anew() {
    let facts = Facts {
        replaced_at: Time::from_secs(1_000_000_009),
        ..Facts::default()
    };
    let text = facts.head(false, Time::from_secs(1_000_000_000));
    assert!(
        text.ends_with("\nReschedule Eligibility = 9s from now"),
        "{text}"
    );
}

fn port(label: &str, value: u16) -> logic::model::Port {
    logic::model::Port {
        label: label.to_owned(),
        value,
        to: 0,
    }
}

#[test]
fn what_an_update_has_found_out_is_shown_as_the_anchor_does() {
    let alloc = serde_json::json!({
        "ID": "181a2c2a-73bf", "DeploymentID": "f1cc2100-0000", "DeploymentStatus": null,
    });
    let facts = Facts::read(&alloc).expect("an allocation");
    let rows = pairs(&facts.update.rows(false));
    let expected = "Deployment ID     = f1cc2100\nDeployment Health = unset";
    assert_eq!(rows, expected);
    let canary = serde_json::json!({
        "DeploymentID": "f1cc2100-0000", "DeploymentStatus": { "Healthy": true, "Canary": true },
    });
    let facts = Facts::read(&canary).expect("an allocation");
    let rows = pairs(&facts.update.rows(false));
    assert!(
        rows.ends_with("healthy\nCanary            = true"),
        "{rows}"
    );
}

#[test]
fn several_ports_have_a_line_each() {
    let network = Network {
        ip: "10.0.0.1".to_owned(),
        reserved_ports: vec![port("admin", 8080)],
        dynamic_ports: vec![port("http", 23_456)],
        ..Network::default()
    };
    let resources = Resources {
        networks: vec![network.clone()],
        ..Resources::for_task()
    };
    assert_eq!(
        render_resources(&resources, 300, None),
        "CPU      Memory   Disk     IOPS  Addresses
100 MHz  300 MiB  300 MiB  0     admin: 10.0.0.1:8080
                                 http: 10.0.0.1:23456"
    );
    assert_eq!(
        group_addresses(&[network]),
        "Label  Dynamic  Address\nadmin  no       10.0.0.1:8080\nhttp   yes      10.0.0.1:23456"
    );
}

#[test]
fn a_drivers_error_of_several_lines_stays_one_row() {
    let event = TaskEvent {
        r#type: "Driver Failure".to_owned(),
        display_message: "no such image\n  `x`".to_owned(),
        time: 1,
        ..TaskEvent::default()
    };
    let text = render_events(&[event]);
    assert!(
        text.ends_with("Driver Failure  no such image `x`"),
        "{text}"
    );
}

#[test]
fn the_only_task_need_not_be_named() {
    let with = |tasks: &[&str]| AllocStub {
        id: "0e0dd4b7-a1c4".to_owned(),
        task_states: tasks
            .iter()
            .map(|task| ((*task).to_owned(), TaskState::default()))
            .collect::<BTreeMap<_, _>>(),
        ..AllocStub::default()
    };
    assert_eq!(chosen_task(&with(&["a"]), None), Ok("a".to_owned()));
    assert_eq!(
        chosen_task(&with(&["a", "b"]), Some("b")),
        Ok("b".to_owned())
    );
    let failure = chosen_task(&with(&["a", "b"]), None).expect_err("there are two");
    assert!(failure.message.contains("several tasks"));
    let failure = chosen_task(&with(&["a"]), Some("z")).expect_err("there is no z");
    assert!(
        failure
            .message
            .contains("has no task \"z\"; it has:\n  * a")
    );
    assert!(chosen_task(&with(&[]), None).is_err());
}
