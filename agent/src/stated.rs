//! The facts of a case as the local API shows them: every field of every statement that is shown to us.

use schakel_proto::statement::{Audience, Consent, Fact, RosterEntry, StatementBody};
use serde_json::{Value, json};

/// One fact. Of a statement that is not shown to this agency, its place in the chain only.
pub fn fact(fact: &Fact) -> Value {
    let mut shown = json!({
        "number": fact.number(),
        "accepted_ms": fact.accepted(),
        "head": fact.head(),
        "hidden": fact.statement().is_none(),
    });
    if let (Some(statement), Some(object)) = (fact.statement(), shown.as_object_mut()) {
        let body = statement.body();
        object.insert("kind".to_owned(), json!(body.kind()));
        object.insert("statement".to_owned(), json!(statement.id()));
        object.insert("agency".to_owned(), json!(statement.agency()));
        object.insert("made_ms".to_owned(), json!(statement.made()));
        object.insert("says".to_owned(), says(body));
        if let Some((version, entries)) = body.roster() {
            let entries: Vec<_> = entries.iter().map(entry).collect();
            object.insert(
                "roster".to_owned(),
                json!({ "version": version, "entries": entries }),
            );
        }
    }
    shown
}

fn entry(entry: &RosterEntry) -> Value {
    json!({
        "agency": entry.agency,
        "status": entry.status.as_str(),
        "from_ms": entry.from,
        "until_ms": entry.until,
        "perp_side": entry.perp_side,
    })
}

/// What the statement says, beside a roster.
fn says(body: &StatementBody) -> Value {
    match body {
        StatementBody::CaseOpened {
            case_type, region, ..
        } => json!({ "case_type": case_type, "region": region }),
        StatementBody::RosterChanged { .. } | StatementBody::CaseClosed | StatementBody::CaseReopened => {
            json!({})
        }
        StatementBody::ConsultationConvened(table) => json!({
            "basis": table.basis,
            "finality": table.finality,
            "until_ms": table.valid_until,
        }),
        StatementBody::ConsultationSigned { consultation }
        | StatementBody::ConsultationEnded { consultation } => json!({ "consultation": consultation }),
        StatementBody::MandateGiven(mandate) => json!({
            "holder": mandate.holder,
            "actors": mandate.actors,
            "until_ms": mandate.until,
        }),
        StatementBody::MandateEnded { mandate } => json!({ "mandate": mandate }),
        StatementBody::MeasureImposed { measure, until } => json!({ "measure": measure, "until_ms": until }),
        StatementBody::MeasureExtended { measure, until } => json!({ "measure": measure, "until_ms": until }),
        StatementBody::MeasureLifted { measure } => json!({ "measure": measure }),
        StatementBody::InvestigationReleased(to) => audience(to),
        StatementBody::ConsentGiven(said) | StatementBody::ConsentRefused(said) => consent(said),
        StatementBody::ConsentWithdrawn { consent } => json!({ "consent": consent }),
        StatementBody::BreakGlassReviewed {
            packet,
            reviewer,
            finding,
        } => json!({ "packet": packet, "reviewer": reviewer, "finding": finding }),
        StatementBody::DossierTransferred { to } => json!({ "to": to }),
    }
}

fn audience(to: &Audience) -> Value {
    json!({ "agencies": to.agencies, "roles": to.roles })
}

fn consent(said: &Consent) -> Value {
    json!({
        "subject": said.subject,
        "subject_role": said.subject_role,
        "given_by": said.given_by,
        "capacity": said.capacity,
        "categories": said.categories,
        "recipients": audience(&said.recipients),
        "purposes": said.purposes,
        "informed": said.informed,
        "form": said.form,
        "given_ms": said.given,
        "until_ms": said.expires,
        "minor_cosign": said.minor_cosign,
        "parents_cosign": said.parents_cosign,
        "form_digest": said.form_digest,
    })
}
