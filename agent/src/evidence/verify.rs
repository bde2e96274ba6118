//! Checking evidence offline: nothing is asked of anybody, and nothing that the file says of itself is believed but
//! what leads to the authority's certificate.

mod closed;
mod contradiction;
mod cosigned;
mod directories;
mod dispute;
mod log;
mod packet;
mod people;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use schakel_proto::directory::Authority;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::limits;
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::LogKey;
use schakel_proto::wire;

use super::container::Members;
use super::export::{Description, FORMAT};
use super::names;
use super::report::{Check, Report, Why, why};
use crate::problem::{Kind, Problem};
use directories::Directories;
use schakel_proto::packet::shown::ShownManifest;

/// What the reader brings along.
#[derive(Default)]
pub struct Anchor {
    /// The network's authority, as the reader trusts it.
    pub authority: Option<Authority>,
    /// The network that the reader knows.
    pub network: Option<NetworkName>,
    /// The newest directory that the reader knows, as it was signed.
    pub directory: Option<wire::MultiSigned>,
}

/// Checks a pack, or a contradiction that was kept: a file or a folder.
///
/// # Errors
/// It cannot be read, or is neither.
pub fn verify(path: &Path, anchor: &Anchor) -> Result<Report, Problem> {
    let mut report = Report {
        about: path.display().to_string(),
        ..Report::default()
    };
    let members = match Members::open(path)? {
        Ok(members) => members,
        Err(damage) => {
            report.note(
                Check::Container,
                damage.member,
                Err(why("PACK_DAMAGED").of(damage.what)),
            );
            return Ok(report);
        }
    };
    look(&members, anchor, &mut report)?;
    Ok(report)
}

/// Checks the members of a pack, or of a contradiction that was kept.
///
/// # Errors
/// They are neither.
pub fn look(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<(), Problem> {
    if members.has(names::FIRST) {
        only(members, contradiction::FILES, report);
        contradiction::verify(members, anchor, report)
    } else if members.has(names::SIGNED) || members.has(names::OWN) {
        only(members, dispute::FILES, report);
        dispute::verify(members, anchor, report)
    } else if members.has(names::DESCRIPTION) || members.has(names::MANIFEST) {
        report.note(Check::Container, "", Ok(()));
        pack(members, anchor, report)
    } else {
        let sentence = "neither evidence of a packet nor of a contradiction is in it";
        let remedy = "Name a file that `schakel-agent evidence export` wrote, or a folder `contradiction-…` or `disputed-…`.";
        Err(Problem::new(Kind::Usage, "PACK_UNREADABLE", sentence, remedy).at(&report.about))
    }
}

/// Notes that no other files are there than these: what is not read would ride along.
fn only(members: &Members, files: &[&str], report: &mut Report) {
    let mut others = members.names().filter(|name| !files.contains(name)).peekable();
    if others.peek().is_none() {
        report.note(Check::Container, "", Ok(()));
    }
    for name in others {
        report.note(Check::Container, name, Err(why("MEMBER_UNKNOWN")));
    }
}

fn pack(members: &Members, anchor: &Anchor, report: &mut Report) -> Result<(), Problem> {
    sums(members, report)?;
    let manifest = manifest(members)?;
    let description = description(members, manifest.as_ref().ok(), anchor, report)?;
    let network = manifest
        .as_ref()
        .map(|manifest| manifest.fields().network.clone())
        .ok()
        .or_else(|| NetworkName::new(&description.as_ref()?.network).ok());
    let directories = Directories::read(members, anchor, network, report)?;
    report.log_keys = directories.log_keys().iter().map(LogKey::to_text).collect();
    directories.certificates(members, report)?;
    let log = log::Log::read(members, &directories, report)?;
    let holds = manifest.as_ref().map(|_| ()).map_err(Clone::clone);
    report.note(Check::Manifest, names::MANIFEST, holds);
    match manifest {
        Ok(manifest) => {
            report.about = format!("{} {}", manifest.fields().packet_id, manifest.fields().network);
            packet::check(
                members,
                &manifest,
                description.as_ref(),
                (&directories, &log),
                report,
            )?;
        }
        Err(_) => {
            for check in [Check::Signature, Check::Opening, Check::Part, Check::Order] {
                report.skip(check, "", why("MANIFEST_WRONG"));
            }
        }
    }
    log.consistent(members, &directories, report)?;
    log.stamped(members, report);
    Ok(())
}

/// Each member against the list of digests, and the list against the members.
fn sums(members: &Members, report: &mut Report) -> Result<(), Problem> {
    let Some(list) = members.bytes(names::SUMS)? else {
        report.note(Check::Files, names::SUMS, Err(why("MEMBER_MISSING")));
        return Ok(());
    };
    let Some(mut listed) = listed(&list) else {
        report.note(Check::Files, names::SUMS, Err(why("MEMBER_UNREADABLE")));
        return Ok(());
    };
    let mut wrong = 0;
    for name in members.names().filter(|name| *name != names::SUMS) {
        let sum = listed.remove(name);
        if let Some(stranger) = closed::stranger(members, name)? {
            wrong += 1;
            report.note(Check::Files, name, Err(stranger));
            continue;
        }
        let found = match sum {
            None => Err(why("MEMBER_NOT_LISTED")),
            Some(sum) if digest(members, name)? == sum => continue,
            Some(_) => Err(why("MEMBER_CHANGED")),
        };
        wrong += 1;
        report.note(Check::Files, name, found);
    }
    for name in listed.into_keys() {
        wrong += 1;
        report.note(Check::Files, name, Err(why("MEMBER_MISSING")));
    }
    if wrong == 0 {
        report.note(
            Check::Files,
            format!("{} files", members.names().count() - 1),
            Ok(()),
        );
    }
    Ok(())
}

/// The list, each name once: of two lines for one file other tools check both.
fn listed(list: &[u8]) -> Option<BTreeMap<String, Digest>> {
    let mut listed = BTreeMap::new();
    for line in std::str::from_utf8(list).ok()?.lines() {
        let (sum, name) = line.split_once("  ")?;
        let sum = format!("sha256:{sum}").parse().ok()?;
        if listed.insert(name.to_owned(), sum).is_some() {
            return None;
        }
    }
    Some(listed)
}

fn digest(members: &Members, name: &str) -> Result<Digest, Problem> {
    let mut hasher = Sha256::default();
    let mut piece = vec![0; limits::CHUNK_MAX_BYTES];
    let Some(mut reader) = members.reader(name)? else {
        return Ok(hasher.finish());
    };
    loop {
        let count = reader
            .read(&mut piece)
            .map_err(|e| Problem::io(&e, Path::new(name)))?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(piece.get(..count).unwrap_or_default());
    }
}

/// A signed thing in two members.
fn signed(members: &Members, bytes: &str, signature: &str) -> Result<Option<wire::Signed>, Problem> {
    let (bytes, signature) = (members.bytes(bytes)?, members.bytes(signature)?);
    Ok(bytes.zip(signature).map(|(bytes, signature)| wire::Signed {
        bytes: bytes.into(),
        signature: signature.into(),
    }))
}

/// An opening in one member: nonce and descriptor, one behind the other.
fn opening(members: &Members, name: &str) -> Result<Option<wire::Opening>, Problem> {
    let bytes = members.bytes(name)?.map(bytes::Bytes::from);
    Ok(bytes.map(|mut bytes| {
        let nonce = bytes.split_to(bytes.len().min(32));
        wire::Opening {
            nonce,
            descriptor: bytes,
        }
    }))
}

fn manifest(members: &Members) -> Result<Result<ShownManifest, Why>, Problem> {
    let signed = signed(members, names::MANIFEST, names::MANIFEST_SIGNATURE)?;
    Ok(signed
        .ok_or_else(|| why("MEMBER_MISSING"))
        .and_then(|signed| ShownManifest::parse(&signed).map_err(Why::refusal)))
}

fn description(
    members: &Members,
    manifest: Option<&ShownManifest>,
    anchor: &Anchor,
    report: &mut Report,
) -> Result<Option<Description>, Problem> {
    let bytes = members.bytes(names::DESCRIPTION)?;
    let missing = bytes.is_none();
    let read = bytes.and_then(|bytes| serde_json::from_slice::<Description>(&bytes).ok());
    let fits = |said: &Description| {
        let known = anchor
            .network
            .as_ref()
            .is_none_or(|network| network.as_str() == said.network);
        let fields = manifest.map(ShownManifest::fields);
        let network = fields.is_none_or(|fields| fields.network.as_str() == said.network);
        if said.format != FORMAT {
            Err(why("PACK_FORMAT").of(said.format))
        } else if !known || !network {
            Err(why("OTHER_NETWORK").of(&said.network))
        } else if fields.is_some_and(|fields| fields.packet_id != said.packet) {
            Err(why("OTHER_PACKET").of(said.packet))
        } else {
            Ok(())
        }
    };
    let outcome = match &read {
        Some(said) => fits(said),
        None if missing => Err(why("MEMBER_MISSING")),
        None => Err(why("MEMBER_UNREADABLE")),
    };
    report.note(Check::Description, names::DESCRIPTION, outcome);
    Ok(read)
}
