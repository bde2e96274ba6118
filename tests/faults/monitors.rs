//! A monitor that stands still: the disk takes no more (each sync waits for an hour, by `strace`), so that what writes
//! hangs without an error. Broker and agent say which monitor is not heard of, and are well when the disk is.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::statement::StatementBody;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::process::command;
use schakel_tests::system::told::{count, skip};
use schakel_tests::system::wait;
use tokio::runtime::Runtime;

use crate::{store, turn};

const POLICE: &str = "pz-rupel";
/// Longest wait for a word about a silence: some times longer than two intervals of what is made to hang here.
const TOLD: Duration = Duration::from_secs(120);

/// Makes every sync of a process hang.
struct Hung(Child);

impl Hung {
    fn new(id: u32) -> Self {
        let mut tracer = command("strace");
        tracer.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
        tracer.args([
            "--trace=fdatasync,fsync",
            "--inject=fdatasync,fsync:delay_enter=3600000000",
        ]);
        tracer.arg(format!("--attach={id}"));
        let tracer = tracer.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("the tracer", || {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
            let seen = |status: String| !status.contains("TracerPid:\t0\n");
            threads
                .flatten()
                .all(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(seen))
                .then_some(())
        });
        Self(tracer)
    }
}

/// The disk takes again what waits for it.
impl Drop for Hung {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The monitors that the broker misses; none: it is ready.
fn missed(town: &Town) -> Option<Vec<String>> {
    let page = town.health_page("/health/ready")?;
    let body = page.split("\r\n\r\n").nth(1)?;
    if page.starts_with("HTTP/1.1 200") {
        return Some(Vec::new());
    }
    let name = |line: &str| line.strip_prefix("silent ")?.split(' ').next().map(str::to_owned);
    body.lines().map(name).collect()
}

/// The monitors that an agent misses; one that does not even say how it is, misses itself.
fn missed_by(office: &Office) -> Vec<String> {
    let Ok((200, status)) = office.try_ask("GET", "/v1/status", None) else {
        return vec!["no answer".to_owned()];
    };
    let silent = status["silent"].as_array().unwrap().iter();
    silent
        .map(|one| one["monitor"].as_str().unwrap().to_owned())
        .collect()
}

fn hangs_the_agent(town: &Town, (runtime, player): (&Runtime, &mut Player)) -> Duration {
    let office = Office::of(town, POLICE);
    assert!(missed_by(&office).is_empty());
    let hung = Hung::new(town.agent(POLICE));
    let began = Instant::now();
    // The log grows: the agent cosigns the next checkpoint, and keeps what it saw before it does.
    runtime.block_on(player.open_case(&[POLICE]));
    // Whoever writes first hangs; the others may be well.
    let told = wait::try_until(TOLD, || {
        Some(missed_by(&office)).filter(|silent| !silent.is_empty())
    });
    println!("the agent misses {told:?}");
    assert!(told.is_some(), "nobody is missed at the agent");
    let after = began.elapsed();
    drop(hung);
    wait::until("the agent's audit again", || {
        missed_by(&office).is_empty().then_some(())
    });
    after
}

fn hangs_the_broker(town: &Town, (runtime, player): (&Runtime, &mut Player)) -> Duration {
    assert_eq!(missed(town), Some(Vec::new()));
    let hung = Hung::new(town.broker().id());
    let began = Instant::now();
    let case = schakel_proto::ids::CaseRef::from_bytes([7; 16]);
    let body = StatementBody::CaseOpened {
        case_type: schakel_tests::system::player::code("partner_violence"),
        region: schakel_tests::system::player::code("vlg"),
        roster: Vec::new(),
    };
    let statement = player.statement(case, body);
    let mut client = player.client.clone();
    let request = schakel_proto::wire::SubmitStatementRequest {
        statement: Some(statement),
    };
    // Nothing is answered that is not on the disk.
    let asked = runtime.spawn(async move { client.submit_statement(request).await });
    let told = wait::try_until(TOLD, || {
        missed(town).filter(|silent| silent.contains(&"sequencer".to_owned()))
    });
    assert!(
        told.is_some(),
        "nobody misses the sequencer: {:?}",
        town.health_page("/health/ready")
    );
    let after = began.elapsed();
    assert_eq!(
        town.figure("schakel_monitor_silent{monitor=\"sequencer\"}"),
        Some(1)
    );
    assert_eq!(town.health("/health/live"), Some(200), "the process runs");
    drop(hung);
    wait::until("the broker again", || missed(town).filter(Vec::is_empty));
    assert_eq!(
        town.figure("schakel_monitor_silent{monitor=\"sequencer\"}"),
        Some(0)
    );
    drop(asked);
    after
}

#[test]
fn l14_a_monitor_that_hangs_is_missed_by_name_and_not_any_more_when_it_goes_on() {
    let _turn = turn::take();
    if let Err(why) = store::has_strace() {
        return skip(&why);
    }
    let mut town = Town::running(&[]);
    town.start_agent(POLICE);
    let runtime = runtime();
    let mut player = runtime.block_on(async { Player::of(&town, POLICE, StdRng::seed_from_u64(1)) });
    let agent = hangs_the_agent(&town, (&runtime, &mut player));
    let broker = hangs_the_broker(&town, (&runtime, &mut player));
    let log = town.broker().printed();
    assert!(
        log.contains("a monitor has fallen silent") && log.contains("heard of again"),
        "{log}"
    );
    let seconds = (agent.as_secs(), broker.as_secs());
    // Two intervals of the sequencer are 10 s: not before, whatever the machine does.
    assert!(broker > Duration::from_secs(5), "{seconds:?}");
    count(
        2,
        &format!(
            "monitors missed, after {} s at the agent and {} s at the broker",
            seconds.0, seconds.1
        ),
    );
}
