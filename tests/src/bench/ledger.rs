//! What became of each packet, and when: the book in which a lost or doubled one shows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schakel_proto::ids::{Digest, PacketId};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Trouble;

/// Longest time in which nothing happens before what is missing counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);

struct Row {
    /// Of the ciphertext.
    digest: Digest,
    began: Instant,
    accepted: Option<Duration>,
    /// By recipient: hand-overs and settled acknowledgements.
    handed: Vec<u32>,
    settled: Vec<u32>,
    acknowledged: Option<Duration>,
    /// Held until all have acknowledged, if the sender waits for that.
    permit: Option<OwnedSemaphorePermit>,
}

/// How far everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Packets that were accepted.
    pub accepted: u64,
    /// Deliveries whose acknowledgement is durable.
    pub settled: u64,
    /// Packets that all recipients acknowledged.
    pub finished: u64,
    /// The first thing that went wrong.
    pub trouble: Option<Trouble>,
}

/// The book.
pub struct Ledger {
    recipients: usize,
    rows: Mutex<HashMap<PacketId, Row>>,
    standing: watch::Sender<Standing>,
}

impl Ledger {
    /// For so many recipients of each packet.
    pub fn new(recipients: usize) -> Self {
        Self {
            recipients,
            rows: Mutex::default(),
            standing: watch::Sender::new(Standing::default()),
        }
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<PacketId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far everything is.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Notes the first thing that went wrong; whoever waits hears of it.
    pub fn fail(&self, sentence: String) {
        self.standing.send_modify(|now| {
            now.trouble.get_or_insert(Trouble::new(sentence));
        });
    }

    /// A packet is about to be submitted; its clock runs from now.
    pub fn begin(&self, packet: PacketId, digest: Digest, permit: Option<OwnedSemaphorePermit>) {
        let row = Row {
            digest,
            began: Instant::now(),
            accepted: None,
            handed: vec![0; self.recipients],
            settled: vec![0; self.recipients],
            acknowledged: None,
            permit,
        };
        if self.rows().insert(packet, row).is_some() {
            self.fail(format!("packet {packet} was made twice"));
        }
    }

    /// The broker answered that it was accepted.
    pub fn accepted(&self, packet: PacketId) {
        if let Some(row) = self.rows().get_mut(&packet) {
            row.accepted = Some(row.began.elapsed());
        }
        self.standing.send_modify(|now| now.accepted += 1);
    }

    /// A recipient was handed a packet, with ciphertext of this digest.
    pub fn handed(&self, recipient: usize, packet: PacketId, digest: Digest) {
        let wrong = match self.rows().get_mut(&packet) {
            None => Some("was delivered and never sent"),
            Some(row) if row.digest != digest => Some("came with another content than it was sent with"),
            Some(row) => {
                row.handed[recipient] += 1;
                (row.handed[recipient] > 1).then_some("was handed over twice to one recipient")
            }
        };
        if let Some(wrong) = wrong {
            self.fail(format!("packet {packet} {wrong}"));
        }
    }

    /// A recipient's acknowledgement of a packet is durable.
    pub fn settled(&self, recipient: usize, packet: PacketId) {
        let (mut wrong, mut finished) = (None, false);
        match self.rows().get_mut(&packet) {
            None => wrong = Some("was settled and never sent"),
            Some(row) => {
                row.settled[recipient] += 1;
                if row.settled[recipient] > row.handed[recipient] {
                    wrong = Some("was settled more often than handed over");
                }
                if row.acknowledged.is_none() && row.settled.iter().all(|count| *count == 1) {
                    row.acknowledged = Some(row.began.elapsed());
                    row.permit = None;
                    finished = true;
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail(format!("packet {packet} {wrong}"));
        }
        self.standing.send_modify(|now| {
            now.settled += 1;
            now.finished += u64::from(finished);
        });
    }

    /// Waits until `enough` is so.
    ///
    /// # Errors
    /// Something went wrong, or nothing happens any more: what is missing is lost.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&Standing) -> bool) -> Result<(), Trouble> {
        let mut watch = self.standing.subscribe();
        loop {
            let now = watch.borrow_and_update().clone();
            if let Some(trouble) = now.trouble {
                return Err(trouble);
            }
            if enough(&now) {
                return Ok(());
            }
            if tokio::time::timeout(SILENCE_MAX, watch.changed()).await.is_err() {
                return Err(Trouble::new(format!(
                    "lost: nothing has come for {} s while waiting for {what}; {} packets accepted, {} deliveries \
                     settled, {} packets acknowledged by all",
                    SILENCE_MAX.as_secs(),
                    now.accepted,
                    now.settled,
                    now.finished
                )));
            }
        }
    }

    /// Times of some packets: until accepted, and until the last acknowledgement was durable, in milliseconds.
    pub fn times(&self, packets: &[PacketId]) -> (Vec<f64>, Vec<f64>) {
        let rows = self.rows();
        let of = |time: fn(&Row) -> Option<Duration>| {
            let all = packets.iter().filter_map(|packet| time(rows.get(packet)?));
            all.map(super::figures::millis).collect()
        };
        (of(|row| row.accepted), of(|row| row.acknowledged))
    }

    /// That each packet was accepted, handed over once and settled once at each recipient; all of them.
    ///
    /// # Errors
    /// The first that was not.
    pub fn check(&self) -> Result<Vec<PacketId>, Trouble> {
        if let Some(trouble) = self.standing().trouble {
            return Err(trouble);
        }
        let rows = self.rows();
        let once = |row: &Row| {
            row.accepted.is_some() && row.handed.iter().chain(&row.settled).all(|count| *count == 1)
        };
        if let Some((packet, row)) = rows.iter().find(|(_, row)| !once(row)) {
            return Err(Trouble::new(format!(
                "packet {packet} did not go exactly once: handed over {:?} and settled {:?} times, by recipient",
                row.handed, row.settled
            )));
        }
        Ok(rows.keys().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64) -> PacketId {
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(number);
        PacketId::new(crate::system::network::now(), &mut rng)
    }

    /// A book with one packet for two recipients, accepted.
    fn begun() -> (Ledger, PacketId, Digest) {
        let (ledger, packet, digest) = (Ledger::new(2), packet(1), Digest::of(b"1"));
        ledger.begin(packet, digest, None);
        ledger.accepted(packet);
        (ledger, packet, digest)
    }

    #[test]
    fn once_each_is_good_and_anything_else_is_told() {
        let (ledger, packet, digest) = begun();
        for recipient in 0..2 {
            assert!(ledger.check().is_err(), "lost at recipient {recipient}");
            ledger.handed(recipient, packet, digest);
            ledger.settled(recipient, packet);
        }
        assert_eq!(ledger.check().map(|all| all.len()), Ok(1));
        assert_eq!(ledger.standing().finished, 1);
        ledger.handed(0, packet, digest);
        let said = ledger.check().unwrap_err().to_string();
        assert!(said.contains("twice"), "{said}");
    }

    #[test]
    fn another_content_and_a_packet_of_nobody_are_told() {
        let (ledger, packet, _) = begun();
        ledger.handed(0, packet, Digest::of(b"2"));
        assert!(
            ledger
                .check()
                .unwrap_err()
                .to_string()
                .contains("another content")
        );
        let ledger = Ledger::new(1);
        ledger.handed(0, packet, Digest::of(b"2"));
        assert!(ledger.check().unwrap_err().to_string().contains("never sent"));
    }
}
