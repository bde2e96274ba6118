//! A log that was rewritten behind a checkpoint of any size, a power of two too: the agent refuses, and what it keeps proves
//! the lie offline, unless the broker keeps back what shows it.

use schakel_proto::evidence::Event;
use schakel_proto::ids::Digest;
use schakel_proto::wire;

use crate::flow::Daemon;
use crate::lying::{data, kept, log_of, wait};
use crate::support::broker;
use crate::support::ledger::body;
use crate::support::parcel::RECIPIENT;

/// The answer to a question for consistency, without the root of the smaller size.
fn keeping_back(ledger: &crate::support::ledger::Ledger, from: u64) -> wire::GetConsistencyAnswer {
    wire::GetConsistencyAnswer {
        checkpoint: ledger.checkpoint().into(),
        proof: ledger.consistency(from),
        from_root: bytes::Bytes::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l02_a_log_rewritten_behind_a_power_of_two_is_proved_offline_as_behind_any_size() {
    let (town, running) = broker::start(None).await;
    let audit = data(&town, RECIPIENT).join("audit");
    for (size, more, withheld) in [
        (1, 1, false),
        (2, 1, false),
        (4, 3, false),
        (8, 1, false),
        (16, 20, false),
        (3, 1, false),
        (9, 4, false),
        (8, 5, true),
    ] {
        let what = format!("{more} behind {size}, withheld: {withheld}");
        let honest = log_of(&town, size);
        {
            let mut script = running.script.lock().unwrap();
            script.consistency = None;
            script.held_up.candidate = honest.checkpoint().into();
            script.ledger = honest.clone();
        }
        let daemon = Daemon::start(&town, RECIPIENT);
        wait("the honest log", || {
            audit.join("cosigned.note").is_file().then_some(())
        });
        let mut lying = honest.clone();
        let mut other = log_of(&town, 1);
        lying.rewrite(|all| other.rewrite(|of| std::mem::swap(&mut all[0], &mut of[0])));
        for _ in 0..more {
            lying.add(body(Event::BundleActivated), None, None, None);
        }
        {
            let mut script = running.script.lock().unwrap();
            script.held_up.candidate = lying.checkpoint().into();
            script.consistency = withheld.then(|| keeping_back(&lying, honest.size()));
            script.ledger = lying.clone();
        }
        let found = wait(&what, || kept(&audit, "contradiction-", "found.json"));
        let status = daemon.ask("/v1/status").await;
        assert_eq!(
            status.pointer("/trust/code").unwrap(),
            "LOG_CONTRADICTION",
            "{what}"
        );
        if withheld {
            // The log's key signed both, and the keeper cannot show that they are not one history.
            town.assert_proves_not(&found, "contradiction");
            let path = found.join("found.json");
            let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            *told.get_mut("from_root").unwrap() = serde_json::json!(Digest::of(b"invented"));
            std::fs::write(&path, told.to_string()).unwrap();
            town.assert_proves_not(&found, "contradiction");
        } else {
            town.assert_proves(&found);
        }
        daemon.stop().await;
        std::fs::remove_dir_all(&audit).unwrap();
    }
}
