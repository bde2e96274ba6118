//! Facts: the accepted statements of a case, numbered and hash-chained; and the ceilings under which
//! no directory or bundle is ever accepted again.

use schakel_proto::ids::{CaseRef, Digest, PacketId, StatementId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::entry::NewEntry;

/// A verified and permitted statement.
#[derive(Clone, Debug)]
pub struct NewStatement {
    /// Made by the agency that signs it.
    pub statement: StatementId,
    /// The case.
    pub case: CaseRef,
    /// Who made it.
    pub agency: AgencyId,
    /// The signed statement.
    pub signed: wire::Signed,
    /// Head of the case's facts that it was judged on; `None`: there were none.
    pub expected_head: Option<Digest>,
    /// Number of the case's facts that it was judged on.
    pub expected_count: u64,
    /// Head after it: `statement::fact_head(expected_head, signed)`.
    pub head: Digest,
    /// Version of the bundle that it was judged by.
    pub bundle_version: u64,
    /// Version of the directory that it was judged by.
    pub directory_version: u64,
    /// Roster version after it.
    pub roster_version: u64,
    /// The packet whose emergency it reviews, if it is a review.
    pub reviews: Option<PacketId>,
    /// The broker's clock.
    pub accepted_at: Timestamp,
    /// `schakel:StatementAccepted`, with the statement attached.
    pub entry: NewEntry,
}

/// The answer to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedStatement {
    /// Its number in the case, from 1.
    pub number: u64,
    /// Head after it.
    pub head: Digest,
    /// Roster version after it.
    pub roster_version: u64,
    /// Of its entry.
    pub leaf_hash: Digest,
}

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementAdded {
    /// Durable. Parts of the case that were held stand in these recipients' queues again.
    New {
        /// The answer.
        answer: AcceptedStatement,
        /// Recipients with held parts to be decided again now.
        reconsider: Vec<AgencyId>,
    },
    /// It was accepted before: the original answer. Nothing changed.
    Repeated(AcceptedStatement),
    /// The case's facts, the bundle or the directory are others than it was judged on: judge again. Nothing changed.
    Conflict,
    /// This id was used for another statement. Nothing changed.
    ConflictingDigest,
}

/// All facts of a case at one moment.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Facts {
    /// In order, numbered from 1.
    pub entries: Vec<wire::FactEntry>,
    /// Head after the last; `None`: no facts.
    pub head: Option<Digest>,
    /// Roster version after the last.
    pub roster_version: u64,
}

impl Facts {
    /// How many there are.
    pub fn count(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }
}

/// Highest versions in force so far. Never lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ceilings {
    /// Directory version and digest.
    pub directory: Option<Ceiling>,
    /// Bundle version and digest.
    pub bundle: Option<Ceiling>,
}

/// One ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The version.
    pub version: u64,
    /// Digest of what has that version.
    pub digest: Digest,
}

/// Which ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CeilingOf {
    /// The directory's.
    Directory,
    /// The policy bundle's.
    Bundle,
}

/// How raising a ceiling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// Durable: this version is in force; every decision made on an older one is made again.
    New {
        /// Of the entry.
        leaf_hash: Digest,
    },
    /// It is in force already. Nothing changed.
    Same,
    /// A newer version, or another one with this number, was in force before: refuse it.
    Refused {
        /// What was in force.
        current: Ceiling,
    },
}
