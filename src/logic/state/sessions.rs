//! Sessions: they begin with a node and checks that are well, and end with them; what they held is
//! released or deleted in the same entry.

use std::sync::Arc;

use super::{Applying, Refusal, Reply, Store, Topic, of};
use crate::duration::to_std;
use crate::model::{CHECK_CRITICAL, Session, SessionBehavior, UserEvent};

impl Store {
    pub(super) fn create_session(
        &mut self,
        mut session: Session,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        if !self.catalog_nodes.contains(&session.node) {
            let text = format!(
                "Missing node registration: there is no node {:?}",
                session.node
            );
            return Err(Refusal::SessionCannotBe(text));
        }
        for id in session.node_checks.iter().chain(&session.service_checks) {
            let of_service = session.service_checks.contains(id);
            let check = self.checks.get(&(session.node.clone(), id.clone()));
            let Some(check) = check.filter(|check| check.service_id.is_empty() != of_service)
            else {
                let text = format!("Missing check '{id}' registration on {}", session.node);
                return Err(Refusal::SessionCannotBe(text));
            };
            if check.status == CHECK_CRITICAL {
                let text = format!("Check '{id}' is in critical state");
                return Err(Refusal::SessionCannotBe(text));
            }
        }
        session.id = now.ids.next_uuid();
        (session.create_index, session.modify_index) = (now.index, now.index);
        let id = session.id.clone();
        self.restore_session(Arc::new(session));
        self.touch(Topic::Sessions, now);
        Ok(Reply::Session { id })
    }

    pub(super) fn restore_sessions(
        &mut self,
        sessions: Vec<Arc<Session>>,
        events: Vec<Arc<UserEvent>>,
    ) {
        for event in events {
            self.events.insert_shared(event.index, event);
        }
        for session in sessions {
            self.restore_session(session);
        }
    }

    fn restore_session(&mut self, session: Arc<Session>) {
        self.sessions_by_node
            .insert((session.node.clone(), session.id.clone()), ());
        self.sessions.insert_shared(session.id.clone(), session);
    }

    /// Its holder says it is done: whoever is next needn't wait.
    pub(super) fn destroy_session(&mut self, id: &str, now: &mut Applying) {
        self.forget_session(id, false, now);
    }

    /// Its holder may not know that it ended.
    pub(super) fn end_session(&mut self, id: &str, now: &mut Applying) {
        self.forget_session(id, true, now);
    }

    fn forget_session(&mut self, id: &str, lost: bool, now: &mut Applying) {
        let Some(session) = self.sessions.get(id).cloned() else {
            return;
        };
        let held = self.kv.held_by(id);
        let until = now.at.plus(to_std(session.lock_delay));
        if !held.is_empty() {
            self.touch(Topic::Kv, now);
        }
        for key in held {
            match session.behavior {
                SessionBehavior::Release => self.kv.let_go(&key, now.index),
                SessionBehavior::Delete => {
                    self.kv.delete(&key, now.index);
                }
            }
            if lost && session.lock_delay > 0 {
                self.kv.delay(key, until);
            }
        }
        self.kv.collect_delays(now.at);
        self.sessions.remove(id);
        self.sessions_by_node
            .remove(&(session.node.clone(), id.to_owned()));
        self.touch(Topic::Sessions, now);
    }

    /// A check is critical or gone: so are the sessions that depend on it.
    pub(super) fn end_sessions_of_check(&mut self, node: &str, check_id: &str, now: &mut Applying) {
        self.end_sessions_where(node, |session| session.depends_on(check_id), now);
    }

    pub(super) fn end_sessions_of_node(&mut self, node: &str, now: &mut Applying) {
        self.end_sessions_where(node, |_| true, now);
    }

    fn end_sessions_where(
        &mut self,
        node: &str,
        ends: impl Fn(&Session) -> bool,
        now: &mut Applying,
    ) {
        let ended: Vec<String> = self
            .sessions_on(node)
            .filter(|session| ends(session))
            .map(|session| session.id.clone())
            .collect();
        for id in ended {
            self.end_session(&id, now);
        }
    }

    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(id)
    }

    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    pub fn sessions_on(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        of(&self.sessions_by_node, node).filter_map(|id| self.sessions.get(id))
    }

    /// What is wrong with locks and sessions, if something is.
    pub(crate) fn lock_contradiction(&self) -> Option<String> {
        let unheld = self.kv_under("").find_map(|row| {
            let is_orphan = !row.session.is_empty() && !self.sessions.contains(&row.session);
            is_orphan.then(|| format!("{} is held by {}, which has ended", row.key, row.session))
        });
        let unwell = self.sessions().find_map(|session| {
            if !self.catalog_nodes.contains(&session.node) {
                return Some(format!(
                    "{} lives without its node {}",
                    session.id, session.node
                ));
            }
            let mut checks = session.node_checks.iter().chain(&session.service_checks);
            checks.find_map(|id| {
                let check = self.checks.get(&(session.node.clone(), id.clone()));
                let is_well = check.is_some_and(|check| check.status != CHECK_CRITICAL);
                (!is_well).then(|| format!("{} lives without its check {id}", session.id))
            })
        });
        unheld.or(unwell)
    }
}

#[cfg(test)]
mod tests;
