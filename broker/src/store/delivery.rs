//! Leg 2: leases, hand-overs, acknowledgements, recalls and expiry.

use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::entry::NewEntry;
use super::packet::{PartState, StoredPacket};

/// A request for work on behalf of one recipient.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Whose queue.
    pub recipient: AgencyId,
    /// The broker's clock.
    pub now: Timestamp,
    /// Life of the leases, in milliseconds.
    pub lease_millis: i64,
    /// One fresh random token per packet wanted (so the credit).
    pub tokens: Vec<DeliveryId>,
}

/// Work for one recipient: one packet, exclusively until `until`.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Proves the lease.
    pub token: DeliveryId,
    /// For whom.
    pub recipient: AgencyId,
    /// The packet, with all its parts (also those that are not for this recipient).
    pub packet: StoredPacket,
    /// The recipient's own opening.
    pub opening: wire::Opening,
    /// State of each part that is sealed to this recipient. To be decided now are those whose stage is
    /// not final; `Pending` ones for the first time.
    pub parts: Vec<PartState>,
    /// This recipient's key packets.
    pub key_packets: Vec<wire::KeyPacket>,
    /// Which attempt this is since the broker started, from 1.
    pub attempt: u32,
    /// End of the lease unless renewed.
    pub until: Timestamp,
}

/// What was decided of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes to the recipient.
    Deliver,
    /// Stays behind, finally.
    Withhold,
    /// Stays behind until a fact arrives.
    Hold,
}

/// The decision on one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedPart {
    /// The part.
    pub part: PartId,
    /// What was decided.
    pub verdict: Verdict,
    /// Reason code.
    pub reason: String,
    /// Obligations on the recipient.
    pub obligations: Vec<String>,
}

/// A decision to be committed, with the versions it was made on.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// Proves the lease.
    pub token: DeliveryId,
    /// The packet leased.
    pub packet: PacketId,
    /// For whom.
    pub recipient: AgencyId,
    /// Head of the case's facts decided on; `None`: there were none.
    pub facts_head: Option<Digest>,
    /// Number of the case's facts decided on.
    pub facts_count: u64,
    /// Version of the bundle decided by.
    pub bundle_version: u64,
    /// Version of the directory decided by.
    pub directory_version: u64,
    /// All parts of this recipient that are not final, each once.
    pub parts: Vec<DecidedPart>,
    /// ContentConsignment if a part is delivered, else ContentWithheld; `None` only if every part was held
    /// before and still is.
    pub entry: Option<NewEntry>,
    /// The broker's clock.
    pub at: Timestamp,
}

/// How a hand-over ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// Durable. With parts delivered: the lease runs on; wait until the leaf is under a checkpoint, then
    /// send. Without: the lease is given back, nothing is to be sent.
    Committed {
        /// Of the entry; `None` if there was none.
        leaf_hash: Option<Digest>,
        /// Whether there is something to send.
        delivers: bool,
    },
    /// Facts, bundle, directory or part states have changed since: decide again. The lease runs on.
    Changed,
    /// The lease ended, or the packet was recalled, expired or settled in between: drop the delivery.
    LeaseLost,
}

/// A verified acknowledgement by a recipient's agent.
#[derive(Clone, Debug)]
pub struct Acknowledging {
    /// The packet.
    pub packet: PacketId,
    /// Who acknowledges.
    pub recipient: AgencyId,
    /// Leaf hash of the ContentConsignment that it answers.
    pub consignment: Digest,
    /// What it says.
    pub outcome: AckOutcome,
    /// Its reason code; empty for received.
    pub reason: String,
    /// The obligation that was carried out, as the decision says it; empty unless fulfilled.
    pub obligation: String,
    /// The parts it is about: parts of that consignment.
    pub parts: Vec<PartId>,
    /// ContentHandover, ContentHandoverFailure or ObligationFulfilled, with the acknowledgement attached.
    pub entry: NewEntry,
    /// The broker's clock.
    pub at: Timestamp,
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckOutcome {
    /// Opened, commitment checked, durably stored.
    Received,
    /// Refused, with a reason.
    Refused,
    /// The agency's own system has taken it (after received).
    Taken,
    /// An obligation that the decision laid on the recipient was carried out (after received).
    Fulfilled,
}

impl AckOutcome {
    /// As `wire::Acknowledgement` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Refused => "refused",
            Self::Taken => "taken",
            Self::Fulfilled => "fulfilled",
        }
    }

    /// From the form of `wire::Acknowledgement`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Received, Self::Refused, Self::Taken, Self::Fulfilled]
            .into_iter()
            .find(|o| o.as_str() == text)
    }
}

/// How an acknowledgement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// Durable, with its leaf pending.
    Settled {
        /// Of its entry.
        leaf_hash: Digest,
    },
    /// It was said before; nothing changed.
    Repeated {
        /// Of the original entry.
        leaf_hash: Digest,
    },
    /// There is no such consignment of that packet to that recipient, the parts are not of it or were not
    /// received, or the decision did not lay that obligation on them.
    Unknown,
}

/// A verified recall by the sender.
#[derive(Clone, Debug)]
pub struct Recalling {
    /// The packet.
    pub packet: PacketId,
    /// Who recalls: must be its sender.
    pub sender: AgencyId,
    /// Reason code.
    pub reason: String,
    /// `schakel:Recalled`, with the recall attached.
    pub entry: NewEntry,
    /// The broker's clock.
    pub at: Timestamp,
}

/// How a recall ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recall {
    /// Durable, with its leaf pending (or already done before: the same answer, `repeated`).
    Done {
        /// Of the entry.
        leaf_hash: Digest,
        /// It was recalled before.
        repeated: bool,
        /// Taken back in time.
        recalled: Vec<PartState>,
        /// Handed over, received, refused or possibly disclosed.
        too_late: Vec<PartState>,
    },
    /// There is no such packet of that sender.
    Unknown,
}

/// A packet whose life has ended with something still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePacket {
    /// The packet.
    pub packet: PacketId,
    /// Its case.
    pub case: CaseRef,
    /// SHA-256 of its manifest.
    pub manifest_digest: Digest,
    /// Its sender.
    pub sender: AgencyId,
}

/// An expiry to be committed.
#[derive(Clone, Debug)]
pub struct Expiring {
    /// The packet.
    pub packet: PacketId,
    /// `schakel:Expired`.
    pub entry: NewEntry,
    /// The broker's clock: at or after the packet's end.
    pub at: Timestamp,
}

/// How an expiry ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Durable: open parts are expired, its ciphertext goes.
    Done {
        /// Of the entry.
        leaf_hash: Digest,
    },
    /// Nothing was open any more, or its life has not ended. Nothing changed.
    NothingToDo,
}

/// What waits for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Packets in its queue (leased ones included), counted up to [`super::WAITING_MAX_COUNT`].
    pub packets: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
}
