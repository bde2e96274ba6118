//! The steps of checking one piece of evidence, for whoever lists each with its result. [`check`](super::check)
//! takes all of them.

use prost::Message;

use super::{
    Body, Decision, EvidenceError, LEAF_MAX_BYTES, LEAF_TYPE, attachment_digest, check_header, commitment,
};
use crate::ids::Digest;
use crate::party::NetworkName;
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::hash::leaf_hash;
use crate::tlog::proof::{self, Included};
use crate::tlog::shards::Opens;
use crate::wire;

/// The checkpoint is signed by the log, and of the size that the evidence says.
///
/// # Errors
/// It is not.
pub fn checkpoint(
    evidence: &wire::Evidence,
    log: &(impl Opens + ?Sized),
) -> Result<SignedCheckpoint, EvidenceError> {
    let checkpoint = log.open(&evidence.checkpoint)?;
    if checkpoint.size() == evidence.tree_size {
        Ok(checkpoint)
    } else {
        Err(EvidenceError::Malformed("tree size"))
    }
}

/// The leaf stands in the tree of a checkpoint.
///
/// # Errors
/// The inclusion proof does not lead there.
pub fn included(evidence: &wire::Evidence, checkpoint: &SignedCheckpoint) -> Result<Included, EvidenceError> {
    if evidence.leaf.len() > LEAF_MAX_BYTES || evidence.inclusion.len() > proof::PROOF_MAX_COUNT {
        return Err(EvidenceError::Malformed("leaf"));
    }
    let path = evidence.inclusion.iter().map(|h| Digest::try_from(&**h));
    let path: Result<Vec<_>, _> = path.collect();
    let path = path.map_err(|_| EvidenceError::Malformed("inclusion proof"))?;
    let hash = leaf_hash(&evidence.leaf);
    let (index, size) = (evidence.index, checkpoint.size());
    Ok(proof::check_inclusion(
        hash,
        index,
        size,
        &path,
        &checkpoint.root(),
    )?)
}

/// The leaf commits to the body under the salt, and both are of this network and time.
///
/// # Errors
/// They are not.
pub fn body(evidence: &wire::Evidence, network: &NetworkName) -> Result<Body, EvidenceError> {
    if evidence.leaf.len() > LEAF_MAX_BYTES {
        return Err(EvidenceError::Malformed("leaf"));
    }
    let leaf = wire::Leaf::decode(&*evidence.leaf).map_err(|_| EvidenceError::Malformed("leaf"))?;
    check_header((&leaf.r#type, LEAF_TYPE), &leaf.network, network, "leaf")?;
    if evidence.salt.len() != 32 || *leaf.commitment != *commitment(&evidence.salt, &evidence.body).as_bytes()
    {
        return Err(EvidenceError::Commitment);
    }
    let body = Body::parse(&evidence.body, network)?;
    if body.at.millis() == leaf.at_ms {
        Ok(body)
    } else {
        Err(EvidenceError::Malformed("time"))
    }
}

/// A decision that was opened: it is the one behind this digest, and about the packet and recipient of the body.
///
/// # Errors
/// It is not.
pub fn opened(
    opening: &wire::Opening,
    digest: Option<Digest>,
    body: &Body,
    network: &NetworkName,
    what: &'static str,
) -> Result<Decision, EvidenceError> {
    if digest != Some(Digest::of_all(&[&opening.nonce, &opening.descriptor])) || opening.nonce.len() != 32 {
        return Err(EvidenceError::Digest(what));
    }
    let decision = Decision::parse(&opening.descriptor, network)?;
    let same =
        body.packet == Some(decision.packet()) && body.recipient.as_ref() == Some(decision.recipient());
    if same {
        Ok(decision)
    } else {
        Err(EvidenceError::Malformed(what))
    }
}

/// The signed thing is the one that the body names. Its own signature is not looked at.
///
/// # Errors
/// It is not.
pub fn attached(signed: &wire::Signed, body: &Body) -> Result<(), EvidenceError> {
    if body.attachment_digest == Some(attachment_digest(signed)) {
        Ok(())
    } else {
        Err(EvidenceError::Digest("attachment"))
    }
}
