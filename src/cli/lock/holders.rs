//! Who has which of a semaphore's places, as Consul's own programs write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is written at the semaphore's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Holders {
    limit: u64,
    /// By session.
    #[serde(default)]
    holders: BTreeMap<String, bool>,
}

/// What comes of an attempt to be one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// This is to be written.
    Take(Holders),
    Wait,
    /// Others count otherwise.
    Conflict(String),
}

impl Holders {
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(value)
            .map_err(|error| format!("the key isn't a semaphore's: {error}"))
    }

    pub(super) fn has(&self, session: &str) -> bool {
        self.holders.contains_key(session)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Takes a place for a session, if one is free. Who doesn't live any more has none.
    pub(super) fn take(
        written: Option<Self>,
        limit: u64,
        session: &str,
        lives: impl Fn(&str) -> bool,
    ) -> Attempt {
        let mut holders = written.unwrap_or_else(|| Self {
            limit,
            ..Self::default()
        });
        if holders.limit != limit {
            let there = holders.limit;
            return Attempt::Conflict(format!(
                "semaphore limit conflict (lock: {there}, local: {limit})"
            ));
        }
        holders.holders.retain(|holder, _| lives(holder));
        let taken = u64::try_from(holders.holders.len()).unwrap_or(u64::MAX);
        if !holders.has(session) && taken >= limit {
            return Attempt::Wait;
        }
        holders.holders.insert(session.to_owned(), true);
        Attempt::Take(holders)
    }

    pub(super) fn without(mut self, session: &str) -> Self {
        self.holders.remove(session);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(text: &str) -> Holders {
        Holders::read(text.as_bytes()).expect("holders")
    }

    #[test]
    fn a_place_is_taken_if_one_is_free() {
        let two = holders(r#"{"Limit":2,"Holders":{"a":true,"b":true}}"#);
        let all = |_: &str| true;
        assert_eq!(Holders::take(Some(two.clone()), 2, "c", all), Attempt::Wait);
        let only_b = |session: &str| session == "b";
        assert_eq!(
            Holders::take(Some(two.clone()), 2, "c", only_b),
            Attempt::Take(holders(r#"{"Limit":2,"Holders":{"b":true,"c":true}}"#))
        );
        assert!(matches!(
            Holders::take(Some(two.clone()), 3, "c", all),
            Attempt::Conflict(_)
        ));
        assert_eq!(
            Holders::take(None, 1, "c", all),
            Attempt::Take(holders(r#"{"Limit":1,"Holders":{"c":true}}"#))
        );
        assert!(two.has("a") && !two.without("a").has("a"));
        assert!(Holders::read(b"no").is_err());
    }
}
