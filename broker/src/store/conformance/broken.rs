//! Each step of a packet's life broken twice: it failed; it failed but was saved after all. The caller repeats
//! it, and the end is the same as if nothing had happened.

use std::future::Future;

use schakel_proto::evidence::Event;
use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::tlog::tree::Frontier;

use super::super::*;
use super::bench::{Bench, JUSTICE, LARGE, SMALL, WELFARE};
use super::breaker::Break;
use crate::log::entry::EntryDraft;

/// Which step to break, and how; counts the steps.
struct Plan {
    at: usize,
    how: Option<Break>,
    step: usize,
}

impl Plan {
    /// Runs one verb; where the plan says so, it is broken and then repeated as its contract allows.
    async fn run<R, F: Future<Output = Result<R, StoreError>>>(
        &mut self,
        bench: &Bench,
        verb: impl Fn() -> F,
    ) -> R {
        self.step += 1;
        if let Some(how) = self.how.filter(|_| self.step == self.at) {
            bench.breaker.arm(how);
            let broken = verb().await;
            assert!(!bench.breaker.armed(), "step {} commits nothing", self.step);
            assert!(
                matches!(broken, Err(StoreError::Unconfirmed(_))),
                "step {}",
                self.step
            );
        }
        verb().await.unwrap()
    }
}

/// What can be seen at the end, without the random parts.
#[derive(Debug, PartialEq, Eq)]
struct End {
    stages: Vec<(PacketStage, Vec<Stage>)>,
    events: Vec<Event>,
    tree: u64,
    facts: u64,
    waiting: Vec<u64>,
    files: usize,
}

async fn hand_over(bench: &mut Bench, plan: &mut Plan, recipient: &str, verdict: Verdict) -> HandOver {
    let lease = bench.lease(recipient, 1).await.remove(0);
    let handing = bench
        .decide(&lease, |s| {
            if s.stage == Stage::Held {
                Verdict::Deliver
            } else {
                verdict
            }
        })
        .await;
    let store = bench.store();
    let handed = plan.run(bench, || store.hand_over(handing.clone())).await;
    assert!(matches!(handed, HandedOver::Committed { .. }), "{handed:?}");
    if verdict == Verdict::Deliver {
        let HandedOver::Committed {
            leaf_hash: Some(leaf),
            ..
        } = handed
        else {
            panic!("{handed:?}")
        };
        let ack = bench.ack(&handing, leaf, AckOutcome::Received).await;
        let done = plan.run(bench, || store.acknowledge(ack.clone())).await;
        assert!(!matches!(done, Acknowledged::Unknown));
    }
    handing
}

async fn integrate(bench: &Bench, plan: &mut Plan) {
    let store = bench.store();
    let size = store.latest_checkpoint().await.unwrap().map_or(0, |c| c.size);
    let mut nodes = std::collections::HashMap::new();
    for node in Frontier::peaks_of(size) {
        nodes.insert(node, store.node(node).await.unwrap().unwrap());
    }
    let mut frontier = Frontier::read(size, |n| nodes.get(&n).copied().ok_or(n)).unwrap();
    let (leaves, mut nodes) = (store.pending(1_000).await.unwrap(), Vec::new());
    for leaf in &leaves {
        frontier.append(leaf.leaf_hash, &mut |n, h| nodes.push((n, h)));
    }
    let checkpoint = bench.secret().sign(frontier.size(), frontier.root());
    let step = Integration {
        expected_size: size,
        leaves,
        nodes,
        checkpoint,
    };
    // Saved after all: the writer finds its own checkpoint as the newest.
    match plan.run(bench, || store.integrate(step.clone())).await {
        Integrated::Done { size } | Integrated::Conflict { size } => assert_eq!(size, frontier.size()),
        Integrated::Frozen => panic!("frozen"),
    }
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    assert_eq!((newest.size, newest.root), (frontier.size(), frontier.root()));
}

/// Three packets: one goes its whole way with a part held in between, one is recalled, one expires.
async fn live(bench: &mut Bench, plan: &mut Plan) -> End {
    let to: &[&str] = &[WELFARE, JUSTICE];
    let mut packets: Vec<PacketId> = Vec::new();
    for _ in 0..3 {
        let new = bench.packet(to, &[(SMALL, to), (LARGE, &[WELFARE])]).await;
        packets.push(new.packet);
        accept(bench, plan, new).await;
        bench.now = bench.now.plus_millis(1);
    }
    let store = bench.store();
    let recall = bench.recalling(packets[1]).await;
    plan.run(bench, || store.recall(recall.clone())).await;
    hand_over(bench, plan, JUSTICE, Verdict::Deliver).await;
    hand_over(bench, plan, WELFARE, Verdict::Hold).await;
    integrate(bench, plan).await;
    let statement = bench.statement().await;
    let added = plan.run(bench, || store.add_statement(statement.clone())).await;
    assert!(matches!(
        added,
        StatementAdded::New { .. } | StatementAdded::Repeated(_)
    ));
    hand_over(bench, plan, WELFARE, Verdict::Deliver).await;
    let entry = bench
        .entry(EntryDraft::new(Event::BundleActivated, bench.now))
        .await;
    let ceiling = Ceiling {
        version: 1,
        digest: Digest::of(b"bundle"),
    };
    plan.run(bench, || store.raise(CeilingOf::Bundle, ceiling, entry.clone()))
        .await;
    let entry = bench
        .entry(EntryDraft::new(Event::SubmissionRejection, bench.now))
        .await;
    plan.run(bench, || store.record(entry.clone())).await;
    bench.now = bench.now.plus_millis(3_600_000);
    let due: Vec<_> = store
        .due(bench.now, 9)
        .await
        .unwrap()
        .iter()
        .map(|d| d.packet)
        .collect();
    assert_eq!(due, [packets[2]]);
    let expiring = bench.expiring(packets[2]).await;
    plan.run(bench, || store.expire(expiring.clone())).await;
    integrate(bench, plan).await;
    drop(store);
    end(bench, &packets).await
}

async fn accept(bench: &mut Bench, plan: &mut Plan, new: Acceptance) {
    let spare = [bench.again(&new).await, bench.again(&new).await];
    let tries = std::sync::Mutex::new(Vec::from(spare));
    tries.lock().unwrap().push(new);
    let store = bench.store();
    let accepted = plan
        .run(bench, || {
            let next = tries.lock().unwrap().pop().unwrap();
            store.accept(next)
        })
        .await;
    assert!(matches!(accepted, Accepted::New(_) | Accepted::Repeated(_)));
}

async fn end(bench: &mut Bench, packets: &[PacketId]) -> End {
    bench.store().reconsider(None).await.unwrap();
    bench.reopen().await;
    let store = bench.store();
    let mut stages = Vec::new();
    for packet in packets {
        let outcome = store.outcome(*packet).await.unwrap().unwrap();
        stages.push((outcome.stage, outcome.parts.iter().map(|p| p.stage).collect()));
    }
    let tree = store.latest_checkpoint().await.unwrap().unwrap().size;
    let mut events = Vec::new();
    for leaf in store.leaves(0, 100).await.unwrap() {
        let entry = store
            .entry(schakel_proto::tlog::hash::leaf_hash(&leaf))
            .await
            .unwrap()
            .unwrap();
        let body = schakel_proto::evidence::Body::parse(&entry.body, &bench.network).unwrap();
        events.push(body.event);
    }
    let facts = store.facts(bench.case).await.unwrap().count();
    let mut waiting = Vec::new();
    for agency in [WELFARE, JUSTICE] {
        waiting.push(
            store
                .waiting(&super::bench::agency(agency))
                .await
                .unwrap()
                .packets,
        );
    }
    End {
        stages,
        events,
        tree,
        facts,
        waiting,
        files: bench.part_files(),
    }
}

pub(super) async fn every_step_may_fail_and_be_repeated(mut first: Bench) {
    let mut plan = Plan {
        at: 0,
        how: None,
        step: 0,
    };
    let backend = first.backend;
    let whole = live(&mut first, &mut plan).await;
    assert_eq!(whole.tree, whole.events.len() as u64);
    assert_eq!((whole.waiting.clone(), whole.files), (vec![0, 0], 0));
    let steps = plan.step;
    assert_eq!(steps, 15, "steps of the life");
    for at in 1..=steps {
        for how in [Break::Failed, Break::FailedButSaved] {
            let mut bench = Bench::new(backend).await;
            let end = live(
                &mut bench,
                &mut Plan {
                    at,
                    how: Some(how),
                    step: 0,
                },
            )
            .await;
            assert_eq!(end, whole, "step {at} {how:?}");
        }
    }
}
