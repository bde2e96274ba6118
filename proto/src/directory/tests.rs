//! Tests of the directory: what a threshold signed is taken, everything else is refused by name.

use prost::Message;
use rand::SeedableRng;

use super::*;
use crate::openpgp::{KeyKind, SecretKeys};
use crate::tlog::checkpoint::LogSecret;

const NOW: Timestamp = Timestamp::from_millis(1_795_278_600_000);
const HOUR: i64 = 3_600_000;

struct Keys {
    authority: Vec<SecretKeys>,
    agencies: Vec<SecretKeys>,
    officer: SecretKeys,
}

fn keys() -> Keys {
    let make = |kind, name: &str| SecretKeys::generate(kind, name, NOW.plus_millis(-HOUR)).unwrap();
    Keys {
        authority: (0..3)
            .map(|n| make(KeyKind::V6, &format!("authority {n}")))
            .collect(),
        agencies: vec![make(KeyKind::V6, "police"), make(KeyKind::V4, "welfare")],
        officer: make(KeyKind::V6, "officer"),
    }
}

fn network() -> NetworkName {
    NetworkName::new("rupel").unwrap()
}

fn certificate(keys: &SecretKeys) -> bytes::Bytes {
    keys.certificate().to_bytes().unwrap().into()
}

fn message(keys: &Keys) -> wire::Directory {
    let agency = |n: usize, id: &str, role: &str, compatibility: wire::Compatibility| wire::Agency {
        id: id.to_owned(),
        name: format!("Dienst {id}"),
        role: role.to_owned(),
        region: "vlg".to_owned(),
        languages: vec!["nl".to_owned()],
        tls_identities: vec![vec![u8::try_from(n).unwrap(); 32].into()],
        certificates: vec![certificate(&keys.agencies[n])],
        compatibility: compatibility.into(),
        ..wire::Agency::default()
    };
    let mut police = agency(0, "pz-rupel", "police_zone", wire::Compatibility::V6);
    police.officers = vec![wire::Officer {
        id: "officer".to_owned(),
        certificate: certificate(&keys.officer),
    }];
    wire::Directory {
        r#type: "schakel.v1.Directory".to_owned(),
        network: "rupel".to_owned(),
        version: 7,
        issued_ms: NOW.millis() - HOUR,
        valid_until_ms: NOW.millis() + 1000 * HOUR,
        development: true,
        agencies: vec![police, agency(1, "ocmw-boom", "ocmw", wire::Compatibility::V4)],
        brokers: vec![wire::BrokerService {
            name: "broker.rupel.example".to_owned(),
            tls_identities: vec![vec![9; 32].into()],
        }],
        log: Some(wire::LogDescription {
            origin: "rupel.example/log".to_owned(),
            key: vec![3; 32].into(),
            ..wire::LogDescription::default()
        }),
        auditors: Vec::new(),
    }
}

fn sign(message: &wire::Directory, signers: &[&SecretKeys]) -> wire::MultiSigned {
    let bytes = message.encode_to_vec();
    let signatures = signers
        .iter()
        .map(|k| k.sign(&bytes, NOW.plus_millis(-HOUR)).unwrap().into())
        .collect();
    wire::MultiSigned {
        bytes: bytes.into(),
        signatures,
    }
}

fn two_of_three(keys: &Keys) -> Authority {
    Authority::new(keys.authority.iter().map(SecretKeys::certificate).collect(), 2).unwrap()
}

fn verify(message: &wire::Directory, keys: &Keys) -> Result<Directory, DirectoryError> {
    let signed = sign(message, &[&keys.authority[0], &keys.authority[2]]);
    Directory::verify(&signed, &two_of_three(keys), &network(), NOW)
}

#[test]
fn a_threshold_of_signatures_gives_typed_agencies_and_keys() {
    let keys = keys();
    let directory = verify(&message(&keys), &keys).unwrap();
    let police = directory.agency(&AgencyId::new("pz-rupel").unwrap()).unwrap();
    assert_eq!((directory.version(), directory.development()), (7, true));
    assert_eq!(police.role().as_str(), "police_zone");
    assert!(police.signing_keys(&keys.agencies[0].fingerprint()).is_some());
    assert!(police.signing_keys(&keys.agencies[1].fingerprint()).is_none());
    let by_tls = directory.agency_by_tls(&Digest::from_bytes([1; 32])).unwrap();
    assert_eq!(by_tls.id().as_str(), "ocmw-boom");
    assert!(
        directory.agency_by_tls(&Digest::from_bytes([9; 32])).is_none(),
        "the broker is no agency"
    );
    assert!(directory.is_broker(&Digest::from_bytes([9; 32])));
    assert_eq!(
        directory
            .officers()
            .map(|o| o.agency().as_str())
            .collect::<Vec<_>>(),
        ["pz-rupel"]
    );
    let encoded = directory.signed().encode_to_vec();
    let again = Directory::verify_encoded(&encoded, &two_of_three(&keys), &network(), NOW).unwrap();
    assert_eq!(again.digest(), directory.digest());
    let current = police.sealing_key().unwrap().fingerprint();
    assert_eq!(
        directory.encryption_key(police.id(), current),
        Some(KeyStanding::Current)
    );
    assert_eq!(directory.encryption_key(by_tls.id(), current), None);
}

#[test]
fn one_key_twice_or_a_stranger_is_no_threshold() {
    let keys = keys();
    let message = message(&keys);
    let authority = two_of_three(&keys);
    for signers in [
        vec![&keys.authority[0]],
        vec![&keys.authority[0], &keys.authority[0]],
        vec![&keys.authority[0], &keys.agencies[0]],
    ] {
        let refused = Directory::verify(&sign(&message, &signers), &authority, &network(), NOW).unwrap_err();
        assert_eq!(refused, DirectoryError::TooFewSignatures { good: 1, needed: 2 });
    }
    let mut altered = sign(&message, &[&keys.authority[0], &keys.authority[1]]);
    let mut other = message.clone();
    other.version = 8;
    altered.bytes = other.encode_to_vec().into();
    let refused = Directory::verify(&altered, &authority, &network(), NOW).unwrap_err();
    assert_eq!(refused, DirectoryError::TooFewSignatures { good: 0, needed: 2 });
}

#[test]
fn an_authority_that_cannot_be_met_is_refused() {
    let keys = keys();
    let one = keys.authority[0].certificate();
    for (certificates, threshold) in [
        (vec![], 1),
        (vec![one.clone()], 0),
        (vec![one.clone()], 2),
        (vec![one.clone(), one.clone()], 1),
    ] {
        assert!(matches!(
            Authority::new(certificates, threshold),
            Err(DirectoryError::Authority { .. })
        ));
    }
    let mut keyring = keys.authority[0].certificate().to_bytes().unwrap();
    keyring.extend(keys.authority[1].certificate().to_bytes().unwrap());
    assert_eq!(Authority::from_keyring(&keyring, 2).unwrap().threshold(), 2);
}

type Change = fn(&mut wire::Directory);

#[test]
fn every_field_out_of_bounds_or_given_twice_is_refused_at_its_place() {
    let keys = keys();
    let changes: [(&str, Change); 24] = [
        ("type", |d| d.r#type = "schakel.v1.Statement".to_owned()),
        ("version", |d| d.version = 0),
        ("issued_ms", |d| d.issued_ms = 0),
        ("valid_until_ms", |d| d.valid_until_ms = d.issued_ms),
        ("agencies", |d| d.agencies.clear()),
        ("agencies[0]", |d| d.agencies[0].id = "PZ".to_owned()),
        ("agencies[1]", |d| d.agencies[1].id = "pz-rupel".to_owned()),
        ("agencies[0].name", |d| d.agencies[0].name = "a\nb".to_owned()),
        ("agencies[0].name", |d| {
            d.agencies[0].name = "a\u{202e}b".to_owned()
        }),
        ("agencies[0]", |d| d.agencies[0].role = String::new()),
        ("agencies[0].side", |d| d.agencies[0].side = "both".to_owned()),
        ("agencies[0].languages", |d| {
            d.agencies[0].languages.push("nl".to_owned())
        }),
        ("agencies[0].tls_identities", |d| {
            d.agencies[0].tls_identities.clear()
        }),
        ("agencies[1].tls_identities", |d| {
            d.agencies[1].tls_identities = d.agencies[0].tls_identities.clone()
        }),
        ("brokers[0].tls_identities", |d| {
            d.brokers[0].tls_identities = d.agencies[0].tls_identities.clone()
        }),
        ("agencies[0].certificates", |d| {
            d.agencies[0].certificates[0] = vec![1, 2, 3].into()
        }),
        ("agencies[1].certificates", |d| {
            d.agencies[1].certificates = d.agencies[0].certificates.clone()
        }),
        ("agencies[0].compatibility", |d| d.agencies[0].compatibility = 9),
        ("agencies[0].certificates", |d| {
            d.agencies[0].compatibility = wire::Compatibility::V4.into()
        }),
        ("agencies[1].officers", |d| {
            d.agencies[1].officers = d.agencies[0].officers.clone()
        }),
        ("brokers", |d| d.brokers.clear()),
        ("brokers[0]", |d| d.brokers[0].name = "Broker".to_owned()),
        ("log", |d| d.log = None),
        ("log.witnesses", |d| {
            d.log.as_mut().unwrap().witnesses.push("nobody".to_owned())
        }),
    ];
    for (expected, change) in changes {
        let mut message = message(&keys);
        change(&mut message);
        match verify(&message, &keys) {
            Err(DirectoryError::Malformed { place, .. }) => {
                assert!(place.starts_with(expected), "{place} {expected}")
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn unknown_fields_and_another_encoding_are_refused() {
    let keys = keys();
    let mut signed = sign(&message(&keys), &[]);
    let mut bytes = signed.bytes.to_vec();
    bytes.extend([0xF8, 0x07, 0x01]); // field 127, varint 1
    let sign = |k: &SecretKeys| k.sign(&bytes, NOW).unwrap().into();
    signed.signatures = vec![sign(&keys.authority[0]), sign(&keys.authority[1])];
    signed.bytes = bytes.into();
    let refused = Directory::verify(&signed, &two_of_three(&keys), &network(), NOW);
    assert!(matches!(refused, Err(DirectoryError::Malformed { place, .. }) if place == "bytes"));
}

#[test]
fn another_network_another_time_and_an_older_version_are_refused() {
    let keys = keys();
    let authority = two_of_three(&keys);
    let signed = sign(&message(&keys), &[&keys.authority[0], &keys.authority[1]]);
    let at = |now| Directory::verify(&signed, &authority, &network(), now);
    let elsewhere = NetworkName::new("oostende").unwrap();
    let refused = Directory::verify(&signed, &authority, &elsewhere, NOW).unwrap_err();
    assert_eq!(refused, DirectoryError::Network { expected: elsewhere });
    let early = NOW.plus_millis(-HOUR - limits::CLOCK_SKEW_MAX_MILLIS - 1);
    assert!(at(early).is_err());
    assert!(matches!(
        at(NOW.plus_millis(1000 * HOUR + 1)),
        Err(DirectoryError::Expired { .. })
    ));
    let directory = at(NOW).unwrap();
    assert!(directory.fresh(NOW.plus_millis(23 * HOUR)).is_ok());
    let stale = directory.fresh(NOW.plus_millis(23 * HOUR + 1)).unwrap_err();
    assert_eq!(
        stale,
        DirectoryError::Stale {
            issued: directory.issued()
        }
    );
    assert!(directory.clone().not_below(7).is_ok());
    assert_eq!(
        directory.not_below(8).unwrap_err(),
        DirectoryError::Older { got: 7, newest: 8 }
    );
}

#[test]
fn only_a_newer_or_the_same_directory_takes_over() {
    let keys = keys();
    let current = verify(&message(&keys), &keys).unwrap();
    let changed = |change: Change| {
        let mut message = message(&keys);
        change(&mut message);
        verify(&message, &keys).unwrap()
    };
    assert!(Directory::accept_newer(&current, current.clone()).is_ok());
    let newer = Directory::accept_newer(&current, changed(|d| d.version = 8)).unwrap();
    assert_eq!(newer.version(), 8);
    let older = Directory::accept_newer(&current, changed(|d| d.version = 6)).unwrap_err();
    assert_eq!(older, DirectoryError::Older { got: 6, newest: 7 });
    let twin = Directory::accept_newer(&current, changed(|d| d.issued_ms += 1)).unwrap_err();
    assert_eq!(twin, DirectoryError::Contradiction { version: 7 });
    let unmarked = changed(|d| {
        d.version = 8;
        d.development = false;
    });
    assert!(Directory::accept_newer(&current, unmarked).is_err());
}

#[test]
fn an_agency_whose_key_is_not_valid_now_stays_listed_without_it() {
    let mut keys = keys();
    keys.agencies[0] = SecretKeys::generate(KeyKind::V6, "police", NOW.plus_millis(HOUR)).unwrap();
    let directory = verify(&message(&keys), &keys).unwrap();
    let police = directory.agency(&AgencyId::new("pz-rupel").unwrap()).unwrap();
    assert!(police.sealing_key().is_none());
    assert!(police.signing_keys(&keys.agencies[0].fingerprint()).is_none());
}

#[test]
fn l10_shard_ends_in_a_directory_are_checked_and_never_taken_back() {
    let keys = keys();
    let secret = |origin: &str| {
        let mut rng = rand::rngs::StdRng::seed_from_u64(origin.len() as u64);
        LogSecret::generate(origin, &mut rng).unwrap()
    };
    let (old, next) = (secret("rupel.example/log"), secret("rupel.example/log/2027h1"));
    let frozen = |size: u64| wire::FrozenShard {
        origin: old.public().origin().to_owned(),
        key: old.public().public().to_vec().into(),
        checkpoint: old.sign(size, Digest::of(b"root")).note().to_vec().into(),
    };
    let of = |version: u64, in_force: &LogSecret, frozen: Vec<wire::FrozenShard>| {
        let mut message = message(&keys);
        message.version = version;
        let log = message.log.as_mut().unwrap();
        log.origin = in_force.public().origin().to_owned();
        log.key = in_force.public().public().to_vec().into();
        log.frozen = frozen;
        verify(&message, &keys)
    };
    let before = of(7, &old, Vec::new()).unwrap();
    let after = of(8, &next, vec![frozen(12)]).unwrap();
    let shards = after.log().shards();
    assert_eq!(
        (shards.origin(), shards.frozen().len()),
        (next.public().origin(), 1)
    );
    assert_eq!(shards.predecessor().unwrap().last().size(), 12);
    let accepted = Directory::accept_newer(&before, after.clone()).unwrap();
    assert_eq!(accepted.log(), after.log());
    // Another log without an end of the one before, another end, or the end forgotten.
    for refused in [
        of(9, &next, Vec::new()),
        of(9, &next, vec![frozen(13)]),
        of(9, &old, Vec::new()),
    ] {
        let refused = Directory::accept_newer(&accepted, refused.unwrap());
        assert_eq!(refused.unwrap_err(), DirectoryError::LogReplaced);
    }
    let stranger = of(8, &next, Vec::new()).unwrap();
    let refused = Directory::accept_newer(&before, stranger);
    assert_eq!(refused.unwrap_err().code(), "DIRECTORY_LOG");
    let changed = |change: fn(&mut wire::FrozenShard)| {
        let mut one = frozen(12);
        change(&mut one);
        of(8, &next, vec![one]).unwrap_err().to_string()
    };
    for (place, said) in [
        ("log.frozen[0]", changed(|one| one.key = vec![1; 31].into())),
        ("log.frozen[0]", changed(|one| one.key = vec![1; 32].into())),
        ("log.frozen[0]", changed(|one| one.origin = "other".to_owned())),
        (
            "log.frozen[0]",
            changed(|one| one.checkpoint = vec![b'x'; 1025].into()),
        ),
        ("log.frozen[0]", changed(|one| one.checkpoint = Vec::new().into())),
    ] {
        assert!(said.contains(place), "{said}");
    }
    for frozen in [vec![frozen(0)], vec![frozen(1), frozen(2)], vec![frozen(1); 257]] {
        let said = of(8, &next, frozen).unwrap_err().to_string();
        assert!(said.contains("log.frozen"), "{said}");
    }
    let same = of(8, &old, vec![frozen(12)]).unwrap_err().to_string();
    assert!(same.contains("one origin or one key"), "{same}");
}

#[test]
fn auditors_are_agencies_of_the_directory_each_once() {
    let keys = keys();
    let auditing = |list: &[&str]| {
        let mut message = message(&keys);
        message.auditors = list.iter().map(ToString::to_string).collect();
        verify(&message, &keys)
    };
    let directory = auditing(&["ocmw-boom"]).unwrap();
    assert_eq!(directory.auditors(), [AgencyId::new("ocmw-boom").unwrap()]);
    assert!(auditing(&[]).unwrap().auditors().is_empty());
    for wrong in [
        &["ocmw-boom", "ocmw-boom"][..],
        &["coc"],
        &["Not an id"],
        &["ocmw-boom"; 17],
    ] {
        let refused = auditing(wrong).unwrap_err();
        assert!(refused.to_string().contains("auditors"), "{refused}");
    }
}
