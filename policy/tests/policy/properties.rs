//! Properties that the specification states, on questions drawn over the whole vocabulary.
//! `SCHAKEL_QUESTIONS` sets how many are drawn (default 1,500; the long run takes 200,000).

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_policy::ruling::{Outcome, Ruling};

use crate::oracle;
use crate::{engine, generator};

fn count() -> u64 {
    std::env::var("SCHAKEL_QUESTIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_500)
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

#[test]
fn p15_engine_and_oracle_agree_on_outcome_reason_and_obligations() {
    let (engine, bundle) = (engine(), engine().bundle());
    each(0, count(), |n, question, _| {
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
    });
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
    let texts = bundle.texts().language("en").unwrap();
    let engine_only = [
        "DENY_POLICY_ERROR",
        "DENY_BUNDLE_NOT_IN_FORCE",
        "WITHHOLD_NO_RULE",
    ];
    let other = |r: &&String| {
        !r.starts_with("STATE_") && !r.starts_with("INSPECT_") && !engine_only.contains(&r.as_str())
    };
    let wanted = texts.reason.keys().filter(other).chain(texts.obligation.keys());
    let missing: Vec<&String> = wanted.filter(|code| !seen.contains(*code)).collect();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
}

#[test]
fn a_slice_decides_as_the_whole_bundle_does() {
    let (sliced, whole) = (engine(), Engine::untested(engine().bundle()).unsliced());
    each(1 << 32, count() / 12, |n, question, _| {
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
    each(2 << 32, count() / 3, |n, question, rng| {
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
    each(3 << 32, count() / 3, |n, question, _| {
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

#[test]
fn walls_hold_whatever_the_rest() {
    let engine = engine();
    each(4 << 32, count() / 3, |n, question, _| {
        let ruling = engine.receive(&question);
        if !ruling.delivers() {
            return;
        }
        let side = question.recipient.side.as_deref();
        let flagged = question
            .case
            .participant("recipient")
            .is_some_and(|p| p.perp_side);
        let part = &question.part;
        if part.category == "address_protected" {
            assert!(
                !flagged && side != Some("perpetrator") && side != Some("mixed"),
                "seed {n}"
            );
        }
        assert_ne!(question.recipient.role, "helpline", "seed {n}");
        assert!(part.subjects.iter().all(|s| s.role != "caller"), "seed {n}");
        if part.category == "investigation_file" {
            assert!(
                ["police_zone", "prosecutor"].contains(&question.sender.role.as_str()),
                "seed {n}"
            );
        }
        if question.legal_basis == "emergency" && part.category != "aggregate_stats" {
            let seated = question
                .case
                .participant("recipient")
                .is_some_and(|p| p.status == "active");
            let rescue = ["police_zone", "prosecutor"].contains(&question.recipient.role.as_str());
            assert!(seated || rescue, "seed {n}");
        }
    });
}
