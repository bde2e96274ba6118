//! Who was who: the directories of a pack, under the authority that the reader trusts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use prost::Message;
use schakel_proto::directory::{Authority, Directory};
use schakel_proto::openpgp::Certificate;
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::{CheckpointError, LogKey, SignedCheckpoint};
use schakel_proto::tlog::shards::Opens;
use schakel_proto::wire;

use super::{Anchor, Members};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::former::in_force;
use crate::problem::Problem;

/// The directories that hold.
pub(super) struct Directories {
    network: Option<NetworkName>,
    authority: Option<Authority>,
    signed: BTreeMap<u64, wire::MultiSigned>,
    issued: BTreeMap<u64, Timestamp>,
    held: BTreeMap<u64, Directory>,
    /// What was in force at a moment that was asked for.
    then: RefCell<BTreeMap<Timestamp, Rc<Vec<Directory>>>>,
}

/// The authority to check by: the reader's, or, so that the rest is checked too, the pack's own.
fn authority(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<Option<Authority>, Problem> {
    if let Some(authority) = &anchor.authority {
        report.note(Check::Authority, "--authority", Ok(()));
        return Ok(Some(authority.clone()));
    }
    let keyring = members.bytes(names::AUTHORITY)?.unwrap_or_default();
    let certificates = Certificate::parse_all(&keyring).unwrap_or_default();
    let fingerprints: Vec<_> = certificates.iter().map(|c| c.fingerprint().to_string()).collect();
    let missing = why("AUTHORITY_NOT_GIVEN").of(fingerprints.join(", "));
    report.note(Check::Authority, names::AUTHORITY, Err(missing));
    Ok(Authority::from_keyring(&keyring, 1).ok())
}

impl Directories {
    /// Reads and checks all of them.
    pub(super) fn read(
        members: &Members,
        anchor: &Anchor,
        network: Option<NetworkName>,
        report: &mut Report,
    ) -> Result<Self, Problem> {
        let authority = authority(members, anchor, report)?;
        let mut directories = Self {
            network,
            authority,
            signed: BTreeMap::new(),
            issued: BTreeMap::new(),
            held: BTreeMap::new(),
            then: RefCell::default(),
        };
        for folder in folders(members, "directories/") {
            let outcome = match folder
                .parse()
                .ok()
                .filter(|version: &u64| version.to_string() == folder)
            {
                Some(version) => directories.take(members, version)?,
                None => Err(why("MEMBER_UNREADABLE")),
            };
            report.note(Check::Directory, format!("directories/{folder}"), outcome);
        }
        directories.readers(anchor, report);
        if directories.signed.is_empty() && !report.has_failed(Check::Directory) {
            report.note(Check::Directory, "directories", Err(why("MEMBER_MISSING")));
        }
        Ok(directories)
    }

    /// The one directory beside a contradiction.
    pub(super) fn beside(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<Self, Problem> {
        let authority = authority(members, anchor, report)?;
        let bytes = members.bytes(names::DIRECTORY)?;
        let signed = bytes.and_then(|bytes| wire::MultiSigned::decode(&*bytes).ok());
        let said = signed
            .as_ref()
            .and_then(|s| wire::Directory::decode(&*s.bytes).ok());
        let network = said
            .as_ref()
            .and_then(|said| NetworkName::new(&said.network).ok());
        let mut directories = Self {
            network,
            authority,
            signed: BTreeMap::new(),
            issued: BTreeMap::new(),
            held: BTreeMap::new(),
            then: RefCell::default(),
        };
        let other = anchor.network.is_some() && anchor.network != directories.network;
        let outcome = match (signed, said) {
            _ if other => Err(why("OTHER_NETWORK")),
            (Some(signed), Some(said)) => directories.hold(said.version, signed),
            _ if members.has(names::DIRECTORY) => Err(why("MEMBER_UNREADABLE")),
            _ => Err(why("MEMBER_MISSING")),
        };
        report.note(Check::Directory, names::DIRECTORY, outcome);
        directories.readers(anchor, report);
        Ok(directories)
    }

    /// The reader's own directory: it may name ends of shards that the maker of the file did not know, or left out.
    fn readers(&mut self, anchor: &Anchor, report: &mut Report) {
        let Some(signed) = &anchor.directory else { return };
        let said = wire::Directory::decode(&*signed.bytes).unwrap_or_default();
        if !self.held.contains_key(&said.version) {
            let outcome = self.hold(said.version, signed.clone());
            report.note(Check::Directory, "--directory", outcome);
        }
    }

    fn take(&mut self, members: &Members, version: u64) -> Result<Result<(), Why>, Problem> {
        let Some(bytes) = members.bytes(&names::directory(version))? else {
            return Ok(Err(why("MEMBER_MISSING")));
        };
        let mut signatures = Vec::new();
        while signatures.len() < names::SIGNATURES_MAX_COUNT
            && let Some(signature) = members.bytes(&names::directory_signature(version, signatures.len()))?
        {
            signatures.push(signature.into());
        }
        let signed = wire::MultiSigned {
            bytes: bytes.into(),
            signatures,
        };
        Ok(self.hold(version, signed))
    }

    fn hold(&mut self, version: u64, signed: wire::MultiSigned) -> Result<(), Why> {
        let said = wire::Directory::decode(&*signed.bytes).map_err(|_| why("MEMBER_UNREADABLE"))?;
        let issued = Timestamp::from_millis(said.issued_ms);
        if self.signed.len() >= names::DIRECTORIES_MAX_COUNT {
            return Err(why("TOO_MANY"));
        }
        let directory = self.judge(&signed, issued)?;
        if directory.version() != version {
            return Err(why("OTHER_VERSION").of(directory.version()));
        }
        self.held.insert(version, directory);
        self.signed.insert(version, signed);
        self.issued.insert(version, issued);
        Ok(())
    }

    fn judge(&self, signed: &wire::MultiSigned, at: Timestamp) -> Result<Directory, Why> {
        let (Some(authority), Some(network)) = (&self.authority, &self.network) else {
            return Err(why("AUTHORITY_UNREADABLE"));
        };
        Directory::verify(signed, authority, network, at).map_err(Why::directory)
    }

    /// The network that everything must be of.
    pub(super) fn network(&self) -> Option<&NetworkName> {
        self.network.as_ref()
    }

    /// All that hold, newest first, each judged when it was issued.
    pub(super) fn all(&self) -> impl Iterator<Item = &Directory> {
        self.held.values().rev()
    }

    /// Those that may have been in force at a moment, newest first, their keys judged then.
    pub(super) fn at(&self, at: Timestamp) -> Rc<Vec<Directory>> {
        if let Some(known) = self.then.borrow().get(&at) {
            return Rc::clone(known);
        }
        let versions = in_force(&self.issued, at).into_iter();
        let signed = versions.filter_map(|version| self.signed.get(&version));
        let found: Vec<_> = signed.filter_map(|signed| self.judge(signed, at).ok()).collect();
        let found = Rc::new(found);
        self.then.borrow_mut().insert(at, Rc::clone(&found));
        found
    }

    /// Whether a key was the log's at a moment, or is that of a shard after the one of then, in which what was made then
    /// may stand; none: no directory says whose it was.
    pub(super) fn logs_key_at(&self, keys: &[LogKey], at: Timestamp) -> Option<bool> {
        let then = self.at(at);
        let follows = |key: &LogKey, earlier: &LogKey| {
            let mut known = self.all().chain(then.iter());
            known.any(|directory| directory.log().shards().follows(key, earlier))
        };
        let mut logs = then.iter().map(|directory| directory.log().key());
        (!then.is_empty()).then(|| logs.any(|earlier| keys.iter().any(|key| follows(key, earlier))))
    }

    /// The keys that may sign checkpoints, or might: of all shards.
    pub(super) fn log_keys(&self) -> Vec<LogKey> {
        let mut keys: Vec<LogKey> = Vec::new();
        for key in self.all().flat_map(|directory| directory.log().shards().keys()) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// Opens a note of the log, and says whose keys signed it. What lies beyond the end of a shard that any of the
    /// directories freezes does not open, whatever the others say.
    pub(super) fn open(&self, note: &[u8]) -> Result<(SignedCheckpoint, Vec<LogKey>), CheckpointError> {
        let (mut opened, mut wrong) = (None, CheckpointError::Origin);
        let mut keys = Vec::new();
        for directory in self.all() {
            let shards = directory.log().shards();
            match shards.open(note) {
                Ok(checkpoint) => {
                    keys.extend(shards.key(checkpoint.origin()).cloned());
                    opened = Some(checkpoint);
                }
                Err(CheckpointError::Frozen) => return Err(CheckpointError::Frozen),
                Err(CheckpointError::Origin) => {}
                Err(error) => wrong = error,
            }
        }
        opened.map(|checkpoint| (checkpoint, keys)).ok_or(wrong)
    }

    /// Whether a note is one that a frozen shard's key signed beyond its end.
    pub(super) fn is_forged(&self, note: &[u8]) -> bool {
        let mut all = self.all();
        all.any(|directory| directory.log().shards().forged(note).is_some())
    }

    /// Whether two names are of shards of one log.
    pub(super) fn one_log(&self, one: &str, other: &str) -> bool {
        let mut shards = self.all().map(|directory| directory.log().shards());
        one == other || shards.any(|shards| shards.knows(one) && shards.knows(other))
    }

    /// Each certificate is one that a directory lists.
    pub(super) fn certificates(&self, members: &Members, report: &mut Report) -> Result<(), Problem> {
        let listed: Vec<_> = self
            .all()
            .flat_map(Directory::agencies)
            .flat_map(|a| a.certificates())
            .collect();
        let names: Vec<_> = members
            .names()
            .filter(|name| name.starts_with("certificates/"))
            .collect();
        for name in names {
            if self.held.is_empty() {
                report.skip(Check::Certificate, name, why("NO_DIRECTORY"));
                continue;
            }
            let bytes = members.bytes(name)?.unwrap_or_default();
            let outcome = Certificate::parse(&bytes).map_err(|_| why("MEMBER_UNREADABLE"));
            let outcome = outcome.and_then(|certificate| {
                let same = listed.contains(&&certificate);
                let named = names::certificate(&certificate.fingerprint()) == name;
                (same && named).then_some(()).ok_or_else(|| why("NOT_LISTED"))
            });
            report.note(Check::Certificate, name, outcome);
        }
        Ok(())
    }
}

/// Names of the folders directly in one.
pub(super) fn folders(members: &Members, within: &str) -> BTreeSet<String> {
    let inside = members.names().filter_map(|name| name.strip_prefix(within));
    inside
        .filter_map(|rest| rest.split_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .collect()
}
