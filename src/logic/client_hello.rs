//! Reads the first message of a TLS connection as it comes in, for the server name it asks for.
//!
//! Strict and bounded, and reads no more than it needs: what isn't a `ClientHello` as RFC 8446
//! section 4.1.2 and RFC 6066 section 3 have it is refused at the first wrong byte.

use thiserror::Error;

/// Larger hellos are refused; with keys that withstand quantum computers they have 2 KB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// A hello may come in many small records, but not in a header a byte.
const BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

const RECORD_HEADER: usize = 5;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const MESSAGE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const NAME_BYTES_MAX: usize = 253;

/// Why bytes aren't the beginning of a TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a TLS ClientHello: {0}")]
pub struct Invalid(&'static str);

/// A hello that has been read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server the client wants, in lower case.
    pub server_name: Option<String>,
}

/// A hello on its way in.
#[derive(Debug, Default)]
pub struct Incoming {
    received: Vec<u8>,
    /// Where the first record starts that isn't whole yet.
    record: usize,
    message: Vec<u8>,
}

impl Incoming {
    /// Takes what has come in; returns the hello once it is whole.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Invalid> {
        self.received.extend_from_slice(bytes);
        while let Some(content) = record(&self.received[self.record..])? {
            self.message.extend_from_slice(content);
            self.record += RECORD_HEADER + content.len();
            if let Some(body) = message(&self.message)? {
                return hello(body).map(Some);
            }
        }
        if self.received.len() > BYTES_MAX {
            return Err(Invalid("too long"));
        }
        Ok(None)
    }

    /// Everything that came in, which the server must get first.
    pub fn received(&self) -> &[u8] {
        &self.received
    }
}

/// The content of the record that `bytes` begin with, once it is whole.
fn record(bytes: &[u8]) -> Result<Option<&[u8]>, Invalid> {
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Err(Invalid("no handshake record"));
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(Invalid("no version of TLS"));
    }
    let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err(Invalid("a record of a length that isn't allowed"));
    }
    Ok(rest.get(..length))
}

/// The body of the message, once it is whole.
fn message(bytes: &[u8]) -> Result<Option<&[u8]>, Invalid> {
    if bytes.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Invalid("another handshake message"));
    }
    let Some((header, rest)) = bytes.split_first_chunk::<MESSAGE_HEADER>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(Invalid("too long"));
    }
    if rest.len() > length {
        return Err(Invalid("a record with more than the hello"));
    }
    Ok((rest.len() == length).then_some(rest))
}

/// Bytes that are taken from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Invalid> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Invalid("a field that is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Invalid> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<u16, Invalid> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What follows its own length in one byte.
    fn vector_8(&mut self) -> Result<&'a [u8], Invalid> {
        let length = self.byte()?;
        self.take(length.into())
    }

    /// What follows its own length in two bytes.
    fn vector_16(&mut self) -> Result<&'a [u8], Invalid> {
        let length = self.short()?;
        self.take(length.into())
    }

    fn ended(&self) -> bool {
        self.0.is_empty()
    }
}

fn hello(body: &[u8]) -> Result<Hello, Invalid> {
    let mut body = Cursor(body);
    let version_and_random = body.take(2 + 32)?;
    if version_and_random[0] != 3 {
        return Err(Invalid("no version of TLS"));
    }
    if body.vector_8()?.len() > 32 {
        return Err(Invalid("a session id that is too long"));
    }
    let suites = body.vector_16()?.len();
    if suites == 0 || suites % 2 != 0 {
        return Err(Invalid("no list of cipher suites"));
    }
    if body.vector_8()?.is_empty() {
        return Err(Invalid("no list of compression methods"));
    }
    let mut server_name = None;
    if !body.ended() {
        let mut extensions = Cursor(body.vector_16()?);
        if !body.ended() {
            return Err(Invalid("bytes after the extensions"));
        }
        while !extensions.ended() {
            let (kind, content) = (extensions.short()?, extensions.vector_16()?);
            if kind != SERVER_NAME {
                continue;
            }
            if server_name.is_some() {
                return Err(Invalid("two server name extensions"));
            }
            server_name = Some(host_name(content)?);
        }
    }
    Ok(Hello { server_name })
}

fn host_name(extension: &[u8]) -> Result<String, Invalid> {
    let mut extension = Cursor(extension);
    let mut names = Cursor(extension.vector_16()?);
    if !extension.ended() {
        return Err(Invalid("bytes after the server names"));
    }
    let (kind, name) = (names.byte()?, names.vector_16()?);
    if kind != HOST_NAME || !names.ended() {
        return Err(Invalid("other than one server name"));
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(plain) {
        return Err(Invalid("a server name that is no host name"));
    }
    let name = name
        .iter()
        .map(|byte| char::from(byte.to_ascii_lowercase()));
    Ok(name.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector_16(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short");
        [&length.to_be_bytes(), content].concat()
    }

    fn server_name(name: &[u8]) -> Vec<u8> {
        let names = vector_16(&[&[HOST_NAME][..], &vector_16(name)].concat());
        [&[0, 0][..], &vector_16(&names)].concat()
    }

    /// A hello with these extensions, without records around it.
    fn message_with(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(vector_16(extensions));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[CLIENT_HELLO], &length[1..], &body].concat()
    }

    fn in_records(message: &[u8], size: usize) -> Vec<u8> {
        let records = message
            .chunks(size)
            .map(|part| [&[HANDSHAKE, 3, 1][..], &vector_16(part)].concat());
        records.collect::<Vec<_>>().concat()
    }

    /// Pushes the bytes in pieces; true if all were needed, none refused.
    fn read(bytes: &[u8], size: usize) -> Result<Option<Hello>, Invalid> {
        let mut incoming = Incoming::default();
        for piece in bytes.chunks(size) {
            if let Some(hello) = incoming.push(piece)? {
                assert!(bytes.starts_with(incoming.received()));
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    fn named(name: Option<&str>) -> Hello {
        let server_name = name.map(str::to_owned);
        Hello { server_name }
    }

    #[test]
    fn the_name_is_read_however_the_hello_is_cut() {
        let other = [0, 16, 0, 3, 0, 1, 2];
        let message = message_with(&[&other[..], &server_name(b"MySite-1.com.")].concat());
        for record in [1, 2, 3, 5, 60, 1000] {
            let bytes = in_records(&message, record);
            for piece in [1, 7, 1000] {
                assert_eq!(read(&bytes, piece), Ok(Some(named(Some("mysite-1.com")))));
            }
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end], 1000), Ok(None), "{end}");
            }
        }
        let early_data = [in_records(&message, 1000), vec![23, 3, 3, 0, 1, 9]].concat();
        assert_eq!(
            read(&early_data, 1000),
            Ok(Some(named(Some("mysite-1.com"))))
        );
    }

    #[test]
    fn a_hello_without_a_name_is_a_hello() {
        assert_eq!(
            read(&in_records(&message_with(&[]), 99), 99),
            Ok(Some(named(None)))
        );
        let mut old = message_with(&[]);
        old.truncate(old.len() - 2);
        old[3] -= 2;
        assert_eq!(read(&in_records(&old, 99), 99), Ok(Some(named(None))));
    }

    #[test]
    fn what_is_no_hello_is_refused_at_the_first_wrong_byte() {
        let names = |names: &[u8]| [&[0, 0][..], &vector_16(&vector_16(names))].concat();
        let twice = [server_name(b"a"), server_name(b"a")].concat();
        let long = [b'a'; 300];
        let whole = |extensions: &[u8]| in_records(&message_with(extensions), 1000);
        let short = {
            let mut message = message_with(&[]);
            let end = message.len() - 1;
            message[end] = 9;
            in_records(&message, 1000)
        };
        let two = in_records(&[message_with(&[]), vec![1]].concat(), 1000);
        for (bytes, why) in [
            (b"GET / HTTP/1.1".to_vec(), "no handshake record"),
            (vec![22, 2], "no version of TLS"),
            (
                vec![22, 3, 1, 0, 0],
                "a record of a length that isn't allowed",
            ),
            (
                vec![22, 3, 1, 64, 1],
                "a record of a length that isn't allowed",
            ),
            (vec![22, 3, 1, 0, 1, 2], "another handshake message"),
            (vec![22, 3, 1, 0, 4, 1, 0, 64, 1], "too long"),
            (two, "a record with more than the hello"),
            (short, "a field that is cut off"),
            (whole(&twice), "two server name extensions"),
            (whole(&names(&[])), "a field that is cut off"),
            (whole(&names(&[1, 0, 1, 97])), "other than one server name"),
            (
                whole(&names(&[0, 0, 1, 97, 0, 0, 1, 98])),
                "other than one server name",
            ),
            (
                whole(&server_name(b"")),
                "a server name that is no host name",
            ),
            (
                whole(&server_name(b"a b")),
                "a server name that is no host name",
            ),
            (
                whole(&server_name(b"*.a.com")),
                "a server name that is no host name",
            ),
            (
                whole(&server_name(&long)),
                "a server name that is no host name",
            ),
        ] {
            assert_eq!(read(&bytes, 1), Err(Invalid(why)), "{why}");
        }
    }

    #[test]
    fn a_hello_of_tiny_records_ends_somewhere() {
        let mut endless = in_records(&[CLIENT_HELLO, 0, 63, 0], 4);
        endless.extend(in_records(&[0; 16_000], 1));
        assert_eq!(read(&endless, 1), Err(Invalid("too long")));
    }

    proptest! {
        #[test]
        fn however_bytes_are_damaged_or_cut_they_are_read_the_same(
            damage in proptest::collection::vec((0usize..90, any::<u8>()), 0..4),
            record in 1usize..90,
            piece in 1usize..90,
        ) {
            let mut bytes = in_records(&message_with(&server_name(b"a.example.com")), record);
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            prop_assert_eq!(read(&bytes, piece), read(&bytes, 1));
        }

        #[test]
        fn no_bytes_do_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            extensions in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = read(&bytes, 50);
            if let Ok(Some(hello)) = read(&in_records(&message_with(&extensions), 50), 50) {
                prop_assert!(hello.server_name.is_none_or(|name| !name.is_empty()));
            }
        }
    }
}
