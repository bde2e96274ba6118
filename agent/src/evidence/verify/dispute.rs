//! What an agency signed that it saw of the log, and a checkpoint that the log's key signed, of two histories: as an agent
//! keeps both when it hears of it. One of the two lies; which of them the folder does not say.

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::packet::shown::ShownManifest;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::{CheckpointError, SignedCheckpoint};
use schakel_proto::tlog::contradiction::{Given, Seen};
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;
use serde::Deserialize;

use super::contradiction::side;
use super::directories::Directories;
use super::{Anchor, Members, cosigned};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::problem::Problem;
use crate::receipts::judge;

/// All that is in such a folder.
pub(super) const FILES: &[&str] = &[names::SIGNED, names::OWN, names::FOUND, names::DIRECTORY];
/// What an acknowledgement says that it is.
const ACKNOWLEDGEMENT: &str = "schakel.v1.Acknowledgement";

/// What the agent that found it wrote down.
#[derive(Default, Deserialize)]
struct Found {
    by: Option<String>,
    size: Option<u64>,
    root: Option<Digest>,
    #[serde(default)]
    proof: Vec<Digest>,
    #[serde(default)]
    from_root: Option<Digest>,
}

/// An agency's word, as it stands in what it signed.
struct Word {
    by: AgencyId,
    origin: String,
    seen: Seen,
}

impl Word {
    /// Reads what was signed, and checks by whom.
    fn read(signed: &wire::Signed, directories: &Directories) -> Result<Self, Why> {
        let network = directories.network().ok_or_else(|| why("OTHER_NETWORK"))?;
        match wire::Acknowledgement::decode(&*signed.bytes) {
            Ok(said) if said.r#type == ACKNOWLEDGEMENT => {
                if said.network != network.as_str() {
                    return Err(why("OTHER_NETWORK"));
                }
                Self::of_acknowledgement(&said, signed, directories)
            }
            _ => {
                let manifest = ShownManifest::parse(signed).map_err(Why::refusal)?;
                if manifest.fields().network != *network {
                    return Err(why("OTHER_NETWORK"));
                }
                Self::of_manifest(&manifest, directories)
            }
        }
    }

    fn of_manifest(manifest: &ShownManifest, directories: &Directories) -> Result<Self, Why> {
        let fields = manifest.fields();
        any(directories, |directory| {
            let signed = manifest.signed_by(directory, fields.created);
            signed.map(|_| ()).map_err(Why::refusal)
        })?;
        let seen = fields.checkpoint_seen.as_ref().ok_or_else(|| why("NO_SEEN"))?;
        Ok(Self {
            by: fields.sender.clone(),
            origin: seen.origin.clone(),
            seen: Seen {
                size: seen.size,
                root: seen.root,
            },
        })
    }

    fn of_acknowledgement(
        said: &wire::Acknowledgement,
        signed: &wire::Signed,
        directories: &Directories,
    ) -> Result<Self, Why> {
        let unreadable = || why("MEMBER_UNREADABLE");
        let by = AgencyId::new(&said.recipient).map_err(|_| unreadable())?;
        let key = Fingerprint::try_from(&*said.recipient_key).map_err(|_| unreadable())?;
        let at = Timestamp::from_millis(said.made_ms);
        any(directories, |directory| {
            judge::by_directory(directory, (&by, &key), signed, at).map_err(|problem| Why::problem(&problem))
        })?;
        let seen = said.checkpoint_seen.as_ref().ok_or_else(|| why("NO_SEEN"))?;
        Ok(Self {
            origin: seen.origin.clone(),
            seen: Seen {
                size: seen.size,
                root: Digest::try_from(&*seen.root).map_err(|_| unreadable())?,
            },
            by,
        })
    }

    /// What the agent wrote down of it says the same.
    fn is_found(&self, found: &Found) -> bool {
        let by = found.by.as_ref().is_none_or(|by| *by == self.by.as_str());
        by && found.size.is_none_or(|size| size == self.seen.size)
            && found.root.is_none_or(|root| root == self.seen.root)
    }
}

/// By one of the directories it holds.
fn any(directories: &Directories, holds: impl Fn(&Directory) -> Result<(), Why>) -> Result<(), Why> {
    let mut outcome = Err(why("NO_DIRECTORY"));
    for directory in directories.all() {
        outcome = holds(directory);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Checks that it is one.
pub(super) fn verify(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<(), Problem> {
    let directories = Directories::beside(members, anchor, report)?;
    let own = side(members, names::OWN, &directories, report)?;
    if let Some(own) = &own {
        cosigned::check(own, names::OWN, &directories, report);
    }
    let word = match members.bytes(names::SIGNED)? {
        None => Err(why("MEMBER_MISSING")),
        Some(bytes) => wire::Signed::decode(&*bytes).map_err(|_| why("MEMBER_UNREADABLE")),
    };
    let word = word.and_then(|signed| Word::read(&signed, &directories));
    let about = match &word {
        Ok(Word { by, seen, .. }) => format!("{}: {by} {} {}", names::SIGNED, seen.size, seen.root),
        Err(_) => names::SIGNED.to_owned(),
    };
    if directories.all().next().is_none() {
        report.lacks(Check::Seen, about, why("NO_DIRECTORY"), Check::Directory);
    } else {
        report.note(
            Check::Seen,
            about,
            word.as_ref().map(|_| ()).map_err(Clone::clone),
        );
    }
    let (Ok(word), Some(own)) = (&word, &own) else {
        report.skip(Check::Dispute, "", why("SIDE_WRONG"));
        return Ok(());
    };
    let found = members.bytes(names::FOUND)?;
    let found: Found = found
        .and_then(|found| serde_json::from_slice(&found).ok())
        .unwrap_or_default();
    let about = format!("{} / {}", word.seen.size, own.size());
    report.note(Check::Dispute, about, disputes(word, own, &found, &directories));
    Ok(())
}

/// A checkpoint beyond the end of a frozen shard; two roots of one size; or a proof under the checkpoint's root that shows another root of the size that was seen.
fn disputes(
    word: &Word,
    own: &SignedCheckpoint,
    found: &Found,
    directories: &Directories,
) -> Result<(), Why> {
    if !word.is_found(found) {
        return Err(why("FOUND_DIFFERS"));
    }
    let (origin, seen) = (&word.origin, word.seen);
    let mut shards = directories.all().map(|directory| directory.log().shards());
    let beyond = |one: &Shards| one.within(origin, seen.size, &seen.root) == Err(CheckpointError::Frozen);
    if shards.any(beyond) {
        return Ok(());
    }
    if !directories.one_log(origin, own.origin()) {
        return Err(why("OTHER_LOG").of(&word.origin));
    }
    let (size, root) = (own.size(), own.root());
    if seen.size == size {
        let two = seen.root != root;
        return two.then_some(()).ok_or_else(|| why("ONE_HISTORY"));
    }
    if check_consistency(seen.size, size, &found.proof, &seen.root, &root).is_ok() {
        return Err(why("ONE_HISTORY"));
    }
    let given = Given {
        proof: found.proof.clone(),
        from_root: found.from_root,
    };
    let other = given.shows_another(seen, Seen::from(own));
    other.then_some(()).ok_or_else(|| why("NO_CONTRADICTION"))
}
