//! The store seam: everything durable, in verbs of the domain. Read this file first.
//!
//! **One contract for all verbs that change something**, unless a verb says otherwise:
//! - *Atomic*: the change, its queue rows and its pending log leaf are committed together or not at all.
//! - *Durable on return*: the answer comes after the sync, never before. Many concurrent calls share one
//!   sync (group commit).
//! - *Idempotent*: the same identifiers again give the original answer, so after
//!   [`StoreError::Unconfirmed`] (failed, or failed but saved after all) the caller repeats the verb.
//! - *Callable concurrently*: verbs are serialised by the store; each sees all that returned before it.
//! - *Cancel-safe*: dropping the future does not undo or split the change.
//! - [`StoreError::Full`] and [`StoreError::Misused`]: nothing was changed. [`StoreError::Stopped`]: nothing
//!   is accepted until the process restarts and recovery has run.
//!
//! Verbs that read see only what is durable. No verb retries by itself.
//!
//! Backends: [`memory::MemoryStore`] (tests, with failure hooks) and [`sled::SledStore`] (one node). Both
//! run the same verbs over an ordered byte map (`kv`); another database implements [`Store`] natively and
//! runs the same `conformance` suite.

use std::sync::Arc;

use async_trait::async_trait;
use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;

pub mod error;

pub(crate) mod durable;

pub mod entry;

pub mod content;

pub mod packet;

pub mod delivery;

pub mod facts;

pub mod oversight;

pub mod filed;

pub mod forget;

pub mod shards;

pub mod audit;

pub mod care;
pub mod cosigned;

pub mod halt;

pub mod check;

pub mod backup;

pub mod moving;

pub mod heard;
pub mod place;

mod verbs;

pub mod kv;

pub mod memory;

pub mod sled;

pub mod postgres;

#[cfg(test)]
pub(crate) mod conformance;

pub use audit::{Audited, Cursor, ENTRIES_GONE, Finding, PACKETS_GONE};
pub use backup::{BackedUp, BackupOrder};
pub use care::{Care, CareError, Tell};
pub use check::{CheckedRows, FileState, Walked};
pub use content::{ContentReader, Spool, StoredContent};
pub use cosigned::{HeldUp, NewCandidate};
pub use delivery::{
    AckOutcome, Acknowledged, Acknowledging, DecidedPart, DuePacket, Expired, Expiring, HandOver, HandedOver,
    Lease, LeaseRequest, Recall, Recalling, Verdict, Waiting,
};
pub use entry::{Concern, Integrated, Integration, LoggedEntry, NewEntry, PendingLeaf, StoredCheckpoint};
pub use error::{CASE_ERASED, StoreError};
pub use facts::{
    AcceptedStatement, Ceiling, CeilingOf, Ceilings, Facts, NewStatement, Raised, StatementAdded,
};
pub use filed::{Filed, FiledEntry};
pub use forget::{Acts, EndedPacket, Forgetting, Forgot};
pub use halt::{Halt, HaltCause};
pub use heard::{Ear, Heard};
pub use oversight::{Contact, FollowUp, Kept, LastContact, OpenDelivery, OpenReview, Page};
pub use packet::{
    Acceptance, Accepted, AcceptedPacket, Known, NewPart, NewRecipient, NewSealing, Outcome, PacketStage,
    PartState, Stage, StoredPacket, StoredPart, StoredSealing,
};
pub use shards::{NewShard, Shard, ShardChanged, ShardOpened};

/// Most packets counted by [`Store::waiting`].
pub const WAITING_MAX_COUNT: u64 = 10_000;
/// Most entries, leaves or packets that one call gives back, whatever `limit` says.
pub const PAGE_MAX_COUNT: usize = 1_024;

/// Whether the store can be relied on just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It takes everything.
    Ready,
    /// It takes no new packets and statements for want of room; hand-overs and acknowledgements go on.
    Full,
    /// Its database cannot be reached; nothing is accepted until it can.
    Away,
    /// Nothing is accepted until a restart.
    Stopped,
}

/// Everything durable of a broker. Used as `Arc<dyn Store>`.
#[async_trait]
pub trait Store: Care + Send + Sync {
    // ---- leg 1

    /// Whether a packet id was seen before: asked before content is streamed. `accept` has the last word.
    async fn known(&self, packet: PacketId, manifest_digest: Digest) -> Result<Known, StoreError>;

    /// A place to write the bytes of one sealing of at most `length` bytes. Not durable until `finish`,
    /// which checks length and digest; an unfinished or dropped spool, and finished content that no
    /// packet takes, leaves nothing behind.
    async fn spool(&self, length: u64) -> Result<Spool, StoreError>;

    /// Commits a packet: manifest, openings, key packets, part states (`pending`), a queue row per recipient,
    /// its content and the pending leaf. Idempotent by packet id and manifest digest.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    /// A stored packet; `None`: unknown.
    async fn packet(&self, packet: PacketId) -> Result<Option<StoredPacket>, StoreError>;

    /// What became of a packet; `None`: unknown. The caller shows it to its sender only.
    async fn outcome(&self, packet: PacketId) -> Result<Option<Outcome>, StoreError>;

    // ---- leg 2

    /// Leases waiting packets to a recipient's stream, urgent ones first, then the oldest; at most one per
    /// token. A lease ends by time, by [`Store::release`], by being settled, or when the broker stops: leases
    /// are **not durable**, so after a restart everything unacknowledged is leased out again.
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, StoreError>;

    /// Prolongs a lease to `until` (a long stream). `false`: it has ended. Not durable.
    async fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// Gives a lease back: the packet may be leased at once by another stream. Unknown tokens are ignored.
    async fn release(&self, token: DeliveryId) -> Result<(), StoreError>;

    /// Reads one sealing, in chunks; the digest is checked before the last chunk is given out, so a damaged
    /// file ends in [`StoreError::Corrupt`]. [`StoreError::Missing`]: purged.
    async fn content(
        &self,
        packet: PacketId,
        part: PartId,
        profile: wire::Profile,
    ) -> Result<ContentReader, StoreError>;

    /// Commits a decision if everything it was made on is still so, else says `Changed` or `LeaseLost` and
    /// changes nothing. Idempotent by token: a repeated one gives the original leaf hash (then use the
    /// stored entry, not the repeated one's openings).
    async fn hand_over(&self, hand_over: HandOver) -> Result<HandedOver, StoreError>;

    /// Commits an acknowledgement; ciphertext that nobody waits for any more goes. Idempotent by
    /// consignment, outcome and parts. Valid also after the lease has ended. Held parts of the packet whose facts
    /// changed while it was under way then stand in the queue again: lease again.
    async fn acknowledge(&self, acknowledging: Acknowledging) -> Result<Acknowledged, StoreError>;

    /// Takes back every part that was never handed over, and says what was too late. Idempotent by packet.
    async fn recall(&self, recalling: Recalling) -> Result<Recall, StoreError>;

    /// Packets whose life ended before `now` with something still open, oldest first; at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DuePacket>, StoreError>;

    /// Expires what is still open of a packet from [`Store::due`]; its ciphertext goes. Idempotent by packet.
    async fn expire(&self, expiring: Expiring) -> Result<Expired, StoreError>;

    /// What waits for a recipient.
    async fn waiting(&self, recipient: &AgencyId) -> Result<Waiting, StoreError>;

    /// Puts all held parts (of one case, or of all) back into their queues, to be decided again: a new bundle
    /// or directory came into force. Gives back the recipients concerned. Idempotent.
    async fn reconsider(&self, case: Option<CaseRef>) -> Result<Vec<AgencyId>, StoreError>;

    // ---- facts

    /// Commits a statement as the next fact of its case, if the case's facts, bundle and directory are still those it was
    /// judged on; held parts of the case go back into their queues in the same batch. Idempotent by statement id.
    async fn add_statement(&self, statement: NewStatement) -> Result<StatementAdded, StoreError>;

    /// All facts of a case at one moment; empty: there are none.
    async fn facts(&self, case: CaseRef) -> Result<Facts, StoreError>;

    /// The highest versions in force so far.
    async fn ceilings(&self) -> Result<Ceilings, StoreError>;

    /// Brings a directory or bundle into force, with its entry. Never lowers. Idempotent by version and
    /// digest. `signed` bytes are not kept here.
    async fn raise(&self, of: CeilingOf, ceiling: Ceiling, entry: NewEntry) -> Result<Raised, StoreError>;

    // ---- log

    /// Commits an entry of an event without other state (a rejection). Idempotent by leaf hash.
    async fn record(&self, entry: NewEntry) -> Result<Digest, StoreError>;

    /// Rings after each commit that leaves pending leaves. For the sequencer.
    fn pending_signal(&self) -> Arc<tokio::sync::Notify>;

    /// Committed leaves that are not in the tree yet, in order, at most `limit`.
    async fn pending(&self, limit: usize) -> Result<Vec<PendingLeaf>, StoreError>;

    /// Puts pending leaves into the tree under a new checkpoint, if the tree still has the expected size: of
    /// several writers one wins, the others learn `Conflict` and must stop.
    async fn integrate(&self, integration: Integration) -> Result<Integrated, StoreError>;

    /// The shards of the log, oldest first; empty: the tree is, or was begun before there were any and is in its first.
    async fn shards(&self) -> Result<Vec<Shard>, StoreError>;

    /// Commits the entry with which the shard named `origin` ends: [`Store::integrate`] freezes it with that leaf, and
    /// takes nothing behind it. Idempotent: the first such entry stays.
    async fn close_shard(&self, origin: &str, entry: NewEntry) -> Result<ShardChanged, StoreError>;

    /// Lets a shard go on that was to end, or ended and has no successor. Idempotent.
    async fn reopen_shard(&self, origin: &str) -> Result<ShardChanged, StoreError>;

    /// Freezes the shard in force at the newest checkpoint and begins the next one, if the tree ends where it says: from
    /// then on only checkpoints of that name are integrated. Idempotent by name.
    async fn open_shard(&self, new: NewShard) -> Result<ShardOpened, StoreError>;

    /// The newest checkpoint; `None`: the log is empty.
    async fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError>;

    /// Hash of a complete subtree; `None`: not complete yet.
    async fn node(&self, node: Node) -> Result<Option<Digest>, StoreError>;

    /// Hashes of complete subtrees of one level, from one on, in order; at most `limit`.
    async fn nodes(&self, first: Node, limit: usize) -> Result<Vec<Digest>, StoreError>;

    /// Position of a leaf; `None`: not in the tree (yet).
    async fn index_of(&self, leaf_hash: Digest) -> Result<Option<u64>, StoreError>;

    /// Leaf bytes from `from_index` on, public to all members; at most `limit`.
    async fn leaves(&self, from_index: u64, limit: usize) -> Result<Vec<bytes::Bytes>, StoreError>;

    /// One entry by its leaf hash, as `agency` may see it; `None`: not in the tree, or not its business.
    async fn entry_for(
        &self,
        agency: &AgencyId,
        leaf_hash: Digest,
    ) -> Result<Option<LoggedEntry>, StoreError>;

    /// The SubmissionAcceptance or any other entry by leaf hash, whoever asks, without the hidden decision:
    /// for the broker's own use (a recipient is shown the acceptance inside its hand-over).
    async fn entry(&self, leaf_hash: Digest) -> Result<Option<LoggedEntry>, StoreError>;

    /// Entries that concern an agency, from a position on, in order, at most `limit`, each with a proof under
    /// the newest checkpoint and only with the openings that the agency may see.
    async fn evidence_for(
        &self,
        agency: &AgencyId,
        from_index: u64,
        limit: usize,
    ) -> Result<Vec<LoggedEntry>, StoreError>;

    /// The consistency proof between two sizes, `to` at most the newest checkpoint's.
    async fn consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, StoreError>;

    // ---- witnesses

    /// The checkpoints that are kept for the witnesses, smallest first: the last is the one held up to them, the one
    /// before it the newest that enough of them signed. Not evidence: what they rest on is signed by others.
    async fn held_up(&self) -> Result<Vec<HeldUp>, StoreError>;

    /// Holds up another checkpoint, if what is held up is what the caller saw; `false`: it is not, look again. Of
    /// several brokers one wins.
    async fn hold_up(&self, candidate: NewCandidate) -> Result<bool, StoreError>;

    /// Keeps a checked cosignature of a checkpoint that is kept, in place of that witness' former one; `false`: that
    /// checkpoint is not kept any more.
    async fn keep_cosignature(&self, size: u64, agency: &AgencyId, line: String) -> Result<bool, StoreError>;

    // ---- oversight: for the operator and its monitors, never for agencies

    /// Keeps a directory or bundle that is in force, as it was signed, so that decisions made by it can be made
    /// again. Idempotent by version; the oldest of more than [`oversight::KEPT_MAX_COUNT`] goes.
    async fn keep(&self, of: CeilingOf, ceiling: Ceiling, signed: bytes::Bytes) -> Result<(), StoreError>;

    /// What was in force under a version; `None`: not kept (any more).
    async fn kept(&self, of: CeilingOf, version: u64) -> Result<Option<Kept>, StoreError>;

    /// Entries of the tree from a position on with everything that opens them, hidden decisions too; at most
    /// `limit`.
    async fn records(&self, from_index: u64, limit: usize) -> Result<Vec<LoggedEntry>, StoreError>;

    /// Entries of the tree after a position, in order, without proofs; at most `limit`. Of a case or packet they are
    /// found by an index that grows with the tree.
    async fn filed(
        &self,
        of: Filed,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page<FiledEntry, u64>, StoreError>;

    /// The cases that have entries in the tree, each once; at most `limit`.
    async fn cases(&self, after: Option<CaseRef>, limit: usize)
    -> Result<Page<CaseRef, CaseRef>, StoreError>;

    /// Checks rows of the store against the entries of the log and the entries against the tree, in the order of their
    /// keys; at most `limit` rows, and some ten milliseconds long. What differs is in the answer, and does not end it.
    async fn audit(
        &self,
        network: &NetworkName,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Audited, StoreError>;

    /// Packets of a case. Goes through all packets, `limit` at a time.
    async fn packets_of(
        &self,
        case: CaseRef,
        after: Option<PacketId>,
        limit: usize,
    ) -> Result<Page<PacketId, PacketId>, StoreError>;

    /// What stands in any recipient's queue and was accepted before a moment. Goes through all queues, `limit`
    /// rows at a time.
    async fn deliveries(
        &self,
        before: Timestamp,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<OpenDelivery, Vec<u8>>, StoreError>;

    /// The last packet of each case in which somebody must keep in contact.
    async fn contacts(
        &self,
        after: Option<CaseRef>,
        limit: usize,
    ) -> Result<Page<LastContact, CaseRef>, StoreError>;

    /// Emergencies whose review no statement has brought yet.
    async fn reviews(
        &self,
        after: Option<(CaseRef, PacketId)>,
        limit: usize,
    ) -> Result<Page<OpenReview, (CaseRef, PacketId)>, StoreError>;

    // ---- retention

    /// Packets that ended before a moment and that nobody needs on record to follow their case. Goes through all
    /// packets, `limit` rows at a time.
    async fn ended(
        &self,
        before: Timestamp,
        after: Option<PacketId>,
        limit: usize,
    ) -> Result<Page<EndedPacket, PacketId>, StoreError>;

    /// The operator's acts and the refused attempts that were logged before a moment, from where the log was gone
    /// through last; looks at `limit` entries.
    async fn acts(&self, before: Timestamp, limit: usize) -> Result<Acts, StoreError>;

    /// Positions of the entries of a case that go next.
    async fn of_case(&self, case: CaseRef) -> Result<Vec<u64>, StoreError>;

    /// Lets records go whose retention has ended; their leaves stay. `entry` says how many (in `left_out`), and is
    /// committed with it; `None` if none. Broken off it is begun anew: what went before gives [`Forgot::Changed`].
    async fn forget(&self, forgetting: Forgetting, entry: Option<NewEntry>) -> Result<Forgot, StoreError>;

    // ---- other brokers on the store

    /// What changes on the store from now on, whoever changes it, each word after its change is durable; `None`: this
    /// process is alone on the store. Words may be lost: a listener that lags hears [`Heard::Everything`], and everybody
    /// looks by itself too.
    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<Heard>> {
        None
    }

    /// Whether other brokers may use the store while this one does.
    fn is_shared(&self) -> bool {
        self.heard().is_some()
    }

    // ---- state of the store itself

    /// Whether it can be relied on just now.
    fn health(&self) -> StoreHealth;

    /// Finishes what was begun, refuses everything after, and releases the store's lock.
    async fn close(&self);
}
