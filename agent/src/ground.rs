//! The ground of what was handed over: the facts that the decision rested on. When the facts of a case change,
//! the question of each hand-over is put to the rules twice, on the facts as they were decided on and as they are
//! now. What was delivered then and is not now has lost its ground. A change of the rules alone ends nothing.

use schakel_policy::asking::{self, Moment};
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::ids::PartId;
use schakel_proto::packet::parse::{ParsedHead, ParsedSubmission, Part};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::{FactChain, Statement, StatementBody};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::problem::Problem;

/// What the question rests on.
pub struct Ground<'a> {
    /// The rules.
    pub engine: &'a Engine,
    /// The directory.
    pub directory: &'a Directory,
    /// All facts of the case that were ever shown to us.
    pub known: FactChain,
    /// Whether the case is still shown to us. If not, to us it is one that nobody opened.
    pub shown: bool,
    /// The moment.
    pub now: Timestamp,
}

/// One hand-over: when it was decided, and on how many facts.
#[derive(Clone, Copy, Debug)]
pub struct HandOver {
    /// When.
    pub at: Timestamp,
    /// On the first this many facts of the case.
    pub facts_count: u64,
}

/// Manifest and openings as they lie on our disk; they were verified before.
pub fn head_of(
    manifest: wire::Signed,
    recipients: Vec<wire::Opening>,
    parts: Vec<wire::Opening>,
) -> Result<ParsedHead, Problem> {
    let head = wire::SubmitHead {
        manifest: Some(manifest),
        recipients,
        parts,
    };
    ParsedSubmission::parse(&head).map_err(|e| Problem::from(Refusal::from(e)))
}

impl Ground<'_> {
    /// For each of these parts of a packet, handed over to `recipient`: the reason why it would not be any more;
    /// none: it would, or it was not on the facts that are shown to us.
    pub fn ended(
        &self,
        head: &ParsedHead,
        parts: &[PartId],
        recipient: &AgencyId,
        then: HandOver,
    ) -> Vec<(PartId, Option<String>)> {
        let parts: Vec<&Part> = parts.iter().filter_map(|id| head.part(id)).collect();
        // An emergency is judged by its own moment: that its review is due ends no ground.
        let emergency = head.manifest().break_glass.is_some();
        let now = if emergency { then.at } else { self.now };
        let facts = if self.shown {
            self.known.clone()
        } else {
            FactChain::empty(self.known.case_ref())
        };
        let before = self.reasons(
            head,
            &parts,
            recipient,
            (&self.known.first(then.facts_count), then.at),
        );
        let after = self.reasons(head, &parts, recipient, (&facts, now));
        let both = before.into_iter().zip(after);
        let ended = both.map(|(before, after)| after.filter(|_| before.is_none()));
        parts.iter().map(|part| part.id()).zip(ended).collect()
    }

    /// Whether the measure that a part is about was lifted: then every copy of it expires, whatever its end was.
    pub fn is_lifted(&self, head: &ParsedHead, part: &PartId) -> bool {
        let named = head.part(part).and_then(|part| part.descriptor().measure_ref);
        let lifts = |statement: &Statement, named| matches!(statement.body(), StatementBody::MeasureLifted { measure } if *measure == named);
        named.is_some_and(|named| self.known.statements().any(|one| lifts(one, named)))
    }

    /// For each part why it is not delivered; none: it is.
    fn reasons(
        &self,
        head: &ParsedHead,
        parts: &[&Part],
        recipient: &AgencyId,
        (facts, at): (&FactChain, Timestamp),
    ) -> Vec<Option<String>> {
        let manifest = head.manifest();
        let case = asking::case_or_unopened(facts, self.directory, &manifest.sender);
        let fields: Vec<_> = parts.iter().map(|part| part.descriptor()).collect();
        let ground = (self.directory, &case);
        let questions =
            asking::receive_questions(manifest, &fields, recipient, ground, (Moment::HandOver, at));
        let ruling = self.engine.packet(&questions);
        let reason =
            |one: &schakel_policy::ruling::Ruling| (!one.delivers()).then(|| one.reason().to_owned());
        ruling.parts().iter().map(reason).collect()
    }
}
