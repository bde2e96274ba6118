//! Rows that stand for something elsewhere: each belongs to a packet, an entry, a case or a file that has it.

use prost::Message;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::tlog::cosignature::witness_name;
use schakel_proto::wire;

use super::super::super::delivery::AckOutcome;
use super::super::super::error::StoreError;
use super::super::super::facts::CeilingOf;
use super::super::super::kv::keys;
use super::super::super::kv::rows::{CandidateRow, ContactRow, KeptRow, PacketRow, PartRow, ReviewRow};
use super::super::super::kv::txn::Read;
use super::super::{FORGOTTEN, agency, id, packets, queue_key, shards};
use super::{Audit, exactly, must, of_agency, of_packet, wrong};

const FORM: &str = "has a key of another form";
const NOBODYS: &str = "belongs to nothing";

impl<R: Read> Audit<'_, R> {
    pub(super) fn satellite(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match key.first() {
            Some(b'M') => self.of(key, &keys::manifest(&of_packet(key)?)),
            Some(b'R' | b'W') => {
                let (packet, whom, _) = of_agency(key)?;
                let row = self.packet_of(&packet)?;
                must(row.recipients.iter().any(|one| one == whom.as_str()), NOBODYS)
            }
            Some(b'S') => {
                let part = key.get(17..).unwrap_or_default();
                let row = self.packet_of(&of_packet(key)?)?;
                must(row.parts.iter().any(|one| one == part), NOBODYS)
            }
            Some(b'K' | b'B') => self.of_part(key),
            Some(b'T') => {
                let (packet, whom, part) = of_agency(key)?;
                let row = self.part_of(&packet, &id(part)?)?;
                must(row.recipients.iter().any(|one| one == whom.as_str()), NOBODYS)
            }
            Some(b'Y') => self.ended(key, value),
            Some(b'X' | b'Q' | b'H' | b'F') => {
                must(value.is_empty(), "says more than it should")?;
                self.marker(key)
            }
            Some(b'C') => {
                let (_, body) = self.told(&id(key.get(1..).unwrap_or_default())?)?;
                must(body.event == Event::ContentConsignment.as_str(), NOBODYS)
            }
            Some(b'G') => self.said(key, value),
            Some(b'L') => self.contact(key, value),
            Some(b'b') => self.review(key, value),
            Some(b'D') => self.kept(key, value),
            Some(&keys::CANDIDATE) => self.candidate(key, value),
            Some(&keys::COSIGNATURE) => self.cosignature(key, value),
            _ => Err(wrong("is not known")),
        }
    }

    /// The key is exactly this one, of a packet that is there.
    fn of(&self, key: &[u8], expected: &[u8]) -> Result<(), StoreError> {
        must(key == expected, FORM)?;
        self.packet_of(&of_packet(key)?).map(drop)
    }

    fn packet_of(&self, packet: &PacketId) -> Result<PacketRow, StoreError> {
        let row: Option<PacketRow> = self.read.row(&keys::packet(packet))?;
        row.filter(|row| row.stage != FORGOTTEN)
            .ok_or_else(|| wrong("belongs to a packet that is not there"))
    }

    fn part_of(&self, packet: &PacketId, part: &PartId) -> Result<PartRow, StoreError> {
        let row = self.read.row(&keys::part(packet, part))?;
        row.ok_or_else(|| wrong("belongs to a part that is not there"))
    }

    /// A session key or an encryption, of a part that still has it.
    fn of_part(&self, key: &[u8]) -> Result<(), StoreError> {
        let packet = of_packet(key)?;
        let part: PartId = id(key.get(17..33).unwrap_or_default()).map_err(|_| wrong(FORM))?;
        let row = self.part_of(&packet, &part)?;
        must(!row.purged, "should be gone")?;
        for name in &row.recipients {
            if keys::key_packet(&packet, &part, &agency(name)?) == key {
                return Ok(());
            }
        }
        for sealing in row.sealings.iter().filter(|sealing| sealing.inline) {
            if keys::inline(&packet, &part, packets::profile(sealing.profile)?) == key {
                return Ok(());
            }
        }
        Err(wrong(NOBODYS))
    }

    /// A recall or expiry that ended a packet.
    fn ended(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let packet = of_packet(key)?;
        let name = key.get(17..).unwrap_or_default();
        let (_, body) = self.told(&id(value)?)?;
        let _on_record = self.packet_of(&packet)?;
        let ends = [Event::Recalled, Event::Expired]
            .iter()
            .any(|event| event.as_str() == body.event);
        let same = body.event.as_bytes() == name && *body.packet_id == packet.as_bytes()[..];
        must(ends && same, "is ended by something else")
    }

    /// An index without a value of its own: it follows from the packet.
    fn marker(&self, key: &[u8]) -> Result<(), StoreError> {
        if key.first() == Some(&keys::FILE) {
            return self.claim(key);
        }
        if let Some((packet, whom)) = keys::parse_held(key).filter(|_| key.first() == Some(&keys::HELD)) {
            let row = self.packet_of(&packet)?;
            let case: CaseRef = id(&row.case)?;
            let named = row.recipients.iter().any(|one| one == whom.as_str());
            return must(named && key == keys::held(&case, &packet, &whom), NOBODYS);
        }
        let packet = keys::last_packet(key).ok_or_else(|| wrong(FORM))?;
        let row = self.packet_of(&packet)?;
        if key.first() == Some(&keys::EXPIRY) {
            let ends = schakel_proto::time::Timestamp::from_millis(row.expires_ms);
            return must(key == keys::expiry(ends, &packet), NOBODYS);
        }
        for name in &row.recipients {
            if queue_key(&packet, &row, &agency(name)?) == key {
                return Ok(());
            }
        }
        Err(wrong(NOBODYS))
    }

    /// A claim on a part file.
    fn claim(&self, key: &[u8]) -> Result<(), StoreError> {
        let digest: Digest = id(key.get(1..33).unwrap_or_default()).map_err(|_| wrong(FORM))?;
        for of in [CeilingOf::Directory, CeilingOf::Bundle] {
            let version = keys::last_number(key).unwrap_or_default();
            if keys::kept_file(&digest, of, version) == key {
                let row: Option<KeptRow> = self.read.row(&keys::kept(of, version))?;
                let kept = row.is_some_and(|row| row.inline.is_empty() && row.sha256 == digest.as_bytes());
                return must(kept, NOBODYS);
            }
        }
        let packet: PacketId = id(key.get(33..49).unwrap_or_default()).map_err(|_| wrong(FORM))?;
        let part: PartId = id(key.get(49..65).unwrap_or_default()).map_err(|_| wrong(FORM))?;
        let row = self.part_of(&packet, &part)?;
        for sealing in row.sealings.iter().filter(|one| !one.inline && !row.purged) {
            let claim = keys::file(&digest, &packet, &part, packets::profile(sealing.profile)?);
            if claim == key && sealing.sha256 == digest.as_bytes() {
                return Ok(());
            }
        }
        Err(wrong(NOBODYS))
    }

    /// What was said of a part: the entry has the acknowledgement that says it.
    fn said(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let (row, _) = self.told(&id(value)?)?;
        let said = row
            .attachment
            .ok_or_else(|| wrong("names an entry without an acknowledgement"))?;
        let said = wire::Acknowledgement::decode(&*said.bytes);
        let said = said.map_err(|_| wrong("names an entry without an acknowledgement"))?;
        let consignment: Digest = id(&said.consignment_leaf)?;
        let outcome = AckOutcome::parse(&said.outcome).ok_or_else(|| wrong("has an unknown outcome"))?;
        for part in &said.part_ids {
            if keys::said(&consignment, outcome, &id(part)?, &said.obligation) == key {
                return Ok(());
            }
        }
        Err(wrong("is not what its entry says"))
    }

    fn contact(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let row: ContactRow = exactly(value)?;
        let packet = self.packet_of(&id(&row.packet)?)?;
        let same = packet.case == key.get(1..).unwrap_or_default() && packet.accepted_ms == row.at_ms;
        must(same, "is about another packet")
    }

    fn review(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let row: ReviewRow = exactly(value)?;
        let id = keys::last_packet(key).ok_or_else(|| wrong(FORM))?;
        let packet = self.packet_of(&id)?;
        let manifest: wire::Signed = self.read.must(&keys::manifest(&id))?;
        let manifest = ManifestFields::parse(&manifest.bytes).map_err(|error| wrong(&error.to_string()))?;
        let due = manifest.break_glass.map(|record| record.review_by.millis());
        let case = key.get(1..17).unwrap_or_default();
        let same = packet.case == case && packet.accepted_ms == row.since_ms && due == Some(row.due_ms);
        must(same && key.len() == 33, "is about another emergency")
    }

    /// A checkpoint for the witnesses is, by its own words, of this tree.
    fn candidate(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let row: CandidateRow = exactly(value)?;
        let size = keys::last_number(key).filter(|_| key.len() == 9);
        let size = size.ok_or_else(|| wrong(FORM))?;
        let said = shards::origin_of(&row.note).map(|origin| format!("{origin}\n{size}\n"));
        let fits = said.is_some_and(|said| row.note.starts_with(said.as_bytes()));
        must(fits && size <= self.size, "is no checkpoint of this tree")
    }

    /// A witness' line belongs to a checkpoint that is kept, and names the witness.
    fn cosignature(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let agency = keys::cosigner(key).ok_or_else(|| wrong(FORM))?;
        let size = key.get(1..9).and_then(|size| size.try_into().ok());
        let size = size.map(u64::from_be_bytes).ok_or_else(|| wrong(FORM))?;
        must(key == keys::cosignature(size, &agency), FORM)?;
        let row: Option<CandidateRow> = self.read.row(&keys::candidate(size))?;
        let row = row.ok_or_else(|| wrong(NOBODYS))?;
        let origin = shards::origin_of(&row.note).unwrap_or_default();
        let begins = format!("\u{2014} {} ", witness_name(&origin, &agency));
        must(value.starts_with(begins.as_bytes()), "is by another witness")
    }

    fn kept(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let row: KeptRow = exactly(value)?;
        let version = keys::last_number(key).ok_or_else(|| wrong(FORM))?;
        let of = [CeilingOf::Directory, CeilingOf::Bundle];
        let of = of.into_iter().find(|of| keys::kept(*of, version) == key);
        let of = of.ok_or_else(|| wrong(FORM))?;
        if row.inline.is_empty() {
            let claim = keys::kept_file(&id(&row.sha256)?, of, version);
            return must(self.read.record(&claim)?.is_some(), "has lost its file");
        }
        let length = u64::try_from(row.inline.len()).unwrap_or(u64::MAX);
        let same = Digest::of(&row.inline).as_bytes()[..] == row.sha256 && row.length == length;
        must(same, "has other bytes than it names")
    }
}
