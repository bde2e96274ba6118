//! An opened decision: what was decided for one recipient of one packet, on which facts.

use prost::Message;

use super::{DECISION_MAX_BYTES, DECISION_TYPE, EvidenceError, check_header, optional};
use crate::ids::{Digest, PacketId, PartId};
use crate::limits;
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::wire;

/// One part's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartDecision {
    /// The part.
    pub part: PartId,
    /// `deliver`, `withhold`, `hold-for-consent` or `deny-packet`.
    pub outcome: String,
    /// Reason code.
    pub reason: String,
    /// Obligations on the recipient.
    pub obligations: Vec<String>,
    /// Names of the determining policies.
    pub policies: Vec<String>,
}

/// An opened decision; only [`check`](super::check) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    packet: PacketId,
    recipient: AgencyId,
    at: Timestamp,
    bundle_digest: Digest,
    bundle_version: u64,
    facts_head: Option<Digest>,
    facts_count: u64,
    directory_version: u64,
    parts: Vec<PartDecision>,
}

impl Decision {
    /// The packet decided on.
    pub const fn packet(&self) -> PacketId {
        self.packet
    }
    /// For whom.
    pub const fn recipient(&self) -> &AgencyId {
        &self.recipient
    }
    /// When.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
    /// Policy bundle decided by.
    pub const fn bundle_digest(&self) -> Digest {
        self.bundle_digest
    }
    /// Version of that bundle.
    pub const fn bundle_version(&self) -> u64 {
        self.bundle_version
    }
    /// Head of the case's facts decided on; `None`: no facts.
    pub const fn facts_head(&self) -> Option<Digest> {
        self.facts_head
    }
    /// Number of facts decided on.
    pub const fn facts_count(&self) -> u64 {
        self.facts_count
    }
    /// Version of the directory decided by.
    pub const fn directory_version(&self) -> u64 {
        self.directory_version
    }
    /// Per part.
    pub fn parts(&self) -> &[PartDecision] {
        &self.parts
    }

    pub(super) fn parse(bytes: &[u8], network: &NetworkName) -> Result<Self, EvidenceError> {
        let bad = || EvidenceError::Malformed("decision");
        if bytes.len() > DECISION_MAX_BYTES {
            return Err(bad());
        }
        let decision = wire::Decision::decode(bytes).map_err(|_| bad())?;
        check_header(
            (&decision.r#type, DECISION_TYPE),
            &decision.network,
            network,
            "decision",
        )?;
        if decision.parts.len() > limits::PARTS_MAX_COUNT {
            return Err(bad());
        }
        let parts = decision.parts.into_iter().map(|part| {
            Ok(PartDecision {
                part: PartId::try_from(&*part.part_id).map_err(|_| bad())?,
                outcome: part.outcome,
                reason: part.reason,
                obligations: part.obligations,
                policies: part.policies,
            })
        });
        Ok(Self {
            packet: PacketId::try_from(&*decision.packet_id).map_err(|_| bad())?,
            recipient: AgencyId::new(&decision.recipient).map_err(|_| bad())?,
            at: Timestamp::from_millis(decision.at_ms),
            bundle_digest: Digest::try_from(&*decision.bundle_digest).map_err(|_| bad())?,
            bundle_version: decision.bundle_version,
            facts_head: optional(&decision.facts_head, "decision", Digest::try_from)?,
            facts_count: decision.facts_count,
            directory_version: decision.directory_version,
            parts: parts.collect::<Result<_, EvidenceError>>()?,
        })
    }
}
