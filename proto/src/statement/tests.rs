//! Tests of the statements: signed and verified, every bad field refused, the chain recomputed.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::directory::Authority;
use crate::openpgp::KeyKind;
use crate::party::Code;

mod kinds;

const NOW: Timestamp = Timestamp::from_millis(1_795_278_600_000);
const CASE: CaseRef = CaseRef::from_bytes([5; 16]);

fn network() -> NetworkName {
    NetworkName::new("rupel").unwrap()
}

fn id(text: &str) -> AgencyId {
    AgencyId::new(text).unwrap()
}

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// A directory with `pz-rupel`, and its keys.
fn world() -> (Directory, SecretKeys) {
    let keys = SecretKeys::generate(KeyKind::V6, "police", NOW).unwrap();
    let authority = SecretKeys::generate(KeyKind::V6, "authority", NOW).unwrap();
    let message = wire::Directory {
        r#type: "schakel.v1.Directory".to_owned(),
        network: "rupel".to_owned(),
        version: 1,
        issued_ms: NOW.millis(),
        valid_until_ms: NOW.millis() + 3_600_000,
        development: true,
        agencies: vec![wire::Agency {
            id: "pz-rupel".to_owned(),
            name: "PZ Rupel".to_owned(),
            role: "police_zone".to_owned(),
            region: "vlg".to_owned(),
            tls_identities: vec![vec![1; 32].into()],
            certificates: vec![keys.certificate().to_bytes().unwrap().into()],
            ..wire::Agency::default()
        }],
        brokers: vec![wire::BrokerService {
            name: "broker".to_owned(),
            tls_identities: vec![vec![2; 32].into()],
        }],
        log: Some(wire::LogDescription {
            origin: "log".to_owned(),
            key: vec![3; 32].into(),
            ..wire::LogDescription::default()
        }),
        auditors: Vec::new(),
    };
    let bytes = message.encode_to_vec();
    let signatures = vec![authority.sign(&bytes, NOW).unwrap().into()];
    let signed = wire::MultiSigned {
        bytes: bytes.into(),
        signatures,
    };
    let pinned = Authority::new(vec![authority.certificate()], 1).unwrap();
    (
        Directory::verify(&signed, &pinned, &network(), NOW).unwrap(),
        keys,
    )
}

fn opened() -> StatementBody {
    StatementBody::CaseOpened {
        case_type: code("partner_violence"),
        region: code("vlg"),
        roster: vec![
            RosterEntry::active(id("pz-rupel")),
            RosterEntry::active(id("caw-rupel")),
        ],
    }
}

fn changed(roster_version: u64) -> StatementBody {
    let mut left = RosterEntry::active(id("caw-rupel"));
    left.status = RosterStatus::Left;
    left.until = Some(NOW);
    StatementBody::RosterChanged {
        roster_version,
        roster: vec![RosterEntry::active(id("pz-rupel")), left],
    }
}

fn draft(body: StatementBody) -> StatementDraft {
    StatementDraft {
        network: network(),
        case_ref: CASE,
        agency: id("pz-rupel"),
        body,
    }
}

fn sign(body: StatementBody, keys: &SecretKeys, seed: u64) -> wire::Signed {
    draft(body)
        .sign(keys, NOW, &mut StdRng::seed_from_u64(seed))
        .unwrap()
        .1
}

#[test]
fn what_was_signed_comes_back_typed_and_verified() {
    let (directory, keys) = world();
    for body in [opened(), changed(2)] {
        let signed = sign(body.clone(), &keys, 1);
        let parsed = ParsedStatement::parse(&signed).unwrap();
        let verified = VerifiedStatement::verify(parsed, &directory, &network(), NOW).unwrap();
        let statement = verified.statement();
        assert_eq!(
            (statement.body(), statement.case_ref(), statement.made()),
            (&body, CASE, NOW)
        );
        assert_eq!(verified.signed(), &signed);
    }
}

#[test]
fn a_draft_that_would_be_refused_is_not_signed() {
    let (_, keys) = world();
    let mut rng = StdRng::seed_from_u64(1);
    let without_opener = StatementBody::CaseOpened {
        case_type: code("partner_violence"),
        region: code("vlg"),
        roster: vec![RosterEntry::active(id("caw-rupel"))],
    };
    let twice = StatementBody::RosterChanged {
        roster_version: 2,
        roster: vec![RosterEntry::active(id("pz-rupel")); 2],
    };
    let empty = StatementBody::RosterChanged {
        roster_version: 2,
        roster: Vec::new(),
    };
    let mut backwards = RosterEntry::active(id("pz-rupel"));
    backwards.from = Some(NOW);
    backwards.until = Some(NOW);
    let backwards = StatementBody::RosterChanged {
        roster_version: 2,
        roster: vec![backwards],
    };
    for body in [without_opener, twice, empty, backwards, changed(1)] {
        let refused = draft(body).sign(&keys, NOW, &mut rng).unwrap_err();
        assert!(matches!(refused, StatementError::Malformed { .. }), "{refused}");
    }
}

#[test]
fn strangers_other_networks_and_altered_bytes_are_refused() {
    let (directory, keys) = world();
    let verify = |signed: &wire::Signed, network: &NetworkName, now| {
        let parsed = ParsedStatement::parse(signed).unwrap();
        VerifiedStatement::verify(parsed, &directory, network, now)
            .unwrap_err()
            .code()
    };
    let good = sign(opened(), &keys, 1);
    assert_eq!(
        verify(&good, &NetworkName::new("oostende").unwrap(), NOW),
        "STATEMENT_NETWORK"
    );
    assert_eq!(
        verify(&good, &network(), NOW.plus_millis(-3_600_000)),
        "STATEMENT_FUTURE"
    );
    let stranger = SecretKeys::generate(KeyKind::V6, "stranger", NOW).unwrap();
    assert_eq!(
        verify(&sign(opened(), &stranger, 1), &network(), NOW),
        "STATEMENT_KEY"
    );
    let mut elsewhere = draft(changed(2));
    elsewhere.agency = id("ocmw-boom");
    let signed = elsewhere
        .sign(&keys, NOW, &mut StdRng::seed_from_u64(1))
        .unwrap()
        .1;
    assert_eq!(verify(&signed, &network(), NOW), "STATEMENT_AGENCY");
    let other = wire::Signed {
        bytes: sign(opened(), &keys, 2).bytes,
        ..good
    };
    assert_eq!(verify(&other, &network(), NOW), "STATEMENT_SIGNATURE");
}

type Change = fn(&mut wire::Statement);

#[test]
fn every_bad_field_is_refused_at_its_place() {
    let (_, keys) = world();
    let good = sign(opened(), &keys, 1);
    let changes: [(&str, Change); 9] = [
        ("type", |s| s.r#type = "schakel.v1.Directory".to_owned()),
        ("network", |s| s.network = "Rupel".to_owned()),
        ("statement_id", |s| s.statement_id = vec![1; 15].into()),
        ("statement_id", |s| s.statement_id = vec![1; 16].into()),
        ("case_ref", |s| s.case_ref = vec![1; 17].into()),
        ("agency", |s| s.agency = String::new()),
        ("agency_key", |s| s.agency_key = vec![1; 31].into()),
        ("made_ms", |s| s.made_ms = 0),
        ("body", |s| s.body = None),
    ];
    for (expected, change) in changes {
        let mut message = wire::Statement::decode(good.bytes.as_ref()).unwrap();
        change(&mut message);
        let signed = wire::Signed {
            bytes: message.encode_to_vec().into(),
            signature: good.signature.clone(),
        };
        match ParsedStatement::parse(&signed) {
            Err(StatementError::Malformed { place, .. }) => assert_eq!(place, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let mut longer = good.clone();
    longer.bytes = [good.bytes.as_ref(), &[0xF8, 0x07, 0x01]].concat().into();
    assert!(ParsedStatement::parse(&longer).is_err(), "an unknown field");
    longer.bytes = vec![0; limits::STATEMENT_MAX_BYTES + 1].into();
    assert!(ParsedStatement::parse(&longer).is_err(), "too long");
}

fn facts(statements: &[wire::Signed]) -> wire::CaseFacts {
    let mut head = None;
    let mut entries = Vec::new();
    for (signed, number) in statements.iter().zip(1..) {
        let next = fact_head(head, signed);
        entries.push(wire::FactEntry {
            number,
            statement: Some(signed.clone()),
            head: next.to_vec().into(),
            accepted_ms: NOW.millis(),
            ..wire::FactEntry::default()
        });
        head = Some(next);
    }
    wire::CaseFacts {
        case_ref: CASE.to_vec().into(),
        entries,
    }
}

#[test]
fn the_chain_is_recomputed_and_every_break_is_found() {
    let (directory, keys) = world();
    let statements = [
        sign(opened(), &keys, 1),
        sign(changed(2), &keys, 2),
        sign(changed(3), &keys, 3),
    ];
    let good = facts(&statements);
    let chain = FactChain::check(&good).unwrap();
    assert_eq!((chain.count(), chain.roster_version()), (3, 3));
    assert_eq!(
        chain
            .verify_signatures(&directory, &network(), NOW)
            .unwrap()
            .len(),
        3
    );
    assert!(FactChain::check(&facts(&[])).unwrap().head().is_none());
    let broken = |change: fn(&mut wire::CaseFacts)| {
        let mut facts = good.clone();
        change(&mut facts);
        FactChain::check(&facts).unwrap_err().code()
    };
    assert_eq!(broken(|f| drop(f.entries.remove(1))), "FACTS_CHAIN");
    assert_eq!(broken(|f| f.entries.swap(0, 1)), "FACTS_CHAIN");
    assert_eq!(broken(|f| f.entries[2].head = vec![0; 32].into()), "FACTS_CHAIN");
    assert_eq!(broken(|f| f.entries[2].statement = None), "FACTS_CHAIN");
    assert_eq!(broken(|f| f.case_ref = vec![6; 16].into()), "FACTS_CHAIN");
    for refused in [
        vec![statements[1].clone()],
        vec![statements[0].clone(), statements[2].clone()],
        vec![statements[0].clone(), sign(opened(), &keys, 9)],
        vec![
            statements[0].clone(),
            statements[1].clone(),
            statements[1].clone(),
        ],
    ] {
        assert_eq!(
            FactChain::check(&facts(&refused)).unwrap_err().code(),
            "FACTS_CHAIN"
        );
    }
}

#[test]
fn the_head_is_the_one_the_specification_gives() {
    let signed = wire::Signed {
        bytes: b"bytes".as_slice().into(),
        signature: b"signature".as_slice().into(),
    };
    let mut input = b"schakel/head/v1".to_vec();
    input.extend([0; 32]);
    input.extend(Digest::of(b"bytes").as_bytes());
    input.extend(Digest::of(b"signature").as_bytes());
    let first = fact_head(None, &signed);
    assert_eq!(first, Digest::of(&input));
    assert_ne!(fact_head(Some(first), &signed), first);
}

#[test]
fn a_statement_that_is_not_shown_keeps_its_place_in_the_chain() {
    let (_, keys) = world();
    let statements = [sign(opened(), &keys, 1), sign(changed(2), &keys, 2)];
    let whole = facts(&statements);
    let mut shown = whole.clone();
    shown.entries[1] = hidden(&whole.entries[1]);
    let (all, some) = (
        FactChain::check(&whole).unwrap(),
        FactChain::check(&shown).unwrap(),
    );
    assert_eq!((some.count(), some.head()), (all.count(), all.head()));
    assert_eq!((some.statements().count(), all.statements().count()), (1, 2));
    assert_eq!(all.first(1).head(), some.first(1).head());
    let bytes = shown.encode_to_vec();
    let secret = statements[1].bytes.as_ref();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    let broken = |change: fn(&mut wire::FactEntry)| {
        let mut facts = shown.clone();
        change(&mut facts.entries[1]);
        FactChain::check(&facts).unwrap_err().code()
    };
    assert_eq!(broken(|e| e.bytes_sha256 = vec![0; 32].into()), "FACTS_CHAIN");
    assert_eq!(broken(|e| e.signature_sha256.clear()), "FACTS_CHAIN");
    let mut both = whole.clone();
    both.entries[1].bytes_sha256 = shown.entries[1].bytes_sha256.clone();
    assert_eq!(FactChain::check(&both).unwrap_err().code(), "FACTS_CHAIN");
}
