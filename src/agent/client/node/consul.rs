//! What a node says of the Consul beside it: constraints of jobs ask for its version.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Client;
use crate::catalog::AskBeside;

/// How often it is looked for until it was met.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Client {
    /// Looks at the host again once there is a Consul that tells of itself.
    pub(super) fn look_for_consul(&mut self, ctx: &mut Context<Self>) {
        let asking = self.catalog.send(AskBeside);
        ctx.spawn(asking.into_actor(self).map(|heard, client, ctx| {
            client.consul = heard.ok().flatten();
            client.meet_consul(ctx);
        }));
    }

    fn meet_consul(&mut self, ctx: &mut Context<Self>) {
        if self.consul.is_none() {
            return;
        }
        if self.registered && !self.consul_attributes().is_empty() {
            self.fingerprint(ctx);
        } else {
            ctx.run_later(LOOK_EVERY, Self::meet_consul);
        }
    }

    pub(super) fn consul_attributes(&self) -> BTreeMap<String, String> {
        let heard = self.consul.as_ref().map(|heard| heard.borrow().clone());
        heard.map_or_else(BTreeMap::new, |heard| heard.attributes.clone())
    }
}
