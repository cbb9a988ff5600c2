//! What an operator's commands make of the catalog's routes, and how requests are matched.

use super::*;

const TAG: &[&str] = &["urlprefix-mysite.com/", "blue"];
const GREEN: &[&str] = &["urlprefix-mysite.com/", "green"];

fn overridden(commands: &str) -> Table {
    let rows: [Row; 2] = [
        ("web", "10.0.0.1", 1, TAG, Some(CHECK_PASSING)),
        ("web", "10.0.0.2", 2, GREEN, Some(CHECK_PASSING)),
    ];
    let overrides = Overrides {
        commands: commands.to_owned(),
        no_route_page: "nothing here".to_owned(),
    };
    Table::build(&view(&rows), &Rules::new(PREFIX), &overrides)
}

/// Source, destination and weight of each row.
fn shown(table: &Table) -> Vec<String> {
    let rows = table.rows().into_iter();
    rows.map(|row| format!("{} {} {:.2}", row.src, row.dst, row.weight))
        .collect()
}

#[test]
fn commands_change_what_tags_say() {
    for (commands, expected) in [
        (
            "# a comment\n\n// another",
            &[
                "mysite.com/ http://10.0.0.2:2/ 0.50",
                "mysite.com/ http://10.0.0.1:1/ 0.50",
            ][..],
        ),
        (
            "route weight web mysite.com/ weight 0.8 tags \"blue\"",
            &[
                "mysite.com/ http://10.0.0.2:2/ 0.20",
                "mysite.com/ http://10.0.0.1:1/ 0.80",
            ],
        ),
        (
            "route weight mysite.com:80/ weight 1 tags \"green\"",
            &[
                "mysite.com/ http://10.0.0.2:2/ 1.00",
                "mysite.com/ http://10.0.0.1:1/ 0.00",
            ],
        ),
        (
            "route del web mysite.com/ http://10.0.0.2:2",
            &["mysite.com/ http://10.0.0.1:1/ 1.00"],
        ),
        (
            "route del tags \"green\"",
            &["mysite.com/ http://10.0.0.1:1/ 1.00"],
        ),
        (
            "route del web tags \"blue,green\"",
            &[
                "mysite.com/ http://10.0.0.2:2/ 0.50",
                "mysite.com/ http://10.0.0.1:1/ 0.50",
            ],
        ),
        ("route del web", &[]),
        (
            "route del web\nroute add api /api https://10.0.0.3:443/ weight 0.5 tags \"a,b\" \
             opts \"strip=/api tlsskipverify=true\"",
            &["/api https://10.0.0.3:443 1.00"],
        ),
        (
            "route del web\nroute add old old.com/ https://new.com/x opts \"redirect=301\"",
            &["old.com/ https://new.com/x 1.00"],
        ),
        (
            "route del web\nroute add t :9997 tcp://[::1]:7\nroute add h /h http://h/",
            &["/h http://h:80/ 1.00", ":9997 tcp://[::1]:7 1.00"],
        ),
    ] {
        let table = overridden(commands);
        assert_eq!(table.bad_lines(), [], "{commands}");
        assert_eq!(shown(&table), expected, "{commands}");
    }
}

#[test]
fn a_line_that_means_nothing_spoils_only_itself() {
    let lines = [
        (
            "rout add web / http://h/",
            "write route add, route del or route weight",
        ),
        (
            "route add web /",
            "write route add SERVICE SOURCE DESTINATION",
        ),
        (
            "route add web nohost http://h/",
            "\"nohost\" has no path; write nohost/",
        ),
        (
            "route add web / http://h:0/",
            "\"http://h:0/\" is no destination",
        ),
        ("route add web / h:80", "\"h:80\" is no destination"),
        (
            "route add web / http://h/ weigth 1",
            "\"weigth\" is unknown",
        ),
        (
            "route add web / http://h/ opts \"strip=/a",
            "a quote isn't closed",
        ),
        ("route del", "write route del"),
        (
            "route weight web mysite.com/ weight x",
            "\"x\" is not a weight",
        ),
        (
            "route weight other mysite.com/ weight 1",
            "no target of a route is meant",
        ),
    ];
    let mut commands: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    commands.push("route del tags \"green\"");
    let table = overridden(&commands.join("\n"));
    assert_eq!(table.bad_lines().len(), lines.len());
    for (bad, (line, reason)) in table.bad_lines().iter().zip(lines) {
        assert_eq!(bad.line, line);
        assert!(bad.reason.starts_with(reason), "{line}: {}", bad.reason);
    }
    assert_eq!(table.rows().len(), 1);
    assert_eq!(table.no_route_page(), "nothing here");
}

#[test]
fn a_tables_own_commands_make_the_same_table() {
    let table = table(&seed());
    let overrides = Overrides {
        commands: table.commands().join("\n"),
        ..Overrides::default()
    };
    let again = Table::build(&view(&[]), &Rules::new(PREFIX), &overrides);
    assert_eq!(again.bad_lines(), []);
    assert_eq!(again.rows(), table.rows());
}

#[test]
fn paths_are_matched_as_asked() {
    let rows: [Row; 1] = [(
        "web",
        "10.0.0.1",
        1,
        &["urlprefix-/Foo/*/bar", "urlprefix-/", "urlprefix-*.x.com/"],
        Some(CHECK_PASSING),
    )];
    let rules = |matcher, host_patterns| Rules {
        matcher,
        host_patterns,
        ..Rules::new(PREFIX)
    };
    for (matcher, path, expected) in [
        (Matcher::Prefix, "/Foo/*/bar/x", Some("/Foo/*/bar")),
        (Matcher::Prefix, "/foo/*/bar", Some("/")),
        (Matcher::PrefixInAnyCase, "/FOO/*/bar", Some("/Foo/*/bar")),
        (Matcher::Glob, "/Foo/1/2/bar", Some("/Foo/*/bar")),
        (Matcher::Glob, "/Foo/1", None),
        (Matcher::Glob, "/", Some("/")),
    ] {
        let rules = rules(matcher, true);
        let table = Table::build(&view(&rows), &rules, &Overrides::default());
        assert_eq!(
            found(&table, "h", path).as_deref(),
            expected,
            "{matcher:?} {path}"
        );
    }
    let literal = rules(Matcher::Prefix, false);
    let table = Table::build(&view(&rows), &literal, &Overrides::default());
    assert_eq!(found(&table, "a.x.com", "/").as_deref(), Some("/"));
}

#[test]
fn turns_are_shared_out_exactly_and_spread() {
    let table = tagged(&["urlprefix-/ weight=0.2", "urlprefix-/", "urlprefix-/"]);
    let route = table.find("h", "/").expect("a route");
    let mut counts = BTreeMap::new();
    let (mut last, mut run, mut longest) = (String::new(), 0, 0);
    for _ in 0..10_000 {
        let address = &route.pick_in_turn().expect("a target").address;
        *counts.entry(address.clone()).or_insert(0) += 1;
        run = if *address == last { run + 1 } else { 1 };
        longest = longest.max(run);
        address.clone_into(&mut last);
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2000, 4000, 4000]);
    assert!(longest <= 4, "{longest} in a row");
    let equal = tagged(&["urlprefix-/", "urlprefix-/", "urlprefix-/"]);
    let route = equal.find("h", "/").expect("a route");
    let turns = (0..6).map(|_| route.pick_in_turn().expect("a target").address.clone());
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns[..3], turns[3..]);
}
