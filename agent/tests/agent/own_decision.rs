//! Our own decision on what is handed over: a broker that leaves out facts, or hides them, does not get round it.

use schakel_agent::clock::randomness;
use schakel_agent::config::AtRest;
use schakel_agent::decide::{Own, Shown};
use schakel_agent::disk::Disk;
use schakel_agent::inbox::Inbox;
use schakel_agent::inbox::quarantine::QuarantineMax;
use schakel_agent::inbox::verify::{Context, prove, verify};
use schakel_agent::keyring::Keyring;
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_proto::ids::CaseRef;
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;

use crate::flow::Daemon;
use crate::hostile::{HONEST, Lie, await_quarantine, await_received, case, quarantined, received, tell};
use crate::support::broker::{self, Running};
use crate::support::ledger::Ledger;
use crate::support::parcel::{Parcel, RECIPIENT, and_then, bundle, facts, parcel, parcel_by, parcel_to};
use crate::support::town::{Town, agency, now};
use crate::support::until;

/// What comes of a parcel that is told with this lie: the code in the quarantine, or `received`.
fn outcome(running: &Running, town: &Town, parcel: &Parcel, lie: &Lie) -> String {
    tell(running, town, parcel, lie);
    let ended = || {
        let received = (!received(town, parcel).is_empty()).then(|| "received".to_owned());
        received.or_else(|| quarantined(town, parcel))
    };
    tokio::task::block_in_place(|| until(lie.name, ended))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p04_p11_a_broker_that_leaves_out_facts_does_not_get_round_our_own_decision() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let both = ["pz-rupel", RECIPIENT];
    // The decision is made on the first fact of two. The second came in this moment: they passed each other.
    let first_only = |d: &mut wire::Decision| d.facts_count = 1;
    let prefix = |ago: i64| {
        let case = case(&running, &town, &both);
        let mut script = running.script.lock().unwrap();
        let first = script.facts[&case].clone();
        let head = first.entries[0].head.clone();
        script
            .facts
            .insert(case, and_then(&town, first, &["pz-rupel"], ago));
        (case, head)
    };
    let told = |case: CaseRef, head: bytes::Bytes| {
        let parcel = parcel(&town, case, 1);
        let mut script = running.script.lock().unwrap();
        let submission = parcel.submit(&mut script.ledger);
        let mut decision = parcel.decision(&town, &script.facts[&case].clone());
        first_only(&mut decision);
        decision.facts_head = head;
        let consignment = parcel.consign(&mut script.ledger, decision, |_| {});
        let frames = parcel.hand_over(&script.ledger, submission, consignment);
        script.frames.extend(frames);
        parcel
    };
    let (case_now, head) = prefix(0);
    let parcel_now = told(case_now, head);
    assert_eq!(await_received(&town, &parcel_now).len(), 1);
    let (case_before, head) = prefix(300_000);
    let parcel_before = told(case_before, head);
    assert_eq!(
        await_quarantine(&town, &parcel_before, "left out"),
        "DECISION_FACTS"
    );
    let none = Lie {
        name: "decided as if nobody had opened the case",
        decide: |d| {
            d.facts_count = 0;
            d.facts_head = bytes::Bytes::new();
        },
        ..HONEST
    };
    let parcel_none = parcel(&town, case_before, 1);
    assert_eq!(outcome(&running, &town, &parcel_none, &none), "DECISION_FACTS");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p04_a_broker_that_hides_facts_does_not_get_round_our_own_decision() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let both = ["pz-rupel", RECIPIENT];
    // Known facts still decide; unknown ones are ours to see.
    let known = case(&running, &town, &both);
    assert_eq!(
        outcome(&running, &town, &parcel(&town, known, 1), &HONEST),
        "received"
    );
    let facts = running.script.lock().unwrap().facts[&known].clone();
    running.script.lock().unwrap().hidden.insert(known);
    assert_eq!(
        outcome(&running, &town, &parcel(&town, known, 1), &HONEST),
        "received"
    );
    let denied = parcel_to(&town, known, 1, (RECIPIENT, "victim_support"));
    assert_eq!(outcome(&running, &town, &denied, &HONEST), "OWN_DECISION_DIFFERS");
    let longer = and_then(&town, facts, &both, 0);
    running.script.lock().unwrap().facts.insert(known, longer);
    assert_eq!(
        outcome(&running, &town, &parcel(&town, known, 1), &HONEST),
        "FACTS_WITHHELD"
    );
    let unknown = case(&running, &town, &both);
    running.script.lock().unwrap().hidden.insert(unknown);
    assert_eq!(
        outcome(&running, &town, &parcel(&town, unknown, 1), &HONEST),
        "FACTS_WITHHELD"
    );
    daemon.stop().await;
}

/// What the agency itself decides on a parcel in a case whose facts it was never shown, and the broker says
/// there is one.
fn unshown(town: &Town, who: &str, basis: &str) -> Result<Option<bool>, String> {
    let parcel = parcel_by(
        town,
        CaseRef::random(&mut randomness()),
        1,
        (who, "safety_protection", basis),
    );
    let facts = facts(town, parcel.case, &["pz-rupel"]);
    let mut ledger = Ledger::new(town);
    let submission = parcel.submit(&mut ledger);
    let mut decision = parcel.decision(town, &facts);
    decision.recipient = who.to_owned();
    let consignment = parcel.consign(&mut ledger, decision, |body| body.recipient = who.to_owned());
    let (dir, directory, me) = (tempfile::tempdir().unwrap(), town.directory(), agency(who));
    let inbox = Inbox::open(
        Disk::default(),
        dir.path(),
        AtRest::Sealed,
        QuarantineMax::default(),
    )
    .unwrap();
    let keys = Keyring::new(town.keys(who), Vec::new());
    let context = Context {
        network: directory.network(),
        agency: &me,
        directory: &directory,
        shards: directory.log().shards(),
        keys: &keys,
        now: now(),
    };
    let mut incoming = None;
    for frame in parcel.hand_over(&ledger, submission, consignment) {
        match frame {
            Frame::Offer(offer) => incoming = Some(inbox.begin(&offer).unwrap()),
            Frame::Chunk(chunk) => incoming.as_mut().unwrap().chunk(&chunk).unwrap(),
            Frame::HandOver(hand_over) => {
                let incoming = incoming.unwrap();
                let proved = prove(&incoming, &hand_over, &context).unwrap();
                let verified = verify(&incoming, &hand_over, proved, &context).unwrap();
                let rules = Bundle::from_archive(&bundle(town).archive).unwrap();
                let own = Own {
                    engine: &Engine::untested(&rules),
                    directory: &directory,
                    agency: &me,
                };
                return own
                    .decide(Shown::Never, &verified)
                    .map_err(|problem| problem.code);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("nothing was handed over")
}

#[test]
fn p04_facts_may_be_hidden_only_from_who_takes_no_part_and_may_have_the_packet_all_the_same() {
    let town = Town::new(1);
    // The safe house takes registrations of cases that it is not in; nothing else of them.
    assert_eq!(unshown(&town, "vh-antwerpen", "registration"), Ok(None));
    let withheld = || Err("FACTS_WITHHELD".to_owned());
    assert_eq!(unshown(&town, "vh-antwerpen", "legal_duty"), withheld());
    assert_eq!(unshown(&town, "caw-rupel", "registration"), withheld());
    // To a prosecutor the rules show the facts of every case.
    assert_eq!(unshown(&town, RECIPIENT, "legal_duty"), withheld());
}
