//! Power cuts of the broker's disk while members submit: what the broker answered as accepted is there afterwards,
//! is delivered exactly once, and no checkpoint that anybody saw is ever taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::wire;
use schakel_tests::system::disk::Disk;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;

use crate::turn;

const TO: &[&str] = &["parket-antwerpen"];

/// Packet -> leaf hash, as the broker answered.
type Answered = Arc<Mutex<BTreeMap<PacketId, Vec<u8>>>>;

/// Submits until the broker is gone; notes what it answered, the moment it does.
async fn submit(mut police: Player, case: CaseRef, answered: Answered) {
    loop {
        let large = police.rng.random_ratio(1, 4);
        let content = vec![
            b'x';
            if large {
                police.rng.random_range(60_000..300_000)
            } else {
                500
            }
        ];
        let manifest = police.manifest(case, "prosecution", "legal_duty");
        let sealed = police.seal(
            manifest,
            &[Piece {
                category: "facts_summary",
                to: TO,
                content: &content,
            }],
        );
        let limit = Duration::from_secs(5);
        match tokio::time::timeout(limit, police.submit(sealed.frames())).await {
            Ok(Ok(answer)) => drop(
                answered
                    .lock()
                    .unwrap()
                    .insert(sealed.id(), answer.leaf_hash.to_vec()),
            ),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The newest checkpoint and, from `since` on, the proof that the log only grew.
async fn checkpoint(police: &mut Player, town: &Town, since: Option<&SignedCheckpoint>) -> SignedCheckpoint {
    let directory = town.network().directory(now()).unwrap();
    let request = wire::GetConsistencyRequest {
        from_size: since.map_or(0, SignedCheckpoint::size),
        to_size: 0,
    };
    let answer = police.client.get_consistency(request).await.unwrap().into_inner();
    let newest = SignedCheckpoint::open(&answer.checkpoint, directory.log().key()).unwrap();
    if let Some(since) = since {
        assert!(
            newest.size() >= since.size(),
            "the log lost {} leaves",
            since.size() - newest.size()
        );
        let proof: Vec<Digest> = answer
            .proof
            .iter()
            .map(|h| Digest::try_from(h.as_ref()).unwrap())
            .collect();
        check_consistency(since.size(), newest.size(), &proof, &since.root(), &newest.root()).unwrap();
    }
    newest
}

/// Every packet that was answered is known to the broker.
async fn check_known(police: &mut Player, packets: impl Iterator<Item = PacketId>) -> Vec<PacketId> {
    let mut lost = Vec::new();
    for packet in packets {
        let request = wire::GetOutcomeRequest {
            packet_id: packet.to_vec().into(),
        };
        if police.client.get_outcome(request).await.is_err() {
            lost.push(packet);
        }
    }
    lost
}

#[test]
fn d05_power_cuts_of_the_brokers_disk_lose_nothing_that_was_accepted() {
    let _turn = turn::take();
    let disk = match Disk::new(2048) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (mut rng, cuts) = (seeded(), rounds(60, 1_000));
    let mut town = Town::rupel();
    town.put_broker_on(&disk.path());
    town.lift_rates();
    town.start_broker();
    let answered = Answered::default();
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut pauses = StdRng::from_rng(&mut rng);
    let mut player = |town: &Town, id: &str| Player::of(town, id, StdRng::from_rng(&mut rng));
    let case = runtime.block_on(player(&town, "pz-rupel").open_case(&["pz-rupel", "parket-antwerpen"]));
    let mut seen = None;
    for cut in 1..=cuts {
        let before: Vec<PacketId> = answered.lock().unwrap().keys().copied().collect();
        let writers: Vec<_> = (0..4)
            .map(|_| runtime.spawn(submit(player(&town, "pz-rupel"), case, Arc::clone(&answered))))
            .collect();
        wait::until("an accepted packet", || {
            (answered.lock().unwrap().len() > before.len()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(pauses.random_range(0..400)));
        let broker = town.take_broker();
        broker.freeze();
        disk.cut();
        broker.kill();
        writers
            .into_iter()
            .for_each(|writer| runtime.block_on(writer).unwrap());
        disk.restore();
        town.start_broker();
        let mut police = player(&town, "pz-rupel");
        let fresh = answered
            .lock()
            .unwrap()
            .keys()
            .filter(|id| !before.contains(id))
            .copied()
            .collect::<Vec<_>>();
        let lost = runtime.block_on(check_known(&mut police, fresh.into_iter()));
        assert!(
            lost.is_empty(),
            "cut {cut}: {} accepted packets are gone: {lost:?}",
            lost.len()
        );
        seen = Some(runtime.block_on(checkpoint(&mut police, &town, seen.as_ref())));
    }
    check_all(
        &runtime,
        [player(&town, "pz-rupel"), player(&town, "parket-antwerpen")],
        &answered,
    );
    let accepted = answered.lock().unwrap().len();
    count(
        cuts,
        &format!("power cuts, {accepted} packets accepted, none lost, each delivered once"),
    );
}

/// After all cuts: everything that was answered is known, and is delivered once.
fn check_all(runtime: &tokio::runtime::Runtime, [mut police, prosecutor]: [Player; 2], answered: &Answered) {
    let answered = answered.lock().unwrap().clone();
    let lost = runtime.block_on(check_known(&mut police, answered.keys().copied()));
    assert!(
        lost.is_empty(),
        "{} accepted packets are gone after all cuts",
        lost.len()
    );
    runtime.block_on(receive_all(prosecutor, &answered));
}

/// Receives all there is: every packet that was answered, none twice. A packet that was stored, but whose sender
/// was cut off before the answer, may come too.
async fn receive_all(mut prosecutor: Player, answered: &BTreeMap<PacketId, Vec<u8>>) {
    let mut came = BTreeSet::new();
    let mut session = prosecutor.receive(64).await;
    while let Some(delivery) = session.delivery_within(Duration::from_secs(10)).await {
        let manifest = delivery.offer.manifest.as_ref().unwrap();
        let fields = <wire::Manifest as prost::Message>::decode(manifest.bytes.clone()).unwrap();
        let id = PacketId::try_from(fields.packet_id.as_ref()).unwrap();
        assert!(came.insert(id), "{id} was delivered twice");
        session
            .acknowledge(prosecutor.acknowledgement(&delivery, "received", ""))
            .await;
        session.credit(1).await;
    }
    let missing = answered.keys().filter(|id| !came.contains(id)).count();
    assert_eq!(missing, 0, "accepted packets that were never delivered");
}
