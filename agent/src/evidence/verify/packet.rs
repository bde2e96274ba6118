//! The packet itself: who signed it, what it commits to, what was decided of it, and in which order.

use std::collections::BTreeMap;

use schakel_proto::evidence::{Body, Decision, Event};
use schakel_proto::ids::PartId;
use schakel_proto::limits;
use schakel_proto::openpgp::Profile;
use schakel_proto::packet::parse::{Part, Recipient, SealingCheck};
use schakel_proto::packet::shown::ShownManifest;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::directories::{Directories, folders};
use super::log::{Entry, Log};
use super::{Members, opening, people};
use crate::evidence::export::Description;
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::problem::Problem;

/// What the manifest commits to and the pack opens.
#[derive(Default)]
struct Opened {
    recipients: Vec<Recipient>,
    parts: BTreeMap<PartId, Part>,
    whole: bool,
}

impl Opened {
    /// Takes an opening that stands under the name of what it opens.
    fn take(&mut self, name: &str, one: &wire::Opening, manifest: &ShownManifest) -> Result<(), Why> {
        let other = || Err(why("OTHER_NAME"));
        if name.starts_with("openings/recipient-") {
            let recipient = manifest.recipient(one).map_err(Why::refusal)?;
            if names::recipient(recipient.agency()) != name {
                return other();
            }
            self.recipients.push(recipient);
        } else {
            let part = manifest.part(one).map_err(Why::refusal)?;
            if names::part_opening(&part.id()) != name {
                return other();
            }
            self.parts.insert(part.id(), part);
        }
        Ok(())
    }
}

/// Everything about the packet.
pub(super) fn check(
    members: &Members,
    manifest: &ShownManifest,
    description: Option<&Description>,
    (directories, log): (&Directories, &Log),
    report: &mut Report,
) -> Result<(), Problem> {
    for entry in &log.entries {
        match &entry.body {
            Some(body) => drop(report.note(Check::Entry, entry.about(), same(body, manifest))),
            None => report.skip(Check::Entry, entry.about(), why("ENTRY_WRONG")),
        }
    }
    let accepted = log
        .entries
        .iter()
        .find(|entry| entry.is(Event::SubmissionAcceptance));
    let found = accepted.map(|_| ()).ok_or_else(|| why("NO_ENTRY"));
    report.note(
        Check::Submission,
        accepted.map(Entry::about).unwrap_or_default(),
        found,
    );
    consigned(manifest, description.map(|said| &said.agency), log, report);
    let created = manifest.fields().created;
    let at = accepted
        .and_then(|entry| entry.body.as_ref())
        .map_or(created, |body| body.at);
    signature(manifest, directories, at, report);
    let opened = openings(members, manifest, report)?;
    for entry in &log.entries {
        for decision in entry.shown.iter().chain(&entry.hidden) {
            decided(entry, decision, manifest, (&opened, report));
        }
    }
    contents(members, manifest, &opened, report)?;
    sealed(members, &opened, report)?;
    let made = description.map(|said| Timestamp::from_millis(said.made_ms));
    people::check(members, manifest, (directories, log, made), report)?;
    order(manifest, log, report);
    Ok(())
}

/// An entry of this packet names its id, its manifest, its sender and its case.
fn same(body: &Body, manifest: &ShownManifest) -> Result<(), Why> {
    let fields = manifest.fields();
    // Refused for want of an opened case, the log does not repeat what the manifest says of it.
    let unopened = body.event == Event::SubmissionRejection && body.case.is_none();
    let same_case = body.case == Some(fields.case_ref) || unopened;
    if body.packet != Some(fields.packet_id) {
        Err(why("OTHER_PACKET"))
    } else if body.manifest_digest != Some(manifest.digest()) {
        Err(why("OTHER_MANIFEST"))
    } else if body.sender.as_ref() != Some(&fields.sender) || !same_case {
        Err(why("OTHER_SENDER"))
    } else {
        Ok(())
    }
}

/// Who did not send it shows that it was given to it.
fn consigned(manifest: &ShownManifest, shown_by: Option<&AgencyId>, log: &Log, report: &mut Report) {
    let Some(agency) = shown_by.filter(|agency| **agency != manifest.fields().sender) else {
        report.skip(Check::Consignment, "", why("SHOWN_BY_SENDER"));
        return;
    };
    let to_it = |entry: &&Entry| {
        let body = entry.body.as_ref();
        entry.is(Event::ContentConsignment)
            && body.is_some_and(|body| body.recipient.as_ref() == Some(agency))
    };
    let found = log.entries.iter().find(to_it);
    let outcome = found.map(|_| ()).ok_or_else(|| why("NO_ENTRY").of(agency));
    report.note(
        Check::Consignment,
        found.map(Entry::about).unwrap_or_default(),
        outcome,
    );
}

fn signature(manifest: &ShownManifest, directories: &Directories, at: Timestamp, report: &mut Report) {
    let mut outcome = None;
    for directory in directories.at(at).iter() {
        match manifest.signed_by(directory, at) {
            Ok(_) => {
                outcome = Some(Ok(()));
                break;
            }
            Err(error) => drop(outcome.get_or_insert(Err(Why::refusal(error)))),
        }
    }
    match outcome {
        Some(outcome) => drop(report.note(Check::Signature, names::MANIFEST_SIGNATURE, outcome)),
        None => {
            let name = names::MANIFEST_SIGNATURE;
            report.lacks(Check::Signature, name, why("NO_DIRECTORY"), Check::Directory);
        }
    }
}

fn openings(members: &Members, manifest: &ShownManifest, report: &mut Report) -> Result<Opened, Problem> {
    let mut opened = Opened {
        whole: true,
        ..Opened::default()
    };
    let files: Vec<_> = members
        .names()
        .filter(|name| name.starts_with("openings/"))
        .collect();
    for name in files {
        let Some(one) = opening(members, name)? else {
            continue;
        };
        let outcome = opened.take(name, &one, manifest);
        opened.whole &= report.note(Check::Opening, name, outcome);
    }
    if opened.parts.is_empty() && opened.whole {
        report.note(Check::Opening, "openings", Err(why("MEMBER_MISSING")));
        opened.whole = false;
    }
    Ok(opened)
}

/// A decision is about a recipient and parts that the manifest commits to, and was made when it was logged.
fn decided(
    entry: &Entry,
    decision: &Decision,
    manifest: &ShownManifest,
    (opened, report): (&Opened, &mut Report),
) {
    let about = entry.about();
    if !opened.whole {
        report.skip(Check::Decided, about, why("OPENING_WRONG"));
        return;
    }
    let recipient = opened
        .recipients
        .iter()
        .any(|r| r.agency() == decision.recipient());
    let missing = decision
        .parts()
        .iter()
        .find(|part| !opened.parts.contains_key(&part.part));
    let consigned = entry.is(Event::ContentConsignment);
    let shown = entry.shown.as_ref() == Some(decision);
    let undelivered = decision
        .parts()
        .iter()
        .find(|part| (part.outcome == "deliver") != (shown && consigned));
    let at = entry.body.as_ref().map_or(decision.at(), |body| body.at);
    let outcome = if decision.packet() != manifest.fields().packet_id {
        Err(why("OTHER_PACKET"))
    } else if !recipient {
        Err(why("NO_OPENING").of(decision.recipient()))
    } else if let Some(part) = missing {
        Err(why("NO_OPENING").of(part.part))
    } else if let Some(part) = undelivered.filter(|_| consigned) {
        Err(why("OTHER_OUTCOME").of(part.part))
    } else if at.millis_since(decision.at()).saturating_abs() > limits::CLOCK_SKEW_MAX_MILLIS {
        Err(why("OTHER_TIME"))
    } else {
        Ok(())
    };
    report.note(Check::Decided, about, outcome);
}

fn contents(
    members: &Members,
    manifest: &ShownManifest,
    opened: &Opened,
    report: &mut Report,
) -> Result<(), Problem> {
    for part in opened.parts.values() {
        let about = part.id().to_string();
        let Some(mut content) = members.reader(&names::part(&part.id(), "content.bin"))? else {
            if folders(members, "parts/").contains(&about) {
                report.note(Check::Part, about, Err(why("MEMBER_MISSING")));
            } else {
                report.skip(Check::Part, about, why("NO_CONTENT"));
            }
            continue;
        };
        // One file under both readers: the small ones first.
        drop(content);
        let framed = members.bytes(&names::part(&part.id(), "sealed-header.bin"))?;
        let salt = members.bytes(&names::part(&part.id(), "salt.bin"))?;
        let (Some(framed), Some(salt)) = (framed, salt) else {
            report.note(Check::Part, about, Err(why("MEMBER_MISSING")));
            continue;
        };
        let Some(again) = members.reader(&names::part(&part.id(), "content.bin"))? else {
            continue;
        };
        content = again;
        let found = manifest
            .content(part, &framed, &mut content)
            .map_err(Why::refusal);
        let found = found.and_then(|_| {
            let ends = framed.ends_with(&salt) && salt.len() == 32;
            ends.then_some(()).ok_or_else(|| why("OTHER_SALT"))
        });
        report.note(Check::Part, about, found);
    }
    for folder in folders(members, "parts/") {
        let known = folder
            .parse()
            .is_ok_and(|part: PartId| opened.parts.contains_key(&part));
        if !known && opened.whole {
            report.note(Check::Part, folder, Err(why("NO_OPENING")));
        } else if !known {
            report.skip(Check::Part, folder, why("OPENING_WRONG"));
        }
    }
    Ok(())
}

/// Ciphertexts that the sender still had.
fn sealed(members: &Members, opened: &Opened, report: &mut Report) -> Result<(), Problem> {
    let files: Vec<_> = members
        .names()
        .filter(|name| name.starts_with("sealed/"))
        .collect();
    for name in files {
        let file = name.trim_start_matches("sealed/");
        let profile = if file.ends_with(".v4") {
            Profile::V4
        } else {
            Profile::V6
        };
        let part = file.split('.').next().and_then(|part| part.parse().ok());
        let part = part.and_then(|part: PartId| opened.parts.get(&part));
        let Some(sealing) = part.and_then(|part| part.descriptor().sealing(profile)) else {
            report.note(Check::Sealed, name, Err(why("NO_OPENING")));
            continue;
        };
        let mut check = SealingCheck::new(sealing);
        let mut outcome = Ok(());
        let mut piece = vec![0; limits::CHUNK_MAX_BYTES];
        let Some(mut reader) = members.reader(name)? else {
            continue;
        };
        while outcome.is_ok() {
            let count = reader
                .read(&mut piece)
                .map_err(|e| Problem::io(&e, std::path::Path::new(name)))?;
            if count == 0 {
                break;
            }
            outcome = check.update(piece.get(..count).unwrap_or_default());
        }
        let outcome = outcome.and_then(|()| check.finish().map(|_| ()));
        report.note(Check::Sealed, name, outcome.map_err(Why::refusal));
    }
    Ok(())
}

/// Positions and times follow each other, as far as clocks agree.
fn order(manifest: &ShownManifest, log: &Log, report: &mut Report) {
    let skew = limits::CLOCK_SKEW_MAX_MILLIS;
    let fields = manifest.fields();
    let said = log.entries.iter().filter(|entry| entry.included);
    let said: Vec<_> = said
        .filter_map(|entry| Some((entry, entry.body.as_ref()?)))
        .collect();
    if said.is_empty() {
        report.skip(Check::Order, "", why("ENTRY_WRONG"));
        return;
    }
    let mut outcome = Ok(());
    let mut last = fields.created;
    for (entry, body) in &said {
        if body.at < last.plus_millis(-skew) {
            outcome = Err(why("OTHER_ORDER").of(entry.about()));
        }
        last = last.max(body.at);
    }
    // It may have been refused first, and submitted again.
    let first_is_acceptance = said
        .iter()
        .find(|(_, body)| body.event != Event::SubmissionRejection)
        .is_some_and(|(_, body)| body.event == Event::SubmissionAcceptance);
    let accepted = said
        .iter()
        .any(|(_, body)| body.event == Event::SubmissionAcceptance);
    if accepted && !first_is_acceptance {
        outcome = Err(why("OTHER_ORDER").of("SubmissionAcceptance"));
    }
    report.note(Check::Order, "", outcome);
}
