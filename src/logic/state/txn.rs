//! Transactions: steps that are tried one after the other on the state, which stays as it was if
//! one of them can't be.

use super::{Applying, Store};
use crate::model::{KvChange, KvPair, TxnDone, TxnOp, TxnVerb};

/// What a transaction that writes may read: its answer is remembered for a while.
const READ_BYTES_MAX: usize = 512 << 10;

impl Store {
    pub(super) fn change_by_steps(&mut self, ops: &[TxnOp], now: &Applying) -> TxnDone {
        let before = self.clone();
        let done = self.step_by_step(ops, now);
        if !done.errors.is_empty() {
            *self = before;
            return done;
        }
        let read: usize = done.rows.iter().map(|row| row.value.len()).sum();
        if read > READ_BYTES_MAX {
            *self = before;
            let text = format!("it reads {read} bytes: at most {READ_BYTES_MAX} if it writes too");
            return TxnDone {
                rows: Vec::new(),
                errors: vec![(0, text)],
            };
        }
        done
    }

    /// What a transaction that writes nothing comes to.
    pub fn read_by_steps(&self, ops: &[TxnOp]) -> TxnDone {
        let mut done = TxnDone::default();
        for (number, op) in ops.iter().enumerate() {
            match self.look(op) {
                Ok(rows) => done.rows.extend(rows),
                Err(why) => done.errors.push((number, why)),
            }
        }
        done
    }

    fn step_by_step(&mut self, ops: &[TxnOp], now: &Applying) -> TxnDone {
        let mut done = TxnDone::default();
        for (number, op) in ops.iter().enumerate() {
            let stepped = if op.verb.writes() {
                self.step(op, now)
            } else {
                self.look(op)
            };
            match stepped {
                Ok(rows) => done.rows.extend(rows),
                Err(why) => done.errors.push((number, why)),
            }
        }
        done
    }

    fn step(&mut self, op: &TxnOp, now: &Applying) -> Result<Vec<KvPair>, String> {
        let (key, value, flags) = (op.key.clone(), op.value.clone(), op.flags);
        let session = op.session.clone();
        let cas = Some(op.index);
        let (change, refused) = match op.verb {
            TxnVerb::Lock => (
                KvChange::Acquire {
                    key,
                    value,
                    flags,
                    session,
                },
                "lock is already held",
            ),
            TxnVerb::Unlock => (
                KvChange::Release {
                    key,
                    value,
                    flags,
                    session,
                },
                "lock isn't held, or is held by another session",
            ),
            TxnVerb::Cas => {
                let put = KvChange::Put {
                    key,
                    value,
                    flags,
                    cas,
                };
                (put, "index is stale")
            }
            TxnVerb::Delete => (KvChange::Delete { key, cas: None }, ""),
            TxnVerb::DeleteCas => (KvChange::Delete { key, cas }, "index is stale"),
            TxnVerb::DeleteTree => (KvChange::DeleteTree { prefix: key }, ""),
            _ => {
                let put = KvChange::Put {
                    key,
                    value,
                    flags,
                    cas: None,
                };
                (put, "")
            }
        };
        let is_gone = matches!(
            op.verb,
            TxnVerb::Delete | TxnVerb::DeleteCas | TxnVerb::DeleteTree
        );
        match self.change_kv(change, now) {
            Ok(true) if is_gone => Ok(Vec::new()),
            Ok(true) => Ok(self.kv(&op.key).map(|row| bare(row)).into_iter().collect()),
            Ok(false) => Err(format!(
                "failed to {} key \"{}\", {refused}",
                told(op),
                op.key
            )),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    fn look(&self, op: &TxnOp) -> Result<Vec<KvPair>, String> {
        let key = &op.key;
        let row = self.kv(key).map(|row| (**row).clone());
        let missing = || format!("key \"{key}\" doesn't exist");
        match op.verb {
            TxnVerb::Get => Ok(vec![row.ok_or_else(missing)?]),
            TxnVerb::GetOrEmpty => Ok(vec![row.unwrap_or_else(|| KvPair {
                key: key.clone(),
                ..KvPair::default()
            })]),
            TxnVerb::GetTree => Ok(self.kv_under(key).map(|row| (**row).clone()).collect()),
            TxnVerb::CheckIndex => {
                let row = row.ok_or_else(missing)?;
                if row.modify_index != op.index {
                    return Err(format!(
                        "current modify index {} for key \"{key}\" isn't {}",
                        row.modify_index, op.index
                    ));
                }
                Ok(vec![bare(&row)])
            }
            TxnVerb::CheckSession => {
                let row = row.ok_or_else(missing)?;
                if row.session != op.session {
                    return Err(format!(
                        "current session \"{}\" of key \"{key}\" isn't \"{}\"",
                        row.session, op.session
                    ));
                }
                Ok(vec![bare(&row)])
            }
            _ if row.is_some() => Err(format!("key \"{key}\" exists")),
            _ => Ok(Vec::new()),
        }
    }
}

/// A row without its value.
fn bare(row: &KvPair) -> KvPair {
    KvPair {
        value: bytes::Bytes::new(),
        ..row.clone()
    }
}

fn told(op: &TxnOp) -> &'static str {
    match op.verb {
        TxnVerb::Lock => "lock",
        TxnVerb::Unlock => "unlock",
        TxnVerb::DeleteCas => "delete",
        _ => "set",
    }
}
