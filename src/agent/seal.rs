//! The cluster key: what agents send each other is encrypted and authenticated with it
//! (XChaCha20-Poly1305), so that only those that hold the key can read it or take part.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ports::Random;
use thiserror::Error;

use crate::error::StartError;

const KEY_BYTES: usize = 32;
/// Random nonces of 24 bytes don't repeat, whatever the number of agents and messages.
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// By how much sealing makes a message longer.
pub const OVERHEAD: usize = NONCE_BYTES + TAG_BYTES;

const HOW_TO_MAKE: &str = "make one with `openssl rand -base64 32` and give it to every agent";

/// Standard base64, with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Sealed with another key, damaged or cut short: which of them can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it was sealed with another key (encrypt), or damaged on its way")]
pub struct Unopened;

/// How an agent talks to the others: in the clear, or sealed with the cluster's key.
#[derive(Clone, Default)]
pub enum Seal {
    #[default]
    None,
    Key(Arc<XChaCha20Poly1305>),
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key(..)",
        })
    }
}

impl Seal {
    /// The seal of `encrypt` in an agent's configuration; empty: none.
    pub fn configured(encrypt: &str) -> Result<Self, StartError> {
        if encrypt.is_empty() {
            return Ok(Self::None);
        }
        let refused = |what: String| StartError::Config(format!("encrypt: {what}; {HOW_TO_MAKE}"));
        let bytes = BASE64
            .decode(encrypt.trim())
            .map_err(|_| refused("the key isn't base64".to_owned()))?;
        let key = <[u8; KEY_BYTES]>::try_from(bytes).map_err(|bytes| {
            let length = bytes.len();
            refused(format!(
                "the key has {length} bytes, and must have {KEY_BYTES}"
            ))
        })?;
        Ok(Self::Key(Arc::new(XChaCha20Poly1305::new(&key.into()))))
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Seals a message. `header` goes with it in the clear, and can't be exchanged either.
    pub fn close(&self, random: &Random, header: &[u8], message: Vec<u8>) -> Vec<u8> {
        let Self::Key(cipher) = self else {
            return message;
        };
        let nonce = nonce(random);
        let mut body = message;
        let sealing =
            cipher.encrypt_inout_detached(&XNonce::from(nonce), header, body.as_mut_slice().into());
        // Fails only above 256 GiB, which nothing here comes near: no frame is that long.
        let Ok(tag) = sealing else {
            return Vec::new();
        };
        let mut sealed = Vec::with_capacity(OVERHEAD + body.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what `close` made of a message, if it was done with the same key and header.
    pub fn open(&self, header: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let Self::Key(cipher) = self else {
            return Ok(sealed.to_vec());
        };
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Unopened)?;
        let mut message = body.to_vec();
        cipher
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                header,
                message.as_mut_slice().into(),
                &(*tag).into(),
            )
            .map_err(|_| Unopened)?;
        Ok(message)
    }
}

fn nonce(random: &Random) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    for part in nonce.chunks_mut(8) {
        part.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 times the byte 0, and 32 times the byte 1.
    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn seal(key: &str) -> Seal {
        Seal::configured(key).expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_header_only() {
        let random = Random::seeded(1);
        let sealed = seal(ZEROS).close(&random, b"v1", b"hello".to_vec());
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert!(!sealed.windows(5).any(|part| part == b"hello"));
        assert_eq!(seal(ZEROS).open(b"v1", &sealed), Ok(b"hello".to_vec()));
        assert_eq!(seal(ONES).open(b"v1", &sealed), Err(Unopened));
        assert_eq!(seal(ZEROS).open(b"v2", &sealed), Err(Unopened));
        let again = seal(ZEROS).close(&random, b"v1", b"hello".to_vec());
        assert_ne!(sealed, again, "a nonce was used twice");
    }

    #[test]
    fn what_is_tampered_with_or_cut_short_stays_shut() {
        let seal = seal(ZEROS);
        let sealed = seal.close(&Random::seeded(2), b"", b"hello".to_vec());
        for position in 0..sealed.len() {
            let mut tampered = sealed.clone();
            tampered[position] ^= 1;
            assert_eq!(seal.open(b"", &tampered), Err(Unopened), "byte {position}");
            let cut = &sealed[..position];
            assert_eq!(seal.open(b"", cut), Err(Unopened), "{position} bytes");
        }
    }

    #[test]
    fn bad_keys_are_told_apart() {
        for (key, why) in [
            ("not base64!", "the key isn't base64"),
            ("AAAA=AAA", "the key isn't base64"),
            ("AAAAA", "the key isn't base64"),
            ("AB==", "the key isn't base64"),
            ("cg8StVXbQJ0gPvMd9o7yrg==", "the key has 16 bytes"),
            (&ZEROS[4..], "the key has 29 bytes"),
        ] {
            let refused = Seal::configured(key).expect_err(key).to_string();
            assert!(refused.starts_with("encrypt: "), "{refused}");
            assert!(refused.contains(why), "{key}: {refused}");
            assert!(refused.contains("openssl rand -base64 32"), "{refused}");
        }
        assert!(Seal::configured("").expect("no key").is_none());
        assert!(!seal(ZEROS.trim_end_matches('=')).is_none());
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", seal(ONES)), "Key(..)");
    }
}
