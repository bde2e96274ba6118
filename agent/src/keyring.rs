//! The agency's private keys: OpenPGP (signs and opens) and TLS (speaks to the broker). They are read
//! once at start from files that only their owner can read, and leave this process in no form.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schakel_proto::openpgp::{Fingerprint, SecretKeys};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::problem::{Kind, Problem};

/// Longest key file, in bytes.
const KEY_FILE_MAX_BYTES: u64 = 1 << 20;

/// What the agent shows the broker, and whom it believes.
pub struct TlsIdentity {
    /// Our certificate chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key.
    pub key: PrivateKeyDer<'static>,
    /// The network's CA.
    pub ca: Vec<CertificateDer<'static>>,
}

/// The agency's OpenPGP secret keys.
pub struct Keyring {
    secret: SecretKeys,
    former: Vec<SecretKeys>,
}

/// Silent: never shows a secret.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// Reads the secret keys that the settings name.
    pub fn load(config: &Config) -> Result<Self, Problem> {
        let former = config
            .former_openpgp_keys
            .iter()
            .map(|path| secret_keys(path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            secret: secret_keys(&config.openpgp_key)?,
            former,
        })
    }

    /// From keys already in memory: the current ones, and former ones that queued parts are sealed to.
    pub fn new(secret: SecretKeys, former: Vec<SecretKeys>) -> Self {
        Self { secret, former }
    }

    /// The current keys, for signing and for what has no other.
    pub fn secret(&self) -> &SecretKeys {
        &self.secret
    }

    /// The keys that open what is sealed to this encryption key; the current ones if none is known.
    pub fn opening(&self, key: &Fingerprint) -> &SecretKeys {
        let holds = |keys: &&SecretKeys| keys.certificate().encryption_fingerprints().contains(key);
        self.former.iter().find(holds).unwrap_or(&self.secret)
    }

    /// Fingerprint of the agency's certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.secret.certificate().fingerprint()
    }

    /// Signs the bytes of a message, made at `at`.
    pub fn sign(&self, bytes: Vec<u8>, at: Timestamp) -> Result<wire::Signed, Problem> {
        let signature = self.secret.sign(&bytes, at).map_err(|e| {
            let remedy = "Check that the agency's key is valid now and has a signing subkey.";
            Problem::new(
                Kind::Local,
                "SIGNING",
                format!("the key does not sign: {e}"),
                remedy,
            )
        })?;
        Ok(wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        })
    }
}

impl TlsIdentity {
    /// Reads certificate, key and CA that the settings name.
    pub fn load(config: &Config) -> Result<Self, Problem> {
        let wrong = |path: &Path, e: String| {
            let remedy = "Name a PEM file; certs-dev or the network's authority makes them.";
            Problem::new(Kind::Usage, "TLS_FILES", e, remedy).at(path.display())
        };
        let certificates = |path: &Path| {
            let pem = read(path)?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            match found {
                Ok(list) if !list.is_empty() => Ok(list),
                Ok(_) => Err(wrong(path, "holds no certificate".into())),
                Err(e) => Err(wrong(path, format!("does not parse: {e}"))),
            }
        };
        let pem = Zeroizing::new(read(&config.tls_key)?);
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| wrong(&config.tls_key, format!("holds no private key: {e}")))?;
        Ok(Self {
            chain: certificates(&config.tls_certificate)?,
            key,
            ca: certificates(&config.tls_ca)?,
        })
    }
}

fn secret_keys(path: &Path) -> Result<SecretKeys, Problem> {
    let bytes = Zeroizing::new(read(path)?);
    SecretKeys::parse(&bytes).map_err(|e| {
        let remedy = "Name the agency's OpenPGP secret key (transferable secret key, no passphrase).";
        Problem::new(Kind::Usage, "OPENPGP_KEY", e.to_string(), remedy).at(path.display())
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let length = fs::metadata(path).map_err(|e| Problem::io(&e, path))?.len();
    if length > KEY_FILE_MAX_BYTES {
        let sentence = format!("longer than {KEY_FILE_MAX_BYTES} bytes");
        return Err(Problem::new(Kind::Usage, "KEY_FILE", sentence, "Name a key file.").at(path.display()));
    }
    fs::read(path).map_err(|e| Problem::io(&e, path))
}
