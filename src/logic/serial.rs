//! Serde pieces that let one set of types be both API JSON and wire bytes.
//!
//! The wire format isn't self-describing, so nothing here may skip a field there; leniency is
//! for JSON only.

use serde::{Deserialize, Deserializer};

/// JSON `null` reads as the default (Go clients send `null` for an empty list or map).
pub fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    if deserializer.is_human_readable() {
        Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
    } else {
        T::deserialize(deserializer)
    }
}
