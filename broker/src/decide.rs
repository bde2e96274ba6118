//! Decide: at hand-over, from the facts as they are now, which parts of a leased packet its recipient
//! may have. A failure to decide delivers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use schakel_policy::asking::{self, Moment};
use schakel_policy::engine::Engine;
use schakel_policy::ruling::{Outcome, Ruling};
use schakel_proto::directory::Directory;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::packet::parse::{ParsedHead, ParsedSubmission, Part, Recipient};
use schakel_proto::packet::verify::DirectoryView;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::statement::FactChain;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::bundle::Rules;
use crate::log::entry::{DecisionDraft, EntryDraft};
use crate::redact::safe;
use crate::state::{self, State};
use crate::store::{DecidedPart, HandOver, Lease, NewEntry, Stage, StoredPacket, Verdict};

/// Reason code of a part whose recipient's key is no longer in the directory.
pub const KEY_REVOKED: &str = "DENY_RECIPIENT_KEY_REVOKED";

/// What was decided of one part, in the words of the wire.
#[derive(Clone, Debug)]
struct PartRuling {
    part: PartId,
    before: Stage,
    verdict: Verdict,
    wire: wire::PartDecision,
}

/// A decision on every open part of a leased packet, with the versions it was made on.
pub struct Decided {
    lease: Lease,
    head: ParsedHead,
    facts_head: Option<Digest>,
    facts_count: u64,
    rules: Arc<Rules>,
    directory: Arc<Directory>,
    at: Timestamp,
    rulings: Vec<PartRuling>,
}

/// Decides. Pure but for reading facts, rules and directory, each once.
///
/// # Errors
/// The stored packet or the facts cannot be read: nothing is delivered.
pub async fn decide(state: &State, lease: Lease) -> Result<Decided, Refusal> {
    let at = state.clock.now();
    let directory = state.directories.valid(at)?;
    let rules = state.rules.current();
    let chain = crate::facts::chain(state, lease.packet.case).await?;
    let head = stored_head(&lease.packet)?;
    let (parts, stages): (Vec<_>, Vec<_>) = parts_of(&head, &lease)?.into_iter().unzip();
    let grounds = Grounds {
        engine: rules.engine(),
        directory: &directory,
        chain: &chain,
        at,
    };
    let rule = rule(&grounds, &head, &lease.recipient, &parts)?;
    alarms(&lease, rule.defects);
    let ids = parts.iter().map(|part| part.id());
    let rulings = ids
        .zip(stages)
        .zip(rule.parts)
        .filter(|((_, before), _)| !before.is_final())
        .map(|((part, before), (verdict, wire))| PartRuling {
            part,
            before,
            verdict,
            wire,
        })
        .collect();
    let (facts_head, facts_count) = (chain.head(), chain.count());
    Ok(Decided {
        facts_head,
        facts_count,
        rules,
        directory,
        at,
        rulings,
        head,
        lease,
    })
}

/// What a decision is made on, beside the packet.
pub(crate) struct Grounds<'a> {
    /// The rules.
    pub engine: &'a Engine,
    /// Who is who.
    pub directory: &'a Directory,
    /// The facts of the case.
    pub chain: &'a FactChain,
    /// The moment.
    pub at: Timestamp,
}

/// What the rules say of parts, and how many defects the policy engine reported.
pub(crate) struct Ruled {
    /// Of each part, in the order asked.
    pub parts: Vec<(Verdict, wire::PartDecision)>,
    defects: usize,
}

/// Asks the rules what the recipient may have of the parts addressed to it. Pure: the same grounds give the
/// same answer, now and whenever the decision is made again.
///
/// # Errors
/// The packet does not name the recipient.
pub(crate) fn rule(
    grounds: &Grounds<'_>,
    head: &ParsedHead,
    recipient: &AgencyId,
    parts: &[&Part],
) -> Result<Ruled, Refusal> {
    let named = head.recipients().iter().find(|one| one.agency() == recipient);
    let named = named.ok_or_else(|| damaged("a stored packet does not name its recipient"))?;
    let revoked = grounds.directory.encryption_key(recipient, named.key()).is_none();
    let case = asking::case_or_unopened(grounds.chain, grounds.directory, &head.manifest().sender);
    let fields: Vec<_> = parts.iter().map(|part| part.descriptor()).collect();
    let facts = (grounds.directory, &case);
    let when = (Moment::HandOver, grounds.at);
    let questions = asking::receive_questions(head.manifest(), &fields, recipient, facts, when);
    let ruling = grounds.engine.packet(&questions);
    let ruled = parts.iter().zip(ruling.parts());
    Ok(Ruled {
        parts: ruled
            .map(|(part, ruling)| part_ruling(part.id(), ruling, revoked))
            .collect(),
        defects: ruling.parts().iter().map(|ruling| ruling.alarms().len()).sum(),
    })
}

/// The stored bytes, parsed as they were when they came.
pub(crate) fn stored_head(packet: &StoredPacket) -> Result<ParsedHead, Refusal> {
    let head = wire::SubmitHead {
        manifest: Some(packet.manifest.clone()),
        recipients: packet.recipients.iter().map(|one| one.opening.clone()).collect(),
        parts: packet.parts.iter().map(|one| one.opening.clone()).collect(),
    };
    ParsedSubmission::parse(&head).map_err(|_| damaged("a stored packet no longer parses"))
}

/// The parts addressed to the recipient, with their stages.
fn parts_of<'a>(head: &'a ParsedHead, lease: &Lease) -> Result<Vec<(&'a Part, Stage)>, Refusal> {
    let missing = || damaged("a part's state names no part");
    let part = |id: &PartId| head.part(id).ok_or_else(missing);
    lease
        .parts
        .iter()
        .map(|state| Ok((part(&state.part)?, state.stage)))
        .collect()
}

fn damaged(sentence: &'static str) -> Refusal {
    Refusal::new(
        Fault::Internal,
        "CORRUPT",
        sentence,
        "The operator must restore the store from a copy.",
    )
}

fn part_ruling(part: PartId, ruling: &Ruling, revoked: bool) -> (Verdict, wire::PartDecision) {
    let mut wire = part_decision(part, ruling);
    let mut verdict = match ruling.outcome() {
        Outcome::Deliver => Verdict::Deliver,
        Outcome::HoldForConsent => Verdict::Hold,
        Outcome::Withhold | Outcome::DenyPacket => Verdict::Withhold,
    };
    if revoked {
        verdict = Verdict::Withhold;
        wire.outcome = Outcome::DenyPacket.as_str().to_owned();
        wire.reason = KEY_REVOKED.to_owned();
        wire.policies.clear();
        wire.obligations = vec!["log-denial".to_owned(), "tell-sender-reason".to_owned()];
    }
    (verdict, wire)
}

/// A ruling in the words of the wire.
pub fn part_decision(part: PartId, ruling: &Ruling) -> wire::PartDecision {
    wire::PartDecision {
        part_id: part.to_vec().into(),
        outcome: ruling.outcome().as_str().to_owned(),
        reason: ruling.reason().to_owned(),
        obligations: ruling.obligations().iter().cloned().collect(),
        policies: ruling.policies().to_vec(),
    }
}

/// A defect that the policy engine reports is a denial, and the operator hears of it.
fn alarms(lease: &Lease, count: usize) {
    if count > 0 {
        tracing::error!(
            packet = safe(lease.packet.packet),
            count,
            "alarm: the policy engine reported defects"
        );
    }
}

impl Decided {
    /// The lease that this was decided under.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// When it was decided.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The packet's head as stored.
    pub fn head(&self) -> &ParsedHead {
        &self.head
    }

    /// The recipient as the sender named it.
    pub fn recipient(&self) -> Option<&Recipient> {
        self.head
            .recipients()
            .iter()
            .find(|one| *one.agency() == self.lease.recipient)
    }

    /// The parts that go to the recipient, in the packet's order.
    pub fn delivered(&self) -> impl Iterator<Item = &Part> {
        let goes = |ruling: &&PartRuling| ruling.verdict == Verdict::Deliver;
        self.rulings
            .iter()
            .filter(goes)
            .filter_map(|ruling| self.head.part(&ruling.part))
    }

    /// Whether anything goes to the recipient.
    pub fn delivers(&self) -> bool {
        self.delivered().next().is_some()
    }

    /// Gives the lease back, to decide again.
    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    /// What the store is asked to commit: decision, versions and leaf.
    ///
    /// # Errors
    /// The entry cannot be made.
    pub(crate) async fn to_hand_over(&self, state: &State) -> Result<HandOver, Refusal> {
        let nothing_new = self
            .rulings
            .iter()
            .all(|ruling| ruling.verdict == Verdict::Hold && ruling.before == Stage::Held);
        let entry = if nothing_new {
            None
        } else {
            Some(self.entry(state).await?)
        };
        Ok(HandOver {
            token: self.lease.token,
            packet: self.lease.packet.packet,
            recipient: self.lease.recipient.clone(),
            facts_head: self.facts_head,
            facts_count: self.facts_count,
            bundle_version: self.rules.version(),
            directory_version: self.directory.version(),
            parts: self.rulings.iter().map(PartRuling::stored).collect(),
            entry,
            at: self.at,
        })
    }

    /// The leaf of this decision: to the recipient what goes to it, to the sender everything.
    async fn entry(&self, state: &State) -> Result<NewEntry, Refusal> {
        let event = if self.delivers() {
            Event::ContentConsignment
        } else {
            Event::ContentWithheld
        };
        let about = state::about(event, self.at, self.head.manifest(), self.head.manifest_digest());
        let mut draft = EntryDraft {
            recipient: Some(self.lease.recipient.clone()),
            decision: Some(DecisionDraft::split(self.decision())),
            ..about
        }
        .concerning(&self.head.manifest().sender, true);
        if self.delivers() {
            draft = draft.concerning(&self.lease.recipient, false);
        }
        state.entry(draft).await
    }

    fn decision(&self) -> wire::Decision {
        wire::Decision {
            packet_id: self.lease.packet.packet.to_vec().into(),
            recipient: self.lease.recipient.to_string(),
            at_ms: self.at.millis(),
            bundle_digest: self.rules.digest().to_vec().into(),
            bundle_version: self.rules.version(),
            facts_head: self
                .facts_head
                .map(|head| head.to_vec().into())
                .unwrap_or_default(),
            facts_count: self.facts_count,
            directory_version: self.directory.version(),
            parts: self.rulings.iter().map(|ruling| ruling.wire.clone()).collect(),
            ..Default::default()
        }
    }

    /// Outcomes by number, for the log.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for ruling in &self.rulings {
            *counts.entry(ruling.wire.outcome.as_str()).or_default() += 1;
        }
        counts
    }
}

impl PartRuling {
    fn stored(&self) -> DecidedPart {
        DecidedPart {
            part: self.part,
            verdict: self.verdict,
            reason: self.wire.reason.clone(),
            obligations: self.wire.obligations.clone(),
        }
    }
}
