//! Witnessed or provisional: whether enough of the directory's witnesses cosigned one checkpoint, and whether that
//! checkpoint's tree holds an entry.

use std::collections::BTreeMap;

use super::checkpoint::{CheckpointError, SignedCheckpoint};
use super::cosignature::{CosignatureError, WitnessKey, witness_name};
use super::proof::{PROOF_MAX_COUNT, ProofError, check_consistency};
use super::shards::Opens;
use crate::evidence::CheckedEvidence;
use crate::ids::Digest;
use crate::party::AgencyId;
use crate::wire;

/// Most witnesses of a network: their cosignatures fit into one note.
pub const WITNESSES_MAX_COUNT: usize = 32;

/// Who watches a log, with which keys, and how many of them may lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    keys: BTreeMap<AgencyId, Option<WitnessKey>>,
    tolerated: usize,
}

/// A witness that cosigned, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedBy {
    /// The witness.
    pub agency: AgencyId,
    /// When, in seconds since 1970, by its clock.
    pub seconds: u64,
}

/// What a checkpoint's cosignatures amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Enough witnesses cosigned it: no other history of this size can have as many, unless more witnesses lie than the
    /// directory allows for.
    Witnessed {
        /// Who cosigned it.
        by: Vec<CosignedBy>,
    },
    /// Not enough did.
    Provisional {
        /// Who cosigned it.
        by: Vec<CosignedBy>,
        /// How many it takes.
        needed: usize,
    },
}

impl Standing {
    /// Who cosigned.
    pub fn by(&self) -> &[CosignedBy] {
        match self {
            Self::Witnessed { by } | Self::Provisional { by, .. } => by,
        }
    }

    /// Whether enough did.
    pub const fn is_witnessed(&self) -> bool {
        matches!(self, Self::Witnessed { .. })
    }
}

impl Witnesses {
    /// The witnesses that a directory names, those without a key too; and how many of them may lie.
    pub fn new(keys: BTreeMap<AgencyId, Option<WitnessKey>>, tolerated: usize) -> Self {
        Self { keys, tolerated }
    }

    /// How many there are, w.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// How many cosignatures make a checkpoint witnessed: the smallest number above (w+f)/2.
    ///
    /// Two checkpoints with so many each share more than f witnesses, hence an honest one, which cosigns one history.
    pub fn needed(&self) -> usize {
        (self.keys.len().saturating_add(self.tolerated)) / 2 + 1
    }

    /// Whether an agency is a witness, with a key or without.
    pub fn is_named(&self, agency: &AgencyId) -> bool {
        self.keys.contains_key(agency)
    }

    /// The key of a witness, under its name in the shard in force.
    pub fn key(&self, agency: &AgencyId) -> Option<&WitnessKey> {
        self.keys.get(agency)?.as_ref()
    }

    /// The key of a witness, under its name in the shard named `origin`.
    pub fn key_for(&self, agency: &AgencyId, origin: &str) -> Option<WitnessKey> {
        self.key(agency)?.under(&witness_name(origin, agency)).ok()
    }

    /// What the cosignatures in a checkpoint's note amount to. Each witness counts once; lines of others, and of keys
    /// that the directory does not list, are ignored.
    ///
    /// # Errors
    /// A line says that it is by a witness' key, and does not hold.
    pub fn standing(&self, checkpoint: &SignedCheckpoint) -> Result<Standing, CosignatureError> {
        let mut by = Vec::new();
        for agency in self.keys.keys() {
            let Some(key) = self.key_for(agency, checkpoint.origin()) else {
                continue;
            };
            if let Some(found) = key.find(checkpoint)? {
                by.push(CosignedBy {
                    agency: agency.clone(),
                    seconds: found.seconds,
                });
            }
        }
        let needed = self.needed();
        Ok(if by.len() >= needed {
            Standing::Witnessed { by }
        } else {
            Standing::Provisional { by, needed }
        })
    }
}

/// Why a proof that an entry is witnessed does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessedError {
    /// The cosigned checkpoint does not hold.
    #[error("cosigned {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A cosignature does not hold.
    #[error("{0}")]
    Cosignature(#[from] CosignatureError),
    /// Its tree ends before the entry.
    #[error("the cosigned tree ends before the entry")]
    Smaller,
    /// It is not of the history that the entry was proved in.
    #[error("the cosigned tree is not of the entry's history: {0}")]
    Consistency(#[from] ProofError),
    /// It is of the size of the entry's tree and has another root.
    #[error("the cosigned tree has another root than the entry's tree of the same size")]
    OtherRoot,
    /// The proof does not have the form that it must have.
    #[error("witness proof: malformed")]
    Malformed,
}

/// Checks, offline, that a cosigned checkpoint's tree holds the entry of this evidence, and says what its cosignatures
/// amount to.
///
/// # Errors
/// Something does not hold; then nothing follows for the entry.
pub fn check(
    evidence: &CheckedEvidence,
    proof: &wire::WitnessProof,
    log: &(impl Opens + ?Sized),
    witnesses: &Witnesses,
) -> Result<Standing, WitnessedError> {
    let cosigned = log.open(&proof.checkpoint)?;
    if cosigned.size() != proof.size || proof.consistency.len() > PROOF_MAX_COUNT {
        return Err(WitnessedError::Malformed);
    }
    if cosigned.size() <= evidence.index() {
        return Err(WitnessedError::Smaller);
    }
    let path: Result<Vec<_>, _> = proof.consistency.iter().map(|h| Digest::try_from(&**h)).collect();
    let path = path.map_err(|_| WitnessedError::Malformed)?;
    same_history(evidence.checkpoint(), &cosigned, &path)?;
    Ok(witnesses.standing(&cosigned)?)
}

/// Checks that two checkpoints, in whichever order, are of one history.
///
/// # Errors
/// They are not, or the proof does not show it.
pub fn same_history(
    one: &SignedCheckpoint,
    other: &SignedCheckpoint,
    path: &[Digest],
) -> Result<(), WitnessedError> {
    let (older, newer) = if one.size() <= other.size() {
        (one, other)
    } else {
        (other, one)
    };
    if older.size() == newer.size() {
        let same = older.root() == newer.root();
        return if same {
            Ok(())
        } else {
            Err(WitnessedError::OtherRoot)
        };
    }
    check_consistency(older.size(), newer.size(), path, &older.root(), &newer.root())?;
    Ok(())
}
