//! Docker keeps the promises of the ports. Skipped where there is no engine.

mod machine;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use logic::model::Value;
use machine::{Machine, list, output, text};
use ports::contract::{self, Probe};
use ports::{Exit, LogStream, TaskSpec, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
fn skip() {
    eprintln!("skipped: no Docker Engine");
}

fn container(machine: &Machine, task: &str, image: &str, args: &[&str]) -> TaskSpec {
    let config = [
        ("image".to_owned(), text(image)),
        ("args".to_owned(), list(args)),
    ];
    machine.spec("docker", task, config.into())
}

/// A registry that has no images, at the address it returns.
async fn empty_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let len = stream.read(&mut request).await.unwrap_or(0);
            let asks_for_more = !request.starts_with(b"GET /v2/ HTTP") && len > 0;
            let (status, body) = if asks_for_more {
                (
                    "404 Not Found",
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                )
            } else {
                ("200 OK", "{}")
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// An image with the probe as its only file; None without an engine to run it.
async fn image(world: &World) -> Option<String> {
    let drivers = world.containers.drivers().await;
    if !drivers["docker"].healthy {
        skip();
        return None;
    }
    let built = tokio::task::spawn_blocking(build_image).await;
    Some(built.expect("the image is built"))
}

fn build_image() -> String {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let name = "drover-probe:test";
    BUILT.call_once(|| {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/probe.rs");
        let program = folder.path().join("probe");
        run(Command::new("rustc")
            .args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-o",
            ])
            .arg(&program)
            .arg(source));
        let dockerfile = "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n";
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).expect("written");
        run(Command::new("docker")
            .args(["build", "-q", "-t", name])
            .arg(folder.path()));
    });
    name.to_owned()
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status();
    assert!(status.expect("it runs").success(), "{command:?}");
}

#[expect(clippy::print_stderr, reason = "a test tells what it skips")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

#[tokio::test]
async fn docker_keeps_the_promises_of_containers() {
    let machine = Machine::new();
    let Some(image) = image(&machine.world).await else {
        return;
    };
    let missing = format!("{}/no/such-image:v9", empty_registry().await);
    let mut runs = container(&machine, "runs", &image, &["serve"]);
    // A first process without handlers takes no notice of other signals.
    "SIGKILL".clone_into(&mut runs.kill_signal);
    runs.ports = vec![machine::publish(machine.taken_port().await.0, 8081)];
    let probe = Probe {
        runs,
        says: "ready\n".to_owned(),
        fails: container(&machine, "fails", &image, &["exit", "3"]),
        code: 3,
        missing: container(&machine, "missing", &missing, &[]),
    };
    let kept = contract::containers(&machine.world, &probe).await;
    assert_eq!(kept, Ok(()));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_may_do_so_later() {
    let machine = Machine::new();
    if image(&machine.world).await.is_none() {
        return;
    }
    let image = format!("127.0.0.1:{}/app:1", machine.taken_port().await.0);
    let spec = container(&machine, "task", &image, &[]);
    let error = machine.world.containers.prepare(&spec).await;
    let error = error.expect_err("there is no registry");
    assert!(error.may_pass(), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn the_output_of_a_container_is_kept_whatever_its_logging_says() {
    let machine = Machine::new();
    let Some(image) = image(&machine.world).await else {
        return;
    };
    for driver in ["json-file", "local"] {
        let mut spec = container(&machine, driver, &image, &["serve"]);
        let logging = [("type".to_owned(), text(driver))].into();
        spec.config
            .insert("logging".to_owned(), Value::List(vec![Value::Map(logging)]));
        machine.world.containers.start(&spec).await.expect("starts");
        machine.printed(&spec.key, "ready\n").await;
        let next = machine.next_agent();
        assert_eq!(next.containers.reattach(&spec).await, Ok(true));
        next.containers
            .stop(&spec.key, "SIGKILL", Duration::from_secs(5))
            .await
            .expect("stops");
        let exit = next.containers.wait(&spec.key).await;
        assert_eq!(exit.code, 137, "{driver}");
        next.containers.remove(&spec.key).await.expect("removed");
        let said = output(&next, &spec.key, LogStream::Stdout).await;
        assert_eq!(said, "ready\n", "{driver}");
    }
}

#[tokio::test]
async fn a_container_has_its_limits_and_directories() {
    let machine = Machine::new();
    let Some(image) = image(&machine.world).await else {
        return;
    };
    let mut spec = container(&machine, "show", &image, &["show"]);
    spec.env.insert("GREETING".to_owned(), "hi".to_owned());
    spec.memory_mb = 32;
    machine.world.containers.start(&spec).await.expect("starts");
    let exit = machine.world.containers.wait(&spec.key).await;
    assert_eq!(exit, Exit::default());
    let said = output(&machine.world, &spec.key, LogStream::Stdout).await;
    for line in ["GREETING=hi", "NOMAD_ALLOC_DIR=/alloc", "memory=33554432"] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let kept = machine
        .alloc_dir(&spec.key)
        .join("alloc/data/from-container");
    assert!(kept.exists());
    machine
        .world
        .containers
        .remove(&spec.key)
        .await
        .expect("removed");
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_says_so() {
    let machine = Machine::new();
    let Some(image) = image(&machine.world).await else {
        return;
    };
    let mut spec = container(&machine, "greedy", &image, &["eat"]);
    spec.memory_mb = 16;
    machine.world.containers.start(&spec).await.expect("starts");
    let exit = machine.world.containers.wait(&spec.key).await;
    assert_eq!(exit.code, 137, "{exit:?}");
    if !exit.out_of_memory {
        skipped("this engine didn't say in time that memory ran out");
    }
    machine
        .world
        .containers
        .remove(&spec.key)
        .await
        .expect("removed");
}
