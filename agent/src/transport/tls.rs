//! The TLS side of the connection to the broker: TLS 1.3 only, X25519MLKEM768 first, the network's CA,
//! the broker's name, and the broker's key as the directory pins it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schakel_proto::ids::Digest;

use crate::keyring::TlsIdentity;
use crate::problem::{Kind, Problem};

/// Which keys the brokers may show, by their names: the SHA-256 of their SubjectPublicKeyInfo, from the directory. A name
/// that it does not list has none. Before the first directory is known any key under the network's CA passes, and is
/// remembered, so that it can be compared as soon as the directory is there.
#[derive(Default)]
pub struct Pins {
    allowed: RwLock<Option<BTreeMap<String, Vec<Digest>>>>,
    seen: Mutex<Option<(String, Digest)>>,
}

impl Pins {
    /// Sets the keys that pass from now on.
    pub fn set(&self, allowed: BTreeMap<String, Vec<Digest>>) {
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = Some(allowed);
    }

    /// Whether keys are pinned.
    pub fn is_set(&self) -> bool {
        self.allowed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// The name and the key that the last handshake showed.
    pub fn last_seen(&self) -> Option<(String, Digest)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, name: &str, key: Digest) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), key));
        match &*self.allowed.read().unwrap_or_else(PoisonError::into_inner) {
            None => true,
            Some(allowed) => allowed.get(name).is_some_and(|keys| keys.contains(&key)),
        }
    }
}

/// Chain, name and validity by webpki; then the pinned key.
struct PinnedVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    pins: Arc<Pins>,
}

impl std::fmt::Debug for PinnedVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinnedVerifier")
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.webpki
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let key = Digest::of(parsed.subject_public_key_info().as_ref());
        if self.pins.check(&server_name.to_str(), key) {
            Ok(verified)
        } else {
            Err(rustls::Error::General(
                "the broker's key is not the one in the directory".into(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The provider of this agent: aws-lc-rs with the hybrid key exchange first.
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// The client's TLS settings.
pub fn client_config(identity: &TlsIdentity, pins: Arc<Pins>) -> Result<ClientConfig, Problem> {
    let wrong = |e: &dyn std::fmt::Display| {
        let remedy = "Check [tls] certificate, key and ca in agent.toml.";
        Problem::new(
            Kind::Usage,
            "TLS_FILES",
            format!("TLS cannot be set up: {e}"),
            remedy,
        )
    };
    let provider = Arc::new(provider());
    let mut roots = RootCertStore::empty();
    for certificate in &identity.ca {
        roots.add(certificate.clone()).map_err(|e| wrong(&e))?;
    }
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|e| wrong(&e))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| wrong(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier { webpki, pins }))
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|e| wrong(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_key_exchange_is_offered_first() {
        let first = provider().kx_groups[0].name();
        assert_eq!(first, rustls::NamedGroup::X25519MLKEM768);
    }

    #[test]
    fn i06_before_a_directory_any_key_is_remembered_and_after_it_only_pinned_ones_pass() {
        let pins = Pins::default();
        let (good, bad) = (Digest::of(b"good"), Digest::of(b"bad"));
        assert!(pins.check("a.example", bad));
        assert_eq!(pins.last_seen(), Some(("a.example".to_owned(), bad)));
        pins.set(BTreeMap::from([("a.example".to_owned(), vec![good])]));
        assert!(pins.check("a.example", good));
        assert!(!pins.check("a.example", bad));
        assert!(!pins.check("b.example", good), "another broker's key");
    }
}
