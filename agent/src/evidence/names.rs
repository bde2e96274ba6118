//! What the members of a pack are called, and how long each may be.

use schakel_proto::evidence;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::checkpoint::NOTE_MAX_BYTES;
use schakel_proto::tlog::text::TEXT_MAX_BYTES;

/// Most members of a pack.
pub const MEMBERS_MAX_COUNT: usize = 16 * 1024;
/// Longest member that is neither content nor ciphertext.
pub const MEMBER_MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Most that stands behind the last member: some tools fill a tar up.
pub const TAIL_MAX_BYTES: u64 = 64 * 1024;
/// Longest ciphertext of a part.
const SEALED_MAX_BYTES: u64 = limits::PART_MAX_BYTES + (limits::PART_MAX_BYTES >> 4);
/// Most log entries in a pack.
pub const ENTRIES_MAX_COUNT: usize = 1024;
/// Most directories in a pack.
pub const DIRECTORIES_MAX_COUNT: usize = 64;

/// Most signatures over a directory.
pub const SIGNATURES_MAX_COUNT: usize = 32;
/// Longest keyring of an authority.
const KEYRING_MAX_BYTES: u64 = 1 << 20;
/// Longest certificate of an agency.
const CERTIFICATE_MAX_BYTES: u64 = 64 * 1024;
/// Bytes of a nonce in front of what it hides.
const NONCE_BYTES: u64 = 32;

/// What the pack says of itself.
pub const DESCRIPTION: &str = "pack.json";
/// Digests of all members but itself, as `sha256sum -c` reads them.
pub const SUMS: &str = "SHA256SUMS";
/// The authority's certificates, as the exporting agency has pinned them. Nobody's trust rests on it.
pub const AUTHORITY: &str = "authority.pgp";
/// The manifest's bytes.
pub const MANIFEST: &str = "manifest.bin";
/// The sender's signature over them.
pub const MANIFEST_SIGNATURE: &str = "manifest.sig";
/// The newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint.note";
/// The newest checkpoint that enough witnesses cosigned, as far as the maker of the pack knows.
pub const WITNESSED: &str = "witnessed.note";
/// A checkpoint that a time-stamping authority has seen.
pub const STAMPED: &str = "timestamp/checkpoint.note";
/// What it answered: an RFC 3161 response.
pub const STAMP: &str = "timestamp/token.tsr";
/// One side of a contradiction.
pub const FIRST: &str = "first.note";
/// The other.
pub const SECOND: &str = "second.note";
/// What an agency signed, and in it what it saw of the log.
pub const SIGNED: &str = "signed.bin";
/// The checkpoint that this is held against.
pub const OWN: &str = "own.note";
/// What was found, and the proof that did not hold.
pub const FOUND: &str = "found.json";
/// The directory that names the log's key.
pub const DIRECTORY: &str = "directory.bin";

/// The longest that a member of this name may be, in bytes.
pub fn max_bytes(name: &str) -> u64 {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let kind = folder.split_once('/').map_or(folder, |(kind, _)| kind);
    let of = |bytes: usize| bytes as u64;
    match (kind, file) {
        ("parts", "content.bin") => limits::PART_MAX_BYTES,
        ("parts", "sealed-header.bin") => of(limits::SEALED_HEADER_MAX_BYTES) + 4,
        ("sealed", _) => SEALED_MAX_BYTES,
        ("log" | "parts", "salt.bin") => 32,
        ("log", "leaf.bin") => of(evidence::LEAF_MAX_BYTES),
        ("log", "body.bin") => of(evidence::BODY_MAX_BYTES),
        ("log", "shown.bin" | "hidden.bin") => of(evidence::DECISION_MAX_BYTES) + NONCE_BYTES,
        ("log", "proof.tlog-proof") | ("consistency", _) => of(TEXT_MAX_BYTES),
        ("openings", _) => of(limits::DESCRIPTOR_MAX_BYTES) + NONCE_BYTES,
        ("directories", "directory.bin") => of(limits::DIRECTORY_MAX_BYTES),
        ("certificates", _) => CERTIFICATE_MAX_BYTES,
        ("", AUTHORITY) => KEYRING_MAX_BYTES,
        ("", MANIFEST) => of(limits::MANIFEST_MAX_BYTES),
        _ if file.ends_with(".sig") => of(limits::SIGNATURE_MAX_BYTES),
        _ if file.ends_with(".note") => of(NOTE_MAX_BYTES),
        _ => MEMBER_MAX_BYTES,
    }
}

/// A file of a directory's version.
pub fn directory(version: u64) -> String {
    format!("directories/{version}/directory.bin")
}

/// A signature over a directory.
pub fn directory_signature(version: u64, number: usize) -> String {
    format!("directories/{version}/signature-{number}.sig")
}

/// A certificate.
pub fn certificate(key: &Fingerprint) -> String {
    format!("certificates/{key}.pgp")
}

/// What opens a recipient's digest in the manifest: nonce and descriptor, one behind the other.
pub fn recipient(agency: &AgencyId) -> String {
    format!("openings/recipient-{agency}.bin")
}

/// What opens a part's digest in the manifest.
pub fn part_opening(part: &PartId) -> String {
    format!("openings/{part}.bin")
}

/// A file of a part that was opened.
pub fn part(part: &PartId, file: &str) -> String {
    format!("parts/{part}/{file}")
}

/// A file of a log entry.
pub fn entry(index: u64, file: &str) -> String {
    format!("log/{index}/{file}")
}

/// An answer of ours.
pub fn answer(consignment: &Digest, ending: &str) -> String {
    format!("answers/{}.{ending}", hex::encode(consignment.as_bytes()))
}

/// The proof that the newest checkpoint extends the one of this size.
pub fn consistency(from: u64) -> String {
    format!("consistency/{from}.txt")
}
