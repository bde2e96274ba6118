//! Which broker of the list is in use. All loops of the agent are at the same one; when it cannot be reached or does not
//! serve, they go to the next together, after waits that are jittered, grow and are bounded. Where it is served the agent
//! stays: nothing calls it back to a broker that it left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use crate::config::BrokerAddress;
use crate::problem::{Kind, Problem, printable};

/// Longest wait before an attempt to connect, in milliseconds. Whoever calls waits for it, so it is short.
pub const CONNECT_WAIT_MAX_MILLIS: u64 = 2_000;
/// When a broker goes away all its agents lose their connection at once: so long, at most, they wait before they connect
/// again, there or elsewhere, in milliseconds.
const SPREAD_MAX_MILLIS: u64 = 500;
/// A broker that had no fault for so long serves well: the next fault is the first again.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// A stay at one broker. It is over as soon as the agent goes to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    number: u64,
    place: usize,
}

impl Stay {
    /// Place of the broker in the list.
    pub fn place(self) -> usize {
        self.place
    }
}

/// What is known of one broker since the start.
#[derive(Clone, Default)]
struct Known {
    attempts: u64,
    connections: u64,
    /// When the newest connection was made, while nothing has gone wrong since.
    served_since: Option<Instant>,
    problem: Option<Problem>,
}

struct Now {
    stay: Stay,
    known: Vec<Known>,
    connecting: Backoff,
    connect_from: Instant,
    /// There was a connection, and none was asked for since.
    was_connected: bool,
    leaving: Backoff,
    leave_from: Instant,
    last_fault: Instant,
}

/// The list.
pub struct Brokers {
    list: Vec<BrokerAddress>,
    /// Places in the list in the order of this run, so that not all agents go the same way.
    order: Vec<usize>,
    now: Mutex<Now>,
    stays: watch::Sender<u64>,
}

impl Brokers {
    /// A list of one at least, in an order drawn from `rng`.
    pub fn new(list: Vec<BrokerAddress>, mut rng: StdRng) -> Self {
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.shuffle(&mut rng);
        let begun = Instant::now();
        let now = Now {
            stay: Stay {
                number: 0,
                place: order.first().copied().unwrap_or_default(),
            },
            known: vec![Known::default(); list.len()],
            connecting: Backoff::up_to(CONNECT_WAIT_MAX_MILLIS, StdRng::from_rng(&mut rng)),
            connect_from: begun,
            was_connected: false,
            leaving: Backoff::new(rng),
            leave_from: begun,
            last_fault: begun,
        };
        Self {
            list,
            order,
            now: Mutex::new(now),
            stays: watch::Sender::new(0),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stay of now.
    pub fn stay(&self) -> Stay {
        self.now().stay
    }

    /// Address of the broker of a stay.
    pub fn address(&self, stay: Stay) -> Option<&BrokerAddress> {
        self.list.get(stay.place)
    }

    /// Waits until a stay is over.
    pub async fn left(&self, stay: Stay) {
        let mut stays = self.stays.subscribe();
        // The sender is ours: it does not go before us.
        let _over = stays.wait_for(|number| *number != stay.number).await;
    }

    /// Waits until the next attempt to connect is due.
    ///
    /// # Errors
    /// The stay is over: nobody should connect there any more.
    pub async fn due(&self, stay: Stay) -> std::io::Result<()> {
        let from = self.from(Instant::now());
        tokio::time::sleep_until(from).await;
        let mut now = self.now();
        if now.stay != stay {
            let why = "the agent has gone to another broker";
            return Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, why));
        }
        if let Some(known) = now.known.get_mut(stay.place) {
            known.attempts += 1;
        }
        Ok(())
    }

    /// From when on a connection may be made.
    fn from(&self, at: Instant) -> Instant {
        let mut now = self.now();
        if std::mem::take(&mut now.was_connected) {
            now.connect_from = at + now.connecting.spread(SPREAD_MAX_MILLIS);
        }
        now.connect_from
    }

    /// The connection is given up on purpose: the next one is made at once.
    pub fn give_up(&self) {
        self.now().was_connected = false;
    }

    /// A connection was made.
    pub fn connected(&self, stay: Stay) {
        let mut now = self.now();
        now.connecting.reset();
        now.connect_from = Instant::now();
        now.was_connected = true;
        if let Some(known) = now.known.get_mut(stay.place) {
            known.connections += 1;
            known.served_since = Some(Instant::now());
            known.problem = None;
        }
        drop(now);
        if let Some(broker) = self.address(stay) {
            tracing::info!(%broker, "connected");
        }
    }

    /// No connection came about: the next broker is tried, after a wait.
    pub fn not_connected(&self, stay: Stay, error: &std::io::Error) {
        self.not_connected_at(stay, error, Instant::now());
    }

    fn not_connected_at(&self, stay: Stay, error: &std::io::Error, at: Instant) {
        let mut now = self.now();
        if now.stay != stay {
            return;
        }
        now.connect_from = at + now.connecting.next(0);
        self.note(&mut now, unreached(error));
        self.go_on(&mut now);
    }

    /// The broker of this stay did not serve us: the next one is tried, unless the agent has just come here. What went wrong
    /// for another reason than the broker's changes nothing.
    pub fn failed(&self, stay: Stay, problem: &Problem) {
        self.failed_at(stay, problem, Instant::now());
    }

    fn failed_at(&self, stay: Stay, problem: &Problem, at: Instant) {
        let mut now = self.now();
        if now.stay != stay || !is_fault(problem) {
            return;
        }
        if at.duration_since(now.last_fault) >= GOOD_AFTER {
            now.leaving.reset();
        }
        now.last_fault = at;
        self.note(&mut now, problem.clone());
        if at >= now.leave_from {
            now.leave_from = at + now.leaving.next(0);
            self.go_on(&mut now);
        }
    }

    fn note(&self, now: &mut Now, problem: Problem) {
        let place = now.stay.place;
        let Some(broker) = self.list.get(place) else {
            return;
        };
        if let Some(known) = now.known.get_mut(place) {
            known.served_since = None;
            let told = known
                .problem
                .as_ref()
                .is_some_and(|last| last.code == problem.code);
            let problem = problem.at(broker);
            if !told {
                let (code, sentence) = (&problem.code, &problem.sentence);
                tracing::warn!(%broker, code, sentence, "this broker does not serve us");
            }
            known.problem = Some(problem);
        }
    }

    /// To the next in this run's order; with one in the list the stay goes on.
    fn go_on(&self, now: &mut Now) {
        let here = self.order.iter().position(|place| *place == now.stay.place);
        let next = self.order.iter().cycle().nth(here.unwrap_or_default() + 1);
        let Some(place) = next.copied().filter(|place| *place != now.stay.place) else {
            return;
        };
        now.stay = Stay {
            number: now.stay.number.wrapping_add(1),
            place,
        };
        if let Some(broker) = self.list.get(place) {
            tracing::info!(%broker, "going to the next broker of the list");
        }
        self.stays.send_replace(now.stay.number);
    }

    /// Every broker of the list, for people.
    pub fn status(&self) -> Vec<serde_json::Value> {
        let now = self.now();
        let all = self.list.iter().zip(&now.known).enumerate();
        all.map(|(place, (broker, known))| {
            serde_json::json!({
                "address": broker.to_string(),
                "name": broker.name,
                "in_use": place == now.stay.place,
                "served_seconds": known.served_since.map(|since| since.elapsed().as_secs()),
                "attempts": known.attempts,
                "connections": known.connections,
                "problem": known.problem,
            })
        })
        .collect()
    }
}

/// Whether another broker may do better.
fn is_fault(problem: &Problem) -> bool {
    // One that shows another key than the directory lists, or rules older than we saw elsewhere, is left, too.
    problem.unserved || ["BROKER_KEY", "BUNDLE_OLDER"].contains(&problem.code.as_str())
}

/// Why no connection came about.
fn unreached(error: &std::io::Error) -> Problem {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (code, remedy) = match tls {
        Some(rustls::Error::InvalidCertificate(_)) => (
            "BROKER_CERTIFICATE",
            "Check this machine's clock first, then `ca`, `broker` and `broker_name` in agent.toml.",
        ),
        Some(rustls::Error::General(_)) => (
            "BROKER_KEY",
            "Ask the network's authority which keys this broker has; check `broker` and `broker_name` in agent.toml.",
        ),
        _ => (
            "BROKER_UNREACHED",
            "Check that this broker runs and can be reached, and its address in agent.toml.",
        ),
    };
    Problem::new(Kind::Later, code, printable(&error.to_string(), 300), remedy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn brokers(count: u16, seed: u64) -> Brokers {
        let one = |number: u16| BrokerAddress {
            host: format!("b{number}.example"),
            port: 7443 + number,
            name: "b.example".to_owned(),
        };
        Brokers::new((0..count).map(one).collect(), StdRng::seed_from_u64(seed))
    }

    fn refused() -> std::io::Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionRefused)
    }

    fn unavailable() -> Problem {
        Problem::from(tonic::Status::unavailable("gone"))
    }

    #[test]
    fn n11_each_failure_leads_to_the_next_until_all_were_tried_and_agents_go_different_ways() {
        let mut ways = BTreeSet::new();
        for seed in 0..60 {
            let brokers = brokers(3, seed);
            let mut way = Vec::new();
            for _ in 0..6 {
                let stay = brokers.stay();
                brokers.not_connected(stay, &refused());
                way.push(stay.place);
            }
            assert_eq!(way[..3], way[3..], "round after round");
            assert_eq!(way[..3].iter().collect::<BTreeSet<_>>().len(), 3, "each of them");
            ways.insert(way);
        }
        assert_eq!(ways.len(), 6, "all orders of three");
    }

    #[test]
    fn n11_waits_before_attempts_grow_and_stay_bounded() {
        let brokers = brokers(2, 7);
        let (mut at, mut waits) = (Instant::now(), Vec::new());
        for _ in 0..200 {
            brokers.not_connected_at(brokers.stay(), &refused(), at);
            let due = brokers.from(at);
            waits.push(due.duration_since(at));
            at = due;
        }
        let most = Duration::from_millis(CONNECT_WAIT_MAX_MILLIS);
        assert!(waits.iter().all(|wait| *wait <= most), "{waits:?}");
        assert!(waits[0] <= Duration::from_millis(100), "the first is short");
        assert!(waits.iter().any(|wait| *wait > most / 2), "later ones grow");
        assert!(
            waits.iter().any(|wait| *wait < most / 4),
            "and are spread: {waits:?}"
        );
        brokers.connected(brokers.stay());
        brokers.give_up();
        brokers.not_connected_at(brokers.stay(), &refused(), at);
        let wait = brokers.from(at).duration_since(at);
        assert!(
            wait <= Duration::from_millis(100),
            "short again after a connection"
        );
    }

    #[test]
    fn n11_agents_that_lose_their_connection_at_once_do_not_come_back_at_once() {
        let (at, most) = (
            Instant::now() + Duration::from_secs(1),
            Duration::from_millis(SPREAD_MAX_MILLIS),
        );
        let waits: BTreeSet<Duration> = (0..200)
            .map(|seed| {
                let brokers = brokers(1, seed);
                brokers.connected(brokers.stay());
                let wait = brokers.from(at).duration_since(at);
                assert_eq!(brokers.from(at + most), at + wait, "it is drawn once");
                wait
            })
            .collect();
        assert!(*waits.first().unwrap() < most / 10 && *waits.last().unwrap() > most * 9 / 10);
        assert!(*waits.last().unwrap() <= most && waits.len() > 100, "{waits:?}");
    }

    #[tokio::test]
    async fn where_it_is_served_the_agent_stays_and_what_an_old_stay_reports_moves_nobody() {
        let (brokers, at) = (brokers(2, 1), Instant::now());
        let first = brokers.stay();
        brokers.due(first).await.unwrap();
        brokers.failed_at(first, &unavailable(), at);
        let second = brokers.stay();
        assert_ne!(first.place, second.place);
        brokers.failed_at(first, &unavailable(), at + 2 * GOOD_AFTER);
        brokers.not_connected(first, &refused());
        assert_eq!(brokers.stay(), second);
        assert!(
            brokers.due(first).await.is_err(),
            "nobody connects there any more"
        );
        brokers.left(first).await;
        for problem in [
            Problem::new(Kind::Refused, "DENIED", "no", ""),
            Problem::new(Kind::Later, "OUTBOX_FULL", "no", ""),
            Problem::from(tonic::Status::resource_exhausted("slower")),
        ] {
            brokers.failed_at(second, &problem, at + 2 * GOOD_AFTER);
            assert_eq!(brokers.stay(), second, "{problem}");
        }
        brokers.failed_at(second, &unavailable(), at + 2 * GOOD_AFTER);
        assert_ne!(brokers.stay(), second);
    }

    #[test]
    fn brokers_that_all_answer_badly_are_not_changed_all_the_time() {
        let (brokers, began) = (brokers(2, 3), Instant::now());
        for fault in 0..30_000 {
            let at = began + fault * Duration::from_millis(20);
            brokers.failed_at(brokers.stay(), &unavailable(), at);
        }
        // Waits of 0 to 15 s: some 80 in ten minutes, where 30,000 faults came.
        let moves = brokers.stay().number;
        assert!((40..200).contains(&moves), "{moves}");
    }

    #[tokio::test]
    async fn one_broker_alone_is_kept_whatever_it_does() {
        let brokers = brokers(1, 1);
        let stay = brokers.stay();
        brokers.failed(stay, &unavailable());
        brokers.not_connected(stay, &refused());
        assert_eq!(brokers.stay(), stay);
        brokers.due(stay).await.unwrap();
        let status = brokers.status();
        assert_eq!(status[0]["problem"]["code"], "BROKER_UNREACHED");
        assert_eq!(status[0]["problem"]["place"], "b0.example:7443");
        assert_eq!(status[0]["in_use"], true);
        assert_eq!(status[0]["attempts"], 1);
    }
}
