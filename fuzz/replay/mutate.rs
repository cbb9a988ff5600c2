//! Damages corpus files, reproducibly: bytes, words, nesting, pieces of other files.

use std::path::PathBuf;

/// Pieces that matter to parsers.
const WORDS: [&str; 56] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "\\",
    "\n",
    "=",
    ",",
    ":",
    "${",
    "$${",
    "%{",
    "<<EOF\n",
    "EOF\n",
    "/*",
    "*/",
    "#",
    "//",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "0.1",
    "null",
    "true",
    "\"\"",
    "job \"x\" {",
    "group \"g\" {",
    "task \"t\" {",
    "config {",
    "port \"p\" {}",
    "meta = { a = 1 }",
    "for",
    "? 1 : 2",
    "\u{feff}",
    "é",
    "1/0",
    "\r\n",
    "\r\n\r\n",
    "\n====\n",
    "GET / HTTP/1.1\r\n",
    "HEAD /cut HTTP/1.1\r\n",
    "POST /pre HTTP/1.1\r\n",
    "Host: a\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x-a\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.0",
    "204 No Content",
    "100 Continue\r\n\r\n",
    "Expect: 100-continue\r\n",
];

/// Splitmix64: enough for this, and the same everywhere.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of the files with a few things wrong.
    pub fn mutant(&mut self, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].1.clone();
        for _ in 0..=self.below(6) {
            self.damage(&mut bytes, corpus);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(40)).min(bytes.len());
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] = self.next() as u8,
            1 if at < end => drop(bytes.drain(at..end)),
            2 if at < end => {
                let piece = bytes[at..end].to_vec();
                let times = self.below(20);
                bytes.splice(at..at, piece.repeat(times));
            }
            3 => {
                let other = &corpus[self.below(corpus.len())].1;
                let from = self.below(other.len());
                let to = (from + self.below(200)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                let times = if self.below(20) == 0 { 5_000 } else { 1 };
                bytes.splice(at..at, word.repeat(times).into_bytes());
            }
            5 => bytes.truncate(at),
            6 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..end.max(at), word.bytes());
            }
        }
    }
}
