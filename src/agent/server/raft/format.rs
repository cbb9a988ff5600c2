//! In which format a server's data is: what one version of Drover wrote, another may misread.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::log_store::{Failed, LOG, META};
use crate::wire;

const KEY: &str = "format";

/// Marks new data as this version's; refuses data in another format.
pub(super) fn check(transaction: &WriteTransaction) -> Result<(), Failed> {
    let mut meta = transaction.open_table(META)?;
    let unused = meta.is_empty()? && transaction.open_table(LOG)?.is_empty()?;
    let found = meta.get(KEY)?.map(|mark| mark.value().to_vec());
    match found {
        None if unused => {
            let mark = format!("{} {}", wire::VERSION, crate::VERSION);
            meta.insert(KEY, mark.as_bytes())?;
            Ok(())
        }
        None => Err(refusal("an older version of Drover").into()),
        Some(mark) => {
            let mark = String::from_utf8_lossy(&mark).into_owned();
            let (format, writer) = mark.split_once(' ').unwrap_or((&mark, "?"));
            if format == wire::VERSION.to_string() {
                return Ok(());
            }
            Err(refusal(&format!("Drover {writer} (format {format})")).into())
        }
    }
}

fn refusal(writer: &str) -> String {
    format!(
        "{writer} wrote this server's data, and this version (format {}) can't read it: start the \
         version that wrote it; or, if other servers of the cluster have been upgraded, move the \
         data directory away and start anew: this one takes everything from them",
        wire::VERSION
    )
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;

    fn opened(change: impl FnOnce(&WriteTransaction)) -> Result<(), String> {
        let memory = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(memory);
        let database = database.expect("memory is there");
        let transaction = database.begin_write().expect("it is open");
        change(&transaction);
        check(&transaction).map_err(|error| error.to_string())?;
        check(&transaction).map_err(|error| format!("what it wrote: {error}"))
    }

    fn marked(mark: &'static str) -> impl FnOnce(&WriteTransaction) {
        move |transaction| {
            let mut meta = transaction.open_table(META).expect("a table");
            meta.insert(KEY, mark.as_bytes()).expect("room");
        }
    }

    #[test]
    fn only_data_of_this_format_is_opened() {
        assert_eq!(opened(|_| ()), Ok(()));
        let why = opened(marked("200 9.9.9")).expect_err("newer");
        assert!(why.contains("Drover 9.9.9 (format 200)"), "{why}");
        let older = opened(|transaction| {
            let mut log = transaction.open_table(LOG).expect("a table");
            log.insert(1, [0].as_slice()).expect("room");
        });
        let why = older.expect_err("from before formats were noted");
        assert!(why.contains("an older version"), "{why}");
    }
}
