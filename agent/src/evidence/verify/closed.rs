//! The closed list of what a pack can hold: each name is one that something in the pack is read and checked under.
//! What has no place in it would ride along unchecked, under a report that says that everything holds.

use schakel_proto::ids::{Digest, PartId};
use schakel_proto::openpgp::Certificate;
use schakel_proto::tlog::text::hashes_from_text;

use super::Members;
use crate::evidence::names;
use crate::evidence::report::{Why, why};
use crate::problem::Problem;

/// Files of one name.
const SINGLE: &[&str] = &[
    names::DESCRIPTION,
    names::SUMS,
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

/// Why something has no place in a pack, if it has none. Certificates and openings are each held against their name where
/// they are read.
///
/// # Errors
/// The file cannot be read.
pub(super) fn stranger(members: &Members, name: &str) -> Result<Option<Why>, Problem> {
    if SINGLE.contains(&name) {
        return Ok(None);
    }
    let (kind, rest) = name.split_once('/').unwrap_or((name, ""));
    let (folder, file) = rest.split_once('/').unwrap_or((rest, ""));
    let known = match kind {
        names::AUTHORITY if rest.is_empty() => {
            let keyring = members.bytes(name)?.unwrap_or_default();
            return Ok(unreadable(Certificate::parse_all(&keyring).is_ok()));
        }
        "consistency" if file.is_empty() && folder.strip_suffix(".txt").and_then(number).is_some() => {
            let proof = members.bytes(name)?.unwrap_or_default();
            return Ok(unreadable(hashes_from_text(&proof).is_some()));
        }
        "directories" => number(folder).is_some_and(|version| of_directory(members, version, name)),
        "certificates" | "openings" => !folder.is_empty() && file.is_empty(),
        "log" => number(folder).is_some() && OF_ENTRY.contains(&file),
        "answers" => file.is_empty() && is_answer(members, folder),
        "parts" => folder.parse::<PartId>().is_ok() && OF_PART.contains(&file),
        "sealed" => file.is_empty() && is_sealed(folder),
        _ => false,
    };
    Ok((!known).then(|| why("MEMBER_UNKNOWN")))
}

fn unreadable(reads: bool) -> Option<Why> {
    (!reads).then(|| why("MEMBER_UNREADABLE"))
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

fn is_sealed(file: &str) -> bool {
    let part = file.strip_suffix(".v6").or_else(|| file.strip_suffix(".v4"));
    part.is_some_and(|part| part.parse::<PartId>().is_ok())
}
