//! Our own decision on what is handed over: a broker that leaves out facts, or hides them, does not get round it.

use schakel_proto::ids::CaseRef;
use schakel_proto::wire;

use crate::flow::Daemon;
use crate::hostile::{HONEST, Lie, await_quarantine, await_received, case, quarantined, received, tell};
use crate::support::broker::{self, Running};
use crate::support::parcel::{Parcel, RECIPIENT, and_then, parcel, parcel_to};
use crate::support::town::Town;
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
