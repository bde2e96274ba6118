//! Rows, encoded as protobuf messages: fields are only ever added.

use prost::Message;
use schakel_proto::wire;

/// A packet.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PacketRow {
    #[prost(bytes = "vec", tag = "1")]
    pub manifest_digest: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub case: Vec<u8>,
    #[prost(string, tag = "3")]
    pub sender: String,
    #[prost(int64, tag = "4")]
    pub accepted_ms: i64,
    #[prost(int64, tag = "5")]
    pub expires_ms: i64,
    #[prost(uint32, tag = "6")]
    pub priority: u32,
    #[prost(bytes = "vec", tag = "7")]
    pub leaf: Vec<u8>,
    /// 0 accepted, 1 settled, 2 expired, 3 recalled, 4 forgotten (then only digest, leaf and time of acceptance are left).
    #[prost(uint32, tag = "8")]
    pub stage: u32,
    #[prost(string, repeated, tag = "9")]
    pub recipients: Vec<String>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub parts: Vec<Vec<u8>>,
}

/// A part.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartRow {
    #[prost(message, optional, tag = "1")]
    pub opening: Option<wire::Opening>,
    #[prost(string, repeated, tag = "2")]
    pub recipients: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub sealings: Vec<SealingRow>,
    #[prost(bool, tag = "4")]
    pub purged: bool,
}

/// One encryption of a part.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SealingRow {
    #[prost(int32, tag = "1")]
    pub profile: i32,
    #[prost(uint64, tag = "2")]
    pub length: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
    /// In the store itself, not in a file.
    #[prost(bool, tag = "4")]
    pub inline: bool,
}

/// State of a part for a recipient.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateRow {
    /// Position in `Stage::ALL`.
    #[prost(uint32, tag = "1")]
    pub stage: u32,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(string, repeated, tag = "3")]
    pub obligations: Vec<String>,
    #[prost(int64, tag = "4")]
    pub since_ms: i64,
    #[prost(bool, tag = "5")]
    pub possibly_disclosed: bool,
    #[prost(bytes = "vec", tag = "6")]
    pub leaf: Vec<u8>,
}

/// The last committed hand-over for a recipient of a packet.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HandedRow {
    #[prost(bytes = "vec", tag = "1")]
    pub token: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub leaf: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub delivers: bool,
    /// The ground it was decided on.
    #[prost(uint64, tag = "4")]
    pub facts_count: u64,
    #[prost(uint64, tag = "5")]
    pub bundle_version: u64,
    #[prost(uint64, tag = "6")]
    pub directory_version: u64,
}

/// A consignment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConsignmentRow {
    #[prost(bytes = "vec", tag = "1")]
    pub packet: Vec<u8>,
    #[prost(string, tag = "2")]
    pub recipient: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub parts: Vec<Vec<u8>>,
    /// What the decision bound the recipient to, in the order of `parts`.
    #[prost(message, repeated, tag = "4")]
    pub bound: Vec<BoundRow>,
}

/// What a hand-over bound the recipient of a part to.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BoundRow {
    #[prost(string, repeated, tag = "1")]
    pub obligations: Vec<String>,
}

/// A log entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub leaf: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: bytes::Bytes,
    #[prost(bytes = "vec", tag = "3")]
    pub case: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub shown: Option<wire::Opening>,
    #[prost(message, optional, tag = "5")]
    pub hidden: Option<wire::Opening>,
    #[prost(message, optional, tag = "6")]
    pub attachment: Option<wire::Signed>,
    #[prost(message, repeated, tag = "7")]
    pub concerns: Vec<ConcernRow>,
}

/// An agency that an entry is shown to.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConcernRow {
    #[prost(string, tag = "1")]
    pub agency: String,
    #[prost(bool, tag = "2")]
    pub sees_hidden: bool,
}

/// A fact of a case.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FactRow {
    #[prost(message, optional, tag = "1")]
    pub signed: Option<wire::Signed>,
    #[prost(bytes = "bytes", tag = "2")]
    pub head: bytes::Bytes,
    #[prost(int64, tag = "3")]
    pub accepted_ms: i64,
}

/// An accepted statement, by id.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatementRow {
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub head: Vec<u8>,
    #[prost(uint64, tag = "4")]
    pub roster_version: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub leaf: Vec<u8>,
}

/// Head of a case's facts.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CaseRow {
    #[prost(bytes = "vec", tag = "1")]
    pub head: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub count: u64,
    #[prost(uint64, tag = "3")]
    pub roster_version: u64,
}

/// A ceiling.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CeilingRow {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// The last contact about a case in which somebody must keep in contact.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContactRow {
    #[prost(bytes = "vec", tag = "1")]
    pub packet: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}

/// An emergency that waits for its review.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReviewRow {
    #[prost(int64, tag = "1")]
    pub since_ms: i64,
    #[prost(int64, tag = "2")]
    pub due_ms: i64,
}

/// The newest checkpoint.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointRow {
    #[prost(uint64, tag = "1")]
    pub size: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub root: Vec<u8>,
    #[prost(bytes = "bytes", tag = "3")]
    pub note: bytes::Bytes,
}

/// The mark of a store that must not sign.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HaltRow {
    /// 1 restored, 2 moved.
    #[prost(uint32, tag = "1")]
    pub cause: u32,
    /// Where its tree ends.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub root: Vec<u8>,
}

/// A shard of the log.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ShardRow {
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Leaves of the tree before it.
    #[prost(uint64, tag = "2")]
    pub first: u64,
    /// The leaf that it ends with, once its end was asked for.
    #[prost(bytes = "vec", tag = "3")]
    pub closing: Vec<u8>,
    /// Its last checkpoint, once it is frozen.
    #[prost(uint64, tag = "4")]
    pub end_size: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub end_root: Vec<u8>,
    #[prost(bytes = "bytes", tag = "6")]
    pub end_note: bytes::Bytes,
}

/// A directory or bundle that was in force.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptRow {
    /// Its own digest, by which decisions name it.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
    /// SHA-256 of the bytes as signed.
    #[prost(bytes = "vec", tag = "2")]
    pub sha256: Vec<u8>,
    /// How many.
    #[prost(uint64, tag = "3")]
    pub length: u64,
    /// The bytes themselves, if they are few; else they lie in a file.
    #[prost(bytes = "vec", tag = "4")]
    pub inline: Vec<u8>,
}

/// A checkpoint held up to the witnesses.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CandidateRow {
    /// As the log signed it.
    #[prost(bytes = "bytes", tag = "1")]
    pub note: bytes::Bytes,
    #[prost(int64, tag = "2")]
    pub since_ms: i64,
}
