//! Writing a part of the inbox out to a file that the agency's people can use. What is sealed at rest is
//! verified again from the proofs that came with it; nothing is written before everything holds.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use schakel_proto::directory::Directory;
use schakel_proto::limits;
use schakel_proto::packet::open::{OpenedPart, open_part};
use schakel_proto::packet::verify::{HandedContext, VerifiedHanded, verify_handed};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::Inbox;
use super::accept::{header_name, names};
use super::record::{Delivery, Names, ReceivedPart};
use super::writing::Writing;
use crate::disk::{self, UNFINISHED};
use crate::keyring::Keyring;
use crate::problem::{Kind, Problem};

/// What opening rests on.
pub struct Context<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// Our agency.
    pub agency: &'a AgencyId,
    /// The directory that the delivery was verified with.
    pub directory: &'a Directory,
    /// Our keys.
    pub keys: &'a Keyring,
}

impl Inbox {
    /// Writes the content of a part to a new file (mode 0600); gives the names inside the seal if there
    /// was a seal to open.
    pub fn write_out(
        &self,
        delivery: &Delivery,
        part: &ReceivedPart,
        out: &Path,
        context: &Context<'_>,
    ) -> Result<Option<Names>, Problem> {
        check_target(out)?;
        if let Some(at) = part.deleted_ms {
            let sentence = format!("the part was destroyed at {}", Timestamp::from_millis(at));
            let remedy = "An obligation of its delivery said so; ask the sender for what is in force now.";
            return Err(Problem::new(Kind::Refused, "PART_DESTROYED", sentence, remedy).at(part.part));
        }
        let name = out
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let temporary = out.with_file_name(format!("{UNFINISHED}{name}"));
        let file = self.disk.create(&temporary)?;
        let done = self.copy_out(delivery, part, (&file, out), context);
        let done = done.and_then(|names| {
            self.disk.sync_file(&file, &temporary)?;
            self.disk.rename(&temporary, out)?;
            Ok(names)
        });
        if done.is_err() {
            self.disk.remove_file(&temporary)?;
        }
        done
    }

    fn copy_out(
        &self,
        delivery: &Delivery,
        part: &ReceivedPart,
        (file, target): (&File, &Path),
        context: &Context<'_>,
    ) -> Result<Option<Names>, Problem> {
        let mut out = BufWriter::with_capacity(limits::CHUNK_MAX_BYTES, file);
        let opened = self.content_into(delivery, part, (&mut out, target), context)?;
        Ok(opened.map_or_else(|| part.names.clone(), |opened| Some(names(&opened))))
    }

    /// Writes the content of a part that is there into `out`, which is `target`; gives what the seal says if there was
    /// a seal to open.
    pub fn content_into(
        &self,
        delivery: &Delivery,
        part: &ReceivedPart,
        (out, target): (&mut dyn Write, &Path),
        context: &Context<'_>,
    ) -> Result<Option<OpenedPart>, Problem> {
        let stored = self
            .folder(delivery.packet, &delivery.consignment)
            .join(&part.file);
        let failed = |e: io::Error| Problem::io(&e, &stored);
        let unwritten = |e: io::Error| Problem::io(&e, target);
        if part.key_packet_bytes == 0 {
            let mut from = File::open(&stored).map_err(failed)?;
            let mut piece = vec![0; limits::CHUNK_MAX_BYTES];
            loop {
                // Which of the two files is at fault is the first thing that a reader of the error wants to know.
                let count = from.read(&mut piece).map_err(failed)?;
                if count == 0 {
                    break;
                }
                out.write_all(piece.get(..count).unwrap_or_default())
                    .map_err(unwritten)?;
            }
            out.flush().map_err(unwritten)?;
            return Ok(None);
        }
        let (handed, key_packet) = self.verify_again(delivery, part, context)?;
        let mut open = || {
            let mut ciphertext = File::open(&stored)?;
            ciphertext.seek(SeekFrom::Start(part.key_packet_bytes))?;
            Ok(Box::new(ciphertext) as _)
        };
        let keys = context.keys.opening(handed.recipient().key());
        let mut writing = Writing::new(out);
        let opened = open_part(&handed, &part.part, &key_packet, &mut open, keys, &mut writing);
        let opened = opened.map_err(|e| match writing.problem(&e, target) {
            problem if problem.kind == Kind::Distrust => Problem {
                kind: Kind::Local,
                ..problem
            },
            problem => problem,
        })?;
        out.flush().map_err(unwritten)?;
        Ok(Some(opened))
    }

    /// The sealed header of a part whose content lies open, with its length in front; none if it was not kept.
    pub fn kept_header(&self, delivery: &Delivery, part: &ReceivedPart) -> Result<Option<Vec<u8>>, Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        disk::read(
            &folder.join(header_name(&part.part)),
            limits::SEALED_HEADER_MAX_BYTES as u64 + 4,
        )
    }

    /// What came with a hand-over: the signed manifest, openings and evidence.
    pub fn proofs(&self, delivery: &Delivery) -> Result<(wire::Signed, wire::HandOver), Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        let manifest = self.read_message(&folder.join("manifest.bin"))?;
        Ok((manifest, self.read_message(&folder.join("hand-over.bin"))?))
    }

    /// The same verification as when it came, as of then.
    fn verify_again(
        &self,
        delivery: &Delivery,
        part: &ReceivedPart,
        context: &Context<'_>,
    ) -> Result<(VerifiedHanded, bytes::Bytes), Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        let (manifest, hand_over) = self.proofs(delivery)?;
        let recipient = hand_over.recipient.unwrap_or_default();
        let openings: Vec<_> = hand_over
            .parts
            .iter()
            .map(|p| p.part.clone().unwrap_or_default())
            .collect();
        let verify = HandedContext {
            network: context.network,
            recipient: context.agency,
            directory: context.directory,
            now: Timestamp::from_millis(delivery.at_ms),
        };
        let handed = verify_handed(&manifest, &recipient, &openings, verify)
            .map_err(|e| Problem::damaged(&folder, Refusal::from(e)))?;
        let mut both = handed.parts().iter().zip(&hand_over.parts);
        let key_packet = both
            .find(|(described, _)| described.id() == part.part)
            .map(|(_, p)| &p.key_packet);
        let key_packet =
            key_packet.ok_or_else(|| Problem::damaged(&folder, "the part's key packet is missing"))?;
        Ok((handed.clone(), key_packet.clone()))
    }
}

pub(crate) fn check_target(out: &Path) -> Result<(), Problem> {
    let usage = |code: &str, sentence: &str, remedy: &str| {
        Err(Problem::new(Kind::Usage, code, sentence, remedy).at(out.display()))
    };
    if !out.is_absolute() {
        let remedy = "Give the absolute path: the daemon does not share your working directory.";
        return usage("PATH_RELATIVE", "the path is relative", remedy);
    }
    if fs::symlink_metadata(out).is_ok() {
        return usage(
            "FILE_EXISTS",
            "there is a file of this name",
            "Name a new file; nothing is overwritten.",
        );
    }
    Ok(())
}
