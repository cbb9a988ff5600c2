//! What must hold for any bytes that come from a network: called with random ones by `fuzz/`.

use std::fmt::Debug;

use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rpc::{Request, Response};
use crate::wire::{self, Error, FRAME_BYTES_MAX, VERSION};

pub use crate::dns::fuzz::messages as dns;
pub use crate::edge::fuzz::heads;
pub use crate::edge::strict::differential::exchanges;

/// A frame is read or refused, and what is read means the same when it is written again.
pub fn frames(data: &[u8]) {
    let (kind, data) = data.split_first().unwrap_or((&0, data));
    match kind % 4 {
        0 => frame::<Request>(data),
        1 => frame::<Response>(data),
        2 => crate::gossip::fuzz_packet(data),
        _ => {
            frame::<(String, Option<u64>, Vec<(u8, bytes::Bytes)>)>(data);
            body::<logic::state::Dump>(data);
        }
    }
}

fn frame<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) {
    let mut stream = data;
    let read = wire::read_frame::<T>(&mut stream).now_or_never();
    let length = data.first_chunk().map(|length| u32::from_be_bytes(*length));
    match read {
        Some(Ok(message)) => {
            let length = length.map_or(0, |length| length as usize);
            assert!((1..=FRAME_BYTES_MAX).contains(&length) && data[4] == VERSION);
            assert_eq!(
                stream.len(),
                data.len() - 4 - length,
                "nothing else is read"
            );
            lasts(&message);
        }
        Some(Err(Error::Length(length))) => assert!(!(1..=FRAME_BYTES_MAX).contains(&length)),
        Some(Err(why)) => assert!(!why.to_string().is_empty()),
        None => panic!("there is nothing to wait for"),
    }
    body::<T>(data);
}

/// The same without the frame around it.
pub(crate) fn body<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) {
    if let Ok(message) = wire::decode::<T>(data) {
        lasts(&message);
    }
}

fn lasts<T: Serialize + DeserializeOwned + Debug>(message: &T) {
    let Ok(written) = wire::encode(message) else {
        panic!("it can't be written: {message:?}")
    };
    assert_eq!(wire::encoded_size(message), written.len());
    match wire::decode::<T>(&written).map(|again| wire::encode(&again)) {
        Ok(Ok(again)) => assert_eq!(again, written, "{message:?}"),
        other => panic!("{message:?} is read again as {other:?}"),
    }
}
