//! What was closed, throttled and refused, counted for `/metrics`. No label names an agency, a case or an address.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::refusals::{Refusals, Refused};
use crate::retention::Swept;

/// Why a connection was not served, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Closed {
    /// TCP, TLS handshake and HTTP/2 preface took too long.
    HandshakeSlow,
    /// The handshake failed: no certificate of the network, another protocol.
    HandshakeFailed,
    /// The address has as many handshakes under way as one may have, or as all may begin in a second are waited for.
    AddressFull,
    /// The key has as many connections as one may have.
    IdentityFull,
    /// There are as many connections as there may be.
    Full,
    /// A header block or frame took too long.
    FrameSlow,
    /// No request was made in time.
    RequestSlow,
    /// An answer was not taken in time.
    AnswerSlow,
    /// No request was open for too long.
    Idle,
    /// Too many frames that ask for nothing: PING, SETTINGS, resets, empty DATA and the like.
    FrameFlood,
    /// Too many requests were begun.
    RequestFlood,
    /// The HTTP/2 layer said goodbye: rapid reset, too many header fields, a broken protocol.
    Protocol,
    /// A ping was not answered, or the peer broke off.
    Lost,
}

impl Closed {
    /// All of them, in the order of their numbers.
    const ALL: [(Self, &'static str); 13] = [
        (Self::HandshakeSlow, "handshake_slow"),
        (Self::HandshakeFailed, "handshake_failed"),
        (Self::AddressFull, "address_full"),
        (Self::IdentityFull, "identity_full"),
        (Self::Full, "full"),
        (Self::FrameSlow, "frame_slow"),
        (Self::RequestSlow, "request_slow"),
        (Self::AnswerSlow, "answer_slow"),
        (Self::Idle, "idle"),
        (Self::FrameFlood, "frame_flood"),
        (Self::RequestFlood, "request_flood"),
        (Self::Protocol, "protocol"),
        (Self::Lost, "lost"),
    ];

    /// Its word on `/metrics`.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, word)| word)
    }
}

/// The counts, since the start.
#[derive(Default)]
pub struct Meters {
    closed: [AtomicU64; Closed::ALL.len()],
    /// What was refused.
    refusals: Refusals,
    /// Rejections that got no leaf of their own.
    left_out: AtomicU64,
    /// Connections served now.
    connections: AtomicU64,
    /// Whether newcomers wait because no file descriptor is left.
    newcomers_wait: AtomicBool,
    /// Cases, packets and entries whose retention had ended.
    went: [AtomicU64; 3],
    /// Whether the half-year of the log's shard is over, and whether the log is frozen: 0 or 1.
    shard: [AtomicU64; 2],
}

impl Meters {
    /// Counts a connection that was closed; gives how many of its kind there are by now.
    pub fn closed(&self, kind: Closed) -> u64 {
        let counts = self.closed.iter().zip(Closed::ALL);
        counts
            .filter(|(_, (of, _))| *of == kind)
            .map(|(count, _)| count.fetch_add(1, Ordering::Relaxed).saturating_add(1))
            .sum()
    }

    /// Counts a refusal, whether it leaves a leaf in the log or not.
    pub fn refused(&self, what: Refused, code: &'static str) {
        self.refusals.count(what, code);
    }

    /// Counts a rejection without a leaf.
    pub fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// A round of retention is over.
    pub fn went(&self, swept: Swept) {
        for (count, more) in self.went.iter().zip([swept.cases, swept.packets, swept.entries]) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// One connection more is served.
    pub fn entered(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Newcomers wait for want of file descriptors, or no longer.
    pub fn newcomers_wait(&self, wait: bool) {
        self.newcomers_wait.store(wait, Ordering::Relaxed);
    }

    /// Whether newcomers wait for want of file descriptors.
    pub fn do_newcomers_wait(&self) -> bool {
        self.newcomers_wait.load(Ordering::Relaxed)
    }

    /// How the log's shard is.
    pub fn shard(&self, over: bool, frozen: bool) {
        for (gauge, now) in self.shard.iter().zip([over, frozen]) {
            gauge.store(u64::from(now), Ordering::Relaxed);
        }
    }

    /// One connection less is served.
    pub fn left(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// As Prometheus reads it.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# HELP schakel_closed_total Connections that were closed or not let in, by reason.\n\
             # TYPE schakel_closed_total counter\n",
        );
        let line = |text: &mut String, name: &str, label: &str, word: &str, count: u64| {
            // Writing to a string does not fail.
            let _written = writeln!(text, "{name}{{{label}=\"{word}\"}} {count}");
        };
        for (count, (_, word)) in self.closed.iter().zip(Closed::ALL) {
            let count = count.load(Ordering::Relaxed);
            line(&mut text, "schakel_closed_total", "kind", word, count);
        }
        text.push_str(&self.refusals.to_text());
        let (left_out, connections) = (&self.left_out, &self.connections);
        let [over, frozen] = &self.shard;
        let _written = write!(
            text,
            "# HELP schakel_log_half_year_over Whether the half-year of the log's shard is over.\n\
             # TYPE schakel_log_half_year_over gauge\nschakel_log_half_year_over {}\n\
             # HELP schakel_log_frozen Whether the log waits for its next shard and nothing is handed over.\n\
             # TYPE schakel_log_frozen gauge\nschakel_log_frozen {}\n",
            over.load(Ordering::Relaxed),
            frozen.load(Ordering::Relaxed),
        );
        let _written = write!(
            text,
            "# HELP schakel_rejections_left_out_total Rejections that got no log entry of their own.\n\
             # TYPE schakel_rejections_left_out_total counter\nschakel_rejections_left_out_total {}\n\
             # HELP schakel_connections Connections served now.\n# TYPE schakel_connections gauge\n\
             schakel_connections {}\n\
             # HELP schakel_newcomers_wait Whether no file descriptor is left for new connections.\n\
             # TYPE schakel_newcomers_wait gauge\nschakel_newcomers_wait {}\n",
            left_out.load(Ordering::Relaxed),
            connections.load(Ordering::Relaxed),
            u64::from(self.do_newcomers_wait()),
        );
        text.push_str(
            "# HELP schakel_retention_total What went because its retention had ended.\n\
             # TYPE schakel_retention_total counter\n",
        );
        for (count, kind) in self.went.iter().zip(["case", "packet", "entry"]) {
            let count = count.load(Ordering::Relaxed);
            line(&mut text, "schakel_retention_total", "kind", kind, count);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_word_and_its_own_count() {
        let meters = Meters::default();
        for (kind, word) in Closed::ALL {
            assert_eq!((kind.as_str(), meters.closed(kind)), (word, 1));
        }
        meters.closed(Closed::Idle);
        meters.refused(Refused::Request, "TOO_FAST");
        let text = meters.to_text();
        assert!(text.contains("schakel_closed_total{kind=\"idle\"} 2\n"), "{text}");
        assert!(text.contains("schakel_closed_total{kind=\"lost\"} 1\n"), "{text}");
        assert!(
            text.contains("schakel_refusals_total{what=\"request\",code=\"TOO_FAST\"} 1\n"),
            "{text}"
        );
    }
}
