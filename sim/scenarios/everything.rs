//! `everything-at-once`: users write, a service runs, and for a minute fate does what it likes.
//! Then it stops, and everything is as it should be.

use std::time::Duration;

use anyhow::Result;

use super::web;
use crate::fate;
use crate::load::Load;
use crate::user::User;

const FATE_LASTS: Duration = Duration::from_secs(60);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let count = 1 + user.pick(4);
    web::run(&user, count).await?;
    let load = Load::start(&user, 3);
    fate::play(&user, fate::EVERYTHING, FATE_LASTS).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    load.finish().await?;
    user.settled(Duration::from_secs(120)).await
}
