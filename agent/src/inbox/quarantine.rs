//! What did not hold is set aside with the reason, for whoever looks into it; never cleaned up silently,
//! but bounded: the oldest goes first.

use std::fs;
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
        self.bound_quarantine()
    }

    fn bound_quarantine(&self) -> Result<(), Problem> {
        let mut kept = disk::list(&self.quarantine)?;
        let age = |p: &std::path::PathBuf| {
            fs::metadata(p)
                .and_then(|m| m.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        kept.sort_by_key(age);
        let surplus = kept.len().saturating_sub(self.quarantine_max_count);
        for oldest in kept.iter().take(surplus) {
            self.disk.remove_dir(oldest)?;
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
