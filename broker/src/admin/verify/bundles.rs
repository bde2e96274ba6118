//! Directories and policy bundles that came into force: kept as they were signed, by whom they had to be signed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schakel_policy::bundle::{OfficerEntry, SignedBundle};
use schakel_proto::ids::Digest;
use schakel_proto::refusal::Refusal;

use super::super::Desk;
use super::signatures::{Activated, Judged, Signatures};
use crate::store::{Ceiling, CeilingOf, Kept, StoreError};

/// Bundles that were verified before, by everything that it depends on; a bundle is compiled to be verified.
#[derive(Debug, Default)]
pub(in crate::admin) struct Known(Mutex<BTreeMap<Digest, u64>>);

/// What comes into force is kept within this time: committed first, kept right after.
const KEPT_WITHIN_MILLIS: i64 = 60 * 1000;
/// Most that are remembered.
const KNOWN_MAX_COUNT: usize = 256;

impl Known {
    fn signers(&self, of: &Digest) -> Option<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(of)
            .copied()
    }

    fn add(&self, of: Digest, signers: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN_MAX_COUNT {
            known.insert(of, signers);
        }
    }
}

/// Each that an entry says came into force.
pub(super) async fn check(
    desk: &Desk,
    signatures: &mut Signatures,
) -> Result<Vec<(Option<u64>, Judged)>, Refusal> {
    let mut found = Vec::new();
    let is_last = |last: Option<Ceiling>, activated: Activated| last == Some(activated.ceiling);
    let last = signatures.last(CeilingOf::Directory);
    for activated in signatures.directories.clone() {
        let of = (CeilingOf::Directory, is_last(last, activated));
        let judged = match kept(desk, of, activated).await? {
            Err(judged) => judged,
            // It judged signatures already.
            Ok(_) if signatures.is_judged(activated) => Judged::Good(1),
            Ok(kept) => directory(desk, activated, &kept),
        };
        found.push((Some(activated.index), judged));
    }
    let last = signatures.last(CeilingOf::Bundle);
    for activated in signatures.bundles.clone() {
        let of = (CeilingOf::Bundle, is_last(last, activated));
        let judged = match kept(desk, of, activated).await? {
            Err(judged) => judged,
            Ok(kept) => bundle(desk, signatures, activated, kept).await?,
        };
        found.push((Some(activated.index), judged));
    }
    Ok(found)
}

/// As it was kept; if it is not, what that means.
async fn kept(
    desk: &Desk,
    (of, last): (CeilingOf, bool),
    activated: Activated,
) -> Result<Result<Kept, Judged>, Refusal> {
    match desk.store.kept(of, activated.ceiling.version).await {
        Ok(Some(kept)) if kept.digest == activated.ceiling.digest => Ok(Ok(kept)),
        Ok(Some(_)) => Ok(Err(Judged::Wrong("another one was kept".to_owned()))),
        Ok(None) if last && desk.clock.now().millis_since(activated.at) > KEPT_WITHIN_MILLIS => {
            Ok(Err(Judged::Wrong("is in force and not kept".to_owned())))
        }
        // Whether it should be: the audit of its entry.
        Ok(None) => Ok(Err(Judged::Unsigned)),
        Err(StoreError::Corrupt(what)) => Ok(Err(Judged::Wrong(what.to_string()))),
        Err(error) => Err(error.into()),
    }
}

fn directory(desk: &Desk, activated: Activated, kept: &Kept) -> Judged {
    match desk.source.former(&kept.signed, activated.at) {
        Err(refusal) => Judged::Wrong(refusal.sentence),
        Ok(known) if known.version() == activated.ceiling.version && *known.digest() == kept.digest => {
            Judged::Good(1)
        }
        Ok(_) => Judged::Wrong("another directory was kept".to_owned()),
    }
}

/// Two officers of two agencies signed it, under the directory that was in force then.
async fn bundle(
    desk: &Desk,
    signatures: &mut Signatures,
    activated: Activated,
    kept: Kept,
) -> Result<Judged, Refusal> {
    let before = |one: &&Activated| one.index < activated.index;
    let directory = signatures.directories.iter().rev().find(before).copied();
    let Some(directory) = directory else {
        return Ok(Judged::Gone("the directory of its time is no longer kept"));
    };
    let Some(directory) = signatures
        .directory(desk, directory, (activated.at, true))
        .await?
    else {
        return Ok(Judged::Gone("the directory of its time is no longer kept"));
    };
    let at_millis = activated.at.millis().to_be_bytes();
    let all = [
        &kept.signed[..],
        directory.digest().as_bytes(),
        &at_millis,
        activated.ceiling.digest.as_bytes(),
    ];
    let of = Digest::of_all(
        &all.map(Digest::of)
            .each_ref()
            .map(|digest| &digest.as_bytes()[..]),
    );
    if let Some(signers) = desk.known_bundles.signers(&of) {
        return Ok(Judged::Good(signers));
    }
    let (network, at, digest) = (desk.network.clone(), activated.at, activated.ceiling.digest);
    let judged = tokio::task::spawn_blocking(move || {
        let signed = SignedBundle::from_bytes(&kept.signed).map_err(|error| error.to_string())?;
        let officers = OfficerEntry::all(&directory);
        let verified = signed
            .verify(&network, &officers, at)
            .map_err(|error| error.to_string())?;
        if verified.bundle().digest() == digest {
            Ok(u64::try_from(verified.signers().len()).unwrap_or(u64::MAX))
        } else {
            Err("another bundle was kept".to_owned())
        }
    });
    Ok(match judged.await {
        Ok(Ok(count)) => {
            desk.known_bundles.add(of, count);
            Judged::Good(count)
        }
        Ok(Err(what)) => Judged::Wrong(what),
        Err(_) => Judged::Wrong("could not be checked".to_owned()),
    })
}
