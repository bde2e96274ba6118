//! Keys over time: a signature counts if its key was valid when it was made, and a revoked key never.

use std::time::{Duration, SystemTime};

use schakel_proto::openpgp::{Certificate, Defect, SecretKeys};
use sequoia_openpgp as sq;
use sq::Packet;
use sq::cert::{Cert, CertBuilder, CertRevocationBuilder, CipherSuite, SubkeyRevocationBuilder};
use sq::packet::Key;
use sq::packet::key::{SubordinateRole, UnspecifiedParts};
use sq::serialize::SerializeInto;
use sq::types::{KeyFlags, ReasonForRevocation};

use super::world::{MADE, NOW};

const HOUR_MILLIS: i64 = 3_600_000;

fn made() -> SystemTime {
    MADE.to_system_time()
}

/// Keys whose signing subkey is valid for two hours, and whose encryption subkey is for one.
fn short_lived() -> Cert {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let encryption = KeyFlags::empty().set_transport_encryption();
    let builder = CertBuilder::new().add_userid("kort").set_creation_time(made());
    let builder = builder
        .set_profile(sq::Profile::RFC9580)
        .unwrap()
        .set_cipher_suite(CipherSuite::Cv25519);
    let builder = builder.add_subkey(KeyFlags::empty().set_signing(), hours(2), None);
    builder
        .add_subkey(encryption, hours(1), None)
        .generate()
        .unwrap()
        .0
}

fn signing_subkey(cert: &Cert) -> Key<UnspecifiedParts, SubordinateRole> {
    let signs = |key: &&Key<_, _>| key.pk_algo().for_signing();
    let all: Vec<_> = cert
        .keys()
        .subkeys()
        .map(|ka| ka.key().clone().parts_into_unspecified())
        .collect();
    all.iter().find(signs).unwrap().clone()
}

fn keys(cert: &Cert) -> SecretKeys {
    SecretKeys::parse(&cert.as_tsk().to_vec().unwrap()).unwrap()
}

#[test]
fn a_signature_outlives_its_key_but_is_not_made_by_a_dead_one() {
    let keys = keys(&short_lived());
    let during = MADE.plus_millis(HOUR_MILLIS);
    let signature = keys.sign(b"data", during).unwrap();
    let signing = keys.certificate().signing_keys_at(NOW).unwrap();
    assert_eq!(signing.verify(b"data", &signature, NOW).unwrap().at(), during);
    let too_late = MADE.plus_millis(3 * HOUR_MILLIS);
    assert_eq!(
        keys.sign(b"data", too_late).unwrap_err().defect(),
        Defect::NoSigningKey
    );
}

#[test]
fn a_signature_dated_after_its_key_expired_is_refused() {
    let cert = short_lived();
    let key = signing_subkey(&cert).parts_into_secret().unwrap();
    let mut signer = key.into_keypair().unwrap();
    let late = MADE.plus_millis(3 * HOUR_MILLIS);
    let signature = sq::packet::signature::SignatureBuilder::new(sq::types::SignatureType::Binary)
        .set_signature_creation_time(late.to_system_time())
        .unwrap()
        .sign_message(&mut signer, b"data")
        .unwrap();
    let signature = Packet::from(signature).to_vec().unwrap();
    let signing = keys(&cert)
        .certificate()
        .signing_keys_at(MADE.plus_millis(HOUR_MILLIS))
        .unwrap();
    let error = signing.verify(b"data", &signature, NOW).unwrap_err();
    assert_eq!(error.defect(), Defect::SignatureOutsideKeyValidity);
}

#[test]
fn a_certificate_revoked_as_a_whole_signs_and_takes_seals_no_more() {
    let cert = short_lived();
    let during = MADE.plus_millis(HOUR_MILLIS / 2);
    let mut primary = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let revocation = CertRevocationBuilder::new()
        .set_signature_creation_time(during.to_system_time())
        .unwrap()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"gestolen")
        .unwrap()
        .build(&mut primary, &cert, None)
        .unwrap();
    let before = keys(&cert).certificate();
    assert!(before.signing_keys_at(during).is_ok() && before.sealing_key_at(during).is_ok());
    let (revoked, _) = cert.insert_packets(Packet::from(revocation)).unwrap();
    let after = keys(&revoked);
    let certificate = after.certificate();
    let defect = Defect::CertificateNotValid;
    assert_eq!(certificate.signing_keys_at(during).unwrap_err().defect(), defect);
    assert_eq!(certificate.sealing_key_at(during).unwrap_err().defect(), defect);
    assert_eq!(after.sign(b"data", during).unwrap_err().defect(), defect);
}

#[test]
fn a_revoked_signing_key_counts_no_more() {
    let cert = short_lived();
    let keys = keys(&cert);
    let during = MADE.plus_millis(HOUR_MILLIS);
    let signature = keys.sign(b"data", during).unwrap();
    let mut primary = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let subkey = signing_subkey(&cert);
    let revocation = SubkeyRevocationBuilder::new()
        .set_signature_creation_time(during.to_system_time())
        .unwrap()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"gestolen")
        .unwrap()
        .build(&mut primary, &cert, &subkey, None)
        .unwrap();
    let (revoked, _) = cert.insert_packets(Packet::from(revocation)).unwrap();
    let certificate = Certificate::parse(&revoked.to_vec().unwrap()).unwrap();
    assert_eq!(
        certificate.signing_keys_at(NOW).unwrap_err().defect(),
        Defect::NoSigningKey
    );
    let before = keys.certificate().signing_keys_at(NOW).unwrap();
    assert!(before.verify(b"data", &signature, NOW).is_ok());
}

#[test]
fn an_expired_encryption_key_takes_no_new_seals_but_is_still_named() {
    let certificate = keys(&short_lived()).certificate();
    let key = certificate
        .sealing_key_at(MADE.plus_millis(HOUR_MILLIS / 2))
        .unwrap();
    assert_eq!(certificate.encryption_fingerprints(), [key.fingerprint().clone()]);
    assert_eq!(
        certificate.sealing_key_at(NOW).unwrap_err().defect(),
        Defect::NoSealingKey
    );
}

#[test]
fn a_keyring_gives_each_certificate_and_names_the_bad_one() {
    let (a, b) = (short_lived(), short_lived());
    let mut ring = a.to_vec().unwrap();
    ring.extend(b.to_vec().unwrap());
    let all = Certificate::parse_all(&ring).unwrap();
    let fingerprints = [keys(&a).fingerprint(), keys(&b).fingerprint()];
    assert_eq!(
        all.iter().map(Certificate::fingerprint).collect::<Vec<_>>(),
        fingerprints
    );
    assert_eq!(
        Certificate::parse(&ring).unwrap_err().defect(),
        Defect::CertificateMalformed
    );
    let error = Certificate::parse_all(&[ring, b"rommel".to_vec()].concat()).unwrap_err();
    assert_eq!(error.defect(), Defect::CertificateMalformed);
}
