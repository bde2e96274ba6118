//! A small network minted for one test: police, prosecutor, two welfare agencies, one of them with v4 keys.

use std::path::Path;

use schakel_agent::clock::{Clock, SystemClock, randomness};
use schakel_agent::config::Config;
use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_certs_dev::{Mint, Network, NetworkSpec, mint, mint_vectors};
use schakel_proto::directory::Directory;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::{AgencyId, Code};
use schakel_proto::time::Timestamp;

/// The agencies that a test town has.
const MEMBERS: [&str; 5] = [
    "pz-rupel",
    "parket-antwerpen",
    "vh-antwerpen",
    "casusregisseur-rupel",
    "caw-rupel",
];

/// A minted network in a folder that goes with the test.
pub struct Town {
    _dir: tempfile::TempDir,
    pub network: Network,
}

pub fn agency(id: &str) -> AgencyId {
    AgencyId::new(id).unwrap()
}

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

impl Town {
    /// Mints it; the broker will listen on `port`.
    pub fn new(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = NetworkSpec::builtin("rupel").unwrap();
        spec.agencies.retain(|a| MEMBERS.contains(&a.id.as_str()));
        let out = dir.path().join("network");
        let order = Mint {
            spec: &spec,
            out: &out,
            port,
            health_port: port.wrapping_add(1),
            at: now(),
        };
        let network = mint(&order, &mut randomness()).unwrap();
        Self { _dir: dir, network }
    }

    /// Whoever is shown this file or folder and trusts the network's authority finds everything in it proved.
    pub fn assert_proves(&self, evidence: &Path) {
        let anchor = Anchor {
            authority: Some(self.network.authority().unwrap()),
            network: None,
            directory: None,
        };
        let report = verify(evidence, &anchor).unwrap();
        assert!(report.is_good(), "{}", report.to_text("en"));
    }

    /// Whoever is shown this folder finds everything in it as it was signed, but not that it proves this.
    pub fn assert_proves_not(&self, evidence: &Path, check: &str) {
        let anchor = Anchor {
            authority: Some(self.network.authority().unwrap()),
            network: None,
            directory: None,
        };
        let report = verify(evidence, &anchor).unwrap();
        let failed: Vec<_> = report.failed().map(|finding| finding.check.as_str()).collect();
        assert_eq!(failed, [check], "{}", report.to_text("en"));
    }

    /// The network of the packet vectors; the broker will listen on `port`.
    pub fn of_vectors(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("network");
        let ports = (port, port.wrapping_add(1));
        let network = mint_vectors(&out, ports, now(), &mut randomness()).unwrap();
        Self { _dir: dir, network }
    }

    pub fn folder(&self) -> &Path {
        self.network.root()
    }

    pub fn directory(&self) -> Directory {
        self.network.directory(now()).unwrap()
    }

    pub fn keys(&self, id: &str) -> SecretKeys {
        self.network.agency_keys(&agency(id)).unwrap()
    }

    pub fn config(&self, id: &str) -> Config {
        Config::load(&self.network.agent_config(&agency(id))).unwrap()
    }
}
