//! What is wrong with what is offered: services whose checks don't pass, tags that are no routes.

use logic::catalog::Instance;
use logic::model::{CHECK_CRITICAL, CHECK_PASSING};

use super::elements::{Tone, count, grouped};
use super::place::Place;
use super::seen::Seen;
use super::troubles::{NODES_SHOWN, Reason, Trouble, alloc_place, first_line};

pub(super) fn of_services(seen: &Seen) -> Vec<Trouble> {
    let services = seen.view.services.iter();
    services
        .filter_map(|(name, instances)| of_service(seen, name, instances))
        .collect()
}

/// Whether an instance is of an allocation that was given up: its client or its job already tells.
fn given_up(seen: &Seen, instance: &Instance) -> bool {
    let alloc = seen.store.alloc(&instance.service.alloc_id);
    alloc.is_some_and(|alloc| alloc.server_terminal())
}

fn of_service(seen: &Seen, name: &str, instances: &[Instance]) -> Option<Trouble> {
    let meant: Vec<_> = instances
        .iter()
        .filter(|one| one.passing() || !given_up(seen, one))
        .collect();
    let sick: Vec<_> = meant.iter().filter(|one| !one.passing()).collect();
    let critical = sick
        .iter()
        .filter(|one| one.status() == CHECK_CRITICAL)
        .count();
    if sick.is_empty() {
        return None;
    }
    let reason = |one: &&&&Instance| {
        let checks = one.checks.iter();
        let said: Vec<String> = checks
            .filter(|check| check.status != CHECK_PASSING)
            .map(|check| format!("{}: {}", check.name, first_line(&check.output)))
            .collect();
        let place = alloc_place(seen, &one.service.alloc_id);
        Reason::new(place, &one.node.node, said.join("; "))
    };
    let (number, verb) = match (critical, sick.len()) {
        (0, 1) => (1, "has a warning"),
        (0, number) => (number, "have warnings"),
        (1, _) => (1, "fails its checks"),
        (number, _) => (number, "fail their checks"),
    };
    let of = count(meant.len(), "instance", "instances");
    let reasons = sick.iter().take(NODES_SHOWN);
    Some(Trouble {
        tone: if critical == meant.len() {
            Tone::Bad
        } else {
            Tone::Warn
        },
        place: Place::Service(name.to_owned()),
        subject: name.to_owned(),
        says: format!("{} of {of} of this service {verb}", grouped(number)),
        since: None,
        reasons: reasons.map(|one| reason(&one)).collect(),
    })
}

pub(super) fn of_routes(seen: &Seen) -> Vec<Trouble> {
    let table = logic::routes::Table::new(&seen.view, &seen.tag_prefix);
    let rejected = table.rejected().iter();
    rejected
        .map(|rejected| Trouble {
            tone: Tone::Warn,
            place: Place::Service(rejected.service.clone()),
            subject: rejected.service.clone(),
            says: format!("The tag {} is no route: {}", rejected.tag, rejected.reason),
            since: None,
            reasons: Vec::new(),
        })
        .collect()
}
