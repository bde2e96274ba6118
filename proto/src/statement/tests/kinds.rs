//! Every kind of statement: there and back, each bad field refused, and what may follow what.

use super::*;
use crate::ids::{PacketId, SubjectRef};
use crate::party::OfficerId;

fn packet() -> PacketId {
    PacketId::new(NOW, &mut StdRng::seed_from_u64(9))
}

pub(super) fn consent() -> Consent {
    Consent {
        subject: SubjectRef::from_bytes([7; 16]),
        subject_role: code("victim"),
        given_by: code("victim"),
        capacity: code("self"),
        categories: vec![code("identity"), code("contact_log")],
        recipients: Audience {
            agencies: vec![id("caw-rupel")],
            roles: vec![code("ocmw")],
        },
        purposes: vec![code("victim_support")],
        informed: true,
        form: code("written"),
        given: NOW,
        expires: Some(NOW.plus_millis(1)),
        minor_cosign: true,
        parents_cosign: false,
        form_digest: Some(Digest::of(b"form")),
    }
}

/// One of each kind; those that refer do so to `made`.
fn all(made: StatementId) -> Vec<StatementBody> {
    let until = Some(NOW.plus_millis(86_400_000));
    vec![
        opened(),
        changed(2),
        StatementBody::CaseClosed,
        StatementBody::CaseReopened,
        StatementBody::ConsultationConvened(Consultation {
            basis: code("decree_vh"),
            finality: code("protect_integrity"),
            valid_until: until,
        }),
        StatementBody::ConsultationSigned { consultation: made },
        StatementBody::ConsultationEnded { consultation: made },
        StatementBody::MandateGiven(Mandate {
            holder: id("jh-antwerpen"),
            actors: vec![id("caw-rupel")],
            until: None,
        }),
        StatementBody::MandateEnded { mandate: made },
        StatementBody::MeasureImposed {
            measure: code("house_ban"),
            until,
        },
        StatementBody::MeasureExtended {
            measure: made,
            until: None,
        },
        StatementBody::MeasureLifted { measure: made },
        StatementBody::InvestigationReleased(Audience {
            agencies: vec![],
            roles: vec![code("fjc")],
        }),
        StatementBody::ConsentGiven(consent()),
        StatementBody::ConsentRefused(consent()),
        StatementBody::ConsentWithdrawn { consent: made },
        StatementBody::BreakGlassReviewed {
            packet: packet(),
            reviewer: OfficerId::new("dpo-1").unwrap(),
            finding: code("justified"),
        },
        StatementBody::DossierTransferred {
            to: id("fjc-kortrijk"),
        },
    ]
}

#[test]
fn every_kind_comes_back_as_it_was_signed() {
    let (_, keys) = world();
    let mut kinds = std::collections::BTreeSet::new();
    for body in all(StatementId::new(NOW, &mut StdRng::seed_from_u64(5))) {
        let parsed = ParsedStatement::parse(&sign(body.clone(), &keys, 1)).unwrap();
        assert_eq!(parsed.statement().body(), &body);
        kinds.insert(body.kind());
    }
    assert_eq!(kinds.len(), 18, "each kind has a name of its own");
}

/// Places named when a field of the consent is spoilt.
#[test]
fn every_bad_field_of_a_body_is_refused_at_its_place() {
    let (_, keys) = world();
    let good = sign(StatementBody::ConsentGiven(consent()), &keys, 1);
    let refused = |change: fn(&mut wire::Consent)| {
        let mut message = wire::Statement::decode(good.bytes.as_ref()).unwrap();
        match &mut message.body {
            Some(wire::statement::Body::ConsentGiven(consent)) => change(consent),
            other => panic!("{other:?}"),
        }
        let signed = wire::Signed {
            bytes: message.encode_to_vec().into(),
            signature: good.signature.clone(),
        };
        match ParsedStatement::parse(&signed) {
            Err(StatementError::Malformed { place, .. }) => place,
            other => panic!("{other:?}"),
        }
    };
    let at = |field: &str| format!("consent_given{field}");
    assert_eq!(
        refused(|c| c.subject_ref = vec![1; 15].into()),
        at(".subject_ref")
    );
    assert_eq!(refused(|c| c.subject_role = "Victim".into()), at(".subject_role"));
    assert_eq!(refused(|c| c.given_by.clear()), at(".given_by"));
    assert_eq!(refused(|c| c.capacity = "neighbour".into()), at(".capacity"));
    assert_eq!(refused(|c| c.form = "telepathy".into()), at(".form"));
    assert_eq!(refused(|c| c.given_ms = 0), at(".given_ms"));
    assert_eq!(refused(|c| c.expires_ms = c.given_ms), at(".expires_ms"));
    assert_eq!(refused(|c| c.expires_ms = -1), at(".expires_ms"));
    assert_eq!(
        refused(|c| c.form_digest = vec![0; 31].into()),
        at(".form_digest")
    );
    assert_eq!(refused(|c| c.categories.clear()), at(""));
    assert_eq!(refused(|c| c.purposes.clear()), at(""));
    assert_eq!(
        refused(|c| c.categories[1] = c.categories[0].clone()),
        at(".categories[1]")
    );
    assert_eq!(refused(|c| c.agencies[0] = "../x".into()), at(".agencies[0]"));
    assert_eq!(refused(|c| c.roles = vec!["x".into(); 65]), at(".roles"));
    let nobody = refused(|c| {
        c.agencies.clear();
        c.roles.clear();
    });
    assert_eq!(nobody, at(""));
}

/// What refers to the statement of an id.
type Refer = fn(StatementId) -> StatementBody;

/// The codes that a chain of these bodies gives, each signed by `pz-rupel`; `refer` makes the last body
/// from the id of the statement at a place.
fn follows(bodies: Vec<StatementBody>, refer: Option<(usize, Refer)>) -> Option<&'static str> {
    let (_, keys) = world();
    let mut statements: Vec<wire::Signed> = bodies
        .into_iter()
        .zip(1..)
        .map(|(body, seed)| sign(body, &keys, seed))
        .collect();
    if let Some((at, body)) = refer {
        let id = ParsedStatement::parse(&statements[at]).unwrap().statement().id();
        statements.push(sign(body(id), &keys, 99));
    }
    match FactChain::check(&facts(&statements)) {
        Ok(_) => None,
        Err(StatementError::Chain { what, .. }) => Some(what),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_refers_must_find_it_of_its_kind_and_not_ended() {
    let house_ban = || StatementBody::MeasureImposed {
        measure: code("house_ban"),
        until: None,
    };
    let lift: Refer = |measure| StatementBody::MeasureLifted { measure };
    let extend: fn(StatementId) -> StatementBody =
        |measure| StatementBody::MeasureExtended { measure, until: None };
    let withdraw: Refer = |consent| StatementBody::ConsentWithdrawn { consent };
    let begun = || vec![opened(), house_ban()];
    assert_eq!(follows(begun(), Some((1, lift))), None);
    assert_eq!(follows(begun(), Some((1, extend))), None);
    let kind = Some("refers to nothing of its kind in this case");
    assert_eq!(
        follows(begun(), Some((1, withdraw))),
        kind,
        "a measure is no consent"
    );
    assert_eq!(
        follows(begun(), Some((0, lift))),
        kind,
        "an opening is no measure"
    );
    let refused = vec![opened(), StatementBody::ConsentRefused(consent())];
    assert_eq!(
        follows(refused, Some((1, withdraw))),
        kind,
        "a refusal is not withdrawn"
    );
    let given = vec![opened(), StatementBody::ConsentGiven(consent())];
    assert_eq!(follows(given, Some((1, withdraw))), None);
    let nowhere = StatementId::new(NOW, &mut StdRng::seed_from_u64(77));
    assert_eq!(follows(vec![opened(), lift(nowhere)], None), kind);
    assert_eq!(
        follows(vec![house_ban()], None),
        Some("is about a case that nobody opened")
    );
}

#[test]
fn what_has_ended_is_over_and_what_is_said_once_is_not_said_twice() {
    let (_, keys) = world();
    let table = sign(
        StatementBody::ConsultationConvened(Consultation {
            basis: code("law"),
            finality: code("protect_integrity"),
            valid_until: None,
        }),
        &keys,
        2,
    );
    let consultation = ParsedStatement::parse(&table).unwrap().statement().id();
    let sign_it = StatementBody::ConsultationSigned { consultation };
    let end_it = StatementBody::ConsultationEnded { consultation };
    let check = |bodies: &[&StatementBody]| {
        let mut statements = vec![sign(opened(), &keys, 1), table.clone()];
        statements.extend(
            bodies
                .iter()
                .zip(10..)
                .map(|(body, seed)| sign((*body).clone(), &keys, seed)),
        );
        FactChain::check(&facts(&statements))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(&[&sign_it, &end_it]), Ok(()));
    for (bodies, what) in [
        (vec![&sign_it, &sign_it], "signs a second time"),
        (vec![&end_it, &sign_it], "refers to what has ended"),
        (vec![&end_it, &end_it], "refers to what has ended"),
        (vec![&StatementBody::CaseReopened], "reopens a case that is open"),
        (
            vec![&StatementBody::CaseClosed, &StatementBody::CaseClosed],
            "closes a case that is closed",
        ),
    ] {
        assert!(check(&bodies).unwrap_err().contains(what), "{bodies:?}");
    }
    assert_eq!(
        check(&[
            &StatementBody::CaseClosed,
            &StatementBody::CaseReopened,
            &StatementBody::CaseClosed
        ]),
        Ok(())
    );
    let review = StatementBody::BreakGlassReviewed {
        packet: packet(),
        reviewer: OfficerId::new("dpo-1").unwrap(),
        finding: code("justified"),
    };
    assert_eq!(check(&[&review]), Ok(()));
    assert!(
        check(&[&review, &review])
            .unwrap_err()
            .contains("reviewed before")
    );
}
