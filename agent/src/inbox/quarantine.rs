//! What did not hold is set aside with the reason, for whoever looks into it; never cleaned up silently,
//! but bounded: the oldest goes first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message;
use schakel_proto::ids::PacketId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use serde::Serialize;

use super::Inbox;
use super::spool::Incoming;
use crate::disk;
use crate::problem::Problem;

/// Why something is in quarantine, as `reason.json` says.
#[derive(Serialize)]
struct Reason<'a> {
    packet: Option<String>,
    at: String,
    problem: &'a Problem,
}

/// Files with ciphertext end so.
const PART: &str = "part";

/// How much the quarantine keeps.
#[derive(Clone, Copy, Debug)]
pub struct QuarantineMax {
    /// Deliveries.
    pub count: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Default for QuarantineMax {
    fn default() -> Self {
        Self {
            count: 64,
            bytes: 4 << 30,
        }
    }
}

/// Bytes of a delivery's files.
fn bytes_of(dir: &Path) -> Result<u64, Problem> {
    let mut sum: u64 = 0;
    for file in disk::list(dir)? {
        let length = fs::metadata(&file).map_err(|e| Problem::io(&e, &file))?.len();
        sum = sum.saturating_add(length);
    }
    Ok(sum)
}

impl Inbox {
    /// Sets a delivery aside: ciphertext, manifest, what was handed over, and the reason.
    pub fn quarantine(
        &self,
        incoming: Incoming,
        hand_over: Option<&wire::HandOver>,
        problem: &Problem,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let packet = incoming.claimed_packet().map(|p| p.to_string());
        let name = packet.clone().unwrap_or_else(|| incoming.id().to_string());
        let reason = Reason {
            packet,
            at: now.to_string(),
            problem,
        };
        let path = incoming.dir().join("reason.json");
        self.disk.write(&path, &disk::to_json(&reason, &path)?)?;
        let manifest = incoming.manifest().encode_to_vec();
        self.disk.write(&incoming.dir().join("manifest.bin"), &manifest)?;
        if let Some(hand_over) = hand_over {
            self.disk
                .write(&incoming.dir().join("hand-over.bin"), &hand_over.encode_to_vec())?;
        }
        let to = self.quarantine.join(format!("{name}-{}", problem.code));
        self.disk.remove_dir(&to)?;
        self.disk.rename(incoming.dir(), &to)?;
        self.bound_quarantine(&to)
    }

    /// Keeps the newest deliveries within both bounds; `newest` stays whatever it takes, but not with parts that alone
    /// are too much: what was handed over and why it was refused is the evidence, not the ciphertext.
    fn bound_quarantine(&self, newest: &Path) -> Result<(), Problem> {
        if bytes_of(newest)? > self.quarantine_max.bytes {
            for file in disk::list(newest)? {
                if file.extension().is_some_and(|end| end == PART) {
                    self.disk.remove_file(&file)?;
                }
            }
        }
        let mut kept = disk::list(&self.quarantine)?;
        kept.retain(|path| path != newest);
        let age = |p: &PathBuf| {
            fs::metadata(p)
                .and_then(|m| m.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        kept.sort_by_key(age);
        let (mut count, mut bytes) = (1, bytes_of(newest)?);
        for path in kept.iter().rev() {
            bytes = bytes.saturating_add(bytes_of(path)?);
            count += 1;
            if count > self.quarantine_max.count || bytes > self.quarantine_max.bytes {
                self.disk.remove_dir(path)?;
            }
        }
        Ok(())
    }

    /// Removes what was set aside of a packet.
    pub(super) fn forget_quarantined(&self, packet: PacketId) -> Result<(), Problem> {
        let begin = format!("{packet}-");
        let kept = disk::list(&self.quarantine)?;
        let of_it = kept.iter().filter(|path| disk::name_of(path).starts_with(&begin));
        of_it.into_iter().try_for_each(|path| self.disk.remove_dir(path))
    }

    /// What is in quarantine: folder name and reason.
    pub fn quarantined(&self) -> Result<Vec<(String, serde_json::Value)>, Problem> {
        let reason = |path: &std::path::PathBuf| {
            let reason = disk::read_json(&path.join("reason.json"))?.unwrap_or_default();
            Ok((disk::name_of(path), reason))
        };
        disk::list(&self.quarantine)?.iter().map(reason).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::AtRest;
    use crate::disk::Disk;

    fn kept(inbox: &Inbox) -> BTreeSet<String> {
        let folders = disk::list(&inbox.quarantine).unwrap();
        folders.iter().map(|path| disk::name_of(path)).collect()
    }

    /// Sets a folder aside, `age` seconds old, with so many bytes of ciphertext, and bounds the quarantine by it.
    fn put(inbox: &Inbox, name: &str, age: u64, bytes: usize) {
        let folder = inbox.quarantine.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("1.part"), vec![0; bytes]).unwrap();
        fs::write(folder.join("reason.json"), b"{}").unwrap();
        inbox.bound_quarantine(&folder).unwrap();
        let made = fs::metadata(&folder).unwrap().modified().unwrap();
        let at = made - std::time::Duration::from_secs(age);
        fs::File::open(&folder).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn the_oldest_goes_by_count_and_by_bytes_and_the_newest_stays_without_what_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let max = QuarantineMax {
            count: 3,
            bytes: 1000,
        };
        let inbox = Inbox::open(Disk::default(), dir.path(), AtRest::Sealed, max).unwrap();
        for (name, age) in [("a", 50), ("b", 40), ("c", 30), ("d", 20)] {
            put(&inbox, name, age, 10);
        }
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(kept(&inbox), names(&["b", "c", "d"]), "by count");
        put(&inbox, "e", 10, 980);
        assert_eq!(kept(&inbox), names(&["d", "e"]), "by bytes");
        put(&inbox, "f", 5, 1001);
        assert_eq!(
            kept(&inbox),
            names(&["d", "e", "f"]),
            "the reason of the newest costs nothing of the others"
        );
        let left = disk::list(&inbox.quarantine.join("f")).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(disk::name_of(&left[0]), "reason.json");
    }
}
