//! The directories of a pack: those that its checks are made by, each with the certificates of those concerned.

use std::collections::BTreeSet;

use prost::Message;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::{Gathered, names};
use crate::agent::Agent;
use crate::evidence::writing::Writing;
use crate::problem::Problem;

/// When something was made that the directory of that moment judges.
#[derive(Default)]
struct Moments {
    /// When the packet was made, and accepted: without these directories nothing in it is proved.
    first: Vec<Timestamp>,
    /// All others.
    later: Vec<Timestamp>,
}

impl Agent {
    /// The directories that were in force, as they were signed, and from them the certificates of those concerned.
    pub(super) fn add_directories(
        &self,
        writing: &mut Writing<'_>,
        gathered: &Gathered,
    ) -> Result<(), Problem> {
        let mut concerned = BTreeSet::from([self.network.agency().clone()]);
        let mut moments = Moments::default();
        let manifest = wire::Manifest::decode(&*gathered.manifest.bytes).unwrap_or_default();
        moments.first.push(Timestamp::from_millis(manifest.created_ms));
        for entry in gathered.entries.values() {
            let Ok(body) = Body::parse(&entry.body, self.network.name()) else {
                continue;
            };
            match body.event {
                Event::SubmissionAcceptance => moments.first.push(body.at),
                _ => moments.later.push(body.at),
            }
            concerned.extend(body.sender.into_iter().chain(body.recipient));
        }
        for (_, answer) in &gathered.answers {
            let said = wire::Acknowledgement::decode(&*answer.bytes).unwrap_or_default();
            moments.later.push(Timestamp::from_millis(said.made_ms));
        }
        for version in self.versions(gathered, &moments)? {
            let Some(signed) = self.network.signed_directory(version)? else {
                continue;
            };
            writing.add(&names::directory(version), &signed.bytes)?;
            for (number, signature) in signed.signatures.iter().enumerate() {
                writing.add(&names::directory_signature(version, number), signature)?;
            }
            // Only its certificates are wanted: one that has expired since is as good as it was when it was issued.
            let said = wire::Directory::decode(&*signed.bytes).unwrap_or_default();
            let issued = Timestamp::from_millis(said.issued_ms);
            let directory = self.network.directory_at(version, issued)?;
            let agencies = concerned.iter().filter_map(|id| directory.agency(id));
            for certificate in agencies.flat_map(|agency| agency.certificates()) {
                let bytes = certificate
                    .to_bytes()
                    .map_err(|e| Problem::damaged(&self.config.authority, e))?;
                writing.add(&names::certificate(&certificate.fingerprint()), &bytes)?;
            }
        }
        writing.add_file(names::AUTHORITY, &self.config.authority)
    }

    /// As many versions as a pack can hold: that of now, which names the witnesses, those of the beginning, then the
    /// newest.
    fn versions(&self, gathered: &Gathered, moments: &Moments) -> Result<BTreeSet<u64>, Problem> {
        let of = |at: &Timestamp| self.network.versions_of(*at);
        let now = self.network.view()?.directory().version();
        let mut others = gathered.versions.clone();
        others.extend(moments.later.iter().flat_map(of));
        let first = moments.first.iter().flat_map(of);
        let wanted = std::iter::once(now).chain(first).chain(others.into_iter().rev());
        Ok(within(wanted, names::DIRECTORIES_MAX_COUNT))
    }
}

/// The first of them, each once, as many as there is room for.
fn within(wanted: impl Iterator<Item = u64>, room: usize) -> BTreeSet<u64> {
    let mut chosen = BTreeSet::new();
    for version in wanted {
        if chosen.len() == room {
            break;
        }
        chosen.insert(version);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_directories_go_into_a_pack_as_are_read_and_the_needed_ones_first() {
        let wanted = || std::iter::once(900).chain([3, 2, 3, 2]).chain((4..800).rev());
        let chosen = within(wanted(), names::DIRECTORIES_MAX_COUNT);
        assert_eq!(chosen.len(), names::DIRECTORIES_MAX_COUNT);
        assert!(
            [900, 2, 3, 799, 739]
                .iter()
                .all(|version| chosen.contains(version))
        );
        assert!(!chosen.contains(&738));
        assert_eq!(within(wanted().take(5), 64), BTreeSet::from([2, 3, 900]));
    }
}
