//! Properties that the specification states, on questions drawn over the whole vocabulary.
//! `SCHAKEL_QUESTIONS` sets how many are drawn (default 100,000 over all properties together), `SCHAKEL_SEED` where
//! drawing starts. A failure names the seed of its question.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_policy::facts::CaseState;
use schakel_policy::question::ReceiveQuestion;
use schakel_policy::ruling::{Outcome, Ruling};

use crate::oracle;
use crate::{engine, generator};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn count() -> u64 {
    from_environment("SCHAKEL_QUESTIONS", 100_000)
}

/// The seed of the first question of a test; each test has its own range.
fn seed(test: u64) -> u64 {
    from_environment("SCHAKEL_SEED", 0).wrapping_add(test << 32)
}

/// Draws questions on as many threads as there are cores and hands each, with its seed, to `check`.
fn each(
    seed: u64,
    count: u64,
    check: impl Fn(u64, schakel_policy::question::ReceiveQuestion, &mut StdRng) + Sync,
) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let check = &check;
            scope.spawn(move || {
                for n in (thread..count).step_by(threads as usize) {
                    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(n));
                    let question = generator::question(&mut rng);
                    check(n, question, &mut rng);
                }
            });
        }
    });
}

/// What the bundle's text says of a rule: whether it permits, and its step as one number.
fn said(bundle: &Bundle) -> BTreeMap<String, (bool, u64)> {
    let mut all = BTreeMap::new();
    let policies = bundle
        .files()
        .iter()
        .filter(|(name, _)| name.starts_with("policies/"));
    for (_, bytes) in policies {
        let text = std::str::from_utf8(bytes).unwrap();
        for rule in text.split("@id(\"").skip(1) {
            let id = rule.split('"').next().unwrap();
            let step = rule
                .split_once("@step(\"")
                .map_or("0", |(_, rest)| rest.split('"').next().unwrap());
            let (whole, fraction) = step.split_once('.').unwrap_or((step, "0"));
            let step = format!("{whole}{fraction:0<6}").parse().unwrap();
            let permits = rule.lines().any(|line| line.starts_with("permit"));
            all.insert(id.to_owned(), (permits, step));
        }
    }
    all
}

/// Default deny and first hit: what was delivered names a rule that permits, what was refused a rule that forbids,
/// and the rule that decided is the one with the lowest step of those that hold.
fn rests_on_rules(
    rules: &BTreeMap<String, (bool, u64)>,
    question: &ReceiveQuestion,
    ruling: &Ruling,
) -> bool {
    let cell = |id: &String| -> String {
        let cell = id.strip_prefix("matrix:").map(|_| {
            let cells = &engine().bundle().matrix().cells;
            cells[&question.part.category][&question.recipient.role]
                .verdict
                .as_str()
        });
        cell.map_or_else(|| id.clone(), str::to_owned)
    };
    let named = || {
        ruling
            .policies()
            .iter()
            .filter(|id| !id.starts_with("schema:"))
            .map(cell)
    };
    let permits = ruling.delivers()
        || ruling.outcome() == Outcome::HoldForConsent
        || ruling.reason().starts_with("WITHHOLD_CONSENT_");
    let none_needed = ruling.reason() == "DENY_UNKNOWN_VALUE";
    (none_needed || named().next().is_some())
        && named().all(|id| rules[&id].0 == permits)
        && named().map(|id| rules[&id].1).is_sorted()
}

#[test]
fn p15_engine_and_oracle_agree_on_outcome_reason_and_obligations() {
    let (engine, bundle) = (engine(), engine().bundle());
    let rules = said(bundle);
    let seen: Mutex<BTreeMap<String, u64>> = Mutex::default();
    each(seed(0), count() * 6 / 10, |n, question, _| {
        let ruling = engine.receive(&question);
        let expected = oracle::decide(&question, bundle.matrix());
        let got = (
            ruling.outcome().as_str(),
            ruling.reason().to_owned(),
            ruling.obligations().clone(),
        );
        assert_eq!(
            got,
            expected,
            "seed {n}: by {:?}\n{question:#?}",
            ruling.policies()
        );
        assert!(ruling.alarms().is_empty(), "seed {n}: {:?}", ruling.alarms());
        assert!(
            rests_on_rules(&rules, &question, &ruling),
            "seed {n}: {:?}",
            ruling.policies()
        );
        assert!(
            walls_hold(&question, &ruling),
            "seed {n}: {:?}",
            ruling.policies()
        );
        let mut seen = seen.lock().unwrap();
        *seen.entry(ruling.outcome().as_str().to_owned()).or_default() += 1;
        *seen.entry(ruling.reason().to_owned()).or_default() += 1;
    });
    let seen = seen.into_inner().unwrap();
    let all = count() * 6 / 10;
    if all >= 50_000 {
        // A generator whose questions all end at the first gates proves nothing of the rest.
        for (outcome, least) in [
            ("deliver", 5),
            ("withhold", 5),
            ("hold-for-consent", 1),
            ("deny-packet", 20),
        ] {
            assert!(seen[outcome] * 100 >= all * least, "{outcome}: {seen:#?}");
        }
        let missing: Vec<&String> = reasons(bundle)
            .filter(|r| seen.get(*r).is_none_or(|n| *n < 5))
            .collect();
        assert!(missing.is_empty(), "hardly ever reached: {missing:?}\n{seen:#?}");
    }
}

/// The reasons of 6.6 that a decision on a part can have.
fn reasons(bundle: &Bundle) -> impl Iterator<Item = &String> {
    let engine_only = [
        "DENY_POLICY_ERROR",
        "DENY_BUNDLE_NOT_IN_FORCE",
        "WITHHOLD_NO_RULE",
    ];
    let texts = bundle.texts().language("en").unwrap();
    texts.reason.keys().filter(move |r| {
        !r.starts_with("STATE_") && !r.starts_with("INSPECT_") && !engine_only.contains(&r.as_str())
    })
}

#[test]
fn the_generator_reaches_every_reason_and_obligation() {
    let bundle = engine().bundle();
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..60_000 {
        let mut rng = StdRng::seed_from_u64(n);
        let (_, reason, obligations) = oracle::decide(&generator::question(&mut rng), bundle.matrix());
        seen.insert(reason);
        seen.extend(
            obligations
                .iter()
                .map(|o| o.split(':').next().unwrap_or(o).to_owned()),
        );
    }
    let wanted = reasons(bundle).chain(bundle.texts().language("en").unwrap().obligation.keys());
    let missing: Vec<&String> = wanted.filter(|code| !seen.contains(*code)).collect();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
}

#[test]
fn a_slice_decides_as_the_whole_bundle_does() {
    let (sliced, whole) = (engine(), Engine::untested(engine().bundle()).unsliced());
    each(seed(1), count() / 100, |n, question, _| {
        assert_eq!(sliced.receive(&question), whole.receive(&question), "seed {n}");
    });
}

/// Hundreds of rules about other agencies, and one about this one.
#[test]
fn policies_elsewhere_do_not_join_a_slice() {
    let mut files = Bundle::built_in_files();
    let mut more = String::new();
    for n in 0..400 {
        let agency = if n == 0 {
            "the-one-concerned".to_owned()
        } else {
            format!("elsewhere-{n}")
        };
        more.push_str(&format!(
            "@id(\"X-{n}\")\n@step(\"12.{n}\")\n@outcome(\"withhold\")\n@reason(\"WITHHOLD_NOT_RELEVANT\")\n\
             @legal(\"model\")\n@nl(\"x\")\n@fr(\"x\")\n@en(\"x\")\n\
             forbid (principal == Agency::\"{agency}\", action == Action::\"receive\", resource);\n"
        ));
    }
    files.insert("policies/elsewhere.cedar".to_owned(), more.into_bytes());
    let crowded = Engine::untested(&Bundle::from_files(files).unwrap());
    for (_, case) in engine().bundle().cases().values().flatten() {
        let count = engine().considered(&case.given).unwrap();
        assert!(count < 60, "{}: {count} policies", case.id);
        assert_eq!(crowded.considered(&case.given), Some(count), "{}", case.id);
        assert_eq!(
            crowded.receive(&case.given),
            engine().receive(&case.given),
            "{}",
            case.id
        );
    }
    let mut concerned = engine().bundle().cases()["cases/policy-cases.jsonl"][0]
        .1
        .given
        .clone();
    concerned.recipient.id = "the-one-concerned".to_owned();
    assert_eq!(
        crowded.considered(&concerned),
        engine().considered(&concerned).map(|n| n + 1)
    );
    assert_eq!(crowded.receive(&concerned).reason(), "WITHHOLD_NOT_RELEVANT");
}

fn rank(ruling: &Ruling) -> u8 {
    u8::from(ruling.outcome() == Outcome::Deliver)
}

#[test]
fn withdrawing_a_consent_never_widens_delivery() {
    let engine = engine();
    each(seed(2), count() / 10, |n, question, rng| {
        if question.consents.is_empty() {
            return;
        }
        let before = engine.receive(&question);
        let mut less = question.clone();
        let which = rng.random_range(0..less.consents.len());
        less.consents[which].status = ["withdrawn", "refused", "pending"][rng.random_range(0..3)].to_owned();
        assert!(rank(&engine.receive(&less)) <= rank(&before), "seed {n}");
    });
}

#[test]
fn what_is_held_would_pass_with_consent_and_nothing_else_missing() {
    let engine = engine();
    each(seed(3), count() / 10, |n, question, _| {
        let ruling = engine.receive(&question);
        let supposed = engine.receive(&schakel_policy::explain::Supposed::Consent.suppose(&question));
        match ruling.outcome() {
            // A part about a child caller or the like has nobody who could consent; nobody holds it then.
            Outcome::HoldForConsent => assert!(
                supposed.delivers(),
                "seed {n}: {} then {}",
                ruling.reason(),
                supposed.reason()
            ),
            Outcome::Withhold if !ruling.reason().starts_with("WITHHOLD_CONSENT_") => {
                assert!(!supposed.delivers(), "seed {n}: {}", ruling.reason());
            }
            Outcome::DenyPacket => assert_eq!(supposed.outcome(), Outcome::DenyPacket, "seed {n}"),
            _ => {}
        }
    });
}

/// Walls, on what is delivered: no key opens them.
fn walls_hold(question: &ReceiveQuestion, ruling: &Ruling) -> bool {
    if !ruling.delivers() {
        return true;
    }
    let (part, recipient) = (&question.part, &question.recipient);
    let default = match recipient.role.as_str() {
        "jh_offender" | "perp_programme" => "perpetrator",
        "family_court" | "youth_court" | "fjc" | "case_director" | "vk" => "mixed",
        _ => "",
    };
    let side = recipient.side.as_deref().unwrap_or(default);
    let entries = || question.case.participants.iter().filter(|p| p.id == recipient.id);
    let flagged = entries().any(|p| p.perp_side);
    let about = |role: &str| part.subjects.iter().any(|s| s.role == role);
    let confided = [
        "medical_psych",
        "counselling_notes",
        "contact_log",
        "child_concern",
    ];
    let address =
        part.category != "address_protected" || !(flagged || ["perpetrator", "mixed"].contains(&side));
    let confidence = !confided.contains(&part.category.as_str())
        || !(about("victim") || about("child"))
        || !(flagged || side == "perpetrator");
    let file = part.category != "investigation_file"
        || ["police_zone", "prosecutor"].contains(&question.sender.role.as_str());
    // An emergency widens content, not the circle.
    let emergency = question.legal_basis != "emergency" || part.category == "aggregate_stats";
    let seated = entries().any(|p| p.status == "active");
    let rescue = ["police_zone", "prosecutor"].contains(&recipient.role.as_str());
    let never = engine().bundle().matrix().cells[&part.category][&recipient.role].verdict;
    address
        && confidence
        && file
        && (emergency || seated || rescue)
        && !about("caller")
        && recipient.role != "helpline"
        && never != schakel_policy::matrix::Verdict::Never
}

/// A fact less, or one more that only ever stands in the way: what it is, and the case's or the question's change.
fn worse(rng: &mut StdRng, question: &ReceiveQuestion) -> (&'static str, ReceiveQuestion) {
    let mut less = question.clone();
    let mut case = CaseState::clone(&question.case);
    let recipient = question.recipient.id.clone();
    let what = match rng.random_range(0..9) {
        // The flag goes with its member, where the roster is waived; so only members that have none.
        0 => {
            case.participants
                .retain(|p| p.perp_side || rng.random_range(0..2) == 0);
            "members leave the roster"
        }
        1 => {
            case.participants
                .iter_mut()
                .for_each(|p| p.status = "suspended".into());
            "members are suspended"
        }
        2 => {
            case.participants.push(schakel_policy::facts::Participant {
                id: recipient.into(),
                status: "left".into(),
                perp_side: true,
                ..Default::default()
            });
            "the recipient is flagged"
        }
        3 => {
            case.status = "closed".into();
            "the case is closed"
        }
        4 => {
            case.consultation = None;
            "there is no table"
        }
        5 => {
            (case.mandate, case.measures) = (None, Vec::new());
            "mandate and measures end"
        }
        6 => {
            less.part.release = None;
            "nothing is released"
        }
        7 => {
            less.part.subjects.push(schakel_policy::question::Subject {
                role: "caller".to_owned(),
                age_class: "adult".to_owned(),
                reference: None,
            });
            "the caller is named"
        }
        _ => {
            (less.break_glass, less.report) = (None, None);
            "emergency and report are not recorded"
        }
    };
    less.case = Arc::new(case);
    (what, less)
}

#[test]
fn what_is_taken_away_never_widens_delivery() {
    let engine = engine();
    each(seed(4), count() / 10, |n, question, rng| {
        let (what, less) = worse(rng, &question);
        let (before, after) = (engine.receive(&question), engine.receive(&less));
        assert!(
            rank(&after) <= rank(&before),
            "seed {n}: {what}: {} then {}",
            before.reason(),
            after.reason()
        );
    });
}
