//! The jobs of the walk-through, in `docs/jobs/walkthrough`.

use std::path::PathBuf;

use jobspec::{Parsed, parse_job};
use logic::model::{JOB_SERVICE, JOB_SYSTEM, Job, Value};
use serde_json::Value as Json;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/jobs/walkthrough")
}

fn job(name: &str) -> Job {
    let path = dir().join(format!("{name}.nomad"));
    let text = std::fs::read(&path).expect("the example is there");
    let Parsed { job, warnings } =
        parse_job(name, &text).unwrap_or_else(|errors| panic!("{name}: {errors}"));
    assert_eq!(warnings, [], "{name}");
    job
}

#[test]
fn all_of_them_are_read_without_a_warning() {
    let mut names: Vec<_> = std::fs::read_dir(dir())
        .expect("the examples are there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .to_string()
        })
        .collect();
    names.sort();
    assert_eq!(names.len(), 8);
    for name in names {
        job(&name);
    }
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_change_nothing() {
    let text = std::fs::read_to_string(dir().join("httpbackend-2.nomad")).expect("is there");
    let other = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let parsed = parse_job("other", other.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.job, job("httpbackend-2"));
    assert_eq!(parsed.warnings, []);
}

#[test]
fn the_balancer_is_a_system_job_with_two_static_ports() {
    let job = job("fabio");
    assert_eq!(
        (job.id.as_str(), job.r#type.as_str()),
        ("fabio", JOB_SYSTEM)
    );
    let task = &job.task_groups[0].tasks[0];
    let ports = &task.resources.networks[0].reserved_ports;
    let ports: Vec<_> = ports.iter().map(|p| (p.label.as_str(), p.value)).collect();
    assert_eq!(ports, [("lb", 9999), ("ui", 9998)]);
    assert_eq!(task.resources.cpu, 200);
    assert_eq!(task.resources.memory_mb, 128);
    assert_eq!(task.config["network_mode"].as_str(), Some("host"));
}

#[test]
fn its_second_version_has_arguments_instead() {
    let job = job("fabio-2");
    let task = &job.task_groups[0].tasks[0];
    let args = task.config["args"].as_list().expect("a list");
    assert_eq!(args.len(), 3);
    assert_eq!(args[1].as_str(), Some("-log.level=TRACE"));
    assert_eq!(task.resources.networks[0].ports().count(), 0);
}

#[test]
fn the_first_backend_has_a_service_without_a_check() {
    let job = job("httpbackend-1");
    assert_eq!(job.r#type, JOB_SERVICE);
    let service = &job.task_groups[0].tasks[0].services[0];
    assert_eq!(service.port_label, "http");
    assert_eq!((service.tags.len(), service.checks.len()), (0, 0));
}

#[test]
fn the_tls_backends_publish_themselves_each_in_its_way() {
    for (name, service, tag, image) in [
        (
            "httpsbackend-tcp",
            "httpsbackend-tcp",
            "urlprefix-:9997 proto=tcp",
            "v1.0.0",
        ),
        (
            "httpsbackend-tcp-sni-1",
            "httpsbackend-sni-1",
            "urlprefix-mysite-sni-1.com/ proto=tcp+sni",
            "v1.0.0",
        ),
        (
            "httpsbackend-tcp-sni-2",
            "httpsbackend-sni-2",
            "urlprefix-mysite-sni-2.com/ proto=tcp+sni",
            "v1.0.1",
        ),
        (
            "httpsbackend-upstreamhttps",
            "httpsbackend",
            "urlprefix-mysite-https.com:9999/ proto=https tlsskipverify=true",
            "v1.0.0",
        ),
    ] {
        let job = job(name);
        let task = &job.task_groups[0].tasks[0];
        assert_eq!(task.services[0].name, service);
        assert_eq!(task.services[0].tags, [tag]);
        assert_eq!(task.services[0].checks[0].r#type, "tcp");
        let expected = format!("bigwhite/httpsbackendservice:{image}");
        assert_eq!(task.config["image"], Value::String(expected));
        let restart = job.task_groups[0].restart_policy.as_ref().expect("given");
        assert_eq!((restart.attempts, restart.mode.as_str()), (2, "fail"));
    }
}

/// Without what is null, empty, false or 0.
fn substance(value: Json) -> Option<Json> {
    match value {
        Json::Null | Json::Bool(false) => None,
        Json::Number(number) => (number.as_i64() != Some(0)).then_some(Json::Number(number)),
        Json::String(text) => (!text.is_empty()).then_some(Json::String(text)),
        Json::Array(items) => {
            let items: Vec<_> = items.into_iter().filter_map(substance).collect();
            (!items.is_empty()).then_some(Json::Array(items))
        }
        Json::Object(entries) => {
            let entries: serde_json::Map<_, _> = entries
                .into_iter()
                .filter_map(|(name, value)| Some((name, substance(value)?)))
                .collect();
            (!entries.is_empty()).then_some(Json::Object(entries))
        }
        Json::Bool(true) => Some(value),
    }
}

#[test]
fn the_second_backends_task_is_this() {
    let task = serde_json::to_value(&job("httpbackend-2").task_groups[0].tasks[0]);
    let task = substance(task.expect("tasks serialize"));
    let task = serde_json::to_string_pretty(&task).expect("JSON serializes");
    insta::assert_snapshot!(task, @r#"
    {
      "Config": {
        "image": "bigwhite/httpbackendservice:v1.0.0",
        "logging": {
          "type": "json-file"
        },
        "port_map": {
          "http": 8081
        }
      },
      "Driver": "docker",
      "LogConfig": {
        "MaxFileSizeMB": 10,
        "MaxFiles": 10
      },
      "Name": "httpbackend",
      "Resources": {
        "CPU": 100,
        "MemoryMB": 300,
        "Networks": [
          {
            "DynamicPorts": [
              {
                "Label": "http"
              }
            ],
            "MBits": 10
          }
        ]
      },
      "Services": [
        {
          "AddressMode": "auto",
          "Checks": [
            {
              "Interval": 10000000000,
              "Name": "alive",
              "Path": "/",
              "Timeout": 2000000000,
              "Type": "http"
            }
          ],
          "Name": "httpbackend",
          "PortLabel": "http",
          "Tags": [
            "urlprefix-mysite.com:9999/"
          ]
        }
      ]
    }
    "#);
}
