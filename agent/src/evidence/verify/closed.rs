//! The closed list of what a pack can hold: each name is one that something in the pack is read and checked under.
//! What has no place in it would ride along unchecked, under a report that says that everything holds.

use schakel_proto::ids::{Digest, PartId};
use schakel_proto::tlog::text::hashes_from_text;

use super::Members;
use crate::evidence::names;
use crate::problem::Problem;

/// Files of one name.
const SINGLE: &[&str] = &[
    names::DESCRIPTION,
    names::SUMS,
    names::AUTHORITY,
    names::MANIFEST,
    names::MANIFEST_SIGNATURE,
    names::CHECKPOINT,
    names::WITNESSED,
    names::STAMPED,
    names::STAMP,
];
/// Files of a log entry.
const OF_ENTRY: &[&str] = &[
    "leaf.bin",
    "salt.bin",
    "body.bin",
    "proof.tlog-proof",
    "shown.bin",
    "hidden.bin",
    "attachment.bin",
    "attachment.sig",
];
/// Files of a part that was opened.
const OF_PART: &[&str] = &["content.bin", "sealed-header.bin", "salt.bin"];

/// Whether something is read under this name. Certificates and openings are each held against their name where they are
/// read.
///
/// # Errors
/// The file cannot be read.
pub(super) fn is_known(members: &Members, name: &str) -> Result<bool, Problem> {
    if SINGLE.contains(&name) {
        return Ok(true);
    }
    let Some((kind, rest)) = name.split_once('/') else {
        return Ok(false);
    };
    let (folder, file) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(match kind {
        "directories" => number(folder).is_some_and(|version| of_directory(members, version, name)),
        "certificates" | "openings" => file.is_empty(),
        "log" => number(folder).is_some() && OF_ENTRY.contains(&file),
        "answers" => file.is_empty() && is_answer(members, folder),
        "consistency" => file.is_empty() && is_consistency(members, name, folder)?,
        "parts" => folder.parse::<PartId>().is_ok() && OF_PART.contains(&file),
        "sealed" => file.is_empty() && is_sealed(folder),
        _ => false,
    })
}

/// A number as it is written, and in no other way.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The directory, or a signature that is read: they are numbered without a gap.
fn of_directory(members: &Members, version: u64, name: &str) -> bool {
    let mut signatures = (0..names::SIGNATURES_MAX_COUNT)
        .map(|number| names::directory_signature(version, number))
        .take_while(|signature| members.has(signature));
    names::directory(version) == name || signatures.any(|signature| signature == name)
}

/// An answer and its signature are read together.
fn is_answer(members: &Members, file: &str) -> bool {
    let stem = file.strip_suffix(".bin").or_else(|| file.strip_suffix(".sig"));
    let leaf = stem.and_then(|stem| format!("sha256:{stem}").parse::<Digest>().ok());
    leaf.is_some_and(|leaf| {
        let [answer, signature] = ["bin", "sig"].map(|ending| names::answer(&leaf, ending));
        let named = |name: &str| name.strip_prefix("answers/") == Some(file);
        (named(&answer) || named(&signature)) && members.has(&answer)
    })
}

/// A proof: hashes and nothing else.
fn is_consistency(members: &Members, name: &str, file: &str) -> Result<bool, Problem> {
    if file.strip_suffix(".txt").and_then(number).is_none() {
        return Ok(false);
    }
    let text = members.bytes(name)?.unwrap_or_default();
    Ok(hashes_from_text(&text).is_some())
}

fn is_sealed(file: &str) -> bool {
    let part = file.strip_suffix(".v6").or_else(|| file.strip_suffix(".v4"));
    part.is_some_and(|part| part.parse::<PartId>().is_ok())
}
