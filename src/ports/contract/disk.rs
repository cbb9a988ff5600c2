//! Files that are replaced as a whole, and files for random access.

use super::{done, ensure, soon};
use crate::errors::DiskError;
use crate::{File, World};

pub async fn disk(world: &World) -> Result<(), String> {
    world
        .disk
        .prepare()
        .map_err(|error| format!("preparing: {error}"))?;
    whole_files(world).await?;
    let file = world
        .disk
        .open("store/log")
        .map_err(|error| format!("opening: {error}"))?;
    random_access(&*file).map_err(|error| format!("random access: {error}"))?;
    let again = world
        .disk
        .open("store/log")
        .map_err(|error| format!("opening again: {error}"))?;
    let mut kept = [0; 3];
    again
        .read_at(2, &mut kept)
        .map_err(|error| format!("reading again: {error}"))?;
    ensure(&kept == b"cXY", || {
        "a file opened again has other bytes".to_owned()
    })
}

async fn whole_files(world: &World) -> Result<(), String> {
    let disk = &world.disk;
    let missing = soon("reading", disk.read("a/none")).await?;
    ensure(matches!(missing, Err(DiskError::Missing { .. })), || {
        format!("reading a file that isn't there: {missing:?}")
    })?;
    done("removing nothing", disk.remove("a/none")).await?;
    let nothing = done("listing nothing", disk.list("nowhere")).await?;
    ensure(nothing.is_empty(), || {
        "a folder that isn't there has files".to_owned()
    })?;
    for (path, text) in [
        ("a/two", "2"),
        ("a/one", "old"),
        ("a/one", "new"),
        ("a/sub/three", ""),
        ("ab", "not in a"),
    ] {
        done("writing", disk.write(path, text.into())).await?;
        let read = done("reading", disk.read(path)).await?;
        ensure(read == text.as_bytes(), || {
            format!("{path} reads differently from what was written")
        })?;
    }
    let names = done("listing", disk.list("a")).await?;
    ensure(names == ["one", "sub", "two"], || {
        format!("listing a folder: {names:?}")
    })?;
    done("removing", disk.remove("a")).await?;
    let names = done("listing", disk.list("a")).await?;
    ensure(names.is_empty(), || {
        format!("a removed folder has {names:?}")
    })?;
    done("reading a neighbour", disk.read("ab")).await?;
    let outside = soon("reading outside", disk.read("../outside")).await?;
    ensure(matches!(outside, Err(DiskError::Failed { .. })), || {
        "paths lead out of the data directory".to_owned()
    })
}

fn random_access(file: &dyn File) -> std::io::Result<()> {
    let check = |holds: bool, broken: &str| {
        if holds {
            Ok(())
        } else {
            Err(std::io::Error::other(broken.to_owned()))
        }
    };
    check(file.is_empty()?, "a new file isn't empty")?;
    file.write_at(0, b"abcdef")?;
    file.write_at(3, b"XY")?;
    file.sync()?;
    let mut read = [0; 6];
    file.read_at(0, &mut read)?;
    check(&read == b"abcXYf", "other bytes than were written")?;
    check(
        file.read_at(3, &mut read).is_err(),
        "reading past the end succeeds",
    )?;
    file.write_at(8, b"!")?;
    check(
        file.len()? == 9,
        "a write past the end doesn't grow the file",
    )?;
    let mut gap = [9; 3];
    file.read_at(6, &mut gap)?;
    check(gap == [0, 0, b'!'], "a gap isn't zeros")?;
    file.set_len(5)?;
    file.set_len(7)?;
    let mut end = [9; 3];
    file.read_at(4, &mut end)?;
    check(end == [b'Y', 0, 0], "a cut off end comes back")?;
    file.sync()
}
