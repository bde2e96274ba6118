//! To whom entries are shown.

use std::collections::BTreeSet;

use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::PacketId;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::wire;

use super::super::super::error::StoreError;
use super::super::super::kv::keys;
use super::super::super::kv::rows::{EntryRow, PacketRow};
use super::super::super::kv::txn::Read;
use super::super::FORGOTTEN;
use super::{Audit, must, wrong};

impl<R: Read> Audit<'_, R> {
    /// To whom an entry is shown, as far as it says so itself: to no other agency, and what is hidden to nobody but the
    /// sender.
    pub(super) fn audience(&self, row: &EntryRow, body: &Body) -> Result<(), StoreError> {
        let name = |agency: &Option<AgencyId>| agency.as_ref().map(|one| one.as_str().to_owned());
        let (sender, recipient) = (name(&body.sender), name(&body.recipient));
        let hidden = row.concerns.iter().filter(|one| one.sees_hidden);
        for concern in hidden.clone() {
            must(
                Some(&concern.agency) == sender.as_ref(),
                "shows what is hidden to another agency than its sender",
            )?;
        }
        let expected: BTreeSet<String> = match body.event {
            Event::ContentConsignment
            | Event::ContentHandover
            | Event::ContentHandoverFailure
            | Event::ObligationFulfilled => [sender, recipient].into_iter().flatten().collect(),
            Event::ContentWithheld
            | Event::Recalled
            | Event::Expired
            | Event::SubmissionRejection
            | Event::StatementRejected => sender.into_iter().collect(),
            Event::SubmissionAcceptance => {
                let packet = body
                    .packet
                    .map(|packet| keys::packet(&packet))
                    .unwrap_or_default();
                let packet: Option<PacketRow> = self.read.row(&packet)?;
                if packet.is_some_and(|packet| packet.stage == FORGOTTEN) {
                    // Whether it was an emergency, with a reviewer, went with its record.
                    let told = row
                        .concerns
                        .iter()
                        .any(|one| Some(&one.agency) == sender.as_ref());
                    let what = "is shown to others than it says itself";
                    return must(told && row.concerns.len() <= 2, what);
                }
                let reviewer = match body.packet {
                    Some(packet) => self.reviewer(&packet)?,
                    None => None,
                };
                sender.into_iter().chain(reviewer).collect()
            }
            Event::AdminAct | Event::RecordsErased | Event::ShardFrozen | Event::ShardOpened => {
                BTreeSet::new()
            }
            Event::StatementAccepted => {
                let told = row
                    .concerns
                    .iter()
                    .any(|one| Some(&one.agency) == sender.as_ref());
                return must(told, "is not shown to whom it comes from");
            }
            // The facts and the directory of the moment say it; of an erased case nothing says whose it was.
            Event::FactsChanged
            | Event::BundleActivated
            | Event::DirectoryActivated
            | Event::KeyDestroyed => return Ok(()),
        };
        let found: BTreeSet<String> = row.concerns.iter().map(|one| one.agency.clone()).collect();
        must(found == expected, "is shown to others than it says itself")?;
        let decided = matches!(body.event, Event::ContentConsignment | Event::ContentWithheld);
        must(
            !decided || hidden.count() > 0,
            "hides from its sender what was decided",
        )
    }

    /// Who is to review a packet's emergency: the log tells it of its acceptance.
    fn reviewer(&self, packet: &PacketId) -> Result<Option<String>, StoreError> {
        let manifest: Option<wire::Signed> = self.read.row(&keys::manifest(packet))?;
        let Some(manifest) = manifest else {
            return Err(wrong("accepted a packet that has no manifest"));
        };
        let manifest = ManifestFields::parse(&manifest.bytes).map_err(|error| wrong(&error.to_string()))?;
        Ok(manifest
            .break_glass
            .map(|record| record.reviewer.as_str().to_owned()))
    }
}
