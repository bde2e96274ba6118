//! The witnesses' keys in the directory.

use std::collections::BTreeMap;

use super::DirectoryError;
use crate::party::AgencyId;
use crate::tlog::cosignature::{WitnessKey, witness_name};
use crate::tlog::witnessed::Witnesses;
use crate::wire;

/// The keys of the witnesses of a log: at most one each, none of two. A witness without one stays named: it counts among
/// those of whom more than half must cosign.
pub(super) fn parse(
    message: &wire::LogDescription,
    witnesses: &[AgencyId],
    origin: &str,
) -> Result<Witnesses, DirectoryError> {
    let wrong = |what: String| DirectoryError::malformed("log.witness_keys", what);
    let mut keys: BTreeMap<AgencyId, Option<WitnessKey>> =
        witnesses.iter().map(|agency| (agency.clone(), None)).collect();
    let mut listed: Vec<&[u8]> = Vec::new();
    for one in &message.witness_keys {
        let id = AgencyId::new(&one.agency).map_err(|e| wrong(e.to_string()))?;
        let slot = match keys.get_mut(&id) {
            Some(slot) if slot.is_none() => slot,
            _ => return Err(wrong(format!("{id} is not a witness, or is listed twice"))),
        };
        if listed.contains(&&*one.key) {
            return Err(wrong(format!("{id} has the key of another witness")));
        }
        listed.push(&one.key);
        let key = WitnessKey::new(&witness_name(origin, &id), &one.key);
        *slot = Some(key.map_err(|e| wrong(format!("{id}: {e}")))?);
    }
    let tolerated = usize::try_from(message.tolerated_liars).unwrap_or(usize::MAX);
    Ok(Witnesses::new(keys, tolerated))
}
