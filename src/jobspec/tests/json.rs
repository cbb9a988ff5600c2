//! Jobs as the HTTP API has them.

use jobspec::parse_job;
use logic::model::Value;

use super::{accepted, job_with, refused, shared, told};

const JOB: &str = r#"{
  "ID": "web",
  "TaskGroups": [
    {
      "Name": "web",
      "Count": 2,
      "Tasks": [
        {
          "Name": "server",
          "Driver": "docker",
          "Config": {"image": "nginx", "port_map": [{"http": 80}]},
          "Resources": {"Networks": [{"DynamicPorts": [{"Label": "http"}]}]}
        }
      ]
    }
  ]
}
"#;

#[test]
fn a_job_comes_bare_or_as_a_request() {
    let bare = accepted(JOB).job;
    let request = format!("{{\"Job\": {JOB}, \"EnforceIndex\": true}}");
    assert_eq!(accepted(&request).job, bare);
    assert_eq!(bare.task_groups[0].count, Some(2));
    let config = &bare.task_groups[0].tasks[0].config;
    let http = [("http".to_owned(), Value::Int(80))];
    assert_eq!(config["port_map"], Value::Map(http.into_iter().collect()));
}

#[test]
fn mistakes_have_lines_and_columns_here_too() {
    for (from, to, expected) in [
        (
            "\"docker\"",
            "\"dockr\"",
            "10:21: unknown driver `dockr` | did you mean `docker`?",
        ),
        (
            "\"Driver\"",
            "\"Drver\"",
            "10:11: `Drver` isn't known in TaskGroups[0].Tasks[0] | did you mean `Driver`?",
        ),
        (
            "\"Count\": 2",
            "\"Count\": \"two\"",
            "6:16: invalid type: string \"two\", expected a whole number",
        ),
        (
            "\"Count\": 2",
            "\"Count\": 2, \"Volumes\": {\"a\": {\"Type\": \"host\"}}",
            "6:19: `Volumes` isn't supported yet",
        ),
        (
            "\"http\": 80",
            "\"htp\": 80",
            "11:61: port_map names port `htp`, which the network doesn't have | did you mean `http`?",
        ),
        (
            "\"Count\": 2,",
            "\"Count\": 2",
            "7:7: expected `,` or the closing bracket",
        ),
        (
            "\"Count\": 2",
            "\"Count\": 2, \"Count\": 3",
            "6:19: `Count` is there more than once",
        ),
    ] {
        let text = JOB.replacen(from, to, 1);
        assert_eq!(told(&refused(&text)), [expected], "{text}");
    }
}

#[test]
fn what_clients_send_for_nothing_is_nothing() {
    let nothing = r#""Count": 2, "Volumes": null, "Scaling": {}, "Consul": {"Namespace": ""}"#;
    accepted(&JOB.replacen("\"Count\": 2", nothing, 1));
}

#[test]
fn hcl_in_json_is_told_apart() {
    let told = told(&refused(r#"{"job": {"web": {"group": {}}}}"#));
    assert!(told[0].contains("HCL's JSON form"), "{told:?}");
}

#[test]
fn a_job_printed_as_json_reads_as_the_same_job() {
    let text = job_with(
        "count = 3\n network {\n port \"http\" {}\n }\n disconnect {\n lost_after = \"1m\"\n }",
        "service {\n port = \"http\"\n }\n env {\n A = 1.5\n }",
    );
    let job = accepted(&text).job;
    let json = serde_json::to_string(&job).expect("jobs serialize");
    assert_eq!(accepted(&json).job, job);
}

#[test]
fn what_the_anchor_prints_for_a_job_is_accepted() {
    let Some(bytes) = shared("golden/46e-job-inspect.out") else {
        return;
    };
    let parsed = parse_job("inspect.json", &bytes).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.job.id, "httpbackend");
    assert_eq!(parsed.warnings, []);
}
