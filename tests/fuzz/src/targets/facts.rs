//! Facts and the directory: statements, the chain of a case, what the authority signs.

use std::sync::LazyLock;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_policy::asking::case_or_unopened;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, Digest, PacketId, StatementId, SubjectRef};
use schakel_proto::party::{AgencyId, Code, OfficerId};
use schakel_proto::statement::{
    Audience, Consent, Consultation, FactChain, Mandate, ParsedStatement, RosterEntry, StatementBody,
    StatementDraft, fact_head, hidden,
};
use schakel_proto::vectors::NOW;
use schakel_proto::wire;

use crate::fixtures::{AUTHORITY, DIRECTORY, WORLD, directory_message, signed_by_authority};
use crate::{choice, chosen, refused};

/// What parses is written again as it was.
pub fn statement(input: &[u8]) {
    let signed = wire::Signed {
        bytes: input.to_vec().into(),
        signature: vec![0xC2].into(),
    };
    match ParsedStatement::parse(&signed) {
        Ok(parsed) => {
            assert_eq!(
                parsed.statement().encoded(),
                input,
                "another statement is written than was read"
            );
            assert_eq!(parsed.signed(), &signed);
        }
        Err(error) => refused(error),
    }
}

const CASE: CaseRef = CaseRef::from_bytes([3; 16]);

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

fn consent(recipients: Audience) -> Consent {
    Consent {
        subject: SubjectRef::from_bytes([9; 16]),
        subject_role: code("victim"),
        given_by: code("victim"),
        capacity: code("self"),
        categories: vec![code("measures"), code("alert")],
        recipients,
        purposes: vec![code("protection")],
        informed: true,
        form: code("written"),
        given: NOW,
        expires: Some(NOW.plus_millis(1_000_000)),
        minor_cosign: false,
        parents_cosign: true,
        form_digest: Some(Digest::from_bytes([4; 32])),
    }
}

fn bodies() -> Vec<StatementBody> {
    let members: Vec<AgencyId> = WORLD.members().cloned().collect();
    let id = StatementId::from_bytes([0x71; 16]);
    let roster: Vec<_> = members.iter().cloned().map(RosterEntry::active).collect();
    let audience = Audience {
        agencies: members.clone(),
        roles: vec![code("care_centre")],
    };
    let consent = consent(audience.clone());
    vec![
        StatementBody::CaseOpened {
            case_type: code("partner_violence"),
            region: code("vlg"),
            roster: roster.clone(),
        },
        StatementBody::RosterChanged {
            roster_version: 2,
            roster,
        },
        StatementBody::ConsultationConvened(Consultation {
            basis: code("law"),
            finality: code("protect_integrity"),
            valid_until: None,
        }),
        StatementBody::MandateGiven(Mandate {
            holder: members[0].clone(),
            actors: members.clone(),
            until: Some(NOW.plus_millis(5000)),
        }),
        StatementBody::MeasureImposed {
            measure: code("house_ban"),
            until: None,
        },
        StatementBody::InvestigationReleased(audience),
        StatementBody::ConsentGiven(consent.clone()),
        StatementBody::ConsentRefused(consent),
        StatementBody::BreakGlassReviewed {
            packet: PacketId::from_bytes([1; 16]),
            reviewer: OfficerId::new("officer-1").unwrap(),
            finding: code("justified"),
        },
        StatementBody::DossierTransferred {
            to: members[0].clone(),
        },
        StatementBody::MeasureExtended {
            measure: id,
            until: Some(NOW),
        },
        StatementBody::ConsultationSigned { consultation: id },
        StatementBody::ConsultationEnded { consultation: id },
        StatementBody::MandateEnded { mandate: id },
        StatementBody::MeasureLifted { measure: id },
        StatementBody::ConsentWithdrawn { consent: id },
        StatementBody::CaseClosed,
        StatementBody::CaseReopened,
    ]
}

static STATEMENTS: LazyLock<Vec<wire::Signed>> = LazyLock::new(|| {
    let agency = WORLD.members().next().unwrap();
    let keys = WORLD.keys(agency).first().unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let mut sign = |body| {
        let draft = StatementDraft {
            network: WORLD.network.clone(),
            case_ref: CASE,
            agency: agency.clone(),
            body,
        };
        draft.sign(keys, NOW, &mut rng).unwrap().1
    };
    bodies().into_iter().map(&mut sign).collect()
});

/// One of each kind.
pub fn statements() -> Vec<Vec<u8>> {
    STATEMENTS.iter().map(|signed| signed.bytes.to_vec()).collect()
}

/// The facts of a case. If the first bit says so, numbers and heads are made right first. A chain that holds
/// together does so with all of it hidden, has the heads that its bytes give, and can be asked about.
pub fn chain(input: &[u8]) {
    let (way, rest) = choice(input);
    let Ok(mut facts) = wire::CaseFacts::decode(rest) else {
        return;
    };
    if way & 1 == 1 {
        link(&mut facts);
    }
    let chain = match FactChain::check(&facts) {
        Ok(chain) => chain,
        Err(error) => return refused_chain(error),
    };
    assert_eq!(chain.facts().len(), facts.entries.len());
    assert_eq!(chain.count(), u64::try_from(facts.entries.len()).unwrap());
    let mut head = None;
    for (fact, entry) in chain.facts().iter().zip(&facts.entries) {
        if let Some(signed) = fact.signed() {
            head = Some(fact_head(head, signed));
            assert_eq!(Some(fact.head()), head);
            assert_eq!(fact.statement().unwrap().encoded(), signed.bytes.as_ref());
        } else {
            assert!(entry.statement.is_none());
            head = Some(fact.head());
        }
    }
    let blind = wire::CaseFacts {
        case_ref: facts.case_ref.clone(),
        entries: facts
            .entries
            .iter()
            .map(|e| {
                if e.statement.is_some() {
                    hidden(e)
                } else {
                    e.clone()
                }
            })
            .collect(),
    };
    let blind = FactChain::check(&blind).expect("a chain holds together with all of it hidden");
    assert_eq!(blind.head(), chain.head());
    let agency = WORLD.members().next().unwrap();
    let state = case_or_unopened(&chain, &DIRECTORY, agency);
    assert_eq!(state, case_or_unopened(&chain.clone(), &DIRECTORY, agency));
}

/// A chain that does not hold together is the broker's fault, whoever reads it.
fn refused_chain(error: schakel_proto::statement::StatementError) {
    crate::stable(error.code());
    crate::said(&error.to_string());
}

fn link(facts: &mut wire::CaseFacts) {
    facts.case_ref = CASE.to_vec().into();
    let mut head = None;
    for (number, entry) in (1..).zip(&mut facts.entries) {
        entry.number = number;
        if let Some(signed) = &entry.statement {
            let next = fact_head(head, signed);
            (entry.bytes_sha256, entry.signature_sha256) = Default::default();
            entry.head = next.to_vec().into();
            head = Some(next);
        }
    }
}

/// Chains that hold together, whole and cut.
pub fn chains() -> Vec<Vec<u8>> {
    let of = |statements: &[usize]| {
        let entries = statements.iter().map(|n| wire::FactEntry {
            statement: Some(STATEMENTS[*n].clone()),
            accepted_ms: NOW.millis(),
            ..Default::default()
        });
        let mut facts = wire::CaseFacts {
            case_ref: CASE.to_vec().into(),
            entries: entries.collect(),
        };
        link(&mut facts);
        facts
    };
    let chains = [
        of(&[0]),
        of(&[0, 1]),
        of(&[0, 1, 2, 3, 4, 5, 6, 9]),
        of(&[0, 16, 17]),
        of(&[]),
    ];
    let mut blind = of(&[0, 1, 6]);
    blind.entries[2] = hidden(&blind.entries[2]);
    let bytes = chains.iter().chain([&blind]).map(Message::encode_to_vec);
    bytes
        .flat_map(|bytes| [chosen(0, &bytes), chosen(1, &bytes)])
        .collect()
}

/// A directory as a file, and as bytes that the authority signs whatever they say.
pub fn directory(input: &[u8]) {
    let (way, rest) = choice(input);
    if way & 1 == 0 {
        match Directory::verify_encoded(rest, &AUTHORITY, &WORLD.network, NOW) {
            Ok(directory) => assert_eq!(directory.digest(), DIRECTORY.digest(), "signed by nobody"),
            Err(error) => refused(error),
        }
        return;
    }
    let Ok(message) = wire::Directory::decode(rest) else {
        return;
    };
    let signed = signed_by_authority(rest.to_vec());
    match Directory::verify(&signed, &AUTHORITY, &WORLD.network, NOW) {
        Ok(directory) => {
            assert_eq!(message.encode_to_vec(), rest, "not the canonical form");
            assert_eq!(directory.agencies().count(), message.agencies.len());
            assert_eq!(directory.brokers().len(), message.brokers.len());
            for agency in directory.agencies() {
                for identity in agency.tls_identities() {
                    let owner = directory.agency_by_tls(identity).map(|a| a.id());
                    assert_eq!(owner, Some(agency.id()));
                    assert!(!directory.is_broker(identity), "an agency that is a broker");
                }
            }
        }
        Err(error) => refused(error),
    }
}

/// The directory of all members, signed and to be signed, and smaller ones.
pub fn directories() -> Vec<Vec<u8>> {
    let whole = directory_message();
    let mut small = whole.clone();
    small.agencies.truncate(1);
    let mut none = whole.clone();
    none.agencies.iter_mut().for_each(|a| a.certificates.clear());
    let file = DIRECTORY.signed().encode_to_vec();
    let messages = [whole, small, none];
    let mut all: Vec<_> = messages.iter().map(|m| chosen(1, &m.encode_to_vec())).collect();
    all.push(chosen(0, &file));
    all
}
