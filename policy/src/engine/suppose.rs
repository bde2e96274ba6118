//! Suppositions: would a refused part be delivered if one fact were another? Nobody asks for the obligations of such
//! an answer, or which rules say no; so it ends as soon as it is clear.

use std::sync::Arc;

use super::cut::Cut;
use super::request::Unfit;
use super::{Engine, RECEIVE};
use crate::consent;
use crate::question::ReceiveQuestion;

/// A question that is not delivered, to be asked again otherwise.
pub(crate) struct Refused<'a> {
    engine: &'a Engine,
    /// The slice of its place; `None`: it has none, or slices are not used.
    cut: Option<Arc<Cut>>,
}

impl<'a> Refused<'a> {
    /// Of a question to which the answer was no.
    pub(crate) fn new(engine: &'a Engine, question: &ReceiveQuestion) -> Self {
        let cut = || {
            let asked = engine.compiled.vocabulary.receiving(question).ok()?;
            engine.cut(&asked, RECEIVE).ok()
        };
        let cut = if engine.sliced { cut() } else { None };
        Self { engine, cut }
    }

    /// Whether the supposed question would be delivered. `fact`: the only fact of the policies that it changes, if
    /// it changes one only; where the slice stays the same and does not read it, the answer stays no.
    pub(crate) fn would_deliver(&self, question: &ReceiveQuestion, fact: Option<&str>) -> bool {
        self.asked(question, fact).unwrap_or(false)
    }

    fn asked(&self, question: &ReceiveQuestion, fact: Option<&str>) -> Result<bool, Unfit> {
        let engine = self.engine;
        let vocabulary = &engine.compiled.vocabulary;
        let asked = vocabulary.receiving(question)?;
        if let Some(before) = &self.cut {
            let cut = engine.cut(&asked, RECEIVE)?;
            let same = Arc::ptr_eq(before, &cut) && fact.is_some_and(|fact| !cut.reads.fact(fact));
            if same || cut.refused {
                return Ok(false);
            }
        }
        let derived = engine.derive(&asked)?;
        vocabulary.known_facts(question)?;
        let facts = (&derived, consent::check(question));
        Ok(engine.ask_at(&asked, RECEIVE, facts, None, true)?.allowed)
    }
}
