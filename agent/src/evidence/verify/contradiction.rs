//! Two checkpoints of one log that cannot both be true, as an agent keeps them: the same key signed both.

use schakel_proto::evidence::LEAF_MAX_BYTES;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::contradiction::{Given, Seen};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::check_inclusion;
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::tlog::witnessed::same_history;
use serde::Deserialize;

use super::directories::Directories;
use super::{Anchor, Members, cosigned};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::problem::Problem;

/// All that can be in such a folder.
pub(super) const FILES: &[&str] = &[
    names::FIRST,
    names::SECOND,
    names::FOUND,
    names::DIRECTORY,
    "first.leaf",
    "first.tlog-proof",
    "second.leaf",
    "second.tlog-proof",
];

/// What the agent that found it wrote down.
#[derive(Default, Deserialize)]
struct Found {
    #[serde(default)]
    what: String,
    #[serde(default)]
    proof: Vec<Digest>,
    #[serde(default)]
    from_root: Option<Digest>,
}

/// A checkpoint that the log's key signed, if it is one.
pub(super) fn side(
    members: &Members,
    name: &str,
    directories: &Directories,
    report: &mut Report,
) -> Result<Option<SignedCheckpoint>, Problem> {
    let Some(note) = members.bytes(name)? else {
        report.note(Check::Checkpoint, name, Err(why("MEMBER_MISSING")));
        return Ok(None);
    };
    let keys = directories.log_keys();
    let mut wrong = None;
    for key in &keys {
        match SignedCheckpoint::open(&note, key) {
            Ok(checkpoint) => {
                report.note(Check::Checkpoint, name, Ok(()));
                return Ok(Some(checkpoint));
            }
            Err(error) => wrong = Some(Why::evidence(&error.into())),
        }
    }
    match wrong {
        Some(wrong) => drop(report.note(Check::Checkpoint, name, Err(wrong))),
        None => report.lacks(Check::Checkpoint, name, why("NO_DIRECTORY"), Check::Directory),
    }
    Ok(None)
}

/// Checks that it is one.
pub(super) fn verify(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<(), Problem> {
    let directories = Directories::beside(members, anchor, report)?;
    let mut sides = Vec::new();
    for name in [names::FIRST, names::SECOND] {
        sides.extend(side(members, name, &directories, report)?);
    }
    let [first, second] = sides.as_slice() else {
        report.skip(Check::Contradiction, "", why("SIDE_WRONG"));
        return Ok(());
    };
    cosigned::check(first, names::FIRST, &directories, report);
    cosigned::check(second, names::SECOND, &directories, report);
    let found = members.bytes(names::FOUND)?;
    let found: Found = found
        .and_then(|f| serde_json::from_slice(&f).ok())
        .unwrap_or_default();
    let about = format!("{} / {}", first.size(), second.size());
    let given = Given {
        proof: found.proof,
        from_root: found.from_root,
    };
    let outcome = contradicts(members, (first, second), &given, &directories)?;
    report.note(
        Check::Contradiction,
        about,
        outcome.map_err(|why| why.of(found.what)),
    );
    Ok(())
}

/// Four ways of saying two things: a checkpoint beyond the end of a shard that the directory freezes; two roots of one size; a proof under the second root that shows another root of
/// the first's size; two leaves at one place.
fn contradicts(
    members: &Members,
    (first, second): (&SignedCheckpoint, &SignedCheckpoint),
    given: &Given,
    directories: &Directories,
) -> Result<Result<(), Why>, Problem> {
    if directories.is_forged(second.note()) || directories.is_forged(first.note()) {
        return Ok(Ok(()));
    }
    if !directories.one_log(first.origin(), second.origin()) {
        return Ok(Err(why("OTHER_LOG")));
    }
    if first.size() == second.size() {
        let two = first.root() != second.root();
        return Ok(two.then_some(()).ok_or_else(|| why("ONE_HISTORY")));
    }
    let (older, newer) = if first.size() < second.size() {
        (first, second)
    } else {
        (second, first)
    };
    if same_history(older, newer, &given.proof).is_ok() {
        return Ok(Err(why("ONE_HISTORY")));
    }
    if given.shows_another(Seen::from(older), Seen::from(newer)) {
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
