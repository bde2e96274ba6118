//! Who may make a statement on a case, and who may see its facts.

use super::request::{self, Pairs, Unfit};
use super::slice::Place;
use super::vocabulary::Vocabulary;
use super::{Answer, Engine, NO_RULE, POLICY_ERROR, UNKNOWN_VALUE, fact};
use crate::facts::{CaseState, Participant};
use crate::question::{InspectQuestion, Party, Said, StateQuestion, StatementKind};
use crate::ruling::Permission;

/// The circle of roles that coordinate a case; the matrix says which they are.
const COORDINATORS: &str = "coordinators";

/// Whether an agency may make a statement.
pub(super) fn state(engine: &Engine, question: &StateQuestion) -> Permission {
    let action = match &question.statement {
        StatementKind::CaseOpened { .. } => "state_case_opened",
        StatementKind::RosterChanged { .. } => "state_roster_changed",
        StatementKind::Other { name, .. } => &format!("state_{name}"),
    };
    let facts = match speaking(engine, question) {
        Ok(facts) => facts,
        Err(unfit) => return refused(unfit),
    };
    ask(engine, action, &question.speaker, facts)
}

/// Whether an agency may see a case's facts.
pub(super) fn inspect(engine: &Engine, question: &InspectQuestion) -> Permission {
    match inspecting(engine, question) {
        Ok(facts) => ask(engine, "inspect", &question.reader, facts),
        Err(unfit) => refused(unfit),
    }
}

fn inspecting(engine: &Engine, question: &InspectQuestion) -> Result<Pairs, Unfit> {
    let vocabulary = &engine.compiled.vocabulary;
    let reader = &question.reader.id;
    let mut facts = vec![
        fact("active", engine.active(&question.case, reader, question.now)?),
        fact("flagged", flagged(&question.case, reader)),
        fact("speaker", question.shown.speaker),
        fact("covered", question.shown.covered),
        ("statement", request::string(&question.shown.name)),
    ];
    subject(&mut facts, vocabulary, question.shown.subject.as_deref())?;
    Ok(facts)
}

fn flagged(case: &CaseState, agency: &str) -> bool {
    case.entries(agency).any(|entry| entry.perp_side)
}

/// The role of the person whose consent it is about, if it is about one.
fn subject(facts: &mut Pairs, vocabulary: &Vocabulary, role: Option<&str>) -> Result<(), Unfit> {
    if let Some(role) = role {
        let role = vocabulary.listed("SubjectRole", role)?.clone();
        facts.push(("subject", request::entity(&role)));
    }
    Ok(())
}

/// What only some statements have; every name must be one that the network knows.
fn said(facts: &mut Pairs, vocabulary: &Vocabulary, said: &Said) -> Result<(), Unfit> {
    if said.strangers {
        return Err(Unfit::Unknown("Agency"));
    }
    for category in &said.categories {
        vocabulary.listed("Category", category)?;
    }
    for role in &said.roles {
        vocabulary.listed("Role", role)?;
    }
    subject(facts, vocabulary, said.subject.as_deref())?;
    if let Some(basis) = &said.table_basis {
        let basis = vocabulary.listed("TableBasis", basis)?.clone();
        facts.push(("table_basis", request::entity(&basis)));
    }
    Ok(())
}

fn speaking(engine: &Engine, question: &StateQuestion) -> Result<Pairs, Unfit> {
    let vocabulary = &engine.compiled.vocabulary;
    let nothing = CaseState::unopened("");
    let case = question.case.as_deref().unwrap_or(&nothing);
    let speaker = &question.speaker.id;
    let coordinators = vocabulary.listed("Circle", COORDINATORS)?.clone();
    let mut coordinated = false;
    for (agency, role) in &question.roles {
        let coordinates = vocabulary
            .role_parents(role)
            .is_some_and(|of| of.contains(&coordinators));
        coordinated |= coordinates && engine.active(case, agency, question.now)?;
    }
    let (named, joins, only_joins, next) = match &question.statement {
        StatementKind::CaseOpened { roster } => (roster.contains(speaker), false, false, true),
        StatementKind::RosterChanged { version, roster } => {
            for entry in roster {
                vocabulary.listed("RosterStatus", &entry.status)?;
            }
            let after = roster.iter().find(|p| p.id == *speaker);
            let others = |p: &&Participant| p.id != *speaker;
            let joins = widens(case.participant(speaker), after);
            let same = same_members(
                case.participants.iter().filter(others),
                roster.iter().filter(others),
            );
            let next = case.roster_version.checked_add(1) == Some(*version);
            (after.is_some(), joins, joins && same, next)
        }
        StatementKind::Other { said, .. } => (said.named, false, false, true),
    };
    let status = vocabulary.listed("CaseStatus", &case.status)?.clone();
    let mut facts = vec![
        ("case_status", request::entity(&status)),
        fact("known", question.case.is_some()),
        fact("active", engine.active(case, speaker, question.now)?),
        fact("opener", case.opener.as_ref() == Some(speaker)),
        fact("coordinated", coordinated),
        fact("named", named),
        fact("joins", joins),
        fact("only_joins", only_joins),
        fact("next", next),
        fact("competent", question.competent),
        fact("flagged", flagged(case, speaker)),
    ];
    if let StatementKind::Other { said: more, .. } = &question.statement {
        facts.push(fact("own", more.own));
        said(&mut facts, vocabulary, more)?;
    } else {
        facts.push(fact("own", false));
    }
    Ok(facts)
}

/// Whether the change gives the agency anything it did not have: a seat, an earlier start, a later end, or
/// relief from the flag.
fn widens(before: Option<&Participant>, after: Option<&Participant>) -> bool {
    let Some(after) = after else { return false };
    let Some(before) = before else {
        return after.status == "active";
    };
    let status = before.status != after.status && after.status == "active";
    let start = match (before.from, after.from) {
        (Some(old), new) => new.is_none_or(|new| new < old),
        (None, _) => false,
    };
    let end = match (before.until, after.until) {
        (Some(old), new) => new.is_none_or(|new| new > old),
        (None, _) => false,
    };
    status || start || end || (before.perp_side && !after.perp_side)
}

fn same_members<'a>(
    before: impl Iterator<Item = &'a Participant>,
    after: impl Iterator<Item = &'a Participant>,
) -> bool {
    let sorted = |mut all: Vec<&'a Participant>| {
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    };
    let plain = |p: &Participant| (p.id.clone(), p.status.clone(), p.from, p.until, p.perp_side);
    sorted(before.collect())
        .into_iter()
        .map(plain)
        .eq(sorted(after.collect()).into_iter().map(plain))
}

fn ask(engine: &Engine, action: &str, speaker: &Party, facts: Pairs) -> Permission {
    let vocabulary = &engine.compiled.vocabulary;
    let answer = (|| {
        let agency = vocabulary.agency(speaker)?;
        let (principal, resource) = (vocabulary.agency_uid(&speaker.id)?, vocabulary.resource("Case")?);
        let place = Place {
            action: vocabulary.action(action)?,
            principal: vocabulary.role_parents(&speaker.role).unwrap_or(&[]).to_vec(),
            resource: vec![resource.clone()],
        };
        let entities = request::entities([agency])?;
        engine.ask(
            &place,
            Some(&principal),
            principal.clone(),
            resource,
            facts,
            &entities,
        )
    })();
    match answer {
        Ok(answer) => permission(&answer),
        Err(unfit) => refused(unfit),
    }
}

fn permission(answer: &Answer<'_>) -> Permission {
    Permission {
        granted: answer.allowed,
        reason: answer
            .rules
            .first()
            .map_or(NO_RULE, |rule| rule.reason.as_str())
            .to_owned(),
        policies: answer.rules.iter().map(|rule| rule.id.clone()).collect(),
        alarms: Vec::new(),
    }
}

fn refused(unfit: Unfit) -> Permission {
    let (reason, policies, alarms) = match unfit {
        Unfit::Unknown(kind) => (UNKNOWN_VALUE, vec![format!("schema:{kind}")], Vec::new()),
        Unfit::Defect(what) => (POLICY_ERROR, Vec::new(), vec![what]),
    };
    Permission {
        granted: false,
        reason: reason.to_owned(),
        policies,
        alarms,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schakel_proto::time::Timestamp;

    use super::*;
    use crate::bundle::Bundle;

    type Seat = (&'static str, Option<i64>, Option<i64>, bool);

    fn seat(id: &str, (status, from, until, perp_side): Seat) -> Participant {
        Participant {
            id: id.into(),
            status: status.into(),
            from: from.map(Timestamp::from_millis),
            until: until.map(Timestamp::from_millis),
            perp_side,
            ..Participant::default()
        }
    }

    #[test]
    fn a_seat_widens_by_what_it_did_not_have_and_by_nothing_else() {
        let plain: Seat = ("active", Some(10), Some(10), false);
        let cases: [(Option<Seat>, Option<Seat>, bool); 17] = [
            (None, None, false),
            (Some(plain), None, false),
            (None, Some(plain), true),
            (None, Some(("suspended", None, None, false)), false),
            (Some(plain), Some(plain), false),
            (Some(("suspended", Some(10), Some(10), false)), Some(plain), true),
            (Some(plain), Some(("suspended", Some(10), Some(10), false)), false),
            (
                Some(("left", None, None, false)),
                Some(("suspended", None, None, false)),
                false,
            ),
            (Some(plain), Some(("active", Some(9), Some(10), false)), true),
            (Some(plain), Some(("active", Some(11), Some(10), false)), false),
            (Some(plain), Some(("active", None, Some(10), false)), true),
            (Some(plain), Some(("active", Some(10), Some(11), false)), true),
            (Some(plain), Some(("active", Some(10), Some(9), false)), false),
            (Some(plain), Some(("active", Some(10), None, false)), true),
            (Some(("active", None, None, false)), Some(plain), false),
            (
                Some(("active", None, None, true)),
                Some(("active", None, None, false)),
                true,
            ),
            (
                Some(("active", None, None, true)),
                Some(("active", None, None, true)),
                false,
            ),
        ];
        for (before, after, wider) in cases {
            let (one, other) = (before.map(|s| seat("a", s)), after.map(|s| seat("a", s)));
            assert_eq!(
                widens(one.as_ref(), other.as_ref()),
                wider,
                "{before:?} to {after:?}"
            );
        }
    }

    #[test]
    fn who_leaves_its_own_roster_is_not_named_by_the_others_on_it() {
        let engine = Engine::untested(&Bundle::built_in().unwrap());
        let active: Seat = ("active", None, None, false);
        let both = vec![seat("a", active), seat("b", active)];
        let question = StateQuestion {
            now: Timestamp::from_millis(0),
            speaker: Party {
                id: "a".to_owned(),
                role: "fjc".to_owned(),
                ..Party::default()
            },
            competent: false,
            roles: Vec::new(),
            case: Some(Arc::new(CaseState::opened("a", "x", "vlg", both))),
            statement: StatementKind::RosterChanged {
                version: 2,
                roster: vec![seat("b", active)],
            },
        };
        let facts = speaking(&engine, &question).unwrap();
        let named = facts
            .iter()
            .find(|(key, _)| *key == "named")
            .map(|(_, value)| value);
        assert_eq!(named, Some(&fact("named", false).1));
    }
}
