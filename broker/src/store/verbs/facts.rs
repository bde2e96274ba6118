//! Facts and ceilings.

use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::wire;

use super::super::entry::NewEntry;
use super::super::error::StoreError;
use super::super::facts::{
    AcceptedStatement, Ceiling, CeilingOf, Ceilings, Facts, NewStatement, Raised, StatementAdded,
};
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::{CaseRow, CeilingRow, FactRow, StatementRow};
use super::super::kv::txn::Read;
use super::{PAGE, endings, id, log_entry, optional_digest, oversight};

/// Head and number of a case's facts.
pub(crate) fn head(read: &impl Read, case: &CaseRef) -> Result<(Option<Digest>, u64), StoreError> {
    let row = read.row::<CaseRow>(&keys::case(case))?.unwrap_or_default();
    Ok((optional_digest(&row.head)?, row.count))
}

/// All facts of a case.
pub(crate) fn facts(read: &impl Read, case: &CaseRef) -> Result<Facts, StoreError> {
    let row = read.row::<CaseRow>(&keys::case(case))?.unwrap_or_default();
    let prefix = keys::fact_prefix(case);
    let mut entries = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = read.scan(&prefix, after.as_deref(), PAGE)?;
        for (key, value) in &page {
            let damaged = || StoreError::Corrupt("a fact".into());
            let fact: FactRow = prost::Message::decode(value.as_slice()).map_err(|_| damaged())?;
            entries.push(wire::FactEntry {
                number: keys::last_number(key).ok_or_else(damaged)?,
                statement: fact.signed,
                head: fact.head,
                accepted_ms: fact.accepted_ms,
                ..wire::FactEntry::default()
            });
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
            _ => break,
        }
    }
    let facts = Facts {
        entries,
        head: optional_digest(&row.head)?,
        roster_version: row.roster_version,
    };
    // A missing fact would silently change every decision.
    if facts.count() == row.count {
        Ok(facts)
    } else {
        Err(StoreError::Corrupt("the facts of a case".into()))
    }
}

/// Commits a statement as the next fact.
pub(crate) fn add_statement(step: &mut Step<'_>, new: &NewStatement) -> Result<StatementAdded, StoreError> {
    let key = keys::statement(&new.statement);
    let digest = Digest::of(&new.signed.bytes);
    if let Some(row) = step.txn.row::<StatementRow>(&key)? {
        if row.digest != digest.as_bytes() {
            return Ok(StatementAdded::ConflictingDigest);
        }
        return Ok(StatementAdded::Repeated(AcceptedStatement {
            number: row.number,
            head: id(&row.head)?,
            roster_version: row.roster_version,
            leaf_hash: id(&row.leaf)?,
        }));
    }
    let (head, count) = head(&step.txn, &new.case)?;
    let same = head == new.expected_head && count == new.expected_count;
    if !same || !in_force(&step.txn, new.bundle_version, new.directory_version)? {
        return Ok(StatementAdded::Conflict);
    }
    let answer = AcceptedStatement {
        number: count + 1,
        head: new.head,
        roster_version: new.roster_version,
        leaf_hash: new.entry.leaf_hash(),
    };
    let fact = FactRow {
        signed: Some(new.signed.clone()),
        head: bytes::Bytes::copy_from_slice(new.head.as_bytes()),
        accepted_ms: new.accepted_at.millis(),
    };
    step.txn.put_row(&keys::fact(&new.case, answer.number), &fact)?;
    let case = CaseRow {
        head: new.head.to_vec(),
        count: answer.number,
        roster_version: new.roster_version,
    };
    step.txn.put_row(&keys::case(&new.case), &case)?;
    let row = StatementRow {
        digest: digest.to_vec(),
        number: answer.number,
        head: new.head.to_vec(),
        roster_version: new.roster_version,
        leaf: answer.leaf_hash.to_vec(),
    };
    step.txn.put_row(&key, &row)?;
    if let Some(packet) = &new.reviews {
        oversight::reviewed(step, &new.case, packet)?;
    }
    log_entry(step, &new.entry)?;
    let reconsider = endings::reconsider(step, Some(&new.case))?;
    Ok(StatementAdded::New { answer, reconsider })
}

/// One ceiling.
pub(crate) fn ceiling(read: &impl Read, of: CeilingOf) -> Result<Option<Ceiling>, StoreError> {
    let Some(row) = read.row::<CeilingRow>(&keys::ceiling(of))? else {
        return Ok(None);
    };
    Ok(Some(Ceiling {
        version: row.version,
        digest: id(&row.digest)?,
    }))
}

/// Whether these are the versions in force.
pub(crate) fn in_force(read: &impl Read, bundle: u64, directory: u64) -> Result<bool, StoreError> {
    let same = |ceiling: Option<Ceiling>, version| ceiling.is_none_or(|c| c.version == version);
    Ok(same(ceiling(read, CeilingOf::Bundle)?, bundle)
        && same(ceiling(read, CeilingOf::Directory)?, directory))
}

/// Both ceilings.
pub(crate) fn ceilings(read: &impl Read) -> Result<Ceilings, StoreError> {
    Ok(Ceilings {
        directory: ceiling(read, CeilingOf::Directory)?,
        bundle: ceiling(read, CeilingOf::Bundle)?,
    })
}

/// Raises a ceiling; never lowers it.
pub(crate) fn raise(
    step: &mut Step<'_>,
    of: CeilingOf,
    new: Ceiling,
    entry: &NewEntry,
) -> Result<Raised, StoreError> {
    match ceiling(&step.txn, of)? {
        Some(current) if current == new => return Ok(Raised::Same),
        Some(current) if current.version >= new.version => return Ok(Raised::Refused { current }),
        _ => {}
    }
    let row = CeilingRow {
        version: new.version,
        digest: new.digest.to_vec(),
    };
    step.txn.put_row(&keys::ceiling(of), &row)?;
    log_entry(step, entry)?;
    Ok(Raised::New {
        leaf_hash: entry.leaf_hash(),
    })
}
