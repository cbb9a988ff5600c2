//! Locks, and what ends their holders.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;

use super::*;
use crate::duration::SECOND;
use crate::invariants;
use crate::model::{
    CHECK_PASSING, CHECK_WARNING, CatalogChange, CatalogNode, Check, KvChange, ServiceInstance,
    TxnOp, TxnVerb,
};
use crate::state::{Command, Entry};
use crate::time::Time;

struct Locks {
    store: Store,
    at: i64,
}

impl Locks {
    fn new() -> Self {
        let mut locks = Self {
            store: Store::default(),
            at: 0,
        };
        let node = CatalogNode {
            node: "n1".into(),
            ..CatalogNode::default()
        };
        locks.apply(Command::RegisterCatalogNode { node }).unwrap();
        locks.check("web", "", CHECK_PASSING);
        locks
    }

    fn apply(&mut self, command: Command) -> Result<Reply, Refusal> {
        let entry = Entry {
            index: self.store.index() + 1,
            at: Time(self.at),
            proposal: String::new(),
            command,
        };
        let reply = self.store.apply(entry).reply;
        assert_eq!(invariants::check(&self.store), Ok(()));
        reply
    }

    fn check(&mut self, id: &str, service_id: &str, status: &str) {
        let change = CatalogChange {
            node: "n1".into(),
            services: vec![ServiceInstance {
                id: "s1".into(),
                service: "s".into(),
                ..ServiceInstance::default()
            }],
            checks: vec![Check {
                check_id: id.into(),
                status: status.into(),
                service_id: service_id.into(),
                ..Check::default()
            }],
            ..CatalogChange::default()
        };
        self.apply(Command::ChangeCatalog { change }).unwrap();
    }

    fn try_session(&mut self, session: Session) -> Result<String, Refusal> {
        let session = Session {
            node: "n1".into(),
            ..session
        };
        match self.apply(Command::CreateSession { session })? {
            Reply::Session { id } => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self, behavior: SessionBehavior, lock_delay: i64) -> String {
        let session = Session {
            behavior,
            lock_delay,
            node_checks: vec!["serfHealth".into(), "web".into()],
            ..Session::default()
        };
        self.try_session(session).unwrap()
    }

    fn change(&mut self, change: KvChange) -> Result<bool, Refusal> {
        match self.apply(Command::Kv { change })? {
            Reply::Kv { happened } => Ok(happened),
            other => panic!("{other:?}"),
        }
    }

    fn acquire(&mut self, session: &str) -> bool {
        self.change(KvChange::Acquire {
            key: "k".into(),
            value: Bytes::from_static(b"v"),
            flags: 0,
            session: session.into(),
        })
        .unwrap()
    }

    fn release(&mut self, session: &str) -> bool {
        self.change(KvChange::Release {
            key: "k".into(),
            value: Bytes::from_static(b"w"),
            flags: 0,
            session: session.into(),
        })
        .unwrap()
    }

    fn holder(&self) -> Option<(&str, u64)> {
        let row = self.store.kv("k")?;
        Some((&row.session, row.lock_index))
    }

    fn txn(&mut self, ops: &[(TxnVerb, &str, &str)]) -> Vec<(usize, String)> {
        let ops = ops.iter().map(|(verb, key, session)| TxnOp {
            verb: *verb,
            key: (*key).into(),
            value: Bytes::from_static(b"t"),
            flags: 0,
            index: 0,
            session: (*session).into(),
        });
        let ops = ops.collect();
        match self.apply(Command::Txn { ops }).unwrap() {
            Reply::Txn(done) => done.errors,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lock_has_one_holder_at_a_time() {
    let mut locks = Locks::new();
    let [a, b] = [0, 0].map(|delay| locks.session(SessionBehavior::Release, delay));
    assert!(!locks.release(&a), "there is no such key");
    assert!(locks.acquire(&a));
    assert!(locks.acquire(&a), "again");
    assert!(!locks.acquire(&b));
    assert!(!locks.release(&b));
    assert_eq!(locks.holder(), Some((a.as_str(), 1)));
    let put = KvChange::Put {
        key: "k".into(),
        value: Bytes::new(),
        flags: 0,
        cas: None,
    };
    assert!(locks.change(put).unwrap(), "locks are advice");
    assert_eq!(locks.holder(), Some((a.as_str(), 1)));
    assert!(locks.release(&a));
    assert_eq!(locks.holder(), Some(("", 1)));
    assert!(locks.acquire(&b), "a release delays nobody");
    assert_eq!(locks.holder(), Some((b.as_str(), 2)));
    assert_eq!(Store::restore(locks.store.dump()), locks.store);
    let nobody = locks.change(KvChange::Acquire {
        key: "k".into(),
        value: Bytes::new(),
        flags: 0,
        session: "nobody".into(),
    });
    assert_eq!(nobody, Err(Refusal::NoSuchSession("nobody".into())));
}

#[test]
fn whatever_ends_a_session_frees_its_keys_as_it_says() {
    type End = fn(&mut Locks, &str);
    let ends: [(&str, bool, End); 6] = [
        ("destroyed", false, |locks, id| {
            locks
                .apply(Command::DestroySession { id: id.into() })
                .unwrap();
        }),
        ("expired", true, |locks, id| {
            locks
                .apply(Command::ExpireSession { id: id.into() })
                .unwrap();
        }),
        ("its check fails", true, |locks, _| {
            locks.check("web", "", CHECK_CRITICAL);
        }),
        ("its check is gone", true, |locks, _| {
            let change = CatalogChange {
                node: "n1".into(),
                remove_checks: vec!["web".into()],
                ..CatalogChange::default()
            };
            locks.apply(Command::ChangeCatalog { change }).unwrap();
        }),
        (
            "what its node offers has no such check",
            true,
            |locks, _| {
                let change = CatalogChange {
                    node: "n1".into(),
                    whole: true,
                    ..CatalogChange::default()
                };
                locks.apply(Command::ChangeCatalog { change }).unwrap();
            },
        ),
        ("its node can't be reached", true, |locks, _| {
            let node = "n1".to_owned();
            let reachable = false;
            locks
                .apply(Command::SetReachable { node, reachable })
                .unwrap();
        }),
    ];
    for (why, delays, end) in ends {
        for behavior in [SessionBehavior::Release, SessionBehavior::Delete] {
            let mut locks = Locks::new();
            let bystander = locks.try_session(Session::default()).unwrap();
            let id = locks.session(behavior, 15 * SECOND);
            assert!(locks.acquire(&id));
            let before = locks.store.kv_index_of("k");
            end(&mut locks, &id);
            assert!(locks.store.session(&id).is_none(), "{why}");
            assert!(locks.store.session(&bystander).is_some(), "{why}");
            let left = (behavior == SessionBehavior::Release).then_some(("", 1));
            assert_eq!(locks.holder(), left, "{why}");
            assert!(
                locks.store.kv_index_of("k") > before,
                "who waits is told: {why}"
            );
            assert_eq!(Store::restore(locks.store.dump()), locks.store, "{why}");
            assert_eq!(locks.acquire(&bystander), !delays, "{why}");
            locks.at += 15 * SECOND;
            assert!(locks.acquire(&bystander), "{why}");
        }
    }
}

#[test]
fn a_session_begins_only_where_its_checks_are_well() {
    let mut locks = Locks::new();
    locks.check("own", "s1", CHECK_WARNING);
    locks.check("bad", "", CHECK_CRITICAL);
    let with = |node_checks: &[&str], service_checks: &[&str]| Session {
        node_checks: node_checks.iter().map(|id| (*id).into()).collect(),
        service_checks: service_checks.iter().map(|id| (*id).into()).collect(),
        ..Session::default()
    };
    assert!(locks.try_session(with(&["web"], &["own"])).is_ok());
    for (node_checks, service_checks) in [
        (&["bad"][..], &[][..]),
        (&["own"], &[]),
        (&[], &["web"]),
        (&["none"], &[]),
    ] {
        let refused = locks.try_session(with(node_checks, service_checks));
        assert!(refused.is_err(), "{node_checks:?} {service_checks:?}");
    }
    let session = Session {
        node: "n2".into(),
        ..Session::default()
    };
    assert!(locks.apply(Command::CreateSession { session }).is_err());
}

#[test]
fn a_transaction_happens_as_a_whole_or_not_at_all() {
    let mut locks = Locks::new();
    let [a, b] = [0, 0].map(|delay| locks.session(SessionBehavior::Release, delay));
    let steps = [
        (TxnVerb::CheckNotExists, "k", ""),
        (TxnVerb::Lock, "k", a.as_str()),
        (TxnVerb::CheckSession, "k", a.as_str()),
        (TxnVerb::Set, "l", ""),
    ];
    assert_eq!(locks.txn(&steps), []);
    assert_eq!(locks.holder(), Some((a.as_str(), 1)));
    for (verb, key, session) in [
        (TxnVerb::Lock, "k", b.as_str()),
        (TxnVerb::Lock, "k", "nobody"),
        (TxnVerb::Unlock, "k", b.as_str()),
        (TxnVerb::CheckSession, "k", b.as_str()),
        (TxnVerb::CheckIndex, "k", ""),
        (TxnVerb::CheckNotExists, "l", ""),
        (TxnVerb::Cas, "l", ""),
        (TxnVerb::DeleteCas, "l", ""),
        (TxnVerb::Get, "none", ""),
    ] {
        let before = locks.store.dump();
        let errors = locks.txn(&[
            (TxnVerb::Delete, "k", ""),
            (TxnVerb::Set, "k", ""),
            (TxnVerb::Lock, "k", &a),
            (verb, key, session),
        ]);
        assert!(matches!(errors.as_slice(), [(3, _)]), "{verb:?} {errors:?}");
        let rows = |dump: crate::state::Dump| (dump.kv, dump.sessions, dump.indexes);
        assert_eq!(rows(locks.store.dump()), rows(before), "{verb:?}");
    }
    assert_eq!(locks.txn(&[(TxnVerb::DeleteTree, "", "")]), []);
    assert_eq!(locks.store.kv_under("").count(), 0);
}
