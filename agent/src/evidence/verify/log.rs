//! What the log says: each entry of a pack, its place in the tree, and the one history behind all of them.

use std::collections::{BTreeMap, BTreeSet};

use schakel_proto::evidence::{Body, Decision, Event, steps};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogKey, SignedCheckpoint};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::tlog::text::{InclusionText, hashes_from_text};
use schakel_proto::wire;

use super::directories::{Directories, folders};
use super::{Members, cosigned, opening};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Told, Why, why};
use crate::problem::Problem;

/// One entry, as far as it holds.
pub(super) struct Entry {
    /// Its position.
    pub(super) index: u64,
    /// What names it.
    pub(super) leaf: Digest,
    /// What it says, if its leaf commits to it.
    pub(super) body: Option<Body>,
    /// Whether its leaf stands in the tree of a checkpoint that holds.
    pub(super) included: bool,
    /// The decision that its recipient may know.
    pub(super) shown: Option<Decision>,
    /// The decision on all other parts.
    pub(super) hidden: Option<Decision>,
    /// The signed thing that it is about.
    pub(super) attachment: Option<wire::Signed>,
    /// Its checkpoint, if that is the log's of its time.
    tree: Option<Tree>,
}

/// What a checkpoint says: origin, size and root.
type Tree = (String, u64, Digest);

fn tree(checkpoint: &SignedCheckpoint) -> Tree {
    let origin = checkpoint.origin().to_owned();
    (origin, checkpoint.size(), checkpoint.root())
}

/// A note that was read: the checkpoint, the keys that signed it, and the member that it was read from first.
struct Opened {
    checkpoint: Option<SignedCheckpoint>,
    keys: Vec<LogKey>,
    about: String,
}

impl Entry {
    /// How it is called in the report.
    pub(super) fn about(&self) -> String {
        format!("log/{}", self.index)
    }

    /// Whether it is proved and of this kind.
    pub(super) fn is(&self, event: Event) -> bool {
        self.included && self.body.as_ref().is_some_and(|body| body.event == event)
    }
}

/// All entries, and the checkpoints that hold.
pub(super) struct Log {
    /// By position.
    pub(super) entries: Vec<Entry>,
    /// By note.
    checkpoints: BTreeMap<Vec<u8>, Opened>,
    newest: Option<SignedCheckpoint>,
    /// The checkpoint that enough witnesses cosigned.
    witnessed: Option<Tree>,
}

impl Log {
    /// Reads and checks every entry by itself.
    pub(super) fn read(
        members: &Members,
        directories: &Directories,
        report: &mut Report,
    ) -> Result<Self, Problem> {
        let mut log = Self {
            entries: Vec::new(),
            checkpoints: BTreeMap::new(),
            newest: None,
            witnessed: None,
        };
        if let Some(note) = members.bytes(names::CHECKPOINT)? {
            log.newest = log.open(&note, names::CHECKPOINT, directories, report);
            match &log.newest {
                // Which of them the maker knows to be cosigned stands apart.
                Some(_) if members.has(names::WITNESSED) => {}
                Some(newest) => {
                    let enough = cosigned::check(newest, names::CHECKPOINT, directories, report);
                    log.witnessed = enough.then(|| tree(newest));
                }
                None => report.skip(Check::Cosignatures, names::CHECKPOINT, why("CHECKPOINT_WRONG")),
            }
        }
        if let Some(note) = members.bytes(names::WITNESSED)?
            && let Some(witnessed) = log.open(&note, names::WITNESSED, directories, report)
            && cosigned::check(&witnessed, names::WITNESSED, directories, report)
        {
            log.witnessed = Some(tree(&witnessed));
        }
        let entries = folders(members, "log/");
        if entries.len() > names::ENTRIES_MAX_COUNT {
            report.note(Check::Inclusion, "log", Err(why("TOO_MANY").of(entries.len())));
        }
        for folder in entries.into_iter().take(names::ENTRIES_MAX_COUNT) {
            log.entry(members, &folder, directories, report)?;
        }
        if let Some(note) = members.bytes(names::STAMPED)? {
            log.open(&note, names::STAMPED, directories, report);
        }
        log.entries.sort_by_key(|entry| entry.index);
        let proved = log.entries.iter().filter(|entry| entry.included);
        report.told = proved.filter_map(told).collect();
        Ok(log)
    }

    /// A checkpoint, checked once.
    fn open(
        &mut self,
        note: &[u8],
        about: &str,
        directories: &Directories,
        report: &mut Report,
    ) -> Option<SignedCheckpoint> {
        if let Some(known) = self.checkpoints.get(note) {
            return known.checkpoint.clone();
        }
        let (mut found, mut signed_by) = (None, Vec::new());
        match directories.open(note) {
            Ok((checkpoint, keys)) => {
                let about = format!("{about}, size {}", checkpoint.size());
                report.note(Check::Checkpoint, about, Ok(()));
                (found, signed_by) = (Some(checkpoint), keys);
            }
            Err(_) if directories.all().next().is_none() => {
                report.skip(Check::Checkpoint, about, why("NO_DIRECTORY"));
            }
            Err(error) => drop(report.note(Check::Checkpoint, about, Err(Why::evidence(&error.into())))),
        }
        let opened = Opened {
            checkpoint: found.clone(),
            keys: signed_by,
            about: about.to_owned(),
        };
        self.checkpoints.insert(note.to_vec(), opened);
        found
    }

    /// The checkpoint of an entry, if the key that signed it was the log's when the entry was made.
    fn of_entry(
        &mut self,
        note: &[u8],
        body: Option<&Body>,
        directories: &Directories,
        (about, report): (&str, &mut Report),
    ) -> Option<SignedCheckpoint> {
        let checkpoint = self.open(note, about, directories, report)?;
        let keys = self.checkpoints.get(note).map(|opened| opened.keys.as_slice());
        // What does not say when it was made is no entry: its commitment fails.
        let Some(body) = body else {
            return Some(checkpoint);
        };
        match directories.logs_key_at(keys.unwrap_or_default(), body.at) {
            Some(true) => Some(checkpoint),
            Some(false) => {
                report.note(Check::Checkpoint, about, Err(why("OTHER_LOG")));
                None
            }
            None => {
                report.lacks(Check::Checkpoint, about, why("NO_DIRECTORY"), Check::Directory);
                None
            }
        }
    }

    fn entry(
        &mut self,
        members: &Members,
        folder: &str,
        directories: &Directories,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let about = format!("log/{folder}");
        let bytes = |file: &str| members.bytes(&format!("{about}/{file}"));
        let (Some(text), Some(leaf)) = (bytes("proof.tlog-proof")?, bytes("leaf.bin")?) else {
            report.note(Check::Inclusion, about, Err(why("MEMBER_MISSING")));
            return Ok(());
        };
        let Some(proof) = InclusionText::parse(&text).filter(|p| p.index.to_string() == folder) else {
            report.note(Check::Inclusion, about, Err(why("MEMBER_UNREADABLE")));
            return Ok(());
        };
        let mut evidence = wire::Evidence {
            leaf: leaf.into(),
            salt: bytes("salt.bin")?.unwrap_or_default().into(),
            body: bytes("body.bin")?.unwrap_or_default().into(),
            index: proof.index,
            tree_size: 0,
            inclusion: proof.path.iter().map(|hash| hash.to_vec().into()).collect(),
            checkpoint: proof.note.into(),
            shown: opening(members, &format!("{about}/shown.bin"))?,
            hidden: opening(members, &format!("{about}/hidden.bin"))?,
            attachment: attached(members, &about)?,
        };
        let body = match directories.network() {
            Some(network) => steps::body(&evidence, network).map_err(|e| Why::evidence(&e)),
            None => Err(why("OTHER_NETWORK")),
        };
        let note = &evidence.checkpoint;
        let checkpoint = self.of_entry(note, body.as_ref().ok(), directories, (&about, report));
        evidence.tree_size = checkpoint.as_ref().map_or(0, SignedCheckpoint::size);
        let included = match &checkpoint {
            Some(checkpoint) => {
                let included = steps::included(&evidence, checkpoint);
                let included = included.map(|_| ()).map_err(|e| Why::evidence(&e));
                report.note(Check::Inclusion, about.as_str(), included)
            }
            None => {
                report.skip(Check::Inclusion, about.as_str(), why("CHECKPOINT_WRONG"));
                false
            }
        };
        report.note(
            Check::Commitment,
            about.as_str(),
            body.as_ref().map(|_| ()).map_err(Clone::clone),
        );
        let body = body.ok();
        let shown = decision(&evidence, body.as_ref(), true, directories, (&about, report));
        let hidden = decision(&evidence, body.as_ref(), false, directories, (&about, report));
        let attachment = attachment(evidence.attachment, body.as_ref(), (&about, report));
        self.entries.push(Entry {
            index: evidence.index,
            leaf: leaf_hash(&evidence.leaf),
            body,
            included,
            shown,
            hidden,
            attachment,
            tree: checkpoint.as_ref().map(tree),
        });
        Ok(())
    }

    /// The newest checkpoint extends all others.
    pub(super) fn consistent(
        &self,
        members: &Members,
        directories: &Directories,
        report: &mut Report,
    ) -> Result<(), Problem> {
        let held = self.checkpoints.values();
        let held: Vec<_> = held
            .filter_map(|opened| Some((opened.checkpoint.as_ref()?, opened.about.as_str())))
            .collect();
        let Some(newest) = &self.newest else {
            let outcome = if members.has(names::CHECKPOINT) {
                why("CHECKPOINT_WRONG")
            } else {
                why("MEMBER_MISSING")
            };
            if members.has(names::CHECKPOINT) {
                report.skip(Check::Consistency, names::CHECKPOINT, outcome);
            } else {
                report.note(Check::Consistency, names::CHECKPOINT, Err(outcome));
            }
            return Ok(());
        };
        let mut good = BTreeSet::from([tree(newest)]);
        for (older, about) in held.into_iter().filter(|(older, _)| *older != newest) {
            let about = format!("{about}, size {}", older.size());
            if !directories.one_log(older.origin(), newest.origin()) {
                report.skip(Check::Consistency, about, why("OTHER_LOG").of(older.origin()));
                continue;
            }
            let name = names::consistency(older.size());
            let outcome = if older.size() == newest.size() {
                (older.root() == newest.root())
                    .then_some(())
                    .ok_or_else(|| why("TWO_ROOTS"))
            } else if older.size() > newest.size() {
                Err(why("NOT_NEWEST").of(newest.size()))
            } else {
                match members.bytes(&name)? {
                    None => Err(why("NO_CONSISTENCY")),
                    Some(text) => extends(older, newest, &text),
                }
            };
            if report.note(Check::Consistency, about, outcome) {
                good.insert(tree(older));
            }
        }
        // What stands in a tree that witnesses cosigned, of the one history of the newest.
        let witnessed = self.witnessed.as_ref().filter(|tree| good.contains(tree));
        for told in &mut report.told {
            let mut entries = self.entries.iter().filter(|entry| entry.index == told.index);
            let within = |entry: &Entry| {
                let of = entry.tree.as_ref().filter(|of| good.contains(of)).zip(witnessed);
                of.is_some_and(|(of, witnessed)| {
                    directories.one_log(&of.0, &witnessed.0) && entry.index < witnessed.1
                })
            };
            told.witnessed = entries.any(within);
        }
        Ok(())
    }

    /// The time stamp, which other tools check.
    pub(super) fn stamped(&self, members: &Members, report: &mut Report) {
        let code = match (members.has(names::STAMP), members.has(names::STAMPED)) {
            (false, false) => "NO_TIMESTAMP",
            (true, true) => "TIMESTAMP_ELSEWHERE",
            _ => {
                report.note(Check::Timestamp, names::STAMP, Err(why("MEMBER_MISSING")));
                return;
            }
        };
        report.skip(Check::Timestamp, names::STAMP, why(code));
    }
}

fn extends(older: &SignedCheckpoint, newest: &SignedCheckpoint, text: &[u8]) -> Result<(), Why> {
    let path = hashes_from_text(text).ok_or_else(|| why("MEMBER_UNREADABLE"))?;
    let (from, to) = ((older.size(), older.root()), (newest.size(), newest.root()));
    check_consistency(from.0, to.0, &path, &from.1, &to.1)
        .map(|_| ())
        .map_err(|e| Why::evidence(&e.into()))
}

/// A decision that was opened; of a consignment the shown one must be.
fn decision(
    evidence: &wire::Evidence,
    body: Option<&Body>,
    shown: bool,
    directories: &Directories,
    (about, report): (&str, &mut Report),
) -> Option<Decision> {
    let (given, what, file) = if shown {
        (&evidence.shown, "shown decision", "shown")
    } else {
        (&evidence.hidden, "hidden decision", "hidden")
    };
    let about = format!("{about}/{file}.bin");
    let Some(body) = body else {
        if given.is_some() {
            report.skip(Check::Decision, about, why("ENTRY_WRONG"));
        }
        return None;
    };
    let Some(given) = given else {
        if shown && body.event == Event::ContentConsignment {
            report.note(Check::Decision, about, Err(why("MEMBER_MISSING")));
        } else if body.shown_digest.is_some() {
            report.skip(Check::Decision, about, why("NOT_SHOWN"));
        }
        return None;
    };
    let digest = if shown {
        body.shown_digest
    } else {
        body.hidden_digest
    };
    let opened = match directories.network() {
        Some(network) => steps::opened(given, digest, body, network, what).map_err(|e| Why::evidence(&e)),
        None => Err(why("OTHER_NETWORK")),
    };
    report.note(
        Check::Decision,
        about,
        opened.as_ref().map(|_| ()).map_err(Clone::clone),
    );
    opened.ok()
}

/// Events that say what somebody signed: without it they are the log's word alone.
const fn is_about_signed(event: Event) -> bool {
    matches!(
        event,
        Event::ContentHandover
            | Event::ContentHandoverFailure
            | Event::ObligationFulfilled
            | Event::Recalled
            | Event::StatementAccepted
    )
}

/// What stands beside an entry as the signed thing, also if half of it is missing: then it is not the one.
fn attached(members: &Members, about: &str) -> Result<Option<wire::Signed>, Problem> {
    let [bytes, signature] =
        ["bin", "sig"].map(|ending| members.bytes(&format!("{about}/attachment.{ending}")));
    let (bytes, signature) = (bytes?, signature?);
    Ok((bytes.is_some() || signature.is_some()).then(|| wire::Signed {
        bytes: bytes.unwrap_or_default().into(),
        signature: signature.unwrap_or_default().into(),
    }))
}

/// The signed thing, if it is the one that the entry names.
fn attachment(
    given: Option<wire::Signed>,
    body: Option<&Body>,
    (about, report): (&str, &mut Report),
) -> Option<wire::Signed> {
    let about = format!("{about}/attachment.bin");
    let Some(body) = body else {
        if given.is_some() {
            report.skip(Check::Attachment, about, why("ENTRY_WRONG"));
        }
        return None;
    };
    let outcome = match &given {
        Some(signed) => steps::attached(signed, body).map_err(|e| Why::evidence(&e)),
        None if body.attachment_digest.is_some() || is_about_signed(body.event) => Err(why("MEMBER_MISSING")),
        None => return None,
    };
    let holds = report.note(Check::Attachment, about, outcome);
    given.filter(|_| holds)
}

fn told(entry: &Entry) -> Option<Told> {
    let body = entry.body.as_ref()?;
    let facts = |decision: &Decision| {
        let head = decision
            .facts_head()
            .map_or_else(|| "none".to_owned(), |head| head.to_string());
        let (count, bundle) = (decision.facts_count(), decision.bundle_version());
        format!("facts {count} {head} rules {bundle} {}", decision.bundle_digest())
    };
    let decided = entry.shown.as_ref().or(entry.hidden.as_ref()).map(facts);
    let more = [body.reason.clone(), decided.unwrap_or_default()].join(" ");
    Some(Told {
        index: entry.index,
        at: body.at,
        event: body.event.as_str(),
        recipient: body.recipient.clone(),
        more: crate::problem::printable(more.trim(), 300),
        witnessed: false,
    })
}
