//! What an agent keeps in small files: a line that tells kind, version and checksum, then JSON, so
//! that people can read them and later versions can add fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Raised when an older version could misread a file; fields may come without that.
const VERSION: u32 = 1;

/// FNV-1a: finds damage that wasn't made on purpose.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn first_line(kind: &str, body: &[u8]) -> String {
    format!("{kind} {VERSION} {:016x}", checksum(body))
}

pub(crate) fn encode<T: Serialize>(kind: &str, content: &T) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(content).map_err(|error| error.to_string())?;
    Ok([first_line(kind, &body).as_bytes(), b"\n", &body].concat())
}

/// Or why it can't be read.
pub(crate) fn decode<T: DeserializeOwned>(kind: &str, bytes: &[u8]) -> Result<T, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let Some((line, rest)) = end.and_then(|end| bytes.split_at_checked(end)) else {
        return Err("it is cut off".to_owned());
    };
    let body = rest.get(1..).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    if words.next() != Some(kind) {
        return Err(format!("it isn't a file of kind {kind}"));
    }
    let version = words.next().and_then(|word| word.parse::<u32>().ok());
    if version.is_some_and(|version| version > VERSION) {
        return Err("a newer version of Drover wrote it".to_owned());
    }
    if line != first_line(kind, body) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_or_a_newer_version_is_not_guessed_at() {
        let bytes = encode("one", &7).expect("JSON");
        assert_eq!(decode("one", &bytes), Ok(7));
        assert!(decode::<i32>("other", &bytes).is_err());
        let newer = String::from_utf8_lossy(&bytes).replacen(" 1 ", " 2 ", 1);
        let reason = decode::<i32>("one", newer.as_bytes()).expect_err("not guessed at");
        assert!(reason.contains("newer"), "{reason}");
    }
}
