//! TLS with clients: certificates from files, folders or a Consul, picked by the name a client asks
//! for, and read again while the edge runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use logic::config::{CertKind, CertSource, EdgeProtocol, ListenerTls};
use ports::{Machine, Stream, World};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ProtocolVersion, RootCertStore, ServerConfig};

use super::consul::Consul;
use super::headers::TlsFacts;
use super::tls::WorldTime;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

type Keys = Vec<Arc<CertifiedKey>>;

/// What a listener takes TLS off with.
#[derive(Clone)]
pub(super) struct Certificates {
    acceptor: TlsAcceptor,
    /// Those who read again end with the last of these.
    _lives: Arc<tokio::sync::watch::Sender<()>>,
}

/// A connection without its TLS.
pub(super) struct AcceptedTls {
    pub(super) stream: Box<dyn Stream>,
    pub(super) facts: TlsFacts,
    pub(super) http2: bool,
}

impl Certificates {
    /// Reads the certificates; an error says which can't be, and why.
    pub(super) async fn begin(
        world: &World,
        tls: &ListenerTls,
        protocol: EdgeProtocol,
    ) -> Result<Self, String> {
        let pems = read(world, &tls.source).await;
        // What couldn't be read yet, or changes from now on, is loaded by `follow`.
        let known = pems.as_ref().ok().cloned();
        let keys = match (&tls.source.kind, pems) {
            (CertKind::Consul { .. }, Err(why)) => {
                tracing::warn!(source = tls.source.name, why, "no certificates yet");
                Vec::new()
            }
            (_, pems) => keys(&pems?)?,
        };
        if keys.is_empty() {
            tracing::warn!(source = tls.source.name, "there are no certificates");
        }
        let resolver = Arc::new(Resolver {
            keys: ArcSwap::from_pointee(keys),
            strict: tls.strict,
        });
        let config = config(world, tls, protocol, resolver.clone())?;
        let lives = tokio::sync::watch::Sender::new(());
        let (world, source) = (world.clone(), tls.source.clone());
        let mut ended = lives.subscribe();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                // Ends only with an error: nothing is ever sent.
                _ = ended.changed() => {}
                () = follow(world, source, resolver, known) => {}
            }
        });
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            _lives: Arc::new(lives),
        })
    }

    pub(super) async fn accept(&self, stream: Box<dyn Stream>) -> Result<AcceptedTls, String> {
        let accepted = tokio::time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| "it took too long".to_owned())?;
        let stream = stream.map_err(|error| error.to_string())?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "tls13",
            _ => "tls12",
        };
        let suite = session.negotiated_cipher_suite();
        Ok(AcceptedTls {
            facts: TlsFacts {
                version,
                cipher: suite.map_or(0, |suite| u16::from(suite.suite())),
            },
            http2: session.alpn_protocol() == Some(b"h2"),
            stream: Box::new(stream),
        })
    }
}

fn config(
    world: &World,
    tls: &ListenerTls,
    protocol: EdgeProtocol,
    resolver: Arc<Resolver>,
) -> Result<ServerConfig, String> {
    let failed = |error: tokio_rustls::rustls::Error| error.to_string();
    let versions = [(tls.tls13, &TLS13), (tls.tls12, &TLS12)];
    let versions = versions.iter().filter(|(spoken, _)| *spoken);
    let versions: Vec<_> = versions.map(|(_, version)| *version).collect();
    let provider = Arc::new(default_provider());
    let time = Arc::new(WorldTime(world.clock.clone()));
    let builder = ServerConfig::builder_with_details(provider.clone(), time)
        .with_protocol_versions(&versions)
        .map_err(failed)?;
    let builder = if tls.source.client_ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for authority in authorities(world.machine.as_ref(), &tls.source.client_ca)? {
            roots.add(authority).map_err(failed)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = match protocol {
        EdgeProtocol::Tcp => Vec::new(),
        EdgeProtocol::Grpcs => vec![b"h2".to_vec()],
        _ => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// Picks a certificate for each client.
struct Resolver {
    keys: ArcSwap<Keys>,
    strict: bool,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.load();
        let name = hello
            .server_name()
            .and_then(|n| ServerName::try_from(n).ok());
        let named = keys.iter().find(|key| {
            let parsed = key.end_entity_cert().ok().map(ParsedCertificate::try_from);
            let (Some(Ok(parsed)), Some(name)) = (parsed, &name) else {
                return false;
            };
            verify_server_name(&parsed, name).is_ok()
        });
        let usual = keys.first().filter(|_| !self.strict || name.is_none());
        named.or(usual).cloned()
    }
}

/// Reads again and again; what can't be read leaves the certificates as they are.
async fn follow(
    world: World,
    source: CertSource,
    resolver: Arc<Resolver>,
    mut known: Option<Vec<Pair>>,
) {
    let mut told = None;
    loop {
        tokio::time::sleep(source.refresh).await;
        let pems = match read(&world, &source).await {
            Ok(pems) => pems,
            Err(why) => {
                complain(&source, why, &mut told);
                continue;
            }
        };
        if known.as_ref() == Some(&pems) {
            continue;
        }
        match keys(&pems) {
            Ok(keys) => {
                tracing::info!(
                    source = source.name,
                    count = keys.len(),
                    "certificates changed"
                );
                resolver.keys.store(Arc::new(keys));
                told = None;
            }
            Err(why) => complain(&source, why, &mut told),
        }
        known = Some(pems);
    }
}

/// Says the same only once.
fn complain(source: &CertSource, why: String, told: &mut Option<String>) {
    if told.as_ref() != Some(&why) {
        tracing::warn!(
            source = source.name,
            why,
            "certificates can't be read again"
        );
    }
    *told = Some(why);
}

/// A certificate's PEM and its key's, and what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    name: String,
    cert: Vec<u8>,
    key: Vec<u8>,
}

async fn read(world: &World, source: &CertSource) -> Result<Vec<Pair>, String> {
    let machine = world.machine.as_ref();
    match &source.kind {
        CertKind::File { cert, key } => {
            let pem = machine.file(cert)?;
            let key = if key.is_empty() {
                pem.clone()
            } else {
                machine.file(key)?
            };
            Ok(vec![Pair {
                name: cert.clone(),
                cert: pem,
                key,
            }])
        }
        CertKind::Path { folder } => {
            let mut files = Vec::new();
            for name in machine.folder(folder)? {
                if is_pem(&name) {
                    let bytes = machine.file(&format!("{folder}/{name}"))?;
                    files.push((name, bytes));
                }
            }
            pairs(files)
        }
        CertKind::Consul { address, prefix } => {
            let consul = Consul::plain(world, address);
            let values = consul.values(prefix).await?;
            pairs(values.into_iter().filter(|(key, _)| is_pem(key)))
        }
    }
}

/// `NAME-cert.pem` goes with `NAME-key.pem`; any other file holds both.
fn pairs(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Vec<Pair>, String> {
    let files: std::collections::BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    let mut pairs = Vec::new();
    for (name, bytes) in &files {
        if name.ends_with("-key.pem") {
            continue;
        }
        let key = match name.strip_suffix("-cert.pem") {
            Some(base) => {
                let key = format!("{base}-key.pem");
                files
                    .get(&key)
                    .ok_or(format!("{name} has no {key} beside it"))?
            }
            None => bytes,
        };
        pairs.push(Pair {
            name: name.clone(),
            cert: bytes.clone(),
            key: key.clone(),
        });
    }
    Ok(pairs)
}

fn is_pem(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == "pem")
}

fn keys(pairs: &[Pair]) -> Result<Keys, String> {
    pairs.iter().map(key).collect()
}

fn key(pair: &Pair) -> Result<Arc<CertifiedKey>, String> {
    let name = &pair.name;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.cert).collect();
    let chain = chain.map_err(|error| format!("{name}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{name}: it holds no certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key);
    let key = key.map_err(|error| format!("{name}: no private key: {error}"))?;
    let certified = CertifiedKey::from_der(chain, key, &default_provider());
    certified
        .map(Arc::new)
        .map_err(|error| format!("{name}: {error}"))
}

/// Authorities in a file, or in all files of a folder.
pub(super) fn authorities(
    machine: &dyn Machine,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let pems = match machine.folder(path) {
        Ok(names) => {
            let files = names.iter().filter(|name| is_pem(name));
            let files = files.map(|name| machine.file(&format!("{path}/{name}")));
            files.collect::<Result<Vec<_>, _>>()?
        }
        Err(_) => vec![machine.file(path)?],
    };
    let mut found = Vec::new();
    for pem in pems {
        for authority in CertificateDer::pem_slice_iter(&pem) {
            found.push(authority.map_err(|error| format!("{path}: {error}"))?);
        }
    }
    if found.is_empty() {
        return Err(format!("{path}: it holds no certificate in PEM"));
    }
    Ok(found)
}
