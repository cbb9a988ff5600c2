//! `kv get|put|delete|export|import`: the key-value store.

mod transfer;

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use hyper::Method;
use logic::percent;

use super::api::KvPair;
use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{Client, RequestError, escaped};
use super::terminal;
use transfer::{Export, Import};

#[derive(Debug, Subcommand)]
pub(super) enum KvCommand {
    Get(Get),
    Put(Put),
    Delete(Delete),
    Export(Export),
    Import(Import),
}

impl KvCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Get(command) => command.run().await,
            Self::Put(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Export(command) => command.run().await,
            Self::Import(command) => command.run().await,
        }
    }
}

/// Read a key, or list those that begin alike
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover kv get redis/config/connections
  $ drover kv get -detailed redis/config/connections
  $ drover kv get -recurse redis/
  $ drover kv get -keys -separator=/ redis/")]
pub(super) struct Get {
    /// Without one: the root of all keys, for -recurse and -keys
    #[arg(
        value_name = "KEY_OR_PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    key: String,
    /// Show values in base64
    #[arg(long)]
    base64: bool,
    /// Show flags and indexes too
    #[arg(long)]
    detailed: bool,
    /// List the keys that begin so, without values
    #[arg(long)]
    keys: bool,
    /// Every key that begins so
    #[arg(long)]
    recurse: bool,
    /// For -keys: list keys up to this
    #[arg(long, default_value = "/")]
    separator: String,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// Write a key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover kv put redis/config/connections 5
  $ drover kv put license @license.lic
  $ drover kv put -cas -modify-index=844 redis/config/connections 5")]
pub(super) struct Put {
    key: String,
    /// The value, `@FILE` or `-` for standard input; empty without one
    #[arg(
        allow_negative_numbers = true,
        default_value = "",
        hide_default_value = true
    )]
    data: String,
    /// Write only if the key's `ModifyIndex` is still -modify-index
    #[arg(long)]
    cas: bool,
    /// For -cas
    #[arg(
        long,
        value_name = "INDEX",
        default_value_t = 0,
        hide_default_value = true
    )]
    modify_index: u64,
    /// A number to keep with the value
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    flags: u64,
    /// The data is in base64
    #[arg(long)]
    base64: bool,
    /// Write, and hold the key with -session: only if nobody else does
    #[arg(long, conflicts_with_all = ["release", "cas"])]
    acquire: bool,
    /// Write, and let go of the key that -session holds
    #[arg(long, conflicts_with = "cas")]
    release: bool,
    /// For -acquire and -release
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// Delete a key, or all that begin alike
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover kv delete redis/config/connections
  $ drover kv delete -recurse redis/")]
pub(super) struct Delete {
    #[arg(
        value_name = "KEY_OR_PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    key: String,
    /// Every key that begins so
    #[arg(long)]
    recurse: bool,
    /// Delete only if the key's `ModifyIndex` is still -modify-index
    #[arg(long)]
    cas: bool,
    /// For -cas
    #[arg(
        long,
        value_name = "INDEX",
        default_value_t = 0,
        hide_default_value = true
    )]
    modify_index: u64,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// A key's path in the API. Keys never begin with a slash, but people write one.
pub(super) fn path(key: &str) -> String {
    format!("/v1/kv/{}", percent::path(key))
}

fn without_slash(key: &str) -> &str {
    key.strip_prefix('/').unwrap_or(key)
}

fn missing_key() -> Failure {
    Failure::new("Error! Missing KEY argument")
}

/// What is there; nothing if the API says that there is nothing.
async fn pairs(client: &Client, path: &str) -> Result<Vec<KvPair>, Failure> {
    found(client.get(path).await)
}

fn found<T>(answer: Result<Vec<T>, RequestError>) -> Result<Vec<T>, Failure> {
    match answer {
        Err(RequestError::Status { code: 404, .. }) => Ok(Vec::new()),
        answer => {
            answer.map_err(|error| Failure::from(error).during("Error querying Consul agent"))
        }
    }
}

fn decoded(pair: &KvPair) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(&pair.value).map_err(|error| {
        let key = &pair.key;
        Failure::new(format!(
            "Error base 64 decoding value for key {key}: {error}"
        ))
    })
}

impl Get {
    async fn run(self) -> Outcome {
        let key = without_slash(&self.key);
        if key.is_empty() && !self.recurse && !self.keys {
            return Err(missing_key());
        }
        let client = self.connection.client()?;
        let path = path(key);
        if self.keys {
            let path = format!("{path}?keys&separator={}", escaped(&self.separator));
            for key in found::<String>(client.get(&path).await)? {
                terminal::print(&key);
            }
            return Ok(Exit::Done);
        }
        if self.recurse {
            let pairs = pairs(&client, &format!("{path}?recurse")).await?;
            terminal::write(&self.render_all(&pairs)?);
            return Ok(Exit::Done);
        }
        let pairs = pairs(&client, &path).await?;
        let Some(pair) = pairs.first() else {
            return Err(Failure::new(format!("Error! No key exists at: {key}")));
        };
        let mut text = if self.detailed {
            self.render_detailed(pair)?
        } else {
            self.value(pair)?
        };
        text.push(b'\n');
        terminal::write(&text);
        Ok(Exit::Done)
    }

    fn value(&self, pair: &KvPair) -> Result<Vec<u8>, Failure> {
        if self.base64 {
            Ok(pair.value.clone().into_bytes())
        } else {
            decoded(pair)
        }
    }

    fn render_all(&self, pairs: &[KvPair]) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        for (number, pair) in pairs.iter().enumerate() {
            if self.detailed {
                if number > 0 {
                    text.push(b'\n');
                }
                text.extend(self.render_detailed(pair)?);
            } else {
                text.extend(pair.key.bytes());
                text.push(b':');
                text.extend(self.value(pair)?);
            }
            text.push(b'\n');
        }
        Ok(text)
    }

    fn render_detailed(&self, pair: &KvPair) -> Result<Vec<u8>, Failure> {
        let session = if pair.session.is_empty() {
            "-"
        } else {
            &pair.session
        };
        let facts = [
            ("CreateIndex", pair.create_index.to_string()),
            ("Flags", pair.flags.to_string()),
            ("Key", pair.key.clone()),
            ("LockIndex", pair.lock_index.to_string()),
            ("ModifyIndex", pair.modify_index.to_string()),
            ("Session", session.to_owned()),
        ];
        let line = |(name, value)| format!("{name:<17}{value}\n");
        let mut text = facts.map(line).concat().into_bytes();
        text.extend(format!("{:<17}", "Value").bytes());
        text.extend(self.value(pair)?);
        Ok(text)
    }
}

impl Put {
    async fn run(self) -> Outcome {
        let terms = self.terms()?;
        let failed = |why: String| Failure::new(format!("Error! {why}"));
        let mut data = read_data(&self.data, std::io::stdin()).map_err(failed)?;
        if self.base64 {
            data = STANDARD
                .decode(data.trim_ascii())
                .map_err(|error| failed(format!("Cannot base 64 decode data: {error}")))?;
        }
        let key = &self.key;
        let path = format!("{}?flags={}{}", path(key), self.flags, terms.parameter);
        let client = self.connection.client()?;
        match client.change(Method::PUT, &path, data).await {
            Ok(true) => {}
            Ok(false) => return Err(terms.unmet),
            Err(error) => return Err(Failure::from(error).during(terms.doing)),
        }
        terminal::print(&format!("Success! {}: {key}", terms.done));
        Ok(Exit::Done)
    }

    /// On which terms it is written.
    fn terms(&self) -> Result<Terms, Failure> {
        let key = &self.key;
        let lock = if self.acquire { "acquire" } else { "release" };
        if self.acquire || self.release {
            let Some(session) = &self.session else {
                let text = format!("Error! Missing -session (required with -{lock})");
                return Err(Failure::new(text));
            };
            let text = format!("Error! Did not {lock} lock");
            return Ok(Terms {
                parameter: format!("&{lock}={}", escaped(session)),
                doing: text.clone(),
                unmet: Failure::new(text),
                done: format!("Lock {lock}d on"),
            });
        }
        if self.session.is_some() {
            let text = "Error! -session is for -acquire or -release";
            return Err(Failure::new(text));
        }
        if self.cas && self.modify_index == 0 {
            return Err(Failure::new("Must specify -modify-index with -cas!"));
        }
        let (parameter, doing) = if self.cas {
            let cas = format!("&cas={}", self.modify_index);
            (cas, format!("Error! Did not write to {key}"))
        } else {
            (String::new(), "Error! Failed writing data".to_owned())
        };
        Ok(Terms {
            parameter,
            unmet: Failure::new("CAS failed").during(doing.clone()),
            doing,
            done: "Data written to".to_owned(),
        })
    }
}

/// What a write asks for, and what is told of it.
#[derive(Debug)]
struct Terms {
    parameter: String,
    doing: String,
    unmet: Failure,
    done: String,
}

/// What a command was given to write: as it is, from `@FILE`, or `-` from standard input.
fn read_data(data: &str, mut stdin: impl Read) -> Result<Vec<u8>, String> {
    if let Some(file) = data.strip_prefix('@') {
        return std::fs::read(file)
            .map_err(|error| format!("Failed to read file: {file}: {error}"));
    }
    if data != "-" {
        return Ok(data.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    let read = stdin.read_to_end(&mut bytes);
    read.map_err(|error| format!("Failed to read stdin: {error}"))?;
    Ok(bytes)
}

impl Delete {
    fn check(&self, key: &str) -> Result<(), Failure> {
        if key.is_empty() && !self.recurse {
            return Err(missing_key());
        }
        let wrong = if self.cas && self.modify_index == 0 {
            "Cannot delete a key that does not exist. Provide a -modify-index greater than 0."
        } else if self.modify_index != 0 && !self.cas {
            "Cannot specify -modify-index without -cas!"
        } else if self.recurse && self.cas {
            "Cannot specify both -cas and -recurse!"
        } else {
            return Ok(());
        };
        Err(Failure::new(wrong))
    }

    async fn run(self) -> Outcome {
        let key = without_slash(&self.key);
        self.check(key)?;
        let (query, doing, done) = if self.recurse {
            (
                "?recurse".to_owned(),
                format!("Error! Did not delete prefix {key}"),
                format!("Success! Deleted keys with prefix: {key}"),
            )
        } else {
            let query = if self.cas {
                format!("?cas={}", self.modify_index)
            } else {
                String::new()
            };
            (
                query,
                format!("Error! Did not delete key {key}"),
                format!("Success! Deleted key: {key}"),
            )
        };
        let client = self.connection.client()?;
        let path = path(key) + &query;
        match client.change(Method::DELETE, &path, Vec::new()).await {
            Ok(true) => {}
            Ok(false) => return Err(Failure::new("CAS failed").during(doing)),
            Err(error) => return Err(Failure::from(error).during(doing)),
        }
        terminal::print(&done);
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests;
