//! Everything that must hold before a delivery is accepted. Each check gives the value that the next
//! one needs; `VerifiedDelivery` cannot be had otherwise.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use schakel_proto::directory::Directory;
use schakel_proto::evidence::{self, CheckedEvidence, Decision, Event};
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::limits;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::packet::open::{OpenedPart, check_part};
use schakel_proto::packet::verify::{HandedContext, VerifiedHanded, verify_handed};
use schakel_proto::packet::{OpenError, PacketError};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;

use super::blame::{Judged, is_senders, is_senders_part};
use super::spool::Incoming;
use crate::audit::shards;
use crate::keyring::Keyring;
use crate::problem::{Kind, Problem};

/// How far from now a decision may have been made, in milliseconds. Keys follow a decision at once; what lay
/// longer behind other deliveries here is handed over again. A broker cannot decide as of long ago.
const DECISION_AGE_MAX_MILLIS: i64 = 3_600_000;

/// What verification rests on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// Our agency.
    pub agency: &'a AgencyId,
    /// The newest directory.
    pub directory: &'a Directory,
    /// The shards of the log.
    pub shards: &'a Shards,
    /// Our keys.
    pub keys: &'a Keyring,
    /// The moment.
    pub now: Timestamp,
}

/// Why a delivery is not accepted.
#[derive(Debug)]
pub enum Rejection {
    /// The broker has not proved that it may hand this over: nothing is answered.
    Unproved(Problem),
    /// It was handed over properly, but what the sender made does not hold: refused with a reason.
    Unsound(Box<(ProvedDelivery, Problem)>),
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::Unproved(problem)
    }
}

/// A delivery that the log proves: accepted from its sender, decided, and consigned to us.
#[derive(Debug)]
pub struct ProvedDelivery {
    packet: PacketId,
    case: CaseRef,
    sender: AgencyId,
    manifest_digest: Digest,
    submission: CheckedEvidence,
    consignment: CheckedEvidence,
    decision: Decision,
    directory_version: u64,
    at: Timestamp,
}

impl ProvedDelivery {
    /// Version of the directory that it was judged by.
    pub fn directory_version(&self) -> u64 {
        self.directory_version
    }

    /// The moment as of which it was judged.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The packet, as the log has it.
    pub fn packet(&self) -> PacketId {
        self.packet
    }

    /// The case, as the log has it.
    pub fn case(&self) -> CaseRef {
        self.case
    }

    /// The sender, as the log has it.
    pub fn sender(&self) -> &AgencyId {
        &self.sender
    }

    /// SHA-256 of the manifest's bytes, as the log has it.
    pub fn manifest_digest(&self) -> Digest {
        self.manifest_digest
    }

    /// Leaf of the consignment.
    pub fn consignment_leaf(&self) -> Digest {
        self.consignment.leaf_hash()
    }

    /// The decision that was opened to us.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The checkpoints under which it was proved; the audit must place them.
    pub fn checkpoints(&self) -> [&SignedCheckpoint; 2] {
        [self.submission.checkpoint(), self.consignment.checkpoint()]
    }

    /// The parts that were consigned to us.
    pub fn part_ids(&self) -> Vec<PartId> {
        self.decision.parts().iter().map(|p| p.part).collect()
    }
}

/// One part, opened once and found good; its content went nowhere.
pub struct VerifiedPart {
    /// Its id.
    pub id: PartId,
    /// Its session-key packet.
    pub key_packet: bytes::Bytes,
    /// The spooled encrypted data.
    pub ciphertext: PathBuf,
    /// What the seal says of it.
    pub opened: OpenedPart,
}

/// A delivery of which everything holds.
pub struct VerifiedDelivery {
    proved: ProvedDelivery,
    handed: VerifiedHanded,
    parts: Vec<VerifiedPart>,
}

impl VerifiedDelivery {
    /// What the log proves.
    pub fn proved(&self) -> &ProvedDelivery {
        &self.proved
    }

    /// What the sender signed.
    pub fn handed(&self) -> &VerifiedHanded {
        &self.handed
    }

    /// Gives up a delivery that holds, for another reason to refuse it.
    pub fn unsound(self, problem: Problem) -> Rejection {
        Rejection::Unsound(Box::new((self.proved, problem)))
    }

    /// The parts.
    pub fn parts(&self) -> &[VerifiedPart] {
        &self.parts
    }
}

fn unproved(code: &str, sentence: impl Into<String>) -> Problem {
    Problem::distrust(code, sentence)
}

/// First half: the log's evidence and the decision. The audit places the checkpoints after it.
pub fn prove(
    incoming: &Incoming,
    hand_over: &wire::HandOver,
    context: &Context<'_>,
) -> Result<ProvedDelivery, Problem> {
    if context.now > context.directory.valid_until() {
        let sentence = "the network's directory is out of date: nothing is accepted by it";
        let remedy = "The network's authority must issue a newer one; what waits is offered again.";
        return Err(Problem::new(Kind::Later, "DIRECTORY_EXPIRED", sentence, remedy));
    }
    let check = |evidence: &Option<wire::Evidence>, what: &str| {
        let evidence = evidence
            .as_ref()
            .ok_or_else(|| unproved("EVIDENCE_MISSING", format!("the {what} is not proved")))?;
        evidence::check(evidence, context.network, context.shards)
            .map_err(|e| shards::problem(&e, "EVIDENCE_WRONG", &format!("the {what}: ")))
    };
    let submission = check(&hand_over.submission, "submission")?;
    let consignment = check(&hand_over.consignment, "consignment")?;
    let manifest_digest = incoming.manifest_digest();
    let about = check_body(&submission, Event::SubmissionAcceptance, manifest_digest)?;
    if about != check_body(&consignment, Event::ContentConsignment, manifest_digest)? {
        return Err(unproved(
            "EVIDENCE_OTHER_PACKET",
            "submission and consignment are of two packets",
        ));
    }
    if consignment.body().recipient.as_ref() != Some(context.agency) {
        return Err(unproved(
            "EVIDENCE_OTHER_RECIPIENT",
            "the consignment is another agency's",
        ));
    }
    if submission.index() >= consignment.index() {
        return Err(unproved("EVIDENCE_ORDER", "consigned before it was submitted"));
    }
    let decision = consignment.shown().cloned();
    let decision = decision
        .ok_or_else(|| unproved("DECISION_MISSING", "the decision to deliver is not opened to us"))?;
    check_decision(&decision, &consignment, hand_over.parts.len(), context)?;
    let (packet, case, sender) = about;
    Ok(ProvedDelivery {
        packet,
        case,
        sender,
        manifest_digest,
        submission,
        consignment,
        decision,
        directory_version: context.directory.version(),
        at: context.now,
    })
}

fn check_body(
    evidence: &CheckedEvidence,
    event: Event,
    digest: Digest,
) -> Result<(PacketId, CaseRef, AgencyId), Problem> {
    let body = evidence.body();
    if body.event == event
        && body.manifest_digest == Some(digest)
        && let (Some(packet), Some(case), Some(sender)) = (body.packet, body.case, body.sender.clone())
    {
        return Ok((packet, case, sender));
    }
    let sentence = format!(
        "the log entry shown as {} is about something else",
        event.as_str()
    );
    Err(unproved("EVIDENCE_OTHER_PACKET", sentence))
}

fn check_decision(
    decision: &Decision,
    consignment: &CheckedEvidence,
    handed_count: usize,
    context: &Context<'_>,
) -> Result<(), Problem> {
    if decision.recipient() != context.agency {
        return Err(unproved(
            "DECISION_OTHER_RECIPIENT",
            "the decision is about another agency",
        ));
    }
    if let Some(part) = decision.parts().iter().find(|p| p.outcome != "deliver") {
        let sentence = "a part was decided otherwise than to be delivered";
        return Err(unproved("DECISION_NOT_DELIVER", sentence).at(part.part));
    }
    if decision.parts().len() != handed_count {
        let sentence = "what was decided to be delivered and what was handed over differ";
        return Err(unproved("DECISION_OTHER_PARTS", sentence));
    }
    let apart = consignment.body().at.millis_since(decision.at()).saturating_abs();
    if apart > limits::CLOCK_SKEW_MAX_MILLIS {
        return Err(unproved(
            "DECISION_TIME",
            "the decision was not made when it was consigned",
        ));
    }
    if context.now.millis_since(decision.at()).saturating_abs() > DECISION_AGE_MAX_MILLIS {
        return Err(unproved("DECISION_TIME", "the decision was not made just now"));
    }
    if decision.directory_version() > context.directory.version() {
        let sentence = "it was decided with a newer directory than we were shown";
        return Err(unproved("DECISION_DIRECTORY", sentence));
    }
    Ok(())
}

/// Second half: the sender's signature, the openings, and each part opened once.
pub fn verify(
    incoming: &Incoming,
    hand_over: &wire::HandOver,
    proved: ProvedDelivery,
    context: &Context<'_>,
) -> Result<VerifiedDelivery, Rejection> {
    let proved = ProvedDelivery {
        directory_version: context.directory.version(),
        at: context.now,
        ..proved
    };
    if incoming.count() != hand_over.parts.len() {
        return Err(unproved("DELIVERY_MALFORMED", "other parts were offered than handed over").into());
    }
    let handed = match handed(incoming, hand_over, context) {
        Ok(handed) => handed,
        Err(error) => {
            let judged = Judged {
                manifest: incoming.manifest(),
                hand_over,
                directory: context.directory,
                now: context.now,
            };
            let problem = unproved(error.code(), error.defect().sentence()).at(error.place());
            return Err(if is_senders(error.defect(), &judged) {
                Rejection::Unsound(Box::new((proved, problem)))
            } else {
                Rejection::Unproved(problem)
            });
        }
    };
    check_same_parts(&proved, &handed)?;
    check_same_packet(&proved, handed.manifest())?;
    let keys = context.keys.opening(handed.recipient().key());
    let mut parts = Vec::new();
    let mut streams = BTreeSet::new();
    for (handed_part, described) in hand_over.parts.iter().zip(handed.parts()) {
        if !streams.insert(handed_part.stream) {
            return Err(unproved("DELIVERY_MALFORMED", "one stream is handed over twice").into());
        }
        let ciphertext = incoming.complete(handed_part.stream)?.to_owned();
        let mut open = || Ok(Box::new(File::open(&ciphertext)?) as _);
        let opened = check_part(&handed, &described.id(), &handed_part.key_packet, &mut open, keys);
        match opened {
            Ok(opened) => parts.push(VerifiedPart {
                id: described.id(),
                key_packet: handed_part.key_packet.clone(),
                ciphertext,
                opened,
            }),
            Err(error) => {
                let problem = open_problem(&error);
                let (id, key_packet) = (described.id(), &handed_part.key_packet);
                return Err(if is_senders_part(error.defect(), &handed, &id, key_packet) {
                    Rejection::Unsound(Box::new((proved, problem)))
                } else {
                    Rejection::Unproved(problem)
                });
            }
        }
    }
    Ok(VerifiedDelivery {
        proved,
        handed,
        parts,
    })
}

/// An error of opening, as a problem.
pub fn open_problem(error: &OpenError) -> Problem {
    unproved(error.code(), error.defect().sentence()).at(error.place())
}

fn handed(
    incoming: &Incoming,
    hand_over: &wire::HandOver,
    context: &Context<'_>,
) -> Result<VerifiedHanded, PacketError> {
    let recipient = hand_over.recipient.clone().unwrap_or_default();
    let openings: Vec<_> = hand_over
        .parts
        .iter()
        .map(|p| p.part.clone().unwrap_or_default())
        .collect();
    let context = HandedContext {
        network: context.network,
        recipient: context.agency,
        directory: context.directory,
        now: context.now,
    };
    verify_handed(incoming.manifest(), &recipient, &openings, context)
}

fn check_same_parts(proved: &ProvedDelivery, handed: &VerifiedHanded) -> Result<(), Problem> {
    let decided: BTreeSet<_> = proved.part_ids().into_iter().collect();
    let given: BTreeSet<_> = handed.parts().iter().map(|p| p.id()).collect();
    if decided == given && decided.len() == proved.decision.parts().len() {
        return Ok(());
    }
    let sentence = "what was decided to be delivered and what was handed over differ";
    Err(unproved("DECISION_OTHER_PARTS", sentence))
}

fn check_same_packet(proved: &ProvedDelivery, manifest: &ManifestFields) -> Result<(), Problem> {
    let same = manifest.packet_id == proved.packet
        && manifest.case_ref == proved.case
        && manifest.sender == proved.sender;
    if same {
        Ok(())
    } else {
        Err(unproved("EVIDENCE_OTHER_PACKET", "the log names it otherwise"))
    }
}
