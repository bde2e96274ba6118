//! What the inbox keeps of one hand-over, as `state.json` in its folder says.

use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::{AgencyId, Code};
use serde::{Deserialize, Serialize};

use crate::request::SubjectRequest;

/// What the agent answered, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Stored durably, opened and found good.
    Received,
    /// Not accepted; the reason code stands beside it, what came is in quarantine.
    Refused,
}

impl Answer {
    /// The word in the acknowledgement.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Refused => "refused",
        }
    }
}

/// Names inside the seal, made fit for showing; kept only where the inbox is plain at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The file's name at the sender: for showing, never a name of ours.
    pub file_name: String,
    /// The title.
    pub title: String,
    /// The media type as the sender says.
    pub media_type: String,
}

/// One part of the inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceivedPart {
    /// Its id.
    pub part: PartId,
    /// Category code.
    pub category: Option<Code>,
    /// Whom it is about.
    pub subjects: Vec<SubjectRequest>,
    /// Secrecy of its source.
    pub secrecy: Option<Code>,
    /// Length of the content, bytes.
    pub length: u64,
    /// Name of its file in this folder; made from its id.
    pub file: String,
    /// Bytes of the session-key packet at the begin of the file; 0: the file is the content.
    pub key_packet_bytes: u64,
    /// Reason code of the decision to deliver it.
    pub reason: String,
    /// What the decision binds us to.
    pub obligations: Vec<String>,
    /// Names inside the seal, if they may be kept in the open.
    pub names: Option<Names>,
    /// Recognises the content where it must not be sent on; see `inbox::marks`.
    #[serde(default)]
    pub mark: Option<Digest>,
    /// When the content was destroyed; the record stays.
    #[serde(default)]
    pub deleted_ms: Option<i64>,
    /// The ground of the delivery has ended: what was known by then, and what follows.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// What we said of it after the answer.
    #[serde(default)]
    pub later: Vec<Later>,
}

impl ReceivedPart {
    /// What we said of this kind, about this obligation.
    pub fn later(&self, kind: Kind, obligation: &str) -> Option<&Later> {
        let mut all = self.later.iter();
        all.find(|said| said.kind == kind && said.obligation == obligation)
    }
}

/// The ground of a delivery has ended: asked again now, it would not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Reason code of our own rules, on the facts that are shown to us.
    pub reason: String,
    /// Since when we know it, in milliseconds since 1970.
    pub since_ms: i64,
    /// What follows for us.
    pub obligation: String,
}

/// What is said later of a part that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The agency's people or systems have taken it.
    Taken,
    /// An obligation was carried out.
    Fulfilled,
}

impl Kind {
    /// The word in the acknowledgement.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Fulfilled => "fulfilled",
        }
    }
}

/// One later word on a part; signed and sent until the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// What kind of word.
    pub kind: Kind,
    /// The obligation that was carried out; empty if taken.
    pub obligation: String,
    /// When it was done, in milliseconds since 1970.
    pub done_ms: i64,
    /// Leaf of its log entry; none: the broker has not settled it yet.
    pub settled: Option<Digest>,
}

/// One hand-over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Version of this form: 1.
    pub format: u32,
    /// The packet.
    pub packet: PacketId,
    /// Leaf of the ContentConsignment; also the folder's name.
    pub consignment: Digest,
    /// SHA-256 of the manifest.
    pub manifest_digest: Digest,
    /// What we answered.
    pub answer: Answer,
    /// Reason code of a refusal; empty: received.
    pub reason: String,
    /// When it was verified; the answer was made then.
    pub at_ms: i64,
    /// Version of the directory that it was verified with.
    pub directory_version: u64,
    /// The sender, as the manifest says.
    pub sender: AgencyId,
    /// The case.
    pub case: CaseRef,
    /// Purpose code; none: refused before the manifest held.
    pub purpose: Option<Code>,
    /// Legal basis code; none: refused before the manifest held.
    pub basis: Option<Code>,
    /// Urgency code; none: refused before the manifest held.
    pub urgency: Option<Code>,
    /// When it was decided, by the broker's clock, in milliseconds since 1970.
    #[serde(default)]
    pub decided_ms: i64,
    /// How many facts of the case it was decided on.
    #[serde(default)]
    pub facts_count: u64,
    /// Whether our own policy engine came to the same decision; none: the facts were not shown to us.
    pub decided_again: Option<bool>,
    /// Parts that came with this hand-over and lie in this folder.
    pub parts: Vec<ReceivedPart>,
    /// Parts that came again (they lie in the folder of an earlier hand-over), or that were refused.
    pub again: Vec<PartId>,
    /// Leaf of the log entry about our answer; none: the broker has not settled it yet.
    pub settled: Option<Digest>,
    /// A later hand-over of the same parts is answered instead.
    pub superseded: bool,
    /// Our key that it was sealed to; none: refused before that was known.
    #[serde(default)]
    pub key: Option<Fingerprint>,
    /// The directory does not list that key any more: whoever got hold of it may read this.
    /// Known where it is shown, never stored as true.
    #[serde(default)]
    pub key_revoked: bool,
}

impl Delivery {
    /// Whether our answer must still be sent.
    pub fn is_open(&self) -> bool {
        self.settled.is_none() && !self.superseded
    }

    /// All parts that our answer is about.
    pub fn part_ids(&self) -> impl Iterator<Item = PartId> {
        self.parts
            .iter()
            .map(|p| p.part)
            .chain(self.again.iter().copied())
    }
}
