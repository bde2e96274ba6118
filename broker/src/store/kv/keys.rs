//! Keys: a table's letter, then fields in the order they are searched by. Numbers are big-endian; agency
//! ids end in a zero byte, which they cannot contain.

use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;

use super::super::delivery::AckOutcome;
use super::super::facts::CeilingOf;

/// Schema version, network-independent.
pub(crate) const SCHEMA: &[u8] = b"!schema";
/// The schema that this program reads and writes.
pub(crate) const SCHEMA_VERSION: u64 = 2;
/// Number of the next entry.
pub(crate) const NEXT_SEQUENCE: &[u8] = b"!next";
/// The newest checkpoint.
pub(crate) const CHECKPOINT: &[u8] = b"!checkpoint";
/// How many entries of the tree stand in the files of cases and packets.
pub(crate) const FILED: &[u8] = b"!filed";
/// Present: nothing is signed on this store until the operator confirms where its log ends.
pub(crate) const HALT: &[u8] = b"!halt";
/// Up to which position the log was gone through for acts whose retention had ended.
pub(crate) const FORGOTTEN: &[u8] = b"!forgotten";
/// All packets: id.
pub(crate) const PACKET: u8 = b'P';
/// Expiry index: end of life, id.
pub(crate) const EXPIRY: u8 = b'X';
/// Pieces of long values.
pub(crate) const PIECE: u8 = b'~';
/// Entries: number, in the order in which they were committed. It is the position in the tree, or the one that it will be.
pub(crate) const ENTRY: u8 = b'E';
/// Numbers of leaves: hash of the leaf.
pub(crate) const INDEX: u8 = b'J';
/// Held packets: case, id, agency.
pub(crate) const HELD: u8 = b'H';
/// Rows that name a part file: digest, packet, part, profile.
pub(crate) const FILE: u8 = b'F';

/// Queues: agency, priority, accepted, id.
pub(crate) const QUEUE: u8 = b'Q';
/// Last contacts: case.
pub(crate) const CONTACT: u8 = b'L';
/// Emergencies to be reviewed: case, id.
pub(crate) const REVIEW: u8 = b'b';

/// Shards of the log: number.
pub(crate) const SHARD: u8 = b'Z';

/// Entries of a case: case, position.
pub(crate) const CASE_FILE: u8 = b'i';
/// Entries of a packet: id, position.
pub(crate) const PACKET_FILE: u8 = b'p';

/// Cases whose records are going: case.
pub(crate) const LEAVING: u8 = b'e';

/// Directories and bundles that were in force: kind, version.
pub(crate) const KEPT: u8 = b'D';

/// Checkpoints held up to the witnesses: size.
pub(crate) const CANDIDATE: u8 = b'g';
/// What witnesses cosigned of them: size, agency.
pub(crate) const COSIGNATURE: u8 = b'w';

struct Key(Vec<u8>);

impl Key {
    fn new(table: u8) -> Self {
        Self(vec![table])
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn agency(self, agency: &AgencyId) -> Self {
        self.raw(agency.as_str().as_bytes()).raw(&[0])
    }
    fn number(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }
    fn time(self, time: Timestamp) -> Self {
        // Order of signed numbers as order of bytes.
        self.number(time.millis().cast_unsigned() ^ (1 << 63))
    }
}

/// A packet.
pub(crate) fn packet(id: &PacketId) -> Vec<u8> {
    Key::new(PACKET).raw(id.as_bytes()).0
}
/// Its signed manifest.
pub(crate) fn manifest(id: &PacketId) -> Vec<u8> {
    Key::new(b'M').raw(id.as_bytes()).0
}
/// A recipient's opening.
pub(crate) fn recipient(id: &PacketId, agency: &AgencyId) -> Vec<u8> {
    Key::new(b'R').raw(id.as_bytes()).agency(agency).0
}
/// A part.
pub(crate) fn part(id: &PacketId, part: &PartId) -> Vec<u8> {
    Key::new(b'S').raw(id.as_bytes()).raw(part.as_bytes()).0
}
/// A recipient's key packet for a part.
pub(crate) fn key_packet(id: &PacketId, part: &PartId, agency: &AgencyId) -> Vec<u8> {
    Key::new(b'K')
        .raw(id.as_bytes())
        .raw(part.as_bytes())
        .agency(agency)
        .0
}
/// State of a part for a recipient.
pub(crate) fn state(id: &PacketId, agency: &AgencyId, part: &PartId) -> Vec<u8> {
    Key::new(b'T')
        .raw(id.as_bytes())
        .agency(agency)
        .raw(part.as_bytes())
        .0
}
/// Inline content of a sealing.
pub(crate) fn inline(id: &PacketId, part: &PartId, profile: wire::Profile) -> Vec<u8> {
    Key::new(b'B')
        .raw(id.as_bytes())
        .raw(part.as_bytes())
        .raw(&[profile_byte(profile)])
        .0
}
/// A sealing's claim on a part file.
pub(crate) fn file(digest: &Digest, id: &PacketId, part: &PartId, profile: wire::Profile) -> Vec<u8> {
    let key = Key::new(FILE).raw(digest.as_bytes()).raw(id.as_bytes());
    key.raw(part.as_bytes()).raw(&[profile_byte(profile)]).0
}
/// All claims on a part file.
pub(crate) fn file_prefix(digest: &Digest) -> Vec<u8> {
    Key::new(FILE).raw(digest.as_bytes()).0
}
fn profile_byte(profile: wire::Profile) -> u8 {
    u8::try_from(i32::from(profile)).unwrap_or(0)
}
/// A packet in a recipient's queue.
pub(crate) fn queue(agency: &AgencyId, priority: u8, accepted: Timestamp, id: &PacketId) -> Vec<u8> {
    Key::new(QUEUE)
        .agency(agency)
        .raw(&[priority])
        .time(accepted)
        .raw(id.as_bytes())
        .0
}
/// A recipient's queue.
pub(crate) fn queue_prefix(agency: &AgencyId) -> Vec<u8> {
    Key::new(QUEUE).agency(agency).0
}
/// A packet held for a recipient.
pub(crate) fn held(case: &CaseRef, id: &PacketId, agency: &AgencyId) -> Vec<u8> {
    Key::new(HELD)
        .raw(case.as_bytes())
        .raw(id.as_bytes())
        .agency(agency)
        .0
}
/// Everything held, of one case or of all.
pub(crate) fn held_prefix(case: Option<&CaseRef>) -> Vec<u8> {
    let key = Key::new(HELD);
    case.map_or(key.0.clone(), |c| key.raw(c.as_bytes()).0)
}
/// Packet and agency of a `held` key.
pub(crate) fn parse_held(key: &[u8]) -> Option<(PacketId, AgencyId)> {
    let (id, agency) = key.get(17..)?.split_at_checked(16)?;
    let agency = std::str::from_utf8(agency.strip_suffix(&[0])?).ok()?;
    Some((PacketId::try_from(id).ok()?, AgencyId::new(agency).ok()?))
}
/// A packet in the expiry index.
pub(crate) fn expiry(expires: Timestamp, id: &PacketId) -> Vec<u8> {
    Key::new(EXPIRY).time(expires).raw(id.as_bytes()).0
}
/// Packet id at the end of a `queue` or `expiry` key.
pub(crate) fn last_packet(key: &[u8]) -> Option<PacketId> {
    PacketId::try_from(key.get(key.len().checked_sub(16)?..)?).ok()
}
/// Where an accepted time stands in a `queue` key, counted from the end.
pub(crate) fn queue_accepted(key: &[u8]) -> Option<Timestamp> {
    let end = key.len().checked_sub(16)?;
    let bytes = key.get(end.checked_sub(8)?..end)?;
    let number = u64::from_be_bytes(bytes.try_into().ok()?) ^ (1 << 63);
    Some(Timestamp::from_millis(number.cast_signed()))
}
/// The last committed hand-over for a recipient of a packet.
pub(crate) fn handed(id: &PacketId, agency: &AgencyId) -> Vec<u8> {
    Key::new(b'W').raw(id.as_bytes()).agency(agency).0
}
/// A consignment, by its leaf.
pub(crate) fn consignment(leaf: &Digest) -> Vec<u8> {
    Key::new(b'C').raw(leaf.as_bytes()).0
}
/// What was said of one part of a consignment; of an obligation (else empty), each is said by itself.
pub(crate) fn said(leaf: &Digest, outcome: AckOutcome, part: &PartId, obligation: &str) -> Vec<u8> {
    let outcome = match outcome {
        AckOutcome::Received => 1,
        AckOutcome::Refused => 2,
        AckOutcome::Taken => 3,
        AckOutcome::Fulfilled => 4,
    };
    let key = Key::new(b'G')
        .raw(leaf.as_bytes())
        .raw(&[outcome])
        .raw(part.as_bytes());
    if obligation.is_empty() {
        key.0
    } else {
        key.raw(Digest::of(obligation.as_bytes()).as_bytes()).0
    }
}
/// What ended a packet: its recall or expiry.
pub(crate) fn ended(id: &PacketId, event: Event) -> Vec<u8> {
    Key::new(b'Y').raw(id.as_bytes()).raw(event.as_str().as_bytes()).0
}
/// A log entry, by its number.
pub(crate) fn entry(number: u64) -> Vec<u8> {
    Key::new(ENTRY).number(number).0
}
/// A shard of the log.
pub(crate) fn shard(number: u64) -> Vec<u8> {
    Key::new(SHARD).number(number).0
}
/// Number of a leaf.
pub(crate) fn index(leaf: &Digest) -> Vec<u8> {
    Key::new(INDEX).raw(leaf.as_bytes()).0
}
/// A complete subtree.
pub(crate) fn node(node: Node) -> Vec<u8> {
    Key::new(b'O').raw(&[node.level]).number(node.index).0
}
/// An entry that concerns an agency, by position.
pub(crate) fn concern(agency: &AgencyId, index: u64) -> Vec<u8> {
    Key::new(b'V').agency(agency).number(index).0
}
/// All entries that concern an agency.
pub(crate) fn concern_prefix(agency: &AgencyId) -> Vec<u8> {
    Key::new(b'V').agency(agency).0
}
/// An entry of a case, by position.
pub(crate) fn of_case(case: &CaseRef, index: u64) -> Vec<u8> {
    Key(case_file(case)).number(index).0
}
/// All entries of a case.
pub(crate) fn case_file(case: &CaseRef) -> Vec<u8> {
    Key::new(CASE_FILE).raw(case.as_bytes()).0
}
/// An entry of a packet, by position.
pub(crate) fn of_packet(id: &PacketId, index: u64) -> Vec<u8> {
    Key(packet_file(id)).number(index).0
}
/// All entries of a packet.
pub(crate) fn packet_file(id: &PacketId) -> Vec<u8> {
    Key::new(PACKET_FILE).raw(id.as_bytes()).0
}
/// Number at the end of a key.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(
        key.get(key.len().checked_sub(8)?..)?.try_into().ok()?,
    ))
}
/// Head of a case's facts.
pub(crate) fn case(case: &CaseRef) -> Vec<u8> {
    Key::new(b'c').raw(case.as_bytes()).0
}
/// A fact of a case, by number from 1.
pub(crate) fn fact(case: &CaseRef, number: u64) -> Vec<u8> {
    Key::new(b'f').raw(case.as_bytes()).number(number).0
}
/// All facts of a case.
pub(crate) fn fact_prefix(case: &CaseRef) -> Vec<u8> {
    Key::new(b'f').raw(case.as_bytes()).0
}
/// A statement, by id.
pub(crate) fn statement(id: &schakel_proto::ids::StatementId) -> Vec<u8> {
    Key::new(b's').raw(id.as_bytes()).0
}
fn ceiling_name(of: CeilingOf) -> &'static [u8] {
    match of {
        CeilingOf::Directory => b"directory",
        CeilingOf::Bundle => b"bundle",
    }
}
/// A ceiling.
pub(crate) fn ceiling(of: CeilingOf) -> Vec<u8> {
    Key::new(b'!').raw(ceiling_name(of)).0
}
/// Whether a key is a ceiling's.
pub(crate) fn is_ceiling(key: &[u8]) -> bool {
    [CeilingOf::Directory, CeilingOf::Bundle]
        .iter()
        .any(|of| key == ceiling(*of))
}
/// A checkpoint held up to the witnesses.
pub(crate) fn candidate(size: u64) -> Vec<u8> {
    Key::new(CANDIDATE).number(size).0
}
/// A witness' cosignature of it.
pub(crate) fn cosignature(size: u64, agency: &AgencyId) -> Vec<u8> {
    Key(cosignatures(size)).agency(agency).0
}
/// All cosignatures of it.
pub(crate) fn cosignatures(size: u64) -> Vec<u8> {
    Key::new(COSIGNATURE).number(size).0
}
/// The agency of a `cosignature` key.
pub(crate) fn cosigner(key: &[u8]) -> Option<AgencyId> {
    let name = key.get(9..)?.strip_suffix(&[0])?;
    AgencyId::new(std::str::from_utf8(name).ok()?).ok()
}
/// What was in force under a version.
pub(crate) fn kept(of: CeilingOf, version: u64) -> Vec<u8> {
    Key(kept_prefix(of)).number(version).0
}
/// Everything of a kind that was in force.
pub(crate) fn kept_prefix(of: CeilingOf) -> Vec<u8> {
    Key::new(KEPT).raw(ceiling_name(of)).raw(&[0]).0
}
/// The claim of what was in force on its file.
pub(crate) fn kept_file(digest: &Digest, of: CeilingOf, version: u64) -> Vec<u8> {
    let key = Key(file_prefix(digest)).raw(b"kept").raw(ceiling_name(of));
    key.raw(&[0]).number(version).0
}
/// The last contact about a case.
pub(crate) fn contact(case: &CaseRef) -> Vec<u8> {
    Key::new(CONTACT).raw(case.as_bytes()).0
}
/// An emergency to be reviewed.
pub(crate) fn review(case: &CaseRef, id: &PacketId) -> Vec<u8> {
    Key::new(REVIEW).raw(case.as_bytes()).raw(id.as_bytes()).0
}
/// A case whose records are going.
pub(crate) fn leaving(case: &[u8]) -> Vec<u8> {
    Key::new(LEAVING).raw(case).0
}
/// Everything that was said of a consignment.
pub(crate) fn said_prefix(leaf: &Digest) -> Vec<u8> {
    Key::new(b'G').raw(leaf.as_bytes()).0
}
/// The agency of a `queue` key.
pub(crate) fn queue_agency(key: &[u8]) -> Option<AgencyId> {
    let end = key.iter().position(|byte| *byte == 0)?;
    AgencyId::new(std::str::from_utf8(key.get(1..end)?).ok()?).ok()
}
/// The priority in a `queue` key: lower goes first.
pub(crate) fn queue_priority(key: &[u8]) -> Option<u8> {
    let end = key.iter().position(|byte| *byte == 0)?;
    key.get(end.checked_add(1)?).copied()
}
/// A piece of a long value.
pub(crate) fn piece(of: &[u8], number: u16) -> Vec<u8> {
    Key::new(PIECE).raw(of).raw(&number.to_be_bytes()).0
}
