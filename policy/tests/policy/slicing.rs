//! Slices, narrowed to a place, decide as the whole set does by the long way: every policy as written, every
//! fact, each request validated by Cedar. With rules about others in the bundle, with rules about these very
//! agencies, and with rules of every form that narrowing looks into. And what is elsewhere costs nothing.

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_policy::bundle::Bundle;
use schakel_policy::case::statement::Asked;
use schakel_policy::engine::{Engine, evaluated};
use schakel_policy::explain::Supposed;
use schakel_policy::question::ReceiveQuestion;
use schakel_policy::ruling::Ruling;

use crate::{engine, generator};

/// Scopes and conditions: each becomes a rule of its own. None can fail but the last.
const FORMS: [(&str, &str); 29] = [
    (
        "principal, {}, resource",
        "when { context has consultation.valid_until && principal in Role::\"municipality\" }",
    ),
    (
        "principal == Agency::\"recipient\", {}, resource",
        "when { context.purpose == \"triage\" }",
    ),
    (
        "principal in Agency::\"recipient\", {}, resource",
        "when { context.pseudonymous }",
    ),
    ("principal == Agency::\"sender\", {}, resource", ""),
    (
        "principal, {}, resource in List::\"report_right\"",
        "when { principal.side == Side::\"mixed\" && context.relevant }",
    ),
    (
        "principal in Circle::\"police\", {}, resource in Category::\"alert\"",
        "unless { context.sender in [Role::\"vk\", Role::\"fjc\"] }",
    ),
    (
        "principal, {}, resource",
        "when { principal in [Role::\"vk\", Role::\"ocmw\"] && resource in Basis::\"consent\" }",
    ),
    (
        "principal, {}, resource",
        "when { (if context has mandate then context.mandate.status == \"ended\" else false) && resource in Basis::\"mandate\" }",
    ),
    (
        "principal, {}, resource",
        "when { context.sender.side == Side::\"victim\" && principal has region && principal.region == \"fwb\" }",
    ),
    (
        "principal, {}, resource",
        "when { context.purpose like \"case*\" && [\"triage\", \"case_consultation\"].contains(context.purpose) }",
    ),
    (
        "principal in Circle::\"police\", {}, resource",
        "when { context has consultation && context.consultation has valid_until && context.consultation.valid_until <= context.now }",
    ),
    (
        "principal, {}, resource",
        "when { context.subjects.containsAny([SubjectRole::\"caller\", SubjectRole::\"other_adult\"]) && principal.role == \"health\" }",
    ),
    (
        "principal, {}, resource",
        "when { context.sender == principal || context.sender in Role::\"helpline\" && principal in Role::\"helpline\" }",
    ),
    (
        "principal, {}, resource",
        "when { !(resource in Category::\"alert\" || resource in List::\"child_report\") && context.case_status != CaseStatus::\"open\" }",
    ),
    (
        "principal, {}, resource",
        "when { [CaseStatus::\"intake\"].contains(context.case_status) && [1, 2, 3].contains(context.consent.count) }",
    ),
    (
        "principal, {}, resource",
        "when { context has break_glass.review_by && context.break_glass.danger_to.isEmpty() }",
    ),
    (
        "principal, {}, resource",
        "when { context has release && context.release.scope.contains(principal.code) && resource in Basis::\"legal_duty\" }",
    ),
    (
        "principal, {}, resource",
        "when { principal is Agency && resource is Part in Category::\"measures\" && !context.measures_in_force.isEmpty() }",
    ),
    (
        "principal, {}, resource",
        "when { context has mandate && context.mandate.holder in Role::\"vk\" }",
    ),
    (
        "principal in Circle::\"police\", {}, resource",
        "when { context has report && {\"a\": context.report.danger, \"b\": 1} == {\"a\": \"none\", \"b\": 1} }",
    ),
    (
        "principal, {}, resource",
        "when { context.secrecy == Secrecy::\"medical\" } unless { context.urgency == Urgency::\"immediate\" || principal in Circle::\"care_circle\" }",
    ),
    (
        "principal, {}, resource",
        "when { if resource in Category::\"identity\" then context.roster_version > 100 else if principal in Role::\"ocmw\" then context.recipient_flagged else false }",
    ),
    (
        "principal in Circle::\"police\", {}, resource",
        "when { context has roster_version_seen && context.roster_version == context.roster_version_seen && context.measure_ends }",
    ),
    (
        "principal, {}, resource",
        "when { context has roster_version_seen && !(context.roster_version_seen != context.roster_version) && context.purpose != \"triage\" && context.subjects.isEmpty() }",
    ),
    (
        "principal, {}, resource",
        "when { context.consent.finding like \"HOLD*\" && context.consent.count > 1 }",
    ),
    (
        "principal, {}, resource",
        "when { context.subjects == [SubjectRole::\"child\"] && ![\"valid\", \"HOLD_CONSENT_SCOPE\"].contains(context.consent.finding) }",
    ),
    (
        "principal in Role::\"ocmw\", {}, resource",
        "when { context.subjects.containsAll([SubjectRole::\"victim\", SubjectRole::\"child\"]) && (if context.sender_active then context.recipient_active else context.relevant) }",
    ),
    (
        "principal, {}, resource",
        "when { context has region && context.region == \"fwb\" && context.recipient_flagged && !context.measure_in_force }",
    ),
    (
        "principal, {}, resource in Basis::\"emergency\"",
        "when { context.consent.count + 9223372036854775806 > 0 && principal in Role::\"vk\" }",
    ),
];

fn rule(id: &str, step: usize, scope: &str, body: &str) -> String {
    let scope = scope.replace("{}", "action == Action::\"receive\"");
    format!(
        "@id(\"{id}\")@step(\"12.{step}\")@outcome(\"withhold\")@reason(\"WITHHOLD_NOT_RELEVANT\")@legal(\"model\")\n\
         @nl(\"x\")@fr(\"x\")@en(\"x\")\nforbid ({scope}) {body};\n"
    )
}

/// The default bundle with these rules too.
fn with(rules: &str) -> Bundle {
    let mut files = Bundle::built_in_files();
    files.insert("policies/more.cedar".to_owned(), rules.as_bytes().to_vec());
    Bundle::from_files(files).unwrap()
}

fn elsewhere(count: usize) -> String {
    let rule = |n| {
        rule(
            &format!("X-{n}"),
            n,
            &format!("principal == Agency::\"elsewhere-{n}\", {{}}, resource"),
            "",
        )
    };
    (0..count).map(rule).collect()
}

fn forms() -> String {
    let rules = FORMS.iter().enumerate();
    rules
        .map(|(n, (scope, body))| rule(&format!("F-{n}"), 1_000 + n, scope, body))
        .collect()
}

/// All that is decided; the text of an alarm depends on which failing rule was met first.
fn said(ruling: &Ruling) -> (&str, String, Vec<String>, Vec<String>, bool) {
    (
        ruling.reason(),
        ruling.outcome().to_string(),
        ruling.obligations().iter().cloned().collect(),
        ruling.policies().to_vec(),
        ruling.alarms().is_empty(),
    )
}

fn drawn(seed: u64, count: u64) -> impl Iterator<Item = (u64, ReceiveQuestion)> {
    let base: u64 = std::env::var("SCHAKEL_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(seed);
    (0..count).map(move |n| {
        let seed = base + n;
        (seed, generator::question(&mut StdRng::seed_from_u64(seed)))
    })
}

#[test]
fn rules_of_every_form_and_rules_elsewhere_decide_alike_sliced_and_whole() {
    let bundle = with(&(forms() + &elsewhere(100)));
    let (sliced, whole) = (Engine::untested(&bundle), Engine::untested(&bundle).unsliced());
    let (mut met, mut failed) = (std::collections::BTreeSet::new(), 0);
    for (seed, question) in drawn(6 << 32, 1_000) {
        let (short, long) = (sliced.receive(&question), whole.receive(&question));
        assert_eq!(said(&short), said(&long), "SCHAKEL_SEED={seed}: {question:#?}");
        met.extend(short.policies().iter().filter(|id| id.starts_with("F-")).cloned());
        failed += usize::from(!short.alarms().is_empty());
    }
    assert!(
        met.len() > 15 && failed > 0,
        "rules met: {met:?}, {failed} failures"
    );
}

#[test]
fn suppositions_decide_alike_sliced_and_whole() {
    let whole = Engine::untested(engine().bundle()).unsliced();
    for (seed, question) in drawn(7 << 32, 60) {
        for supposed in Supposed::ALL {
            let asked = supposed.suppose(&question);
            let (short, long) = (engine().receive(&asked), whole.receive(&asked));
            assert_eq!(said(&short), said(&long), "SCHAKEL_SEED={seed} {supposed:?}");
        }
    }
}

/// The hints of an explanation are what asking each supposition again in full would say.
#[test]
fn hints_are_what_asking_again_says() {
    use schakel_policy::explain::{Audience, explain};
    let texts = engine().bundle().texts().language("en").unwrap();
    for (seed, question) in drawn(8 << 32, 300) {
        let told = explain(engine(), &question, "en", Audience::Sender).unwrap();
        let mut hints: Vec<&String> = Vec::new();
        if !told.ruling().delivers() {
            let opens = |one: &Supposed| engine().receive(&one.suppose(&question)).delivers();
            let phrases = Supposed::ALL
                .into_iter()
                .filter(opens)
                .map(|one| &texts.phrase[one.phrase()]);
            hints.extend(phrases);
        }
        assert_eq!(
            told.hints().iter().collect::<Vec<_>>(),
            hints,
            "SCHAKEL_SEED={seed}"
        );
    }
}

/// Neither the policies considered nor the conditions that Cedar evaluates grow with rules about others; not for a
/// decision, and not for its explanation with all that is supposed there.
#[test]
fn rules_elsewhere_cost_no_evaluation() {
    use schakel_policy::explain::{Audience, explain};
    let crowded = Engine::untested(&with(&elsewhere(1_000)));
    let cost = |engine: &Engine, question: &ReceiveQuestion| {
        let _made = engine.receive(question); // the first request of a place makes its slice
        let before = evaluated();
        let _ruling = engine.receive(question);
        let decided = evaluated();
        let told = |engine| explain(engine, question, "nl", Audience::Sender).unwrap();
        let _made = told(engine);
        let between = evaluated();
        let _told = told(engine);
        (
            engine.considered(question),
            decided - before,
            evaluated() - between,
        )
    };
    let (mut most, mut told, mut sum, mut cases) = (0, 0, 0, 0);
    for (_, case) in engine().bundle().cases().values().flatten() {
        let alone = cost(engine(), &case.given);
        assert_eq!(cost(&crowded, &case.given), alone, "{}", case.id);
        (most, told, sum) = (most.max(alone.1), told.max(alone.2), sum + alone.1);
        cases += 1;
    }
    assert!(
        most > 1 && most < 8,
        "{most} conditions evaluated for one decision"
    );
    assert!(
        told > 1 && told < 24,
        "{told} conditions evaluated for one explanation"
    );
    // What has few values is put in beforehand: most decisions have no condition left.
    assert!(sum < cases, "{sum} conditions evaluated for {cases} cases");
}

/// A rule of another action, with what each action asks for beside.
fn other(id: &str, action: &str, effect: &str, scope: &str, body: &str) -> String {
    format!(
        "@id(\"{id}\")@step(\"0.5\")@reason(\"STATE_NOT_ENTITLED\")@legal(\"model\")@nl(\"x\")@fr(\"x\")@en(\"x\")\n\
         {effect} (principal, action == Action::\"{action}\", {scope}) {body};\n"
    )
}

#[test]
fn statements_and_their_readers_decide_alike_sliced_and_whole() {
    let rules = other(
        "S-all",
        "state_case_closed",
        "forbid",
        "resource == Case::\"asked\"",
        "",
    ) + &other(
        "S-see",
        "inspect",
        "forbid",
        "resource == Case::\"asked\"",
        "when { context.statement == \"x\" }",
    );
    let (sliced, whole) = (
        Engine::untested(&with(&rules)),
        Engine::untested(&with(&rules)).unsliced(),
    );
    let mut asked = 0;
    for (_, case) in with(&rules).statement_cases() {
        let (ours, theirs) = match &case.asked {
            Asked::State(question) => (sliced.state(question), whole.state(question)),
            Asked::Inspect(question) => (sliced.inspect(question), whole.inspect(question)),
        };
        assert_eq!(ours, theirs, "{}", case.id);
        asked += 1;
    }
    assert!(asked > 100, "{asked}");
}

#[test]
fn a_definition_that_errs_denies_sliced_and_whole() {
    // Definitions are asked without entities: an attribute of the agency cannot be read there.
    let rule = "@id(\"D-side\")@legal(\"model\")@nl(\"x\")@fr(\"x\")@en(\"x\")\npermit (principal, action == Action::\"active\", resource) \
                when { principal.side == Side::\"victim\" || !(context has from) };\n";
    let (sliced, whole) = (
        Engine::untested(&with(rule)),
        Engine::untested(&with(rule)).unsliced(),
    );
    for (n, question) in drawn(7, 60) {
        assert_eq!(
            said(&sliced.receive(&question)),
            said(&whole.receive(&question)),
            "question {n}"
        );
    }
}

/// A rule about one agency is not kept for another at the same place.
#[test]
fn rules_about_named_agencies_hold_for_each_of_them_sliced_and_whole() {
    let named = |n: usize, id: &str| {
        let scope = format!("principal == Agency::\"{id}\", {{}}, resource");
        rule(&format!("X-{id}"), n, &scope, "")
    };
    let bundle = with(&(named(1, "one") + &named(2, "other")));
    let (sliced, whole) = (Engine::untested(&bundle), Engine::untested(&bundle).unsliced());
    let mut met = std::collections::BTreeSet::new();
    for (seed, mut question) in drawn(11 << 32, 60) {
        for id in ["one", "other"] {
            id.clone_into(&mut question.recipient.id);
            let (short, long) = (sliced.receive(&question), whole.receive(&question));
            assert_eq!(said(&short), said(&long), "SCHAKEL_SEED={seed}: {question:#?}");
            met.extend(long.policies().iter().filter(|id| id.starts_with("X-")).cloned());
        }
    }
    assert_eq!(met.len(), 2, "{met:?}");
}

/// What defines "active" for one agency by its name is not taken for another whose entry is like its own.
#[test]
fn a_definition_for_named_agencies_holds_for_each_of_them_sliced_and_whole() {
    let named = |id: &str| {
        format!(
            "@id(\"D-{id}\")@legal(\"model\")@nl(\"x\")@fr(\"x\")@en(\"x\")\n\
             permit (principal == Agency::\"{id}\", action == Action::\"active\", resource);\n"
        )
    };
    let bundle = with(&(named("sender") + &named("recipient")));
    let (sliced, whole) = (Engine::untested(&bundle), Engine::untested(&bundle).unsliced());
    let mut otherwise = 0;
    for (seed, question) in drawn(10 << 32, 200) {
        let (short, long) = (sliced.receive(&question), whole.receive(&question));
        assert_eq!(said(&short), said(&long), "SCHAKEL_SEED={seed}: {question:#?}");
        otherwise += usize::from(long.reason() != engine().receive(&question).reason());
    }
    assert!(otherwise > 0, "no decision depends on the definitions");
}

#[test]
fn sets_within_sets_do_not_multiply() {
    let set: Vec<String> = (1..=24).map(|n| n.to_string()).collect();
    let set = set.join(", ");
    let nested = (0..6).fold("context.consent.count".to_owned(), |inner, _| {
        format!("(if [{set}].contains({inner}) then 1 else 2)")
    });
    let engine = Engine::untested(&with(&rule(
        "X-nested",
        1,
        "principal, {}, resource",
        &format!("when {{ {nested} == 7 }}"),
    )));
    for (_, question) in drawn(9, 5) {
        assert_ne!(engine.receive(&question).reason(), "DENY_POLICY_ERROR");
    }
}

#[test]
fn an_action_that_is_never_asked_is_a_finding() {
    let mut files = Bundle::built_in_files();
    let schema = String::from_utf8(files["schakel.cedarschema"].clone()).unwrap();
    files.insert(
        "schakel.cedarschema".to_owned(),
        (schema + "\naction dream appliesTo { principal: Agency, resource: Case, context: {} };\n")
            .into_bytes(),
    );
    files.insert(
        "policies/more.cedar".to_owned(),
        other("X-dream", "dream", "forbid", "resource", "").into_bytes(),
    );
    let found = Bundle::from_files(files).unwrap_err();
    assert!(found.to_string().contains("none that is ever asked"), "{found}");
}
