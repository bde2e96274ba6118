//! The daemon and its command line with a broker that behaves, or is busy, or loses answers.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use clap::Parser;
use prost::Message;
use schakel_agent::cli::{self, args::Cli};
use schakel_agent::clock::{SystemClock, randomness};
use schakel_agent::daemon;
use schakel_agent::problem::Problem;
use schakel_proto::ids::{CaseRef, PacketId, SubjectRef};
use schakel_proto::refusal::{Fault, Refusal, status};
use schakel_proto::wire;
use serde_json::Value;

use crate::hostile::received;
use crate::support::broker::{self, Answer, Running};
use crate::support::parcel::{CONTENT, RECIPIENT, SENDER, facts, parcel};
use crate::support::town::{Town, agency};
use crate::support::until;

/// A daemon in this process.
pub struct Daemon {
    config: std::path::PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), Problem>>,
}

impl Daemon {
    /// Starts it and waits until its socket is there.
    pub fn start(town: &Town, id: &str) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (config, file) = (town.config(id), town.network.agent_config(&agency(id)));
        let socket = config.socket();
        let run = daemon::run(config, Arc::new(SystemClock), true, async {
            let _ended = stopped.await;
        });
        let task = tokio::spawn(run);
        tokio::task::block_in_place(|| until("the daemon's socket", || socket.exists().then_some(())));
        Self {
            config: file,
            stop,
            task,
        }
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// Runs a command of the CLI against it, with `--json`.
    pub async fn command(&self, words: &[&str]) -> Result<Value, Problem> {
        let config = self.config.to_string_lossy().into_owned();
        let mut all = vec!["schakel-agent", "--json", "--config", &config];
        all.extend(words);
        let mut lines = Vec::new();
        let mut print = |line: &str| lines.push(line.to_owned());
        cli::run(Cli::try_parse_from(all).unwrap(), &mut print).await?;
        Ok(serde_json::from_str(&lines.join("\n")).unwrap())
    }

    /// The daemon's own account of itself.
    pub async fn ask(&self, route: &str) -> Value {
        assert_eq!(route, "/v1/status");
        self.command(&["status"])
            .await
            .unwrap()
            .get("agent")
            .unwrap()
            .clone()
    }
}

/// A file to send, and the words of a `send` to the prosecutor.
fn sending(town: &Town, case: CaseRef) -> Vec<String> {
    let file = town.folder().join("verslag.txt");
    std::fs::write(&file, CONTENT).unwrap();
    let subject = SubjectRef::random(&mut randomness());
    let part = format!(
        "category=facts_summary,file={},subject=victim:adult:{subject},secrecy=investigation,media=text/plain",
        file.display()
    );
    let words = [
        "send",
        "--to",
        RECIPIENT,
        "--purpose",
        "prosecution",
        "--basis",
        "legal_duty",
        "--part",
    ];
    let mut words: Vec<_> = words.iter().map(|w| (*w).to_owned()).collect();
    words.extend([part, "--case".to_owned(), case.to_string()]);
    words
}

pub async fn send(daemon: &Daemon, town: &Town, more: &[&str]) -> Result<Value, Problem> {
    let words = sending(town, CaseRef::random(&mut randomness()));
    let mut words: Vec<_> = words.iter().map(String::as_str).collect();
    words.extend(more);
    daemon.command(&words).await
}

fn packet(answer: &Value) -> PacketId {
    answer.get("packet").unwrap().as_str().unwrap().parse().unwrap()
}

pub fn refusal(code: &'static str, reason: &str) -> Answer {
    let refusal = Refusal::new(
        Fault::Precondition,
        code,
        "Nobody may have it",
        "See the reasons.",
    );
    let mut refusal = refusal.to_wire();
    let recipient = wire::RecipientRefusal {
        recipient: RECIPIENT.to_owned(),
        reason: reason.to_owned(),
        obligations: vec!["log-denial".to_owned()],
    };
    refusal.recipients.push(recipient);
    Answer::Refuse(status(Fault::Precondition, &refusal))
}

pub async fn police(answers: Vec<Answer>) -> (Town, Running, Daemon) {
    let (town, running) = broker::start(None).await;
    running.script.lock().unwrap().answers = answers;
    let daemon = Daemon::start(&town, SENDER);
    let known = || {
        town.network
            .agent_data(&agency(SENDER))
            .join("network/bundle.bin")
            .is_file()
            .then_some(())
    };
    tokio::task::block_in_place(|| until("the first contact", known));
    (town, running, daemon)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_n02_the_same_bytes_are_submitted_until_the_broker_answers() {
    let busy = || Answer::Refuse(tonic::Status::unavailable("busy"));
    let (town, running, daemon) = police(vec![busy(), busy(), Answer::Lose]).await;
    let answer = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    {
        let script = running.script.lock().unwrap();
        let (first, digest) = script.submissions[0];
        assert_eq!(first, packet(&answer));
        assert!(script.submissions.len() >= 3, "tried again after it was busy");
        assert!(
            script.submissions.iter().all(|s| *s == (first, digest)),
            "always the same id and bytes"
        );
        assert_eq!(script.held.len(), 1);
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_with_a_stale_roster_is_sealed_anew_by_itself_and_not_for_ever() {
    let stale = || refusal("DENIED_FOR_ALL", "DENY_STALE_ROSTER");
    let (town, running, daemon) = police(vec![stale(), stale()]).await;
    let answer = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    let ids: Vec<_> = running
        .script
        .lock()
        .unwrap()
        .submissions
        .iter()
        .map(|(p, _)| *p)
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(packet(&answer), ids[2], "the one that stands for it is shown");
    let first = daemon.command(&["status", &ids[0].to_string()]).await.unwrap();
    assert_eq!(first.get("state").unwrap(), "replaced");
    running.script.lock().unwrap().answers = (0..9).map(|_| stale()).collect();
    let problem = send(&daemon, &town, &["--wait"]).await.unwrap_err();
    assert_eq!(problem.recipients[0].reason, "DENY_STALE_ROSTER");
    assert_eq!(
        running.script.lock().unwrap().submissions.len(),
        3 + 4,
        "three times anew, then refused"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_the_sender_with_its_reason_and_exit_code() {
    let (town, _running, daemon) = police(vec![refusal("DENIED_FOR_ALL", "DENY_NOT_ON_ROSTER")]).await;
    let problem = send(&daemon, &town, &["--wait"]).await.unwrap_err();
    assert_eq!(
        (problem.code.as_str(), problem.exit_code()),
        ("DENIED_FOR_ALL", 1)
    );
    let all = daemon.command(&["status"]).await.unwrap();
    let outcome = all.pointer("/packets/0/outcomes/0").unwrap();
    assert_eq!(outcome.get("state").unwrap(), "denied");
    assert_eq!(outcome.get("reason").unwrap(), "DENY_NOT_ON_ROSTER");
    let sealed = std::fs::read_dir(town.network.agent_data(&agency(SENDER)).join("outbox")).unwrap();
    for folder in sealed.map(|e| e.unwrap().path()) {
        assert!(!folder.join("key-packets.bin").exists(), "the sealed copy goes");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_never_had_is_recalled_here() {
    let busy = (0..1000)
        .map(|_| Answer::Refuse(tonic::Status::unavailable("busy")))
        .collect();
    let (town, running, daemon) = police(busy).await;
    let id = packet(&send(&daemon, &town, &[]).await.unwrap()).to_string();
    let recalled = daemon.command(&["recall", &id]).await.unwrap();
    assert_eq!(recalled.get("state").unwrap(), "recalled");
    assert_eq!(running.script.lock().unwrap().recalls.len(), 1);
    let again = daemon.command(&["recall", &id]).await.unwrap_err();
    assert_eq!(again.code, "RECALL_TOO_LATE");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_signed_and_handed_in() {
    let (_town, running, daemon) = police(Vec::new()).await;
    let case = CaseRef::random(&mut randomness()).to_string();
    let words = [
        "statement",
        "open-case",
        "--case",
        &case,
        "--type",
        "partner_violence",
        "--region",
        "vlg",
    ];
    let mut words = words.to_vec();
    words.extend(["--roster", "pz-rupel", "--roster", "caw-rupel-dader,perp-side"]);
    daemon.command(&words).await.unwrap();
    let statement = running.script.lock().unwrap().statements[0].bytes.clone();
    let said = wire::Statement::decode(&*statement).unwrap();
    let Some(wire::statement::Body::CaseOpened(opened)) = said.body else {
        panic!("another statement")
    };
    assert_eq!(opened.roster.len(), 2);
    assert!(opened.roster[1].perp_side);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_named_and_the_socket_and_folder_are_ours_alone() {
    let (town, _running, daemon) = police(Vec::new()).await;
    let case = CaseRef::random(&mut randomness());
    for (from, to, code) in [
        (RECIPIENT, "nobody", "RECIPIENT_UNKNOWN"),
        ("verslag.txt", "missing.txt", "FILE_UNREADABLE"),
    ] {
        let words: Vec<_> = sending(&town, case).iter().map(|w| w.replace(from, to)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let problem = daemon.command(&words).await.unwrap_err();
        assert_eq!((problem.code.as_str(), problem.exit_code()), (code, 2));
    }
    let socket = town.config(SENDER).socket();
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = daemon::run(
        town.config(SENDER),
        Arc::new(SystemClock),
        true,
        std::future::pending(),
    )
    .await;
    assert_eq!(second.unwrap_err().code, "DATA_DIR_IN_USE");
    daemon.stop().await;
    let real = daemon::run(
        town.config(SENDER),
        Arc::new(SystemClock),
        false,
        std::future::pending(),
    )
    .await;
    assert_eq!(
        real.unwrap_err().code,
        "DEVELOPMENT_MARK",
        "a minted network needs --development"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d04_a_packet_handed_over_again_is_answered_again_and_stored_once() {
    let (town, running) = broker::start(None).await;
    let case = CaseRef::random(&mut randomness());
    running
        .script
        .lock()
        .unwrap()
        .facts
        .insert(case, facts(&town, case, &[SENDER, RECIPIENT]));
    running.script.lock().unwrap().settles = false;
    let daemon = Daemon::start(&town, RECIPIENT);
    let parcel = parcel(&town, case, 2);
    let facts = running.script.lock().unwrap().facts[&case].clone();
    for round in 1..=3 {
        let mut script = running.script.lock().unwrap();
        let submission = if round == 1 {
            parcel.submit(&mut script.ledger)
        } else {
            0
        };
        let consignment = parcel.consign(&mut script.ledger, parcel.decision(&town, &facts), |_| {});
        let frames = parcel.hand_over(&script.ledger, submission, consignment);
        script.frames.extend(frames);
        drop(script);
        let answered = || (running.script.lock().unwrap().acknowledgements.len() >= round).then_some(());
        tokio::task::block_in_place(|| until("an acknowledgement", answered));
        assert_eq!(received(&town, &parcel).len(), 2, "each part once");
    }
    daemon.stop().await;
    // After a restart only the newest answer is sent again, and again until it is settled.
    running.script.lock().unwrap().settles = true;
    let before = running.script.lock().unwrap().acknowledgements.len();
    let daemon = Daemon::start(&town, RECIPIENT);
    let idle = || async { daemon.ask("/v1/status").await.get("unanswered").unwrap().as_u64() };
    while idle().await != Some(0) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(running.script.lock().unwrap().acknowledgements.len(), before + 1);
    let out = town.folder().join("geopend.txt");
    let list = daemon.command(&["inbox", "list"]).await.unwrap();
    let part = list
        .pointer("/0/parts/0/part")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    let (id, path) = (
        parcel.sealed.packet_id.to_string(),
        out.to_string_lossy().into_owned(),
    );
    let opened = daemon
        .command(&["inbox", "open", &id, &part, "--out", &path])
        .await
        .unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), CONTENT);
    assert_eq!(opened.pointer("/names/file_name").unwrap(), "verslag.txt");
    let again = daemon
        .command(&["inbox", "open", &id, &part, "--out", &path])
        .await
        .unwrap_err();
    assert_eq!(again.code, "FILE_EXISTS");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_of_two_answers_about_one_packet_the_one_that_is_settled_is_settled() {
    let (town, running) = broker::start(None).await;
    let case = CaseRef::random(&mut randomness());
    let facts = facts(&town, case, &[SENDER, RECIPIENT]);
    let parcel = parcel(&town, case, 2);
    {
        // Two parts, handed over one after the other; the answer to the first is passed over.
        let mut script = running.script.lock().unwrap();
        script.facts.insert(case, facts.clone());
        script.passes_over = 1;
        let submission = parcel.submit(&mut script.ledger);
        for part in 0..2 {
            let half = parcel.only(part..part + 1);
            let decision = half.decision(&town, &facts);
            let consignment = half.consign(&mut script.ledger, decision, |_| {});
            let frames = half.hand_over(&script.ledger, submission, consignment);
            script.frames.extend(frames);
        }
    }
    let daemon = Daemon::start(&town, RECIPIENT);
    let settled = || {
        let data = town.network.agent_data(&agency(RECIPIENT)).join("inbox");
        let packet = std::fs::read_dir(data).ok()?.next()?.ok()?.path();
        let states = std::fs::read_dir(packet)
            .ok()?
            .map(|e| e.unwrap().path().join("state.json"));
        let states = states.map(|p| serde_json::from_slice::<Value>(&std::fs::read(p).ok()?).ok());
        let states: Vec<Value> = states.collect::<Option<_>>()?;
        let settled = states
            .into_iter()
            .filter(|s| !s.get("settled").unwrap().is_null());
        let settled: Vec<_> = settled
            .map(|s| s.pointer("/parts/0/part").unwrap().clone())
            .collect();
        (!settled.is_empty()).then_some(settled)
    };
    let settled = tokio::task::block_in_place(|| until("a settled answer", settled));
    assert_eq!(settled, [Value::from(parcel.parts[1].to_string())]);
    daemon.stop().await;
    // The other one is said again, and settled then.
    let daemon = Daemon::start(&town, RECIPIENT);
    while daemon.ask("/v1/status").await.get("unanswered").unwrap().as_u64() != Some(0) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(running.script.lock().unwrap().acknowledgements.len(), 3);
    daemon.stop().await;
}
