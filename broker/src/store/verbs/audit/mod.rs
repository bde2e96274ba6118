//! Audit of every row of the store against the entries of the log, and of the entries against the tree: whatever row is
//! changed, even under a right checksum, no longer follows from the others. Signatures and salts are checked elsewhere
//! (`admin::verify`): they need keys that the store does not have.
//!
//! What carries no evidence, and is therefore not found when it is changed: the token of a hand-over (a lease ends
//! with the process); reason and obligations of a part that was held, decided again and held again (no entry is made), also
//! after its end, and with it the versions of that decision; which of a case's packets was its last contact; how far
//! retention went through the log; since when a checkpoint is held up to the witnesses.

use prost::Message;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::wire;

use super::super::audit::{Audited, Cursor, ENTRIES_GONE, Finding, PACKETS_GONE};
use super::super::error::StoreError;
use super::super::filed::FiledEntry;
use super::super::kv::rows::EntryRow;
use super::super::kv::txn::Read;
use super::super::kv::{keys, record};
use super::{filed, id, log};

mod audience;

mod facts;

mod packet;

pub(in super::super) use packet::Half;

mod satellites;

mod tree;

mod way;

#[cfg(test)]
mod tests;

/// Pending entries that are taken into account; more: the log stands still, and that is told elsewhere.
const PENDING_MAX_COUNT: usize = 4_096;

/// Rows of a case of which some are gone already.
const LEAVING: &str = "a row of a case whose records are going";

/// The tables, by their letter, in words.
const TABLES: [(u8, &str); 30] = [
    (b'!', "the store's own numbers"),
    (b'B', "content in the store"),
    (b'C', "a consignment"),
    (b'D', "a kept directory or bundle"),
    (b'E', "an entry of the log"),
    (b'F', "the claim on a part file"),
    (b'G', "what was said of a part"),
    (b'H', "a held packet"),
    (b'J', "the number of a leaf"),
    (b'K', "a key packet"),
    (b'L', "the last contact of a case"),
    (b'M', "a manifest"),
    (b'O', "a node of the tree"),
    (b'P', "a packet"),
    (b'Q', "a queue"),
    (b'R', "a recipient of a packet"),
    (b'S', "a part of a packet"),
    (b'T', "the state of a part"),
    (b'V', "the index of agencies"),
    (b'W', "the last decision"),
    (b'X', "the index of ends"),
    (b'Y', "the end of a packet"),
    (b'Z', "a shard of the log"),
    (b'b', "an open review"),
    (b'c', "the head of a case"),
    (b'e', "a case whose records are going"),
    (b'f', "a fact"),
    (b'g', "a checkpoint held up to the witnesses"),
    (b's', "a statement"),
    (b'w', "a cosignature"),
];

/// Goes through rows in the order of their keys, after `after`; at most `limit`, and no further once `spent` says so: while
/// rows are read nothing is committed. One row, or one more stretch of a packet's way, is always done.
pub(crate) fn rows(
    read: &impl Read,
    network: &NetworkName,
    after: Option<Cursor>,
    (limit, spent): (usize, &dyn Fn() -> bool),
) -> Result<Audited, StoreError> {
    let Cursor {
        after: mut last,
        half,
        waiting,
    } = after.unwrap_or_default();
    let mut audit = Audit::new(read, network, (waiting, spent))?;
    audit.half = half;
    let rows = read.records(&[], last.as_deref(), limit)?;
    let mut more = rows.len() == limit;
    for (number, (key, found)) in rows.iter().enumerate() {
        audit.row(key, found)?;
        if audit.half.is_some() {
            more = true;
            break;
        }
        audit.found.rows += 1;
        last = Some(key.clone());
        if number + 1 < rows.len() && spent() {
            more = true;
            break;
        }
    }
    let Audit {
        half,
        waiting,
        mut found,
        ..
    } = audit;
    found.next = more.then_some(Cursor {
        after: last,
        half,
        waiting,
    });
    Ok(found)
}

/// What does not hold.
fn wrong(what: &str) -> StoreError {
    StoreError::Corrupt(what.into())
}

fn must(holds: bool, what: &str) -> Result<(), StoreError> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

/// A row, if it is encoded as this program encodes it: another encoding of the same is a change too.
fn exactly<M: Message + Default>(value: &[u8]) -> Result<M, StoreError> {
    let row = M::decode(value).map_err(|_| wrong("does not decode"))?;
    must(row.encode_to_vec() == value, "is not encoded as it was written")?;
    Ok(row)
}

/// Packet, agency and what follows, of a key that begins with them.
fn of_agency(key: &[u8]) -> Result<(PacketId, AgencyId, &[u8]), StoreError> {
    let bad = || wrong("has a key of another form");
    let rest = key.get(17..).ok_or_else(bad)?;
    let end = rest.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
    let (name, after) = rest.split_at_checked(end).ok_or_else(bad)?;
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    let after = after.get(1..).ok_or_else(bad)?;
    Ok((of_packet(key)?, AgencyId::new(name).map_err(|_| bad())?, after))
}

/// The packet that a key begins with.
fn of_packet(key: &[u8]) -> Result<PacketId, StoreError> {
    id(key.get(1..17).unwrap_or_default()).map_err(|_| wrong("has a key of another form"))
}

/// Entries that are not in the tree yet, at the positions that they will have.
#[derive(Default)]
pub(in super::super) struct Waiting {
    entries: Vec<FiledEntry>,
    /// Leaves in the tree when they were read.
    size: u64,
    /// One cannot be read: that is said of its row.
    damaged: bool,
}

impl Waiting {
    /// As they are now. While the tree does not grow, those that waited still do: only what came is read.
    fn go_on(self, read: &impl Read, size: u64) -> Result<Self, StoreError> {
        let mut entries = if self.size == size {
            self.entries
        } else {
            Vec::new()
        };
        let after = entries.last().map(|last| last.index);
        let room = PENDING_MAX_COUNT.saturating_sub(entries.len());
        let damaged = match filed::pending(read, after, room) {
            Ok(page) => {
                entries.extend(page.found);
                false
            }
            Err(StoreError::Corrupt(_)) => true,
            Err(error) => return Err(error),
        };
        Ok(Self {
            entries,
            size,
            damaged,
        })
    }

    /// Whether there may be some that are not among these.
    fn are_more(&self) -> bool {
        self.damaged || self.entries.len() >= PENDING_MAX_COUNT
    }
}

/// One page of an audit.
struct Audit<'a, R> {
    read: &'a R,
    network: &'a NetworkName,
    /// Leaves in the tree.
    size: u64,
    waiting: Waiting,
    /// Whether this page has used up its time.
    spent: &'a dyn Fn() -> bool,
    /// The packet that the last page, or this one, is in the middle of.
    half: Option<Half>,
    found: Audited,
}

impl<'a, R: Read> Audit<'a, R> {
    fn new(
        read: &'a R,
        network: &'a NetworkName,
        (waiting, spent): (Waiting, &'a dyn Fn() -> bool),
    ) -> Result<Self, StoreError> {
        let size = log::latest_checkpoint(read).ok().flatten().map_or(0, |c| c.size);
        Ok(Self {
            read,
            network,
            size,
            waiting: waiting.go_on(read, size)?,
            spent,
            half: None,
            found: Audited::default(),
        })
    }

    fn row(&mut self, key: &[u8], found: &[u8]) -> Result<(), StoreError> {
        let checked = if key.first() == Some(&keys::PIECE) {
            self.piece(key, found)
        } else {
            let value = self.read.value(key, found);
            value.and_then(|value| self.table(key, &value))
        };
        match checked {
            Err(StoreError::Corrupt(what)) => {
                let finding = Finding {
                    index: self.index(key),
                    place: self.place(key),
                    what: if what.starts_with("row ") {
                        "does not match its checksum".to_owned()
                    } else {
                        what.to_string()
                    },
                };
                self.found.findings.push(finding);
                self.half = None;
                Ok(())
            }
            other => other,
        }
    }

    fn table(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match key.first() {
            Some(b'!') => self.own(key, value),
            Some(b'J') => self.position(key, value),
            Some(b'O') => self.node(key, value),
            Some(b'E') => self.entry(key, value),
            Some(b'Z') => self.shard(key, value),
            Some(b'V') => self.concern(key, value),
            Some(b'i' | b'p') => self.file(key, value),
            Some(b'P') => self.packet(key, value),
            Some(b'c') => self.case(key, value),
            Some(b'f') => self.fact(key, value),
            Some(b's') => self.statement(key, value),
            Some(&keys::LEAVING) => self.leaving(key, value),
            Some(_) => self.satellite(key, value),
            None => Err(wrong("has no key")),
        }
    }

    /// Something that cannot be checked.
    fn cannot(&mut self, what: &'static str) {
        *self.found.gone.entry(what).or_default() += 1;
    }

    /// A piece belongs to a row that has as many.
    fn piece(&self, key: &[u8], found: &[u8]) -> Result<(), StoreError> {
        record::open(key, found)?;
        let bad = || wrong("is a piece of nothing");
        let end = key.len().checked_sub(2).ok_or_else(bad)?;
        let (base, number) = key.split_at_checked(end).ok_or_else(bad)?;
        let base = base.get(1..).ok_or_else(bad)?;
        let number = number.try_into().map(u16::from_be_bytes).map_err(|_| bad())?;
        let whole = self.read.record(base)?.ok_or_else(bad)?;
        match record::open(base, &whole)?.as_slice() {
            [1, a, b] if number < u16::from_be_bytes([*a, *b]) => Ok(()),
            _ => Err(bad()),
        }
    }

    /// The position of the entry that a row is about.
    fn index(&self, key: &[u8]) -> Option<u64> {
        match key.first()? {
            b'E' | b'V' | b'i' | b'p' => keys::last_number(key),
            b'J' | b'C' | b'G' => {
                let leaf: Digest = id(key.get(1..33)?).ok()?;
                self.read.number(&keys::index(&leaf)).ok().flatten()
            }
            b'P' | b'M' | b'R' | b'S' | b'K' | b'T' | b'B' | b'W' | b'Y' => {
                let file = keys::packet_file(&of_packet(key).ok()?);
                let first = self.read.records(&file, None, 1).ok()?;
                keys::last_number(&first.first()?.0)
            }
            _ => None,
        }
    }

    /// A row in words, with the packet if it is about one.
    fn place(&self, key: &[u8]) -> String {
        let table = key.first().copied().unwrap_or_default();
        let known = TABLES.iter().find(|(letter, _)| *letter == table);
        let name = match (known, table) {
            (Some((_, name)), _) => *name,
            (None, b'i' | b'p') => "the files of cases and packets",
            (None, keys::PIECE) => "a piece of a long row",
            (None, _) => "a table that this program does not know",
        };
        match (table, of_packet(key)) {
            (b'P' | b'M' | b'R' | b'S' | b'K' | b'T' | b'B' | b'W' | b'Y', Ok(packet)) => {
                format!("{name}, packet {packet}")
            }
            _ => format!("{name}, {}", record::place(key)),
        }
    }

    /// Whether the records of a case are going just now, a page at a time: then its rows do not fit each other.
    fn is_leaving(&self, case: &[u8]) -> Result<bool, StoreError> {
        Ok(!case.is_empty() && self.read.record(&keys::leaving(case))?.is_some())
    }

    /// The mark of such a case: its facts went first, and some of its entries are still there.
    fn leaving(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let case: CaseRef =
            id(key.get(1..).unwrap_or_default()).map_err(|_| wrong("has a key of another form"))?;
        must(value.is_empty(), "says more than it should")?;
        must(
            self.read.record(&keys::case(&case))?.is_none()
                && self.read.records(&keys::fact_prefix(&case), None, 1)?.is_empty(),
            "marks a case that has facts",
        )?;
        must(
            !self.read.records(&keys::case_file(&case), None, 1)?.is_empty(),
            "marks a case that has no entries",
        )?;
        self.found.leaving.push(case);
        Ok(())
    }

    /// The entry of a leaf that is in the tree or waits, and its body.
    fn told(&self, leaf: &Digest) -> Result<(EntryRow, wire::EvidenceBody), StoreError> {
        let missing = || wrong("names an entry that is not there");
        let number = self.read.number(&keys::index(leaf))?.ok_or_else(missing)?;
        let found = log::numbered(self.read, number)?.filter(|(found, _)| found == leaf);
        let (_, row) = found.ok_or_else(missing)?;
        let body =
            wire::EvidenceBody::decode(&*row.body).map_err(|_| wrong("names an entry without a body"))?;
        Ok((row, body))
    }
}
