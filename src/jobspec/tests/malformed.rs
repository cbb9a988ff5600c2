//! Twenty files with one mistake each: every mistake is named, with its place.

use jobspec::parse_job;

use super::{shared, told};

/// File, and what is said about it.
const FILES: [(&str, &[&str]); 19] = [
    (
        "01-missing-brace",
        &["1:11: this `{` is never closed | add a `}` where the block ends"],
    ),
    (
        "02-misspelt-datacenters",
        &["2:3: `datacentres` isn't known in job | did you mean `datacenters`?"],
    ),
    (
        "03-misspelt-check-interval",
        &["35:11: `intervall` isn't known in check | did you mean `interval`?"],
    ),
    (
        "05-count-string",
        &["6:13: `count` must be a whole number, not the string \"two\""],
    ),
    (
        "06-no-driver",
        &["8:5: task `bad` has no driver | such as driver = \"docker\""],
    ),
    (
        "07-duplicate-group",
        &["41:9: group `bad` is defined more than once"],
    ),
    (
        "09-bad-duration",
        &[
            "35:22: `interval`: `seconds` in `10 seconds` is not a unit of time: use ns, us, ms, \
             s, m or h, such as `10s`",
        ],
    ),
    (
        "10-empty",
        &["1:1: the file has no `job` block | a job file begins like this: job \"NAME\" {"],
    ),
    (
        "12-unknown-driver",
        &["9:16: unknown driver `dockr` | did you mean `docker`?"],
    ),
    (
        "13-unclosed-string",
        &[
            "9:16: this string has no closing `\"` on its line | close it, or use a heredoc \
             (`<<EOF`) for several lines",
        ],
    ),
    (
        "15-json",
        &["1:8: job `x` has no group | a job needs at least one `group` with a `task`"],
    ),
    (
        "17-negative-count",
        &["6:13: count is -1, it must be 0 or more"],
    ),
    ("18-no-such-dc", &[]),
    (
        "20-check-no-timeout",
        &["31:9: the check has no timeout | such as timeout = \"10s\""],
    ),
    (
        "23-port-map-label-mismatch",
        &[
            "13:11: port_map names port `htp`, which the network doesn't have | did you mean `http`?",
        ],
    ),
    ("25-memory-too-big", &[]),
    (
        "29-misspelt-group",
        &["5:3: `grup` isn't known in job | did you mean `group`?"],
    ),
    (
        "31-job-without-name",
        &["1:1: this `job` has no name | write `job \"NAME\" { ... }`"],
    ),
    ("33-binary", &["1:1: this isn't text: invalid UTF-8"]),
];

#[test]
fn every_mistake_is_named_with_its_place() {
    for (name, expected) in FILES {
        let Some(bytes) = shared(&format!("golden/malformed/{name}.nomad")) else {
            return;
        };
        match parse_job(name, &bytes) {
            Ok(_) => assert!(expected.is_empty(), "{name} was accepted"),
            Err(errors) => assert_eq!(told(&errors), expected, "{name}"),
        }
    }
}

/// What only the cluster can know is no mistake of the file.
#[test]
fn what_is_a_matter_of_placement_is_accepted() {
    for name in [
        "18-no-such-dc",
        "25-memory-too-big",
        "27-impossible-constraint",
        "35-count-zero",
    ] {
        let Some(bytes) = shared(&format!("golden/malformed/{name}.nomad")) else {
            return;
        };
        let parsed = parse_job(name, &bytes).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        assert_eq!(parsed.job.id, "bad");
    }
}

/// A whole job on one line, as programs write JSON.
#[test]
fn of_a_long_line_only_the_part_in_question_is_shown() {
    let filler = "\"x\": 1, ".repeat(40);
    let text = format!("{{\"Job\": {{\"Meta\": {{{filler}\"y\": 1}}, \"Taskgroups\": []}}}}");
    let errors = parse_job("long.json", text.as_bytes()).expect_err("a mistake");
    let rendered = errors.render(&text);
    assert!(rendered.contains("..."), "{rendered}");
    for line in rendered.lines() {
        assert!(line.chars().count() < 140, "{line}");
    }
}
