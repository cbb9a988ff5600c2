//! Where the edge's certificates come from, as fabio's `-proxy.cs` writes it:
//! `cs=NAME;type=file;cert=/path/cert.pem;key=/path/key.pem`.

use std::time::Duration;

use crate::duration;
use crate::validate::closest;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertSource {
    pub name: String,
    pub kind: CertKind,
    /// A file or a folder of authorities; clients need a certificate of one of them. Empty: none.
    pub client_ca: String,
    /// How often it is read again.
    pub refresh: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertKind {
    /// One certificate with its chain, and its key; in one file if `key` is empty.
    File { cert: String, key: String },
    /// All of a folder: `NAME-cert.pem` with `NAME-key.pem`, or both in `NAME.pem`.
    Path { folder: String },
    /// The values of all keys below an URL `http://HOST:PORT/v1/kv/PREFIX`, by their names.
    Consul { address: String, prefix: String },
}

const REFRESH: Duration = Duration::from_secs(3);
const OPTIONS: [&str; 9] = [
    "cs",
    "type",
    "cert",
    "key",
    "clientca",
    "caupgcn",
    "refresh",
    "hdr",
    "vaultfetchtoken",
];

impl CertSource {
    /// Reads a list, with commas between sources. An error is a sentence.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut sources: Vec<Self> = Vec::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let source =
                Self::parse(item).map_err(|why| format!("certificate source \"{item}\": {why}"))?;
            if sources.iter().any(|known| known.name == source.name) {
                return Err(format!("two certificate sources are named {}", source.name));
            }
            sources.push(source);
        }
        Ok(sources)
    }

    fn parse(item: &str) -> Result<Self, String> {
        let (mut name, mut kind, mut cert, mut key) = ("", "", "", "");
        let (mut client_ca, mut refresh) = ("", REFRESH);
        for option in item.split(';').map(str::trim).filter(|o| !o.is_empty()) {
            let (option_name, value) = option.split_once('=').unwrap_or((option, ""));
            match option_name {
                "cs" => name = value,
                "type" => kind = value,
                "cert" => cert = value,
                "key" => key = value,
                "clientca" => client_ca = value,
                "refresh" => {
                    let nanos = duration::parse(value).map_err(|why| why.to_string())?;
                    let nanos = u64::try_from(nanos).unwrap_or_default();
                    refresh = Duration::from_nanos(nanos).max(Duration::from_secs(1));
                }
                "caupgcn" => {
                    return Err(
                        "caupgcn isn't supported: make the certificate an authority's, \
                                or leave it out"
                            .to_owned(),
                    );
                }
                "hdr" | "vaultfetchtoken" => {
                    return Err(format!("{option_name} is for types that aren't supported"));
                }
                _ => {
                    let hint = closest(option_name, OPTIONS).unwrap_or("cs, type, cert and key");
                    return Err(format!("{option_name} is unknown; write {hint}"));
                }
            }
        }
        if name.is_empty() {
            return Err("it has no name: add cs=NAME".to_owned());
        }
        if cert.is_empty() {
            return Err("it says not where the certificates are: add cert=".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            kind: read_kind(kind, cert, key)?,
            client_ca: client_ca.to_owned(),
            refresh,
        })
    }
}

fn read_kind(kind: &str, cert: &str, key: &str) -> Result<CertKind, String> {
    match kind {
        "file" => Ok(CertKind::File {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        "path" => Ok(CertKind::Path {
            folder: cert.to_owned(),
        }),
        "consul" => {
            let rest = cert.strip_prefix("http://");
            let parts = rest.and_then(|rest| rest.split_once("/v1/kv/"));
            let (address, prefix) = parts
                .ok_or_else(|| format!("cert={cert}: write cert=http://HOST:PORT/v1/kv/PREFIX"))?;
            Ok(CertKind::Consul {
                address: address.to_owned(),
                prefix: prefix.to_owned(),
            })
        }
        "http" | "vault" | "vault-pki" => Err(format!(
            "type={kind} isn't supported: have the certificates written to a folder, and use \
             type=path"
        )),
        "" => Err("it has no type: add type=file, type=path or type=consul".to_owned()),
        _ => Err(format!(
            "type={kind} is unknown; write type=file, type=path or type=consul"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read() {
        let list = "cs=a;type=file;cert=c.pem;key=k.pem;clientca=ca.pem, \
                    cs=b;type=path;cert=/etc/certs;refresh=1m,\
                    cs=c;type=consul;cert=http://localhost:8500/v1/kv/certs";
        let sources = CertSource::parse_list(list).expect("sources");
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(sources[0].client_ca, "ca.pem");
        assert_eq!(sources[1].refresh, Duration::from_secs(60));
        assert_eq!(
            sources[2].kind,
            CertKind::Consul {
                address: "localhost:8500".into(),
                prefix: "certs".into()
            }
        );
    }

    #[test]
    fn what_is_wrong_with_a_source_is_told() {
        for (item, why) in [
            ("type=file;cert=c", "it has no name: add cs=NAME"),
            (
                "cs=a;cert=c",
                "it has no type: add type=file, type=path or type=consul",
            ),
            (
                "cs=a;type=file",
                "it says not where the certificates are: add cert=",
            ),
            (
                "cs=a;type=vault;cert=c",
                "type=vault isn't supported: have the certificates written to a folder, and use \
                 type=path",
            ),
            ("cs=a;typ=file", "typ is unknown; write type"),
        ] {
            let told = format!("certificate source \"{item}\": {why}");
            assert_eq!(CertSource::parse_list(item), Err(told));
        }
    }
}
