//! The log: order, positions, nodes, entries, and the indexes over them.

use prost::Message;
use schakel_proto::evidence::{Body, Event, LEAF_TYPE};
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::tlog::hash::{leaf_hash, node_hash};
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_proto::wire;

use super::super::super::delivery::AckOutcome;
use super::super::super::error::StoreError;
use super::super::super::facts::CeilingOf;
use super::super::super::kv::keys;
use super::super::super::kv::rows::{
    BoundRow, CeilingRow, CheckpointRow, ConsignmentRow, EntryRow, HaltRow, KeptRow, PacketRow, ShardRow,
    StatementRow,
};
use super::super::super::kv::txn::Read;
use super::super::{agency, filed, halt, id, log, shards};
use super::{Audit, ENTRIES_GONE, LEAVING, exactly, must, wrong};

fn number(value: &[u8]) -> Result<u64, StoreError> {
    value
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| wrong("is no number"))
}

impl<R: Read> Audit<'_, R> {
    /// The store's own numbers.
    pub(super) fn own(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match key {
            keys::SCHEMA => must(number(value)? == keys::SCHEMA_VERSION, "is another schema"),
            keys::NEXT_SEQUENCE => {
                let next = number(value)?;
                let last = next.checked_sub(1).map(keys::entry);
                let there = match &last {
                    Some(last) => self.read.record(last)?.is_some(),
                    None => true,
                };
                let beyond = self.read.records(&[keys::ENTRY], last.as_deref(), 1)?;
                must(
                    there && beyond.is_empty() && next >= self.size,
                    "is not the number after the last entry",
                )
            }
            keys::FORGOTTEN => must(number(value)? <= self.size, "is beyond the end of the log"),
            keys::FILED => must(number(value)? == self.size, "is not as long as the log"),
            keys::CHECKPOINT => self.checkpoint(value),
            keys::HALT => self.halt(value),
            _ if key == keys::ceiling(CeilingOf::Directory) => self.ceiling(CeilingOf::Directory, value),
            _ if key == keys::ceiling(CeilingOf::Bundle) => self.ceiling(CeilingOf::Bundle, value),
            _ => Err(wrong("is not known")),
        }
    }

    /// The mark of a store that must not sign stands where the tree ends: the tree does not grow under it.
    fn halt(&self, value: &[u8]) -> Result<(), StoreError> {
        let halted = halt::parse(&exactly::<HaltRow>(value)?)?;
        let newest = log::latest_checkpoint(self.read)?;
        must(
            (halted.size, halted.root) == halt::end(newest.as_ref()),
            "is not where the log ends",
        )
    }

    fn checkpoint(&self, value: &[u8]) -> Result<(), StoreError> {
        let row: CheckpointRow = exactly(value)?;
        let node = |at| log::node(self.read, at)?.ok_or_else(|| wrong("covers nodes that are not there"));
        let root = Frontier::read(row.size, node)?.root();
        must(row.root == root.as_bytes(), "has another root than the tree")?;
        let index = row.size;
        let beyond = log::node(self.read, Node { level: 0, index })?;
        must(beyond.is_none(), "leaves out leaves of the tree")
    }

    /// A shard begins where the one before it ended, and ended with the root that the tree had there, under its name.
    pub(super) fn shard(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let number = keys::last_number(key).filter(|_| key.len() == 9);
        let number = number.ok_or_else(|| wrong("has a key of another form"))?;
        let _row: ShardRow = exactly(value)?;
        let all = shards::all(self.read)?;
        let place = usize::try_from(number).ok();
        let shard = place.and_then(|place| all.get(place));
        let shard = shard.ok_or_else(|| wrong("is out of order"))?;
        let before = place
            .and_then(|place| place.checked_sub(1))
            .and_then(|n| all.get(n));
        let end = before.map_or(Some(0), |before| before.end.as_ref().map(|end| end.size));
        must(
            end == Some(shard.first),
            "does not begin where the one before it ended",
        )?;
        if let Some(closing) = &shard.closing {
            let (_, body) = self.told(closing)?;
            let last = log::index_of(self.read, closing)?;
            let there = shard.end.as_ref().map(|end| end.size.saturating_sub(1));
            must(
                body.event == Event::ShardFrozen.as_str() && last == there,
                "ends with another entry than it says",
            )?;
        }
        let Some(end) = &shard.end else {
            let newest = log::latest_checkpoint(self.read)?;
            let signed = newest.and_then(|newest| shards::origin_of(&newest.note));
            let grown = self.size > shard.first;
            return must(
                !grown || signed.as_ref() == Some(&shard.origin),
                "is not the one in force",
            );
        };
        must(end.size <= self.size, "ends beyond the tree")?;
        let node = |at| log::node(self.read, at)?.ok_or_else(|| wrong("covers nodes that are not there"));
        let root = Frontier::read(end.size, node)?.root();
        must(end.root == root, "ended with another root than the tree had")?;
        let said = format!("{}\n{}\n", shard.origin, end.size);
        must(
            end.note.starts_with(said.as_bytes()),
            "ended with another checkpoint",
        )
    }

    fn ceiling(&self, of: CeilingOf, value: &[u8]) -> Result<(), StoreError> {
        let row: CeilingRow = exactly(value)?;
        // Committed a moment before what it names is kept: then it is looked at next time.
        let kept: Option<KeptRow> = self.read.row(&keys::kept(of, row.version))?;
        let newest = self
            .read
            .records(&keys::kept_prefix(of), None, super::super::PAGE)?;
        let newest = newest.last().and_then(|(key, _)| keys::last_number(key));
        match kept {
            Some(kept) => must(
                kept.digest == row.digest,
                "names another directory or bundle than was kept",
            ),
            None => must(newest < Some(row.version), "names a version that was not kept"),
        }
    }

    /// An entry's place: its leaf says so too, and the tree has it there with every node that it completes; or it waits,
    /// behind another that does, or behind the tree.
    fn stands_at(&self, index: u64, leaf: &Digest) -> Result<(), StoreError> {
        must(
            self.read.number(&keys::index(leaf))? == Some(index),
            "is a leaf that stands elsewhere",
        )?;
        if index >= self.size {
            let before = index.checked_sub(1).filter(|before| *before >= self.size);
            let behind = match before {
                Some(before) => self.read.record(&keys::entry(before))?.is_some(),
                None => index == self.size,
            };
            return must(behind, "is out of order");
        }
        must(
            log::node(self.read, Node { level: 0, index })?.as_ref() == Some(leaf),
            "is another leaf than the tree has",
        )?;
        let (mut level, mut at) = (0, index);
        while at & 1 == 1 {
            (level, at) = (level + 1, at >> 1);
            let there = log::node(self.read, Node { level, index: at })?;
            must(there.is_some(), "completes a node that is not there")?;
        }
        Ok(())
    }

    /// The number of a leaf: its entry has it.
    pub(super) fn position(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let leaf: Digest = id(key.get(1..).unwrap_or_default())?;
        let there = self.leaf_at(number(value)?)?;
        must(
            there.is_none_or(|there| there == leaf),
            "is another leaf's number",
        )
    }

    /// The leaf of the entry of a number; none: the entry cannot be read, which is said of the entry itself.
    fn leaf_at(&self, number: u64) -> Result<Option<Digest>, StoreError> {
        match log::numbered(self.read, number) {
            Ok(Some((leaf, _))) => Ok(Some(leaf)),
            Ok(None) => Err(wrong("names an entry that is not there")),
            Err(StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A node follows from the two below it, down to the leaves.
    pub(super) fn node(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let index = keys::last_number(key).filter(|_| key.len() == 10);
        let (Some(index), Some(level)) = (index, key.get(1).copied()) else {
            return Err(wrong("has a key of another form"));
        };
        let complete = index
            .checked_add(1)
            .filter(|_| level < 64)
            .and_then(|after| after.checked_mul(1_u64.checked_shl(u32::from(level))?));
        must(
            complete.is_some_and(|leaves| leaves <= self.size),
            "is not complete yet",
        )?;
        if level == 0 {
            let leaf = self.leaf_at(index)?;
            return must(
                leaf.is_none_or(|leaf| leaf.as_bytes() == value),
                "is another leaf than stands there",
            );
        }
        let below = |right: u64| {
            let node = Node {
                level: level - 1,
                index: index * 2 + right,
            };
            log::node(self.read, node)?.ok_or_else(|| wrong("has nothing below it"))
        };
        must(
            node_hash(&below(0)?, &below(1)?).as_bytes() == value,
            "does not follow from the two below it",
        )
    }

    /// An entry: its leaf, its body, what opens it, and that it is found wherever it must be.
    pub(super) fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let index = keys::last_number(key).filter(|_| key.len() == 9);
        let index = index.ok_or_else(|| wrong("has a key of another form"))?;
        let row: EntryRow = exactly(value)?;
        let leaf = leaf_hash(&row.leaf);
        self.stands_at(index, &leaf)?;
        if row.body.is_empty() {
            return self.forgotten(index, &row);
        }
        let body = Body::parse(&row.body, self.network).map_err(|error| wrong(&error.to_string()))?;
        let plain: wire::EvidenceBody = exactly(&row.body)?;
        let stamp: wire::Leaf = exactly(&row.leaf)?;
        must(
            stamp.r#type == LEAF_TYPE && stamp.network == self.network.as_str() && stamp.at_ms == plain.at_ms,
            "has a leaf of another kind, network or time",
        )?;
        must(row.case == *plain.case_ref, "is salted by another case's key")?;
        opened(&row, &plain)?;
        self.indexed(index, &row)?;
        if self.is_leaving(&row.case)? {
            self.cannot(LEAVING);
            return Ok(());
        }
        self.audience(&row, &body)?;
        match body.event {
            Event::SubmissionAcceptance => {
                let packet: Option<PacketRow> = self.read.row(&keys::packet(&id(&plain.packet_id)?))?;
                let packet = packet.ok_or_else(|| wrong("accepted a packet that is not there"))?;
                must(
                    packet.leaf == leaf.as_bytes(),
                    "accepted a packet that another entry accepted",
                )
            }
            Event::DirectoryActivated => self.activated(CeilingOf::Directory, &plain),
            Event::BundleActivated => self.activated(CeilingOf::Bundle, &plain),
            Event::ContentConsignment => self.consignment(&leaf, &row, &plain),
            Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => {
                self.spoken(&leaf, &row)
            }
            Event::StatementAccepted => self.stated(&leaf, &row),
            _ => Ok(()),
        }
    }

    /// An entry that went: its leaf stands in the tree, and nothing else of it is there.
    fn forgotten(&mut self, index: u64, row: &EntryRow) -> Result<(), StoreError> {
        let kept = EntryRow {
            leaf: row.leaf.clone(),
            ..EntryRow::default()
        };
        let stamp: wire::Leaf = exactly(&row.leaf)?;
        must(*row == kept, "keeps more than its leaf")?;
        must(
            stamp.r#type == LEAF_TYPE && stamp.network == self.network.as_str(),
            "has a leaf of another kind or network",
        )?;
        must(index < self.size, "went before it was in the tree")?;
        self.cannot(ENTRIES_GONE);
        Ok(())
    }

    /// What came into force is kept, but for the oldest, and the newest in the moment before it is.
    fn activated(&mut self, of: CeilingOf, body: &wire::EvidenceBody) -> Result<(), StoreError> {
        let version = body.reason.strip_prefix("version-");
        let version: Option<u64> = version.and_then(|text| text.parse().ok());
        let version = version.ok_or_else(|| wrong("does not say what came into force"))?;
        let kept: Option<KeptRow> = self.read.row(&keys::kept(of, version))?;
        if let Some(kept) = kept {
            return must(
                kept.digest == body.manifest_digest,
                "brought another directory or bundle into force than was kept",
            );
        }
        let oldest = self.read.records(&keys::kept_prefix(of), None, 1)?;
        let oldest = oldest.first().and_then(|(key, _)| keys::last_number(key));
        let newest: Option<CeilingRow> = self.read.row(&keys::ceiling(of))?;
        let what = if oldest.is_some_and(|oldest| version < oldest) {
            "a former directory or bundle is no longer kept"
        } else if newest.is_none_or(|newest| version >= newest.version) {
            // How long ago that was is looked at where there is a clock.
            "what came into force is not kept yet"
        } else {
            return Err(wrong("brought into force what should be kept and is not there"));
        };
        self.cannot(what);
        Ok(())
    }

    /// An entry of the tree is found wherever it must be; what waits is not filed yet.
    fn indexed(&self, index: u64, row: &EntryRow) -> Result<(), StoreError> {
        if index >= self.size {
            return Ok(());
        }
        for concern in &row.concerns {
            let found = self.read.get(&keys::concern(&agency(&concern.agency)?, index))?;
            must(
                found.is_some(),
                "is not in the index of an agency that it is shown to",
            )?;
        }
        for place in filed::places(row, index)? {
            must(
                self.read.record(&place)?.is_some(),
                "is not in the file of its case or packet",
            )?;
        }
        Ok(())
    }

    /// A consignment is on record with its parts and what binds them.
    fn consignment(
        &self,
        leaf: &Digest,
        row: &EntryRow,
        body: &wire::EvidenceBody,
    ) -> Result<(), StoreError> {
        let shown = row.shown.as_ref().ok_or_else(|| wrong("has no decision"))?;
        let decision = wire::Decision::decode(&*shown.descriptor).map_err(|_| wrong("has no decision"))?;
        let expected = ConsignmentRow {
            packet: body.packet_id.to_vec(),
            recipient: body.recipient.clone(),
            parts: decision.parts.iter().map(|part| part.part_id.to_vec()).collect(),
            bound: decision
                .parts
                .iter()
                .map(|part| BoundRow {
                    obligations: part.obligations.clone(),
                })
                .collect(),
        };
        let found: Option<Vec<u8>> = self.read.get(&keys::consignment(leaf))?;
        let found = found.ok_or_else(|| wrong("has no consignment on record"))?;
        must(
            found == expected.encode_to_vec(),
            "has another consignment on record",
        )
    }

    /// Something that an acknowledgement says is on record under it.
    fn spoken(&self, leaf: &Digest, row: &EntryRow) -> Result<(), StoreError> {
        let said = row
            .attachment
            .as_ref()
            .ok_or_else(|| wrong("has no acknowledgement"))?;
        let said =
            wire::Acknowledgement::decode(&*said.bytes).map_err(|_| wrong("has no acknowledgement"))?;
        let consignment: Digest = id(&said.consignment_leaf)?;
        let outcome = AckOutcome::parse(&said.outcome).ok_or_else(|| wrong("has an unknown outcome"))?;
        for part in &said.part_ids {
            let part: PartId = id(part)?;
            let key = keys::said(&consignment, outcome, &part, &said.obligation);
            if self.read.get(&key)?.as_deref() == Some(leaf.as_bytes()) {
                return Ok(());
            }
        }
        Err(wrong("is on record for none of its parts"))
    }

    fn stated(&self, leaf: &Digest, row: &EntryRow) -> Result<(), StoreError> {
        let signed = row.attachment.as_ref().ok_or_else(|| wrong("has no statement"))?;
        let statement = wire::Statement::decode(&*signed.bytes).map_err(|_| wrong("has no statement"))?;
        let known: Option<StatementRow> = self.read.row(&keys::statement(&id(&statement.statement_id)?))?;
        must(
            known.is_some_and(|known| known.leaf == leaf.as_bytes()),
            "is of a statement that is not on record",
        )
    }

    /// The entry at a position that a row names.
    fn in_tree(&self, index: u64) -> Result<EntryRow, StoreError> {
        let found = log::numbered(self.read, index)?.filter(|_| index < self.size);
        let (_, row) = found.ok_or_else(|| wrong("names a position that is not there"))?;
        Ok(row)
    }

    pub(super) fn concern(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let bad = || wrong("has a key of another form");
        let whom = keys::queue_agency(key).ok_or_else(bad)?;
        let index = keys::last_number(key).ok_or_else(bad)?;
        must(key == keys::concern(&whom, index), "has a key of another form")?;
        let row = self.in_tree(index)?;
        let same = row.concerns.iter().filter(|one| one.agency == whom.as_str());
        let sees = same.fold(None, |sees, one| Some(sees.unwrap_or(false) | one.sees_hidden));
        let expected = sees.ok_or_else(|| wrong("shows an entry to whom it does not concern"))?;
        must(
            value == [u8::from(expected)],
            "shows more or less of an entry than it should",
        )
    }

    pub(super) fn file(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let index = keys::last_number(key).ok_or_else(|| wrong("has a key of another form"))?;
        let row = self.in_tree(index)?;
        let filed = filed::places(&row, index)?.iter().any(|place| place == key);
        must(
            filed && value.is_empty(),
            "files an entry where it does not belong",
        )
    }
}

/// What opens an entry's digests is there, and opens them.
fn opened(row: &EntryRow, body: &wire::EvidenceBody) -> Result<(), StoreError> {
    for (opening, digest) in [
        (&row.shown, &body.shown_digest),
        (&row.hidden, &body.hidden_digest),
    ] {
        let Some(opening) = opening else {
            must(digest.is_empty(), "is a decision that cannot be opened")?;
            continue;
        };
        let opens = Digest::of_all(&[&opening.nonce, &opening.descriptor]);
        must(
            opening.nonce.len() == 32 && *digest == opens.as_bytes()[..],
            "has another decision than it commits to",
        )?;
        let decision: wire::Decision = exactly(&opening.descriptor)?;
        let same = decision.packet_id == body.packet_id && decision.recipient == body.recipient;
        must(
            same && decision.at_ms == body.at_ms,
            "is a decision about something else",
        )?;
    }
    match &row.attachment {
        None => must(body.attachment_digest.is_empty(), "has lost what it is about"),
        Some(signed) => {
            let digest = schakel_proto::evidence::attachment_digest(signed);
            must(
                *body.attachment_digest == digest.as_bytes()[..],
                "is about something else than it commits to",
            )
        }
    }
}
