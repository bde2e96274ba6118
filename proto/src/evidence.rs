//! Evidence: what a log entry says, how it is hidden in a leaf that says nothing but when, and how
//! anyone it is shown to checks it offline. docs/format/log.md is the specification.

use aws_lc_rs::hmac;
use bytes::Bytes;
use prost::Message;
use rand::RngCore;
use zeroize::Zeroizing;

use crate::ids::{CaseRef, Digest, EntryId, PacketId};
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::tlog::checkpoint::{CheckpointError, ORIGIN_MAX_BYTES, SignedCheckpoint};
use crate::tlog::hash::leaf_hash;
use crate::tlog::proof::ProofError;
use crate::tlog::shards::Opens;
use crate::wire;

mod event;

mod decision;

pub mod steps;

pub use decision::{Decision, PartDecision};
pub use event::Event;

/// First field of a leaf.
pub const LEAF_TYPE: &str = "schakel.v1.Leaf";
/// First field of a body.
pub const BODY_TYPE: &str = "schakel.v1.EvidenceBody";
/// First field of a decision.
pub const DECISION_TYPE: &str = "schakel.v1.Decision";
/// Longest leaf, in bytes.
pub const LEAF_MAX_BYTES: usize = 512;
/// Longest body, in bytes.
pub const BODY_MAX_BYTES: usize = 4 * 1024;
/// Longest opened decision, in bytes.
pub const DECISION_MAX_BYTES: usize = 512 * 1024;
/// The obligation that follows when the ground of a delivery has ended; decisions need not name it.
pub const NO_FURTHER_USE: &str = "no-further-use";
/// What the recipient's people say of a part that is not what its label says. It stands in the place of an
/// obligation; no decision names it, since every recipient may say so.
pub const MISLABELLED: &str = "mislabelled";
/// Longest obligation, in bytes.
pub const OBLIGATION_MAX_BYTES: usize = 128;
/// Longest reason code, in bytes.
pub const REASON_MAX_BYTES: usize = 64;
/// Longest name of an operator's user, in bytes.
pub const ACTOR_MAX_BYTES: usize = 64;
const COMMITMENT_LABEL: &[u8] = b"schakel/leaf/v1";
const SALT_LABEL: &[u8] = b"schakel/leaf-salt/v1";

/// Why evidence does not prove what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Leaf, body or decision does not parse, is too long, or names another type.
    #[error("evidence: {0} is malformed")]
    Malformed(&'static str),
    /// Of another network.
    #[error("evidence: of another network")]
    Network,
    /// The leaf does not commit to the body under the salt.
    #[error("evidence: the leaf does not commit to the body")]
    Commitment,
    /// An opening or attachment does not match its digest in the body.
    #[error("evidence: {0} does not match its digest")]
    Digest(&'static str),
    /// The checkpoint is not the log's, or of another size.
    #[error("evidence: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The inclusion proof does not hold.
    #[error("evidence: {0}")]
    Proof(#[from] ProofError),
}

/// The key that gives the salts of one case (or of the entries of no case). Erasing it erases the
/// meaning of its leaves; the tree stays valid.
#[derive(Clone)]
pub struct ErasureKey(Zeroizing<[u8; 32]>);

/// Silent: never shows the secret.
impl std::fmt::Debug for ErasureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ErasureKey")
    }
}

impl ErasureKey {
    /// A new one.
    pub fn random(rng: &mut dyn RngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes, to be kept in a file of mode 0600 outside store and backups.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The salt of one body: `HMAC-SHA-256(key, "schakel/leaf-salt/v1" || body)`.
    pub fn salt(&self, body: &[u8]) -> Salt {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(SALT_LABEL);
        context.update(body);
        let mut salt = [0; 32];
        for (to, from) in salt.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Salt(salt)
    }
}

/// The salt of one leaf's commitment. Shown with the body to those concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A leaf and the body that it commits to, as they are stored; only [`seal`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    leaf: Bytes,
    leaf_hash: Digest,
    body: Bytes,
}

impl SealedEntry {
    /// The leaf: the bytes that the tree hashes.
    pub const fn leaf(&self) -> &Bytes {
        &self.leaf
    }
    /// `SHA-256(0x00 || leaf)`: names the entry from now on.
    pub const fn leaf_hash(&self) -> Digest {
        self.leaf_hash
    }
    /// The encoded body.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// `SHA-256("schakel/leaf/v1" || salt || body)`.
fn commitment(salt: &[u8], body: &[u8]) -> Digest {
    Digest::of_all(&[COMMITMENT_LABEL, salt, body])
}

/// Encodes a body and makes the leaf that commits to it. `type` and `network` of the body are set
/// here; the leaf's time is the body's.
pub fn seal(network: &NetworkName, mut body: wire::EvidenceBody, key: &ErasureKey) -> SealedEntry {
    BODY_TYPE.clone_into(&mut body.r#type);
    network.as_str().clone_into(&mut body.network);
    let at_ms = body.at_ms;
    let body = Bytes::from(body.encode_to_vec());
    let commitment = commitment(key.salt(&body).as_bytes(), &body);
    let leaf = wire::Leaf {
        r#type: LEAF_TYPE.to_owned(),
        network: network.as_str().to_owned(),
        at_ms,
        commitment: Bytes::copy_from_slice(commitment.as_bytes()),
    };
    let leaf = Bytes::from(leaf.encode_to_vec());
    SealedEntry {
        leaf_hash: leaf_hash(&leaf),
        leaf,
        body,
    }
}

/// Encodes a decision and hides it behind a digest: the opening, and `SHA-256(nonce || decision)` for
/// `shown_digest` or `hidden_digest`. `type` and `network` are set here.
pub fn conceal(
    network: &NetworkName,
    mut decision: wire::Decision,
    rng: &mut dyn RngCore,
) -> (wire::Opening, Digest) {
    DECISION_TYPE.clone_into(&mut decision.r#type);
    network.as_str().clone_into(&mut decision.network);
    let mut nonce = [0; 32];
    rng.fill_bytes(&mut nonce);
    let descriptor = Bytes::from(decision.encode_to_vec());
    let digest = Digest::of_all(&[&nonce, &descriptor]);
    (
        wire::Opening {
            nonce: Bytes::copy_from_slice(&nonce),
            descriptor,
        },
        digest,
    )
}

/// Digest of a signed thing as an attachment: `SHA-256(SHA-256(bytes) || SHA-256(signature))`.
pub fn attachment_digest(signed: &wire::Signed) -> Digest {
    let (bytes, signature) = (Digest::of(&signed.bytes), Digest::of(&signed.signature));
    Digest::of_all(&[bytes.as_bytes(), signature.as_bytes()])
}

/// What an entry says; unset fields of the body are `None` or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Random name of the body.
    pub entry_id: EntryId,
    /// What happened.
    pub event: Event,
    /// When, by the broker's clock.
    pub at: Timestamp,
    /// The case it is about.
    pub case: Option<CaseRef>,
    /// The packet it is about.
    pub packet: Option<PacketId>,
    /// SHA-256 of that packet's manifest.
    pub manifest_digest: Option<Digest>,
    /// The agency that caused it.
    pub sender: Option<AgencyId>,
    /// The agency it concerns beside the sender.
    pub recipient: Option<AgencyId>,
    /// Reason code, or empty.
    pub reason: String,
    /// Of a rejection: how many of the same sender before it got no entry of their own.
    pub left_out: u64,
    /// Digest of the decision on the parts that the recipient may know of.
    pub shown_digest: Option<Digest>,
    /// Digest of the decision on all other parts.
    pub hidden_digest: Option<Digest>,
    /// Digest of the signed thing that the event is about.
    pub attachment_digest: Option<Digest>,
    /// Of an operator's act: the Unix user who asked; else empty.
    pub actor: String,
    /// Of the end or the beginning of a shard: the one after or before it.
    pub shard: Option<ShardLink>,
}

/// The shard after one that was frozen, or the one before one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLink {
    /// Its name.
    pub origin: String,
    /// Where the one before ended: its size and root. None: it is the one after.
    pub end: Option<(u64, Digest)>,
}

impl ShardLink {
    /// As it stands in a body.
    pub fn to_wire(&self) -> wire::ShardLink {
        let end = self.end.as_ref();
        wire::ShardLink {
            origin: self.origin.clone(),
            size: end.map_or(0, |(size, _)| *size),
            root: end.map(|(_, root)| root.to_vec().into()).unwrap_or_default(),
        }
    }

    fn parse(link: &wire::ShardLink, event: Event) -> Result<Self, EvidenceError> {
        let bad = EvidenceError::Malformed("shard");
        let root = optional(&link.root, "shard", Digest::try_from)?;
        let end = root.map(|root| (link.size, root));
        let fits = match event {
            Event::ShardFrozen => end.is_none() && link.size == 0,
            Event::ShardOpened => end.is_some() && link.size > 0,
            _ => false,
        };
        if fits && link.origin.len() <= ORIGIN_MAX_BYTES && link.origin.is_ascii() {
            let origin = link.origin.clone();
            Ok(Self { origin, end })
        } else {
            Err(bad)
        }
    }
}

fn optional<'a, T, E>(
    value: &'a [u8],
    what: &'static str,
    parse: impl FnOnce(&'a [u8]) -> Result<T, E>,
) -> Result<Option<T>, EvidenceError> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).map_err(|_| EvidenceError::Malformed(what))
}

fn agency(name: &str, what: &'static str) -> Result<Option<AgencyId>, EvidenceError> {
    if name.is_empty() {
        return Ok(None);
    }
    AgencyId::new(name)
        .map(Some)
        .map_err(|_| EvidenceError::Malformed(what))
}

fn check_header(
    (got, wanted): (&str, &str),
    got_network: &str,
    network: &NetworkName,
    what: &'static str,
) -> Result<(), EvidenceError> {
    if got != wanted {
        return Err(EvidenceError::Malformed(what));
    }
    if got_network == network.as_str() {
        Ok(())
    } else {
        Err(EvidenceError::Network)
    }
}

impl Body {
    /// Parses an encoded body.
    pub fn parse(bytes: &[u8], network: &NetworkName) -> Result<Self, EvidenceError> {
        let bad = EvidenceError::Malformed("body");
        if bytes.len() > BODY_MAX_BYTES {
            return Err(bad);
        }
        let body = wire::EvidenceBody::decode(bytes).map_err(|_| bad.clone())?;
        check_header((&body.r#type, BODY_TYPE), &body.network, network, "body")?;
        if body.reason.len() > REASON_MAX_BYTES || body.actor.len() > ACTOR_MAX_BYTES {
            return Err(bad);
        }
        let digest = |value, what| optional::<Digest, _>(value, what, Digest::try_from);
        let event = Event::parse(&body.event).ok_or(EvidenceError::Malformed("event"))?;
        let shard = body.shard.as_ref().map(|link| ShardLink::parse(link, event));
        Ok(Self {
            entry_id: EntryId::try_from(&*body.entry_id).map_err(|_| EvidenceError::Malformed("entry id"))?,
            event,
            shard: shard.transpose()?,
            at: Timestamp::from_millis(body.at_ms),
            case: optional(&body.case_ref, "case reference", CaseRef::try_from)?,
            packet: optional(&body.packet_id, "packet id", PacketId::try_from)?,
            manifest_digest: digest(&body.manifest_digest, "manifest digest")?,
            sender: agency(&body.sender, "sender")?,
            recipient: agency(&body.recipient, "recipient")?,
            reason: body.reason,
            left_out: body.left_out,
            shown_digest: digest(&body.shown_digest, "shown digest")?,
            hidden_digest: digest(&body.hidden_digest, "hidden digest")?,
            attachment_digest: digest(&body.attachment_digest, "attachment digest")?,
            actor: body.actor,
        })
    }
}

/// Evidence that holds: the body's fields, where its leaf stands, and what was opened. Only [`check`]
/// makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedEvidence {
    body: Body,
    leaf_hash: Digest,
    index: u64,
    checkpoint: SignedCheckpoint,
    shown: Option<Decision>,
    hidden: Option<Decision>,
    attachment: Option<wire::Signed>,
}

impl CheckedEvidence {
    /// What the entry says.
    pub const fn body(&self) -> &Body {
        &self.body
    }
    /// Names the entry.
    pub const fn leaf_hash(&self) -> Digest {
        self.leaf_hash
    }
    /// Position in the log, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }
    /// Size of the tree it was proved in.
    pub const fn tree_size(&self) -> u64 {
        self.checkpoint.size()
    }
    /// The signed checkpoint it was proved under.
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
    /// The decision on the parts that the recipient may know of, if it was opened.
    pub const fn shown(&self) -> Option<&Decision> {
        self.shown.as_ref()
    }
    /// The decision on all other parts, if it was opened.
    pub const fn hidden(&self) -> Option<&Decision> {
        self.hidden.as_ref()
    }
    /// The signed thing the event is about, if it was given. Its digest was checked, **its signature
    /// was not**.
    pub const fn attachment(&self) -> Option<&wire::Signed> {
        self.attachment.as_ref()
    }
}

/// Checks everything that can be checked offline: checkpoint signature, inclusion, commitment, openings
/// and the attachment's digest (not the attachment's own signature).
pub fn check(
    evidence: &wire::Evidence,
    network: &NetworkName,
    log: &(impl Opens + ?Sized),
) -> Result<CheckedEvidence, EvidenceError> {
    let checkpoint = steps::checkpoint(evidence, log)?;
    let included = steps::included(evidence, &checkpoint)?;
    let body = steps::body(evidence, network)?;
    let (shown, hidden) = (evidence.shown.as_ref(), evidence.hidden.as_ref());
    let shown =
        shown.map(|opening| steps::opened(opening, body.shown_digest, &body, network, "shown decision"));
    let hidden =
        hidden.map(|opening| steps::opened(opening, body.hidden_digest, &body, network, "hidden decision"));
    let (shown, hidden) = (shown.transpose()?, hidden.transpose()?);
    if let Some(signed) = &evidence.attachment {
        steps::attached(signed, &body)?;
    }
    let attachment = evidence.attachment.clone();
    let (leaf_hash, index) = (included.leaf(), included.index());
    Ok(CheckedEvidence {
        body,
        leaf_hash,
        index,
        checkpoint,
        shown,
        hidden,
        attachment,
    })
}

/// Checks a leaf against the body that it commits to, under the salt that the case's key gives.
///
/// # Errors
/// Leaf or body does not parse, or the leaf commits to something else.
pub fn check_leaf(
    (leaf, body): (&[u8], &[u8]),
    network: &NetworkName,
    key: &ErasureKey,
) -> Result<Body, EvidenceError> {
    if leaf.len() > LEAF_MAX_BYTES {
        return Err(EvidenceError::Malformed("leaf"));
    }
    let leaf = wire::Leaf::decode(leaf).map_err(|_| EvidenceError::Malformed("leaf"))?;
    check_header((&leaf.r#type, LEAF_TYPE), &leaf.network, network, "leaf")?;
    if *leaf.commitment != *commitment(key.salt(body).as_bytes(), body).as_bytes() {
        return Err(EvidenceError::Commitment);
    }
    let body = Body::parse(body, network)?;
    if body.at.millis() == leaf.at_ms {
        Ok(body)
    } else {
        Err(EvidenceError::Malformed("time"))
    }
}

#[cfg(test)]
mod tests;
