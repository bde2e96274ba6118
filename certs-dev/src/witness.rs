//! Witnesses of a development network: its first seven agencies.

use rand::RngCore;
use schakel_proto::tlog::cosignature::{Algorithm, WitnessSecret, witness_name};
use schakel_proto::wire;

use crate::files::{self, Access};
use crate::network::Network;
use crate::problem::Problem;
use crate::spec::{AgencySpec, OpenPgp};

/// Most witnesses that are named by themselves.
const NAMED_MAX_COUNT: usize = 7;

/// Makes an agency's witness key and its file: ML-DSA-44, and Ed25519 for an agency that works with v4 keys, so that both
/// are in use.
pub(crate) fn new_key(
    network: &Network,
    agency: &AgencySpec,
    origin: &str,
    rng: &mut dyn RngCore,
) -> Result<wire::WitnessKey, Problem> {
    let file = network.witness_key_file(&agency.id);
    let algorithm = match agency.openpgp {
        OpenPgp::V4 => Algorithm::Ed25519,
        OpenPgp::V6 | OpenPgp::V6PostQuantumSigning => Algorithm::MlDsa44,
    };
    let name = witness_name(origin, &agency.id);
    let secret = WitnessSecret::generate(algorithm, &name, rng).map_err(Problem::at(
        &file,
        "This build cannot make a witness key: report it.",
    ))?;
    files::new_file(&file, secret.to_text().as_bytes(), Access::Private)?;
    Ok(wire::WitnessKey {
        agency: agency.id.to_string(),
        key: secret.public().to_bytes().into(),
    })
}

/// Names one more witness, if there is room. Of w witnesses a third may lie: (w-1)/3.
pub(crate) fn name(log: &mut wire::LogDescription, key: wire::WitnessKey) {
    if log.witnesses.len() < NAMED_MAX_COUNT {
        log.witnesses.push(key.agency.clone());
        log.witness_keys.push(key);
        tolerate(log);
    }
}

/// Names a witness no more.
pub(crate) fn forget(log: &mut wire::LogDescription, agency: &str) {
    log.witnesses.retain(|one| one != agency);
    log.witness_keys.retain(|one| one.agency != agency);
    tolerate(log);
}

fn tolerate(log: &mut wire::LogDescription) {
    let liars = log.witnesses.len().saturating_sub(1) / 3;
    log.tolerated_liars = u32::try_from(liars).unwrap_or_default();
}
