//! A task's output in rotated files, `TASK.stdout.0`, `.1`, ..., that one process writes and
//! another may read.
//!
//! Offsets count from the task's first output. Where the oldest file that is left begins stands
//! in `.TASK.stdout.start`; every other file begins where the one before it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Result as IoResult, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ports::LogChunk;

use crate::disk;

/// A rotated file: its number, where it begins, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    number: u64,
    start: u64,
    len: u64,
}

impl Piece {
    fn end(self) -> u64 {
        self.start + self.len
    }
}

fn piece_path(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}.{number}"))
}

fn start_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.start"))
}

/// What is left of a log, oldest first.
fn pieces(folder: &Path, name: &str) -> IoResult<Vec<Piece>> {
    let (oldest, mut start) = match fs::read_to_string(start_path(folder, name)) {
        Ok(text) => parse_start(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => (0, 0),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for number in oldest.. {
        match fs::metadata(piece_path(folder, name, number)) {
            Ok(metadata) => {
                let len = metadata.len();
                found.push(Piece { number, start, len });
                start += len;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn parse_start(text: &str) -> (u64, u64) {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(number)), Some(Ok(start))) => (number, start),
        _ => (0, 0),
    }
}

/// Appends to a log, going on to a new file when one is full and removing the oldest.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    name: String,
    max_files: u64,
    max_len: u64,
    file: File,
    current: Piece,
    oldest: Piece,
}

impl Writer {
    /// Goes on where an earlier writer stopped.
    pub(crate) fn open(folder: &Path, name: &str, max_files: u64, max_len: u64) -> IoResult<Self> {
        fs::create_dir_all(folder)?;
        let known = pieces(folder, name)?;
        let current = known.last().copied().unwrap_or(Piece {
            number: 0,
            start: 0,
            len: 0,
        });
        let oldest = known.first().copied().unwrap_or(current);
        Ok(Self {
            file: append_to(&piece_path(folder, name, current.number))?,
            folder: folder.to_owned(),
            name: name.to_owned(),
            max_files: max_files.max(1),
            max_len: max_len.max(1),
            current,
            oldest,
        })
    }

    /// Where the next byte goes.
    pub(crate) fn end(&self) -> u64 {
        self.current.end()
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> IoResult<()> {
        while !bytes.is_empty() {
            if self.current.len >= self.max_len {
                self.rotate()?;
            }
            let room = self.max_len - self.current.len;
            let fits = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, later) = bytes.split_at(fits);
            self.file.write_all(now)?;
            self.current.len += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Takes back what was written beyond `offset`, as far as it is still in the newest file.
    pub(crate) fn truncate(&mut self, offset: u64) -> IoResult<()> {
        if offset < self.end() {
            let len = offset.saturating_sub(self.current.start);
            self.file.set_len(len)?;
            self.current.len = len;
        }
        Ok(())
    }

    fn rotate(&mut self) -> IoResult<()> {
        let next = Piece {
            number: self.current.number + 1,
            start: self.current.end(),
            len: 0,
        };
        self.file = append_to(&piece_path(&self.folder, &self.name, next.number))?;
        self.current = next;
        while next.number - self.oldest.number >= self.max_files {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Notes the new start first, so that a reader never misplaces the files that stay.
    fn drop_oldest(&mut self) -> IoResult<()> {
        let gone = self.oldest;
        let path = piece_path(&self.folder, &self.name, gone.number);
        let start = gone.start + fs::metadata(&path).map_or(gone.len, |found| found.len());
        self.oldest = Piece {
            number: gone.number + 1,
            start,
            len: 0,
        };
        let note = format!("{} {start}\n", self.oldest.number);
        disk::replace(&start_path(&self.folder, &self.name), note.as_bytes())?;
        disk::remove_all(&path)
    }
}

fn append_to(path: &Path) -> IoResult<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Up to `max` bytes from `offset`, or from the oldest byte that is left if that is later. None if
/// there never was such a log.
pub(crate) fn read(
    folder: &Path,
    name: &str,
    offset: u64,
    max: usize,
) -> IoResult<Option<LogChunk>> {
    let known = pieces(folder, name)?;
    let (Some(first), Some(last)) = (known.first(), known.last()) else {
        return Ok(None);
    };
    let end = last.end();
    let offset = offset.clamp(first.start, end);
    let mut data = Vec::new();
    for piece in known.iter().filter(|piece| piece.end() > offset) {
        let wanted = max - data.len();
        if wanted == 0 {
            break;
        }
        let from = (offset + data.len() as u64).saturating_sub(piece.start);
        let available = piece.len.saturating_sub(from);
        let len = usize::try_from(available).map_or(wanted, |len| len.min(wanted));
        let mut part = vec![0; len];
        match File::open(piece_path(folder, name, piece.number))
            .and_then(|file| file.read_exact_at(&mut part, from))
        {
            Ok(()) => data.append(&mut part),
            // Rotated away between the look at the folder and here: the next read starts later.
            Err(error) if error.kind() == ErrorKind::NotFound && data.is_empty() => {
                return read(folder, name, piece.end(), max);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(LogChunk { offset, data, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn text(folder: &Path, offset: u64, max: usize) -> (u64, String, u64) {
        let chunk = read(folder, "t.stdout", offset, max)
            .expect("readable")
            .expect("there is a log");
        let data = String::from_utf8(chunk.data).expect("text");
        (chunk.offset, data, chunk.end)
    }

    #[test]
    fn a_log_is_read_across_its_files() {
        let folder = folder();
        let mut log = Writer::open(folder.path(), "t.stdout", 3, 4).expect("writable");
        log.write(b"abcdefghij").expect("written");
        assert_eq!(
            text(folder.path(), 0, 100),
            (0, "abcdefghij".to_owned(), 10)
        );
        assert_eq!(text(folder.path(), 3, 3), (3, "def".to_owned(), 10));
        assert_eq!(text(folder.path(), 10, 5), (10, String::new(), 10));
        assert_eq!(text(folder.path(), 99, 5), (10, String::new(), 10));
    }

    #[test]
    fn the_oldest_output_goes_away_and_offsets_stay() {
        let folder = folder();
        let mut log = Writer::open(folder.path(), "t.stdout", 2, 4).expect("writable");
        log.write(b"aaaabbbbccccdd").expect("written");
        assert_eq!(text(folder.path(), 0, 100), (8, "ccccdd".to_owned(), 14));
        assert!(!piece_path(folder.path(), "t.stdout", 1).exists());
    }

    #[test]
    fn a_new_writer_goes_on_where_the_last_one_stopped() {
        let folder = folder();
        for part in ["aaab", "bbcc", "c"] {
            let mut log = Writer::open(folder.path(), "t.stdout", 2, 3).expect("writable");
            log.write(part.as_bytes()).expect("written");
        }
        assert_eq!(text(folder.path(), 0, 100), (3, "bbbccc".to_owned(), 9));
    }

    #[test]
    fn a_changed_file_size_moves_no_offset() {
        let folder = folder();
        let mut log = Writer::open(folder.path(), "t.stdout", 2, 4).expect("writable");
        log.write(b"aaaabb").expect("written");
        let mut log = Writer::open(folder.path(), "t.stdout", 2, 2).expect("writable");
        log.write(b"ccd").expect("written");
        assert_eq!(text(folder.path(), 0, 100), (6, "ccd".to_owned(), 9));
    }

    #[test]
    fn output_beyond_an_offset_can_be_taken_back() {
        let folder = folder();
        let mut log = Writer::open(folder.path(), "t.stdout", 2, 4).expect("writable");
        log.write(b"aaaabbb").expect("written");
        log.truncate(5).expect("cut");
        log.write(b"x").expect("written");
        assert_eq!(text(folder.path(), 0, 100), (0, "aaaabx".to_owned(), 6));
        assert_eq!(log.end(), 6);
    }

    #[test]
    fn a_task_that_never_ran_has_no_log() {
        let folder = folder();
        let found = read(folder.path(), "t.stdout", 0, 1).expect("readable");
        assert_eq!(found, None);
    }
}
