//! What the operator asks: replay of every decision, disclosures of a person, what is overdue.

use std::sync::Arc;

use schakel_broker::admin::{Ask, Desk, Filter, Told, socket};
use schakel_broker::clock::{SetClock, SystemClock};
use schakel_broker::config::Config;
use schakel_broker::log::entry::{DecisionDraft, EntryDraft};
use schakel_broker::serve::Running;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, SubjectRef};
use schakel_proto::statement::StatementBody;
use schakel_proto::wire;
use serde_json::Value;

use crate::inbox::Inbox;
use crate::packet::{Client, Sealed, new_case, state, submit};
use crate::peer::{Ground, agency, now};

const POLICE: &str = "pz-rupel";
const CAW: &str = "caw-rupel";
const PARKET: &str = "parket-antwerpen";
const HOURS: i64 = 3_600_000;
const DAYS: i64 = 24 * HOURS;

fn config(ground: &Ground) -> Config {
    Config::load(&ground.network.broker_config()).unwrap()
}

/// Asks the running broker over its socket.
pub async fn ask(ground: &Ground, ask: Ask) -> Value {
    let folder = config(ground).data_dir;
    let asked = tokio::task::spawn_blocking(move || socket::ask(&folder, &ask));
    asked.await.unwrap().expect("no broker runs").unwrap()
}

/// Nothing in the running broker's store differs from its log.
pub async fn sound(ground: &Ground) {
    let verified = ask(ground, Ask::Verify).await;
    assert_eq!(
        (&verified["wrong"], &verified["gone"]),
        (&0.into(), &serde_json::json!({})),
        "{verified:#}"
    );
}

fn disclosures(case: CaseRef, subject: SubjectRef, language: &str) -> Ask {
    Ask::Disclosures {
        case: case.to_string(),
        subject: subject.to_string(),
        language: language.to_owned(),
    }
}

/// A case of the police with parket and CAW, and a packet about a person in it: facts and a file that the CAW
/// may not have (yet), and measures that it may.
async fn told(ground: &Ground, police: &mut Client) -> (CaseRef, SubjectRef, Sealed) {
    let (case, subject) = (new_case(), SubjectRef::from_bytes([9; 16]));
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET, CAW]);
    state(police, opening).await.unwrap();
    let both = [PARKET, CAW];
    let parts = [
        ("facts_summary", &b"wat er gebeurde"[..], &both[..]),
        ("investigation_file", &b"pv"[..], &both[..]),
        ("measures", &b"huisverbod"[..], &both[..]),
    ];
    let sealed = ground.seal_about(subject, POLICE, case, (&both, &parts));
    submit(police, sealed.frames()).await.unwrap();
    (case, subject, sealed)
}

pub async fn receive(ground: &Ground, broker: &Running, who: &str, sealed: &Sealed, acknowledges: bool) {
    let mut client = ground.client(broker.address(), who).await;
    let mut inbox = Inbox::open(&mut client, 1).await;
    let handed = inbox.handed().await;
    if acknowledges {
        let signed = handed.acknowledgement(ground, who, sealed);
        inbox.acknowledge(signed).await;
    }
}

/// Puts a decision into the log that was never made: `change` makes it a lie.
async fn forge(
    broker: &Running,
    (case, sealed): (CaseRef, &Sealed),
    change: impl FnOnce(&mut wire::Decision),
) {
    let shared = broker.state();
    let rules = shared.rules.current();
    let facts = shared.store.facts(case).await.unwrap();
    let at = now();
    let mut decision = wire::Decision {
        packet_id: sealed.packet.packet_id.to_vec().into(),
        recipient: CAW.into(),
        at_ms: at.millis(),
        bundle_digest: rules.digest().to_vec().into(),
        bundle_version: rules.version(),
        facts_head: facts.head.unwrap().to_vec().into(),
        facts_count: facts.count(),
        directory_version: shared.directories.current().version(),
        parts: vec![wire::PartDecision {
            part_id: sealed.ids[1].to_vec().into(),
            outcome: "withhold".into(),
            reason: "WITHHOLD_MATRIX_NEVER".into(),
            obligations: vec!["log-denial".into(), "tell-sender-reason".into()],
            policies: Vec::new(),
        }],
        ..Default::default()
    };
    change(&mut decision);
    let draft = EntryDraft {
        case: Some(case),
        packet: Some(sealed.packet.packet_id),
        manifest_digest: Some(Digest::of(&sealed.packet.head().manifest.unwrap().bytes)),
        sender: Some(agency(POLICE)),
        recipient: Some(agency(CAW)),
        decision: Some(DecisionDraft::split(decision)),
        ..EntryDraft::new(Event::ContentWithheld, at)
    };
    let entry = shared
        .entry(draft.concerning(&agency(POLICE), true))
        .await
        .unwrap();
    let leaf = shared.store.record(entry).await.unwrap();
    shared.log.wait_for(leaf).await.unwrap();
}

/// One decision that holds, and five that do not.
async fn forge_five(ground: &Ground, broker: &Running, about: (CaseRef, &Sealed)) {
    // The decision as it would come out now is no lie: the CAW has left the case.
    let denied = |decision: &mut wire::Decision| {
        decision.parts[0].outcome = "deny-packet".into();
        decision.parts[0].reason = "DENY_RECIPIENT_NOT_IN_CASE".into();
    };
    forge(broker, about, denied).await;
    assert_eq!(ask(ground, Ask::Replay).await["differ"], 0);
    // Another outcome, another reason, an obligation less, other facts, a part that is none: each is a lie.
    forge(broker, about, |_| {}).await;
    forge(broker, about, |decision| {
        denied(decision);
        decision.parts[0].reason = "DENY_CASE_CLOSED".into();
    })
    .await;
    forge(broker, about, |decision| {
        denied(decision);
        decision.parts[0].obligations.pop();
    })
    .await;
    forge(broker, about, |decision| {
        denied(decision);
        decision.facts_head = vec![0; 32].into();
    })
    .await;
    forge(broker, about, |decision| {
        denied(decision);
        decision.parts[0].part_id = vec![0; 16].into();
    })
    .await;
}

/// What the store of the stopped broker says, with the case's key and without.
async fn stopped(ground: &Ground, case: CaseRef, found: &Value) {
    // Out of the store of the stopped broker it is the same; and a case whose key is gone says nothing more.
    let config = config(ground);
    assert!(socket::ask(&config.data_dir, &Ask::Replay).is_none());
    let desk = Desk::stopped(&config, Arc::new(SystemClock)).await.unwrap();
    assert_eq!(desk.answer(Ask::Replay, &Told::default()).await.unwrap(), *found);
    desk.close().await;
    let key = config.erasure_dir.join(format!("{}.key", hex(case)));
    std::fs::remove_file(key).unwrap();
    let desk = Desk::stopped(&config, Arc::new(SystemClock)).await.unwrap();
    let found = desk.answer(Ask::Replay, &Told::default()).await.unwrap();
    assert_eq!((&found["replayed"], &found["differ"]), (&0.into(), &0.into()));
    assert_eq!(found["not_replayable"], serde_json::json!({ "erasure_key": 9 }));
    desk.close().await;
}

#[tokio::test]
async fn every_decision_in_the_log_comes_out_the_same_and_a_false_one_is_named() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let (case, subject, sealed) = told(&ground, &mut police).await;
    receive(&ground, &broker, PARKET, &sealed, true).await;
    receive(&ground, &broker, CAW, &sealed, true).await;
    // Held, released by a consent, and the roster changed after: the facts of then decide.
    let consent = crate::facts::consent(subject, &["caw_victim"]);
    let said = ground.statement(CAW, case, StatementBody::ConsentGiven(consent));
    let mut caw = ground.client(broker.address(), CAW).await;
    state(&mut caw, said).await.unwrap();
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let handed = inbox.handed().await;
    inbox
        .acknowledge(handed.acknowledgement(&ground, CAW, &sealed))
        .await;
    let changed = ground.roster(POLICE, case, 2, &[POLICE, PARKET]);
    state(&mut police, changed).await.unwrap();

    let found = ask(&ground, Ask::Replay).await;
    assert_eq!(found["differ"], 0, "{found:#}");
    assert_eq!(found["replayed"], 3, "parket, CAW, CAW again: {found:#}");
    assert_eq!(found["parts"], 3 + 3 + 1, "{found:#}");
    assert_eq!(found["not_replayable"], serde_json::json!({}));

    forge_five(&ground, &broker, (case, &sealed)).await;
    let found = ask(&ground, Ask::Replay).await;
    assert_eq!(
        (&found["differ"], &found["replayed"]),
        (&5.into(), &9.into()),
        "{found:#}"
    );
    let named = found["differences"].as_array().unwrap();
    assert_eq!(named.len(), 5);
    for one in named {
        assert_eq!(one["packet"], sealed.packet.packet_id.to_string(), "{one:#}");
        assert_eq!(one["recipient"], CAW);
    }
    assert_eq!(named[0]["part"], sealed.ids[1].to_string());
    assert!(
        named[0]["recorded"]
            .as_str()
            .unwrap()
            .starts_with("withhold WITHHOLD_MATRIX_NEVER")
    );
    let replayed = named[0]["replayed"].as_str().unwrap();
    assert!(replayed.starts_with("deny-packet DENY_RECIPIENT_NOT_IN_CASE"));

    // What was never decided changed nothing either: verification finds the packet's state beside its entries.
    let verified = ask(&ground, Ask::Verify).await;
    assert_eq!(verified["wrong"], 1, "{verified:#}");
    let finding = &verified["findings"][0];
    assert!(
        finding["place"]
            .as_str()
            .unwrap()
            .contains(&sealed.packet.packet_id.to_string()),
        "{verified:#}"
    );
    broker.stop().await.unwrap();
    stopped(&ground, case, &found).await;
}

fn hex(case: CaseRef) -> String {
    case.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn who_received_what_about_a_person_is_listed_and_what_stayed_behind_is_not() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let (case, subject, sealed) = told(&ground, &mut police).await;
    let before = ask(&ground, disclosures(case, subject, "nl")).await;
    assert_eq!(before["disclosures"].as_array().unwrap().len(), 0);
    assert_eq!(before["kept_back"], 3);
    receive(&ground, &broker, PARKET, &sealed, true).await;
    // The CAW is given the measures and says nothing: it may have them.
    receive(&ground, &broker, CAW, &sealed, false).await;
    let found = ask(&ground, disclosures(case, subject, "fr")).await;
    let listed = found["disclosures"].as_array().unwrap();
    let of = |who: &str| -> Vec<(&str, &str, &str)> {
        let own = listed.iter().filter(|one| one["recipient"] == who);
        let mut all: Vec<_> = own
            .map(|one| ["category", "standing", "reason"].map(|field| one[field].as_str().unwrap()))
            .map(|[category, standing, reason]| (category, standing, reason))
            .collect();
        all.sort_unstable();
        all
    };
    assert_eq!(of(PARKET).len(), 3);
    assert!(of(PARKET).iter().all(|one| one.1 == "received"));
    assert_eq!(of(CAW), [("measures", "possibly_disclosed", "OK_MATRIX_DELIVER")]);
    let caws = listed.iter().find(|one| one["recipient"] == CAW).unwrap();
    assert_eq!(
        caws["shielded"], true,
        "from the police to who is not of justice: {caws:#}"
    );
    assert_eq!(
        (&caws["basis_text"], &caws["purpose_text"]),
        (
            &"mission d'intérêt public".into(),
            &"protection de la sécurité".into()
        )
    );
    let page = found["text"].as_str().unwrap();
    for words in [
        "Relevé des communications",
        "RGPD article 15",
        "peut-être communiqué",
        "Non repris, et pourquoi",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(found["csv"].as_str().unwrap().lines().count(), 5);
    // Nobody else is in it, and neither is another case.
    for (case, subject) in [(case, SubjectRef::from_bytes([8; 16])), (new_case(), subject)] {
        let none = ask(&ground, disclosures(case, subject, "en")).await;
        assert_eq!(
            (none["disclosures"].as_array().unwrap().len(), &none["kept_back"]),
            (0, &0.into())
        );
    }
    sound(&ground).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn the_socket_is_the_operators_alone_and_answers_nothing_else() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    let ground = Ground::new();
    let broker = ground.broker().await;
    let folder = config(&ground).data_dir;
    let path = folder.join("admin.sock");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let said = |line: &'static str| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let folder = std::fs::File::open(path.parent().unwrap()).unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
            let short = format!("/proc/self/fd/{fd}/admin.sock");
            let mut stream = std::os::unix::net::UnixStream::connect(short).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            answer
        })
    };
    for line in [
        "\n",
        "{\"ask\":\"erase\"}\n",
        "{\"ask\":\"disclosures\",\"case\":\"x\"}\n",
    ] {
        assert!(said(line).await.unwrap().contains("refused"), "{line}");
    }
    let line = "{\"ask\":\"disclosures\",\"case\":\"x\",\"subject\":\"y\",\"language\":\"nl\"}\n";
    assert!(said(line).await.unwrap().contains("IDENTIFIER"));
    assert!(said("{\"ask\":\"overdue\"}\n").await.unwrap().contains("ok"));
    // One broker, one store: nobody else opens it meanwhile.
    assert!(
        Desk::stopped(&config(&ground), Arc::new(SystemClock))
            .await
            .is_err()
    );
    sound(&ground).await;
    broker.stop().await.unwrap();
    assert!(!path.exists());
}

/// A command that asks, is read for a while, and asks on. Lists go on in pages, and that is one act; a question about a
/// person is one each time. And who asks without end is refused.
#[tokio::test]
async fn a_command_may_be_read_slowly_and_each_question_stands_in_the_log_or_is_refused() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let folder = config(&ground).data_dir;
    let case = new_case();
    let asked = tokio::task::spawn_blocking(move || {
        let mut line = socket::Line::to(&folder).unwrap().unwrap();
        let list = || Ask::Entries {
            filter: Filter::default(),
            after: None,
            last: None,
            limit: 1,
            export: false,
        };
        line.ask(&list(), &mut |_| {}).unwrap();
        // Longer than the wait for a first question.
        std::thread::sleep(std::time::Duration::from_secs(6));
        line.ask(&list(), &mut |_| {}).unwrap();
        for person in [1, 2, 2] {
            let ask = disclosures(case, SubjectRef::from_bytes([person; 16]), "nl");
            line.ask(&ask, &mut |_| {}).unwrap();
        }
        let mut answered = 0;
        let refused = loop {
            let ask = disclosures(case, SubjectRef::from_bytes([3; 16]), "nl");
            match line.ask(&ask, &mut |_| {}) {
                Ok(_) => answered += 1,
                Err(refused) => break refused,
            }
            assert!(answered < 1_000);
        };
        (answered, refused)
    });
    let (answered, refused) = asked.await.unwrap();
    assert_eq!(answered, 240 - 4, "all others were counted before");
    assert!(refused.contains("ACTS_TOO_MANY"), "{refused}");
    let mut reasons = std::collections::BTreeMap::new();
    let store = &broker.state().store;
    for pending in store.pending(1_024).await.unwrap() {
        broker.state().log.wait_for(pending.leaf_hash).await.unwrap();
    }
    for one in store.records(0, 1_000).await.unwrap() {
        let body = schakel_proto::evidence::Body::parse(&one.body, &ground.network.spec().network).unwrap();
        if body.event == Event::AdminAct {
            *reasons.entry(body.reason).or_insert(0) += 1;
        }
    }
    let expected = [("disclosures".to_owned(), 239), ("list".to_owned(), 1)];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), expected);
    broker.stop().await.unwrap();
}

async fn counts(ground: &Ground) -> (u64, u64, u64) {
    let found = ask(ground, Ask::Overdue).await;
    let count = |kind: &str| found["counts"][kind].as_u64().unwrap();
    (count("unread"), count("revisit"), count("review"))
}

#[tokio::test]
async fn a_safety_part_unread_for_two_hours_is_overdue_until_it_is_acknowledged() {
    let ground = Ground::new();
    let start = now();
    let clock = Arc::new(SetClock::at(start));
    let broker = ground.broker_at(clock.clone()).await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let case = new_case();
    state(&mut police, ground.opening(POLICE, case, &[POLICE, PARKET]))
        .await
        .unwrap();
    let send = |category: &'static str| {
        ground.seal(
            POLICE,
            case,
            &[PARKET],
            &[(category, &b"gevaar"[..], &[PARKET][..])],
        )
    };
    let (alert, household) = (send("alert"), send("household"));
    for sealed in [&alert, &household] {
        submit(&mut police, sealed.frames()).await.unwrap();
    }
    clock.set(start.plus_millis(2 * HOURS));
    assert_eq!(counts(&ground).await, (0, 0, 0), "in time yet");
    clock.set(start.plus_millis(2 * HOURS + 60_000));
    let found = ask(&ground, Ask::Overdue).await;
    assert_eq!(
        found["counts"]["unread"], 1,
        "of the household nobody's safety hangs: {found:#}"
    );
    let item = &found["overdue"][0];
    assert_eq!(
        (&item["kind"], &item["case"]),
        (&"unread".into(), &case.to_string().into())
    );
    assert_eq!(item["packet"], alert.packet.packet_id.to_string());
    let due = item["due_ms"].as_i64().unwrap();
    assert_eq!(due - item["since_ms"].as_i64().unwrap(), 2 * HOURS);
    // Handed over, and nothing said: the clock runs again from there. Acknowledged: it is read.
    receive(&ground, &broker, PARKET, &alert, true).await;
    assert_eq!(counts(&ground).await, (0, 0, 0));
    sound(&ground).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_family_without_contact_for_sixty_days_is_overdue_unless_its_case_is_closed() {
    let ground = Ground::new();
    let start = now();
    let clock = Arc::new(SetClock::at(start));
    let broker = ground.broker_at(clock.clone()).await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let [forgotten, closed, figures] = [(), (), ()].map(|()| new_case());
    for case in [forgotten, closed, figures] {
        state(&mut police, ground.opening(POLICE, case, &[POLICE, PARKET]))
            .await
            .unwrap();
    }
    for (case, category) in [
        (forgotten, "facts_summary"),
        (closed, "facts_summary"),
        (figures, "measures"),
    ] {
        let sealed = ground.seal(POLICE, case, &[PARKET], &[(category, &b"x"[..], &[PARKET][..])]);
        submit(&mut police, sealed.frames()).await.unwrap();
    }
    let closing = ground.statement(POLICE, closed, StatementBody::CaseClosed);
    state(&mut police, closing).await.unwrap();
    clock.set(start.plus_millis(60 * DAYS));
    assert_eq!(counts(&ground).await.1, 0);
    clock.set(start.plus_millis(60 * DAYS + 60_000));
    let found = ask(&ground, Ask::Overdue).await;
    assert_eq!(found["counts"]["revisit"], 1, "{found:#}");
    let of_kind = |one: &&Value| one["kind"] == "revisit";
    let item = found["overdue"].as_array().unwrap().iter().find(of_kind).unwrap();
    assert_eq!(item["case"], forgotten.to_string());
    sound(&ground).await;
    broker.stop().await.unwrap();
}
