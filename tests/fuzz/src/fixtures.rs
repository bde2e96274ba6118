//! What inputs are read against: the network of the vectors, a log, a signed directory.

use std::sync::LazyLock;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::directory::{Authority, Directory};
use schakel_proto::openpgp::{Certificate, SecretKeys, SigningKeys};
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::cosignature::{Algorithm, WitnessSecret, witness_name};
use schakel_proto::vectors::{self, NOW, PacketVector, World};
use schakel_proto::wire;

/// The network of the vectors.
pub static WORLD: LazyLock<World> = LazyLock::new(World::load);
/// Its packets, good and hostile.
pub static VECTORS: LazyLock<Vec<PacketVector>> = LazyLock::new(vectors::all);
/// A log.
pub static LOG: LazyLock<LogSecret> =
    LazyLock::new(|| LogSecret::generate("fuzz.example/log", &mut StdRng::seed_from_u64(1)).unwrap());
/// The signing keys of each member's first certificate, in the world's order.
pub static SIGNING: LazyLock<Vec<SigningKeys>> = LazyLock::new(|| {
    let keys = |keys: &SecretKeys| keys.certificate().signing_keys_at(NOW).unwrap();
    secrets().map(keys).collect()
});
/// An authority: the key of the world's first member.
pub static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new(vec![authority_keys().certificate()], 1).unwrap());
/// A directory of all members.
pub static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let signed = signed_by_authority(directory_message().encode_to_vec());
    Directory::verify(&signed, &AUTHORITY, &WORLD.network, NOW).unwrap()
});

/// The current secret keys of each member.
pub fn secrets() -> impl Iterator<Item = &'static SecretKeys> {
    WORLD.members().map(|id| WORLD.keys(id).first().unwrap())
}

fn authority_keys() -> &'static SecretKeys {
    secrets().next().unwrap()
}

/// The bytes, signed by the authority.
pub fn signed_by_authority(bytes: Vec<u8>) -> wire::MultiSigned {
    let signature = authority_keys().sign(&bytes, NOW).unwrap();
    wire::MultiSigned {
        bytes: bytes.into(),
        signatures: vec![signature.into()],
    }
}

/// A directory of all members, to be signed.
pub fn directory_message() -> wire::Directory {
    let log = LOG.public();
    let agencies: Vec<_> = WORLD.members().enumerate().map(|(n, id)| agency(n, id)).collect();
    wire::Directory {
        r#type: "schakel.v1.Directory".to_owned(),
        network: WORLD.network.to_string(),
        version: 3,
        issued_ms: NOW.millis() - 1000,
        valid_until_ms: NOW.millis() + 1_000_000_000,
        development: true,
        brokers: vec![wire::BrokerService {
            name: "broker.rupel.example".to_owned(),
            tls_identities: vec![vec![0xB0; 32].into()],
        }],
        log: Some(wire::LogDescription {
            origin: log.origin().to_owned(),
            key: log.public().to_vec().into(),
            witnesses: agencies.first().map(|a| a.id.clone()).into_iter().collect(),
            tolerated_liars: 0,
            witness_keys: agencies.first().map(|a| witness_key(&a.id)).into_iter().collect(),
            frozen: Vec::new(),
        }),
        auditors: agencies.first().map(|a| a.id.clone()).into_iter().collect(),
        agencies,
    }
}

/// The secret with which an agency cosigns the log.
pub fn witness(id: &AgencyId) -> WitnessSecret {
    let name = witness_name(LOG.public().origin(), id);
    let mut rng = StdRng::seed_from_u64(0x717);
    WitnessSecret::generate(Algorithm::Ed25519, &name, &mut rng).unwrap()
}

fn witness_key(id: &str) -> wire::WitnessKey {
    let secret = witness(&AgencyId::new(id).unwrap());
    wire::WitnessKey {
        agency: id.to_owned(),
        key: secret.public().to_bytes().into(),
    }
}

fn agency(number: usize, id: &AgencyId) -> wire::Agency {
    let certificate = WORLD.keys(id).first().unwrap().certificate();
    let v6 = certificate.fingerprint().as_bytes().len() == 32;
    wire::Agency {
        id: id.to_string(),
        name: format!("Agency {number}"),
        role: "police_zone".to_owned(),
        side: ["", "victim", "perpetrator"][number % 3].to_owned(),
        region: "vlg".to_owned(),
        languages: vec!["nl".to_owned(), "fr".to_owned()],
        tls_identities: vec![vec![u8::try_from(number).unwrap(); 32].into()],
        certificates: vec![bytes_of(&certificate).into()],
        compatibility: if v6 {
            wire::Compatibility::V6
        } else {
            wire::Compatibility::V4
        }
        .into(),
        officers: Vec::new(),
        competent_for: vec!["rupel".to_owned()],
    }
}

/// A certificate's bytes.
pub fn bytes_of(certificate: &Certificate) -> Vec<u8> {
    certificate.to_bytes().unwrap()
}
