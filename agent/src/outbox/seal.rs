//! From what the agency asks to a sealed packet, durable in the outbox. Contents stream; memory is flat.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use rand::RngCore;
use schakel_proto::directory::{Directory, FreshDirectory};
use schakel_proto::ids::{Digest, PacketId, PartId, Sha256};
use schakel_proto::limits;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::packet::manifest::{
    BreakGlass, CheckpointSeen, LegalBasis, ManifestFields, ReportConditions,
};
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, SealSink, seal};
use schakel_proto::packet::{Profile, SealError};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::Outbox;
use super::plan::{Own, Plan};
use super::record::{Outcome, Record, SealedPart, State};
use crate::disk::{self, Disk, UNFINISHED};
use crate::inbox::Inbox;
use crate::problem::{Kind, Problem};
use crate::request::{PartRequest, SendRequest, SubjectRequest};

/// What sealing rests on, beside the request.
pub struct Context<'a> {
    /// A directory that is fresh enough to seal with.
    pub directory: FreshDirectory<'a>,
    /// Our agency.
    pub agency: &'a AgencyId,
    /// Our keys.
    pub keys: &'a SecretKeys,
    /// The moment.
    pub now: Timestamp,
    /// Last checkpoint seen.
    pub checkpoint: Option<CheckpointSeen>,
    /// What our own decision rests on.
    pub own: Own<'a>,
    /// What we received: some of it must not be sent on.
    pub received: &'a Inbox,
}

/// The packet that is sealed anew.
pub struct Before<'a> {
    /// Its record: contents must be the same.
    pub record: &'a Record,
}

fn usage(code: &str, sentence: impl Into<String>, remedy: &str) -> Problem {
    Problem::new(Kind::Usage, code, sentence, remedy)
}

fn seal_problem(error: SealError) -> Problem {
    Problem::from(Refusal::from(error))
}

/// A file to be sealed: read once, its digest taken on the way.
struct Source {
    file: File,
    length: u64,
    hasher: Sha256,
}

impl Source {
    fn open(part: &PartRequest) -> Result<Self, Problem> {
        let path = &part.file;
        if !path.is_absolute() {
            let remedy = "Give the absolute path: the daemon does not share your working directory.";
            return Err(usage("PATH_RELATIVE", "the path is relative", remedy).at(path.display()));
        }
        let file = File::open(path).map_err(|e| {
            let remedy = "Check the path, and that the agent's user may read the file.";
            usage("FILE_UNREADABLE", format!("cannot read the file: {e}"), remedy).at(path.display())
        })?;
        let meta = file.metadata().map_err(|e| Problem::io(&e, path))?;
        let wrong = |sentence: String| {
            let remedy = "Send an ordinary file of 1 byte to 1 GiB.";
            Err(usage("FILE_SIZE", sentence, remedy).at(path.display()))
        };
        if !meta.is_file() {
            return wrong("not an ordinary file".into());
        }
        if !(1..=limits::PART_MAX_BYTES).contains(&meta.len()) {
            return wrong(format!("{} bytes", meta.len()));
        }
        Ok(Self {
            file,
            length: meta.len(),
            hasher: Sha256::default(),
        })
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Writes sealings as files; keeps a handle of each to sync it at the end.
struct FolderSink<'a> {
    disk: &'a Disk,
    folder: &'a Path,
    files: Vec<(File, PathBuf)>,
    problem: Option<Problem>,
}

impl<'a> FolderSink<'a> {
    fn new(disk: &'a Disk, folder: &'a Path) -> Self {
        Self {
            disk,
            folder,
            files: Vec::new(),
            problem: None,
        }
    }
}

/// Name of a sealing's file.
pub(super) fn sealing_name(part: &PartId, profile: Profile) -> String {
    match profile {
        Profile::V6 => format!("{part}.v6"),
        Profile::V4 => format!("{part}.v4"),
    }
}

impl SealSink for FolderSink<'_> {
    fn open(&mut self, part: &PartId, profile: Profile) -> io::Result<Box<dyn Write + Send + Sync>> {
        let path = self.folder.join(sealing_name(part, profile));
        let file = self.disk.create(&path).map_err(|problem| {
            self.problem = Some(problem);
            io::Error::other("the outbox cannot be written")
        })?;
        self.files.push((file.try_clone()?, path));
        Ok(Box::new(BufWriter::with_capacity(limits::CHUNK_MAX_BYTES, file)))
    }
}

impl Outbox {
    /// Seals a packet and makes it durable; gives its record. A failure leaves nothing behind but an
    /// unfinished folder, which is removed here or at the next start.
    pub fn seal(
        &self,
        request: &SendRequest,
        context: &Context<'_>,
        before: Option<&Before<'_>>,
        rng: &mut (dyn RngCore + Send),
    ) -> Result<Record, Problem> {
        check(request)?;
        let packet = PacketId::new(context.now, rng);
        // Of what was not sealed the first time the file is not looked at: it may be another one by now.
        let sealed = |place: usize| {
            let before = before.and_then(|before| before.record.parts.get(place));
            before.is_none_or(|part| part.sealed)
        };
        let mut sources = Vec::with_capacity(request.parts.len());
        for (place, part) in request.parts.iter().enumerate() {
            sources.push(sealed(place).then(|| Source::open(part)).transpose()?);
        }
        self.check_room(sources.iter().flatten().map(|s| s.length).sum())?;
        let folder = self.dir.join(format!("{UNFINISHED}{packet}"));
        self.disk.make_dir(&folder)?;
        let done = self.seal_into(&folder, packet, request, context, before, &mut sources, rng);
        if done.is_err() && !self.disk.has_stopped() {
            self.disk.remove_dir(&folder)?;
        }
        done
    }

    #[expect(clippy::too_many_arguments, reason = "one call: the parts of one sealing")]
    fn seal_into(
        &self,
        folder: &Path,
        packet: PacketId,
        request: &SendRequest,
        context: &Context<'_>,
        before: Option<&Before<'_>>,
        sources: &mut [Option<Source>],
        rng: &mut (dyn RngCore + Send),
    ) -> Result<Record, Problem> {
        let manifest = manifest(packet, request, context)?;
        let directory = context.directory.directory();
        let keys = recipients(&request.to, directory)?;
        let ids: Vec<_> = request.parts.iter().map(|_| PartId::random(rng)).collect();
        let mut plan = Plan::make(&context.own, directory, request, &manifest, &ids)?;
        if let Some(before) = before {
            plan.as_before(before.record, request, &ids);
        }
        for reason in plan.reasons() {
            tracing::info!(%packet, reason, "our own rules refuse a part: it is not sealed");
        }
        if let Some(refusal) = plan.refusal() {
            return self.seal_nothing(
                folder,
                record(&manifest, request, (&ids, sources), &plan, before)?,
                refusal,
            );
        }
        let wanted = |one: &&DraftRecipient| plan.recipients().contains(&one.agency);
        let recipients = keys.iter().filter(wanted).cloned().collect();
        let parts = ids.iter().zip(&request.parts).zip(sources.iter_mut()).enumerate();
        let parts = parts
            .filter(|(place, _)| !plan.of_part(*place).is_empty())
            .filter_map(|(place, ((id, part), source))| {
                Some(draft_part(*id, part, source.as_mut()?, plan.of_part(place)))
            })
            .collect();
        let draft = Draft {
            manifest: manifest.clone(),
            recipients,
            parts,
        };
        let mut sink = FolderSink::new(&self.disk, folder);
        let sealed = seal(draft, context.keys, context.now, rng, &mut sink);
        let sealed = sealed.map_err(|e| sink.problem.take().unwrap_or_else(|| seal_problem(e)))?;
        for (file, path) in &sink.files {
            self.disk.sync_file(file, path)?;
        }
        let record = Record {
            manifest_digest: Digest::of(&sealed.manifest.bytes),
            sealed_bytes: sealed.sealings.iter().map(|s| s.length).sum(),
            ..record(&manifest, request, (&ids, sources), &plan, before)?
        };
        let record = under_keys(record, &keys);
        for (place, part) in record.parts.iter().enumerate().filter(|(_, part)| part.sealed) {
            context.received.check_onward(&part.sha256, plan.of_part(place))?;
        }
        self.disk
            .write(&folder.join("head.bin"), &sealed.head().encode_to_vec())?;
        let key_packets = wire::SubmitKeyPackets {
            key_packets: sealed.key_packets,
        };
        self.disk
            .write(&folder.join("key-packets.bin"), &key_packets.encode_to_vec())?;
        self.keep(folder, record)
    }

    /// A packet of which our own rules let nothing go: it is refused, and only that is kept.
    fn seal_nothing(&self, folder: &Path, record: Record, refusal: Problem) -> Result<Record, Problem> {
        let refused = Record {
            state: State::Refused,
            refusal: Some(refusal),
            ..record
        };
        self.keep(folder, refused)
    }

    fn keep(&self, folder: &Path, record: Record) -> Result<Record, Problem> {
        let path = folder.join("state.json");
        self.disk.write(&path, &disk::to_json(&record, &path)?)?;
        self.commit(folder, record.clone())?;
        Ok(record)
    }
}

fn check(request: &SendRequest) -> Result<(), Problem> {
    if request.to.is_empty() || request.to.len() > limits::RECIPIENTS_MAX_COUNT {
        return Err(usage(
            "RECIPIENTS",
            "1 to 64 recipients are needed",
            "Name them with --to.",
        ));
    }
    if request.parts.is_empty() || request.parts.len() > limits::PARTS_MAX_COUNT {
        return Err(usage(
            "PARTS",
            "1 to 64 parts are needed",
            "Name them with --part.",
        ));
    }
    for (n, part) in request.parts.iter().enumerate() {
        if let Some(stranger) = part.to.iter().find(|a| !request.to.contains(a)) {
            let sentence = format!("{stranger} gets a part but is not a recipient of the packet");
            return Err(usage("RECIPIENTS", sentence, "Name it with --to as well.")
                .at(format_args!("part {}", n + 1)));
        }
    }
    for recipient in &request.to {
        let idle = !request
            .parts
            .iter()
            .any(|p| p.recipients(&request.to).contains(recipient));
        if idle || request.to.iter().filter(|r| *r == recipient).count() > 1 {
            let sentence = format!("{recipient} is named twice or gets no part");
            return Err(usage(
                "RECIPIENTS",
                sentence,
                "Name each recipient once, with at least one part.",
            ));
        }
    }
    Ok(())
}

fn manifest(
    packet: PacketId,
    request: &SendRequest,
    context: &Context<'_>,
) -> Result<ManifestFields, Problem> {
    let life = match request.expires_hours {
        None => limits::PACKET_LIFE_DEFAULT_MILLIS,
        Some(hours) => i64::from(hours) * 3_600_000,
    };
    if !(1..=limits::PACKET_LIFE_MAX_MILLIS).contains(&life) {
        return Err(usage(
            "EXPIRES",
            "a packet lives from 1 hour to 30 days",
            "Change --expires-hours.",
        ));
    }
    let report = request.report.as_ref().map(|r| ReportConditions {
        victim_class: r.victim_class.clone(),
        danger: r.danger.clone(),
        cannot_protect_otherwise: r.cannot_protect_otherwise,
    });
    let break_glass = request.break_glass.as_ref().map(|b| BreakGlass {
        actor: b.actor.clone(),
        danger_to: b.danger_to.clone(),
        reviewer: b.reviewer.clone(),
        review_by: Timestamp::from_millis(b.review_by_ms),
        justification_chars: b.justification_chars,
        justification_commitment: b.justification_commitment,
    });
    Ok(ManifestFields {
        network: context.directory.directory().network().clone(),
        packet_id: packet,
        case_ref: request.case,
        roster_version_seen: Some(context.own.facts.roster_version()).filter(|version| *version > 0),
        sender: context.agency.clone(),
        sender_key: context.keys.fingerprint(),
        created: context.now,
        expires: context.now.plus_millis(life),
        purpose: request.purpose.clone(),
        legal_basis: LegalBasis {
            basis: request.basis.clone(),
            consultation_ref: request.consultation,
            mandate_ref: request.mandate,
            measure_ref: request.measure,
            report,
        },
        urgency: request.urgency.clone(),
        break_glass,
        in_reply_to: request.in_reply_to,
        checkpoint_seen: context.checkpoint.clone(),
    })
}

fn recipients(to: &[AgencyId], directory: &Directory) -> Result<Vec<DraftRecipient>, Problem> {
    let one = |id: &AgencyId| {
        let agency = directory.agency(id).ok_or_else(|| {
            let remedy = "See the directory for the agencies of this network.";
            usage(
                "RECIPIENT_UNKNOWN",
                format!("{id} is not in the directory"),
                remedy,
            )
        })?;
        let key = agency.sealing_key().ok_or_else(|| {
            let sentence = format!("{id} has no valid key to seal to");
            let remedy = "Tell the agency; its certificate has expired or was revoked.";
            Problem::new(Kind::Refused, "RECIPIENT_KEY", sentence, remedy)
        })?;
        Ok(DraftRecipient {
            agency: id.clone(),
            key: key.clone(),
        })
    };
    to.iter().map(one).collect()
}

fn draft_part<'a>(id: PartId, part: &PartRequest, source: &'a mut Source, to: &[AgencyId]) -> DraftPart<'a> {
    let media_type = part.media_type.clone();
    DraftPart {
        part_id: id,
        category: part.category.clone(),
        subjects: part.subjects.iter().map(SubjectRequest::described).collect(),
        source_secrecy: part.secrecy.clone(),
        release_ref: part.release,
        measure_ref: part.measure,
        relevant: part.relevant,
        pseudonymous: part.pseudonymous,
        file_name: part.sealed_name(),
        media_type: media_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        title: part.title.clone(),
        content_length: source.length,
        content: source,
        recipients: to.to_vec(),
    }
}

/// The same, with the key under which each recipient gets what is sealed to it.
fn under_keys(mut record: Record, keys: &[DraftRecipient]) -> Record {
    for outcome in record.outcomes.iter_mut().filter(|outcome| !outcome.own) {
        let to = keys.iter().find(|one| one.agency == outcome.recipient);
        outcome.key = to.map(|one| one.key.fingerprint().clone());
    }
    record
}

/// The record of a packet, but for what sealing gives; what is sealed anew must have the same contents as before.
fn record(
    manifest: &ManifestFields,
    request: &SendRequest,
    (ids, sources): (&[PartId], &[Option<Source>]),
    plan: &Plan,
    before: Option<&Before<'_>>,
) -> Result<Record, Problem> {
    let mut parts = Vec::new();
    let mut outcomes = Vec::new();
    for (place, ((part, request_part), source)) in ids.iter().zip(&request.parts).zip(sources).enumerate() {
        parts.push(SealedPart {
            part: *part,
            category: request_part.category.clone(),
            file_name: request_part.sealed_name(),
            title: request_part.title.clone(),
            length: source.as_ref().map_or(0, |source| source.length),
            sha256: source.as_ref().map_or(Digest::from_bytes([0; 32]), |source| {
                source.hasher.clone().finish()
            }),
            sealed: !plan.of_part(place).is_empty(),
        });
        outcomes.extend(request_part.recipients(&request.to).iter().map(|recipient| {
            plan.refused(place, recipient).cloned().unwrap_or_else(|| {
                let about = (*part, request_part.category.clone());
                Outcome::pending(recipient.clone(), about, manifest.created)
            })
        }));
    }
    if let Some(before) = before {
        let same = |(a, b): (&SealedPart, &SealedPart)| !a.sealed || !b.sealed || a.sha256 == b.sha256;
        if parts.len() != before.record.parts.len() || !parts.iter().zip(&before.record.parts).all(same) {
            let sentence = "a file has changed since it was sealed, so the packet cannot be sealed anew";
            let remedy = "Send the packet again with the files that are meant.";
            return Err(Problem::new(Kind::Refused, "FILE_CHANGED", sentence, remedy));
        }
    }
    Ok(Record {
        format: 1,
        packet: manifest.packet_id,
        state: State::Sealed,
        case: request.case,
        request: request.clone(),
        parts,
        manifest_digest: Digest::from_bytes([0; 32]),
        created_ms: manifest.created.millis(),
        expires_ms: manifest.expires.millis(),
        roster_version_seen: manifest.roster_version_seen,
        sealed_bytes: 0,
        sealed_before_count: before.map_or(0, |b| b.record.sealed_before_count + 1),
        replaces: before.map(|b| b.record.packet),
        replaced_by: None,
        accepted: None,
        refusal: None,
        recall: None,
        outcomes,
        unproved: BTreeSet::new(),
        provisional: BTreeSet::new(),
        witnessed: BTreeMap::new(),
        cosigned: Vec::new(),
    })
}
