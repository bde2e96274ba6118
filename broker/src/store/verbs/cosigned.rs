//! What witnesses cosign: the checkpoint that is held up to them, the newest that enough signed, and their lines.

use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::super::cosigned::{COSIGNATURES_MAX_COUNT, HeldUp, NewCandidate};
use super::super::error::StoreError;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::CandidateRow;
use super::super::kv::txn::Read;

/// Checkpoints that are read: there are at most two, and a third while one takes another's place.
const CANDIDATES_MAX_COUNT: usize = 8;

fn damaged() -> StoreError {
    StoreError::Corrupt("a cosignature".into())
}

fn sizes(read: &impl Read) -> Result<Vec<u64>, StoreError> {
    let rows = read.records(&[keys::CANDIDATE], None, CANDIDATES_MAX_COUNT)?;
    let size = |(key, _): &(Vec<u8>, Vec<u8>)| keys::last_number(key).ok_or_else(damaged);
    rows.iter().map(size).collect()
}

fn signers(read: &impl Read, size: u64) -> Result<usize, StoreError> {
    let rows = read.records(&keys::cosignatures(size), None, COSIGNATURES_MAX_COUNT)?;
    Ok(rows.len())
}

/// All that are kept, smallest first: the last is the one that is held up.
pub(crate) fn held_up(read: &impl Read) -> Result<Vec<HeldUp>, StoreError> {
    let mut all = Vec::new();
    for size in sizes(read)? {
        let row: CandidateRow = read.must(&keys::candidate(size))?;
        let mut lines = Vec::new();
        for (key, value) in read.scan(&keys::cosignatures(size), None, COSIGNATURES_MAX_COUNT)? {
            let line = String::from_utf8(value).map_err(|_| damaged())?;
            lines.push((keys::cosigner(&key).ok_or_else(damaged)?, line));
        }
        all.push(HeldUp {
            size,
            note: row.note,
            since: Timestamp::from_millis(row.since_ms),
            lines,
        });
    }
    Ok(all)
}

/// Holds up another one, if what is held up is what the caller saw; of the former only one stays.
pub(crate) fn hold_up(step: &mut Step<'_>, new: &NewCandidate) -> Result<bool, StoreError> {
    let sizes = sizes(&step.txn)?;
    let current = match sizes.last() {
        Some(size) => Some((*size, signers(&step.txn, *size)?)),
        None => None,
    };
    if current != new.instead_of || sizes.last().is_some_and(|size| *size >= new.size) {
        return Ok(false);
    }
    for size in sizes.into_iter().filter(|size| Some(*size) != new.keep) {
        step.txn.delete(&keys::candidate(size))?;
        let lines = step
            .txn
            .records(&keys::cosignatures(size), None, COSIGNATURES_MAX_COUNT)?;
        for (key, _) in lines {
            step.txn.delete(&key)?;
        }
    }
    let row = CandidateRow {
        note: new.note.clone(),
        since_ms: new.since.millis(),
    };
    step.txn.put_row(&keys::candidate(new.size), &row)?;
    Ok(true)
}

/// Keeps a witness' line, its former one of the same checkpoint goes; false: that checkpoint is not kept (any more).
pub(crate) fn keep(
    step: &mut Step<'_>,
    size: u64,
    agency: &AgencyId,
    line: &str,
) -> Result<bool, StoreError> {
    if step.txn.record(&keys::candidate(size))?.is_none() {
        return Ok(false);
    }
    let key = keys::cosignature(size, agency);
    let known = step.txn.record(&key)?.is_some();
    if !known && signers(&step.txn, size)? >= COSIGNATURES_MAX_COUNT {
        return Err(StoreError::Misused("more cosignatures than there are witnesses"));
    }
    step.txn.put(&key, line.as_bytes())?;
    Ok(true)
}
