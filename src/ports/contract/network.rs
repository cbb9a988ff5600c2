//! Connections, shared ports and datagrams.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{done, ensure, soon};
use crate::errors::NetworkError;
use crate::{Accepted, Listener, Stream, World};

/// Checks the network at one of the machine's own addresses.
pub async fn network(world: &World, here: IpAddr) -> Result<(), String> {
    let any_port = SocketAddr::new(here, 0);
    let address = connections(world, any_port).await?;
    refusals(world, address).await?;
    sharing(world, any_port).await?;
    datagrams(world, any_port).await
}

async fn connect(
    world: &World,
    listener: &mut dyn Listener,
    address: String,
) -> Result<(Box<dyn Stream>, Accepted), String> {
    let connecting = done("connecting", world.network.connect(address));
    let accepting = done("accepting", listener.accept());
    tokio::try_join!(connecting, accepting)
}

async fn pass(what: &str, from: &mut dyn Stream, to: &mut dyn Stream) -> Result<(), String> {
    done(what, from.write_all(b"hello")).await?;
    done(what, from.flush()).await?;
    let mut got = [0; 5];
    done(what, to.read_exact(&mut got)).await?;
    ensure(&got == b"hello", || format!("{what}: other bytes arrive"))
}

async fn connections(world: &World, any_port: SocketAddr) -> Result<SocketAddr, String> {
    let mut listener = done("listening", world.network.listen(any_port)).await?;
    let address = listener.local_addr();
    ensure(address.ip() == any_port.ip() && address.port() != 0, || {
        format!("a listener on {any_port} says it listens on {address}")
    })?;
    let (mut client, (mut server, from)) =
        connect(world, &mut *listener, address.to_string()).await?;
    ensure(from.ip() == address.ip(), || {
        format!("a connection from {address} seems to come from {from}")
    })?;
    pass("to the server", &mut *client, &mut *server).await?;
    pass("to the client", &mut *server, &mut *client).await?;
    drop(client);
    let rest = done("reading from a closed connection", server.read(&mut [0; 8])).await?;
    ensure(rest == 0, || {
        "a closed connection still brings bytes".to_owned()
    })?;
    let second = soon("listening twice", world.network.listen(address)).await?;
    let taken = NetworkError::InUse {
        address: address.to_string(),
    };
    ensure(second.err() == Some(taken), || {
        format!("two listeners get {address}")
    })?;
    if address.ip().is_loopback() {
        let by_name = format!("localhost:{}", address.port());
        connect(world, &mut *listener, by_name).await?;
    }
    Ok(address)
}

/// Nobody listens on that address any more.
async fn refusals(world: &World, address: SocketAddr) -> Result<(), String> {
    let answer = soon("connecting", world.network.connect(address.to_string())).await?;
    let refused = NetworkError::Refused {
        address: address.to_string(),
    };
    let said = answer.err();
    ensure(said.as_ref() == Some(&refused), || {
        format!("connecting to where nobody listens: {said:?} instead of {refused:?}")
    })?;
    done("listening again", world.network.listen(address)).await?;
    let elsewhere: SocketAddr = SocketAddr::from(([203, 0, 113, 7], address.port()));
    let answer = soon("listening elsewhere", world.network.listen(elsewhere)).await?;
    let said = answer.err();
    let strange = NetworkError::NoSuchAddress {
        address: elsewhere.to_string(),
    };
    ensure(said.as_ref() == Some(&strange), || {
        format!("listening on a foreign address: {said:?} instead of {strange:?}")
    })?;
    let answer = soon(
        "connecting to an unknown name",
        world.network.connect("no-such-host.invalid:80".to_owned()),
    )
    .await?;
    let said = answer.err();
    ensure(matches!(said, Some(NetworkError::Failed { .. })), || {
        format!("connecting to an unknown name: {said:?}")
    })
}

async fn sharing(world: &World, any_port: SocketAddr) -> Result<(), String> {
    let mut first = done("sharing", world.network.listen_shared(any_port)).await?;
    let address = first.local_addr();
    let mut second = done("sharing", world.network.listen_shared(address)).await?;
    for _ in 0..8 {
        let accepting = async {
            tokio::select! {
                biased;
                accepted = first.accept() => accepted,
                accepted = second.accept() => accepted,
            }
        };
        let connecting = done(
            "connecting to a shared port",
            world.network.connect(address.to_string()),
        );
        tokio::try_join!(connecting, done("accepting on a shared port", accepting))?;
    }
    drop(first);
    let mut alone = second;
    connect(world, &mut *alone, address.to_string()).await?;
    drop(alone);
    done(
        "listening on a port that was shared",
        world.network.listen(address),
    )
    .await?;
    Ok(())
}

async fn datagrams(world: &World, any_port: SocketAddr) -> Result<(), String> {
    let here = done("binding", world.network.datagrams(any_port)).await?;
    let there = done("binding", world.network.datagrams(any_port)).await?;
    let taken = soon("binding twice", world.network.datagrams(here.local_addr())).await?;
    ensure(
        matches!(taken.err(), Some(NetworkError::InUse { .. })),
        || "two sockets get one port".to_owned(),
    )?;
    let mut buffer = [0; 4];
    done("sending", here.send(b"abcdefgh", there.local_addr())).await?;
    let (len, from) = done("receiving", there.receive(&mut buffer)).await?;
    ensure(
        len == 4 && &buffer == b"abcd" && from == here.local_addr(),
        || format!("a datagram of 8 bytes for a buffer of 4 arrives as {len} bytes from {from}"),
    )?;
    done("answering", there.send(b"xy", from)).await?;
    let (len, from) = done("receiving the answer", here.receive(&mut buffer)).await?;
    ensure(
        len == 2 && buffer.starts_with(b"xy") && from == there.local_addr(),
        || format!("the answer arrives as {len} bytes from {from}"),
    )
}
