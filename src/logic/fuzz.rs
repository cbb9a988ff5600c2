//! What must hold for any bytes: called with random ones by `fuzz/`.

use std::collections::BTreeMap;

use crate::catalog::View;
use crate::client_hello::Incoming;
use crate::fabio::{self, Typed, properties};
use crate::routes::{Matcher, Overrides, Rules, TAG_PREFIX, Table};

/// A hello means the same however its bytes come in, and none is lost.
pub fn client_hello(data: &[u8]) {
    let mut whole = Incoming::default();
    let read = whole.push(data);
    let mut pieces = Incoming::default();
    let mut piecewise = Ok(None);
    let mut taken = 0;
    for piece in data.chunks(7) {
        taken += piece.len();
        piecewise = pieces.push(piece);
        if !matches!(piecewise, Ok(None)) {
            break;
        }
    }
    match (&read, &piecewise) {
        (Ok(Some(hello)), Ok(Some(again))) => assert_eq!(hello, again),
        // Pieces may end at the hello, before what is wrong; or at a limit that only all reach.
        (Err(_), _) | (_, Err(_)) | (Ok(None), Ok(None)) => {}
        (read, piecewise) => panic!("whole {read:?}, in pieces {piecewise:?}"),
    }
    assert_eq!(pieces.received(), &data[..taken]);
    if let Ok(Some(hello)) = read
        && let Some(name) = hello.server_name
    {
        assert!(
            !name.is_empty() && name.len() <= 253 && name.is_ascii(),
            "{name:?}"
        );
    }
}

fn table(commands: &str, matcher: Matcher) -> Table {
    let rules = Rules {
        matcher,
        ..Rules::new(TAG_PREFIX)
    };
    let overrides = Overrides {
        commands: commands.to_owned(),
        ..Overrides::default()
    };
    Table::build(&View::default(), &rules, &overrides)
}

/// Every line is obeyed or told.
pub fn route_commands(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let made = table(&text, Matcher::Prefix);
    for bad in made.bad_lines() {
        assert!(!bad.reason.is_empty() && bad.number > 0, "{bad:?}");
    }
    for row in made.rows() {
        assert!((0.0..=1.0).contains(&row.weight), "{row:?}");
    }
}

/// The first line asks for a host and a path; the others make the table.
pub fn requests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (asked, commands) = text.split_once('\n').unwrap_or((&text, ""));
    let (host, path) = asked.split_once(' ').unwrap_or((asked, "/"));
    for matcher in [Matcher::Prefix, Matcher::PrefixInAnyCase, Matcher::Glob] {
        let table = table(commands, matcher);
        let found = table.find(host, path);
        let first = table.matching(host, path).next();
        assert_eq!(found.map(std::ptr::from_ref), first.map(std::ptr::from_ref));
        assert!(!table.trace(host, path).is_empty());
        for route in table.matching(host, path) {
            for n in 0..3 {
                let picked = route.pick(n);
                assert!(picked.is_none_or(|target| target.weight >= 0.0));
            }
            for target in &route.targets {
                assert!(target.rewrite(path).starts_with('/'), "{target:?}");
                drop(target.redirect_for("http", host, path, Some("a=b")));
            }
        }
        if let Some(route) = table.find_server_name(host) {
            let picked = route.pick_in_turn_for_connection();
            assert!(picked.is_some_and(|target| target.redirect.is_none()));
        }
    }
}

/// A file of options is read, or refused with a reason.
pub fn properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let none = BTreeMap::new();
    match fabio::configured(&Typed::default(), &none, Some(&text)) {
        Ok((fabio, _)) => assert!(!fabio.edge.listeners.is_empty()),
        Err(why) => assert!(!why.is_empty()),
    }
    drop(properties::parse(&text, &none));
}
