//! How packets end; facts and ceilings.

use schakel_proto::evidence::Event;
use schakel_proto::ids::{Digest, PacketId};

use super::super::*;
use super::bench::{Bench, JUSTICE, SENDER, SMALL, WELFARE, agency, leaf};
use crate::log::entry::EntryDraft;

pub(super) async fn a_recall_is_its_senders_alone(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let id = new.packet;
    bench.store().accept(new).await.unwrap();
    let mut stranger = bench.recalling(id).await;
    stranger.sender = agency(JUSTICE);
    assert_eq!(bench.store().recall(stranger).await.unwrap(), Recall::Unknown);
    let nothing = PacketId::new(bench.now, &mut bench.rng);
    let unknown = bench.recalling(nothing).await;
    assert_eq!(bench.store().recall(unknown).await.unwrap(), Recall::Unknown);
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Pending]);
    assert_eq!(bench.store().pending(9).await.unwrap().len(), 1);
}

pub(super) async fn a_recall_takes_back_what_was_not_handed_over(mut bench: Bench) {
    let to: &[&str] = &[WELFARE, JUSTICE];
    let new = bench.packet(to, &[(SMALL, to), (SMALL, &[JUSTICE])]).await;
    let id = new.packet;
    bench.store().accept(new).await.unwrap();
    let early = bench.lease(JUSTICE, 1).await.remove(0);
    let deciding = bench.decide(&early, |_| Verdict::Deliver).await;
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());

    let recall = bench.recalling(id).await;
    let recall_leaf = recall.entry.leaf_hash();
    let first = said(bench.store().recall(recall).await.unwrap());
    assert_eq!((first.leaf, first.repeated), (recall_leaf, false));
    let place = |p: &PartState| (p.recipient.to_string(), p.stage);
    let recalled: Vec<_> = first.recalled.iter().map(place).collect();
    assert_eq!(recalled, vec![(JUSTICE.to_owned(), Stage::Recalled); 2]);
    let too_late: Vec<_> = first.too_late.iter().map(place).collect();
    assert_eq!(too_late, [(WELFARE.to_owned(), Stage::HandedOver)]);
    // The lease that was out is worth nothing any more.
    let lost = bench.store().hand_over(deciding).await.unwrap();
    assert_eq!(lost, HandedOver::LeaseLost);
    let until = bench.now.plus_millis(1);
    assert!(!bench.store().renew(early.token, bench.now, until).await.unwrap());
    // Nor does the one go on under which it was committed: its keys may not have been sent yet.
    assert!(
        !bench
            .store()
            .renew(handing.token, bench.now, until)
            .await
            .unwrap()
    );
    bench.reopen().await;
    assert!(bench.lease(JUSTICE, 1).await.is_empty());
    bench.now = bench.now.plus_millis(60_001);
    assert!(
        bench.lease(WELFARE, 1).await.is_empty(),
        "it is not handed over again"
    );
    let again = bench.recalling(id).await;
    let again = said(bench.store().recall(again).await.unwrap());
    assert_eq!(
        again,
        Said {
            repeated: true,
            ..first
        }
    );

    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    let settled = bench.store().acknowledge(ack).await.unwrap();
    assert!(matches!(settled, Acknowledged::Settled { .. }));
    let outcome = bench.store().outcome(id).await.unwrap().unwrap();
    assert_eq!(outcome.stage, PacketStage::Recalled);
    assert!(outcome.parts.iter().all(|p| p.stage.is_final()));
    let stored = bench.store().packet(id).await.unwrap().unwrap();
    assert!(stored.parts.iter().all(|p| p.purged));
}

#[derive(Debug, PartialEq)]
struct Said {
    leaf: Digest,
    repeated: bool,
    recalled: Vec<PartState>,
    too_late: Vec<PartState>,
}

fn said(recall: Recall) -> Said {
    match recall {
        Recall::Done {
            leaf_hash: leaf,
            repeated,
            recalled,
            too_late,
        } => Said {
            leaf,
            repeated,
            recalled,
            too_late,
        },
        Recall::Unknown => panic!("the recall is unknown"),
    }
}

pub(super) async fn a_recall_and_a_hand_over_race_to_one_outcome(mut bench: Bench) {
    let mut seen = (0, 0);
    for round in 0..20 {
        let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
        let id = new.packet;
        bench.store().accept(new).await.unwrap();
        let lease = bench.lease(WELFARE, 1).await.remove(0);
        let (handing, recall) = (
            bench.decide(&lease, |_| Verdict::Deliver).await,
            bench.recalling(id).await,
        );
        let (one, other) = (bench.store(), bench.store());
        // Both orders are tried; the tasks may still overtake each other.
        let (handed, recalled) = if round % 2 == 0 {
            let handed = tokio::spawn(async move { one.hand_over(handing).await });
            let recalled = tokio::spawn(async move { other.recall(recall).await });
            (handed.await.unwrap().unwrap(), recalled.await.unwrap().unwrap())
        } else {
            let recalled = tokio::spawn(async move { other.recall(recall).await });
            let handed = tokio::spawn(async move { one.hand_over(handing).await });
            (handed.await.unwrap().unwrap(), recalled.await.unwrap().unwrap())
        };
        let Recall::Done {
            recalled, too_late, ..
        } = recalled
        else {
            panic!("{recalled:?}")
        };
        match handed {
            HandedOver::Committed { .. } => {
                assert_eq!((recalled.len(), too_late.len()), (0, 1));
                seen.0 += 1;
                bench.store().release(lease.token).await.unwrap();
            }
            HandedOver::LeaseLost => {
                assert_eq!((recalled.len(), too_late.len()), (1, 0));
                seen.1 += 1;
            }
            HandedOver::Changed => panic!("nothing changed"),
        }
        // What was handed over must be out of the next round's way.
        let expire = bench.now.plus_millis(4_000_000);
        let expiring = Expiring {
            at: expire,
            ..bench.expiring(id).await
        };
        bench.store().expire(expiring).await.unwrap();
    }
    assert_eq!(seen.0 + seen.1, 20);
}

pub(super) async fn a_packet_expires_once_and_what_arrived_still_counts(mut bench: Bench) {
    let to: &[&str] = &[WELFARE, JUSTICE];
    let new = bench.packet(to, &[(SMALL, to)]).await;
    let (id, digest) = (new.packet, new.manifest_digest);
    bench.store().accept(new).await.unwrap();
    bench.now = bench.now.plus_millis(1);
    let mut later = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    later.expires = bench.now.plus_millis(9_000_000);
    bench.store().accept(later).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    let handed = bench.store().hand_over(handing.clone()).await.unwrap();
    let HandedOver::Committed {
        leaf_hash: Some(consignment),
        ..
    } = handed
    else {
        panic!("{handed:?}")
    };
    assert!(bench.store().due(bench.now, 10).await.unwrap().is_empty());
    let early = bench.expiring(id).await;
    assert_eq!(bench.store().expire(early).await.unwrap(), Expired::NothingToDo);
    bench.now = bench.now.plus_millis(3_600_000);
    assert!(
        bench.lease(JUSTICE, 1).await.is_empty(),
        "what is over is not leased out"
    );
    let due = bench.store().due(bench.now, 10).await.unwrap();
    let expected = DuePacket {
        packet: id,
        case: bench.case,
        manifest_digest: digest,
        sender: agency(SENDER),
    };
    assert_eq!(due, [expected]);
    let expiring = bench.expiring(id).await;
    let done = Expired::Done {
        leaf_hash: expiring.entry.leaf_hash(),
    };
    assert_eq!(bench.store().expire(expiring).await.unwrap(), done);
    bench.reopen().await;
    let again = bench.expiring(id).await;
    assert_eq!(bench.store().expire(again).await.unwrap(), done);
    assert!(bench.store().due(bench.now, 10).await.unwrap().is_empty());
    let outcome = bench.store().outcome(id).await.unwrap().unwrap();
    assert_eq!(outcome.stage, PacketStage::Expired);
    assert!(outcome.parts.iter().all(|p| p.stage == Stage::Expired));
    assert!(bench.store().packet(id).await.unwrap().unwrap().parts[0].purged);
    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    assert!(matches!(
        bench.store().acknowledge(ack).await.unwrap(),
        Acknowledged::Settled { .. }
    ));
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Received]);
    assert_eq!(bench.stages(id, JUSTICE).await, [Stage::Expired]);
}

pub(super) async fn statements_are_chained_and_judged_on_what_is(mut bench: Bench) {
    assert_eq!(bench.store().facts(bench.case).await.unwrap(), Facts::default());
    let first = bench.statement().await;
    let rival = bench.statement().await;
    let (again, leaf_hash) = (first.clone(), first.entry.leaf_hash());
    let answer = AcceptedStatement {
        number: 1,
        head: first.head,
        roster_version: 1,
        leaf_hash,
    };
    let added = bench.store().add_statement(first.clone()).await.unwrap();
    assert_eq!(
        added,
        StatementAdded::New {
            answer,
            reconsider: vec![]
        }
    );
    assert_eq!(
        bench.store().add_statement(rival.clone()).await.unwrap(),
        StatementAdded::Conflict
    );
    bench.reopen().await;
    assert_eq!(
        bench.store().add_statement(again).await.unwrap(),
        StatementAdded::Repeated(answer)
    );
    let other = NewStatement {
        signed: rival.signed.clone(),
        ..first.clone()
    };
    assert_eq!(
        bench.store().add_statement(other).await.unwrap(),
        StatementAdded::ConflictingDigest
    );
    let second = bench.statement().await;
    let half = NewStatement {
        expected_count: 0,
        ..second.clone()
    };
    assert_eq!(
        bench.store().add_statement(half).await.unwrap(),
        StatementAdded::Conflict
    );
    let added = bench.store().add_statement(second.clone()).await.unwrap();
    assert!(matches!(
        added,
        StatementAdded::New {
            answer: AcceptedStatement { number: 2, .. },
            ..
        }
    ));
    let facts = bench.store().facts(bench.case).await.unwrap();
    assert_eq!(
        (facts.count(), facts.head, facts.roster_version),
        (2, Some(second.head), 2)
    );
    assert_eq!(facts.entries[0].statement, Some(first.signed));
    assert_eq!(facts.entries[1].number, 2);
    assert_eq!(
        bench.store().pending(10).await.unwrap().len(),
        2,
        "only what was accepted has a leaf"
    );
}

pub(super) async fn a_statement_is_judged_by_what_is_in_force_when_it_is_committed(mut bench: Bench) {
    let statement = bench.statement().await;
    for of in [CeilingOf::Bundle, CeilingOf::Directory] {
        let entry = bench
            .entry(EntryDraft::new(Event::BundleActivated, bench.now))
            .await;
        let ceiling = Ceiling {
            version: 1,
            digest: Digest::of(b"in force"),
        };
        bench.store().raise(of, ceiling, entry).await.unwrap();
    }
    for (bundle_version, directory_version) in [(1, 2), (2, 1), (0, 1), (1, 0)] {
        // By what is in force no more, or not yet.
        let other = NewStatement {
            bundle_version,
            directory_version,
            ..statement.clone()
        };
        let added = bench.store().add_statement(other).await.unwrap();
        assert_eq!(added, StatementAdded::Conflict);
    }
    assert_eq!(bench.store().facts(bench.case).await.unwrap().count(), 0);
    let added = bench.store().add_statement(statement).await.unwrap();
    assert!(matches!(added, StatementAdded::New { .. }), "{added:?}");
}

pub(super) async fn ceilings_are_never_lowered(mut bench: Bench) {
    let at = |version: u64, text: &[u8]| Ceiling {
        version,
        digest: Digest::of(text),
    };
    for of in [CeilingOf::Directory, CeilingOf::Bundle] {
        for (ceiling, expected) in [
            (at(3, b"three"), None),
            (at(3, b"three"), Some(Raised::Same)),
            (
                at(3, b"another three"),
                Some(Raised::Refused {
                    current: at(3, b"three"),
                }),
            ),
            (
                at(2, b"two"),
                Some(Raised::Refused {
                    current: at(3, b"three"),
                }),
            ),
            (at(7, b"seven"), None),
            (
                at(3, b"three"),
                Some(Raised::Refused {
                    current: at(7, b"seven"),
                }),
            ),
        ] {
            let entry = bench
                .entry(EntryDraft::new(Event::DirectoryActivated, bench.now))
                .await;
            let expected = expected.unwrap_or(Raised::New {
                leaf_hash: entry.leaf_hash(),
            });
            assert_eq!(bench.store().raise(of, ceiling, entry).await.unwrap(), expected);
        }
        bench.reopen().await;
    }
    let ceilings = bench.store().ceilings().await.unwrap();
    assert_eq!(
        ceilings,
        Ceilings {
            directory: Some(at(7, b"seven")),
            bundle: Some(at(7, b"seven"))
        }
    );
    assert_eq!(bench.store().pending(10).await.unwrap().len(), 4);
}
