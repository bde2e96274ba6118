//! A list of brokers: the agent goes to another one when one does not serve it, stays where it is served, and takes no
//! broker that is a moment behind for one whose log was rolled back.

use schakel_proto::evidence::Event;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use serde_json::Value;

use crate::flow::{Daemon, send};
use crate::support::broker::{self, Answer, Running};
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::{RECIPIENT, SENDER};
use crate::support::town::{Town, agency};
use crate::support::until;

fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    tokio::task::block_in_place(|| until(what, ask))
}

/// Gives an agency's agent this list.
fn list(town: &Town, id: &AgencyId, brokers: &[&Running]) {
    let file = town.network.agent_config(id);
    let before = std::fs::read_to_string(&file).unwrap();
    let all: Vec<String> = brokers
        .iter()
        .map(|b| format!("\"127.0.0.1:{}\"", b.port))
        .collect();
    let lines = before.lines().map(|line| {
        if line.starts_with("broker = ") {
            format!("broker = [{}]", all.join(", "))
        } else {
            line.to_owned()
        }
    });
    let after = lines.collect::<Vec<_>>().join("\n");
    assert_ne!(after, before);
    std::fs::write(file, after).unwrap();
}

/// The brokers as the agent shows them, once they are so.
async fn shown(daemon: &Daemon, what: &str, so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..900 {
        let status = daemon.ask("/v1/status").await;
        let brokers = status.get("brokers").and_then(Value::as_array).unwrap().clone();
        let ready = status["connected"] == true && !status["bundle_version"].is_null();
        if ready && so(&brokers) {
            return brokers;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}: {}", daemon.ask("/v1/status").await);
}

fn in_use(brokers: &[Value]) -> usize {
    let mut all = brokers.iter().enumerate().filter(|(_, b)| b["in_use"] == true);
    let (place, _) = all.next().unwrap();
    assert!(all.next().is_none(), "one at a time: {brokers:?}");
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n02_what_one_broker_did_not_answer_goes_to_the_other_with_the_same_id_and_bytes() {
    let (town, first) = broker::start(None).await;
    let second = broker::beside(&town, &first, None).await;
    list(&town, &agency(SENDER), &[&first, &second]);
    let daemon = Daemon::start(&town, SENDER);
    let before = in_use(&shown(&daemon, "a connection", |_| true).await);
    first.script.lock().unwrap().answers = vec![Answer::Lose];
    let answer = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    assert_eq!(answer["state"], "accepted", "{answer}");
    {
        let script = first.script.lock().unwrap();
        assert_eq!(script.submissions.len(), 2);
        assert_eq!(script.submissions[0], script.submissions[1], "id and bytes");
        assert_eq!(script.held.len(), 1);
    }
    let after = shown(&daemon, "the other broker", |all| in_use(all) != before).await;
    assert_eq!(after[before]["problem"]["code"], "BROKER_UNAVAILABLE");
    assert!(
        after[before]["problem"]["place"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(after[1 - before]["problem"], Value::Null);
    // Served there, it stays there: the other one is well again, too.
    send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    assert_ne!(in_use(&shown(&daemon, "no change", |_| true).await), before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i06_each_broker_of_the_list_must_be_who_the_directory_says() {
    let (town, first) = broker::start(None).await;
    // The network's authority made this certificate, but not for a broker of this name.
    let other = broker::beside(&town, &first, Some(RECIPIENT)).await;
    list(&town, &agency(SENDER), &[&other, &first]);
    // Each start begins at any of them: until one began at the wrong one.
    let mut met = false;
    while !met {
        let daemon = Daemon::start(&town, SENDER);
        let brokers = shown(&daemon, "the right broker", |all| in_use(all) == 1).await;
        assert_eq!(brokers[0]["connections"], 0, "{brokers:?}");
        if brokers[0]["attempts"] != 0 {
            met = true;
            assert_eq!(brokers[0]["problem"]["code"], "BROKER_CERTIFICATE", "{brokers:?}");
        }
        daemon.stop().await;
    }
}

fn last_seen(town: &Town) -> Option<u64> {
    let note = std::fs::read(
        town.network
            .agent_data(&agency(RECIPIENT))
            .join("audit/last.note"),
    )
    .ok()?;
    Some(
        SignedCheckpoint::open(&note, town.directory().log().key())
            .unwrap()
            .size(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_a_broker_that_is_a_moment_behind_what_was_seen_at_another_has_not_rolled_back() {
    let (town, running) = broker::start(None).await;
    let log_of = |count: usize, from: Option<Ledger>| {
        let mut ledger = from.unwrap_or_else(|| Ledger::new(&town));
        for _ in 0..count {
            ledger.add(body(Event::BundleActivated), None, None, None);
        }
        ledger
    };
    let hold_up = |ledger: Ledger| {
        let mut script = running.script.lock().unwrap();
        script.held_up.candidate = ledger.checkpoint().into();
        script.ledger = ledger;
    };
    let ahead = log_of(9, None);
    hold_up(ahead.clone());
    let daemon = Daemon::start(&town, RECIPIENT);
    wait("the log seen", || last_seen(&town).filter(|size| *size == 9));
    let mut behind = ahead.clone();
    behind.rewrite(|all| all.truncate(5));
    hold_up(behind);
    wait("the agent to be told that it is shorter", || {
        (running.script.lock().unwrap().shorter_count > 0).then_some(())
    });
    hold_up(log_of(3, Some(ahead)));
    wait("the log to go on", || last_seen(&town).filter(|size| *size == 12));
    let status = daemon.ask("/v1/status").await;
    assert_eq!(status["trust"], Value::Null, "{status}");
    daemon.stop().await;
}
