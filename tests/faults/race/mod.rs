//! Consent is taken back while what it allows is queued, held, being pushed or just acknowledged: whichever came
//! first, the log says so, and nothing is handed over on a consent that was withdrawn before.
//!
//! Four sorts of rounds run side by side in one town, on the same cases: two lanes to an agent that is connected, one
//! to an agent that comes and goes, one to a recipient that the test plays and that reads as slowly as it likes.

use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::wire::receive_frame::Frame;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Delivery, Player};
use schakel_tests::system::told::{count, rounds, seeded};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::turn;

mod book;

const POLICE: &str = "pz-rupel";
/// Connected all the time.
const STEADY: &str = "caw-rupel";
/// Comes and goes.
const ABSENT: &str = "ocmw-boom";
/// Played by the test.
const PLAYED: &str = "ocmw-niel";
/// Rounds on one case.
const CASE_ROUNDS: u64 = 25;
/// Of a part that does not fit into what is sent ahead of a recipient that does not read, in bytes.
const LARGE_BYTES: usize = 9 << 20;

/// One round: a packet, and the withdrawal of a consent that it stands on.
struct Round {
    case: CaseRef,
    packet: String,
    recipient: &'static str,
    consent: String,
    /// Who withdrew it.
    by: &'static str,
    /// The broker's answer to the withdrawal.
    withdrawal: Value,
    /// Ciphertext was on its way to the recipient, and no decision committed, as far as the recipient could tell.
    offered: bool,
}

/// What all lanes have in common.
struct Ground {
    police: Office,
    welfare: Office,
    cases: Vec<CaseRef>,
    folder: std::path::PathBuf,
}

/// A packet on its way, whose consent can be withdrawn.
struct Sent {
    case: CaseRef,
    packet: String,
    recipient: &'static str,
    consent: String,
    /// The person of whom no consent is there yet, if the packet is to be held.
    other: Option<SubjectRef>,
}

impl Ground {
    fn consent(&self, case: CaseRef, subject: SubjectRef) -> String {
        let statement = json!({
            "kind": "give-consent", "case": case, "subject": subject, "subject_role": "victim",
            "categories": ["identity"], "roles": ["caw_victim", "ocmw"], "purposes": ["victim_support"],
            "informed": true,
        });
        text(&self.police.state(&statement), "statement")
    }

    /// Sends a packet on a consent given just now; with `held`, about a second person too, whose consent lacks.
    fn send(&self, recipient: &'static str, (bytes, held): (usize, bool), rng: &mut StdRng) -> Sent {
        let case = *self.cases.choose(rng).unwrap();
        let mut person = || SubjectRef::random(rng);
        let (subject, other) = (person(), held.then(person));
        let consent = self.consent(case, subject);
        let file = self.folder.join(format!("{:016x}.bin", rng.next_u64()));
        let mut content = vec![0; bytes];
        rng.fill_bytes(&mut content);
        std::fs::write(&file, content).unwrap();
        let parts = [Document::new("identity", &file)];
        let mut order = Office::order(case, &[recipient], ("victim_support", "consent"), &parts);
        let person = |subject| json!({ "role": "victim", "age_class": "adult", "subject": subject });
        order["parts"][0]["subjects"] = [subject].into_iter().chain(other).map(person).collect();
        let packet = self.police.send(&order);
        Sent {
            case,
            packet,
            recipient,
            consent,
            other,
        }
    }

    /// Withdraws the consent, through one agency or the other.
    fn withdraw(&self, sent: Sent, by: &'static str, offered: bool) -> Round {
        let statement = json!({ "kind": "withdraw-consent", "case": sent.case, "consent": sent.consent });
        let through = if by == POLICE { &self.police } else { &self.welfare };
        Round {
            by,
            withdrawal: through.state(&statement),
            case: sent.case,
            packet: sent.packet,
            recipient: sent.recipient,
            consent: sent.consent,
            offered,
        }
    }
}

fn either(rng: &mut StdRng) -> &'static str {
    if rng.random() { POLICE } else { STEADY }
}

fn pause(rng: &mut StdRng, most_millis: u64) {
    std::thread::sleep(Duration::from_millis(rng.random_range(0..=most_millis)));
}

/// Rounds to the agent that is connected, two at a time.
fn steady(ground: &Ground, number: u64, mut rng: StdRng) -> Vec<Round> {
    let mut done = Vec::new();
    while (done.len() as u64) < number {
        let pair: Vec<(u32, Sent)> = (0..2)
            .map(|_| {
                let (aim, bytes) = (rng.random_range(0..5), rng.random_range(1..300_000));
                (aim, ground.send(STEADY, (bytes, aim < 2), &mut rng))
            })
            .collect();
        for (aim, sent) in pair {
            done.push(steady_one(ground, aim, sent, &mut rng));
        }
    }
    done
}

fn steady_one(ground: &Ground, aim: u32, sent: Sent, rng: &mut StdRng) -> Round {
    let by = either(rng);
    match (aim, sent.other) {
        // Held, and so it stays.
        (0, _) => drop(ground.police.packet(&sent.packet, "decided")),
        // Held, and released at the same moment.
        (_, Some(other)) => {
            ground.police.packet(&sent.packet, "decided");
            let case = sent.case;
            let late = rng.random_range(0..120);
            return std::thread::scope(|scope| {
                scope.spawn(move || ground.consent(case, other));
                std::thread::sleep(Duration::from_millis(late));
                ground.withdraw(sent, by, false)
            });
        }
        // On its way, somewhere.
        (2, _) => pause(rng, 60),
        (3, _) => {
            ground.police.packet(&sent.packet, "accepted");
            pause(rng, 250);
        }
        // Just acknowledged.
        _ => {
            ground.police.packet(&sent.packet, "settled");
            pause(rng, 20);
        }
    }
    ground.withdraw(sent, by, false)
}

/// Rounds to an agent that is not there when they are sent, ten at a time. Half of the consents are withdrawn before
/// it comes, the others while it comes.
fn absent(town: &mut Town, ground: &Ground, number: u64, rng: &mut StdRng) -> Vec<Round> {
    let mut done = Vec::new();
    while (done.len() as u64) < number {
        let mut waiting: Vec<Sent> = (0..10)
            .map(|_| ground.send(ABSENT, (rng.random_range(1..50_000), false), rng))
            .collect();
        for sent in &waiting {
            ground.police.packet(&sent.packet, "accepted");
        }
        for sent in waiting.split_off(5) {
            done.push(ground.withdraw(sent, POLICE, false));
        }
        let mut own = StdRng::from_rng(rng);
        std::thread::scope(|scope| {
            let rest = scope.spawn(move || {
                let one = |sent| {
                    pause(&mut own, 200);
                    ground.withdraw(sent, POLICE, false)
                };
                waiting.into_iter().map(one).collect::<Vec<_>>()
            });
            town.start_agent(ABSENT);
            done.extend(rest.join().unwrap());
        });
        for round in done.iter().rev().take(10) {
            ground.police.packet(&round.packet, "settled");
        }
        let agent = town.take_agent(ABSENT);
        if rng.random() { agent.stop() } else { agent.kill() }
    }
    town.start_agent(ABSENT);
    done
}

/// Rounds to a recipient that takes a part of a large delivery, and no more until the consent is withdrawn.
fn played(
    ground: &Ground,
    (runtime, mut player): (&Runtime, Player),
    number: u64,
    mut rng: StdRng,
) -> Vec<Round> {
    let mut session = runtime.block_on(player.receive(1));
    let mut done = Vec::new();
    while (done.len() as u64) < number {
        let sent = ground.send(PLAYED, (LARGE_BYTES, false), &mut rng);
        let (mut frames, mut offer, mut over) = (Vec::new(), None, None);
        let ahead = rng.random_range(1..=38);
        let mut next = || runtime.block_on(session.next());
        while frames.len() < ahead && over.is_none() {
            let frame = next();
            match &frame {
                Frame::Offer(one) => offer = Some(one.clone()),
                Frame::HandOver(_) => over = Some(frame.clone()),
                _ => {}
            }
            frames.push(frame);
        }
        let packet = sent.packet.clone();
        let round = ground.withdraw(sent, either(&mut rng), over.is_none());
        let end = over.unwrap_or_else(|| {
            loop {
                let frame = next();
                if matches!(frame, Frame::HandOver(_) | Frame::Dropped(_)) {
                    return frame;
                }
            }
        });
        if let Frame::HandOver(hand_over) = end {
            let delivery = Delivery {
                frames: Vec::new(),
                hand_over,
                offer: offer.unwrap(),
            };
            let signed = player.acknowledgement(&delivery, "received", "");
            runtime.block_on(async {
                session.acknowledge(signed).await;
                session.credit(1).await;
                assert!(matches!(session.next().await, Frame::Settled(_)));
            });
        }
        ground.police.packet(&packet, "settled");
        done.push(round);
    }
    done
}

#[test]
fn p09_consent_withdrawn_at_any_moment_nothing_is_handed_over_on_it_afterwards() {
    let _turn = turn::take();
    let (mut rng, number) = (seeded(), rounds(200, 1_000));
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    for agent in [POLICE, STEADY] {
        town.start_agent(agent);
    }
    let [police, welfare] = [POLICE, STEADY].map(|id| Office::of(&town, id));
    let cases: Vec<CaseRef> = (0..number.div_ceil(CASE_ROUNDS))
        .map(|_| CaseRef::random(&mut rng))
        .collect();
    for case in &cases {
        police.open_case(*case, &[POLICE, STEADY, ABSENT, PLAYED]);
    }
    let folder = town.scratch("sent");
    let ground = Ground {
        police,
        welfare,
        cases,
        folder,
    };
    let runtime = runtime();
    let player = {
        let _inside = runtime.enter();
        Player::of(&town, PLAYED, StdRng::from_rng(&mut rng))
    };
    let tenth = number / 10;
    let done = std::thread::scope(|scope| {
        let (ground, runtime) = (&ground, &runtime);
        let mut spawn = |work: fn(&Ground, u64, StdRng) -> Vec<Round>, number| {
            let rng = StdRng::from_rng(&mut rng);
            scope.spawn(move || work(ground, number, rng))
        };
        let mut lanes = vec![spawn(steady, tenth * 3), spawn(steady, tenth * 3)];
        let own = StdRng::from_rng(&mut rng);
        lanes.push(scope.spawn(move || played(ground, (runtime, player), tenth, own)));
        let mut done = absent(&mut town, ground, tenth * 3, &mut rng);
        for lane in lanes {
            done.extend(lane.join().unwrap());
        }
        done
    });
    assert!(done.len() as u64 >= number);
    let found = runtime.block_on(book::check(&town, &done));
    for state in ["queued", "held", "pushed", "on the stream", "acknowledged"] {
        assert!(
            found.states.get(state).is_some_and(|n| *n > 0),
            "{state} never was: {found:?}"
        );
    }
    check_ends(&town, &ground, &done, &found);
    count(
        done.len() as u64,
        &format!(
            "withdrawals, each in order with what was handed over: {:?}; {} handed over before, {} withheld ({} of them possibly disclosed)",
            found.states,
            found.handed.len(),
            done.len() - found.handed.len(),
            found.possibly
        ),
    );
}

/// Sender and recipients say what the log says.
fn check_ends(town: &Town, ground: &Ground, done: &[Round], found: &book::Found) {
    for round in done {
        let (_, _, state, reason) = outcomes(&ground.police.packet(&round.packet, "settled")).remove(0);
        let expected = if found.handed.contains(&round.packet) {
            "received"
        } else {
            "withheld"
        };
        assert_eq!(state, expected, "{}: {reason}", round.packet);
    }
    for id in [STEADY, ABSENT] {
        let office = Office::of(town, id);
        let mut inbox: Vec<String> = office.inbox().iter().map(|one| text(one, "packet")).collect();
        let mut handed: Vec<String> = done
            .iter()
            .filter(|round| round.recipient == id && found.handed.contains(&round.packet))
            .map(|round| round.packet.clone())
            .collect();
        inbox.sort();
        handed.sort();
        assert_eq!(
            inbox, handed,
            "{id} has each that was handed over, once, and no other"
        );
        let aside = office.ask("GET", "/v1/quarantine", None);
        assert_eq!(aside, json!([]), "{id} has something in quarantine");
    }
}
