//! From what was typed to the one thing that is meant: an id, or a prefix that only one has.

use logic::model::Evaluation;
use serde::de::DeserializeOwned;

use super::api::{AllocStub, JobStub, NodeStub};
use super::deployment::{self, Deployment};
use super::exit::Failure;
use super::http::{Client, escaped};
use super::{alloc, eval, job_status, node};

/// A row of a list that can be asked for by prefix.
pub(super) trait Row: DeserializeOwned {
    /// The list.
    const PATH: &str;
    /// One of them, and several.
    const ONE: &str;
    const MANY: &str;
    /// What an unknown id is answered with, up to the id.
    const NONE_WITH: &str;

    fn id(&self) -> &str;

    /// Several of them as a table.
    fn listed(rows: &[Self]) -> String;
}

/// Everything whose id begins like that.
pub(super) async fn with_prefix<R: Row>(client: &Client, prefix: &str) -> Result<Vec<R>, Failure> {
    let path = format!("{}?prefix={}", R::PATH, escaped(prefix));
    let rows = client.get(&path).await;
    rows.map_err(|error| Failure::from(error).during(format!("Error querying {}", R::ONE)))
}

/// The one that is meant.
pub(super) async fn one<R: Row>(client: &Client, typed: &str) -> Result<R, Failure> {
    let typed = typed.trim();
    let rows = with_prefix(client, typed).await?;
    chosen(rows, typed)
}

fn chosen<R: Row>(mut rows: Vec<R>, typed: &str) -> Result<R, Failure> {
    if let Some(exact) = rows.iter().position(|row| row.id() == typed) {
        return Ok(rows.swap_remove(exact));
    }
    match (rows.pop(), rows.is_empty()) {
        (None, _) => Err(Failure::new(format!("{} \"{typed}\" found", R::NONE_WITH))),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            rows.push(last);
            let table = R::listed(&rows);
            Err(Failure::new(format!(
                "Prefix matched multiple {}\n\n{table}",
                R::MANY
            )))
        }
    }
}

impl Row for JobStub {
    const PATH: &str = "/v1/jobs";
    const ONE: &str = "job";
    const MANY: &str = "jobs";
    const NONE_WITH: &str = "No job(s) with prefix or id";

    fn id(&self) -> &str {
        &self.id
    }

    fn listed(rows: &[Self]) -> String {
        job_status::render_list(rows)
    }
}

impl Row for AllocStub {
    const PATH: &str = "/v1/allocations";
    const ONE: &str = "allocation";
    const MANY: &str = "allocations";
    const NONE_WITH: &str = "No allocation(s) with prefix or id";

    fn id(&self) -> &str {
        &self.id
    }

    fn listed(rows: &[Self]) -> String {
        alloc::render_list(rows, super::now(), false)
    }
}

impl Row for NodeStub {
    const PATH: &str = "/v1/nodes";
    const ONE: &str = "node";
    const MANY: &str = "nodes";
    const NONE_WITH: &str = "No node(s) with prefix";

    fn id(&self) -> &str {
        &self.id
    }

    fn listed(rows: &[Self]) -> String {
        node::render_list(rows, None, false)
    }
}

impl Row for Evaluation {
    const PATH: &str = "/v1/evaluations";
    const ONE: &str = "evaluation";
    const MANY: &str = "evaluations";
    const NONE_WITH: &str = "No evaluation(s) with prefix or id";

    fn id(&self) -> &str {
        &self.id
    }

    fn listed(rows: &[Self]) -> String {
        eval::render_list(rows, false)
    }
}

impl Row for Deployment {
    const PATH: &str = "/v1/deployments";
    const ONE: &str = "deployment";
    const MANY: &str = "deployments";
    const NONE_WITH: &str = "No deployment(s) with prefix or id";

    fn id(&self) -> &str {
        &self.id
    }

    fn listed(rows: &[Self]) -> String {
        deployment::render_list(rows, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(ids: &[&str]) -> Vec<JobStub> {
        let job = |id: &&str| JobStub {
            id: (*id).to_owned(),
            ..JobStub::default()
        };
        ids.iter().map(job).collect()
    }

    #[test]
    fn an_exact_id_wins_over_longer_ones() {
        let job = chosen(jobs(&["web-2", "web"]), "web").expect("there is one");
        assert_eq!(job.id, "web");
        let job = chosen(jobs(&["web-2"]), "we").expect("there is one");
        assert_eq!(job.id, "web-2");
    }

    #[test]
    fn nothing_found_and_too_much_found_are_told() {
        let failure = chosen(jobs(&[]), "nosuch").expect_err("there is none");
        assert_eq!(
            failure.message,
            "No job(s) with prefix or id \"nosuch\" found"
        );
        let failure = chosen(jobs(&["a1", "a2"]), "a").expect_err("there are two");
        assert!(
            failure
                .message
                .starts_with("Prefix matched multiple jobs\n\nID  Type")
        );
        assert!(failure.message.contains("a2"));
    }

    #[test]
    fn two_allocations_for_a_prefix_are_listed() {
        let alloc = |id: &str| AllocStub {
            id: id.to_owned(),
            node_id: "6dbe0d79-ad99".to_owned(),
            task_group: "web".to_owned(),
            ..AllocStub::default()
        };
        let both = vec![alloc("0e0dd4b7-a1c4"), alloc("0e0ddfff-a1c4")];
        let failure = chosen(both, "0e0dd").expect_err("there are two");
        let mut lines = failure.message.lines();
        assert_eq!(lines.next(), Some("Prefix matched multiple allocations"));
        assert!(
            failure.message.contains("\n0e0dd4b7  6dbe0d79  web"),
            "{failure:?}"
        );
        assert!(
            failure.message.contains("\n0e0ddfff  6dbe0d79  web"),
            "{failure:?}"
        );
    }
}
