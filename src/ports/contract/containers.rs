//! The life of a task under one driver.

use std::time::Duration;

use super::{PATIENCE, done, ensure, soon};
use crate::errors::ContainersError;
use crate::{Exit, Found, LogStream, TaskKey, TaskSpec, World};

/// How often a task's output is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Tasks of one driver that behave as the checks need it.
pub struct Probe {
    /// Runs until it is stopped. If it has ports, they are published.
    pub runs: TaskSpec,
    /// What `runs` prints first.
    pub says: String,
    /// Ends by itself.
    pub fails: TaskSpec,
    /// The exit code of `fails`.
    pub code: i64,
    /// Names an image or program that doesn't exist.
    pub missing: TaskSpec,
}

pub async fn containers(world: &World, probe: &Probe) -> Result<(), String> {
    let drivers = soon("asking for drivers", world.containers.drivers()).await?;
    let driver = drivers.get(&probe.runs.driver);
    ensure(driver.is_some_and(|driver| driver.healthy), || {
        format!("the driver {} isn't healthy: {driver:?}", probe.runs.driver)
    })?;
    what_is_missing(world, probe).await?;
    a_life(world, probe).await?;
    after_the_end(world, &probe.runs).await?;
    files(world, probe).await?;
    replacement(world, probe).await?;
    an_end_of_its_own(world, probe).await?;
    unknown_tasks(world).await?;
    for spec in [&probe.runs, &probe.fails, &probe.missing] {
        done("removing", world.containers.remove(&spec.key)).await?;
        done("forgetting", world.containers.forget(&spec.key.alloc_id)).await?;
    }
    let log = soon("reading", read(world, &probe.runs.key, 0)).await?;
    ensure(matches!(log, Err(ContainersError::Missing(_))), || {
        "the output of a forgotten allocation is still there".to_owned()
    })
}

async fn read(world: &World, key: &TaskKey, offset: u64) -> Result<(String, u64), ContainersError> {
    let chunk = world
        .containers
        .read_log(key, LogStream::Stdout, offset, 64 * 1024)
        .await?;
    Ok((String::from_utf8_lossy(&chunk.data).into_owned(), chunk.end))
}

/// Waits until the output from `offset` on contains `text`; returns where the output ends.
async fn printed(world: &World, key: &TaskKey, offset: u64, text: &str) -> Result<u64, String> {
    let looking = async {
        loop {
            if let Ok((output, end)) = read(world, key, offset).await
                && output.contains(text)
            {
                return end;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    soon(&format!("waiting for {key} to print `{text}`"), looking).await
}

async fn exists(world: &World, key: &TaskKey) -> Result<bool, String> {
    let keys = done("listing", world.containers.list()).await?;
    Ok(keys.contains(key))
}

async fn what_is_missing(world: &World, probe: &Probe) -> Result<(), String> {
    let prepared = soon(
        "preparing what doesn't exist",
        world.containers.prepare(&probe.missing),
    )
    .await?;
    ensure(matches!(prepared, Err(ContainersError::Missing(_))), || {
        format!("preparing what doesn't exist: {prepared:?}")
    })?;
    let log = soon("reading", read(world, &probe.runs.key, 0)).await?;
    ensure(matches!(log, Err(ContainersError::Missing(_))), || {
        format!("the output of a task that never ran: {log:?}")
    })?;
    let known = done("reattaching", world.containers.reattach(&probe.runs)).await?;
    ensure(!known, || {
        "a task that never ran can be reattached".to_owned()
    })
}

async fn a_life(world: &World, probe: &Probe) -> Result<(), String> {
    let spec = &probe.runs;
    done("preparing", world.containers.prepare(spec)).await?;
    done("starting", world.containers.start(spec)).await?;
    printed(world, &spec.key, 0, &probe.says).await?;
    ensure(exists(world, &spec.key).await?, || {
        "a running task isn't listed".to_owned()
    })?;
    let known = done("reattaching", world.containers.reattach(spec)).await?;
    ensure(known, || "a running task can't be reattached".to_owned())?;
    done("measuring", world.containers.usage(&spec.key)).await?;
    if let Some(port) = spec.ports.first() {
        let mut rival = spec.clone();
        rival.key.task = format!("{}-rival", spec.key.task);
        let started = soon("starting a rival", world.containers.start(&rival)).await?;
        let taken = ContainersError::PortInUse {
            port: port.host_port,
        };
        ensure(started == Err(taken), || {
            format!("a second task on port {}: {started:?}", port.host_port)
        })?;
        done("removing the rival", world.containers.remove(&rival.key)).await?;
    }
    let (stopped, exit) = tokio::join!(
        done(
            "stopping",
            world
                .containers
                .stop(&spec.key, &spec.kill_signal, PATIENCE / 3),
        ),
        soon("waiting", world.containers.wait(&spec.key)),
    );
    stopped?;
    let (first, second) = (
        exit?,
        soon("waiting again", world.containers.wait(&spec.key)).await?,
    );
    ensure(first.lost.is_none() && first == second, || {
        format!("a stopped task ends as {first:?}, then as {second:?}")
    })
}

async fn after_the_end(world: &World, spec: &TaskSpec) -> Result<(), String> {
    let stop = world.containers.stop(&spec.key, "SIGTERM", PATIENCE / 3);
    done("stopping what has ended", stop).await?;
    let known = done("reattaching", world.containers.reattach(spec)).await?;
    ensure(known, || "a task that ended is forgotten".to_owned())?;
    let usage = soon("measuring", world.containers.usage(&spec.key)).await?;
    ensure(usage.is_err(), || {
        format!("a task that ended uses {usage:?}")
    })?;
    for _ in 0..2 {
        done("removing", world.containers.remove(&spec.key)).await?;
    }
    ensure(!exists(world, &spec.key).await?, || {
        "a removed task is still listed".to_owned()
    })?;
    let known = done("reattaching", world.containers.reattach(spec)).await?;
    ensure(!known, || "a removed task can be reattached".to_owned())?;
    done("reading a removed task's output", read(world, &spec.key, 0)).await?;
    Ok(())
}

/// An allocation's directory can be looked into, but for secrets and what is elsewhere.
async fn files(world: &World, probe: &Probe) -> Result<(), String> {
    let TaskKey { alloc_id, task } = &probe.runs.key;
    let look =
        |path: String| async move { soon("looking", world.containers.look(alloc_id, &path)).await };
    let root = look("/".to_owned()).await?;
    let Ok(Found::Folder(_, inside)) = &root else {
        return Err(format!("an allocation's directory is {root:?}"));
    };
    for name in ["alloc", task] {
        ensure(
            inside.iter().any(|file| file.is_dir && file.name == name),
            || format!("there is no {name} in {inside:?}"),
        )?;
    }
    let path = format!("alloc/logs/{task}.stdout.0");
    let log = look(path.clone()).await?;
    let says = matches!(&log, Ok(Found::File(file)) if file.size >= probe.says.len() as u64);
    ensure(says, || format!("a task's output is {log:?}"))?;
    let reading = world.containers.read_file(alloc_id, &path, 0, 64 * 1024);
    let chunk = done("reading a file", reading).await?;
    ensure(
        String::from_utf8_lossy(&chunk.data).contains(&probe.says),
        || format!("the file of a task's output holds {chunk:?}"),
    )?;
    for path in ["../x".to_owned(), format!("{task}/secrets")] {
        let refused = look(path.clone()).await?;
        ensure(matches!(refused, Err(ContainersError::Refused(_))), || {
            format!("{path} of an allocation is {refused:?}")
        })?;
    }
    let missing = look("no/such/file".to_owned()).await?;
    ensure(matches!(missing, Err(ContainersError::Missing(_))), || {
        format!("a file that doesn't exist is {missing:?}")
    })
}

/// The same key again takes the place of the task before; its output goes on where that one ended.
async fn replacement(world: &World, probe: &Probe) -> Result<(), String> {
    let spec = &probe.runs;
    for _ in 0..2 {
        let (_, end) = done("reading", read(world, &spec.key, 0)).await?;
        done("starting again", world.containers.start(spec)).await?;
        printed(world, &spec.key, end, &probe.says).await?;
    }
    let keys = done("listing", world.containers.list()).await?;
    let count = keys.iter().filter(|key| **key == spec.key).count();
    ensure(count == 1, || {
        format!("a task started twice is listed {count} times")
    })?;
    let stop = world.containers.stop(&spec.key, "SIGKILL", PATIENCE / 3);
    done("killing", stop).await?;
    let exit = soon("waiting", world.containers.wait(&spec.key)).await?;
    ensure(!exit.successful() && exit.lost.is_none(), || {
        format!("a killed task ends as {exit:?}")
    })
}

async fn an_end_of_its_own(world: &World, probe: &Probe) -> Result<(), String> {
    let spec = &probe.fails;
    done("preparing", world.containers.prepare(spec)).await?;
    done("starting", world.containers.start(spec)).await?;
    let exit = soon("waiting", world.containers.wait(&spec.key)).await?;
    let expected = Exit {
        code: probe.code,
        ..Exit::default()
    };
    ensure(exit == expected, || {
        format!("a task that fails ends as {exit:?}")
    })
}

async fn unknown_tasks(world: &World) -> Result<(), String> {
    let key = TaskKey {
        alloc_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        task: "unknown".to_owned(),
    };
    let exit = soon("waiting for nothing", world.containers.wait(&key)).await?;
    ensure(exit.lost.is_some(), || {
        format!("a task that never was ends as {exit:?}")
    })?;
    let stop = world.containers.stop(&key, "SIGTERM", PATIENCE / 3);
    done("stopping nothing", stop).await?;
    done("removing nothing", world.containers.remove(&key)).await?;
    done("forgetting nothing", world.containers.forget(&key.alloc_id)).await
}
