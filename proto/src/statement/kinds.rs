//! The bodies of statements, wire and typed: every field bounded, no list with a value twice.

use super::body::{Audience, Consent, Consultation, Mandate, StatementBody};
use super::parse::{Result, entry_to_wire, fail, named, roster, time};
use crate::ids::{Digest, PacketId, StatementId, SubjectRef};
use crate::limits;
use crate::party::{AgencyId, Code, NameError, OfficerId};
use crate::time::Timestamp;
use crate::wire;
use crate::wire::statement::Body;

fn millis(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::millis)
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// The wire form.
pub(super) fn to_wire(body: &StatementBody) -> Body {
    match body {
        StatementBody::CaseOpened {
            case_type,
            region,
            roster: entries,
        } => Body::CaseOpened(wire::CaseOpened {
            case_type: case_type.to_string(),
            region: region.to_string(),
            roster: entries.iter().map(entry_to_wire).collect(),
        }),
        StatementBody::RosterChanged {
            roster_version,
            roster: entries,
        } => Body::RosterChanged(wire::RosterChanged {
            roster_version: *roster_version,
            roster: entries.iter().map(entry_to_wire).collect(),
        }),
        StatementBody::CaseClosed => Body::CaseClosed(wire::CaseClosed {}),
        StatementBody::CaseReopened => Body::CaseReopened(wire::CaseReopened {}),
        StatementBody::ConsultationConvened(table) => {
            Body::ConsultationConvened(wire::ConsultationConvened {
                basis: table.basis.to_string(),
                finality: table.finality.to_string(),
                valid_until_ms: millis(table.valid_until),
            })
        }
        StatementBody::MandateGiven(mandate) => Body::MandateGiven(wire::MandateGiven {
            holder: mandate.holder.to_string(),
            actors: texts(&mandate.actors),
            until_ms: millis(mandate.until),
        }),
        StatementBody::MeasureImposed { measure, until } => Body::MeasureImposed(wire::MeasureImposed {
            kind: measure.to_string(),
            until_ms: millis(*until),
        }),
        StatementBody::MeasureExtended { measure, until } => Body::MeasureExtended(wire::MeasureExtended {
            measure_id: measure.to_vec().into(),
            until_ms: millis(*until),
        }),
        StatementBody::InvestigationReleased(to) => {
            Body::InvestigationReleased(wire::InvestigationReleased {
                agencies: texts(&to.agencies),
                roles: texts(&to.roles),
            })
        }
        StatementBody::ConsentGiven(consent) => Body::ConsentGiven(consent_to_wire(consent)),
        StatementBody::ConsentRefused(consent) => Body::ConsentRefused(consent_to_wire(consent)),
        StatementBody::BreakGlassReviewed {
            packet,
            reviewer,
            finding,
        } => Body::BreakGlassReviewed(wire::BreakGlassReviewed {
            packet_id: packet.to_vec().into(),
            reviewer: reviewer.to_string(),
            finding: finding.to_string(),
        }),
        StatementBody::DossierTransferred { to } => {
            Body::DossierTransferred(wire::DossierTransferred { to: to.to_string() })
        }
        StatementBody::ConsultationSigned { .. }
        | StatementBody::ConsultationEnded { .. }
        | StatementBody::MandateEnded { .. }
        | StatementBody::MeasureLifted { .. }
        | StatementBody::ConsentWithdrawn { .. } => reference_to_wire(body),
    }
}

/// The wire form of what only refers to an earlier statement.
fn reference_to_wire(body: &StatementBody) -> Body {
    let id = body
        .refers_to()
        .map(|(_, id)| id.to_vec().into())
        .unwrap_or_default();
    match body {
        StatementBody::ConsultationEnded { .. } => {
            Body::ConsultationEnded(wire::ConsultationEnded { consultation_id: id })
        }
        StatementBody::MandateEnded { .. } => Body::MandateEnded(wire::MandateEnded { mandate_id: id }),
        StatementBody::MeasureLifted { .. } => Body::MeasureLifted(wire::MeasureLifted { measure_id: id }),
        StatementBody::ConsentWithdrawn { .. } => {
            Body::ConsentWithdrawn(wire::ConsentWithdrawn { consent_id: id })
        }
        _ => Body::ConsultationSigned(wire::ConsultationSigned { consultation_id: id }),
    }
}

fn consent_to_wire(consent: &Consent) -> wire::Consent {
    wire::Consent {
        subject_ref: consent.subject.to_vec().into(),
        subject_role: consent.subject_role.to_string(),
        given_by: consent.given_by.to_string(),
        capacity: consent.capacity.to_string(),
        categories: texts(&consent.categories),
        agencies: texts(&consent.recipients.agencies),
        roles: texts(&consent.recipients.roles),
        purposes: texts(&consent.purposes),
        informed: consent.informed,
        form: consent.form.to_string(),
        given_ms: consent.given.millis(),
        expires_ms: millis(consent.expires),
        minor_cosign: consent.minor_cosign,
        parents_cosign: consent.parents_cosign,
        form_digest: consent
            .form_digest
            .map(|digest| digest.to_vec().into())
            .unwrap_or_default(),
    }
}

/// The typed form.
pub(super) fn parse(body: &Body, speaker: &AgencyId) -> Result<StatementBody> {
    Ok(match body {
        Body::CaseOpened(message) => return opened(message, speaker),
        Body::RosterChanged(message) => {
            if message.roster_version < 2 {
                return fail("roster_changed.roster_version", "is smaller than 2");
            }
            StatementBody::RosterChanged {
                roster_version: message.roster_version,
                roster: roster(&message.roster)?,
            }
        }
        Body::CaseClosed(_) => StatementBody::CaseClosed,
        Body::CaseReopened(_) => StatementBody::CaseReopened,
        Body::ConsultationConvened(message) => StatementBody::ConsultationConvened(Consultation {
            basis: code(&message.basis, "consultation_convened.basis")?,
            finality: code(&message.finality, "consultation_convened.finality")?,
            valid_until: time(message.valid_until_ms, "consultation_convened.valid_until_ms")?,
        }),
        Body::MandateGiven(message) => StatementBody::MandateGiven(Mandate {
            holder: AgencyId::new(&message.holder).map_err(named("mandate_given.holder"))?,
            actors: list(&message.actors, AgencyId::new, "mandate_given.actors")?,
            until: time(message.until_ms, "mandate_given.until_ms")?,
        }),
        Body::MeasureImposed(message) => StatementBody::MeasureImposed {
            measure: code(&message.kind, "measure_imposed.kind")?,
            until: time(message.until_ms, "measure_imposed.until_ms")?,
        },
        Body::MeasureExtended(message) => StatementBody::MeasureExtended {
            measure: id(&message.measure_id, "measure_extended.measure_id")?,
            until: time(message.until_ms, "measure_extended.until_ms")?,
        },
        Body::InvestigationReleased(message) => StatementBody::InvestigationReleased(audience(
            (&message.agencies, &message.roles),
            "investigation_released",
        )?),
        Body::ConsentGiven(message) => StatementBody::ConsentGiven(consent(message, "consent_given")?),
        Body::ConsentRefused(message) => StatementBody::ConsentRefused(consent(message, "consent_refused")?),
        Body::BreakGlassReviewed(message) => StatementBody::BreakGlassReviewed {
            packet: PacketId::try_from(message.packet_id.as_ref())
                .map_err(named("break_glass_reviewed.packet_id"))?,
            reviewer: OfficerId::new(&message.reviewer).map_err(named("break_glass_reviewed.reviewer"))?,
            finding: code(&message.finding, "break_glass_reviewed.finding")?,
        },
        Body::DossierTransferred(message) => StatementBody::DossierTransferred {
            to: AgencyId::new(&message.to).map_err(named("dossier_transferred.to"))?,
        },
        Body::ConsultationSigned(message) => StatementBody::ConsultationSigned {
            consultation: id(&message.consultation_id, "consultation_signed.consultation_id")?,
        },
        Body::ConsultationEnded(message) => StatementBody::ConsultationEnded {
            consultation: id(&message.consultation_id, "consultation_ended.consultation_id")?,
        },
        Body::MandateEnded(message) => StatementBody::MandateEnded {
            mandate: id(&message.mandate_id, "mandate_ended.mandate_id")?,
        },
        Body::MeasureLifted(message) => StatementBody::MeasureLifted {
            measure: id(&message.measure_id, "measure_lifted.measure_id")?,
        },
        Body::ConsentWithdrawn(message) => StatementBody::ConsentWithdrawn {
            consent: id(&message.consent_id, "consent_withdrawn.consent_id")?,
        },
    })
}

fn opened(message: &wire::CaseOpened, speaker: &AgencyId) -> Result<StatementBody> {
    let roster = roster(&message.roster)?;
    if !roster.iter().any(|entry| entry.agency == *speaker) {
        return fail(
            "case_opened.roster",
            "does not name the agency that opens the case",
        );
    }
    Ok(StatementBody::CaseOpened {
        case_type: code(&message.case_type, "case_opened.case_type")?,
        region: code(&message.region, "case_opened.region")?,
        roster,
    })
}

fn consent(message: &wire::Consent, place: &str) -> Result<Consent> {
    let at = |field: &str| format!("{place}.{field}");
    let Some(given) = time(message.given_ms, &at("given_ms"))? else {
        return fail(&at("given_ms"), "is missing");
    };
    let expires = time(message.expires_ms, &at("expires_ms"))?;
    if expires.is_some_and(|end| end <= given) {
        return fail(&at("expires_ms"), "is not after given_ms");
    }
    let categories = list(&message.categories, Code::new, &at("categories"))?;
    let purposes = list(&message.purposes, Code::new, &at("purposes"))?;
    if categories.is_empty() || purposes.is_empty() {
        return fail(place, "names no category or no purpose");
    }
    let form_digest = match message.form_digest.as_ref() {
        [] => None,
        bytes => Some(Digest::try_from(bytes).map_err(named(&at("form_digest")))?),
    };
    Ok(Consent {
        subject: SubjectRef::try_from(message.subject_ref.as_ref()).map_err(named(&at("subject_ref")))?,
        subject_role: code(&message.subject_role, &at("subject_role"))?,
        given_by: code(&message.given_by, &at("given_by"))?,
        capacity: one_of(
            &message.capacity,
            &["self", "guardian", "partner"],
            &at("capacity"),
        )?,
        categories,
        recipients: audience((&message.agencies, &message.roles), place)?,
        purposes,
        informed: message.informed,
        form: one_of(&message.form, &["written", "oral"], &at("form"))?,
        given,
        expires,
        minor_cosign: message.minor_cosign,
        parents_cosign: message.parents_cosign,
        form_digest,
    })
}

fn audience((agencies, roles): (&[String], &[String]), place: &str) -> Result<Audience> {
    let audience = Audience {
        agencies: list(agencies, AgencyId::new, &format!("{place}.agencies"))?,
        roles: list(roles, Code::new, &format!("{place}.roles"))?,
    };
    if audience.is_empty() {
        return fail(place, "names no recipient");
    }
    Ok(audience)
}

fn code(text: &str, place: &str) -> Result<Code> {
    Code::new(text).map_err(named(place))
}

fn one_of(text: &str, words: &[&str], place: &str) -> Result<Code> {
    if words.contains(&text) {
        code(text, place)
    } else {
        fail(place, format!("is none of {}", words.join(", ")))
    }
}

fn id(bytes: &[u8], place: &str) -> Result<StatementId> {
    StatementId::try_from(bytes).map_err(named(place))
}

fn list<T: PartialEq>(
    texts: &[String],
    new: fn(&str) -> std::result::Result<T, NameError>,
    place: &str,
) -> Result<Vec<T>> {
    if texts.len() > limits::STATEMENT_LIST_MAX_COUNT {
        return fail(
            place,
            format!(
                "{} values, at most {}",
                texts.len(),
                limits::STATEMENT_LIST_MAX_COUNT
            ),
        );
    }
    let mut all: Vec<T> = Vec::with_capacity(texts.len());
    for (number, text) in texts.iter().enumerate() {
        let place = format!("{place}[{number}]");
        let value = new(text).map_err(named(&place))?;
        if all.contains(&value) {
            return fail(&place, "is listed twice");
        }
        all.push(value);
    }
    Ok(all)
}
