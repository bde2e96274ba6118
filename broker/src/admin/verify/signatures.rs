//! Signatures of packets, acknowledgements, recalls and statements, under the directory that was in force when they
//! came: as the log says it, and as it was kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use schakel_proto::directory::Directory;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::{ParsedStatement, VerifiedStatement};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::Desk;
use crate::signed::AgencyMessage;
use crate::store::{Ceiling, CeilingOf, Filed, FiledEntry, Known, StoreError, StoredPacket};

/// How long the judgement of a directory's keys is used again, in milliseconds.
const JUDGED_MAX_MILLIS: i64 = 10 * 60 * 1000;
/// A call that began under one directory may end under the next: so many are tried.
const TRIED_MAX_COUNT: usize = 3;
/// Longest call: two minutes for its head and two for a short body (`intake::frames`), half a minute in line
/// (`intake::turns`), and what the store takes to commit.
const CALL_MAX_MILLIS: i64 = 5 * 60 * 1000;

/// How it ended.
pub(super) enum Judged {
    /// It bears no signature.
    Unsigned,
    /// So many hold.
    Good(u64),
    /// One does not.
    Wrong(String),
    /// What is needed is no longer kept.
    Gone(&'static str),
}

/// A directory or bundle that came into force, and the entry that says so.
#[derive(Clone, Copy)]
pub(super) struct Activated {
    pub(super) index: u64,
    pub(super) ceiling: Ceiling,
    pub(super) at: Timestamp,
}

/// What an entry says came into force.
pub(super) fn activated(entry: &FiledEntry, body: &Body) -> Option<Activated> {
    let version = body.reason.strip_prefix("version-")?.parse().ok()?;
    let digest = body.manifest_digest?;
    Some(Activated {
        index: entry.index,
        ceiling: Ceiling { version, digest },
        at: body.at,
    })
}

/// Which directories something of a moment may have been judged by, the one in force then first: an older one only if
/// a call that takes at most `longest` milliseconds can have begun before its successor came into force.
fn tried(directories: &[Activated], at: Timestamp, longest: i64) -> Vec<Activated> {
    let mut all = Vec::new();
    for activated in directories.iter().rev().take(TRIED_MAX_COUNT) {
        all.push(*activated);
        if at.millis_since(activated.at) > longest {
            break;
        }
    }
    all
}

/// Checks signatures in the order of the log.
#[derive(Default)]
pub(super) struct Signatures {
    pub(super) directories: Vec<Activated>,
    pub(super) bundles: Vec<Activated>,
    judged: BTreeMap<u64, (Timestamp, Arc<Directory>)>,
}

impl Signatures {
    /// What came into force last, as far as the log was walked.
    pub(super) fn last(&self, of: CeilingOf) -> Option<Ceiling> {
        let all = match of {
            CeilingOf::Directory => &self.directories,
            CeilingOf::Bundle => &self.bundles,
        };
        all.iter().map(|one| one.ceiling).max_by_key(|one| one.version)
    }

    /// Whether this directory was verified, as it was kept.
    pub(super) fn is_judged(&self, activated: Activated) -> bool {
        let known = self.judged.get(&activated.ceiling.version);
        known.is_some_and(|(_, known)| *known.digest() == activated.ceiling.digest)
    }

    /// Checks what an entry is about.
    pub(super) async fn check(
        &mut self,
        desk: &Desk,
        entry: &FiledEntry,
        body: &Body,
    ) -> Result<Judged, Refusal> {
        match body.event {
            Event::DirectoryActivated | Event::BundleActivated => Ok(self.activated(entry, body)),
            Event::SubmissionAcceptance => {
                let Some(packet) = body.packet else {
                    return Ok(Judged::Wrong("names no packet".to_owned()));
                };
                match desk.store.packet(packet).await {
                    Ok(Some(stored)) => {
                        let when = (body.at, submission_max_millis(&stored));
                        let signed = stored.manifest;
                        self.under(desk, when, &|directory| manifest(directory, &signed, body))
                            .await
                    }
                    Ok(None) => without(desk, (entry, body), packet).await,
                    Err(StoreError::Corrupt(what)) => Ok(Judged::Wrong(what.to_string())),
                    Err(error) => Err(error.into()),
                }
            }
            Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => {
                self.attached(desk, entry, body, acknowledgement).await
            }
            Event::Recalled => self.attached(desk, entry, body, recall).await,
            Event::StatementAccepted => self.attached(desk, entry, body, statement).await,
            _ => Ok(Judged::Unsigned),
        }
    }

    fn activated(&mut self, entry: &FiledEntry, body: &Body) -> Judged {
        let Some(activated) = activated(entry, body) else {
            return Judged::Wrong("does not say what came into force".to_owned());
        };
        let version = activated.ceiling.version;
        let all = match body.event {
            Event::DirectoryActivated => &mut self.directories,
            _ => &mut self.bundles,
        };
        let older = all.last().is_some_and(|last| last.ceiling.version >= version);
        all.push(activated);
        if older {
            Judged::Wrong("is older than what was in force".to_owned())
        } else {
            Judged::Unsigned
        }
    }

    async fn attached(
        &mut self,
        desk: &Desk,
        entry: &FiledEntry,
        body: &Body,
        check: fn(&Directory, &wire::Signed, &Body) -> Result<(), String>,
    ) -> Result<Judged, Refusal> {
        let Some(signed) = &entry.attachment else {
            return Ok(Judged::Wrong("has lost what was signed".to_owned()));
        };
        let when = (body.at, CALL_MAX_MILLIS);
        self.under(desk, when, &|directory| check(directory, signed, body))
            .await
    }

    /// Under the directory in force at the moment, or one that was a moment before.
    async fn under(
        &mut self,
        desk: &Desk,
        (at, longest): (Timestamp, i64),
        check: &(dyn Fn(&Directory) -> Result<(), String> + Sync),
    ) -> Result<Judged, Refusal> {
        let last = tried(&self.directories, at, longest);
        let mut first = None;
        for activated in last {
            for fresh in [false, true] {
                let Some(directory) = self.directory(desk, activated, (at, fresh)).await? else {
                    break;
                };
                match check(&directory) {
                    Ok(()) => return Ok(Judged::Good(1)),
                    Err(what) => first = first.or(Some(what)),
                }
            }
        }
        Ok(first.map_or(
            Judged::Gone("the directory of its time is no longer kept"),
            Judged::Wrong,
        ))
    }

    /// A former directory as it was kept, its keys judged at a moment (or one shortly before, unless `fresh`).
    pub(super) async fn directory(
        &mut self,
        desk: &Desk,
        activated: Activated,
        (at, fresh): (Timestamp, bool),
    ) -> Result<Option<Arc<Directory>>, Refusal> {
        let version = activated.ceiling.version;
        let near = |then: Timestamp| (0..JUDGED_MAX_MILLIS).contains(&at.millis_since(then));
        if let Some((then, known)) = self.judged.get(&version)
            && (*then == at || (!fresh && near(*then)))
        {
            return Ok(Some(Arc::clone(known)));
        }
        let kept = match desk.store.kept(CeilingOf::Directory, version).await {
            Ok(Some(kept)) => kept,
            Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(directory) = desk.source.former(&kept.signed, at) else {
            return Ok(None);
        };
        if directory.version() != version || *directory.digest() != activated.ceiling.digest {
            return Ok(None);
        }
        let directory = Arc::new(directory);
        self.judged.insert(version, (at, Arc::clone(&directory)));
        Ok(Some(directory))
    }
}

/// Longest submission: its bytes may come as slowly as the slowest line that is given time for.
fn submission_max_millis(packet: &StoredPacket) -> i64 {
    let sealings = packet.parts.iter().flat_map(|part| &part.sealings);
    let bytes = sealings.fold(0_u64, |sum, sealing| sum.saturating_add(sealing.length));
    let seconds = i64::try_from(bytes / limits::SLOWEST_BYTES_PER_SECOND).unwrap_or(i64::MAX);
    seconds.saturating_mul(1_000).saturating_add(CALL_MAX_MILLIS)
}

/// An acceptance whose packet is not there: it went when its retention had ended, and a trace of it is left; or it went
/// with this entry since that was read; or it is missing.
async fn without(
    desk: &Desk,
    (entry, body): (&FiledEntry, &Body),
    packet: PacketId,
) -> Result<Judged, Refusal> {
    let digest = body.manifest_digest.unwrap_or(Digest::from_bytes([0; 32]));
    if let Known::Same(_) = desk.store.known(packet, digest).await? {
        return Ok(Judged::Gone(
            "the signature of a packet whose retention had ended",
        ));
    }
    let again = desk
        .store
        .filed(Filed::All, entry.index.checked_sub(1), 1)
        .await?;
    if again
        .found
        .first()
        .is_some_and(|now| now.index == entry.index && now.body.is_empty())
    {
        return Ok(Judged::Unsigned);
    }
    Ok(Judged::Wrong("accepted a packet that is not there".to_owned()))
}

/// A signature by a certificate of an agency, over bytes.
fn signature(
    directory: &Directory,
    (agency, key): (&AgencyId, &Fingerprint),
    signed: &wire::Signed,
    at: Timestamp,
) -> Result<(), String> {
    let keys = directory.agency(agency).and_then(|known| known.signing_keys(key));
    let keys = keys.ok_or("is signed by a key that the directory of its time does not list")?;
    keys.verify(&signed.bytes, &signed.signature, at)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn manifest(directory: &Directory, signed: &wire::Signed, body: &Body) -> Result<(), String> {
    let fields = ManifestFields::parse(&signed.bytes).map_err(|error| error.to_string())?;
    let same = body.manifest_digest == Some(Digest::of(&signed.bytes))
        && body.packet == Some(fields.packet_id)
        && body.case == Some(fields.case_ref)
        && body.sender.as_ref() == Some(&fields.sender);
    if !same {
        return Err("is about another manifest".to_owned());
    }
    signature(directory, (&fields.sender, &fields.sender_key), signed, body.at)
}

/// The message, if its agency signed it.
fn message<M: AgencyMessage>(
    directory: &Directory,
    signed: &wire::Signed,
    by: Option<&AgencyId>,
    at: Timestamp,
) -> Result<M, String> {
    let message = M::decode(&*signed.bytes).map_err(|_| "does not decode")?;
    let (kind, network, agency, key, _) = message.head();
    let by = by.ok_or("names nobody who signed")?;
    if kind != M::TYPE || network != directory.network().as_str() || agency != by.as_str() {
        return Err("is signed by somebody else, or for something else".to_owned());
    }
    let key = Fingerprint::try_from(key).map_err(|_| "names no key")?;
    signature(directory, (by, &key), signed, at)?;
    Ok(message)
}

fn acknowledgement(directory: &Directory, signed: &wire::Signed, body: &Body) -> Result<(), String> {
    let said: wire::Acknowledgement = message(directory, signed, body.recipient.as_ref(), body.at)?;
    let packet = body.packet.map(|id| id.to_vec()).unwrap_or_default();
    let reason = if said.reason.is_empty() {
        &said.outcome
    } else {
        &said.reason
    };
    if *said.packet_id == packet[..] && *reason == body.reason {
        Ok(())
    } else {
        Err("says something else than its entry".to_owned())
    }
}

fn recall(directory: &Directory, signed: &wire::Signed, body: &Body) -> Result<(), String> {
    let said: wire::Recall = message(directory, signed, body.sender.as_ref(), body.at)?;
    let packet = body.packet.map(|id| id.to_vec()).unwrap_or_default();
    if *said.packet_id == packet[..] && said.reason == body.reason {
        Ok(())
    } else {
        Err("says something else than its entry".to_owned())
    }
}

fn statement(directory: &Directory, signed: &wire::Signed, body: &Body) -> Result<(), String> {
    let parsed = ParsedStatement::parse(signed).map_err(|error| error.to_string())?;
    let verified = VerifiedStatement::verify(parsed, directory, directory.network(), body.at);
    let verified = verified.map_err(|error| error.to_string())?;
    let said = verified.statement();
    let same = body.case == Some(said.case_ref())
        && body.sender.as_ref() == Some(said.agency())
        && body.reason == said.body().kind();
    if same {
        Ok(())
    } else {
        Err("says something else than its entry".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Directories that came into force at these moments.
    fn versions(directories: &[i64], at: i64, longest: i64) -> Vec<u64> {
        let all = directories.iter().zip(1_u64..);
        let all = all.map(|(at, version)| Activated {
            index: version,
            ceiling: Ceiling {
                version,
                digest: Digest::of(b"a directory"),
            },
            at: Timestamp::from_millis(*at),
        });
        let tried = tried(&all.collect::<Vec<_>>(), Timestamp::from_millis(at), longest);
        tried.iter().map(|one| one.ceiling.version).collect()
    }

    #[test]
    fn l02_a_key_that_was_revoked_longer_ago_than_a_call_takes_signs_nothing() {
        let longest = CALL_MAX_MILLIS;
        assert_eq!(versions(&[], 5, longest), [0_u64; 0]);
        assert_eq!(
            versions(&[0, 1_000], 1_000 + longest, longest),
            [2, 1],
            "it may have begun before"
        );
        assert_eq!(
            versions(&[0, 1_000], 1_001 + longest, longest),
            [2],
            "too long ago"
        );
        assert_eq!(
            versions(&[0, 1, 2, 3], 4, longest),
            [4, 3, 2],
            "no more than three"
        );
        assert_eq!(versions(&[0, 1, 1_000_000], 1_000_001, longest), [3, 2]);
        // The broker's clock was put back.
        assert_eq!(versions(&[0, 1_000_000], 5, longest), [2, 1]);
    }
}
