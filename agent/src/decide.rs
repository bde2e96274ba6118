//! The receiving agent decides again, with the same rules on the same facts as of the same moment, before
//! it accepts: a broker that lets through what the rules refuse is found here.

use schakel_policy::asking::{self, Moment};
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::Decision;
use schakel_proto::ids::CaseRef;
use schakel_proto::packet::parse::Part;
use schakel_proto::packet::verify::VerifiedHanded;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::FactChain;
use schakel_proto::wire;

use crate::problem::Problem;

/// The facts that a decision was made on: the first `facts_count` of the chain, under the head it names.
pub fn facts_of(decision: &Decision, chain: &FactChain) -> Result<FactChain, Problem> {
    let count = decision.facts_count();
    let entries = chain
        .facts()
        .iter()
        .filter(|fact| fact.number() <= count)
        .map(|fact| wire::FactEntry {
            number: fact.number(),
            statement: Some(fact.signed().clone()),
            head: fact.head().to_vec().into(),
            accepted_ms: fact.accepted().millis(),
        });
    let facts = wire::CaseFacts {
        case_ref: chain.case_ref().to_vec().into(),
        entries: entries.collect(),
    };
    let then = FactChain::check(&facts)
        .map_err(|e| Problem::distrust("DECISION_FACTS", format!("the decision's facts: {e}")))?;
    if then.count() == count && then.head() == decision.facts_head() {
        return Ok(then);
    }
    let sentence = "it was decided on other facts than the broker shows";
    Err(Problem::distrust("DECISION_FACTS", sentence).at(decision.packet()))
}

/// A case of which there are no facts.
pub fn no_facts(case: CaseRef) -> Result<FactChain, Problem> {
    let facts = wire::CaseFacts {
        case_ref: case.to_vec().into(),
        entries: Vec::new(),
    };
    FactChain::check(&facts).map_err(|e| Problem::distrust("DECISION_FACTS", e.to_string()))
}

/// Whether these rules on these facts deliver every part that was handed over.
pub fn delivers(
    engine: &Engine,
    directory: &Directory,
    agency: &AgencyId,
    chain: &FactChain,
    handed: &VerifiedHanded,
    decision: &Decision,
) -> bool {
    let case = asking::case_or_unopened(chain, directory, &handed.manifest().sender);
    let parts: Vec<_> = handed.parts().iter().map(Part::descriptor).collect();
    let when = (Moment::HandOver, decision.at());
    let questions = asking::receive_questions(handed.manifest(), &parts, agency, (directory, &case), when);
    let ruling = engine.packet(&questions);
    ruling.denied().is_none()
        && ruling.parts().len() == parts.len()
        && ruling
            .parts()
            .iter()
            .all(schakel_policy::ruling::Ruling::delivers)
}
