//! Two checkpoints of one log that cannot both be true, as an agent keeps them: the same key signed both.

use schakel_proto::evidence::LEAF_MAX_BYTES;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::{check_inclusion, shown_root};
use schakel_proto::tlog::text::InclusionText;
use serde::Deserialize;

use super::directories::Directories;
use super::{Anchor, Members, cosigned};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::problem::Problem;

/// What the agent that found it wrote down.
#[derive(Default, Deserialize)]
struct Found {
    #[serde(default)]
    what: String,
    #[serde(default)]
    proof: Vec<Digest>,
}

/// Checks that it is one.
pub(super) fn verify(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<(), Problem> {
    let directories = Directories::beside(members, anchor, report)?;
    let mut sides = Vec::new();
    for name in [names::FIRST, names::SECOND] {
        let note = members.bytes(name)?;
        let keys = directories.log_keys();
        let outcome = match &note {
            None => Err(why("MEMBER_MISSING")),
            Some(_) if keys.is_empty() => {
                report.skip(Check::Checkpoint, name, why("NO_DIRECTORY"));
                continue;
            }
            Some(note) => {
                let opened = keys.iter().map(|key| SignedCheckpoint::open(note, key));
                let mut opened: Vec<_> = opened.collect();
                opened.sort_by_key(Result::is_err);
                match opened.into_iter().next() {
                    Some(Ok(checkpoint)) => {
                        sides.push(checkpoint);
                        Ok(())
                    }
                    Some(Err(error)) => Err(Why::evidence(&error.into())),
                    None => Err(why("NO_DIRECTORY")),
                }
            }
        };
        report.note(Check::Checkpoint, name, outcome);
    }
    let [first, second] = sides.as_slice() else {
        report.skip(Check::Contradiction, "", why("CHECKPOINT_WRONG"));
        return Ok(());
    };
    cosigned::check(first, names::FIRST, &directories, report);
    cosigned::check(second, names::SECOND, &directories, report);
    let found = members.bytes(names::FOUND)?;
    let found: Found = found
        .and_then(|f| serde_json::from_slice(&f).ok())
        .unwrap_or_default();
    let about = format!("{} / {}", first.size(), second.size());
    let outcome = contradicts(members, first, second, &found.proof)?;
    report.note(
        Check::Contradiction,
        about,
        outcome.map_err(|why| why.of(found.what)),
    );
    Ok(())
}

/// Three ways of saying two things: two roots of one size; a proof under the second root that shows another root of
/// the first's size; two leaves at one place.
fn contradicts(
    members: &Members,
    first: &SignedCheckpoint,
    second: &SignedCheckpoint,
    proof: &[Digest],
) -> Result<Result<(), Why>, Problem> {
    if first.origin() != second.origin() {
        return Ok(Err(why("OTHER_LOG")));
    }
    if first.size() == second.size() {
        let two = first.root() != second.root();
        return Ok(two.then_some(()).ok_or_else(|| why("NO_CONTRADICTION")));
    }
    let (older, newer) = if first.size() < second.size() {
        (first, second)
    } else {
        (second, first)
    };
    let shown = shown_root(older.size(), newer.size(), proof, &newer.root());
    if shown.is_ok_and(|root| root != older.root()) {
        return Ok(Ok(()));
    }
    let leaves = (leaf(members, "first", first)?, leaf(members, "second", second)?);
    let two = matches!(leaves, (Some((at, one)), Some((there, other))) if at == there && one != other);
    Ok(two.then_some(()).ok_or_else(|| why("NO_CONTRADICTION")))
}

/// A leaf that is proved to stand under one side: its place and its hash.
fn leaf(
    members: &Members,
    side: &str,
    checkpoint: &SignedCheckpoint,
) -> Result<Option<(u64, Digest)>, Problem> {
    let bytes = members.bytes(&format!("{side}.leaf"))?;
    let text = members.bytes(&format!("{side}.tlog-proof"))?;
    let (Some(bytes), Some(text)) = (bytes, text) else {
        return Ok(None);
    };
    let Some(proof) = InclusionText::parse(&text).filter(|_| bytes.len() <= LEAF_MAX_BYTES) else {
        return Ok(None);
    };
    let hash = leaf_hash(&bytes);
    let (index, size, root) = (proof.index, checkpoint.size(), checkpoint.root());
    let included = check_inclusion(hash, index, size, &proof.path, &root);
    Ok(included.ok().map(|_| (index, hash)))
}
