//! How messages look between agents: the only place that names the encoding.
//!
//! A frame is a big-endian `u32` length (of what follows), a version byte and a body. The body
//! isn't self-describing, so both ends must be of the same version; decoding fails unless every
//! byte is used, since bytes of another version could otherwise pass for a valid message. Sealed
//! frames have a version byte of their own, which is sealed with the body.

use bincode::config::{Configuration, LittleEndian, NoLimit, Varint};
use bincode::enc::write::SizeWriter;
use bincode::error::DecodeError;
use ports::Random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::seal::{Seal, Unopened};

/// Raised whenever a message type changes.
pub const VERSION: u8 = 4;

/// The version of a sealed frame.
const SEALED_VERSION: u8 = VERSION | 0x80;

/// Longer frames are refused before anything is allocated for them.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// What servers wrote themselves may be larger: it was as large when it was in memory.
const OWN_BYTES_MAX: usize = 8 << 30;

#[derive(Debug, Error)]
pub enum Error {
    #[error("the connection was closed")]
    Closed,
    #[error("the peer speaks version {0} of the protocol, this is version {VERSION}")]
    OtherVersion(u8),
    #[error("a frame of {0} bytes is outside of 1 to {FRAME_BYTES_MAX}")]
    Length(usize),
    #[error(
        "the peer's messages are in the clear; this agent has a key (encrypt): give both the same"
    )]
    PeerHasNoKey,
    #[error("the peer's messages are sealed; this agent has no key (encrypt): give both the same")]
    OnlyPeerHasKey,
    #[error("a message can't be opened: {0}")]
    Unopened(#[from] Unopened),
    #[error("a message can't be read: {0}")]
    Malformed(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

fn configuration() -> Configuration<LittleEndian, Varint, NoLimit> {
    bincode::config::standard()
}

pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    bincode::serde::encode_to_vec(message, configuration())
        .map_err(|error| Error::Malformed(error.to_string()))
}

/// How long an encoded message is; 0 if it can't be encoded.
pub fn encoded_size<T: Serialize>(message: &T) -> usize {
    let mut counter = SizeWriter::default();
    let written = bincode::serde::encode_into_writer(message, &mut counter, configuration());
    written.map_or(0, |()| counter.bytes_written)
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let limited = configuration().with_limit::<FRAME_BYTES_MAX>();
    let decoded = bincode::serde::decode_from_slice(bytes, limited);
    whole(decoded, bytes)
}

/// Decodes what a server of this cluster wrote: its log, its snapshots.
pub fn decode_own<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let limited = configuration().with_limit::<OWN_BYTES_MAX>();
    let decoded = bincode::serde::decode_from_slice(bytes, limited);
    whole(decoded, bytes)
}

fn whole<T>(decoded: Result<(T, usize), DecodeError>, bytes: &[u8]) -> Result<T, Error> {
    let (message, used) = decoded.map_err(|error| Error::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(Error::Malformed(format!(
            "{} bytes are left over",
            bytes.len() - used
        )));
    }
    Ok(message)
}

/// Decodes the first message in `bytes`, and tells how long it was.
pub fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), Error> {
    let limited = configuration().with_limit::<FRAME_BYTES_MAX>();
    bincode::serde::decode_from_slice(bytes, limited)
        .map_err(|error| Error::Malformed(error.to_string()))
}

/// Writes a frame in the clear.
pub async fn write_frame<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), Error> {
    write_body(stream, VERSION, &encode(message)?).await
}

/// Writes a frame as the seal wants it: sealed, or in the clear if there is no key.
pub async fn write_sealed<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    seal: &Seal,
    random: &Random,
    message: &T,
) -> Result<(), Error> {
    let body = encode(message)?;
    match seal {
        Seal::None => write_body(stream, VERSION, &body).await,
        Seal::Key(_) => {
            let sealed = seal.close(random, &[SEALED_VERSION], body);
            write_body(stream, SEALED_VERSION, &sealed).await
        }
    }
}

async fn write_body(
    stream: &mut (impl AsyncWrite + Unpin),
    version: u8,
    body: &[u8],
) -> Result<(), Error> {
    let length = body.len() + 1;
    if length > FRAME_BYTES_MAX {
        return Err(Error::Length(length));
    }
    let mut frame = Vec::with_capacity(length + 4);
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    frame.push(version);
    frame.extend_from_slice(body);
    stream.write_all(&frame).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads a frame in the clear.
pub async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, Error> {
    read_sealed(stream, &Seal::None).await
}

/// Reads a frame that was written with the same seal; any other is refused.
pub async fn read_sealed<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    seal: &Seal,
) -> Result<T, Error> {
    let frame = read_body(stream).await?;
    match (frame.split_first(), seal) {
        (Some((&VERSION, body)), Seal::None) => decode(body),
        (Some((&SEALED_VERSION, body)), Seal::Key(_)) => {
            decode(&seal.open(&[SEALED_VERSION], body)?)
        }
        (Some((&VERSION, _)), Seal::Key(_)) => Err(Error::PeerHasNoKey),
        (Some((&SEALED_VERSION, _)), Seal::None) => Err(Error::OnlyPeerHasKey),
        (Some((&other, _)), Seal::None | Seal::Key(_)) => Err(Error::OtherVersion(other & 0x7f)),
        (None, Seal::None | Seal::Key(_)) => Err(Error::Length(0)),
    }
}

/// What follows a frame's length.
async fn read_body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Error> {
    let length = match stream.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(Error::Closed);
        }
        Err(error) => return Err(error.into()),
    };
    if !(1..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Error::Length(length));
    }
    let mut frame = Vec::new();
    // Grows with what really arrives: a lying length can't make us reserve its size.
    let read = stream.take(length as u64).read_to_end(&mut frame).await?;
    if read < length {
        return Err(Error::Closed);
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &("hello".to_owned(), 7u64))
            .await
            .expect("encodes");
        let read: (String, u64) = read_frame(&mut bytes.as_slice()).await.expect("decodes");
        assert_eq!(read, ("hello".to_owned(), 7));
    }

    #[tokio::test]
    async fn damaged_frames_are_refused() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &7u64).await.expect("encodes");
        let mut other_version = bytes.clone();
        other_version[4] = VERSION + 1;
        assert!(matches!(
            read_frame::<u64>(&mut other_version.as_slice()).await,
            Err(Error::OtherVersion(_))
        ));
        let mut longer = bytes.clone();
        longer[3] += 1;
        longer.push(0);
        assert!(matches!(
            read_frame::<u64>(&mut longer.as_slice()).await,
            Err(Error::Malformed(_))
        ));
        assert!(matches!(
            read_frame::<u64>(&mut [0xff, 0xff, 0xff, 0xff].as_slice()).await,
            Err(Error::Length(_))
        ));
        assert!(matches!(
            read_frame::<u64>(&mut &bytes[..3]).await,
            Err(Error::Closed)
        ));
    }

    #[test]
    fn sizes_are_told_without_writing() {
        let message = ("hello".to_owned(), vec![7_u64; 300], Some(true));
        let encoded = encode(&message).expect("encodes");
        assert_eq!(encoded_size(&message), encoded.len());
    }

    #[test]
    fn only_what_is_our_own_may_be_larger_than_a_frame() {
        let large = bytes::Bytes::from(vec![7; FRAME_BYTES_MAX + 1]);
        let encoded = encode(&large).expect("encodes");
        assert!(matches!(
            decode::<bytes::Bytes>(&encoded),
            Err(Error::Malformed(_))
        ));
        let decoded: bytes::Bytes = decode_own(&encoded).expect("decodes");
        assert!(decoded == large);
    }

    fn seal(key: char) -> Seal {
        let key = format!("{}=", key.to_string().repeat(43));
        Seal::configured(&key).expect("a key")
    }

    async fn written(seal: &Seal) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_sealed(&mut bytes, seal, &Random::seeded(1), &"hello".to_owned())
            .await
            .expect("encodes");
        bytes
    }

    async fn read(mut bytes: &[u8], seal: &Seal) -> Result<String, Error> {
        read_sealed(&mut bytes, seal).await
    }

    #[tokio::test]
    async fn sealed_frames_are_read_with_the_same_key_only() {
        let (one, other) = (seal('A'), seal('E'));
        let frame = written(&one).await;
        assert_eq!(read(&frame, &one).await.expect("opens"), "hello");
        let refused = read(&frame, &other).await.expect_err("another key");
        assert!(matches!(refused, Error::Unopened(_)), "{refused}");
        let refused = read(&frame, &Seal::None).await.expect_err("no key");
        assert!(matches!(refused, Error::OnlyPeerHasKey), "{refused}");
        let clear = written(&Seal::None).await;
        let refused = read(&clear, &one).await.expect_err("in the clear");
        assert!(matches!(refused, Error::PeerHasNoKey), "{refused}");
        assert_eq!(read(&clear, &Seal::None).await.expect("clear"), "hello");
        let mut disguised = frame.clone();
        disguised[4] = VERSION;
        assert!(read(&disguised, &Seal::None).await.is_err());
        let mut other_version = frame;
        other_version[4] = SEALED_VERSION + 1;
        let refused = read(&other_version, &one).await.expect_err("too new");
        assert!(matches!(refused, Error::OtherVersion(version) if version == VERSION + 1));
    }
}
