//! The real world keeps the promises of the ports: sockets, files, and plain processes.

mod machine;

use std::time::Duration;

use machine::{Machine, list, output, text};
use ports::contract::{self, Probe};
use ports::errors::ContainersError;
use ports::{Exit, LogStream, TaskSpec};

/// The supervisor of plain processes is this same program, started again with these arguments:
/// `executor SPEC`. The test harness then runs this test and no other.
#[test]
fn executor() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, command, spec] = &args[..]
        && command == "executor"
    {
        std::process::exit(host::executor::run(spec));
    }
}

#[tokio::test]
async fn sockets_and_files_keep_their_promises() {
    let machine = Machine::new();
    let own = machine.world.machine.fingerprint().address;
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    for here in [Some(loopback), own].into_iter().flatten() {
        let kept = contract::network(&machine.world, here).await;
        assert_eq!(kept, Ok(()), "at {here}");
    }
    assert_eq!(contract::disk(&machine.world).await, Ok(()));
}

fn shell(machine: &Machine, task: &str, script: &str) -> TaskSpec {
    let config = [
        ("command".to_owned(), text("sh")),
        ("args".to_owned(), list(&["-c", script])),
    ];
    machine.spec("raw_exec", task, config.into())
}

/// Waits for a condition.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "never happened: {what}");
}

const SERVE: &str = "echo ready; exec sleep 1000";

#[tokio::test]
async fn plain_processes_keep_the_promises_of_containers() {
    let machine = Machine::new();
    let (port, _held) = machine.taken_port().await;
    let mut rival = shell(&machine, "rival", "sleep 1000");
    rival.ports = vec![machine::publish(port, port)];
    let refused = machine.world.containers.start(&rival).await;
    assert_eq!(refused, Err(ContainersError::PortInUse { port }));
    let mut missing = shell(&machine, "missing", "");
    missing
        .config
        .insert("command".to_owned(), text("no-such-program"));
    let probe = Probe {
        runs: shell(&machine, "runs", SERVE),
        says: "ready\n".to_owned(),
        fails: shell(&machine, "fails", "exit 3"),
        code: 3,
        missing,
    };
    let kept = contract::containers(&machine.world, &probe).await;
    assert_eq!(kept, Ok(()));
}

#[tokio::test]
async fn a_process_sees_its_directories_and_its_environment_only() {
    let machine = Machine::new();
    let script = "pwd; env; echo $0 $1 >&2; echo kept > $NOMAD_ALLOC_DIR/data/file";
    let mut spec = shell(&machine, "task", script);
    spec.env
        .insert("GREETING".to_owned(), "hi there".to_owned());
    machine.world.containers.start(&spec).await.expect("starts");
    let exit = machine.world.containers.wait(&spec.key).await;
    assert_eq!(exit, Exit::default());
    let said = output(&machine.world, &spec.key, LogStream::Stdout).await;
    let task_dir = machine.alloc_dir(&spec.key).join("task/local");
    assert!(
        said.starts_with(&format!("{}\n", task_dir.display())),
        "{said}"
    );
    assert!(said.contains("GREETING=hi there\n"), "{said}");
    assert!(said.contains("NOMAD_SECRETS_DIR=/"), "{said}");
    assert!(!said.contains("CARGO"), "{said}");
    assert!(
        machine
            .alloc_dir(&spec.key)
            .join("alloc/data/file")
            .exists()
    );
}

#[tokio::test]
async fn stopping_a_process_ends_all_it_started() {
    let machine = Machine::new();
    let script = "trap '' INT; sleep 1000 & echo $!; wait";
    let spec = shell(&machine, "task", script);
    machine.world.containers.start(&spec).await.expect("starts");
    let pid = machine.printed(&spec.key, "\n").await;
    let child = std::path::Path::new("/proc").join(pid.trim());
    assert!(child.exists());
    let stopped = machine
        .world
        .containers
        .stop(&spec.key, "SIGINT", Duration::from_millis(200));
    stopped.await.expect("killed after the timeout");
    let exit = machine.world.containers.wait(&spec.key).await;
    assert_eq!(exit.signal, 9);
    until("the child is gone", || !child.exists()).await;
}

#[tokio::test]
async fn a_process_outlives_the_agent_and_is_found_again() {
    let machine = Machine::new();
    let script = "echo before; read line < $NOMAD_ALLOC_DIR/pipe; echo after; exit 7";
    let spec = shell(&machine, "task", script);
    let alloc = machine.alloc_dir(&spec.key).join("alloc");
    machine
        .world
        .containers
        .prepare(&spec)
        .await
        .expect("ready");
    let made = std::process::Command::new("mkfifo")
        .arg(alloc.join("pipe"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    machine.world.containers.start(&spec).await.expect("starts");
    machine.printed(&spec.key, "before\n").await;

    let next = machine.next_agent();
    assert_eq!(next.containers.list().await, Ok(vec![spec.key.clone()]));
    assert_eq!(next.containers.reattach(&spec).await, Ok(true));
    let waiting = next.containers.wait(&spec.key);
    let telling = async {
        let told = tokio::task::spawn_blocking(move || std::fs::write(alloc.join("pipe"), "go\n"));
        told.await.expect("not cancelled").expect("written");
    };
    let (exit, ()) = tokio::join!(waiting, telling);
    assert_eq!(exit.code, 7);
    let said = output(&next, &spec.key, LogStream::Stdout).await;
    assert_eq!(said, "before\nafter\n");

    let later = machine.next_agent();
    assert_eq!(later.containers.reattach(&spec).await, Ok(true));
    assert_eq!(later.containers.wait(&spec.key).await, exit);
}

#[tokio::test]
async fn what_an_agent_left_running_does_not_hold_its_directory() {
    let machine = Machine::new();
    let spec = shell(&machine, "task", SERVE);
    machine.world.containers.start(&spec).await.expect("starts");
    machine.printed(&spec.key, "ready\n").await;
    let next = machine.next_agent();
    next.disk.prepare().expect_err("the first agent uses it");
    drop(machine.world);
    next.disk.prepare().expect("free again");
    assert_eq!(next.containers.reattach(&spec).await, Ok(true));
    let gone = next.containers.remove(&spec.key).await;
    gone.expect("it is killed");
}

#[tokio::test]
async fn long_output_is_rotated() {
    let machine = Machine::new();
    let script = "i=0; while [ $i -lt 40000 ]; do echo $i: aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd; i=$((i+1)); done";
    let mut spec = shell(&machine, "task", script);
    spec.logs.max_files = 1;
    spec.logs.max_file_size_mb = 1;
    machine.world.containers.start(&spec).await.expect("starts");
    machine.world.containers.wait(&spec.key).await;
    let log = machine
        .world
        .containers
        .read_log(&spec.key, LogStream::Stdout, 0, 1 << 24)
        .await
        .expect("there is output");
    assert!(log.offset >= 1 << 20, "starts at {}", log.offset);
    assert_eq!(log.offset + log.data.len() as u64, log.end);
    let last = String::from_utf8(log.data).expect("text");
    assert!(last.ends_with("39999: aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd\n"));
}

#[tokio::test]
async fn a_process_runs_as_the_user_it_asks_for() {
    let machine = Machine::new();
    let mut spec = shell(&machine, "task", "id -u; echo mine > file; cat file");
    "65534:65534".clone_into(&mut spec.user);
    let agent_is_root = output_of(&machine, "id -u").await == "0\n";
    if !agent_is_root {
        let refused = machine.world.containers.prepare(&spec).await;
        assert!(matches!(refused, Err(ContainersError::Refused(_))));
        return;
    }
    machine.world.containers.start(&spec).await.expect("starts");
    machine.world.containers.wait(&spec.key).await;
    let said = output(&machine.world, &spec.key, LogStream::Stdout).await;
    assert_eq!(said, "65534\nmine\n");
}

async fn output_of(machine: &Machine, script: &str) -> String {
    let spec = shell(machine, "script", script);
    machine.world.containers.start(&spec).await.expect("starts");
    machine.world.containers.wait(&spec.key).await;
    output(&machine.world, &spec.key, LogStream::Stdout).await
}

#[tokio::test]
async fn raw_exec_must_be_enabled() {
    let machine = Machine::with_option("driver.raw_exec.enable", "false");
    let drivers = machine.world.containers.drivers().await;
    let driver = &drivers["raw_exec"];
    assert!(!driver.detected && !driver.healthy);
    assert!(driver.health_description.contains("driver.raw_exec.enable"));
    let spec = shell(&machine, "task", "true");
    assert!(matches!(
        machine.world.containers.start(&spec).await,
        Err(ContainersError::Refused(_))
    ));
}
