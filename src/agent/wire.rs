//! How messages look between agents: the only place that names the encoding.
//!
//! A frame is a big-endian `u32` length (of what follows), a version byte and a body. The body
//! isn't self-describing, so both ends must be of the same version; decoding fails unless every
//! byte is used, since bytes of another version could otherwise pass for a valid message.

use bincode::config::{Configuration, LittleEndian, NoLimit, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Raised whenever a message type changes.
pub const VERSION: u8 = 2;

/// Longer frames are refused before anything is allocated for them.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Error)]
pub enum Error {
    #[error("the connection was closed")]
    Closed,
    #[error("the peer speaks version {0} of the protocol, this is version {VERSION}")]
    OtherVersion(u8),
    #[error("a frame of {0} bytes is outside of 1 to {FRAME_BYTES_MAX}")]
    Length(usize),
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

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let limited = configuration().with_limit::<FRAME_BYTES_MAX>();
    let (message, used) = bincode::serde::decode_from_slice(bytes, limited)
        .map_err(|error| Error::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(Error::Malformed(format!(
            "{} bytes are left over",
            bytes.len() - used
        )));
    }
    Ok(message)
}

pub async fn write_frame<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), Error> {
    let body = encode(message)?;
    let length = body.len() + 1;
    if length > FRAME_BYTES_MAX {
        return Err(Error::Length(length));
    }
    let mut frame = Vec::with_capacity(length + 4);
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    frame.push(VERSION);
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await?;
    stream.flush().await?;
    Ok(())
}

pub async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, Error> {
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
    match frame.split_first() {
        Some((&VERSION, body)) => decode(body),
        Some((&other, _)) => Err(Error::OtherVersion(other)),
        None => Err(Error::Length(0)),
    }
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
}
