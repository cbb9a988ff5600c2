//! What HCL 1 and HCL 2 write, and what is said about what they can't.

use logic::model::{Job, Task, Value};

use super::{accepted, job_with, refused, told};

fn task(job: &Job) -> &Task {
    &job.task_groups[0].tasks[0]
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = accepted(text).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn hcl_1_habits_are_taken_with_a_warning() {
    for (text, warning) in [
        (
            job_with(
                "constraint { attribute = \"${attr.arch}\" value = \"amd64\" }",
                "",
            ),
            "web.nomad:3:45: several attributes or blocks on one line: HCL 2 wants each on its own",
        ),
        (
            job_with("\"count\" = 2", ""),
            "web.nomad:3:5: quoted key: HCL 2 wants it without quotes",
        ),
        (
            job_with("count = 2,", ""),
            "web.nomad:3:14: stray `,`: HCL 2 ends an attribute with its line",
        ),
        (
            job_with("", "env {\n A = \"${B:-c}\"\n }"),
            "web.nomad:8:7: this isn't an HCL 2 interpolation, it is taken as literal text: \
             write `$${` for that",
        ),
    ] {
        assert_eq!(warnings(&text), [warning], "{text}");
    }
}

#[test]
fn comments_of_every_kind_are_skipped() {
    let text = job_with(
        "# one\n // two\n /* three\n still */ count = /* four */ 3 # five",
        "user = \"a\" // six",
    );
    let parsed = accepted(&text);
    assert_eq!(parsed.job.task_groups[0].count, Some(3));
    assert_eq!(task(&parsed.job).user, "a");
    assert_eq!(parsed.warnings, []);
}

#[test]
fn a_task_right_in_the_job_is_a_group_of_its_own() {
    let job = accepted(
        r#"job "a" {
             task "b" {
               driver = "raw_exec"
               config { command = "/bin/true" }
             }
           }"#,
    )
    .job;
    let group = &job.task_groups[0];
    assert_eq!((group.name.as_str(), group.count), ("b", Some(1)));
    assert_eq!(group.tasks[0].name, "b");
}

#[test]
fn maps_can_be_blocks_repeated_blocks_or_attributes() {
    let network = "resources {\n network {\n port \"http\" {}\n port \"admin\" {}\n }\n }\n";
    let expected = [
        ("admin".to_owned(), Value::Int(9)),
        ("http".to_owned(), Value::Int(8081)),
    ];
    for config in [
        "port_map {\n http = 8081\n admin = 9\n }",
        "port_map {\n http = 8081\n }\n port_map {\n admin = 9\n }",
        "port_map = { http = 8081, admin = 9 }",
        "port_map = [{ http = 8081 }, { admin = 9 }]",
        "port_map = [{ http = 8081, admin = 9 }]",
    ] {
        let text = job_with(
            "",
            &network.replace(
                "resources",
                &format!("config {{\n {config}\n }}\n resources"),
            ),
        );
        let job = accepted(&text).job;
        let Value::Map(map) = &task(&job).config["port_map"] else {
            panic!("not a map: {text}");
        };
        assert_eq!(
            map.clone().into_iter().collect::<Vec<_>>(),
            expected,
            "{text}"
        );
    }
    for meta in [
        "meta {\n a = \"1\"\n b = 2\n }",
        "meta = { a = \"1\", b = 2 }",
    ] {
        let job = accepted(&job_with("", meta)).job;
        let meta: Vec<_> = task(&job).meta.clone().into_iter().collect();
        assert_eq!(meta, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    }
}

#[test]
fn what_the_running_task_fills_in_stays_as_it_is() {
    for text in [
        "${attr.kernel.name}",
        "${node.unique.name}",
        "${meta.rack-1}",
        "http://${NOMAD_IP_http}:${NOMAD_PORT_http}/x",
    ] {
        let job = accepted(&job_with("", &format!("user = \"{text}\""))).job;
        assert_eq!(task(&job).user, text, "{text}");
    }
    let quoted = r#"user = "${env["X"]}""#;
    assert_eq!(
        task(&accepted(&job_with("", quoted)).job).user,
        "${env[\"X\"]}"
    );
}

#[test]
fn constant_expressions_are_worked_out() {
    for (expression, expected) in [
        ("2 * 3 + 1", "7"),
        ("(10 - 4) / 3", "2"),
        ("1 / 4", "0.25"),
        ("true ? \"a\" : \"b\"", "a"),
        ("\"x${1}y\"", "x1y"),
        ("\"$${literal}\"", "${literal}"),
        ("\"%{ if true }yes%{ else }no%{ endif }\"", "yes"),
        ("[1, 2][1]", "2"),
        ("\"\\u00e9\\n\"", "é\n"),
    ] {
        let job = accepted(&job_with("", &format!("user = {expression}"))).job;
        assert_eq!(task(&job).user, expected, "{expression}");
    }
}

#[test]
fn heredocs_keep_their_lines() {
    let env = "env {\n A = <<EOF\none ${NOMAD_DC}\n  two {{ x }}\nEOF\n B = <<-END\n    one\n      two\n    END\n }";
    let job = accepted(&job_with("", env)).job;
    assert_eq!(task(&job).env["A"], "one ${NOMAD_DC}\n  two {{ x }}\n");
    assert_eq!(task(&job).env["B"], "one\n  two\n");
}

#[test]
fn heredocs_with_other_line_ends_are_read_too() {
    let env = "env {\n A = <<EOF\n1\nEOF\n B = 2\n }";
    let job = accepted(&job_with("", env).replace('\n', "\r\n")).job;
    assert_eq!(task(&job).env["A"].trim(), "1");
    assert_eq!(task(&job).env["B"], "2");
}

#[test]
fn constraints_have_short_forms() {
    for (text, expected) in [
        (
            "attribute = \"${attr.arch}\"\n value = \"x\"",
            "${attr.arch} = x",
        ),
        ("distinct_hosts = true", "distinct_hosts"),
        (
            "distinct_property = \"${meta.rack}\"",
            "${meta.rack} distinct_property",
        ),
        (
            "attribute = \"${attr.a}\"\n version = \">= 1.2\"",
            "${attr.a} version >= 1.2",
        ),
        (
            "attribute = \"${attr.a}\"\n regexp = \"^x\"",
            "${attr.a} regexp ^x",
        ),
        (
            "attribute = \"${attr.a}\"\n set_contains = \"a,b\"",
            "${attr.a} set_contains a,b",
        ),
    ] {
        let job = accepted(&job_with(&format!("constraint {{\n {text}\n }}"), "")).job;
        let constraints = &job.task_groups[0].constraints;
        assert_eq!(constraints[0].to_string(), expected);
    }
    let job = accepted(&job_with("constraint {\n distinct_hosts = false\n }", "")).job;
    assert_eq!(job.task_groups[0].constraints, []);
}

#[test]
fn a_group_has_networks_and_services_of_its_own() {
    let group = r#"network {
      mode = "host"
      port "http" { to = 8080 }
      port "admin" {
        static = 9000
        to     = -1
      }
    }
    service {
      provider = "nomad"
      port = "http"
      check_restart { limit = 3 }
      check {
        type = "http"
        path = "/"
        interval = "10s"
        timeout = "2s"
        header { Host = ["a.b"] }
      }
    }"#;
    let job = accepted(&job_with(group, "config {\n ports = [\"http\"]\n }")).job;
    let group = &job.task_groups[0];
    assert_eq!(group.networks[0].dynamic_ports[0].to, 8080);
    let admin = &group.networks[0].reserved_ports[0];
    assert_eq!((admin.value, admin.to), (9000, 0));
    let service = &group.services[0];
    assert_eq!(service.name, "web-web");
    let check = &service.checks[0];
    assert_eq!(
        check.check_restart.as_ref().map(|restart| restart.limit),
        Some(3)
    );
    assert_eq!(check.header["Host"], ["a.b"]);
    assert_eq!(check.interval, 10_000_000_000);
}

#[test]
fn what_is_not_acted_on_yet_is_said() {
    let text = job_with(
        "affinity {\n attribute = \"${meta.a}\"\n value = \"b\"\n weight = 10\n }\n\
         spread {\n attribute = \"${node.datacenter}\"\n }",
        "",
    );
    let told = warnings(&text);
    for (warning, word) in told.iter().zip(["affinity", "spread"]) {
        assert!(
            warning.contains(&format!("`{word}` is not acted on yet")),
            "{warning}"
        );
    }
    assert_eq!(told.len(), 2);
}

#[test]
fn what_is_not_supported_yet_is_refused_with_its_place() {
    for name in [
        "template",
        "artifact",
        "vault",
        "volume_mount",
        "csi_plugin",
        "lifecycle",
        "secret",
        "identity",
        "action",
        "schedule",
        "dispatch_payload",
        "scaling",
    ] {
        let errors = refused(&job_with("", &format!("{name} {{\n x = 1\n }}")));
        assert_eq!(
            told(&errors),
            [format!("7:7: `{name}` isn't supported yet")]
        );
    }
    for (text, expected) in [
        (
            "variable \"x\" {}\njob \"a\" {}",
            "1:1: `variable` isn't supported yet",
        ),
        (
            "job \"a\" {\n periodic {\n }\n}",
            "2:2: `periodic` isn't supported yet",
        ),
    ] {
        let told = told(&refused(text));
        assert!(told.iter().any(|line| line == expected), "{told:?}");
    }
    for (value, expected) in [
        ("upper(\"x\")", "7:14: function `upper` isn't supported yet"),
        ("var.x", "7:14: variables (`var.`) aren't supported yet"),
        (
            "\"a-${local.x}\"",
            "7:19: variables (`local.`) aren't supported yet",
        ),
        ("[for x in [1] : x]", "7:14: `for` isn't supported yet"),
        (
            "root",
            "7:14: `root` isn't a value | text is written in quotes: \"root\"",
        ),
    ] {
        let errors = refused(&job_with("", &format!("user = {value}")));
        assert_eq!(told(&errors)[0], expected, "{value}");
    }
}

#[test]
fn values_that_change_nothing_are_no_reason_to_refuse() {
    let text = job_with(
        "",
        "service {\n enable_tag_override = false\n on_update = \"require_healthy\"\n }",
    );
    accepted(&text);
    let text = job_with("", "service {\n enable_tag_override = true\n }");
    assert_eq!(
        told(&refused(&text)),
        ["8:2: `enable_tag_override` isn't supported yet"]
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = r#"job "web" {
  priorty = 3
  group "web" {
    count = -1
    restart { delay = "5 minutes" }
    task "a" {
      driver = "docker"
      kill_timeout = 5
      config { imag = "x" }
    }
    task "a" {
      driver = "exec"
    }
  }
}
"#;
    assert_eq!(
        told(&refused(text)),
        [
            "2:3: `priorty` isn't known in job | did you mean `priority`?",
            "4:13: count is -1, it must be 0 or more",
            "5:23: `delay`: `minutes` in `5 minutes` is not a unit of time: use ns, us, ms, s, m \
             or h, such as `10s`",
            "8:22: `kill_timeout`: `5` has no unit: write `5s` for seconds",
            "9:7: task `a` has no image in its config | such as image = \"nginx:1.27\"",
            "9:16: unknown docker option `imag` | did you mean `image`?",
            "11:10: task `a` is defined more than once",
            "12:16: driver `exec` isn't supported yet",
        ]
    );
}

#[test]
fn mistakes_of_form_are_told_where_they_are() {
    for (text, expected) in [
        (
            "job \"a\" {\n  group\n}\n",
            "2:3: expected `=` or `{` after `group`",
        ),
        (
            "job \"a\" {\n  type: \"x\"\n}\n",
            "2:3: expected `=` or `{` after `type` | write `type = ...`",
        ),
        ("job \"a\" {\n  type =\n}\n", "2:9: `type` has no value"),
        (
            "job \"a\" {\n  x = [1, 2\n}\n",
            "3:1: found `}` where `]` was expected",
        ),
        (
            "job \"a\" {\n  x = [1, 2\n",
            "2:7: this `[` is never closed",
        ),
        (
            "job \"a\" {\n}\n}\n",
            "3:1: this `}` closes nothing | remove it, or add the `{` that it belongs to",
        ),
        (
            "job \"a\" {\n/* x\n}\n",
            "2:1: this comment is never closed by `*/`",
        ),
        (
            "job \"a\" {\n type = \"${x\"\n}\n",
            "2:10: this `${` is never closed | close it with `}`, or write `$${` for the two characters",
        ),
        (
            "job \"a\" {\n type = <<EOF\nx\n",
            "2:9: this heredoc is never closed by a line `EOF`",
        ),
        (
            "job \"a\" {\n type = \"\\q\"\n}\n",
            "2:12: not a value: invalid escape sequence; expected `n`, `r`, `t`, `u`, `U`, `\\` or `\"`",
        ),
        (
            "job \"a\" {\n type = \"x\"\n type = \"y\"\n}\n",
            "3:2: `type` is set more than once",
        ),
        (
            "job \"a\" {}\njob \"b\" {}\n",
            "2:1: a second `job`: a file has one job | put each job into a file of its own",
        ),
        (
            "job \"a\" \"b\" {}\n",
            "1:9: `job` takes one name only | write `job \"NAME\" { ... }`",
        ),
        ("*\n", "1:1: `*` makes no sense here: expected a name"),
    ] {
        let told = told(&refused(text));
        assert!(
            told.iter().any(|line| line == expected),
            "{text}\n{told:#?}"
        );
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let depth = 20_000;
    for text in [
        "a {\n".repeat(depth),
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}", "(".repeat(depth)),
        format!("a = {}1", "-".repeat(depth)),
        format!("a = {}true", "!".repeat(depth)),
        format!("a = 1{}", " + 1".repeat(depth)),
        format!("a = 1{}", " ? 1 : 1".repeat(depth)),
        format!("a = x{}", ".x".repeat(depth)),
        format!("a = x{}", "[0]".repeat(depth)),
        format!("a = \"{}", "${\"".repeat(depth)),
        format!("a = \"{}\"", "%{if true}".repeat(depth)),
        "[".repeat(depth),
        "{\"a\":".repeat(depth),
    ] {
        refused(&text);
    }
}

#[test]
fn a_problem_shows_its_line() {
    let text = "job \"web\" {\n\tdatacentres = [\"dc1\"]\n}\n";
    let rendered = refused(text).0[1].render(text);
    let expected = "\
web.nomad:2:2: `datacentres` isn't known in job
   |
 2 |  datacentres = [\"dc1\"]
   |  ^^^^^^^^^^^
  hint: did you mean `datacenters`?";
    assert_eq!(rendered, expected);
}

#[test]
fn how_long_a_node_may_be_silent_is_read() {
    let second = 1_000_000_000;
    let group = |text: &str| accepted(&job_with(text, "")).job.task_groups[0].clone();
    let block = group(
        "disconnect {\n lost_after = \"6h\"\n replace = false\n reconcile = \"keep_original\"\n }",
    );
    assert_eq!(block.lost_after(), 6 * 3_600 * second);
    assert!(!block.replaces_unknown());
    assert_eq!(block.reconcile_strategy(), "keep_original");
    let stop = group("disconnect {\n stop_on_client_after = \"30s\"\n }");
    assert_eq!(stop.stop_on_client_after(), Some(30 * second));
    assert_eq!((stop.lost_after(), stop.replaces_unknown()), (0, true));
    assert_eq!(stop.reconcile_strategy(), "best_score");
    let older = group("max_client_disconnect = \"1m\"");
    assert_eq!(older.lost_after(), 60 * second);
    let older = group("stop_after_client_disconnect = \"1m\"");
    assert_eq!(older.stop_on_client_after(), Some(60 * second));
    let wrong = refused(&job_with(
        "disconnect {\n reconcile = \"keep_both\"\n }",
        "",
    ));
    assert_eq!(
        told(&wrong),
        [
            "4:14: unknown reconcile strategy `keep_both` | known are `keep_original`, `keep_replacement`, `best_score` and `longest_running`"
        ]
    );
}
