//! What the bundle's own cases are worth: every rule is taken out once, every cell of the matrix gets each other
//! verdict once, and some case must fail. A change that no case notices is searched for a question that would
//! tell (`reach`); where there is none, the cell is unreachable or the change makes no difference.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Effect, PolicyId, PolicySet, SlotId};

use super::compile::{Compiled, link_id};
use super::rule::{Rule, Scope};
use super::slice::Index;
use super::{Engine, reach};
use crate::bundle::Bundle;
use crate::case::Case;
use crate::case::statement::StatementCase;
use crate::matrix::Verdict;
use crate::question::ReceiveQuestion;
use crate::ruling::Ruling;

/// What became of one change.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// A case fails: the first one.
    Noticed(String),
    /// No case fails. For a cell: with a question that comes out otherwise.
    Survives(Option<Box<ReceiveQuestion>>),
    /// No question gets as far as this cell: a gate or wall comes first, whatever its verdict.
    Unreachable,
    /// Questions get to this cell, so many were asked, but this change alters no ruling.
    NoDifference(usize),
}

/// The changes of one cell.
#[derive(Clone, Debug)]
pub struct CellFates {
    /// Category.
    pub category: String,
    /// Role.
    pub role: String,
    /// The verdict it has.
    pub verdict: Verdict,
    /// What becomes of each other verdict.
    pub fates: Vec<(Verdict, Fate)>,
}

/// What all changes led to.
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    /// Rules and templates by id.
    pub rules: BTreeMap<String, Fate>,
    /// Cells by category and role.
    pub cells: BTreeMap<(String, String), CellFates>,
}

impl Mutations {
    /// Changes that no case notices though they matter.
    pub fn surviving(&self) -> usize {
        let cells = self
            .cells
            .values()
            .flat_map(|cell| cell.fates.iter().map(|(_, f)| f));
        let survives = |fate: &&Fate| matches!(fate, Fate::Survives(_));
        self.rules.values().chain(cells).filter(survives).count()
    }
}

/// A case with what the bundle rules on it.
struct Known<'a> {
    case: &'a Case,
    ruling: Ruling,
}

/// One change to be made.
enum Job<'a> {
    Rule(&'a Rule),
    Cell(&'a str, &'a str, Verdict),
}

impl Job<'_> {
    fn id(&self) -> String {
        match self {
            Self::Rule(rule) => rule.id.clone(),
            Self::Cell(category, role, _) => link_id(category, role),
        }
    }
}

/// Changes rules and cells one at a time, on as many threads as there are cores: those whose id (of a cell
/// `matrix:CATEGORY:ROLE`) contains `only`.
pub fn run(bundle: &Bundle, only: &str) -> Mutations {
    let engine = Engine::untested(bundle);
    let compiled = bundle.compiled();
    let of_files = bundle.cases().values().flatten();
    let known: Vec<Known<'_>> = of_files
        .map(|(_, case)| Known {
            case,
            ruling: engine.receive(&case.given),
        })
        .collect();
    let statements: Vec<&StatementCase> = bundle.statement_cases().iter().map(|(_, case)| case).collect();
    let own = compiled
        .rules
        .values()
        .filter(|rule| !rule.id.starts_with("matrix:"));
    let cells = compiled.matrix.cells.iter().flat_map(|(category, row)| {
        row.iter()
            .map(|(role, cell)| Job::Cell(category, role, cell.verdict))
    });
    let jobs = own.map(Job::Rule).chain(cells);
    let jobs: Vec<Job<'_>> = jobs.filter(|job| job.id().contains(only)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Mutations::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut bench = Bench::new(bundle);
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bench.job(job, &known, &statements, &found);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The bundle's engine, and one whose policies are changed and asked all at once: slices would be made anew for
/// each change, and each is asked a few questions only.
pub(super) struct Bench {
    pub(super) pristine: Engine,
    pub(super) changed: Engine,
}

impl Bench {
    fn new(bundle: &Bundle) -> Self {
        let pristine = Engine::untested(bundle);
        Self {
            changed: Engine::untested(bundle).unsliced(),
            pristine,
        }
    }

    fn with(&mut self, all: PolicySet, rules: HashMap<String, Rule>) {
        let from = &self.pristine.compiled;
        self.changed.compiled = Arc::new(Compiled {
            schema: from.schema.clone(),
            vocabulary: from.vocabulary.clone(),
            matrix: from.matrix.clone(),
            index: Index::default(),
            rules,
            all,
        });
    }

    /// Without one rule; a template goes with all its links.
    fn without(&mut self, rule: &Rule) {
        let from = &self.pristine.compiled;
        let (mut all, mut rules) = (from.all.clone(), from.rules.clone());
        let gone: Vec<PolicyId> = if rule.template {
            let linked = |p: &&cedar_policy::Policy| {
                p.template_id()
                    .is_some_and(|id| id.as_ref() as &str == rule.id.as_str())
            };
            all.policies().filter(linked).map(|p| p.id().clone()).collect()
        } else {
            vec![PolicyId::new(&rule.id)]
        };
        for id in gone {
            rules.remove::<str>(id.as_ref());
            let removed = if rule.template {
                all.unlink(id)
            } else {
                all.remove_static(id)
            };
            debug_assert!(removed.is_ok(), "{removed:?}");
        }
        self.with(all, rules);
    }

    /// With another verdict in one cell, and without the other cells: a question about this one is in none of them.
    pub(super) fn with_verdict(&mut self, category: &str, role: &str, verdict: Verdict) {
        let from = &self.pristine.compiled;
        let id = link_id(category, role);
        let uids = (
            from.vocabulary.uid("Role", role),
            from.vocabulary.uid("Category", category),
        );
        let ((Some(role), Some(category)), Some(template)) = (uids, from.rules.get(verdict.as_str())) else {
            return;
        };
        let mut all = PolicySet::new();
        let own = from
            .all
            .policies()
            .filter(|policy| policy.template_id().is_none());
        let mut whole = own.cloned().all(|policy| all.add(policy).is_ok());
        whole &= from
            .all
            .templates()
            .all(|template| all.add_template(template.clone()).is_ok());
        let mut rules = from.rules.clone();
        rules.retain(|id, _| !id.starts_with("matrix:"));
        let mut link = template.clone();
        link.template = false;
        link.id.clone_from(&id);
        link.principal = Scope::In(role.clone());
        link.resource = Scope::In(category.clone());
        let values = HashMap::from([
            (SlotId::principal(), role.clone()),
            (SlotId::resource(), category.clone()),
        ]);
        whole &= all
            .link(PolicyId::new(verdict.as_str()), PolicyId::new(&id), values)
            .is_ok();
        debug_assert!(whole, "{id} cannot be linked anew");
        rules.insert(id, link);
        self.with(all, rules);
    }

    fn job(
        &mut self,
        job: &Job<'_>,
        known: &[Known<'_>],
        statements: &[&StatementCase],
        found: &Mutex<Mutations>,
    ) {
        match job {
            Job::Rule(rule) => {
                let fate = self.rule(rule, known, statements);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.rules.insert(rule.id.clone(), fate);
            }
            Job::Cell(category, role, verdict) => {
                let cell = CellFates {
                    category: (*category).to_owned(),
                    role: (*role).to_owned(),
                    verdict: *verdict,
                    fates: self.cell(category, role, *verdict, known),
                };
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found
                    .cells
                    .insert(((*category).to_owned(), (*role).to_owned()), cell);
            }
        }
    }

    fn rule(&mut self, rule: &Rule, known: &[Known<'_>], statements: &[&StatementCase]) -> Fate {
        self.without(rule);
        let fails = |known: &&Known<'_>| self.fails(known.case);
        let first = known.iter().filter(|known| matters(rule, known)).find(fails);
        let said = |case: &&&StatementCase| case.difference(&self.changed).is_some();
        let id = first
            .map(|known| &known.case.id)
            .or_else(|| statements.iter().find(said).map(|case| &case.id));
        id.map_or(Fate::Survives(None), |id| Fate::Noticed(id.clone()))
    }

    fn cell(
        &mut self,
        category: &str,
        role: &str,
        verdict: Verdict,
        known: &[Known<'_>],
    ) -> Vec<(Verdict, Fate)> {
        let here = |known: &&Known<'_>| {
            known.case.given.part.category == category && known.case.given.recipient.role == role
        };
        let cases: Vec<&Case> = known.iter().filter(here).map(|known| known.case).collect();
        let mut fates = Vec::new();
        for other in Verdict::ALL.into_iter().filter(|v| *v != verdict) {
            self.with_verdict(category, role, other);
            let first = cases.iter().find(|case| self.fails(case));
            let fate = first.map_or(Fate::Survives(None), |case| Fate::Noticed(case.id.clone()));
            fates.push((other, fate));
        }
        if fates.iter().any(|(_, fate)| matches!(fate, Fate::Survives(_))) {
            reach::search(self, category, role, &mut fates);
        }
        fates
    }

    fn fails(&self, case: &Case) -> bool {
        case.difference(&self.changed.receive(&case.given)).is_some()
    }
}

/// Whether a case can notice that a rule is gone: only where it determined the ruling, adds one of the ruling's
/// obligations, or defines a word. A forbid that did not hold and a permit beside a forbid change nothing.
fn matters(rule: &Rule, known: &Known<'_>) -> bool {
    let ruling = &known.ruling;
    if rule.template {
        return ruling.policies().iter().any(|id| id.starts_with("matrix:"));
    }
    let adds = rule.obligations.iter().any(|code| {
        let fixed = code.split('{').next().unwrap_or(code);
        ruling.obligations().iter().any(|o| o.starts_with(fixed))
    });
    let defines = rule.step.is_none() && rule.obligations.is_empty() && rule.effect == Effect::Permit;
    adds || defines || ruling.policies().contains(&rule.id)
}
