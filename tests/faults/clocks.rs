//! Clocks that are wrong: the broker's by minutes or a day, and put back; a daemon's in the future, or standing still.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_proto::evidence::{self, CheckedEvidence, Event};
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::wire;
use schakel_tests::system::faketime::FakeClock;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;
use serde_json::{Value, json};

use crate::turn;

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";
const WELFARE: &str = "caw-rupel";

fn clock(town: &Town, offset: &str) -> Option<FakeClock> {
    FakeClock::new(&town.scratch("clock"), offset)
        .inspect_err(|why| skip(why))
        .ok()
}

/// A packet to the prosecutor on a legal duty.
fn order(town: &Town, case: CaseRef) -> Value {
    let file = town.scratch("files").join("feiten.txt");
    std::fs::write(&file, "Vaststellingen.").unwrap();
    let parts = [Document::new("facts_summary", &file)];
    Office::order(case, &[PROSECUTOR], ("prosecution", "legal_duty"), &parts)
}

/// A packet to the CAW about a person, on consent.
fn with_consent(town: &Town, case: CaseRef, subject: SubjectRef) -> Value {
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, "Te bereiken op het werk.").unwrap();
    let parts = [Document::new("identity", &file)];
    let mut order = Office::order(case, &[WELFARE], ("victim_support", "consent"), &parts);
    order["parts"][0]["subjects"][0]["subject"] = json!(subject);
    order
}

fn consent(case: CaseRef, subject: SubjectRef, expires_ms: Option<i64>) -> Value {
    let until = expires_ms.map_or(Value::Null, |at| json!(at));
    json!({
        "kind": "give-consent", "case": case, "subject": subject, "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
        "until_ms": until,
    })
}

/// Whether the agent tells a person that the clocks differ; waits until it does, or does no more.
fn alarm(office: &Office, wanted: bool) {
    wait::until("the agent's word about the clocks", || {
        let status = office.ask("GET", "/v1/status", None);
        (status["clock"]["code"] == "CLOCK_SKEW" || status["clock"].is_null())
            .then_some(status["clock"].is_null() != wanted)
            .filter(|same| *same)
    });
}

/// The log as the police sees it, in its order, once these packets are over in it.
fn log(town: &Town, packets: &[&String]) -> Vec<CheckedEvidence> {
    runtime().block_on(async {
        let mut reader = Player::of(town, POLICE, StdRng::seed_from_u64(1));
        let directory = town.network().directory(now()).unwrap();
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: 0,
        };
        let mut frames = reader.client.follow_evidence(request).await.unwrap().into_inner();
        let mut entries: Vec<CheckedEvidence> = Vec::new();
        let over = |entries: &[CheckedEvidence], packet: &String| {
            entries.iter().any(|entry| {
                let of = entry.body().packet.is_some_and(|id| id.to_string() == *packet);
                of && entry.body().event == Event::ContentHandover
            })
        };
        while !packets.iter().all(|packet| over(&entries, packet)) {
            let frame = tokio::time::timeout(Duration::from_secs(30), frames.message()).await;
            let shown = frame
                .expect("the log goes on")
                .unwrap()
                .unwrap()
                .evidence
                .unwrap();
            let entry = evidence::check(&shown, directory.network(), directory.log().key()).unwrap();
            assert!(entries.last().is_none_or(|last| last.index() < entry.index()));
            entries.push(entry);
        }
        entries
    })
}

/// Who takes part where the broker's clock is wrong.
struct Wrong {
    town: Town,
    clock: FakeClock,
    police: Office,
    welfare: Office,
    case: CaseRef,
    /// Gives consents that last.
    lasting: SubjectRef,
    /// Gives one that ends by time.
    ending: SubjectRef,
}

impl Wrong {
    /// Five minutes ahead, then five behind (less what a test may take), then right: everything goes, people are told,
    /// and the log's order stays that of what happened.
    fn by_minutes(&self) {
        let (mut packets, mut numbers) = (Vec::new(), Vec::new());
        for offset in ["+280s", "-280s", "+0"] {
            self.clock.set(offset);
            let given = self.police.state(&consent(self.case, self.lasting, None));
            let packet = self
                .police
                .send(&with_consent(&self.town, self.case, self.lasting));
            let record = self.police.packet(&packet, "settled");
            assert_eq!(outcomes(&record)[0].2, "received", "{offset}: {record:#}");
            alarm(&self.welfare, offset != "+0");
            numbers.push(given["number"].as_u64().unwrap());
            packets.push(packet);
        }
        let entries = log(&self.town, &packets.iter().collect::<Vec<_>>());
        let accepted = |packet: &String| {
            let of = |entry: &&CheckedEvidence| {
                entry.body().event == Event::SubmissionAcceptance
                    && entry.body().packet.is_some_and(|id| id.to_string() == *packet)
            };
            entries.iter().find(of).unwrap()
        };
        let [ahead, behind, right] = [0, 1, 2].map(|n| accepted(&packets[n]));
        assert!(
            ahead.index() < behind.index() && behind.index() < right.index(),
            "the order is the log's"
        );
        assert!(behind.body().at < ahead.body().at, "and not the clock's");
        assert!(numbers.is_sorted(), "facts too");
    }

    /// A day ahead: what ends by time is over, and a decision of tomorrow is not accepted. Gives the packet that waits.
    fn a_day_ahead(&self) -> String {
        let in_an_hour = now().plus_millis(3_600_000).millis();
        self.police
            .state(&consent(self.case, self.ending, Some(in_an_hour)));
        self.clock.set("+1d");
        let over = self
            .police
            .send(&with_consent(&self.town, self.case, self.ending));
        let record = self.police.packet(&over, "decided");
        let state = &outcomes(&record)[0].2;
        assert!(
            ["held", "withheld"].contains(&state.as_str()),
            "a consent that is over: {record:#}"
        );
        let waiting = self
            .police
            .send(&with_consent(&self.town, self.case, self.lasting));
        wait::until("the CAW to refuse a decision of tomorrow", || {
            let aside = self.welfare.ask("GET", "/v1/quarantine", None).to_string();
            aside.contains("DECISION_TIME").then_some(())
        });
        assert!(
            self.welfare
                .inbox()
                .iter()
                .all(|one| text(one, "packet") != waiting)
        );
        alarm(&self.welfare, true);
        waiting
    }

    /// A day behind: what honest agents sign is from the future, and they are told so.
    fn a_day_behind(&self) {
        self.clock.set("-1d");
        let (status, refused) = self.police.try_state(&consent(self.case, self.ending, None));
        assert_ne!(status, 200, "{refused:#}");
        assert_eq!(refused["code"], "STATEMENT_FUTURE", "{refused:#}");
        assert!(text(&refused, "remedy").contains("clock"), "{refused:#}");
    }
}

#[test]
fn n12_the_brokers_clock_is_wrong_and_put_back_and_the_log_still_tells_the_order() {
    let _turn = turn::take();
    let mut town = Town::rupel();
    let Some(clock) = clock(&town, "+0") else { return };
    let command = clock.over(town.broker_command());
    town.start_broker_as(command);
    for agent in [POLICE, PROSECUTOR, WELFARE] {
        town.start_agent(agent);
    }
    let mut rng = seeded();
    let [police, welfare] = [POLICE, WELFARE].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    let [lasting, ending] = [0, 1].map(|_| SubjectRef::random(&mut rng));
    police.open_case(case, &[POLICE, PROSECUTOR, WELFARE]);
    alarm(&police, false);
    let wrong = Wrong {
        town,
        clock,
        police,
        welfare,
        case,
        lasting,
        ending,
    };
    wrong.by_minutes();
    let waiting = wrong.a_day_ahead();
    wrong.a_day_behind();
    // Set right again: nothing was lost, and nothing comes twice.
    wrong.clock.set("+0");
    let record = wrong.police.packet(&waiting, "settled");
    assert_eq!(outcomes(&record)[0].2, "received", "{record:#}");
    let inbox = wrong.welfare.inbox();
    assert_eq!(
        inbox.iter().filter(|one| text(one, "packet") == waiting).count(),
        1
    );
    alarm(&wrong.welfare, false);
}

#[test]
fn n13_a_daemon_whose_clock_is_ahead_is_told_that_its_signatures_are_from_the_future() {
    let _turn = turn::take();
    let mut town = Town::running(&[PROSECUTOR]);
    let Some(clock) = clock(&town, "+20m") else { return };
    let mut rng = seeded();
    let case = runtime().block_on(async {
        let mut player = Player::of(&town, POLICE, StdRng::from_rng(&mut rng));
        player.open_case(&[POLICE, PROSECUTOR]).await
    });
    let command = clock.over(town.agent_command(POLICE));
    town.start_agent_as(POLICE, command);
    let police = Office::of(&town, POLICE);
    alarm(&police, true);
    let shown = police.ask("GET", "/v1/status", None);
    assert!(
        text(&shown["clock"], "sentence").contains("behind this machine's"),
        "{shown:#}"
    );
    let other = CaseRef::random(&mut rng);
    let opening = json!({
        "kind": "open-case", "case": other, "case_type": "partner_violence", "region": "vlg",
        "roster": [{ "agency": POLICE, "status": "active" }],
    });
    let (status, refused) = police.try_state(&opening);
    assert_ne!(status, 200);
    assert_eq!(refused["code"], "STATEMENT_FUTURE", "{refused:#}");
    assert!(text(&refused, "remedy").contains("clock"), "{refused:#}");
    let (status, answer) = police
        .try_ask("POST", "/v1/packets", Some(&order(&town, case)))
        .unwrap();
    assert_eq!(status, 200, "{answer:#}");
    let packet = text(&answer, "packet");
    let said = wait::until("the packet's refusal", || {
        let record = police
            .ask("GET", &format!("/v1/packets/{packet}"), None)
            .to_string();
        record.contains("SIGNATURE_IN_FUTURE").then_some(record)
    });
    assert!(said.contains("clock"), "{said}");
    assert!(Office::of(&town, PROSECUTOR).inbox().is_empty());
    // Set right, it works.
    town.take_agent(POLICE).stop();
    town.start_agent(POLICE);
    alarm(&police, false);
    let packet = police.send(&order(&town, case));
    Office::of(&town, PROSECUTOR).received(&packet);
}

#[test]
fn n13_a_daemon_in_2040_or_with_a_clock_that_stands_still_says_what_is_wrong() {
    let _turn = turn::take();
    let mut town = Town::running(&[PROSECUTOR]);
    let Some(clock) = clock(&town, "2040-01-01 00:00:00") else {
        return;
    };
    let mut rng = seeded();
    let case = CaseRef::random(&mut rng);
    Office::of(&town, PROSECUTOR).open_case(case, &[POLICE, PROSECUTOR]);
    let command = clock.over(town.agent_command(POLICE));
    town.start_agent_as(POLICE, command);
    let police = Office::of(&town, POLICE);
    let status = wait::until("what the daemon in 2040 says", || {
        let status = police.ask("GET", "/v1/status", None);
        (status["problem"]["code"] == "BROKER_CERTIFICATE").then_some(status)
    });
    assert_eq!(status["connected"], false, "{status:#}");
    let said = &status["problem"];
    assert!(text(said, "sentence").contains("expired"), "{said:#}");
    assert!(text(said, "remedy").contains("clock"), "{said:#}");
    let (refused, answer) = police
        .try_ask("POST", "/v1/packets", Some(&order(&town, case)))
        .unwrap();
    assert_ne!(refused, 200, "{answer:#}");
    town.take_agent(POLICE).stop();

    // Standing still, two hours ago: it sees facts of the future, and a person is told.
    let then = now().plus_millis(-2 * 3_600_000).millis() / 1_000;
    let moment = jiff::Timestamp::from_second(then)
        .unwrap()
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    clock.set(&moment);
    let mut command = clock.over(town.agent_command(POLICE));
    command.env("TZ", "UTC");
    town.start_agent_as(POLICE, command);
    alarm(&police, true);
    // The clock is seen to differ before the network's directory is known.
    let (status, answer) = wait::until("an answer about facts", || {
        let told = police.try_ask("GET", &format!("/v1/facts/{case}"), None);
        told.ok().filter(|(_, answer)| answer["code"] != "NO_DIRECTORY")
    });
    assert_ne!(status, 200, "{answer:#}");
    assert_eq!(answer["code"], "FACTS_TIME", "{answer:#}");
    assert!(text(&answer, "remedy").contains("clock"), "{answer:#}");
    town.take_agent(POLICE).stop();
    town.start_agent(POLICE);
    alarm(&police, false);
    let packet = police.send(&order(&town, case));
    Office::of(&town, PROSECUTOR).received(&packet);
}

/// What was taken on and came to an end, by how it ended; each packet that was settled stands once in the inbox.
fn ends(town: &Town, packets: &[String]) -> (usize, usize) {
    let (police, prosecutor) = (Office::of(town, POLICE), Office::of(town, PROSECUTOR));
    let (mut received, mut refused) = (Vec::new(), 0);
    for packet in packets {
        let record = police.packet(packet, "settled");
        if text(&record, "state") == "settled" {
            assert_eq!(outcomes(&record)[0].2, "received", "{record:#}");
            received.push(packet);
        } else {
            // Signed an hour ahead of the broker's clock: refused for good, and the sender knows what to do.
            assert!(record.to_string().contains("SIGNATURE_IN_FUTURE"), "{record:#}");
            refused += 1;
        }
    }
    let inbox = prosecutor.inbox();
    for packet in packets {
        let times = inbox.iter().filter(|one| text(one, "packet") == **packet).count();
        assert_eq!(
            times,
            usize::from(received.contains(&packet)),
            "{packet} in the inbox"
        );
    }
    (received.len(), refused)
}

#[test]
fn n12_the_brokers_clock_jumps_by_an_hour_under_load_and_each_packet_has_one_end() {
    let _turn = turn::take();
    let mut town = Town::rupel();
    town.lift_rates();
    let Some(clock) = clock(&town, "+0") else { return };
    let command = clock.over(town.broker_command());
    town.start_broker_as(command);
    [POLICE, PROSECUTOR]
        .iter()
        .for_each(|agent| town.start_agent(agent));
    let (mut rng, jumps) = (seeded(), rounds(4, 60));
    let (case, police) = (CaseRef::random(&mut rng), Office::of(&town, POLICE));
    police.open_case(case, &[POLICE, PROSECUTOR]);
    let order = order(&town, case);
    let mut packets = Vec::new();
    let mut send = |most: Duration| {
        let began = std::time::Instant::now();
        while began.elapsed() < most {
            let (status, answer) = police.try_ask("POST", "/v1/packets", Some(&order)).unwrap();
            if status == 200 {
                packets.push(text(&answer, "packet"));
            } else {
                assert!(!text(&answer, "remedy").is_empty(), "{answer:#}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    for jump in 0..jumps {
        clock.set(if jump % 2 == 0 { "+1h" } else { "-1h" });
        send(Duration::from_secs(2));
        if rng.random() {
            clock.set("+0");
            send(Duration::from_secs(1));
        }
    }
    clock.set("+0");
    send(Duration::from_secs(1));
    let (received, refused) = ends(&town, &packets);
    assert!(received > 0);
    // Set right again it works as before, without a hand.
    let last = police.send(&order);
    Office::of(&town, PROSECUTOR).received(&last);
    count(
        jumps,
        &format!(
            "jumps of the clock by an hour, {received} packets received once, {refused} refused with the reason"
        ),
    );
}
