//! TLS inside the simulation: what a simulated service offers, and a visitor who trusts anything.
//!
//! The library draws its keys from the machine, not from the seed. So nothing may depend on them:
//! keys and signatures are of kinds that always have the same length.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A service with a certificate that nobody vouches for.
pub(crate) fn acceptor() -> Result<TlsAcceptor> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).context("no key")?;
    let mut params = rcgen::CertificateParams::new(["httpsbackendservice".to_owned()])?;
    params.serial_number = Some(1_u64.into());
    let certificate = params.self_signed(&key).context("no certificate")?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A visitor who doesn't look at certificates: `curl -k`.
pub(crate) fn connector() -> TlsConnector {
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(agent::edge::anyone())
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
