//! Texts in URLs: `%XX` for what would mean something else there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b':');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A text as one segment of a path, or as the value of a parameter.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A text as several segments of a path: its slashes part them.
pub fn path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// Nothing if a `%` isn't followed by two digits, or if what is left isn't UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let escaped = |at: usize| digit(bytes.get(at + 1)) && digit(bytes.get(at + 2));
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if !percents.all(|(at, _)| escaped(at)) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (text, as_segment, as_path) in [
            ("team/web 1ü", "team%2Fweb%201%C3%BC", "team/web%201%C3%BC"),
            ("a@b:c-_.~", "a@b:c-_.~", "a@b:c-_.~"),
            ("?#&=+%", "%3F%23%26%3D%2B%25", "%3F%23%26%3D%2B%25"),
            ("", "", ""),
        ] {
            assert_eq!(
                (segment(text), path(text)),
                (as_segment.into(), as_path.into())
            );
            for encoded in [as_segment, as_path] {
                assert_eq!(decoded(encoded).as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn what_is_no_escape_is_nothing() {
        for text in ["%", "%2", "%zz", "%+f", "a%-1", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
        assert_eq!(decoded("%25%2f").as_deref(), Some("%/"));
    }
}
