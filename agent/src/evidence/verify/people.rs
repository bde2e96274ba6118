//! What agencies signed of a packet: acknowledgements, recalls; and that its time was over if the log says so.

use prost::Message;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::packet::shown::ShownManifest;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::directories::Directories;
use super::log::{Entry, Log};
use super::{Members, signed};
use crate::evidence::names;
use crate::evidence::report::{Check, Report, Why, why};
use crate::problem::{Kind, Problem};
use crate::receipts::judge;

/// Everything that agencies signed.
pub(super) fn check(
    members: &Members,
    manifest: &ShownManifest,
    (directories, log, made): (&Directories, &Log, Option<Timestamp>),
    report: &mut Report,
) -> Result<(), Problem> {
    for entry in &log.entries {
        let Some(body) = &entry.body else { continue };
        let about = entry.about();
        let check = match body.event {
            Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => {
                Check::Acknowledgement
            }
            Event::Recalled => Check::Recall,
            Event::Expired => {
                let over = body.at >= manifest.fields().expires;
                report.note(
                    Check::Expiry,
                    about,
                    over.then_some(()).ok_or_else(|| why("EXPIRED_EARLY")),
                );
                continue;
            }
            _ => continue,
        };
        match &entry.attachment {
            None => report.lacks(check, about, why("ATTACHMENT_WRONG"), Check::Attachment),
            Some(_) if directories.at(body.at).is_empty() => {
                report.lacks(check, about, why("NO_DIRECTORY"), Check::Directory);
            }
            Some(given) if check == Check::Recall => {
                report.note(check, about, recall(given, body, manifest, directories));
            }
            Some(given) => {
                let outcome = acknowledged(given, body, log, directories);
                conclude(outcome, &about, log, report);
            }
        }
    }
    answers(members, (directories, log, made), report)
}

/// A signature by a key that a directory of that time lists for the agency.
fn signed_by(
    directories: &Directories,
    agency: &AgencyId,
    key: &Fingerprint,
    given: &wire::Signed,
    at: Timestamp,
) -> Result<(), Problem> {
    let mut wrong = Problem::new(Kind::Distrust, "NO_DIRECTORY", "no directory of that time", "");
    for directory in directories.at(at).iter() {
        match judge::by_directory(directory, (agency, key), given, at) {
            Ok(()) => return Ok(()),
            Err(problem) => wrong = problem,
        }
    }
    Err(wrong)
}

/// The recipient's own word on one consignment, and on no more than that gave it.
fn acknowledged(given: &wire::Signed, body: &Body, log: &Log, directories: &Directories) -> Result<(), Why> {
    let network = directories.network().ok_or_else(|| why("OTHER_NETWORK"))?;
    let said = judge::said(network, body, given, |agency, key| {
        signed_by(directories, agency, key, given, body.at)
    })
    .map_err(|problem| Why::problem(&problem))?;
    let message = wire::Acknowledgement::decode(&*given.bytes).map_err(|_| why("MEMBER_UNREADABLE"))?;
    let leaf = Digest::try_from(&*message.consignment_leaf).map_err(|_| why("MEMBER_UNREADABLE"))?;
    let consignment = consignment(log, &leaf).ok_or_else(|| why("NO_CONSIGNMENT"))?;
    let to_it = consignment
        .body
        .as_ref()
        .is_some_and(|b| b.recipient.as_ref() == Some(&said.recipient));
    let decided = consignment.shown.as_ref();
    let gave = |part| decided.is_none_or(|d| d.parts().iter().any(|one| one.part == part));
    if !to_it || !said.parts.iter().all(|part| gave(*part)) {
        return Err(why("NO_CONSIGNMENT"));
    }
    let since = consignment.body.as_ref().map_or(body.at, |b| b.at);
    if message.made_ms < since.plus_millis(-limits::CLOCK_SKEW_MAX_MILLIS).millis() {
        return Err(why("OTHER_ORDER"));
    }
    if message.made_ms > body.at.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS).millis() {
        return Err(why("OTHER_TIME"));
    }
    Ok(())
}

/// Notes an acknowledgement. That its consignment is not there says nothing where an entry does not hold.
fn conclude(outcome: Result<(), Why>, about: &str, log: &Log, report: &mut Report) {
    let lost = outcome.as_ref().is_err_and(|why| why.code == "NO_CONSIGNMENT");
    let unsure = log
        .entries
        .iter()
        .any(|entry| entry.body.is_none() || !entry.included);
    if lost && unsure {
        report.skip(Check::Acknowledgement, about, why("ENTRY_WRONG"));
    } else {
        report.note(Check::Acknowledgement, about, outcome);
    }
}

fn consignment<'a>(log: &'a Log, leaf: &Digest) -> Option<&'a Entry> {
    let mut all = log.entries.iter();
    all.find(|entry| entry.leaf == *leaf && entry.is(Event::ContentConsignment))
}

fn recall(
    given: &wire::Signed,
    body: &Body,
    manifest: &ShownManifest,
    directories: &Directories,
) -> Result<(), Why> {
    let said = wire::Recall::decode(&*given.bytes).map_err(|_| why("MEMBER_UNREADABLE"))?;
    let fields = manifest.fields();
    let same = said.r#type == "schakel.v1.Recall"
        && said.network == fields.network.as_str()
        && *said.packet_id == *fields.packet_id.as_bytes()
        && said.sender == fields.sender.as_str();
    if !same {
        return Err(why("OTHER_PACKET"));
    }
    let key = Fingerprint::try_from(&*said.sender_key).map_err(|_| why("MEMBER_UNREADABLE"))?;
    signed_by(directories, &fields.sender, &key, given, body.at).map_err(|problem| Why::problem(&problem))
}

/// Answers of who shows the pack, whether the log has them or not; made before the pack was.
fn answers(
    members: &Members,
    (directories, log, made): (&Directories, &Log, Option<Timestamp>),
    report: &mut Report,
) -> Result<(), Problem> {
    let files = members.names().filter_map(|name| name.strip_suffix(".bin"));
    let files: Vec<_> = files.filter(|name| name.starts_with("answers/")).collect();
    for name in files {
        let Some(given) = signed(members, &format!("{name}.bin"), &format!("{name}.sig"))? else {
            report.note(Check::Acknowledgement, name, Err(why("MEMBER_MISSING")));
            continue;
        };
        let said = wire::Acknowledgement::decode(&*given.bytes).unwrap_or_default();
        let leaf = Digest::try_from(&*said.consignment_leaf).ok();
        if leaf.is_none_or(|leaf| names::answer(&leaf, "bin") != format!("{name}.bin")) {
            report.note(Check::Acknowledgement, name, Err(why("OTHER_NAME")));
            continue;
        }
        let latest = made.map_or(i64::MAX, |made| {
            made.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS).millis()
        });
        if said.made_ms > latest {
            report.note(Check::Acknowledgement, name, Err(why("OTHER_TIME")));
            continue;
        }
        let consigned = leaf
            .and_then(|leaf| consignment(log, &leaf))
            .and_then(|entry| entry.body.as_ref());
        let Some(body) = consigned else {
            conclude(Err(why("NO_CONSIGNMENT")), name, log, report);
            continue;
        };
        let event = match said.outcome.as_str() {
            "refused" => Event::ContentHandoverFailure,
            _ => Event::ContentHandover,
        };
        let at = body.at.max(Timestamp::from_millis(said.made_ms));
        let as_logged = Body {
            event,
            at,
            ..body.clone()
        };
        if directories.at(at).is_empty() {
            let none = why("NO_DIRECTORY");
            report.lacks(Check::Acknowledgement, name, none, Check::Directory);
            continue;
        }
        let outcome = acknowledged(&given, &as_logged, log, directories);
        report.note(Check::Acknowledgement, name, outcome);
    }
    Ok(())
}
