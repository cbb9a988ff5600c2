//! `kv export` and `kv import`: keys and values as JSON, to bring them elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;

use super::super::connection::CatalogConnection;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::terminal;
use super::{pairs, path, read_data, without_slash};

/// Print keys and values as JSON, for `import`
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover kv export redis/ > redis.json")]
pub(in crate::cli) struct Export {
    /// Only keys that begin so
    #[arg(
        value_name = "KEY_OR_PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    key: String,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// Write what `export` printed
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover kv import @redis.json
  $ consul kv export redis/ | drover kv import -")]
pub(in crate::cli) struct Import {
    /// The JSON, `@FILE` or `-` for standard input
    data: String,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// A key as `export` prints it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    pub(super) key: String,
    #[serde(default)]
    pub(super) flags: u64,
    #[serde(default)]
    pub(super) value: Option<String>,
}

impl Export {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let path = path(without_slash(&self.key)) + "?recurse";
        let exported: Vec<Exported> = pairs(&client, &path)
            .await?
            .into_iter()
            .map(|pair| Exported {
                key: pair.key,
                flags: pair.flags,
                value: Some(pair.value),
            })
            .collect();
        terminal::print(&render_export(&exported)?);
        Ok(Exit::Done)
    }
}

pub(super) fn render_export(exported: &[Exported]) -> Result<String, Failure> {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    let written = exported.serialize(&mut serializer);
    written.map_err(|error| Failure::new(format!("Error exporting KV data: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let failed = |why: String| Failure::new(format!("Error! {why}"));
        let data = read_data(&self.data, std::io::stdin()).map_err(failed)?;
        let pairs = imported(&data)?;
        let client = self.connection.client()?;
        for (pair, value) in pairs {
            let key = &pair.key;
            let doing = format!("Error! Failed writing data for key {key}");
            let path = format!("{}?flags={}", path(key), pair.flags);
            let written = client.change(Method::PUT, &path, value).await;
            written.map_err(|error| Failure::from(error).during(doing))?;
            terminal::print(&format!("Imported: {key}"));
        }
        Ok(Exit::Done)
    }
}

/// Everything is looked at before the first key is written.
pub(super) fn imported(data: &[u8]) -> Result<Vec<(Exported, Vec<u8>)>, Failure> {
    let pairs: Vec<Exported> = serde_json::from_slice(data)
        .map_err(|error| Failure::new(format!("Cannot unmarshal data: {error}")))?;
    let decode = |pair: Exported| {
        let value = pair.value.as_deref().unwrap_or_default();
        let value = STANDARD.decode(value).map_err(|error| {
            let key = &pair.key;
            Failure::new(format!(
                "Error base 64 decoding value for key {key}: {error}"
            ))
        })?;
        Ok((pair, value))
    };
    pairs.into_iter().map(decode).collect()
}
