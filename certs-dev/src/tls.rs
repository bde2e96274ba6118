//! TLS: the network's own certificate authority, and certificates of broker and agents (ECDSA P-256).
//! Who a certificate speaks for is decided by the directory alone, over the hash of its public key.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use schakel_proto::ids::Digest;
use schakel_proto::time::Timestamp;

const DAY_MILLIS: i64 = 24 * 3600 * 1000;
/// Clocks may differ, and a certificate is dated by whole days.
const BEFORE_MILLIS: i64 = 2 * DAY_MILLIS;
const LIFE_MILLIS: i64 = 398 * DAY_MILLIS;
/// The word in every subject by which a person knows what this is.
const MARK: &str = "Schakel DEVELOPMENT, not for production";

/// A key and its certificate, as PEM, and the identity that the directory lists.
pub(crate) struct TlsParty {
    pub certificate_pem: String,
    pub key_pem: String,
    pub identity: Digest,
}

/// The certificate authority of a network.
pub(crate) struct TlsAuthority {
    key: KeyPair,
    network: String,
}

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Server,
    Client,
}

impl TlsAuthority {
    pub fn generate(network: &str) -> Result<Self, rcgen::Error> {
        Ok(Self {
            key: KeyPair::generate()?,
            network: network.to_owned(),
        })
    }

    pub fn from_pem(network: &str, pem: &str) -> Result<Self, rcgen::Error> {
        Ok(Self {
            key: KeyPair::from_pem(pem)?,
            network: network.to_owned(),
        })
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its own certificate.
    pub fn certificate_pem(&self, at: Timestamp) -> Result<String, rcgen::Error> {
        Ok(self.params(at).self_signed(&self.key)?.pem())
    }

    fn params(&self, at: Timestamp) -> CertificateParams {
        let mut params = dated(CertificateParams::default(), at);
        params.distinguished_name = subject(&format!("{} CA", self.network));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// A new key and its certificate for these DNS names or addresses.
    pub fn issue(
        &self,
        name: &str,
        names: Vec<String>,
        usage: Use,
        at: Timestamp,
    ) -> Result<TlsParty, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = dated(CertificateParams::new(names)?, at);
        params.distinguished_name = subject(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let authority = self.params(at);
        let issuer = Issuer::from_params(&authority, &self.key);
        let certificate: Certificate = params.signed_by(&key, &issuer)?;
        Ok(TlsParty {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            identity: Digest::of(&key.subject_public_key_info()),
        })
    }
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, MARK);
    subject.push(DnType::CommonName, name);
    subject
}

fn dated(mut params: CertificateParams, at: Timestamp) -> CertificateParams {
    let (year, month, day) = date(at.plus_millis(-BEFORE_MILLIS));
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(at.plus_millis(LIFE_MILLIS));
    params.not_after = date_time_ymd(year, month, day);
    params
}

/// The day in UTC; moments that have none become 1970-01-01.
fn date(at: Timestamp) -> (i32, u8, u8) {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
    (
        i32::from(date.year()),
        u8::try_from(date.month()).unwrap_or(1),
        u8::try_from(date.day()).unwrap_or(1),
    )
}
