//! The network of the packet vectors (`proto/vectors`), to run a broker and agents on: its members have the keys of
//! `world.json`, which everybody knows, and its time is that of the vectors.

use std::path::Path;

use rand::RngCore;
use schakel_proto::time::Timestamp;
use schakel_proto::vectors::{NOW, World};

use crate::mint::{Mint, mint_dated};
use crate::network::Network;
use crate::problem::Problem;
use crate::spec::{NetworkSpec, OpenPgp};

/// Age of everything that the vectors' world does not bring.
const MINTED_BEFORE_MILLIS: i64 = 6 * 3600 * 1000;
/// The member that the world marks as one for version 4 keys.
const V4_MEMBER: &str = "jh-antwerpen-dader";
/// An agency that is no member: its folder is there, with a certificate of the right TLS authority.
pub const NOBODY: &str = "pz-rupel-opvolgcel";

/// Mints it, as of the vectors' moment. TLS does not follow simulated time: its certificates are of `tls_at`.
///
/// # Errors
/// As [`crate::mint`].
pub fn mint_vectors(
    out: &Path,
    (port, health_port): (u16, u16),
    tls_at: Timestamp,
    rng: &mut dyn RngCore,
) -> Result<Network, Problem> {
    let world = World::load();
    let mut spec = NetworkSpec::builtin("rupel")?;
    // Beside the world's members those with officers, who sign the policies.
    spec.agencies.retain(|agency| {
        world.members().any(|id| *id == agency.id)
            || !agency.officers.is_empty()
            || agency.id.as_str() == NOBODY
    });
    for agency in &mut spec.agencies {
        agency.openpgp = if agency.id.as_str() == V4_MEMBER {
            OpenPgp::V4
        } else {
            OpenPgp::V6
        };
    }
    let order = Mint {
        spec: &spec,
        out,
        port,
        health_port,
        at: NOW.plus_millis(-MINTED_BEFORE_MILLIS),
    };
    let mut network = mint_dated(&order, tls_at, rng)?;
    if let Some(nobody) = spec.agencies.iter().find(|agency| agency.id.as_str() == NOBODY) {
        network.remove_agency(&nobody.id, NOW)?;
    }
    for id in world.members() {
        network.adopt_openpgp(id, world.keys(id), NOW)?;
    }
    Ok(network)
}
