//! A packet: its head against its manifest and its acceptance, its parts against what the sender committed to, and
//! where it stands against its way.

use std::collections::BTreeSet;

use schakel_proto::evidence::Event;
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::packet::parse::{ParsedHead, ParsedSubmission};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::super::content::INLINE_MAX_BYTES;
use super::super::super::error::StoreError;
use super::super::super::filed::Filed;
use super::super::super::kv::keys;
use super::super::super::kv::rows::{HandedRow, PacketRow, PartRow, StateRow};
use super::super::super::kv::txn::Read;
use super::super::super::packet::{PartState, Stage};
use super::super::{FORGOTTEN, RECALLED, agency, filed, id, packets, queue_key, to_state};
use super::way::{Decided, Way};
use super::{Audit, LEAVING, PACKETS_GONE, exactly, must, of_packet, wrong};

/// Entries of a packet that are walked between two looks at the clock.
const STEPS: usize = 16;

/// A packet whose way is not walked to its end yet.
pub(in super::super::super) struct Half {
    packet: PacketId,
    way: Way,
    /// The last position that was walked.
    at: u64,
}

type Parts = Vec<(PartId, PartRow)>;

impl<R: Read> Audit<'_, R> {
    pub(super) fn packet(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        must(key.len() == 17, "has a key of another form")?;
        let packet = of_packet(key)?;
        let row: PacketRow = exactly(value)?;
        if row.stage == FORGOTTEN {
            return self.trace(&packet, &row);
        }
        if self.is_leaving(&row.case)? {
            self.cannot(LEAVING);
            return Ok(());
        }
        let (head, parts) = self.head(&packet, &row)?;
        self.accepted(&packet, &row, &head)?;
        if self.waiting.are_more() {
            self.cannot("the way of a packet, while too many entries wait or one of them is damaged");
            return Ok(());
        }
        let Some(way) = self.walked(&packet, (&row, &parts))? else {
            return Ok(());
        };
        must(row.stage == way.stage, "stands elsewhere than its entries say")?;
        self.stands(&packet, (&row, &parts), &way)?;
        for (part, of) in &parts {
            self.part(&packet, (part, of), &head)?;
        }
        Ok(())
    }

    /// What is left of a packet whose record went: that it was accepted, and nothing else.
    fn trace(&mut self, packet: &PacketId, row: &PacketRow) -> Result<(), StoreError> {
        let kept = PacketRow {
            manifest_digest: row.manifest_digest.clone(),
            accepted_ms: row.accepted_ms,
            leaf: row.leaf.clone(),
            stage: FORGOTTEN,
            ..PacketRow::default()
        };
        must(*row == kept, "keeps more than a trace")?;
        let (_, body) = self.told(&id(&row.leaf)?)?;
        let same = *body.packet_id == packet.as_bytes()[..]
            && body.event == Event::SubmissionAcceptance.as_str()
            && body.manifest_digest == row.manifest_digest
            && body.at_ms == row.accepted_ms;
        must(same, "differs from the entry of its acceptance")?;
        self.cannot(PACKETS_GONE);
        Ok(())
    }

    /// The whole way of a packet; none: this page has no time for the rest of it, the next one goes on.
    pub(super) fn walked(
        &mut self,
        packet: &PacketId,
        (row, parts): (&PacketRow, &Parts),
    ) -> Result<Option<Way>, StoreError> {
        let half = self.half.take().filter(|half| half.packet == *packet);
        let (mut way, mut after) = match half {
            Some(half) => (half.way, Some(half.at)),
            None => (Way::begin(row, parts)?, None),
        };
        loop {
            let page = filed::filed(self.read, Filed::Packet(*packet), after, STEPS)?;
            for entry in &page.found {
                way.walk(self.network, entry)?;
            }
            let Some(next) = page.next else { break };
            if (self.spent)() {
                self.half = Some(Half {
                    packet: *packet,
                    way,
                    at: next,
                });
                return Ok(None);
            }
            after = Some(next);
        }
        for entry in &self.waiting.entries {
            let body: Result<wire::EvidenceBody, _> = exactly(&entry.body);
            if body.is_ok_and(|body| *body.packet_id == packet.as_bytes()[..]) {
                way.walk(self.network, entry)?;
            }
        }
        way.settle();
        Ok(Some(way))
    }

    /// A row that must be there, encoded as it was written.
    fn whole<M: prost::Message + Default>(&self, key: &[u8], what: &str) -> Result<M, StoreError> {
        let value = self.read.get(key)?.ok_or_else(|| wrong(what))?;
        exactly(&value)
    }

    /// Manifest and openings, as they came.
    fn head(&self, packet: &PacketId, row: &PacketRow) -> Result<(ParsedHead, Parts), StoreError> {
        let manifest: wire::Signed = self.whole(&keys::manifest(packet), "has no manifest")?;
        must(
            Digest::of(&manifest.bytes).as_bytes()[..] == row.manifest_digest,
            "has another manifest",
        )?;
        let mut recipients = Vec::new();
        for name in &row.recipients {
            let key = keys::recipient(packet, &agency(name)?);
            recipients.push(self.whole(&key, "has lost a recipient")?);
        }
        let mut parts = Parts::new();
        for part in &row.parts {
            let part: PartId = id(part)?;
            parts.push((part, self.whole(&keys::part(packet, &part), "has lost a part")?));
        }
        let openings = parts
            .iter()
            .map(|(_, part)| part.opening.clone().unwrap_or_default());
        let head = wire::SubmitHead {
            manifest: Some(manifest),
            recipients,
            parts: openings.collect(),
        };
        let head = ParsedSubmission::parse(&head).map_err(|error| wrong(&error.to_string()))?;
        let named = head.recipients().iter().map(|one| one.agency().as_str());
        must(
            named.eq(row.recipients.iter().map(String::as_str)),
            "has other recipients than its sender named",
        )?;
        let ids = head.parts().iter().map(|part| part.id());
        must(
            ids.eq(parts.iter().map(|(id, _)| *id)),
            "has other parts than its sender named",
        )?;
        for name in &row.recipients {
            let mut named = parts.iter().filter(|(_, part)| part.recipients.contains(name));
            must(named.next().is_some(), "has a recipient of no part")?;
        }
        Ok((head, parts))
    }

    /// The row says what the manifest and the entry of its acceptance say.
    fn accepted(&self, packet: &PacketId, row: &PacketRow, head: &ParsedHead) -> Result<(), StoreError> {
        let manifest = head.manifest();
        let same = manifest.packet_id == *packet
            && manifest.case_ref.as_bytes()[..] == row.case
            && manifest.sender.as_str() == row.sender
            && manifest.expires.millis() == row.expires_ms
            && u32::from(crate::accept::priority(manifest.urgency.as_str())) == row.priority;
        must(same, "differs from its manifest")?;
        let (_, body) = self.told(&id(&row.leaf)?)?;
        let accepted = body.event == Event::SubmissionAcceptance.as_str()
            && *body.packet_id == packet.as_bytes()[..]
            && body.manifest_digest == row.manifest_digest
            && body.case_ref == row.case
            && body.sender == row.sender
            && body.at_ms == row.accepted_ms;
        must(accepted, "differs from the entry of its acceptance")
    }

    /// States, decisions, queues and ends, as its way made them.
    fn stands(
        &self,
        packet: &PacketId,
        (row, parts): (&PacketRow, &Parts),
        way: &Way,
    ) -> Result<(), StoreError> {
        for expected in way.states.values() {
            self.state(packet, expected, way)?;
        }
        let unfinished = way.states.values().filter(|state| !state.stage.is_final());
        let unfinished: BTreeSet<PartId> = unfinished.map(|state| state.part).collect();
        let open = !unfinished.is_empty();
        let expiry = keys::expiry(Timestamp::from_millis(row.expires_ms), packet);
        must(
            self.read.record(&expiry)?.is_some() == open,
            "stands wrongly in the index of ends",
        )?;
        for name in &row.recipients {
            let recipient = agency(name)?;
            self.handed(packet, &recipient, way)?;
            self.placed(packet, row, (&recipient, way))?;
        }
        for (event, leaf) in &way.ended {
            let ended = self.read.get(&keys::ended(packet, *event))?;
            must(ended.is_some(), "has lost what ended it")?;
            // What ended it is told once; the first counts.
            must(
                ended.as_deref() == Some(leaf.as_bytes()),
                "was ended by another entry",
            )?;
        }
        let mut all = parts.iter();
        let purged = all.all(|(id, part)| part.purged != unfinished.contains(id));
        must(purged, "keeps or lacks ciphertext against its way")
    }

    pub(super) fn state(&self, packet: &PacketId, expected: &PartState, way: &Way) -> Result<(), StoreError> {
        let key = keys::state(packet, &expected.recipient, &expected.part);
        let row: StateRow = self.whole(&key, "has lost the state of a part")?;
        let found = to_state(expected.recipient.clone(), expected.part, row)?;
        let mut expected = expected.clone();
        let place = (expected.recipient.clone(), expected.part);
        let held = match way.last_held.get(&place) {
            Some(held) => Some((held.leaf, held.other_reason)),
            None if expected.stage == Stage::Held => Some((expected.leaf_hash, false)),
            None => None,
        };
        if let Some((leaf, other_reason)) = held {
            let last: Option<HandedRow> = self.read.row(&keys::handed(packet, &expected.recipient))?;
            let by = leaf.map(Digest::to_vec).unwrap_or_default();
            if last.is_some_and(|last| last.leaf != by) {
                // It may have been held again without a new entry: why is not in the log, and outlives its end.
                expected.obligations.clone_from(&found.obligations);
                if !other_reason {
                    expected.reason.clone_from(&found.reason);
                }
            }
        }
        must(
            found == expected,
            "has a part whose state is not what its entries say",
        )
    }

    /// The last decision on record is the last in the log.
    pub(super) fn handed(
        &self,
        packet: &PacketId,
        recipient: &AgencyId,
        way: &Way,
    ) -> Result<(), StoreError> {
        let value = self.read.get(&keys::handed(packet, recipient))?;
        let Some(Decided {
            leaf,
            delivers,
            held,
            decision,
        }) = way.decided.get(recipient)
        else {
            return must(value.is_none(), "has a decision on record that is not in the log");
        };
        let value = value.ok_or_else(|| wrong("has lost its last decision"))?;
        let row: HandedRow = exactly(&value)?;
        must(row.token.len() == 16, "has a lease of another form")?;
        if row.leaf.is_empty() {
            // Only what was held is decided again without an entry; what became of it later does not touch this row.
            return must(*held && !row.delivers, "was decided again without an entry");
        }
        let same = row.leaf == leaf.as_bytes()
            && row.delivers == *delivers
            && row.facts_count == decision.facts_count
            && row.bundle_version == decision.bundle_version
            && row.directory_version == decision.directory_version;
        must(same, "has another last decision than the log")
    }

    /// What is open waits in a queue or among the held, and nowhere else.
    fn placed(
        &self,
        packet: &PacketId,
        row: &PacketRow,
        (recipient, way): (&AgencyId, &Way),
    ) -> Result<(), StoreError> {
        let queued = self.read.record(&queue_key(packet, row, recipient))?.is_some();
        let held = self
            .read
            .record(&keys::held(&id(&row.case)?, packet, recipient))?
            .is_some();
        let mine = || way.of(recipient);
        let goes = mine().any(|state| matches!(state.stage, Stage::Pending | Stage::HandedOver));
        let waits = mine().any(|state| state.stage == Stage::Held);
        let right = if goes && row.stage != RECALLED {
            queued && !held
        } else if waits {
            queued != held
        } else {
            !queued && !held
        };
        must(right, "waits where it should not, or not where it should")
    }

    /// A part's encryptions and session keys, as the sender committed to them.
    fn part(
        &self,
        packet: &PacketId,
        (part, row): (&PartId, &PartRow),
        head: &ParsedHead,
    ) -> Result<(), StoreError> {
        let named = head
            .part(part)
            .ok_or_else(|| wrong("has a part that its sender did not name"))?;
        let fields = named.descriptor();
        must(
            fields.sealings.len() == row.sealings.len(),
            "has another number of encryptions",
        )?;
        for sealing in &row.sealings {
            let profile = packets::profile(sealing.profile)?;
            let committed = fields.sealings.iter().any(|one| {
                crate::accept::stored_profile(one.profile) == profile
                    && one.length == sealing.length
                    && one.sha256.as_bytes()[..] == sealing.sha256
            });
            must(committed, "has an encryption that its sender did not commit to")?;
            must(
                sealing.inline == (sealing.length <= INLINE_MAX_BYTES),
                "keeps an encryption elsewhere",
            )?;
            let digest: Digest = id(&sealing.sha256)?;
            let inline = self.read.get(&keys::inline(packet, part, profile))?;
            let file = self.read.record(&keys::file(&digest, packet, part, profile))?;
            let there = match (row.purged, sealing.inline) {
                (true, _) => inline.is_none() && file.is_none(),
                (false, true) => inline.is_some_and(|bytes| Digest::of(&bytes) == digest) && file.is_none(),
                (false, false) => inline.is_none() && file.is_some(),
            };
            must(there, "has other ciphertext than its sender committed to")?;
        }
        for name in &row.recipients {
            let recipient = agency(name)?;
            let key = self.read.get(&keys::key_packet(packet, part, &recipient))?;
            let right = match key {
                None => row.purged,
                Some(_) if row.purged => false,
                Some(key) => match head.check_key_packet_of(part, &recipient, &key) {
                    Ok(()) => true,
                    Err(error) => return Err(wrong(&error.to_string())),
                },
            };
            must(right, "has another session key than its sender committed to")?;
        }
        Ok(())
    }
}
