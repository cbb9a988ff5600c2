//! Where an answer's body ends, and how it is framed for the client.

/// Chunk extensions and trailers together may be as long.
const EXTRA_BYTES_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 100;
/// The size of a chunk is written with at most as many digits.
const DIGITS_MAX: u32 = 15;

/// How an answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Empty,
    Length(u64),
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// A body that isn't framed as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) struct Malformed;

/// What `Content-Length` headers say together; they may say the same several times.
pub(in crate::edge) fn agreed_length<'v>(
    values: impl Iterator<Item = &'v [u8]>,
) -> Result<Option<u64>, Malformed> {
    let mut known = None;
    for length in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let digits = length.trim_ascii();
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| is_number(digits));
        let length = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or(Malformed)?;
        if known.is_some_and(|known| known != length) {
            return Err(Malformed);
        }
        known = Some(length);
    }
    Ok(known)
}

fn is_number(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Follows a body on its way through.
#[derive(Debug)]
pub(super) struct Passage {
    body: Body,
    /// Of a body whose length is known.
    left: u64,
    chunks: Chunks,
}

impl Passage {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            left: if let Body::Length(length) = body {
                length
            } else {
                0
            },
            chunks: Chunks::default(),
        }
    }

    /// Whether nothing is missing any more.
    pub(super) fn is_over(&self) -> bool {
        match self.body {
            Body::Empty => true,
            Body::Length(_) => self.left == 0,
            Body::Chunked => self.chunks.state == State::Over,
            Body::UntilClose => false,
        }
    }

    /// Takes what belongs to the body; writes it as the client gets it. Returns how much of
    /// `bytes` it has taken, and how much of that is the body's own.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, usize), Malformed> {
        match self.body {
            Body::Empty => Ok((0, 0)),
            Body::Length(_) => {
                let length = usize::try_from(self.left).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.left -= length as u64;
                out.extend_from_slice(&bytes[..length]);
                Ok((length, length))
            }
            Body::Chunked => self.chunks.push(bytes, out),
            Body::UntilClose => {
                put_chunk(bytes, out);
                Ok((bytes.len(), bytes.len()))
            }
        }
    }

    /// The same without copying, if all of it is the body's own and goes out as it is.
    pub(super) fn push_whole(&mut self, bytes: &mut Vec<u8>, out: &mut Vec<u8>) -> Option<usize> {
        let length = bytes.len();
        let is_whole = matches!(self.body, Body::Length(_)) && length as u64 <= self.left;
        if !is_whole || !out.is_empty() {
            return None;
        }
        self.left -= length as u64;
        std::mem::swap(bytes, out);
        Some(length)
    }

    /// The upstream has closed the connection.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.body != Body::UntilClose {
            return Err(Malformed);
        }
        self.body = Body::Empty;
        put_last_chunk(out);
        Ok(())
    }
}

fn put_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    // An empty one would be the last.
    if !bytes.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a chunk's size, of which so many digits have come.
    #[default]
    Start,
    Size(u32),
    /// Blanks after the size.
    Blank,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// After the last chunk: at the start of a line.
    Line,
    Trailer,
    TrailerEnd,
    LastEnd,
    Over,
}

/// Reads chunks, and writes them anew: without extensions, and without trailers.
#[derive(Debug, Default)]
struct Chunks {
    state: State,
    /// How much of the chunk is to come.
    left: u64,
    extra: usize,
    /// The lines after the last chunk, which nobody gets but which must be headers.
    trailers: Vec<u8>,
    trailer_lines: usize,
}

impl Chunks {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, usize), Malformed> {
        let (mut at, mut own) = (0, 0);
        while at < bytes.len() && self.state != State::Over {
            if self.state == State::Data {
                let rest = &bytes[at..];
                let length = usize::try_from(self.left).map_or(rest.len(), |n| n.min(rest.len()));
                put_chunk(&rest[..length], out);
                self.left -= length as u64;
                at += length;
                own += length;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.after(bytes[at])?;
            at += 1;
        }
        if self.state == State::Over && at > 0 {
            put_last_chunk(out);
        }
        Ok((at, own))
    }

    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Start, _) => {
                self.left = 0;
                self.digit(byte, 0)?
            }
            (State::Size(_) | State::Blank | State::Extension, b'\r') => State::SizeEnd,
            (State::Size(_) | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Size(_) | State::Blank, b';') => State::Extension,
            (State::Size(digits), _) => self.digit(byte, digits)?,
            (State::Extension, other) if other != b'\n' => self.extra(State::Extension)?,
            (State::SizeEnd, b'\n') if self.left == 0 => State::Line,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (State::Line, b'\r') => State::LastEnd,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::Line | State::Trailer, other) => {
                self.trailers.push(other);
                self.extra(State::Trailer)?
            }
            (State::TrailerEnd, b'\n') => {
                self.trailers.extend_from_slice(b"\r\n");
                self.trailer_lines += 1;
                State::Line
            }
            (State::LastEnd, b'\n') => self.end()?,
            _ => return Err(Malformed),
        })
    }

    fn digit(&mut self, byte: u8, before: u32) -> Result<State, Malformed> {
        let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
        if before == DIGITS_MAX {
            return Err(Malformed);
        }
        self.left = self.left * 16 + u64::from(digit);
        Ok(State::Size(before + 1))
    }

    fn end(&mut self) -> Result<State, Malformed> {
        self.trailers.extend_from_slice(b"\r\n");
        let mut headers = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        // Not more than there are lines: one that ends otherwise would be another one.
        let headers = headers.get_mut(..self.trailer_lines).ok_or(Malformed)?;
        match httparse::parse_headers(&self.trailers, headers) {
            Ok(httparse::Status::Complete(_)) => Ok(State::Over),
            Ok(httparse::Status::Partial) | Err(_) => Err(Malformed),
        }
    }

    fn extra(&mut self, state: State) -> Result<State, Malformed> {
        self.extra += 1;
        if self.extra > EXTRA_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes a body in pieces; what came out, and what was left.
    fn passed(body: Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut passage = Passage::new(body);
        let (mut out, mut left) = (Vec::new(), 0);
        for piece in pieces {
            let (mut whole, mut alone) = (piece.to_vec(), Vec::new());
            if let Some(taken) = passage.push_whole(&mut whole, &mut alone) {
                assert_eq!(
                    (taken, alone.as_slice(), whole.len()),
                    (piece.len(), *piece, 0)
                );
                out.append(&mut alone);
                continue;
            }
            let (taken, _) = passage.push(piece, &mut out)?;
            left += piece.len() - taken;
        }
        Ok((out, left, passage.is_over()))
    }

    #[test]
    fn a_body_ends_where_it_says_and_not_a_byte_later() {
        let text = |body, pieces: &[&[u8]]| {
            let (out, left, over) = passed(body, pieces).expect("well-formed");
            (String::from_utf8(out).expect("text"), left, over)
        };
        assert_eq!(
            text(Body::Length(3), &[b"ab", b"cd"]),
            ("abc".into(), 1, true)
        );
        assert_eq!(text(Body::Length(3), &[b"ab"]), ("ab".into(), 0, false));
        assert_eq!(text(Body::Empty, &[b"ab"]), (String::new(), 2, true));
        let whole = text(Body::Chunked, &[b"3;x=1\r\nabc\r\n0\r\nT: 1\r\n\r\nrest"]);
        assert_eq!(whole, ("3\r\nabc\r\n0\r\n\r\n".into(), 4, true));
        let parts = text(
            Body::Chunked,
            &[b"A \t\r", b"\n01234", b"56789\r", b"\n0\r\n"],
        );
        assert_eq!(parts, ("5\r\n01234\r\n5\r\n56789\r\n".into(), 0, false));
        let close = text(Body::UntilClose, &[b"ab", b"", b"c"]);
        assert_eq!(close, ("2\r\nab\r\n1\r\nc\r\n".into(), 0, false));
    }

    #[test]
    fn the_end_of_the_connection_ends_only_what_has_no_other_end() {
        let mut out = Vec::new();
        let mut passage = Passage::new(Body::UntilClose);
        assert_eq!(passage.close(&mut out), Ok(()));
        assert!(passage.is_over());
        assert_eq!(out, b"0\r\n\r\n");
        assert_eq!(
            Passage::new(Body::Length(1)).close(&mut out),
            Err(Malformed)
        );
        assert_eq!(Passage::new(Body::Chunked).close(&mut out), Err(Malformed));
    }

    #[test]
    fn what_isnt_chunked_is_refused() {
        let long = [b"1;".to_vec(), vec![b'x'; EXTRA_BYTES_MAX + 1]].concat();
        for wrong in [
            &b"\r\n"[..],
            b"x\r\n",
            b" 3\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3;a\n\r\nabc\r\n",
            b"1234567890123456\r\n",
            b"3 3\r\n",
            b"0\r\nT: 1\r\r\n",
            b"0\r\n:T: 1\r\n\r\n",
            b"0\r\nT: 1\nU: 2\r\n\r\n",
            &long,
        ] {
            assert_eq!(passed(Body::Chunked, &[wrong]), Err(Malformed), "{wrong:?}");
        }
    }

    proptest! {
        /// However chunks are cut into pieces, the same body comes out, and its own framing can
        /// be read again.
        #[test]
        fn chunks_may_come_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1_usize..9, 0..60),
        ) {
            let mut sent = Vec::new();
            for chunk in &chunks {
                put_chunk(chunk, &mut sent);
            }
            put_last_chunk(&mut sent);
            let (mut pieces, mut rest) = (Vec::new(), &sent[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (out, left, over) = passed(Body::Chunked, &pieces).expect("well-formed");
            prop_assert!(over && left == 0);
            let again = passed(Body::Chunked, &[&out]).expect("well-formed");
            prop_assert_eq!(&again, &(out, 0, true));
            let mut passage = Passage::new(Body::Chunked);
            let own: usize = pieces.iter().map(|p| passage.push(p, &mut Vec::new()).expect("it").1).sum();
            prop_assert_eq!(own, chunks.concat().len());
        }
    }
}
