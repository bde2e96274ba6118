//! Leg 1: acceptance and content.

use rand::RngCore;
use schakel_proto::ids::{Digest, PacketId};

use super::super::*;
use super::bench::{Backend, Bench, JUSTICE, LARGE, SENDER, SMALL, WELFARE, agency};

pub(super) async fn a_packet_is_durable_whole_and_accepted_once(mut bench: Bench) {
    let new = bench
        .packet(
            &[WELFARE, JUSTICE],
            &[(SMALL, &[WELFARE, JUSTICE]), (LARGE, &[WELFARE])],
        )
        .await;
    let (id, digest) = (new.packet, new.manifest_digest);
    assert_eq!(bench.store().known(id, digest).await.unwrap(), Known::No);
    let (again, manifest) = (bench.again(&new).await, new.manifest.clone());
    let (openings, leaf_hash) = (new.recipients.clone(), new.entry.leaf_hash());
    let answer = AcceptedPacket {
        packet: id,
        leaf_hash,
        accepted_at: bench.now,
    };
    assert_eq!(bench.store().accept(new).await.unwrap(), Accepted::New(answer));
    bench.now = bench.now.plus_millis(1_000);
    assert_eq!(
        bench.store().accept(again).await.unwrap(),
        Accepted::Repeated(answer)
    );
    bench.reopen().await;
    assert_eq!(
        bench.store().known(id, digest).await.unwrap(),
        Known::Same(answer)
    );
    let stored = bench.store().packet(id).await.unwrap().unwrap();
    assert_eq!((stored.manifest, stored.sender), (manifest, agency(SENDER)));
    assert_eq!(stored.recipients[1].opening, openings[1].opening);
    assert_eq!(stored.parts.len(), 2);
    assert_eq!(stored.parts[1].sealings[0].length, LARGE as u64);
    assert_eq!(bench.stages(id, WELFARE).await, [Stage::Pending; 2]);
    assert_eq!(bench.stages(id, JUSTICE).await, [Stage::Pending]);
    let waiting = bench.store().waiting(&agency(JUSTICE)).await.unwrap();
    assert_eq!((waiting.packets, waiting.oldest), (1, Some(answer.accepted_at)));
    let pending = bench.store().pending(10).await.unwrap();
    assert_eq!(
        pending.iter().map(|p| p.leaf_hash).collect::<Vec<_>>(),
        [leaf_hash]
    );
    let unknown = PacketId::new(bench.now, &mut bench.rng);
    assert!(bench.store().packet(unknown).await.unwrap().is_none());
    assert!(bench.store().outcome(unknown).await.unwrap().is_none());
}

pub(super) async fn an_id_used_for_another_manifest_is_refused(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let id = new.packet;
    let mut other = bench.again(&new).await;
    let good = bench.again(&new).await;
    let liar = Acceptance {
        manifest_digest: Digest::of(b"another manifest"),
        ..good
    };
    assert!(matches!(
        bench.store().accept(liar).await,
        Err(StoreError::Misused(_))
    ));
    other.manifest = bench.signed(900);
    other.manifest_digest = Digest::of(&other.manifest.bytes);
    bench.store().accept(new).await.unwrap();
    assert_eq!(
        bench.store().known(id, other.manifest_digest).await.unwrap(),
        Known::Other
    );
    assert_eq!(
        bench.store().accept(other).await.unwrap(),
        Accepted::ConflictingDigest
    );
    assert_eq!(bench.store().pending(10).await.unwrap().len(), 1);
}

pub(super) async fn content_comes_back_byte_for_byte(mut bench: Bench) {
    for length in [1, SMALL, 48 * 1024, 48 * 1024 + 1, LARGE, 300 * 1024] {
        let mut new = bench.packet(&[WELFARE], &[(1, &[WELFARE])]).await;
        let mut content = vec![0; length];
        bench.rng.fill_bytes(&mut content);
        new.parts[0].sealings[0].content = bench.spooled(&content).await;
        let (id, part) = (new.packet, new.parts[0].part);
        bench.store().accept(new).await.unwrap();
        bench.reopen().await;
        assert_eq!(bench.read_all(id, part).await.unwrap(), content, "{length}");
        let other = bench
            .store()
            .content(id, part, schakel_proto::wire::Profile::V4)
            .await;
        assert!(matches!(other, Err(StoreError::Missing(_))));
    }
}

pub(super) async fn a_file_named_by_two_packets_outlives_the_first(mut bench: Bench) {
    let mut content = vec![0; LARGE];
    bench.rng.fill_bytes(&mut content);
    let mut packets = Vec::new();
    for _ in 0..2 {
        let mut new = bench.packet(&[WELFARE], &[(1, &[WELFARE])]).await;
        new.parts[0].sealings[0].content = bench.spooled(&content).await;
        packets.push((new.packet, new.parts[0].part));
        bench.store().accept(new).await.unwrap();
    }
    for (packet, part) in packets.clone() {
        assert_eq!(bench.read_all(packet, part).await.unwrap(), content);
        let recall = bench.recalling(packet).await;
        bench.store().recall(recall).await.unwrap();
        assert!(matches!(
            bench.read_all(packet, part).await,
            Err(StoreError::Missing(_))
        ));
        assert!(bench.store().packet(packet).await.unwrap().unwrap().parts[0].purged);
    }
    // The writer removes files after it has answered: wait for it with one more verb.
    bench.store().reconsider(None).await.unwrap();
    assert_eq!(bench.part_files(), 0);
    bench.reopen().await;
    assert_eq!(bench.part_files(), 0);
}

pub(super) async fn what_is_never_accepted_leaves_nothing(mut bench: Bench) {
    let mut content = vec![0; LARGE];
    bench.rng.fill_bytes(&mut content);
    let finished = bench.spooled(&content).await;
    let mut begun = bench.store().spool(LARGE as u64).await.unwrap();
    begun.write(&content).await.unwrap();
    assert_eq!(bench.part_files(), usize::from(bench.backend == Backend::Sled));
    drop((finished, begun));
    bench.store().reconsider(None).await.unwrap();
    bench.store().reconsider(None).await.unwrap();
    assert_eq!(bench.part_files(), 0);
    let left = std::fs::read_dir(bench.dir.path().join("store/parts/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

pub(super) async fn wrong_content_is_not_finished(bench: Bench) {
    for length in [SMALL, LARGE] {
        let mut spool = bench.store().spool(length as u64).await.unwrap();
        spool.write(&vec![1; length]).await.unwrap();
        assert!(matches!(spool.write(&[1]).await, Err(StoreError::Misused(_))));
        assert!(matches!(
            spool.finish(Digest::of(b"other")).await,
            Err(StoreError::Misused(_))
        ));
    }
    assert_eq!(bench.part_files(), 0);
}

pub(super) async fn a_full_store_takes_nothing_new_and_lets_the_rest_go_on(mut bench: Bench) {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let id = new.packet;
    bench.store().accept(new).await.unwrap();
    let late = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let again = bench.again(&late).await;
    bench.set_full(true).await;
    assert_eq!(bench.store().health(), StoreHealth::Full);
    assert!(matches!(
        bench.store().spool(SMALL as u64).await,
        Err(StoreError::Full)
    ));
    assert!(matches!(bench.store().accept(late).await, Err(StoreError::Full)));
    let statement = bench.statement().await;
    assert!(matches!(
        bench.store().add_statement(statement).await,
        Err(StoreError::Full)
    ));
    assert_eq!(
        bench.store().pending(10).await.unwrap().len(),
        1,
        "nothing half-done"
    );
    let lease = bench.lease(WELFARE, 5).await.remove(0);
    assert_eq!(lease.packet.packet, id);
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    let handed = bench.store().hand_over(handing).await.unwrap();
    assert!(matches!(handed, HandedOver::Committed { delivers: true, .. }));
    bench.set_full(false).await;
    assert_eq!(bench.store().health(), StoreHealth::Ready);
    assert!(matches!(
        bench.store().accept(again).await.unwrap(),
        Accepted::New(_)
    ));
}
