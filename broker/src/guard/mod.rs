//! What HTTP/2 libraries leave open: how long a peer may take over a frame, its first request or an answer, and how
//! much it may send that asks for nothing. Looks at the frames of one connection as they pass, and ends it.

pub mod bucket;

pub mod pace;

mod frames;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use schakel_proto::limits;
use tokio::time::{Instant, Sleep};

use crate::config::Bounds;
use crate::meters::Closed;
use crate::tls::TlsIdentity;
use bucket::Bucket;
use frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Head, RST_STREAM, Scanner};

/// Frames that ask for nothing, at once and by the second, on one connection. Each KiB that we send allows one more:
/// who takes much opens its windows often.
const FRAMES: (u64, u64) = (1_000, 50);
/// What a reset costs among them: it made us begin something.
const RESET_COST: u64 = 5;
/// Requests that may be open as the peer sees it before ours to refuse them have reached it.
const OPEN_MAX_COUNT: usize = 4 * limits::STREAMS_MAX_COUNT as usize;
/// Keys whose requests are counted; more than any directory lists.
const KEYS_MAX_COUNT: usize = 2 * limits::AGENCIES_MAX_COUNT;

/// How fast each key may begin requests, finished or not.
pub struct Started {
    per_minute: u64,
    buckets: Mutex<HashMap<TlsIdentity, Bucket>>,
}

impl Started {
    /// `per_minute` requests of each key, a tenth of them at once.
    pub fn new(per_minute: u64) -> Self {
        Self {
            per_minute,
            buckets: Mutex::default(),
        }
    }

    fn take(&self, identity: TlsIdentity, count: u64, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX_COUNT && !buckets.contains_key(&identity) {
            // A bucket that was left alone for so long is full again.
            let minute = Duration::from_secs(60);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.used()) < minute);
        }
        let new = || Bucket::new((self.per_minute / 10).max(1), (self.per_minute / 60).max(1), now);
        buckets.entry(identity).or_insert_with(new).take(count, now)
    }
}

/// The answers of one connection that wait to be taken, and until when.
#[derive(Debug, Default)]
pub struct Answers(Mutex<(u64, HashMap<u64, Instant>)>);

impl Answers {
    /// One more, to be taken until `until`. Gives its number, for [`Answers::taken`].
    pub fn wait(&self, until: Instant) -> u64 {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 = waiting.0.wrapping_add(1);
        let number = waiting.0;
        waiting.1.insert(number, until);
        number
    }

    /// It was taken, or is no longer wanted.
    pub fn taken(&self, number: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.remove(&number);
    }

    fn due(&self) -> Option<Instant> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.values().min().copied()
    }
}

/// Watches one connection.
pub struct Guard {
    inbound: Scanner,
    outbound: Scanner,
    /// A header block goes on in the next frame.
    block: bool,
    /// Since when the frame or header block has been under way that is not complete.
    since: Option<Instant>,
    /// Requests without the end of their answer.
    open: HashSet<u32>,
    /// The newest request's stream.
    last: u32,
    /// Since when no request is open.
    idle_since: Option<Instant>,
    budget: Bucket,
    answers: Arc<Answers>,
    started: Arc<Started>,
    identity: TlsIdentity,
    limits: Limits,
    /// Made where the connection is served, when it is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when nothing that we write gets through.
    stuck_since: Option<Instant>,
    /// We said goodbye for something that the peer did.
    farewell: bool,
    /// Why the connection is at its end, if it is.
    closed: Option<Closed>,
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    headers: Duration,
    body: Duration,
    idle: Duration,
}

impl Limits {
    /// The operator's.
    pub fn of(bounds: &Bounds) -> Self {
        Self {
            headers: Duration::from_secs(bounds.headers_max_seconds),
            body: Duration::from_secs(bounds.body_max_seconds),
            idle: Duration::from_secs(bounds.idle_max_seconds),
        }
    }
}

impl Guard {
    /// From the end of the preface on.
    pub fn new(identity: TlsIdentity, started: Arc<Started>, limits: Limits, now: Instant) -> Self {
        Self {
            inbound: Scanner::default(),
            outbound: Scanner::default(),
            block: false,
            since: None,
            open: HashSet::new(),
            last: 0,
            idle_since: Some(now),
            budget: Bucket::new(FRAMES.0, FRAMES.1, now),
            answers: Arc::default(),
            started,
            identity,
            limits,
            timer: None,
            stuck_since: None,
            farewell: false,
            closed: None,
        }
    }

    /// The answers that wait to be taken.
    pub fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// Why the connection ended, as far as it was not the peer's wish.
    pub fn ended_by(&self) -> Option<Closed> {
        self.closed.or(self.farewell.then_some(Closed::Protocol))
    }

    /// Whether what we write gets through.
    pub fn writes(&mut self, through: bool, now: Instant) {
        self.stuck_since = if through {
            None
        } else {
            self.stuck_since.or(Some(now))
        };
    }

    /// What the peer sent.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Option<Closed> {
        let (mut scanner, mut began) = (std::mem::take(&mut self.inbound), false);
        scanner.pass(bytes, |head, _| {
            began |= !self.block;
            self.frame(head, now);
        });
        self.inbound = scanner;
        self.since = match self.since {
            _ if !self.block && !self.inbound.is_within() => None,
            Some(since) if !began => Some(since),
            _ => Some(now),
        };
        self.closed
    }

    fn frame(&mut self, head: Head, now: Instant) {
        let cost = match head.kind {
            HEADERS if head.stream > self.last => {
                (self.last, self.idle_since) = (head.stream, None);
                self.open.insert(head.stream);
                let many = self.open.len() > OPEN_MAX_COUNT;
                if many || !self.started.take(self.identity, 1, now) {
                    self.closed.get_or_insert(Closed::RequestFlood);
                }
                0
            }
            HEADERS => 0,
            DATA if head.length > 0 || head.has(END_STREAM) => 0,
            RST_STREAM => {
                self.ended(head.stream, now);
                RESET_COST
            }
            _ => 1,
        };
        if matches!(head.kind, HEADERS | CONTINUATION) {
            self.block = !head.has(END_HEADERS);
        }
        if !self.budget.take(cost, now) {
            self.closed.get_or_insert(Closed::FrameFlood);
        }
    }

    /// What we sent.
    pub fn sent(&mut self, bytes: &[u8], now: Instant) {
        self.budget.give(u64::try_from(bytes.len() / 1024).unwrap_or(0));
        let mut scanner = std::mem::take(&mut self.outbound);
        scanner.pass(bytes, |head, payload| match head.kind {
            DATA | HEADERS if head.has(END_STREAM) => self.ended(head.stream, now),
            RST_STREAM => self.ended(head.stream, now),
            // Last stream, then the reason; 0: nothing is wrong.
            GOAWAY => self.farewell |= payload.get(4..8) != Some(&[0; 4]),
            _ => {}
        });
        self.outbound = scanner;
    }

    fn ended(&mut self, stream: u32, now: Instant) {
        if self.open.remove(&stream) && self.open.is_empty() {
            self.idle_since = Some(now);
        }
    }

    /// When the peer's time is up, if nothing more comes, and what for.
    fn due(&self) -> Option<(Instant, Closed)> {
        let slow = self.since.map(|since| {
            let within_data = self.inbound.is_within_data() && !self.block;
            let limit = if within_data {
                self.limits.body
            } else {
                self.limits.headers
            };
            (since + limit, Closed::FrameSlow)
        });
        let idle = self.idle_since.map(|since| match self.last {
            0 => (since + self.limits.headers, Closed::RequestSlow),
            _ => (since + self.limits.idle, Closed::Idle),
        });
        let answer = self.answers.due().map(|until| (until, Closed::AnswerSlow));
        let stuck = self
            .stuck_since
            .map(|since| (since + self.limits.body, Closed::AnswerSlow));
        [slow, idle, answer, stuck]
            .into_iter()
            .flatten()
            .min_by_key(|(until, _)| *until)
    }

    /// Ready when the peer's time is up. To be asked whenever reading or writing has to wait.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            let Some((until, kind)) = self.due() else {
                return Poll::Pending;
            };
            if Instant::now() >= until {
                return Poll::Ready(*self.closed.get_or_insert(kind));
            }
            // Most of the time the frame ends long before: the timer is moved only when it must be.
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if timer.is_elapsed() || until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
