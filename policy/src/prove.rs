//! What holds of *all* requests: the invariants in `policy/invariants/`, that no policy ever errs, and that a new
//! bundle delivers nothing which the old one did not. A counterexample comes back as a case that the engine
//! itself was asked, so that an officer can run it.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::bundle::{Bundle, BundleError};
use crate::engine::Engine;
use crate::engine::symbolic::{self, Found, Model, NoAnswer, Prover, RECEIVE, Region, Subject, Text};
use crate::question::ReceiveQuestion;

mod cases;
mod given;

pub use crate::engine::symbolic::SolverError;

/// The invariants, by their name. They are part of this program, so that no bundle can weaken them.
const INVARIANTS: [(&str, &str); 8] = [
    (
        "protected-address",
        include_str!("../invariants/protected-address.cedar"),
    ),
    ("helpline", include_str!("../invariants/helpline.cedar")),
    (
        "investigation-file",
        include_str!("../invariants/investigation-file.cedar"),
    ),
    ("roster", include_str!("../invariants/roster.cedar")),
    ("never", include_str!("../invariants/never.cedar")),
    ("emergency", include_str!("../invariants/emergency.cedar")),
    ("caller", include_str!("../invariants/caller.cedar")),
    ("confidences", include_str!("../invariants/confidences.cedar")),
];

/// The actions that invariants speak of.
const REGIONS: [&str; 2] = [RECEIVE, "active"];

/// Name of the finding that no policy errs.
pub const NEVER_ERRS: &str = "never-errors";
/// Name of the finding that a new bundle delivers nothing more than the old one.
pub const NOT_WIDER: &str = "not-wider";

const NEVER_ERRS_TEXT: [(&str, &str); 3] = [
    ("nl", "Geen regel loopt ooit op een fout."),
    ("fr", "Aucune règle n'échoue jamais."),
    ("en", "No rule ever errs: Cedar leaves out a rule that errs."),
];
const NOT_WIDER_TEXT: [(&str, &str); 3] = [
    ("nl", "De nieuwe versie bezorgt niets dat de oude niet bezorgde."),
    (
        "fr",
        "La nouvelle version ne transmet rien que l'ancienne ne transmettait pas.",
    ),
    ("en", "The new version delivers nothing that the old one did not."),
];

/// Stack of the proving thread: the symbolic compiler recurses on what it compiles.
const STACK: usize = 256 << 20;

/// Which solver, and how patient.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub program: OsString,
    /// Longest time for one question.
    pub limit: Duration,
    /// Rules of which is asked whether they can ever hold; empty: all that no case of the bundle needs.
    pub dead: Option<Vec<String>>,
    /// Names of the findings asked for; empty: all.
    pub only: Vec<String>,
}

impl Options {
    /// The program that `CVC5` names, else `cvc5`.
    pub fn new(limit: Duration) -> Self {
        Self {
            program: std::env::var_os("CVC5")
                .filter(|program| !program.is_empty())
                .unwrap_or_else(|| "cvc5".into()),
            limit,
            dead: None,
            only: Vec::new(),
        }
    }

    fn asks(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == id)
    }
}

/// Why nothing is said at all.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// No solver, or one that cannot be believed.
    #[error(transparent)]
    Solver(#[from] SolverError),
    /// The built-in bundle, by which counterexamples are judged, does not load.
    #[error("the built-in bundle: {0}")]
    BuiltIn(#[from] BundleError),
    /// The machine gave no thread.
    #[error("no thread to prove in: {0}")]
    Thread(String),
}

/// The names that `Options::only` may hold.
pub fn names() -> Vec<&'static str> {
    let invariants = INVARIANTS.iter().map(|(name, _)| *name);
    invariants.chain([NEVER_ERRS]).collect()
}

/// What is known of one invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds of every request that the engine can make.
    Proved,
    /// It does not: here is one.
    Broken(Counterexample),
    /// The solver did not answer in time, or failed.
    NotDecided(String),
    /// The invariant or the bundle cannot be put to the solver.
    NotExpressible(String),
}

/// A request that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// One line in the case format, if the engine decides it as the solver says.
    pub case: Option<String>,
    /// What the engine answered to it.
    pub answer: String,
    /// The policy that errs, where that is what is broken.
    pub policy: Option<String>,
    /// The request as the solver has it.
    pub symbolic: String,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name, e.g. `helpline`.
    pub id: String,
    /// What it says, by language.
    pub sentences: Vec<(String, String)>,
    /// What is known.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Finding {
    /// Whether it is proved.
    pub fn proved(&self) -> bool {
        self.verdict == Verdict::Proved
    }

    /// What it says in English.
    pub fn sentence(&self) -> &str {
        let english = self.sentences.iter().find(|(language, _)| language == "en");
        english.map_or("", |(_, sentence)| sentence)
    }
}

/// Everything that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Invariants in order, then that no policy errs.
    pub findings: Vec<Finding>,
    /// What an officer should look at although nothing is broken.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether all of it is proved.
    pub fn proved(&self) -> bool {
        self.findings.iter().all(Finding::proved)
    }
}

/// Proves what can be proved of a bundle.
pub fn prove(bundle: &Bundle, options: &Options) -> Result<Report, ProveError> {
    on_big_stack(|| {
        let reference = Engine::untested(&Bundle::built_in()?);
        let mut prover = Prover::start(options.program.clone(), options.limit)?;
        Ok(report(&mut prover, bundle, &reference, options))
    })
}

/// Whether the new bundle delivers anything that the old one does not.
pub fn not_wider(old: &Bundle, new: &Bundle, options: &Options) -> Result<Finding, ProveError> {
    on_big_stack(|| {
        let mut prover = Prover::start(options.program.clone(), options.limit)?;
        let begun = Instant::now();
        let verdict = wider(&mut prover, old, new).unwrap_or_else(no_answer);
        Ok(Finding {
            id: NOT_WIDER.to_owned(),
            sentences: said(NOT_WIDER_TEXT),
            verdict,
            took: begun.elapsed(),
        })
    })
}

/// What proofs assume of every request, to be held against the requests that the engine makes.
pub struct Assumption<'a> {
    engine: &'a Engine,
    condition: symbolic::Assumption,
}

impl<'a> Assumption<'a> {
    /// What is assumed of the requests of this engine.
    pub fn new(engine: &'a Engine) -> Result<Self, String> {
        let condition = symbolic::Assumption::new(engine)?;
        Ok(Self { engine, condition })
    }

    /// Whether it holds of the engine's request for this question; `None`: the engine denies it before any policy
    /// is asked.
    pub fn holds(&self, question: &ReceiveQuestion) -> Option<bool> {
        self.condition.holds(self.engine, question)
    }

    /// Whether the policies, rewritten as the solver gets them, allow that request; `None` as above.
    pub fn allows(&self, question: &ReceiveQuestion) -> Option<bool> {
        self.condition.allows(self.engine, question)
    }
}

fn on_big_stack<T: Send>(work: impl FnOnce() -> Result<T, ProveError> + Send) -> Result<T, ProveError> {
    let failed = |what: &str| ProveError::Thread(what.to_owned());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let running = thread
            .spawn_scoped(scope, work)
            .map_err(|error| failed(&error.to_string()))?;
        running.join().map_err(|_| failed("it ended early"))?
    })
}

fn said(texts: [(&str, &str); 3]) -> Vec<(String, String)> {
    texts
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .to_vec()
}

fn no_answer(none: NoAnswer) -> Verdict {
    match none {
        NoAnswer::Unsayable(why) => Verdict::NotExpressible(why),
        NoAnswer::Timeout | NoAnswer::Failed(_) => Verdict::NotDecided(none.to_string()),
    }
}

/// What counterexamples are tried on and judged by.
struct Bench<'a> {
    bundle: &'a Bundle,
    engine: Engine,
    reference: &'a Engine,
}

fn report(prover: &mut Prover, bundle: &Bundle, reference: &Engine, options: &Options) -> Report {
    let every = options.dead.is_some() || options.asks(NEVER_ERRS);
    let actions: &[&str] = if every { &[] } else { &REGIONS };
    let subject = Subject::new(bundle.compiled(), actions);
    let bench = Bench {
        bundle,
        engine: Engine::untested(bundle),
        reference,
    };
    let mut findings = Vec::new();
    let mut warnings = moved_cells(bundle, reference.bundle());
    for (name, text) in INVARIANTS.into_iter().filter(|(name, _)| options.asks(name)) {
        let begun = Instant::now();
        let text = Text::parse(text);
        let sentences = text.as_ref().map(sentences).unwrap_or_default();
        let verdict = match (&text, &subject) {
            (Err(why), _) => Verdict::NotExpressible(why.clone()),
            (_, Err(none)) => no_answer(none.clone()),
            (Ok(text), Ok(subject)) => {
                invariant(prover, subject, &bench, (name, text)).unwrap_or_else(no_answer)
            }
        };
        findings.push(Finding {
            id: name.to_owned(),
            sentences,
            verdict,
            took: begun.elapsed(),
        });
    }
    if options.asks(NEVER_ERRS) {
        let begun = Instant::now();
        let verdict = match &subject {
            Ok(subject) => never_errs(prover, subject, &bench).unwrap_or_else(no_answer),
            Err(none) => no_answer(none.clone()),
        };
        findings.push(Finding {
            id: NEVER_ERRS.to_owned(),
            sentences: said(NEVER_ERRS_TEXT),
            verdict,
            took: begun.elapsed(),
        });
    }
    if let Ok(subject) = &subject {
        if options.only.is_empty() {
            warnings.extend(empty(prover, subject));
        }
        if let Some(rules) = &options.dead {
            warnings.extend(dead_rules(prover, subject, &bench, rules));
        }
    }
    Report { findings, warnings }
}

fn sentences(text: &Text) -> Vec<(String, String)> {
    let said = |language: &str| Some((language.to_owned(), text.annotations.get(language)?.clone()));
    ["nl", "fr", "en"].into_iter().filter_map(said).collect()
}

/// Cells that are `never` in the built-in matrix and something else in this one: no proof covers them any more.
fn moved_cells(bundle: &Bundle, built_in: &Bundle) -> Vec<String> {
    let cells = crate::compare::cells(built_in, bundle);
    let opened = cells
        .iter()
        .filter(|cell| cell.before == "never" && !cell.after.is_empty());
    let say = |cell: &crate::compare::CellChange| {
        format!(
            "the cell {} x {} is {} here and never in the built-in bundle: no invariant covers it",
            cell.category, cell.role, cell.after
        )
    };
    opened.map(say).collect()
}

fn invariant(
    prover: &mut Prover,
    subject: &Subject,
    bench: &Bench<'_>,
    (name, text): (&str, &Text),
) -> Result<Verdict, NoAnswer> {
    let sentence = text.annotations.get("en").cloned().unwrap_or_default();
    for region in subject.regions(text)? {
        let model = match prover.allowed(subject, &region)? {
            Found::Nothing => continue,
            Found::Unreadable(symbolic) => return Ok(Verdict::Broken(counterexample(None, symbolic, None))),
            Found::Request(model) => model,
        };
        let case = if region.action == RECEIVE {
            let breaks = |question: &ReceiveQuestion| {
                bench.engine.receive(question).delivers()
                    && symbolic::concerns(&bench.engine, &region, question) == Some(true)
            };
            given::question(&model, &breaks).or_else(|| cases::among_own(bench, &breaks))
        } else {
            cases::with_entry(bench, &model)
        };
        let line = case.map(|given| cases::line(name, &given, &sentence, bench));
        return Ok(Verdict::Broken(counterexample(line, model.symbolic, None)));
    }
    Ok(Verdict::Proved)
}

/// The case and what was answered to it, with the request as the solver has it.
fn counterexample(
    line: Option<(String, String)>,
    symbolic: String,
    policy: Option<String>,
) -> Counterexample {
    let (case, answer) = line.map_or((None, String::new()), |(case, answer)| (Some(case), answer));
    Counterexample {
        case,
        answer,
        policy,
        symbolic,
    }
}

fn never_errs(prover: &mut Prover, subject: &Subject, bench: &Bench<'_>) -> Result<Verdict, NoAnswer> {
    let schema = bench.bundle.files().get("schakel.cedarschema");
    let schema = schema.map_or("", |bytes| std::str::from_utf8(bytes).unwrap_or(""));
    if let Some((policy, read)) = subject.not_given(schema)?.into_iter().next() {
        let symbolic = format!("{policy} reads {read}, which the engine does not give");
        return Ok(Verdict::Broken(erring(bench, policy, None, symbolic)));
    }
    let actions: Vec<String> = subject.actions().map(str::to_owned).collect();
    for action in actions {
        let Some((policy, found)) = prover.errors(subject, &action)? else {
            continue;
        };
        let broken = match found {
            Found::Request(model) => erring(bench, policy, Some(&model), model.symbolic.clone()),
            Found::Unreadable(symbolic) => erring(bench, policy, None, symbolic),
            Found::Nothing => continue,
        };
        return Ok(Verdict::Broken(broken));
    }
    Ok(Verdict::Proved)
}

/// A rule that errs, with a case on which it does if one can be had.
fn erring(bench: &Bench<'_>, policy: String, model: Option<&Model>, symbolic: String) -> Counterexample {
    let named = format!("`{policy}`");
    let errs = |question: &ReceiveQuestion| {
        let ruling = bench.engine.receive(question);
        ruling.alarms().iter().any(|alarm| alarm.contains(&named))
    };
    let given = model.and_then(|model| given::question(model, &errs));
    let given = given.or_else(|| cases::among_own(bench, &errs));
    let why = format!("The rule {policy} errs here, and Cedar leaves out a rule that errs.");
    let line = given.map(|given| cases::line(NEVER_ERRS, &given, &why, bench));
    counterexample(line, symbolic, Some(policy))
}

fn wider(prover: &mut Prover, old: &Bundle, new: &Bundle) -> Result<Verdict, NoAnswer> {
    if old.compiled().vocabulary.members("Role") != new.compiled().vocabulary.members("Role")
        || old.files().get("schakel.cedarschema") != new.files().get("schakel.cedarschema")
    {
        let why = "the two bundles have different schemas: their requests cannot be compared";
        return Err(NoAnswer::Unsayable(why.to_owned()));
    }
    let circles = |bundle: &Bundle| -> Vec<(String, Vec<String>)> {
        let roles = &bundle.matrix().roles;
        roles
            .iter()
            .map(|(role, entry)| (role.clone(), entry.circles.clone()))
            .collect()
    };
    if circles(old) != circles(new) || old.matrix().lists != new.matrix().lists {
        let why = "circles of roles or lists of categories changed: the same agency or part is then another one \
                   for the rules, and the two bundles cannot be compared; compare them on cases";
        return Err(NoAnswer::Unsayable(why.to_owned()));
    }
    let subject = |bundle: &Bundle| Subject::new(bundle.compiled(), &[RECEIVE]);
    let (before, after) = (subject(old)?, subject(new)?);
    let model = match prover.widened(&before, &after)? {
        Found::Nothing => return Ok(Verdict::Proved),
        Found::Unreadable(symbolic) => return Ok(Verdict::Broken(counterexample(None, symbolic, None))),
        Found::Request(model) => model,
    };
    let (reference, engine) = (Engine::untested(old), Engine::untested(new));
    let more = |question: &ReceiveQuestion| {
        engine.receive(question).delivers() && !reference.receive(question).delivers()
    };
    let case = given::question(&model, &more);
    let bench = Bench {
        bundle: new,
        engine: Engine::untested(new),
        reference: &reference,
    };
    let sentence = "The version in force does not deliver this; the new one would.";
    let line = case.map(|given| cases::line(NOT_WIDER, &given, sentence, &bench));
    Ok(Verdict::Broken(counterexample(line, model.symbolic, None)))
}

/// A bundle that delivers nothing keeps every invariant, and for no merit of its rules.
fn empty(prover: &mut Prover, subject: &Subject) -> Option<String> {
    let everything = Text::parse("permit (principal, action == Action::\"receive\", resource);").ok()?;
    let regions: Vec<Region> = subject.regions(&everything).ok()?;
    let nothing = regions
        .iter()
        .all(|region| matches!(prover.allowed(subject, region), Ok(Found::Nothing)));
    nothing.then(|| "the bundle delivers nothing at all: what is proved of it says little".to_owned())
}

/// Rules that never hold. A rule that some case of the bundle needs is alive.
fn dead_rules(prover: &mut Prover, subject: &Subject, bench: &Bench<'_>, rules: &[String]) -> Vec<String> {
    let mut alive = std::collections::BTreeSet::new();
    for (_, case) in bench.bundle.cases().values().flatten() {
        let ruling = bench.engine.receive(&case.given);
        alive.extend(ruling.policies().iter().cloned());
    }
    let named = |id: &str| rules.is_empty() || rules.iter().any(|rule| rule == id);
    let suspect = |id: &str| named(id) && !alive.contains(id);
    let actions: Vec<String> = subject.actions().map(str::to_owned).collect();
    let mut warnings = Vec::new();
    for action in actions {
        match prover.dead(subject, &action, &suspect) {
            Ok(dead) => warnings.extend(dead.iter().map(|id| format!("the rule {id} can never hold"))),
            Err(none) => warnings.push(format!("dead rules of {action} were not all looked for: {none}")),
        }
    }
    warnings
}
