//! Leg 2: leases, decisions, acknowledgements.

use schakel_proto::evidence::{Event, NO_FURTHER_USE};
use schakel_proto::ids::{DeliveryId, Digest, PartId};

use super::super::*;
use super::bench::{Bench, JUSTICE, LARGE, SENDER, SMALL, WELFARE, agency, leaf};

pub(super) async fn leases_are_exclusive_ordered_and_end(mut bench: Bench) {
    let mut ids = Vec::new();
    for priority in [2, 2, 0, 1] {
        let mut new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
        new.priority = priority;
        ids.push(new.packet);
        bench.store().accept(new).await.unwrap();
        bench.now = bench.now.plus_millis(1);
    }
    let first = bench.lease(WELFARE, 3).await;
    let order: Vec<_> = first.iter().map(|l| l.packet.packet).collect();
    assert_eq!(order, [ids[2], ids[3], ids[0]]);
    assert!(
        first
            .iter()
            .all(|l| l.attempt == 1 && l.parts.len() == 1 && l.key_packets.len() == 1)
    );
    let rest = bench.lease(WELFARE, 3).await;
    assert_eq!(rest.iter().map(|l| l.packet.packet).collect::<Vec<_>>(), [ids[1]]);
    assert!(bench.lease(WELFARE, 3).await.is_empty());
    assert!(bench.lease(JUSTICE, 3).await.is_empty());
    // Given back, prolonged, run out.
    let store = bench.store();
    store.release(first[0].token).await.unwrap();
    let again = bench.lease(WELFARE, 3).await;
    assert_eq!((again[0].packet.packet, again[0].attempt), (ids[2], 2));
    let until = bench.now.plus_millis(90_000);
    assert!(store.renew(first[1].token, bench.now, until).await.unwrap());
    bench.now = bench.now.plus_millis(60_000);
    let after: Vec<_> = bench
        .lease(WELFARE, 9)
        .await
        .iter()
        .map(|l| l.packet.packet)
        .collect();
    assert_eq!(after, [ids[2], ids[0], ids[1]], "the prolonged one is still held");
    let unknown = DeliveryId::random(&mut bench.rng);
    assert!(!store.renew(first[0].token, bench.now, until).await.unwrap());
    assert!(!store.renew(unknown, bench.now, until).await.unwrap());
    drop(store);
    bench.reopen().await;
    if bench.backend == super::Backend::Sled {
        assert_eq!(
            bench.lease(WELFARE, 9).await.len(),
            4,
            "after a restart nobody holds a lease"
        );
    }
}

pub(super) async fn a_decision_on_changed_ground_is_made_again(mut bench: Bench) {
    let new = bench
        .packet(&[WELFARE], &[(SMALL, &[WELFARE]), (SMALL, &[WELFARE])])
        .await;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let early = bench.decide(&lease, |_| Verdict::Deliver).await;
    let statement = bench.statement().await;
    bench.store().add_statement(statement).await.unwrap();
    assert_eq!(bench.store().hand_over(early).await.unwrap(), HandedOver::Changed);
    let good = bench.decide(&lease, |_| Verdict::Deliver).await;
    let mut fewer = good.clone();
    fewer.parts.pop();
    assert_eq!(bench.store().hand_over(fewer).await.unwrap(), HandedOver::Changed);
    let mut twice = good.clone();
    twice.parts[1] = twice.parts[0].clone();
    assert_eq!(bench.store().hand_over(twice).await.unwrap(), HandedOver::Changed);
    for of in [CeilingOf::Bundle, CeilingOf::Directory] {
        let draft = crate::log::entry::EntryDraft::new(Event::BundleActivated, bench.now);
        let entry = bench.entry(draft).await;
        let ceiling = Ceiling {
            version: 2,
            digest: Digest::of(b"two"),
        };
        bench.store().raise(of, ceiling, entry).await.unwrap();
        assert_eq!(
            bench.store().hand_over(good.clone()).await.unwrap(),
            HandedOver::Changed
        );
    }
    let pending = bench.store().pending(10).await.unwrap().len();
    assert_eq!(pending, 4, "what was not committed left no leaf");
    let newest = HandOver {
        bundle_version: 2,
        directory_version: 2,
        ..good
    };
    assert!(matches!(
        bench.store().hand_over(newest).await.unwrap(),
        HandedOver::Committed { .. }
    ));
}

pub(super) async fn a_hand_over_needs_its_lease(mut bench: Bench) {
    let new = bench
        .packet(&[WELFARE, JUSTICE], &[(SMALL, &[WELFARE, JUSTICE])])
        .await;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let good = bench.decide(&lease, |_| Verdict::Deliver).await;
    let store = bench.store();
    let stranger = HandOver {
        token: bench.token(),
        ..good.clone()
    };
    assert_eq!(store.hand_over(stranger).await.unwrap(), HandedOver::LeaseLost);
    let other = HandOver {
        recipient: agency(JUSTICE),
        ..good.clone()
    };
    assert_eq!(store.hand_over(other).await.unwrap(), HandedOver::LeaseLost);
    let late = HandOver {
        at: bench.now.plus_millis(60_000),
        ..good.clone()
    };
    assert_eq!(store.hand_over(late).await.unwrap(), HandedOver::LeaseLost);
    let committed = store.hand_over(good.clone()).await.unwrap();
    // Another entry of the same attempt: the original answer, and no second leaf.
    let again = bench.decide(&lease, |_| Verdict::Deliver).await;
    assert_ne!(again.entry.as_ref().unwrap().leaf_hash(), leaf(&committed));
    assert_eq!(store.hand_over(again).await.unwrap(), committed);
    assert_eq!(store.pending(10).await.unwrap().len(), 2);
}

pub(super) async fn an_acknowledged_packet_is_settled_and_purged(mut bench: Bench) {
    let new = bench
        .packet(
            &[WELFARE, JUSTICE],
            &[(LARGE, &[WELFARE, JUSTICE]), (SMALL, &[WELFARE])],
        )
        .await;
    let (id, parts) = (new.packet, [new.parts[0].part, new.parts[1].part]);
    bench.store().accept(new).await.unwrap();
    for (recipient, outcome) in [(WELFARE, AckOutcome::Received), (JUSTICE, AckOutcome::Refused)] {
        let lease = bench.lease(recipient, 1).await.remove(0);
        let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
        let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
        bench.reopen().await;
        assert!(bench.read_all(id, parts[0]).await.is_ok(), "somebody still waits");
        let ack = bench.ack(&handing, consignment, outcome).await;
        let leaf_hash = ack.entry.leaf_hash();
        let settled = bench.store().acknowledge(ack).await.unwrap();
        assert_eq!(settled, Acknowledged::Settled { leaf_hash });
        bench.reopen().await;
        let again = bench.ack(&handing, consignment, outcome).await;
        assert_eq!(
            bench.store().acknowledge(again).await.unwrap(),
            Acknowledged::Repeated { leaf_hash }
        );
        assert!(bench.lease(recipient, 1).await.is_empty());
        let taken = bench.ack(&handing, consignment, AckOutcome::Taken).await;
        let taken = bench.store().acknowledge(taken).await.unwrap();
        assert_eq!(
            matches!(taken, Acknowledged::Settled { .. }),
            outcome == AckOutcome::Received
        );
    }
    let outcome = bench.store().outcome(id).await.unwrap().unwrap();
    assert_eq!(outcome.stage, PacketStage::Settled);
    let refused = outcome
        .parts
        .iter()
        .find(|p| p.recipient == agency(JUSTICE))
        .unwrap();
    assert_eq!(
        (refused.stage, refused.reason.as_str()),
        (Stage::Refused, "quarantined")
    );
    for part in parts {
        assert!(matches!(
            bench.read_all(id, part).await,
            Err(StoreError::Missing(_))
        ));
    }
    bench.store().reconsider(None).await.unwrap();
    assert_eq!(bench.part_files(), 0);
    assert!(
        bench
            .store()
            .due(bench.now.plus_millis(i64::MAX / 2), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn an_acknowledgement_must_fit_its_consignment(mut bench: Bench) {
    let new = bench
        .packet(
            &[WELFARE, JUSTICE],
            &[(SMALL, &[WELFARE, JUSTICE]), (SMALL, &[WELFARE])],
        )
        .await;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let withheld = lease.parts[1].part;
    let handing = bench
        .decide(&lease, |s| {
            if s.part == withheld {
                Verdict::Withhold
            } else {
                Verdict::Deliver
            }
        })
        .await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    let good = bench.ack(&handing, consignment, AckOutcome::Received).await;
    let store = bench.store();
    let none = PartId::random(&mut bench.rng);
    for bad in [
        Acknowledging {
            consignment: Digest::of(b"no such leaf"),
            ..good.clone()
        },
        Acknowledging {
            recipient: agency(JUSTICE),
            ..good.clone()
        },
        Acknowledging {
            parts: vec![withheld],
            ..good.clone()
        },
        Acknowledging {
            parts: vec![none],
            ..good.clone()
        },
        Acknowledging {
            parts: vec![],
            ..good.clone()
        },
        Acknowledging {
            outcome: AckOutcome::Taken,
            ..good.clone()
        },
    ] {
        assert_eq!(store.acknowledge(bad).await.unwrap(), Acknowledged::Unknown);
    }
    assert!(matches!(
        store.acknowledge(good).await.unwrap(),
        Acknowledged::Settled { .. }
    ));
    assert_eq!(
        bench.stages(handing.packet, WELFARE).await,
        [Stage::Received, Stage::Withheld]
    );
}

pub(super) async fn an_obligation_is_fulfilled_once_by_whom_it_binds(mut bench: Bench) {
    let new = bench
        .packet(&[WELFARE, JUSTICE], &[(SMALL, &[WELFARE, JUSTICE])])
        .await;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    let bound = handing.parts[0].obligations[0].clone();
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    let fulfilled = Acknowledging {
        obligation: bound.clone(),
        ..bench.ack(&handing, consignment, AckOutcome::Fulfilled).await
    };
    // Before it is received, by whom it does not bind, and what nobody asked for.
    let early = bench.store().acknowledge(fulfilled.clone()).await.unwrap();
    assert_eq!(early, Acknowledged::Unknown);
    let received = bench.ack(&handing, consignment, AckOutcome::Received).await;
    bench.store().acknowledge(received).await.unwrap();
    let another = |obligation: &str| Acknowledging {
        obligation: obligation.to_owned(),
        ..fulfilled.clone()
    };
    let stranger = Acknowledging {
        recipient: agency(JUSTICE),
        ..fulfilled.clone()
    };
    for ack in [stranger, another("expire-at:1999-12-31T00:00:00Z")] {
        let store = bench.store();
        assert_eq!(store.acknowledge(ack).await.unwrap(), Acknowledged::Unknown);
    }
    let leaf_hash = fulfilled.entry.leaf_hash();
    let settled = bench.store().acknowledge(fulfilled).await.unwrap();
    assert_eq!(settled, Acknowledged::Settled { leaf_hash });
    bench.reopen().await;
    let again = Acknowledging {
        obligation: bound,
        ..bench.ack(&handing, consignment, AckOutcome::Fulfilled).await
    };
    let again = bench.store().acknowledge(again).await.unwrap();
    assert_eq!(again, Acknowledged::Repeated { leaf_hash });
    // What follows when the ground ends is in no decision, and is said apart from the others.
    let after = Acknowledging {
        obligation: NO_FURTHER_USE.to_owned(),
        ..bench.ack(&handing, consignment, AckOutcome::Fulfilled).await
    };
    let after = bench.store().acknowledge(after).await.unwrap();
    assert!(matches!(after, Acknowledged::Settled { .. }));
    assert_eq!(
        bench.stages(handing.packet, WELFARE).await,
        [Stage::Received],
        "what was received stays so"
    );
}

pub(super) async fn what_is_handed_over_twice_is_bound_by_both(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    bench.store().accept(new).await.unwrap();
    let mut handed = Vec::new();
    for bound in ["review", "expire-at:2026-12-01T00:00:00Z"] {
        let lease = bench.lease(WELFARE, 1).await.remove(0);
        let mut handing = bench.decide(&lease, |_| Verdict::Deliver).await;
        handing.parts[0].obligations = vec![bound.to_owned()];
        let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
        handed.push((handing, consignment, bound));
        bench.now = bench.now.plus_millis(60_000);
    }
    let received = bench.ack(&handed[1].0, handed[1].1, AckOutcome::Received).await;
    bench.store().acknowledge(received).await.unwrap();
    let asked = [handed[0].2, handed[1].2, "delete-after:1d"];
    for (bound, known) in asked.into_iter().zip([true, true, false]) {
        let fulfilled = Acknowledging {
            obligation: bound.to_owned(),
            ..bench.ack(&handed[0].0, handed[0].1, AckOutcome::Fulfilled).await
        };
        let answer = bench.store().acknowledge(fulfilled).await.unwrap();
        assert_eq!(matches!(answer, Acknowledged::Settled { .. }), known, "{bound}");
    }
}

pub(super) async fn unacknowledged_parts_are_decided_anew(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let id = new.packet;
    bench.store().accept(new).await.unwrap();
    let first = bench.lease(WELFARE, 1).await.remove(0);
    let handing = bench.decide(&first, |_| Verdict::Deliver).await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    bench.now = bench.now.plus_millis(60_000);
    let second = bench.lease(WELFARE, 1).await.remove(0);
    assert_eq!(second.parts[0].stage, Stage::HandedOver);
    let withhold = bench.decide(&second, |_| Verdict::Withhold).await;
    let answer = bench.store().hand_over(withhold).await.unwrap();
    assert!(matches!(answer, HandedOver::Committed { delivers: false, .. }));
    let outcome = bench.store().outcome(id).await.unwrap().unwrap();
    assert_eq!(outcome.parts[0].stage, Stage::Withheld);
    assert!(
        outcome.parts[0].possibly_disclosed,
        "it may have arrived the first time"
    );
    // It had arrived: the late word is taken down.
    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    assert!(matches!(
        bench.store().acknowledge(ack).await.unwrap(),
        Acknowledged::Settled { .. }
    ));
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Received]);
}

pub(super) async fn held_parts_come_back_with_a_statement_and_without_a_second_entry(mut bench: Bench) {
    let new = bench
        .packet(&[WELFARE], &[(SMALL, &[WELFARE]), (LARGE, &[WELFARE])])
        .await;
    let (id, held) = (new.packet, new.parts[1].part);
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let verdict = |s: &PartState| {
        if s.part == held {
            Verdict::Hold
        } else {
            Verdict::Deliver
        }
    };
    let handing = bench.decide(&lease, verdict).await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    bench.store().acknowledge(ack).await.unwrap();
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Received, Stage::Held]);
    bench.now = bench.now.plus_millis(100_000);
    assert!(
        bench.lease(WELFARE, 1).await.is_empty(),
        "held work is in no queue"
    );
    bench.reopen().await;
    for round in 0..2 {
        let statement = bench.statement().await;
        let added = bench.store().add_statement(statement).await.unwrap();
        let StatementAdded::New { reconsider, .. } = added else {
            panic!("{added:?}")
        };
        assert_eq!(reconsider, [agency(WELFARE)]);
        bench.reopen().await;
        let lease = bench.lease(WELFARE, 1).await.remove(0);
        let before = bench.store().pending(99).await.unwrap().len();
        let verdict = if round == 0 {
            Verdict::Hold
        } else {
            Verdict::Deliver
        };
        let handing = bench.decide(&lease, |_| verdict).await;
        assert_eq!(handing.entry.is_none(), round == 0);
        assert_eq!(handing.parts.len(), 1, "what was received is not decided again");
        let handed = bench.store().hand_over(handing.clone()).await.unwrap();
        let entries = bench.store().pending(99).await.unwrap().len() - before;
        assert_eq!(entries, round);
        if round == 1 {
            let ack = bench.ack(&handing, leaf(&handed), AckOutcome::Received).await;
            bench.store().acknowledge(ack).await.unwrap();
        }
    }
    let outcome = bench.store().outcome(id).await.unwrap().unwrap();
    assert_eq!(outcome.stage, PacketStage::Settled);
    assert!(bench.store().reconsider(None).await.unwrap().is_empty());
}

pub(super) async fn a_statement_during_a_delivery_is_not_missed_by_what_is_held(mut bench: Bench) {
    let new = bench
        .packet(&[WELFARE], &[(SMALL, &[WELFARE]), (SMALL, &[WELFARE])])
        .await;
    let (id, held) = (new.packet, new.parts[1].part);
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let verdict = |s: &PartState| {
        if s.part == held {
            Verdict::Hold
        } else {
            Verdict::Deliver
        }
    };
    let handing = bench.decide(&lease, verdict).await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    let statement = bench.statement().await;
    bench.store().add_statement(statement).await.unwrap();
    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    bench.store().acknowledge(ack).await.unwrap();
    bench.reopen().await;
    let again = bench.lease(WELFARE, 1).await.remove(0);
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Received, Stage::Held]);
    let still = bench.decide(&again, |_| Verdict::Hold).await;
    assert!(matches!(
        bench.store().hand_over(still).await.unwrap(),
        HandedOver::Committed { .. }
    ));
    assert!(
        bench.lease(WELFARE, 1).await.is_empty(),
        "decided on the newest facts, it waits"
    );
}

pub(super) async fn a_decision_without_its_entry_or_that_tells_too_much_is_a_defect(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let deliver = bench.decide(&lease, |_| Verdict::Deliver).await;
    let withhold = bench.decide(&lease, |_| Verdict::Withhold).await;
    let none = HandOver {
        entry: None,
        ..withhold.clone()
    };
    let wrong = HandOver {
        entry: deliver.entry.clone(),
        ..withhold.clone()
    };
    let mut told = bench
        .about(Event::ContentWithheld, lease.packet.packet, None, None, None)
        .await;
    told.body.recipient = Some(agency(WELFARE));
    told.concerns.push(Concern {
        agency: agency(WELFARE),
        sees_hidden: false,
    });
    let telling = HandOver {
        entry: Some(told),
        ..withhold.clone()
    };
    for bad in [none, wrong, telling] {
        assert!(matches!(
            bench.store().hand_over(bad).await,
            Err(StoreError::Misused(_))
        ));
    }
    assert_eq!(bench.stages(lease.packet.packet, WELFARE).await, [Stage::Pending]);
    let told = &withhold.entry.as_ref().unwrap().concerns;
    assert_eq!(
        told,
        &[Concern {
            agency: agency(SENDER),
            sees_hidden: true
        }]
    );
    assert!(matches!(
        bench.store().hand_over(withhold).await.unwrap(),
        HandedOver::Committed { .. }
    ));
}
