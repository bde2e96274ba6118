//! Makes log entries: the body, the concealed decisions, and the leaf that says nothing but when.

use rand::RngCore;
use schakel_proto::evidence::{self, Event, ShardLink};
use schakel_proto::ids::{CaseRef, Digest, EntryId, PacketId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::erasure::ErasureKeys;
use crate::store::{Concern, NewEntry, StoreError};

/// What an entry is to say. Start with [`EntryDraft::new`], set what applies.
#[derive(Clone, Debug)]
pub struct EntryDraft {
    /// What happened.
    pub event: Event,
    /// When, by the broker's clock.
    pub at: Timestamp,
    /// The case; its erasure key salts the leaf. `None`: the key of no case.
    pub case: Option<CaseRef>,
    /// The packet.
    pub packet: Option<PacketId>,
    /// SHA-256 of its manifest.
    pub manifest_digest: Option<Digest>,
    /// The agency that caused it.
    pub sender: Option<AgencyId>,
    /// The agency it concerns beside the sender.
    pub recipient: Option<AgencyId>,
    /// Reason code, or empty.
    pub reason: String,
    /// Of a rejection: how many before it got no entry.
    pub left_out: u64,
    /// Of an operator's act: the Unix user who asked; else empty.
    pub actor: String,
    /// Of the end or the beginning of a shard: the one after or before it.
    pub shard: Option<ShardLink>,
    /// The decision, if the event is one.
    pub decision: Option<DecisionDraft>,
    /// The signed thing the event is about.
    pub attachment: Option<wire::Signed>,
    /// Who is shown it.
    pub concerns: Vec<Concern>,
}

impl EntryDraft {
    /// An entry that says nothing but what and when.
    pub const fn new(event: Event, at: Timestamp) -> Self {
        Self {
            event,
            at,
            case: None,
            packet: None,
            manifest_digest: None,
            sender: None,
            recipient: None,
            reason: String::new(),
            left_out: 0,
            actor: String::new(),
            shard: None,
            decision: None,
            attachment: None,
            concerns: Vec::new(),
        }
    }

    /// What is left to say of a case that was erased meanwhile: that something of this kind happened, and when. It names
    /// neither case nor packet nor agency and brings nothing signed, for each of these would lead back to the case;
    /// and since it says nothing about anything, it is shown to nobody.
    fn of_an_erased_case(self) -> Result<Self, StoreError> {
        match self.event {
            // These would add to the case, hand something of it over, or be nothing without what was signed.
            Event::SubmissionAcceptance
            | Event::ContentConsignment
            | Event::ContentWithheld
            | Event::ContentHandover
            | Event::ContentHandoverFailure
            | Event::ObligationFulfilled
            | Event::Recalled
            | Event::StatementAccepted
            | Event::FactsChanged => Err(StoreError::Erased),
            event => Ok(Self {
                reason: self.reason,
                left_out: self.left_out,
                actor: self.actor,
                ..Self::new(event, self.at)
            }),
        }
    }

    /// The same, shown to `agency`; with the hidden decision if `sees_hidden`.
    #[must_use]
    pub fn concerning(mut self, agency: &AgencyId, sees_hidden: bool) -> Self {
        self.concerns.push(Concern {
            agency: agency.clone(),
            sees_hidden,
        });
        self
    }
}

/// A decision in two halves: what the recipient may know of, and everything else.
#[derive(Clone, Debug)]
pub struct DecisionDraft {
    shown: wire::Decision,
    hidden: wire::Decision,
}

impl DecisionDraft {
    /// Splits a decision on all parts: `deliver` parts are shown, all others hidden.
    pub fn split(whole: wire::Decision) -> Self {
        let (mut shown, mut hidden) = (whole.clone(), whole);
        shown.parts.retain(|p| p.outcome == "deliver");
        hidden.parts.retain(|p| p.outcome != "deliver");
        Self { shown, hidden }
    }
}

/// Makes entries for one network.
#[derive(Clone, Debug)]
pub struct EntryMaker {
    network: NetworkName,
    keys: ErasureKeys,
}

impl EntryMaker {
    /// With the keys that salt the leaves.
    pub const fn new(network: NetworkName, keys: ErasureKeys) -> Self {
        Self { network, keys }
    }

    /// The keys that salt the leaves.
    pub const fn keys(&self) -> &ErasureKeys {
        &self.keys
    }

    /// Seals a draft. The erasure key is made, and durable, if the case has none yet. Of a case that was erased only
    /// its kind and time are kept, under the key of no case.
    ///
    /// # Errors
    /// The key cannot be had, or the case was erased and the entry would add to it.
    pub async fn make(
        &self,
        draft: EntryDraft,
        rng: &mut (dyn RngCore + Send),
    ) -> Result<NewEntry, StoreError> {
        let (draft, key) = match self.keys.obtain(draft.case, rng).await {
            Err(StoreError::Erased) => (draft.of_an_erased_case()?, self.keys.obtain(None, rng).await?),
            key => (draft, key?),
        };
        let bytes = |b: &[u8]| bytes::Bytes::copy_from_slice(b);
        let digest = |d: Option<Digest>| d.map(|d| bytes(d.as_bytes())).unwrap_or_default();
        let name = |a: Option<AgencyId>| a.map(|a| a.as_str().to_owned()).unwrap_or_default();
        let (shown, hidden) = match draft.decision {
            None => (None, None),
            Some(d) => {
                let shown = evidence::conceal(&self.network, d.shown, rng);
                (Some(shown), Some(evidence::conceal(&self.network, d.hidden, rng)))
            }
        };
        let body = wire::EvidenceBody {
            entry_id: bytes(EntryId::random(rng).as_bytes()),
            event: draft.event.as_str().to_owned(),
            at_ms: draft.at.millis(),
            case_ref: draft.case.map(|c| bytes(c.as_bytes())).unwrap_or_default(),
            packet_id: draft.packet.map(|p| bytes(p.as_bytes())).unwrap_or_default(),
            manifest_digest: digest(draft.manifest_digest),
            sender: name(draft.sender),
            recipient: name(draft.recipient),
            reason: draft.reason,
            left_out: draft.left_out,
            shown_digest: digest(shown.as_ref().map(|s| s.1)),
            hidden_digest: digest(hidden.as_ref().map(|h| h.1)),
            actor: draft.actor,
            shard: draft.shard.as_ref().map(ShardLink::to_wire),
            attachment_digest: digest(draft.attachment.as_ref().map(evidence::attachment_digest)),
            ..Default::default()
        };
        let sealed = evidence::seal(&self.network, body, &key);
        let (shown, hidden) = (shown.map(|s| s.0), hidden.map(|h| h.0));
        NewEntry::new(
            &self.network,
            sealed,
            shown,
            hidden,
            draft.attachment,
            draft.concerns,
        )
        .map_err(|_| StoreError::Misused("an entry that does not fit its limits"))
    }
}
