//! Inspect: who is shown which facts of a case (policy action `inspect`), and who is told of a new one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use schakel_policy::asking;
use schakel_policy::facts::CaseState;
use schakel_policy::question::{InspectQuestion, Shown};
use schakel_proto::directory::Directory;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::{Fact, FactChain, RosterEntry, Statement, hidden};
use schakel_proto::wire;

use crate::roles::Caller;
use crate::state::State;

/// Whose eyes: an agency, under a directory.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    agency: &'a AgencyId,
    directory: &'a Directory,
}

impl<'a> Reader<'a> {
    /// The caller's.
    pub fn of(caller: &'a Caller) -> Self {
        Self {
            agency: caller.agency(),
            directory: caller.directory(),
        }
    }

    /// Whether the policy shows the case: its opening is.
    pub fn may_see(&self, state: &State, chain: &FactChain) -> bool {
        asking::case_state(chain, self.directory).is_some_and(|known| {
            let about = (self.directory, state.clock.now());
            let question = asking::inspect_case_question(self.agency, Arc::new(known), about);
            inspects(state, &question)
        })
    }

    /// The facts as they may be seen: of a statement that the policy does not show, its place only.
    pub fn shown(&self, state: &State, chain: &FactChain, facts: wire::CaseFacts) -> wire::CaseFacts {
        let Some(case) = asking::case_state(chain, self.directory).map(Arc::new) else {
            return facts;
        };
        let mut asked: HashMap<Shown, bool> = HashMap::new();
        let entries = facts.entries.into_iter().zip(chain.facts());
        let mut show = |(entry, fact): (wire::FactEntry, &Fact)| {
            let visible = |one: &Statement| self.sees(state, one, (chain, &case), &mut asked);
            if fact.statement().is_some_and(visible) {
                entry
            } else {
                hidden(&entry)
            }
        };
        wire::CaseFacts {
            case_ref: facts.case_ref,
            entries: entries.map(&mut show).collect(),
        }
    }

    /// Whether the policy shows a statement. What changes or ends an earlier one is shown to those who see
    /// that one.
    fn sees(
        &self,
        state: &State,
        statement: &Statement,
        (chain, case): (&FactChain, &Arc<CaseState>),
        asked: &mut HashMap<Shown, bool>,
    ) -> bool {
        let earlier = statement.body().refers_to();
        let origin = earlier.and_then(|(_, id)| chain.statements().find(|one| one.id() == id));
        [
            Some(statement).filter(|own| origin.is_none() || own.agency() == self.agency),
            origin,
        ]
        .into_iter()
        .flatten()
        .any(|one| self.shows(state, one, case, asked))
    }

    /// Whether the policy shows this statement by itself. Statements that are alike to the policy are asked once.
    fn shows(
        &self,
        state: &State,
        statement: &Statement,
        case: &Arc<CaseState>,
        asked: &mut HashMap<Shown, bool>,
    ) -> bool {
        let about = (self.directory, state.clock.now());
        let question = asking::inspect_question(self.agency, statement, Arc::clone(case), about);
        if let Some(known) = asked.get(&question.shown) {
            return *known;
        }
        let granted = inspects(state, &question);
        asked.insert(question.shown, granted);
        granted
    }
}

/// The policy's answer; a defect is told to the operator.
fn inspects(state: &State, question: &InspectQuestion) -> bool {
    let permission = state.rules.current().engine().inspect(question);
    if !permission.alarms().is_empty() {
        tracing::error!("alarm: the policy engine reported defects when asked who may see a case");
    }
    permission.granted()
}

/// Who is told of a new statement, beside its speaker.
#[derive(Debug, Default)]
pub struct Audience {
    /// Those to whom the policy shows it.
    pub shown: Vec<AgencyId>,
    /// Those who take part, or did until now, and are not shown it.
    pub others: Vec<AgencyId>,
}

/// Who is told of a statement: whoever is on the roster before or after it.
pub fn audience(
    state: &State,
    caller: &Caller,
    statement: &Statement,
    (before, after): (&FactChain, &FactChain),
) -> Audience {
    let mut told = Audience::default();
    let directory = caller.directory();
    let Some(case) = asking::case_state(after, directory).map(Arc::new) else {
        return told;
    };
    let listed = |chain: &FactChain| -> BTreeSet<AgencyId> {
        let entries = chain
            .statements()
            .filter_map(|one| one.body().roster())
            .next_back();
        let entries = entries.map(|(_, entries)| entries).unwrap_or_default();
        entries
            .iter()
            .map(|entry: &RosterEntry| entry.agency.clone())
            .collect()
    };
    let (earlier, now) = (listed(before), listed(after));
    for agency in earlier.union(&now).filter(|one| *one != caller.agency()) {
        let reader = Reader { agency, directory };
        let sees = reader.may_see(state, after);
        if sees && reader.sees(state, statement, (after, &case), &mut HashMap::new()) {
            told.shown.push(agency.clone());
        } else if sees || reader.may_see(state, before) {
            told.others.push(agency.clone());
        }
    }
    told
}
