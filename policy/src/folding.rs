//! From a case's statements, one after the other, to its state. What a statement means is said here once,
//! for broker and agents; who may make it is the policy's business.

use schakel_proto::directory::Directory;
use schakel_proto::ids::StatementId;
use schakel_proto::statement::{self, Audience, FactChain, RosterEntry, Statement, StatementBody};

use crate::facts::{CaseState, Consultation, Mandate, Measure, Participant, StatedConsent};
use crate::question::{Consent, Release, Scope};

/// Signatures that put a consultation's agreement in force: an agreement has two sides.
const SIGNED_MIN_COUNT: usize = 2;

/// The facts of a case, folded from its accepted statements; none if there are none.
pub fn case_state(chain: &FactChain, directory: &Directory) -> Option<CaseState> {
    chain
        .statements()
        .fold(None, |state, statement| after(state, statement, directory))
}

/// The roster as the engine takes it; an entry without a beginning holds from the statement on.
pub(crate) fn participants(roster: &[RosterEntry], directory: &Directory) -> Vec<Participant> {
    let participant = |entry: &RosterEntry| Participant {
        id: entry.agency.as_str().into(),
        role: directory
            .agency(&entry.agency)
            .map(|agency| agency.role().as_str().into()),
        status: entry.status.as_str().into(),
        from: entry.from,
        until: entry.until,
        perp_side: entry.perp_side,
        region: directory
            .agency(&entry.agency)
            .map(|agency| agency.region().as_str().into()),
    };
    roster.iter().map(participant).collect()
}

/// The state after one more statement. A chain that `FactChain::check` passed opens a case once, and first,
/// and refers only to what is there.
fn after(state: Option<CaseState>, statement: &Statement, directory: &Directory) -> Option<CaseState> {
    let Some(mut state) = state else {
        return match statement.body() {
            StatementBody::CaseOpened {
                case_type,
                region,
                roster,
            } => Some(CaseState::opened(
                statement.agency().as_str(),
                case_type.as_str(),
                region.as_str(),
                participants(roster, directory),
            )),
            _ => None,
        };
    };
    match statement.body() {
        StatementBody::RosterChanged {
            roster_version,
            roster,
        } => state = state.with_roster(*roster_version, participants(roster, directory)),
        StatementBody::CaseClosed => state.status = "closed".into(),
        StatementBody::CaseReopened => state.status = "open".into(),
        StatementBody::MeasureImposed { .. }
        | StatementBody::MeasureExtended { .. }
        | StatementBody::MeasureLifted { .. } => measure(&mut state, statement),
        StatementBody::ConsultationConvened(_)
        | StatementBody::ConsultationSigned { .. }
        | StatementBody::ConsultationEnded { .. } => consultation(&mut state, statement),
        StatementBody::MandateGiven(_) | StatementBody::MandateEnded { .. } => {
            mandate(&mut state, statement);
        }
        StatementBody::ConsentGiven(_)
        | StatementBody::ConsentRefused(_)
        | StatementBody::ConsentWithdrawn { .. } => consent(&mut state, statement),
        StatementBody::InvestigationReleased(to) => {
            let role = directory.agency(statement.agency());
            let release = Release {
                by_role: role.map(|agency| agency.role().to_string()).unwrap_or_default(),
                scope: scope(to),
            };
            state.stated.releases.push((statement.id().to_string(), release));
        }
        // A second opening cannot be; a review and a transfer change nothing that decisions rest on.
        StatementBody::CaseOpened { .. }
        | StatementBody::BreakGlassReviewed { .. }
        | StatementBody::DossierTransferred { .. } => {}
    }
    Some(state)
}

fn measure(state: &mut CaseState, statement: &Statement) {
    let known = |id: &StatementId, measures: &mut Vec<Measure>, change: &dyn Fn(&mut Measure)| {
        let id = id.to_string();
        measures.iter_mut().filter(|one| one.id == id).for_each(change);
    };
    match statement.body() {
        StatementBody::MeasureImposed { measure, until } => state.measures.push(Measure {
            id: statement.id().to_string(),
            kind: measure.to_string(),
            status: "in_force".to_owned(),
            valid_until: until.map(Into::into),
        }),
        StatementBody::MeasureExtended { measure, until } => known(measure, &mut state.measures, &|one| {
            "extended".clone_into(&mut one.status);
            one.valid_until = until.map(Into::into);
        }),
        StatementBody::MeasureLifted { measure } => known(measure, &mut state.measures, &|one| {
            "lifted".clone_into(&mut one.status);
        }),
        _ => {}
    }
}

fn consultation(state: &mut CaseState, statement: &Statement) {
    let all = &mut state.stated.consultations;
    match statement.body() {
        StatementBody::ConsultationConvened(table) => all.push(Consultation {
            id: statement.id().to_string(),
            basis: table.basis.to_string(),
            status: "draft".to_owned(),
            valid_until: table.valid_until,
            finality: table.finality.to_string(),
            signed_by: Vec::new(),
        }),
        StatementBody::ConsultationSigned { consultation } => {
            let id = consultation.to_string();
            for table in all.iter_mut().filter(|table| table.id == id) {
                table.signed_by.push(statement.agency().to_string());
                if table.signed_by.len() >= SIGNED_MIN_COUNT {
                    "active".clone_into(&mut table.status);
                }
            }
        }
        StatementBody::ConsultationEnded { consultation } => {
            let id = consultation.to_string();
            for table in all.iter_mut().filter(|table| table.id == id) {
                "ended".clone_into(&mut table.status);
            }
        }
        _ => {}
    }
}

fn mandate(state: &mut CaseState, statement: &Statement) {
    let all = &mut state.stated.mandates;
    match statement.body() {
        StatementBody::MandateGiven(given) => all.push(Mandate {
            id: statement.id().to_string(),
            holder: given.holder.to_string(),
            authority: statement.agency().to_string(),
            actors: given.actors.iter().map(ToString::to_string).collect(),
            status: "active".to_owned(),
            until: given.until,
        }),
        StatementBody::MandateEnded { mandate } => {
            let id = mandate.to_string();
            for one in all.iter_mut().filter(|one| one.id == id) {
                "ended".clone_into(&mut one.status);
            }
        }
        _ => {}
    }
}

fn consent(state: &mut CaseState, statement: &Statement) {
    let all = &mut state.stated.consents;
    let stated = |said: &statement::Consent, status: &str| StatedConsent {
        id: statement.id().to_string(),
        stated_by: statement.agency().to_string(),
        spoken: said.given,
        consent: Consent {
            subject: said.subject_role.to_string(),
            subject_reference: Some(said.subject.to_string()),
            given_by: said.given_by.to_string(),
            capacity: said.capacity.to_string(),
            status: status.to_owned(),
            scope: Scope {
                categories: said.categories.iter().map(ToString::to_string).collect(),
                recipients: scope(&said.recipients),
                purposes: said.purposes.iter().map(ToString::to_string).collect(),
            },
            informed: said.informed,
            form: said.form.to_string(),
            expires_at: said.expires,
            minor_cosign: said.minor_cosign,
            parents_cosign: said.parents_cosign,
        },
    };
    match statement.body() {
        StatementBody::ConsentGiven(said) => all.push(stated(said, "given")),
        StatementBody::ConsentRefused(said) => all.push(stated(said, "refused")),
        StatementBody::ConsentWithdrawn { consent } => {
            let id = consent.to_string();
            for one in all.iter_mut().filter(|one| one.id == id) {
                "withdrawn".clone_into(&mut one.consent.status);
                one.spoken = one.spoken.max(statement.made());
            }
        }
        _ => {}
    }
}

fn scope(audience: &Audience) -> Vec<String> {
    let agencies = audience.agencies.iter().map(ToString::to_string);
    agencies
        .chain(audience.roles.iter().map(ToString::to_string))
        .collect()
}
