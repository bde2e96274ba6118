//! Erasure of a case while the broker runs: what it said is gone for good, and the log that it said it in is whole.

use schakel_broker::admin::{Ask, socket};
use schakel_broker::config::Config;
use schakel_broker::serve::Running;
use schakel_proto::evidence::{self, Body, Event};
use schakel_proto::ids::CaseRef;
use schakel_proto::statement::StatementBody;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::check_inclusion;
use schakel_proto::wire;
use serde_json::Value;

use crate::delivery::alarmed;
use crate::inbox::Inbox;
use crate::oversight::ask;
use crate::packet::{new_case, refusal, state, submit};
use crate::peer::{Ground, agency, now};

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

async fn erase(ground: &Ground, case: &str) -> Result<Value, String> {
    let folder = Config::load(&ground.network.broker_config()).unwrap().data_dir;
    let ask = Ask::Erase {
        case: case.to_owned(),
    };
    let asked = tokio::task::spawn_blocking(move || socket::ask(&folder, &ask));
    asked.await.unwrap().expect("no broker runs")
}

/// What the broker shows an agency, and proves.
async fn shown(ground: &Ground, broker: &Running, who: &str) -> Vec<Body> {
    let shared = broker.state();
    let all = shared
        .evidences
        .since(shared.store.as_ref(), &agency(who), 0, 1_000)
        .await;
    let directory = ground.network.directory(now()).unwrap();
    let (network, key) = (&ground.network.spec().network, directory.log().key());
    let check = |one: &wire::Evidence| evidence::check(one, network, key).unwrap().body().clone();
    all.unwrap().0.iter().map(check).collect()
}

fn of(all: &[Body], case: CaseRef) -> usize {
    all.iter().filter(|body| body.case == Some(case)).count()
}

/// Every leaf of the log is under its checkpoint; how many bodies name the case.
async fn proved(broker: &Running, case: CaseRef) -> u64 {
    let records = broker.state().store.records(0, 1_000).await.unwrap();
    assert!(records.len() > 8);
    for (index, one) in (0..).zip(&records) {
        let (size, root) = (one.checkpoint.size, one.checkpoint.root);
        check_inclusion(leaf_hash(&one.leaf), index, size, &one.inclusion, &root).unwrap();
    }
    records
        .iter()
        .filter(|one| one.case == Some(case))
        .map(|_| 1)
        .sum()
}

/// Verified: nothing wrong, and so many entries that cannot be checked any more.
async fn erased(ground: &Ground, count: u64) {
    let found = ask(ground, Ask::Verify).await;
    assert_eq!(found["wrong"], 0, "{found:#}");
    let gone = found["gone"].as_object().unwrap();
    let gone: Vec<_> = gone
        .iter()
        .filter(|(what, _)| what.contains("erasure key"))
        .collect();
    assert_eq!(gone.len(), 1, "{found:#}");
    assert_eq!(gone[0].1, count, "{found:#}");
    let stats = ask(
        ground,
        Ask::Stats {
            filter: schakel_broker::admin::Filter::default(),
        },
    );
    assert_eq!(stats.await["erased_cases"], 1);
}

/// Nothing of the case is shown; of the other one all is; and that a key was destroyed, once, without saying which.
async fn told(ground: &Ground, broker: &Running, (case, other): (CaseRef, CaseRef)) {
    for who in [POLICE, PARKET] {
        let all = shown(ground, broker, who).await;
        assert_eq!(of(&all, case), 0, "{who}");
        let destroyed: Vec<_> = all
            .iter()
            .filter(|one| one.event == Event::KeyDestroyed)
            .collect();
        assert_eq!(destroyed.len(), 1, "{who}");
        assert_eq!((destroyed[0].case, destroyed[0].packet), (None, None));
    }
    assert_eq!(of(&shown(ground, broker, POLICE).await, other), 1);
}

/// A word that comes late is kept nowhere, and is no alarm.
async fn late(ground: &Ground, broker: &Running, word: wire::Signed) {
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    inbox.say(word).await;
    inbox.say(wire::Signed::default()).await;
    alarmed(broker, "MESSAGE_MALFORMED", 1).await;
    assert_eq!(broker.state().alarms.count("CASE_ERASED"), 0);
}

#[tokio::test]
async fn l12_what_an_erased_case_said_is_gone_for_good_and_the_log_is_whole() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let (case, other) = (new_case(), new_case());
    let name = case.to_string();
    for case in [case, other] {
        let opening = ground.opening(POLICE, case, &[POLICE, PARKET]);
        state(&mut police, opening).await.unwrap();
    }
    let parts = [("alert", &b"gevaar"[..], &[PARKET][..])];
    let [delivered, recalled] = [(), ()].map(|()| ground.seal(POLICE, case, &[PARKET], &parts));
    submit(&mut police, delivered.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    let handed = inbox.handed().await;
    let received = handed.acknowledgement(&ground, PARKET, &delivered);
    inbox.acknowledge(received).await;
    drop((inbox, parket));
    // Not an open case, not one with something on its way, not one that nobody knows.
    assert!(erase(&ground, &name).await.unwrap_err().contains("CASE_OPEN"));
    submit(&mut police, recalled.frames()).await.unwrap();
    let closing = ground.statement(POLICE, case, StatementBody::CaseClosed);
    state(&mut police, closing).await.unwrap();
    assert!(erase(&ground, &name).await.unwrap_err().contains("CASE_BUSY"));
    let unknown = erase(&ground, &new_case().to_string()).await;
    assert!(unknown.unwrap_err().contains("CASE_UNKNOWN"));
    assert!(erase(&ground, "case-").await.unwrap_err().contains("IDENTIFIER"));
    police.recall(ground.recall(POLICE, &recalled)).await.unwrap();
    let before = shown(&ground, &broker, POLICE).await;
    assert!(of(&before, case) >= 5 && of(&before, other) == 1);
    let done = erase(&ground, &name).await.unwrap();
    assert_eq!(done["shown_to"], serde_json::json!([PARKET, POLICE]));
    let leaf = done["leaf"].as_str().unwrap().parse().unwrap();
    broker.state().log.wait_for(leaf).await.unwrap();
    for packet in [&delivered, &recalled] {
        let stored = broker.state().store.packet(packet.packet.packet_id).await;
        let parts = stored.unwrap().unwrap().parts;
        assert!(parts.iter().all(|part| part.purged), "no sealed byte is left");
    }
    // At once, with what was in memory; and after a restart, when a new key could be made.
    let mut broker = broker;
    for round in 0..2 {
        let count = proved(&broker, case).await;
        assert!(count >= 5);
        erased(&ground, count).await;
        told(&ground, &broker, (case, other)).await;
        let reopening = ground.statement(POLICE, case, StatementBody::CaseReopened);
        let refused = state(&mut police, reopening).await.unwrap_err();
        assert_eq!(refusal(&refused).code, "CASE_ERASED");
        // What comes late, or again, is kept nowhere, and is no alarm.
        for packet in [&delivered, &recalled] {
            let refused = police.recall(ground.recall(POLICE, packet)).await.unwrap_err();
            assert_eq!(refusal(&refused).code, "CASE_ERASED");
        }
        let word = handed.word(&ground, PARKET, &delivered, "taken");
        late(&ground, &broker, word).await;
        assert_eq!(proved(&broker, case).await, count);
        erased(&ground, count).await;
        if round == 0 {
            broker.stop().await.unwrap();
            broker = ground.broker().await;
            police = ground.client(broker.address(), POLICE).await;
        }
    }
    broker.stop().await.unwrap();
}
