//! Statements over the wire: what they change, who may make them, and to whom they are shown.

use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{CaseRef, StatementId, SubjectRef};
use schakel_proto::packet::parse::ParsedSubmission;
use schakel_proto::statement::{Audience, Consent, Consultation, FactChain, ParsedStatement, StatementBody};
use schakel_proto::wire;

use crate::inbox::{Inbox, contains};
use crate::packet::{Client, Sealed, code, new_case, refusal, state, submit};
use crate::peer::{Ground, agency, now};

const CAW: &str = "caw-rupel";
const WALL: &str = "jh-antwerpen-dader";

pub fn consent(subject: SubjectRef, to: &[&str]) -> Consent {
    Consent {
        subject,
        subject_role: code("victim"),
        given_by: code("victim"),
        capacity: code("self"),
        categories: vec![code("facts_summary")],
        recipients: Audience {
            agencies: Vec::new(),
            roles: to.iter().map(|role| code(role)).collect(),
        },
        purposes: vec![code("safety_protection")],
        informed: true,
        form: code("oral"),
        given: now(),
        expires: None,
        minor_cosign: false,
        parents_cosign: false,
        form_digest: None,
    }
}

fn id_of(signed: &wire::Signed) -> StatementId {
    ParsedStatement::parse(signed).unwrap().statement().id()
}

fn subject_of(sealed: &Sealed) -> SubjectRef {
    let head = ParsedSubmission::parse(&sealed.packet.head()).unwrap();
    head.parts()[0].descriptor().subjects[0].subject_ref
}

async fn open_case(ground: &Ground, police: &mut Client, roster: &[&str]) -> CaseRef {
    let case = new_case();
    state(police, ground.opening("pz-rupel", case, roster))
        .await
        .unwrap();
    case
}

async fn facts(client: &mut Client, case: CaseRef) -> wire::CaseFacts {
    let request = wire::GetFactsRequest {
        case_ref: case.to_vec().into(),
    };
    client
        .get_facts(request)
        .await
        .unwrap()
        .into_inner()
        .facts
        .unwrap()
}

/// The code of a refusal of this statement.
async fn refused(client: &mut Client, signed: wire::Signed) -> String {
    refusal(&state(client, signed).await.unwrap_err()).code
}

/// The next decision on a packet of the police that hands nothing over.
async fn withheld(ground: &Ground, police: &mut Client, after: u64) -> evidence::CheckedEvidence {
    follow(ground, police, Event::ContentWithheld, after).await
}

/// The first entry of this kind that concerns the reader.
async fn next(ground: &Ground, reader: &mut Client, event: Event) -> evidence::CheckedEvidence {
    follow(ground, reader, event, 0).await
}

async fn follow(ground: &Ground, reader: &mut Client, event: Event, after: u64) -> evidence::CheckedEvidence {
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: after,
    };
    let mut follow = reader.follow_evidence(request).await.unwrap().into_inner();
    loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let checked = evidence_of(ground, &shown);
        if checked.body().event == event {
            return checked;
        }
    }
}

#[tokio::test]
async fn a_consent_releases_what_was_held_and_its_withdrawal_stops_what_comes_after() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut caw = ground.client(broker.address(), CAW).await;
    let case = open_case(&ground, &mut police, &["pz-rupel", CAW]).await;
    let part = [("facts_summary", &b"feiten"[..], &[CAW][..])];
    let sealed = ground.seal("pz-rupel", case, &[CAW], &part);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let held = withheld(&ground, &mut police, 0).await;
    assert_eq!(held.hidden().unwrap().parts()[0].reason, "HOLD_CONSENT_MISSING");

    let given = ground.statement(
        CAW,
        case,
        StatementBody::ConsentGiven(consent(subject_of(&sealed), &["caw_victim"])),
    );
    let consent_id = id_of(&given);
    state(&mut caw, given).await.unwrap();
    let handed = inbox.handed().await;
    assert_eq!(handed.open(&ground, CAW)[&sealed.ids[0]], b"feiten");
    let consignment = evidence_of(&ground, handed.hand_over.consignment.as_ref().unwrap());
    let decision = consignment.shown().unwrap();
    assert_eq!(
        (decision.facts_count(), decision.parts()[0].reason.as_str()),
        (2, "OK_CONSENT")
    );
    inbox
        .acknowledge(handed.acknowledgement(&ground, CAW, &sealed))
        .await;

    // Of another person the consent says nothing; withdrawn, it says no for its own.
    let withdrawn = ground.statement(CAW, case, StatementBody::ConsentWithdrawn { consent: consent_id });
    state(&mut caw, withdrawn.clone()).await.unwrap();
    assert_eq!(
        refused(
            &mut caw,
            ground.statement(CAW, case, StatementBody::ConsentWithdrawn { consent: consent_id })
        )
        .await,
        "STATEMENT_OUT_OF_PLACE",
        "what was withdrawn is not withdrawn again"
    );
    assert!(
        state(&mut caw, withdrawn).await.is_ok(),
        "the same bytes are the same statement"
    );
    let another = ground.seal_about(subject_of(&sealed), "pz-rupel", case, (&[CAW], &part));
    submit(&mut police, another.frames()).await.unwrap();
    let no = withheld(&ground, &mut police, held.index() + 1).await;
    let decision = no.hidden().unwrap();
    assert_eq!(
        (decision.facts_count(), decision.parts()[0].reason.as_str()),
        (3, "WITHHOLD_CONSENT_WITHDRAWN")
    );
    broker.stop().await.unwrap();
}

fn evidence_of(ground: &Ground, shown: &wire::Evidence) -> evidence::CheckedEvidence {
    let directory = ground.network.directory(now()).unwrap();
    evidence::check(shown, &ground.network.spec().network, directory.log().key()).unwrap()
}

#[tokio::test]
async fn a_consent_is_shown_to_whom_it_concerns_and_keeps_its_place_for_all_others() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut caw = ground.client(broker.address(), CAW).await;
    let roster = ["pz-rupel", CAW, WALL, "ocmw-boom"];
    let case = open_case(&ground, &mut police, &roster).await;
    let subject = SubjectRef::from_bytes([0xA5; 16]);
    let given = ground.statement(
        CAW,
        case,
        StatementBody::ConsentGiven(consent(subject, &["ocmw"])),
    );
    let withdrawn = StatementBody::ConsentWithdrawn {
        consent: id_of(&given),
    };
    state(&mut caw, given.clone()).await.unwrap();
    state(&mut caw, ground.statement(CAW, case, withdrawn))
        .await
        .unwrap();

    let whole = facts(&mut caw, case).await;
    let head = FactChain::check(&whole).unwrap().head();
    for (who, sees) in [
        (CAW, 3),
        ("ocmw-boom", 3),
        ("parket-antwerpen", 3),
        (WALL, 1),
        ("pz-rupel", 1),
    ] {
        let mut reader = ground.client(broker.address(), who).await;
        let shown = facts(&mut reader, case).await;
        let chain = FactChain::check(&shown).unwrap();
        assert_eq!(
            (chain.count(), chain.head()),
            (3, head),
            "{who}: one chain for all"
        );
        assert_eq!(chain.statements().count(), sees, "{who}");
        let bytes = prost::Message::encode_to_vec(&shown);
        assert_eq!(contains(&bytes, subject.as_bytes()), sees == 3, "{who}");
        assert_eq!(contains(&bytes, &given.bytes), sees == 3, "{who}");
    }
    let mut stranger = ground.client(broker.address(), "vlotter").await;
    let request = wire::GetFactsRequest {
        case_ref: case.to_vec().into(),
    };
    assert_eq!(
        refusal(&stranger.get_facts(request).await.unwrap_err()).code,
        "CASE_UNKNOWN"
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn hostile_statements_are_refused_each_with_its_reason() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut caw = ground.client(broker.address(), CAW).await;
    let mut wall = ground.client(broker.address(), WALL).await;
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let case = open_case(&ground, &mut police, &["pz-rupel", CAW, WALL]).await;
    let before = facts(&mut caw, case).await.entries.len();
    let subject = SubjectRef::from_bytes([1; 16]);
    let ban = || StatementBody::MeasureImposed {
        measure: code("house_ban"),
        until: None,
    };
    let give = || StatementBody::ConsentGiven(consent(subject, &["jh_offender"]));

    // Not entitled, serving the wrong side, nobody's case, outside the roster.
    assert_eq!(
        refused(&mut caw, ground.statement(CAW, case, ban())).await,
        "STATE_REFUSED"
    );
    assert_eq!(
        refused(&mut wall, ground.statement(WALL, case, give())).await,
        "STATE_REFUSED"
    );
    assert_eq!(
        refused(
            &mut parket,
            ground.statement("parket-antwerpen", new_case(), ban())
        )
        .await,
        "STATEMENT_OUT_OF_PLACE"
    );
    let mut ocmw = ground.client(broker.address(), "ocmw-boom").await;
    assert_eq!(
        refused(&mut ocmw, ground.statement("ocmw-boom", case, give())).await,
        "STATE_REFUSED"
    );
    let mut to_nobody = consent(subject, &[]);
    to_nobody.recipients.agencies = vec![agency("ocmw-nergens")];
    let to_nobody = ground.statement(CAW, case, StatementBody::ConsentGiven(to_nobody));
    assert_eq!(refused(&mut caw, to_nobody).await, "STATE_REFUSED");
    // In another's name, altered, and an unknown word.
    let of_parket = ground.statement("parket-antwerpen", case, ban());
    assert_eq!(refused(&mut caw, of_parket).await, "STATEMENT_NOT_CALLER");
    let genuine = ground.statement("parket-antwerpen", case, ban());
    let altered = wire::Signed {
        bytes: ground.statement("parket-antwerpen", case, ban()).bytes,
        ..genuine.clone()
    };
    assert_eq!(refused(&mut parket, altered).await, "STATEMENT_SIGNATURE");
    let strange = StatementBody::ConsultationConvened(Consultation {
        basis: code("friendship"),
        finality: code("protect_integrity"),
        valid_until: None,
    });
    assert_eq!(
        refused(&mut parket, ground.statement("parket-antwerpen", case, strange)).await,
        "STATE_REFUSED"
    );
    // Each attempt stands in the log, told to the one who tried.
    let attempt = next(&ground, &mut wall, Event::StatementRejected).await;
    assert_eq!(attempt.body().reason, "STATE_REFUSED");
    assert_eq!(
        facts(&mut caw, case).await.entries.len(),
        before,
        "nothing was taken"
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_refers_to_nothing_is_refused() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut caw = ground.client(broker.address(), CAW).await;
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let case = open_case(&ground, &mut police, &["pz-rupel", CAW]).await;
    let ban = StatementBody::MeasureImposed {
        measure: code("house_ban"),
        until: None,
    };
    let genuine = ground.statement("parket-antwerpen", case, ban);
    state(&mut parket, genuine.clone()).await.unwrap();
    let before = facts(&mut caw, case).await.entries.len();
    let lift = |measure| StatementBody::MeasureLifted { measure };
    let elsewhere = open_case(&ground, &mut police, &["pz-rupel", CAW]).await;
    for (case, measure) in [
        (case, StatementId::from_bytes([7; 16])),
        (elsewhere, id_of(&genuine)),
    ] {
        let signed = ground.statement("parket-antwerpen", case, lift(measure));
        assert_eq!(refused(&mut parket, signed).await, "STATEMENT_OUT_OF_PLACE");
    }
    let signed = StatementBody::ConsultationSigned {
        consultation: id_of(&genuine),
    };
    assert_eq!(
        refused(&mut caw, ground.statement(CAW, case, signed)).await,
        "STATEMENT_OUT_OF_PLACE"
    );
    // A review of a packet that never was.
    let review = StatementBody::BreakGlassReviewed {
        packet: ground
            .seal("pz-rupel", case, &[CAW], &[("facts_summary", b"x", &[CAW])])
            .packet
            .packet_id,
        reviewer: schakel_proto::party::OfficerId::new("nazicht").unwrap(),
        finding: code("justified"),
    };
    assert_eq!(
        refused(&mut caw, ground.statement(CAW, case, review)).await,
        "STATE_REFUSED"
    );
    assert_eq!(
        facts(&mut caw, case).await.entries.len(),
        before,
        "nothing was taken"
    );
    broker.stop().await.unwrap();
}

/// Every entry of these events that concerns the reader, in order, up to its own last statement.
async fn heard(ground: &Ground, reader: &mut Client, id: &str, case: CaseRef) -> Vec<(Event, bool)> {
    let last = open_case_of(ground, reader, id).await;
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut follow = reader.follow_evidence(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let checked = evidence_of(ground, &shown);
        if checked.body().case == Some(last) {
            return found;
        }
        if checked.body().case == Some(case) {
            found.push((checked.body().event, checked.attachment().is_some()));
        }
    }
}

async fn open_case_of(ground: &Ground, reader: &mut Client, id: &str) -> CaseRef {
    let case = new_case();
    state(reader, ground.opening(id, case, &[id])).await.unwrap();
    case
}

#[tokio::test]
async fn a_new_fact_is_told_to_whom_it_is_shown_and_to_others_only_that_something_changed() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut caw = ground.client(broker.address(), CAW).await;
    let case = open_case(&ground, &mut police, &["pz-rupel", CAW, "ocmw-boom", WALL]).await;
    let subject = SubjectRef::from_bytes([0xA5; 16]);
    let given = StatementBody::ConsentGiven(consent(subject, &["ocmw"]));
    state(&mut caw, ground.statement(CAW, case, given)).await.unwrap();
    let (statement, changed) = ((Event::StatementAccepted, true), (Event::FactsChanged, false));
    for (who, hears) in [
        ("pz-rupel", vec![statement, changed]),
        (CAW, vec![statement, statement]),
        ("ocmw-boom", vec![statement, statement]),
        (WALL, vec![statement, changed]),
        ("vlotter", vec![]),
    ] {
        let mut reader = ground.client(broker.address(), who).await;
        assert_eq!(heard(&ground, &mut reader, who, case).await, hears, "{who}");
    }
    // Who is taken off the roster is told that something changed, and is not shown who is on it now.
    let before = ground.opening("pz-rupel", case, &["pz-rupel", CAW, "ocmw-boom", WALL]);
    let parsed = ParsedStatement::parse(&before).unwrap();
    let (_, roster) = parsed.statement().body().roster().unwrap();
    let roster = roster
        .iter()
        .filter(|entry| entry.agency.as_str() != WALL)
        .cloned()
        .collect();
    let change = StatementBody::RosterChanged {
        roster_version: 2,
        roster,
    };
    state(&mut police, ground.statement("pz-rupel", case, change))
        .await
        .unwrap();
    let mut wall = ground.client(broker.address(), WALL).await;
    assert_eq!(
        heard(&ground, &mut wall, WALL, case).await,
        [statement, changed, changed]
    );
    broker.stop().await.unwrap();
}
