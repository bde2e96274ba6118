//! Two questions with known answers, put to every solver before it is believed.

use cedar_policy::{EvalResult, Policy, PolicyId, PolicySet, RequestEnv, Schema};

use super::solver::{Found, Solver, SolverError, compiled};

const SCHEMA: &str = "entity One; action ask appliesTo { principal: One, resource: One, \
                      context: { n: Long, words: Set<String> } };";

/// No request is in both.
const APART: [&str; 2] = [
    "context.n > 1 && context.words.containsAll([\"a\", \"b\"])",
    "context.n < 2 || !context.words.contains(\"a\")",
];

/// Exactly the requests with n = 2, word b and not word a are in both.
const TOGETHER: [&str; 2] = [
    "context.n > 1 && context.words.contains(\"b\")",
    "context.n < 3 && !context.words.contains(\"a\")",
];

fn one(condition: &str) -> Result<PolicySet, String> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    let policy = Policy::parse(Some(PolicyId::new("known")), text).map_err(|error| error.to_string())?;
    PolicySet::from_policies([policy]).map_err(|error| error.to_string())
}

fn answer(solver: &mut Solver, conditions: [&str; 2]) -> Result<Found<cedar_policy_symcc::Env>, String> {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
    let env: RequestEnv = schema.request_envs().next().ok_or("no environment")?;
    let [a, b] = conditions
        .map(|condition| compiled(&one(condition)?, &env, &schema).map_err(|error| error.to_string()));
    solver.both(&a?, &b?).map_err(|error| error.to_string())
}

/// Puts both.
pub(super) fn test(solver: &mut Solver) -> Result<(), SolverError> {
    solver.try_start()?;
    let program = solver.program();
    let wrong = |why: &str| SolverError::Wrong {
        program: program.clone(),
        why: why.to_owned(),
    };
    match answer(solver, APART).map_err(|why| wrong(&why))? {
        Found::Nothing => {}
        _ => return Err(wrong("it finds a request where there is none")),
    }
    let found = answer(solver, TOGETHER).map_err(|why| wrong(&why))?;
    let Found::Request(env) = found else {
        return Err(wrong(
            "it finds no request, or none that can be read, where there is one",
        ));
    };
    let context = env.request.context();
    let two = context.and_then(|c| c.get("n")) == Some(EvalResult::Long(2));
    let words = match context.and_then(|c| c.get("words")) {
        Some(EvalResult::Set(words)) => {
            let has = |word: &str| words.contains(&EvalResult::String(word.to_owned()));
            has("b") && !has("a")
        }
        _ => false,
    };
    if two && words {
        Ok(())
    } else {
        Err(wrong("the request it finds is not one"))
    }
}
