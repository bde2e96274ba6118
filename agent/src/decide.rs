//! The receiving agent decides again, with the same rules on the same facts as of the same moment, before
//! it accepts: a broker that lets through what the rules refuse is found here. It is not let off by a broker
//! that shows fewer facts than it has shown before, or none at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use schakel_policy::asking::{self, Moment};
use schakel_policy::engine::Engine;
use schakel_policy::facts::CaseState;
use schakel_policy::ruling::{PacketRuling, Ruling};
use schakel_proto::directory::Directory;
use schakel_proto::evidence::Decision;
use schakel_proto::packet::parse::Part;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::FactChain;

use crate::inbox::verify::VerifiedDelivery;
use crate::problem::Problem;

/// A decision may leave out a fact that was accepted no longer before it than this, in milliseconds: they
/// passed each other in the broker.
const PASSED_EACH_OTHER_MAX_MILLIS: i64 = 60_000;

/// What the broker shows of a case.
#[derive(Debug)]
pub enum Shown {
    /// The facts as they are.
    Now(FactChain),
    /// Nothing now; this it showed before.
    Before(FactChain),
    /// Nothing, now or before.
    Never,
}

/// Who decides, and by what.
pub struct Own<'a> {
    /// The rules.
    pub engine: &'a Engine,
    /// The directory.
    pub directory: &'a Directory,
    /// We.
    pub agency: &'a AgencyId,
}

impl Own<'_> {
    /// Whether every part is delivered; none if the facts are rightly not shown to us.
    pub fn decide(&self, shown: Shown, verified: &VerifiedDelivery) -> Result<Option<bool>, Problem> {
        let decision = verified.proved().decision();
        let facts = match shown {
            Shown::Now(chain) => facts_of(decision, &chain)?,
            Shown::Before(chain) if chain.count() >= decision.facts_count() => facts_of(decision, &chain)?,
            Shown::Never if decision.facts_count() == 0 => FactChain::empty(verified.proved().case()),
            Shown::Before(_) | Shown::Never => return self.outside(verified).map(|()| None),
        };
        let sender = &verified.handed().manifest().sender;
        let case = asking::case_or_unopened(&facts, self.directory, sender);
        let Some(ruling) = self.ruling(&case, verified) else {
            return Ok(Some(false));
        };
        let delivers = ruling.denied().is_none() && ruling.parts().iter().all(Ruling::delivers);
        if delivers {
            same_obligations(decision, verified.handed().parts(), &ruling)?;
        }
        Ok(Some(delivers))
    }

    /// The broker does not show us the facts it decided on: it says by that that we take no part in the case.
    /// Then the rules must not show them to us whatever our part, and the packet must be one of the few that
    /// go to who takes no part.
    fn outside(&self, verified: &VerifiedDelivery) -> Result<(), Problem> {
        let sender = self.directory.agency(&verified.handed().manifest().sender);
        let region = sender.map_or("", |agency| agency.region().as_str());
        let nobodys = Arc::new(CaseState::unopened(region));
        let at = verified.proved().decision().at();
        let question = asking::inspect_case_question(self.agency, Arc::clone(&nobodys), (self.directory, at));
        let hidden = !self.engine.inspect(&question).granted();
        let gate = |reason: &str| matches!(reason, "DENY_SENDER_NOT_IN_CASE" | "DENY_RECIPIENT_NOT_IN_CASE");
        let ruling = self.ruling(&nobodys, verified);
        let goes = ruling.is_some_and(|ruling| !ruling.denied().is_some_and(|denied| gate(denied.reason())));
        if hidden && goes {
            return Ok(());
        }
        let sentence = "the broker does not show the facts that it decided on, and the rules show them to us";
        Err(Problem::distrust("FACTS_WITHHELD", sentence).at(verified.proved().packet()))
    }

    fn ruling(&self, case: &Arc<CaseState>, verified: &VerifiedDelivery) -> Option<PacketRuling> {
        let handed = verified.handed();
        let parts: Vec<_> = handed.parts().iter().map(Part::descriptor).collect();
        let when = (Moment::HandOver, verified.proved().decision().at());
        let (manifest, ground) = (handed.manifest(), (self.directory, case));
        let questions = asking::receive_questions(manifest, &parts, self.agency, ground, when);
        let ruling = self.engine.packet(&questions);
        (ruling.parts().len() == parts.len()).then_some(ruling)
    }
}

/// We act on obligations: a broker that could add one would have content destroyed, one that could leave one
/// out would have it kept or passed on.
fn same_obligations(decision: &Decision, parts: &[Part], ruling: &PacketRuling) -> Result<(), Problem> {
    for (part, own) in parts.iter().zip(ruling.parts()) {
        let said = decision.parts().iter().find(|one| one.part == part.id());
        let said: BTreeSet<&str> = said
            .into_iter()
            .flat_map(|one| one.obligations.iter().map(String::as_str))
            .collect();
        let own: BTreeSet<&str> = own.obligations().iter().map(String::as_str).collect();
        if said != own {
            let list = |all: &BTreeSet<&str>| all.iter().copied().collect::<Vec<_>>().join(" ");
            let sentence = format!(
                "the decision names the obligations [{}] and our rules [{}] on the same facts",
                crate::problem::printable(&list(&said), 512),
                list(&own)
            );
            return Err(Problem::distrust("OBLIGATIONS_DIFFER", sentence).at(part.id()));
        }
    }
    Ok(())
}

/// The facts that a decision was made on: the first `facts_count` of the chain, under the head it names. They
/// must be all that there were.
fn facts_of(decision: &Decision, chain: &FactChain) -> Result<FactChain, Problem> {
    let count = decision.facts_count();
    let mut later = chain.facts().iter().filter(|fact| fact.number() > count);
    if later.any(|fact| decision.at().millis_since(fact.accepted()) > PASSED_EACH_OTHER_MAX_MILLIS) {
        let sentence = "it was decided without facts that the broker had accepted before";
        return Err(Problem::distrust("DECISION_FACTS", sentence).at(decision.packet()));
    }
    let then = chain.first(count);
    if then.count() == count && then.head() == decision.facts_head() {
        return Ok(then);
    }
    let sentence = "it was decided on other facts than the broker shows";
    Err(Problem::distrust("DECISION_FACTS", sentence).at(decision.packet()))
}
