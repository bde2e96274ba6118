//! From what parties signed to the questions put to the engine: pure, so tested without a broker.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_policy::asking::{
    Moment, case_or_unopened, case_state, inspect_case_question, receive_questions, state_question,
};
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::ids::StatementId;
use schakel_proto::packet::parse::{ParsedHead, ParsedSubmission};
use schakel_proto::statement::{Consent, FactChain, ParsedStatement, StatementBody, fact_head};
use schakel_proto::wire;

use crate::packet::{code, new_case};
use crate::peer::{Ground, agency, now};

fn chain(case: &schakel_proto::ids::CaseRef, statements: &[wire::Signed]) -> FactChain {
    let mut head = None;
    let mut entries = Vec::new();
    for (number, signed) in (1..).zip(statements) {
        let next = fact_head(head, signed);
        entries.push(wire::FactEntry {
            number,
            statement: Some(signed.clone()),
            head: next.to_vec().into(),
            accepted_ms: now().millis(),
            ..wire::FactEntry::default()
        });
        head = Some(next);
    }
    FactChain::check(&wire::CaseFacts {
        case_ref: case.to_vec().into(),
        entries,
    })
    .unwrap()
}

fn directory(ground: &Ground) -> Directory {
    ground.network.directory(now()).unwrap()
}

fn head(ground: &Ground, case: schakel_proto::ids::CaseRef) -> ParsedHead {
    let parts = [("facts_summary", &b"x"[..], &["caw-rupel"][..])];
    let sealed = ground.seal("pz-rupel", case, &["caw-rupel"], &parts);
    ParsedSubmission::parse(&sealed.packet.head()).unwrap()
}

#[test]
fn a_receive_question_takes_its_fields_from_manifest_directory_and_facts() {
    let ground = Ground::new();
    let (directory, case) = (directory(&ground), new_case());
    let facts = chain(
        &case,
        &[ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel"])],
    );
    let state = case_or_unopened(&facts, &directory, &agency("pz-rupel"));
    let head = head(&ground, case);
    let mut fields = head.parts()[0].descriptor().clone();
    let at = now();
    let ask = |fields: &_, moment| {
        let to = agency("caw-rupel");
        receive_questions(
            head.manifest(),
            &[fields],
            &to,
            (&directory, &state),
            (moment, at),
        )
        .remove(0)
    };
    let question = ask(&fields, Moment::Admission);
    assert_eq!(
        (question.sender.id.as_str(), question.sender.role.as_str()),
        ("pz-rupel", "police_zone")
    );
    assert_eq!(
        (question.recipient.role.as_str(), question.now),
        ("caw_victim", at)
    );
    assert_eq!(question.recipient.region.as_deref(), Some("vlg"));
    assert_eq!(question.purpose, "safety_protection");
    assert_eq!(question.legal_basis, "public_interest_task");
    assert_eq!(question.part.category, "facts_summary");
    assert_eq!(question.part.subjects[0].role, "victim");
    assert!(question.unknown.is_empty() && question.part.release.is_none());
    // The roster version that was seen is judged at admission, and left out at hand-over.
    assert_eq!(question.roster_version_seen, Some(1));
    assert_eq!(ask(&fields, Moment::HandOver).roster_version_seen, None);
    // A measure that no statement made known cannot be judged.
    fields.measure_ref = Some(StatementId::from_bytes([7; 16]));
    assert_eq!(ask(&fields, Moment::Admission).unknown, ["part.measure_ref"]);
}

#[test]
fn facts_are_folded_in_their_order_and_an_unopened_case_has_nobody_on_its_roster() {
    let ground = Ground::new();
    let (directory, case) = (directory(&ground), new_case());
    assert_eq!(case_state(&chain(&case, &[]), &directory), None);
    let unopened = case_or_unopened(&chain(&case, &[]), &directory, &agency("pz-rupel"));
    assert!(unopened.participants.is_empty());
    assert_eq!((unopened.roster_version, unopened.region.as_str()), (0, "vlg"));
    let opened = ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel"]);
    let changed = ground.roster("pz-rupel", case, 2, &["pz-rupel", "parket-antwerpen"]);
    let state = case_state(&chain(&case, &[opened, changed]), &directory).unwrap();
    assert_eq!(
        (state.roster_version, state.opener.as_deref()),
        (2, Some("pz-rupel"))
    );
    assert!(state.participant("caw-rupel").is_none());
    let parket = state.participant("parket-antwerpen").unwrap();
    assert_eq!(
        (parket.role.as_deref(), parket.status.as_str()),
        (Some("prosecutor"), "active")
    );
}

#[test]
fn who_states_and_who_looks_are_taken_from_the_directory() {
    let ground = Ground::new();
    let (directory, case) = (directory(&ground), new_case());
    let opened = ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel"]);
    let parsed = ParsedStatement::parse(&opened).unwrap();
    let question = state_question(parsed.statement(), &chain(&case, &[]), &directory, (None, now()));
    assert_eq!(question.speaker.role, "police_zone");
    assert!(question.case.is_none());
    let facts = chain(&case, &[opened]);
    let change = ground.roster("caw-rupel", case, 2, &["caw-rupel"]);
    let parsed = ParsedStatement::parse(&change).unwrap();
    let question = state_question(parsed.statement(), &facts, &directory, (None, now()));
    assert_eq!(question.speaker.id, "caw-rupel");
    assert!(
        question
            .roles
            .contains(&("pz-rupel".to_owned(), "police_zone".to_owned()))
    );
    let state = Arc::new(case_state(&facts, &directory).unwrap());
    assert_eq!(
        inspect_case_question(&agency("vlotter"), state, (&directory, now()))
            .reader
            .role,
        "ocmw"
    );
}

/// The statuses of the consents that a question about the part of `head` is given, with these statements.
fn consents(ground: &Ground, head: &ParsedHead, statements: &[wire::Signed]) -> Vec<String> {
    let directory = directory(ground);
    let facts = chain(&head.manifest().case_ref, statements);
    let state = case_or_unopened(&facts, &directory, &agency("pz-rupel"));
    let fields = head.parts()[0].descriptor();
    let to = agency("caw-rupel");
    let when = (Moment::HandOver, now());
    let question = receive_questions(head.manifest(), &[fields], &to, (&directory, &state), when).remove(0);
    question.consents.into_iter().map(|one| one.status).collect()
}

#[test]
fn of_several_consents_the_last_word_of_the_person_counts_and_nobody_elses() {
    let ground = Ground::new();
    let case = new_case();
    let head = head(&ground, case);
    let subject = head.parts()[0].descriptor().subjects[0].subject_ref;
    let opening = || ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel", "caw-rupel-dader"]);
    let said = |days_ago: i64, change: &dyn Fn(&mut Consent)| {
        let mut consent = crate::facts::consent(subject, &["caw_victim"]);
        consent.given = now().plus_millis(-days_ago * 86_400_000);
        change(&mut consent);
        consent
    };
    let yes = |days_ago| {
        ground.statement(
            "caw-rupel",
            case,
            StatementBody::ConsentGiven(said(days_ago, &|_| {})),
        )
    };
    let no = |days_ago, change: &dyn Fn(&mut Consent)| {
        ground.statement(
            "caw-rupel",
            case,
            StatementBody::ConsentRefused(said(days_ago, change)),
        )
    };
    let of = |statements: Vec<wire::Signed>| {
        let all: Vec<_> = std::iter::once(opening()).chain(statements).collect();
        consents(&ground, &head, &all)
    };
    assert_eq!(of(vec![yes(1)]), ["given"]);
    assert_eq!(
        of(vec![no(3, &|_| {}), yes(1)]),
        ["given"],
        "who said no may say yes"
    );
    assert_eq!(
        of(vec![no(1, &|_| {}), yes(3)]),
        ["refused"],
        "an older yes handed in later is no newer word"
    );
    let elsewhere = |one: &mut Consent| one.recipients.roles = vec![code("ocmw")];
    assert_eq!(
        of(vec![yes(3), no(1, &elsewhere)]),
        ["given"],
        "a refusal elsewhere does not block here"
    );
    assert_eq!(
        of(vec![no(1, &elsewhere)]),
        [""; 0],
        "nor where nothing was said yet"
    );
    // A withdrawal is a word of its moment: it counts against a parallel record of the same yes.
    let first = yes(2);
    let withdrawn = StatementBody::ConsentWithdrawn {
        consent: ParsedStatement::parse(&first).unwrap().statement().id(),
    };
    let taken_back = ground.statement("caw-rupel", case, withdrawn);
    assert_eq!(of(vec![first, yes(1), taken_back]), ["withdrawn"]);
    // In another role the person's reference says nothing: nobody speaks for a victim as if for somebody else.
    let disguised = |one: &mut Consent| {
        one.subject_role = code("perpetrator");
        one.given_by = code("perpetrator");
    };
    assert_eq!(of(vec![yes(3), no(1, &disguised)]), ["given"]);
}

#[test]
fn p10_a_consent_that_ends_within_the_clock_skew_holds_and_a_minute_before_it_delivers() {
    let ground = Ground::new();
    let (directory, case) = (directory(&ground), new_case());
    let head = head(&ground, case);
    let fields = head.parts()[0].descriptor();
    let engine = Engine::untested(&Bundle::built_in().unwrap());
    let start = now();
    let outcome = |left: i64| {
        let mut consent = crate::facts::consent(fields.subjects[0].subject_ref, &["caw_victim"]);
        consent.expires = Some(start.plus_millis(left));
        let given = ground.statement("caw-rupel", case, StatementBody::ConsentGiven(consent));
        let opened = ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel"]);
        let facts = chain(&case, &[opened, given]);
        let state = case_or_unopened(&facts, &directory, &agency("pz-rupel"));
        let (to, when) = (agency("caw-rupel"), (Moment::HandOver, start));
        let questions = receive_questions(head.manifest(), &[fields], &to, (&directory, &state), when);
        let ruling = engine.receive(&questions[0]);
        (ruling.outcome().as_str(), ruling.reason().to_owned())
    };
    let skew = schakel_proto::limits::CLOCK_SKEW_MAX_MILLIS;
    let held = ("hold-for-consent", "HOLD_CONSENT_EXPIRED".to_owned());
    assert_eq!(outcome(60_000), held);
    assert_eq!(outcome(skew), held);
    assert_eq!(outcome(skew + 60_000), ("deliver", "OK_CONSENT".to_owned()));
}

#[test]
fn a_consent_of_tomorrow_is_none() {
    let ground = Ground::new();
    let mut consent = crate::facts::consent(schakel_proto::ids::SubjectRef::from_bytes([1; 16]), &["ocmw"]);
    consent.given = now().plus_millis(86_400_000);
    let draft = schakel_proto::statement::StatementDraft {
        network: ground.network.spec().network.clone(),
        case_ref: new_case(),
        agency: agency("caw-rupel"),
        body: StatementBody::ConsentGiven(consent),
    };
    let signed = draft.sign(&ground.keys("caw-rupel"), now(), &mut StdRng::from_os_rng());
    assert!(
        signed
            .unwrap_err()
            .to_string()
            .contains("after the statement was made")
    );
}
