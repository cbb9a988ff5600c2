//! TLS to upstreams: rustls, the machine's trusted certificates, and the world's clock.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use logic::routes::Tls;
use ports::{Clock, Machine, Stream, World};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    WantsVerifier,
};

type Builder = ConfigBuilder<ClientConfig, WantsVerifier>;

/// Why no TLS connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFailure {
    /// The upstream's certificate is the reason.
    pub(crate) untrusted: bool,
    pub(crate) reason: String,
}

impl TlsFailure {
    fn of(error: &Error) -> Self {
        Self {
            untrusted: matches!(error, Error::InvalidCertificate(_)),
            reason: error.to_string(),
        }
    }

    fn plain(reason: String) -> Self {
        Self {
            untrusted: false,
            reason,
        }
    }
}

/// Makes TLS connections out of connections; shared by all workers.
pub(crate) struct TlsClient {
    machine: Arc<dyn Machine>,
    clock: Arc<dyn Clock>,
    /// Made when they are needed first: most edges never speak TLS.
    verifying: OnceLock<Result<Arc<ClientConfig>, Error>>,
    trusting: OnceLock<Result<Arc<ClientConfig>, Error>>,
}

impl TlsClient {
    pub(crate) fn new(world: &World) -> Self {
        Self::of(world.machine.clone(), world.clock.clone())
    }

    pub(super) fn of(machine: Arc<dyn Machine>, clock: Arc<dyn Clock>) -> Self {
        Self {
            machine,
            clock,
            verifying: OnceLock::new(),
            trusting: OnceLock::new(),
        }
    }

    /// Shakes hands. An error says why it failed, such as what is wrong with a certificate.
    pub(crate) async fn begin(
        &self,
        stream: Box<dyn Stream>,
        tls: &Tls,
        http2: bool,
    ) -> Result<Box<dyn Stream>, TlsFailure> {
        let config = if tls.verified {
            self.verifying.get_or_init(|| self.verifying())
        } else {
            self.trusting.get_or_init(|| self.trusting())
        };
        let mut config = config.as_ref().map_err(TlsFailure::of)?.clone();
        if http2 {
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        }
        let name = ServerName::try_from(tls.name.clone()).map_err(|_| {
            TlsFailure::plain(format!("\"{}\" is no name for a certificate", tls.name))
        })?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        match connected {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                Err(inner.map_or_else(|| TlsFailure::plain(error.to_string()), TlsFailure::of))
            }
        }
    }

    /// A client that trusts these authorities alone.
    pub(super) fn trusting_only(
        world: &World,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let client = Self::new(world);
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority)?;
        }
        let builder = client.builder(crypto::ring::default_provider())?;
        let config = over_http1(builder.with_root_certificates(roots).with_no_client_auth());
        // Nothing else has had time to set it.
        let _ = client.verifying.set(Ok(config));
        Ok(client)
    }

    fn verifying(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        let certificates = self.machine.trusted_certificates();
        let certificates = certificates.into_iter().map(CertificateDer::from);
        let (added, ignored) = roots.add_parsable_certificates(certificates);
        tracing::debug!(added, ignored, "this machine's trusted certificates");
        if added == 0 {
            tracing::warn!(
                "this machine trusts no certificates: https upstreams need tlsskipverify=true"
            );
        }
        let builder = self.builder(crypto::ring::default_provider())?;
        Ok(over_http1(
            builder.with_root_certificates(roots).with_no_client_auth(),
        ))
    }

    fn trusting(&self) -> Result<Arc<ClientConfig>, Error> {
        let builder = self.builder(crypto::ring::default_provider())?.dangerous();
        let builder = builder.with_custom_certificate_verifier(anyone());
        Ok(over_http1(builder.with_no_client_auth()))
    }

    fn builder(&self, provider: CryptoProvider) -> Result<Builder, Error> {
        let time = Arc::new(WorldTime(self.clock.clone()));
        ClientConfig::builder_with_details(Arc::new(provider), time)
            .with_safe_default_protocol_versions()
    }
}

fn over_http1(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Certificates are valid by the clock of the world they are looked at in.
pub(super) struct WorldTime(pub(super) Arc<dyn Clock>);

impl fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().secs()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Takes any certificate, as `tlsskipverify=true` asks for; the peer must have its key though.
pub fn anyone() -> Arc<dyn ServerCertVerifier> {
    let provider = crypto::ring::default_provider();
    Arc::new(Anyone(provider.signature_verification_algorithms))
}

#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
