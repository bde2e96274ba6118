//! One decision, from typed question to ruling (and its explanation): with the default bundle, with 1,000 and
//! 10,000 further policies about other agencies, roles and categories, and with 100 to 100,000 cases in the
//! facts. In the same run: the whole policy set handed to the Cedar authorizer. docs/performance.md has the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement that cannot be set up stops"
)]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use schakel_policy::bundle::Bundle;
use schakel_policy::case::Case;
use schakel_policy::engine::Engine;
use schakel_policy::explain::{Audience, explain};
use schakel_policy::facts::{CaseState, Participant};
use schakel_policy::question::ReceiveQuestion;
use schakel_policy::ruling::Outcome;
use schakel_proto::ids::CaseRef;

const CASES: &str = include_str!("../cases/policy-cases.jsonl");
/// Cases in the facts where policies vary.
const USUAL_CASES: usize = 1_000;
/// Delivered: facts from a police zone to the prosecutor, on a legal duty.
const DELIVERED: &str = "PC-001";
/// Refused: consent was given, but the investigation is secret and the prosecutor released nothing.
const REFUSED: &str = "PC-041";

fn case(id: &str) -> ReceiveQuestion {
    let line = CASES.lines().find(|l| l.contains(&format!("\"{id}\"")));
    Case::parse(line.expect("the case is there")).unwrap().given
}

/// Cases by id, as broker and agents hold them, and the question that every one of them is asked.
struct Facts {
    cases: HashMap<CaseRef, Arc<CaseState>>,
    question: ReceiveQuestion,
    asked: Cell<usize>,
}

/// The reference of the n-th case: 16 bytes without an order, as they are.
fn reference(n: usize) -> CaseRef {
    let mixed = (n as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    CaseRef::from_bytes(mixed.to_be_bytes())
}

/// Recipients of a packet, and its parts.
const RECIPIENTS: usize = 3;
const PARTS: usize = 3;

/// The agency of a role in the n-th case; a network of some hundred agencies.
fn agency(role: &str, n: usize) -> String {
    format!("{role}-{}", n % 60)
}

impl Facts {
    /// Each case with so many agencies of the recipient's role.
    fn new(count: usize, question: &ReceiveQuestion, recipients: usize) -> Self {
        let seat = |id: String| Participant {
            id: id.into(),
            status: "active".into(),
            ..Participant::default()
        };
        let cases: HashMap<CaseRef, Arc<CaseState>> = (0..count)
            .map(|n| {
                let roles = [
                    "fjc",
                    "case_director",
                    &question.sender.role,
                    &question.recipient.role,
                ];
                let others = (1..recipients).map(|k| agency(&question.recipient.role, n + k));
                let seats = roles.iter().map(|role| agency(role, n)).chain(others);
                let case = CaseState {
                    participants: seats.map(seat).collect(),
                    ..CaseState::clone(&question.case)
                };
                (reference(n), Arc::new(case))
            })
            .collect();
        Self {
            cases,
            question: question.clone(),
            asked: Cell::new(0),
        }
    }

    /// The same for each recipient of a packet about another case.
    fn packet(&self) -> [ReceiveQuestion; RECIPIENTS] {
        let first = self.next();
        let n = self.asked.get().wrapping_mul(7_919) % self.cases.len();
        std::array::from_fn(|k| {
            let mut question = first.clone();
            question.recipient.id = agency(&question.recipient.role, n + k);
            question
        })
    }

    /// Another case, other agencies and another moment each time.
    fn next(&self) -> ReceiveQuestion {
        let turn = self.asked.get() + 1;
        self.asked.set(turn);
        let n = turn.wrapping_mul(7_919) % self.cases.len();
        let mut question = self.question.clone();
        // The packet says which case it is about: its id is at hand, the case is where the facts are.
        question.case = Arc::clone(&self.cases[&reference(n)]);
        question.sender.id = agency(&question.sender.role, n);
        question.recipient.id = agency(&question.recipient.role, n);
        question.now = question.now.plus_millis(turn as i64 % 86_400_000);
        question
    }
}

/// The default bundle with about `count` further policies: one fifth rules about single other agencies, the
/// rest cells of further roles and categories.
fn crowded(count: usize) -> Bundle {
    if count == 0 {
        return Bundle::built_in().unwrap();
    }
    let mut files = Bundle::built_in_files();
    files.retain(|name, _| !name.starts_with("cases/")); // room for more rules
    let mut text = |name: &str, change: &dyn Fn(String) -> String| {
        let old = String::from_utf8(files.remove(name).unwrap_or_default()).unwrap();
        files.insert(name.to_owned(), change(old).into_bytes());
    };
    let mut rules = String::new();
    for n in 0..count / 5 {
        writeln!(
            rules,
            "@id(\"X{n}\")@step(\"12.{n}\")@outcome(\"withhold\")@reason(\"WITHHOLD_NOT_RELEVANT\")@legal(\"model\")\
             @nl(\"x\")@fr(\"x\")@en(\"x\")\n\
             forbid(principal==Agency::\"elsewhere-{n}\",action==Action::\"receive\",resource);"
        )
        .unwrap();
    }
    text("policies/elsewhere.cedar", &|_| rules.clone());
    // (16 + more) roles x (17 + more) categories
    let more = (0..)
        .find(|more| (16 + more) * (17 + more) >= 16 * 17 + count * 4 / 5)
        .unwrap();
    let listed = |letter: &str| (0..more).fold(String::new(), |all, n| format!("{all}, \"{letter}{n}\""));
    text("schakel.cedarschema", &|schema| {
        let schema = schema.replacen("\"helpline\"\n", &format!("\"helpline\"{}\n", listed("r")), 1);
        schema.replacen(
            "\"aggregate_stats\"\n",
            &format!("\"aggregate_stats\"{}\n", listed("c")),
            1,
        )
    });
    text("matrix.toml", &|matrix| with_cells(&matrix, more));
    let names = |letter: &str| (0..more).fold(String::new(), |all, n| format!("{all}{letter}{n} = \"x\"\n"));
    for language in ["nl", "fr", "en"] {
        text(&format!("texts/{language}.toml"), &|texts| {
            let texts = texts.replacen("[role]\n", &format!("[role]\n{}", names("r")), 1);
            texts.replacen("[category]\n", &format!("[category]\n{}", names("c")), 1)
        });
    }
    Bundle::from_files(files).unwrap()
}

/// The matrix with as many more roles and categories.
fn with_cells(matrix: &str, more: usize) -> String {
    let cell = |n: usize| {
        let verdict = ["deliver", "only-with-consent", "never"][n % 3];
        format!("{{verdict=\"{verdict}\",reason=\"R24\"}}")
    };
    let mut roles: Vec<String> = schakel_roles(matrix);
    let mut out = String::new();
    for line in matrix.lines() {
        let begins = line.starts_with("[cells.");
        writeln!(out, "{line}").unwrap();
        if begins {
            for n in 0..more {
                writeln!(out, "r{n}={}", cell(n)).unwrap();
            }
        }
    }
    roles.extend((0..more).map(|n| format!("r{n}")));
    for n in 0..more {
        writeln!(out, "[roles.r{n}]\nside=\"neutral\"\ncircles=[]").unwrap();
    }
    for c in 0..more {
        writeln!(out, "[cells.c{c}]").unwrap();
        for (n, role) in roles.iter().enumerate() {
            writeln!(out, "{role}={}", cell(n + c)).unwrap();
        }
    }
    out
}

fn schakel_roles(matrix: &str) -> Vec<String> {
    let role = |line: &str| Some(line.strip_prefix("[roles.")?.strip_suffix(']')?.to_owned());
    matrix.lines().filter_map(role).collect()
}

/// Makes something on another thread, as a service does that loads a bundle on one thread and decides on others:
/// the heap of the thread that is measured holds no rests of the making.
fn elsewhere<T: Send>(make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(make).join().unwrap())
}

fn decides(engine: &Engine, facts: &Facts, outcome: Outcome) {
    for _ in 0..3 {
        assert_eq!(engine.receive(&facts.next()).outcome(), outcome);
    }
}

fn measure(c: &mut Criterion, group: &str, size: usize, engine: &Engine, cases: usize) {
    let delivered = elsewhere(|| Facts::new(cases, &case(DELIVERED), 1));
    let refused = elsewhere(|| Facts::new(cases, &case(REFUSED), 1));
    decides(engine, &delivered, Outcome::Deliver);
    decides(engine, &refused, Outcome::Withhold);
    let told = explain(engine, &refused.next(), "nl", Audience::Sender).unwrap();
    assert!(!told.hints().is_empty() && told.to_string().contains("28quinquies"));
    let mut group = c.benchmark_group(group);
    group.bench_function(BenchmarkId::new("question alone", size), |b| {
        b.iter(|| black_box(delivered.next()));
    });
    group.bench_function(BenchmarkId::new("delivered", size), |b| {
        b.iter(|| black_box(engine.receive(&delivered.next())));
    });
    let several = elsewhere(|| Facts::new(cases, &case(DELIVERED), RECIPIENTS));
    for question in several.packet() {
        assert_eq!(engine.receive(&question).outcome(), Outcome::Deliver);
    }
    // Nine decisions: three parts of one category to each of three agencies.
    group.bench_function(BenchmarkId::new("packet of 3 parts to 3, delivered", size), |b| {
        b.iter(|| {
            for question in several.packet() {
                for _part in 0..PARTS {
                    let _ruling = black_box(engine.receive(black_box(&question)));
                }
            }
        });
    });
    group.bench_function(BenchmarkId::new("refused", size), |b| {
        b.iter(|| black_box(engine.receive(&refused.next())));
    });
    group.bench_function(BenchmarkId::new("refused, explained", size), |b| {
        b.iter(|| {
            black_box(
                explain(engine, &refused.next(), "nl", Audience::Sender)
                    .unwrap()
                    .to_string(),
            )
        });
    });
    group.finish();
}

fn decide(c: &mut Criterion) {
    for count in [0, 1_000, 10_000] {
        let bundle = elsewhere(|| crowded(count));
        let engine = elsewhere(|| Engine::untested(&bundle));
        measure(c, "further policies", count, &engine, USUAL_CASES);
        let whole = Engine::untested(&bundle).unsliced();
        let facts = elsewhere(|| Facts::new(USUAL_CASES, &case(DELIVERED), 1));
        decides(&whole, &facts, Outcome::Deliver);
        let mut group = c.benchmark_group("further policies");
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.bench_function(BenchmarkId::new("delivered, whole set", count), |b| {
            b.iter(|| black_box(whole.receive(&facts.next())));
        });
        group.finish();
    }
    let engine = elsewhere(|| Engine::untested(&Bundle::built_in().unwrap()));
    for cases in [100, 1_000, 10_000, 100_000] {
        measure(c, "cases in the facts", cases, &engine, cases);
    }
    let all: Vec<ReceiveQuestion> = CASES.lines().map(|l| Case::parse(l).unwrap().given).collect();
    c.bench_function("the 107 example cases, all", |b| {
        b.iter(|| {
            for question in &all {
                let _ruling = black_box(engine.receive(question));
            }
        });
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
