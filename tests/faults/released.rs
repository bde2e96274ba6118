//! `kill -9` between a consent and the release of what was held for it: every packet that waited for it arrives,
//! once, and what waits for another consent goes on waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;
use serde_json::{Value, json};

use crate::turn;

const POLICE: &str = "pz-rupel";
const WELFARE: &str = "caw-rupel";
/// Packets that wait for one consent.
const TOGETHER: usize = 3;

struct Round {
    packets: BTreeMap<String, Vec<u8>>,
    /// Leaf of the consent.
    consent: String,
    killed: Timestamp,
}

fn consent(case: CaseRef, subject: SubjectRef) -> Value {
    json!({
        "kind": "give-consent", "case": case, "subject": subject, "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
    })
}

/// Sends one packet about a person, and waits until it is held.
fn held(town: &Town, case: CaseRef, subject: SubjectRef, rng: &mut StdRng) -> (String, Vec<u8>) {
    let police = Office::of(town, POLICE);
    let mut content = vec![0; rng.random_range(1..100_000)];
    rng.fill_bytes(&mut content);
    let file = town.scratch("sent").join(format!("{:016x}.bin", rng.next_u64()));
    std::fs::write(&file, &content).unwrap();
    let parts = [Document::new("identity", &file)];
    let mut order = Office::order(case, &[WELFARE], ("victim_support", "consent"), &parts);
    order["parts"][0]["subjects"][0]["subject"] = json!(subject);
    let packet = police.send(&order);
    let record = police.packet(&packet, "decided");
    assert_eq!(outcomes(&record)[0].2, "held", "{record:#}");
    (packet, content)
}

/// When the broker is killed.
#[derive(Clone, Copy, PartialEq)]
enum Moment {
    /// While the consent is on its way to it.
    Early,
    /// Once the consent is answered.
    Late,
    /// Once the consent is answered, and nobody was there to release anything to.
    Alone,
}

/// Consent is given, and the broker is killed while or just after it is taken.
fn round(town: &mut Town, case: CaseRef, moment: Moment, rng: &mut StdRng) -> Round {
    let subject = SubjectRef::random(rng);
    let packets = (0..TOGETHER).map(|_| held(town, case, subject, rng)).collect();
    if moment == Moment::Alone {
        town.take_agent(WELFARE).kill();
    }
    let by_police = moment == Moment::Alone || rng.random();
    let through = Office::of(town, if by_police { POLICE } else { WELFARE });
    let delay = Duration::from_millis(rng.random_range(0..if moment == Moment::Early { 60 } else { 10 }));
    std::thread::scope(|scope| {
        let (told, answered) = std::sync::mpsc::channel();
        let giving = scope.spawn(move || {
            // Whoever gets no answer gives the consent again.
            let answer = wait::until("the consent to be taken", || {
                let (status, answer) = through.try_state(&consent(case, subject));
                (status == 200).then_some(answer)
            });
            told.send(()).ok();
            text(&answer, "leaf")
        });
        if moment != Moment::Early {
            answered.recv().unwrap();
        }
        std::thread::sleep(delay);
        let killed = now();
        town.take_broker().kill();
        town.start_broker();
        if moment == Moment::Alone {
            town.start_agent(WELFARE);
        }
        let consent = giving.join().unwrap();
        Round {
            packets,
            consent,
            killed,
        }
    })
}

#[test]
fn d01_killed_between_consent_and_release_nothing_is_lost_and_nothing_doubled() {
    let _turn = turn::take();
    let (mut rng, kills) = (seeded(), rounds(20, 100));
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    for agent in [POLICE, WELFARE] {
        town.start_agent(agent);
    }
    let case = CaseRef::random(&mut rng);
    Office::of(&town, POLICE).open_case(case, &[POLICE, WELFARE]);
    let never = SubjectRef::random(&mut rng);
    let (waiting, _) = held(&town, case, never, &mut rng);
    let moments = [Moment::Early, Moment::Late, Moment::Alone].into_iter().cycle();
    let done: Vec<Round> = (0..kills)
        .zip(moments)
        .map(|(_, moment)| round(&mut town, case, moment, &mut rng))
        .collect();
    let [police, welfare] = [POLICE, WELFARE].map(|id| Office::of(&town, id));
    for packet in done.iter().flat_map(|round| round.packets.keys()) {
        let record = police.packet(packet, "settled");
        assert_eq!(outcomes(&record)[0].2, "received", "{record:#}");
    }
    let mut inbox: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivery in welfare.inbox() {
        let parts = delivery["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| text(p, "part"));
        inbox.entry(text(&delivery, "packet")).or_default().extend(parts);
    }
    for (packet, content) in done.iter().flat_map(|round| &round.packets) {
        let parts = inbox
            .remove(packet)
            .expect("every released packet is in the inbox");
        assert_eq!(parts.len(), 1, "{packet} came more than once");
        let opened = welfare.open(packet, &parts[0], &town.scratch("out"));
        assert!(opened == *content, "{packet} differs");
    }
    assert!(inbox.is_empty(), "nothing else came: {inbox:?}");
    assert_eq!(welfare.ask("GET", "/v1/quarantine", None), json!([]));
    let record = police.packet(&waiting, "accepted");
    assert_eq!(outcomes(&record)[0].2, "held", "without its consent: {record:#}");
    let between = runtime().block_on(check_log(&town, &done));
    assert!(
        between >= kills / 3,
        "{between} kills fell between consent and release"
    );
    count(
        kills,
        &format!(
            "kills at a consent, {between} of them with the consent in the log and nothing released yet; {} packets, each once",
            kills * TOGETHER as u64
        ),
    );
}

/// Each packet was accepted once, and handed over after its consent; gives in how many rounds the broker was killed
/// between the two.
async fn check_log(town: &Town, done: &[Round]) -> u64 {
    let mut consents: BTreeMap<String, (u64, Timestamp)> = BTreeMap::new();
    let mut released: BTreeMap<String, (u64, Timestamp)> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    let mut accepted: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    let all: BTreeSet<&String> = done.iter().flat_map(|round| round.packets.keys()).collect();
    for id in [POLICE, WELFARE] {
        let mut reader = Player::of(town, id, StdRng::seed_from_u64(1));
        let directory = town.network().directory(now()).unwrap();
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: 0,
        };
        let mut frames = reader.client.follow_evidence(request).await.unwrap().into_inner();
        while let Ok(Ok(Some(frame))) = tokio::time::timeout(Duration::from_secs(3), frames.message()).await {
            let shown = frame.evidence.unwrap();
            let entry = evidence::check(&shown, directory.network(), directory.log().key()).unwrap();
            let packet = entry.body().packet.map(|packet| packet.to_string());
            let place = (entry.index(), entry.body().at);
            match (entry.body().event, packet) {
                (Event::StatementAccepted, _) => {
                    consents.insert(hex::encode(entry.leaf_hash().as_bytes()), place);
                }
                (Event::ContentConsignment, Some(packet)) => drop(released.entry(packet).or_insert(place)),
                (Event::ContentHandover, Some(packet)) => drop(acknowledged.insert(packet)),
                (Event::SubmissionAcceptance, Some(packet)) if id == POLICE => {
                    sent.insert(packet.clone(), place.0);
                    *accepted.entry(packet).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    assert!(
        all.iter().all(|packet| accepted.get(*packet) == Some(&1)),
        "accepted once"
    );
    assert_eq!(
        accepted.len(),
        all.len() + 1,
        "and nothing else, but for the one that waits"
    );
    assert!(
        all.iter().all(|packet| acknowledged.contains(*packet)),
        "acknowledged"
    );
    let mut between = 0;
    for round in done {
        // Given again for want of an answer, the first one that was taken counts.
        let sent = round.packets.keys().map(|packet| sent[packet]).max().unwrap();
        assert!(consents.contains_key(&round.consent));
        let (index, at) = *consents
            .values()
            .filter(|(index, _)| *index > sent)
            .min()
            .unwrap();
        let first = round.packets.keys().map(|packet| released[packet]);
        assert!(
            first.clone().all(|(release, _)| release > index),
            "released before its consent at {index} ({at:?}): {:?}",
            first.collect::<Vec<_>>()
        );
        between += u64::from(at <= round.killed && first.clone().all(|(_, at)| at > round.killed));
    }
    between
}
