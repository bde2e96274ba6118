//! The way to the database is private: TLS to whom the named authority certified, and a password.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use schakel_proto::ids::CaseRef;

use super::cluster::Cluster;
use super::*;
use crate::store::Store;

/// A new authority, and its certificate.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A certificate and its key for a name or address.
fn certified(authority: &Issuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i06_the_way_to_the_database_is_tls_to_whom_the_authority_named_and_takes_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let mut server = Cluster::start(&folder.path().join("server")).unwrap();
    let authority = |name: &str| {
        let (authority, pem) = authority(name);
        let file = folder.path().join(format!("{name}.crt"));
        std::fs::write(&file, pem).unwrap();
        (authority, file)
    };
    let ((ours, ca), (_, other)) = (authority("ours"), authority("other"));
    let (certificate, key) = certified(&ours, "127.0.0.1");
    server.lock_up((&certificate, &key), "pas-op").unwrap();
    server.run().unwrap();
    let plain = server.options("schakel", folder.path());
    let options = |ca: &std::path::Path, password: &str| PostgresOptions {
        password: Some(password.to_owned()),
        privacy: Privacy::Tls {
            ca: ca.to_owned(),
            identity: None,
        },
        ..plain.clone()
    };
    let store = PostgresStore::open(options(&ca, "pas-op")).await.unwrap();
    assert!(
        store
            .facts(CaseRef::from_bytes([1; 16]))
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    store.close().await;
    let why = |opened: Result<PostgresStore, StoreError>| opened.map(drop).unwrap_err().to_string();
    let refused = why(PostgresStore::open(options(&ca, "geraden")).await);
    assert!(refused.contains("refuses this broker"), "{refused}");
    let refused = why(PostgresStore::open(options(&other, "pas-op")).await);
    assert!(
        refused.contains("certificate") || refused.contains("tls"),
        "{refused}"
    );
    let plain = PostgresOptions {
        privacy: Privacy::ThisMachine,
        ..options(&ca, "pas-op")
    };
    let refused = why(PostgresStore::open(plain).await);
    assert!(
        refused.contains("no encryption") || refused.contains("refuses"),
        "{refused}"
    );
    // Another server of the same authority is not this one.
    let (certificate, key) = certified(&ours, "db9.example");
    server.lock_up((&certificate, &key), "pas-op").unwrap();
    server.run().unwrap();
    let refused = why(PostgresStore::open(options(&ca, "pas-op")).await);
    assert!(refused.contains("certificate"), "{refused}");
}
