//! Questions about other domains: passed on to the resolvers that the configuration names, one
//! after the other until one answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ports::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::wire::Transport;

const ANSWER_BYTES_MAX: usize = 4_096;
const DNS_PORT: u16 = 53;

/// `IP[:PORT]` as an address; an error is a sentence.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = |ip: IpAddr| SocketAddr::new(ip, DNS_PORT);
    text.parse()
        .or_else(|_| bare.parse().map(with_port))
        .map_err(|_| format!("recursor \"{text}\" isn't an address: write IP or IP:PORT"))
}

/// The first answer; none if nobody answers `within` its time.
pub(super) async fn ask(
    world: &World,
    recursors: &[SocketAddr],
    within: Duration,
    question: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    for recursor in recursors {
        let asking = async {
            match transport {
                Transport::Udp => by_datagram(world, *recursor, question).await,
                Transport::Tcp => by_stream(world, *recursor, question).await,
            }
        };
        match timeout(within, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%recursor, error, "a recursor can't be asked"),
            Err(_) => tracing::debug!(%recursor, "a recursor doesn't answer"),
        }
    }
    tracing::warn!("no recursor answers");
    None
}

async fn by_datagram(
    world: &World,
    recursor: SocketAddr,
    question: &[u8],
) -> Result<Vec<u8>, String> {
    let any: IpAddr = match recursor {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = world.network.datagrams(SocketAddr::new(any, 0)).await;
    let socket = socket.map_err(|error| error.to_string())?;
    let sent = socket.send(question, recursor).await;
    sent.map_err(|error| error.to_string())?;
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let received = socket.receive(&mut buffer).await;
        let (length, from) = received.map_err(|error| error.to_string())?;
        let answer = buffer.get(..length).unwrap_or(&buffer);
        // Whatever else comes in isn't the answer.
        if from == recursor && answers(answer, question) {
            return Ok(answer.to_vec());
        }
    }
}

fn answers(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= 12 && answer.get(..2) == question.get(..2) && answer[2] & 0x80 != 0
}

async fn by_stream(
    world: &World,
    recursor: SocketAddr,
    question: &[u8],
) -> Result<Vec<u8>, String> {
    let stream = world.network.connect(recursor.to_string()).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let length = u16::try_from(question.len()).map_err(|error| error.to_string())?;
    let framed = [&length.to_be_bytes()[..], question].concat();
    let asking = async {
        stream.write_all(&framed).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asking.await.map_err(|error| error.to_string())?;
    if answers(&answer, question) {
        Ok(answer)
    } else {
        Err("its answer is to another question".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recursor_is_an_address_with_or_without_a_port() {
        for (text, expected) in [
            ("8.8.8.8", Some("8.8.8.8:53")),
            ("10.0.0.1:5353", Some("10.0.0.1:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]", Some("[::1]:53")),
            ("[::1]:54", Some("[::1]:54")),
            ("dns.example", None),
            ("", None),
        ] {
            let found = address(text).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
