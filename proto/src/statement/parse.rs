//! From signed bytes to a typed statement and back: every field bounded, nothing given twice.

use prost::Message;

use super::{RosterEntry, RosterStatus, Statement, StatementError, kinds};
use crate::ids::{CaseRef, StatementId};
use crate::limits;
use crate::openpgp::Fingerprint;
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::wire;

/// The type that the signed bytes name.
const TYPE: &str = "schakel.v1.Statement";
/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
const TIME_MAX_MILLIS: i64 = 253_402_300_799_999;

pub(super) type Result<T> = std::result::Result<T, StatementError>;

pub(super) fn fail<T>(place: &str, what: impl Into<String>) -> Result<T> {
    Err(StatementError::malformed(place, what))
}

pub(super) fn named<E: ToString>(place: &str) -> impl Fn(E) -> StatementError {
    move |error| StatementError::malformed(place, error.to_string())
}

/// The wire message that is signed.
pub(super) fn to_wire(statement: &Statement) -> wire::Statement {
    wire::Statement {
        r#type: TYPE.to_owned(),
        network: statement.network.to_string(),
        statement_id: statement.id.to_vec().into(),
        case_ref: statement.case_ref.to_vec().into(),
        agency: statement.agency.to_string(),
        agency_key: statement.agency_key.as_bytes().to_vec().into(),
        made_ms: statement.made.millis(),
        body: Some(kinds::to_wire(&statement.body)),
    }
}

pub(super) fn entry_to_wire(entry: &RosterEntry) -> wire::RosterEntry {
    wire::RosterEntry {
        agency: entry.agency.to_string(),
        status: entry.status.as_str().to_owned(),
        from_ms: entry.from.map_or(0, Timestamp::millis),
        until_ms: entry.until.map_or(0, Timestamp::millis),
        perp_side: entry.perp_side,
    }
}

/// Parses the signed bytes.
pub(super) fn statement(bytes: &[u8]) -> Result<Statement> {
    if bytes.len() > limits::STATEMENT_MAX_BYTES {
        return fail(
            "bytes",
            format!("are longer than {}", limits::STATEMENT_MAX_BYTES),
        );
    }
    let message = wire::Statement::decode(bytes)
        .map_err(|_| StatementError::malformed("bytes", "are not a Statement message"))?;
    if message.encode_to_vec() != bytes {
        return fail(
            "bytes",
            "are not in canonical form, or hold fields this version does not know",
        );
    }
    if message.r#type != TYPE {
        return fail("type", format!("is not {TYPE}"));
    }
    let id = StatementId::try_from(message.statement_id.as_ref()).map_err(named("statement_id"))?;
    if uuid::Uuid::from_bytes(*id.as_bytes()).get_version() != Some(uuid::Version::SortRand) {
        return fail("statement_id", "is not a UUID of version 7");
    }
    let agency = AgencyId::new(&message.agency).map_err(named("agency"))?;
    let Some(made) = time(message.made_ms, "made_ms")? else {
        return fail("made_ms", "is missing");
    };
    let Some(body) = message.body else {
        return fail("body", "is missing, or of a kind this version does not know");
    };
    let body = kinds::parse(&body, &agency)?;
    if let super::StatementBody::ConsentGiven(said) | super::StatementBody::ConsentRefused(said) = &body
        && said.given > made.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS)
    {
        return fail("given_ms", "is after the statement was made");
    }
    Ok(Statement {
        network: NetworkName::new(&message.network).map_err(named("network"))?,
        id,
        case_ref: CaseRef::try_from(message.case_ref.as_ref()).map_err(named("case_ref"))?,
        agency_key: Fingerprint::try_from(message.agency_key.as_ref()).map_err(named("agency_key"))?,
        made,
        body,
        agency,
    })
}

pub(super) fn roster(list: &[wire::RosterEntry]) -> Result<Vec<RosterEntry>> {
    if list.is_empty() || list.len() > limits::ROSTER_MAX_COUNT {
        return fail(
            "roster",
            format!(
                "{} entries, expected 1 to {}",
                list.len(),
                limits::ROSTER_MAX_COUNT
            ),
        );
    }
    let mut roster: Vec<RosterEntry> = Vec::with_capacity(list.len());
    for (number, message) in list.iter().enumerate() {
        let place = format!("roster[{number}]");
        let entry = entry(message, &place)?;
        if roster.iter().any(|other| other.agency == entry.agency) {
            return fail(&place, format!("{} is listed twice", entry.agency));
        }
        roster.push(entry);
    }
    Ok(roster)
}

fn entry(message: &wire::RosterEntry, place: &str) -> Result<RosterEntry> {
    let status = match message.status.as_str() {
        "active" => RosterStatus::Active,
        "suspended" => RosterStatus::Suspended,
        "left" => RosterStatus::Left,
        _ => return fail(&format!("{place}.status"), "is not active, suspended or left"),
    };
    let from = time(message.from_ms, &format!("{place}.from_ms"))?;
    let until = time(message.until_ms, &format!("{place}.until_ms"))?;
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        return fail(&format!("{place}.until_ms"), "is not after from_ms");
    }
    let agency = AgencyId::new(&message.agency).map_err(named(&format!("{place}.agency")))?;
    Ok(RosterEntry {
        agency,
        status,
        from,
        until,
        perp_side: message.perp_side,
    })
}

/// A time on the wire; 0 is none.
pub(super) fn time(millis: i64, place: &str) -> Result<Option<Timestamp>> {
    match millis {
        0 => Ok(None),
        1..=TIME_MAX_MILLIS => Ok(Some(Timestamp::from_millis(millis))),
        _ => fail(place, "is not a time between 1970 and 9999"),
    }
}
