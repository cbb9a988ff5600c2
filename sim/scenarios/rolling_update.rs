//! `rolling-update`: a service is updated while visitors ask for it all the time and the leader
//! dies, a bad version is tried and taken back, and a canary is promoted. No request fails.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logic::model::{Allocation, Value as ModelValue};
use serde_json::{Value, json};

use super::web::{self, Visitor};
use crate::order::Order;
use crate::user::User;

const COUNT: usize = 3;
const GOOD: &str = "bigwhite/httpbackendservice:v1.0.0";
const BETTER: &str = "bigwhite/httpbackendservice:v1.0.1";
/// It ends again and again, and answers nobody meanwhile.
const BAD: &str = "crashy";
/// One step of a rollout: a start, its checks, two seconds of health, and a leader that dies.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// The progress deadline is 40 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(75);

const UPDATE: &str = r#"
    max_parallel      = 1
    min_healthy_time  = "2s"
    healthy_deadline  = "20s"
    progress_deadline = "40s"
    auto_revert       = true"#;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    web::deploy(&user, COUNT, GOOD, UPDATE).await?;
    succeeded(&user, 0, STEP_WITHIN).await?;
    known_everywhere(&user).await?;
    let visitors = Visitor::on_each(&user, &user.size.client_names());

    user.say("a better version");
    web::deploy(&user, COUNT, BETTER, UPDATE).await?;
    stopped_by_hand(&user, 1).await?;
    leader_dies(&user).await?;
    succeeded(&user, 1, STEP_WITHIN * 3).await?;
    let unhealthy = &deployment(&user, 1).await?["TaskGroups"]["web"]["UnhealthyAllocs"];
    ensure!(unhealthy == 0, "{unhealthy} count as unhealthy");
    all_run(&user, BETTER).await?;

    user.say("a bad version");
    web::deploy(&user, COUNT, BAD, UPDATE).await?;
    leader_dies(&user).await?;
    taken_back(&user).await?;
    succeeded(&user, 3, STEP_WITHIN * 2).await?;
    all_run(&user, BETTER).await?;

    user.say("a canary");
    let update = format!("{UPDATE}\n    canary            = 1");
    web::deploy(&user, COUNT, GOOD, &update).await?;
    let id = canary_is_healthy(&user).await?;
    let promote = json!({ "DeploymentID": id, "All": true });
    let path = format!("/v1/deployment/promote/{id}");
    user.api("PUT", &path, Some(&promote)).await?;
    succeeded(&user, 4, STEP_WITHIN * 3).await?;
    all_run(&user, GOOD).await?;
    for visitor in visitors {
        visitor.finish().await?;
    }
    user.settled(Duration::from_secs(60)).await
}

/// The deployment of this version, as it is now.
async fn deployment(user: &User, version: u64) -> Result<Value> {
    let all = user.api("GET", "/v1/job/web/deployments", None).await?;
    let all = all.as_array().context("no list")?;
    let found = all.iter().find(|row| row["JobVersion"] == version);
    found.cloned().context("there is no deployment of it yet")
}

async fn succeeded(user: &User, version: u64, within: Duration) -> Result<()> {
    let what = format!("version {version} is rolled out");
    user.eventually(&what, within, || async {
        let row = deployment(user, version).await?;
        ensure!(row["Status"] == "successful", "it is {row}");
        let versions = user.api("GET", "/v1/job/web/versions", None).await?;
        let versions = versions["Versions"].as_array().context("no versions")?;
        let stable = versions.iter().find(|row| row["Version"] == version);
        ensure!(
            stable.is_some_and(|row| row["Stable"] == true),
            "not stable"
        );
        Ok(())
    })
    .await
}

/// Everybody's DNS and edge know the instances: from here on no request may fail.
async fn known_everywhere(user: &User) -> Result<()> {
    let ports = web::ports(&user.running("web").await?);
    for host in user.size.client_names() {
        web::known(user, &host, &ports, STEP_WITHIN).await?;
    }
    Ok(())
}

/// Somebody stops the first allocation of a version: that says nothing about the version.
async fn stopped_by_hand(user: &User, version: u64) -> Result<()> {
    let id = user
        .eventually("the first one is placed", STEP_WITHIN, || async {
            let all = user.api("GET", "/v1/job/web/allocations", None).await?;
            let mut all = all.as_array().context("no list")?.iter();
            let first = all.find(|row| row["JobVersion"] == version);
            let id = first.and_then(|row| row["ID"].as_str());
            id.map(str::to_owned).context("none is placed yet")
        })
        .await?;
    let moment = user.random.below(1_500);
    tokio::time::sleep(Duration::from_millis(moment)).await;
    let path = format!("/v1/allocation/{id}/stop");
    user.api("PUT", &path, None).await.map(drop)
}

/// At some moment of a rollout, the leader loses power; it comes back later.
async fn leader_dies(user: &User) -> Result<()> {
    let moment = user.random.below(6_000);
    tokio::time::sleep(Duration::from_millis(moment)).await;
    if user.size.servers < 3 {
        return Ok(());
    }
    let old = user.leader()?;
    user.say(&format!("{old} leads, and loses power"));
    user.order(Order::Crash(old.clone()));
    user.another_leader(&old, STEP_WITHIN).await?;
    user.order(Order::Bounce(old.clone()));
    user.caught_up(&old, STEP_WITHIN).await
}

/// What ran well went on running, and the job is what it was before.
async fn taken_back(user: &User) -> Result<()> {
    user.eventually("the bad version is taken back", GIVEN_UP_WITHIN, || async {
        let row = deployment(user, 2).await?;
        let text = row["StatusDescription"].as_str().unwrap_or_default();
        let wanted = "Failed due to progress deadline - rolling back to job version 1";
        ensure!(text == wanted, "it is {row}");
        Ok(())
    })
    .await?;
    let job = user.api("GET", "/v1/job/web", None).await?;
    ensure!(job["Version"] == 3, "the job is at {}", job["Version"]);
    Ok(())
}

fn runs(alloc: &Allocation, image: &str) -> bool {
    let task = alloc.group().and_then(|group| group.tasks.first());
    let of_task = task.and_then(|task| task.config.get("image"));
    of_task == Some(&ModelValue::String(image.to_owned()))
}

async fn all_run(user: &User, image: &str) -> Result<()> {
    let what = format!("{COUNT} run {image}");
    user.eventually(&what, STEP_WITHIN, || async {
        let running = user.running("web").await?;
        let well = running.iter().filter(|alloc| runs(alloc, image)).count();
        ensure!(
            well == COUNT && running.len() == COUNT,
            "{well} of {}",
            running.len()
        );
        Ok(())
    })
    .await
}

/// One of the new version runs beside all of the old one, and nothing else happens. Returns the
/// deployment's id.
async fn canary_is_healthy(user: &User) -> Result<String> {
    let row = user.eventually("the canary is healthy", STEP_WITHIN, || async {
        let row = deployment(user, 4).await?;
        let state = &row["TaskGroups"]["web"];
        ensure!(state["HealthyAllocs"] == 1, "it is {row}");
        ensure!(
            state["PlacedCanaries"]
                .as_array()
                .is_some_and(|ids| ids.len() == 1)
        );
        Ok(row)
    });
    let row = row.await?;
    let asks = "Deployment is running but requires manual promotion";
    ensure!(row["StatusDescription"] == asks, "{row}");
    let running = user.running("web").await?;
    let new = running.iter().filter(|alloc| runs(alloc, GOOD)).count();
    ensure!(
        running.len() == COUNT + 1 && new == 1,
        "{new} of {}",
        running.len()
    );
    let id = row["ID"].as_str().context("no id")?;
    Ok(id.to_owned())
}
