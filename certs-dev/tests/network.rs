//! A minted network from outside: complete, sealed off from other users, accepted by the checks that broker
//! and agents make, never made over another, and changed by signed versions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a surprise must stop the test"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_certs_dev::{AgencySpec, Mint, Network, NetworkSpec, OpenPgp, mint};
use schakel_policy::bundle::{OfficerEntry, SignedBundle};
use schakel_proto::directory::{Directory, DirectoryError};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::{AgencyId, Code};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::cosignature::WitnessSecret;
use schakel_proto::wire;

const NOW: Timestamp = Timestamp::from_millis(1_795_278_600_000);
const LATER: Timestamp = NOW.plus_millis(60_000);

fn made(out: &Path) -> Network {
    let spec = NetworkSpec::builtin("rupel").unwrap();
    let order = Mint {
        spec: &spec,
        out,
        port: 7443,
        health_port: 7444,
        at: NOW,
    };
    mint(&order, &mut StdRng::seed_from_u64(1)).unwrap()
}

fn id(text: &str) -> AgencyId {
    AgencyId::new(text).unwrap()
}

#[test]
fn the_network_is_whole_signed_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let network = made(&folder.path().join("rupel"));
    let directory = network.directory(NOW).unwrap();
    assert!(
        directory.development(),
        "marked, so that nobody runs it in earnest"
    );
    assert_eq!(directory.agencies().count(), network.spec().agencies.len());
    for agency in directory.agencies() {
        assert!(agency.sealing_key().is_some(), "{}", agency.id());
        let keys = network.agency_keys(agency.id()).unwrap();
        assert!(agency.signing_keys(&keys.fingerprint()).is_some());
        assert!(network.agent_config(agency.id()).is_file());
    }
    let v4: Vec<_> = directory
        .agencies()
        .filter(|a| a.compatibility() == wire::Compatibility::V4)
        .map(|a| a.id())
        .collect();
    assert_eq!(v4, [&id("casusregisseur-rupel")]);
    let log = std::fs::read_to_string(network.broker_folder().join("log-key.txt")).unwrap();
    assert_eq!(
        LogSecret::from_text(&log).unwrap().public(),
        directory.log().key()
    );
    let watch = directory.log().watch();
    assert_eq!((watch.count(), watch.needed()), (7, 5));
    for witness in directory.log().witnesses() {
        let text = std::fs::read_to_string(network.witness_key_file(witness)).unwrap();
        let secret = WitnessSecret::from_text(&text).unwrap();
        assert_eq!(watch.key(witness), Some(secret.public()), "{witness}");
    }
    let officers: Vec<OfficerEntry> = directory
        .officers()
        .map(|officer| OfficerEntry {
            agency: officer.agency().clone(),
            officer: officer.id().clone(),
            certificate: officer.certificate().clone(),
        })
        .collect();
    let bundle = SignedBundle::from_bytes(&std::fs::read(network.bundle_file()).unwrap()).unwrap();
    let verified = bundle.verify(directory.network(), &officers, NOW).unwrap();
    assert_eq!(verified.signers().len(), 2);
    for entry in secrets(network.root()) {
        let mode = std::fs::metadata(&entry).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.display());
    }
}

/// Every file that holds a private key, by its content.
fn secrets(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            if text.contains("PRIVATE") || SecretKeys::parse(&bytes).is_ok() {
                found.push(path);
            }
        }
    }
    // Authority (OpenPGP, TLS), broker (TLS, log), two officers, three of each agency.
    assert_eq!(
        found.len(),
        6 + 3 * NetworkSpec::builtin("rupel").unwrap().agencies.len()
    );
    found
}

#[test]
fn nothing_is_made_over_an_existing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("rupel");
    let spec = NetworkSpec::builtin("rupel").unwrap();
    std::fs::create_dir(&out).unwrap();
    let order = Mint {
        spec: &spec,
        out: &out,
        port: 7443,
        health_port: 7444,
        at: NOW,
    };
    let refused = mint(&order, &mut StdRng::seed_from_u64(1)).unwrap_err();
    assert!(
        refused.to_string().contains("nothing is overwritten"),
        "{refused}"
    );
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    assert!(NetworkSpec::builtin("atlantis").is_err());
}

#[test]
fn the_directory_changes_by_signed_versions_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = made(&folder.path().join("rupel"));
    let first = network.directory(LATER).unwrap();
    let newcomer = AgencySpec {
        id: id("ocmw-kontich"),
        name: "OCMW Kontich".to_owned(),
        role: Code::new("ocmw").unwrap(),
        side: String::new(),
        region: Code::new("vlg").unwrap(),
        languages: vec![],
        openpgp: OpenPgp::V6,
        officers: vec![],
        competent_for: vec![],
    };
    assert_eq!(network.add_agency(newcomer, LATER).unwrap(), 2);
    assert_eq!(network.remove_agency(&id("vlotter"), LATER).unwrap(), 3);
    assert_eq!(network.refresh(LATER).unwrap(), 4);
    let network = Network::open(network.root()).unwrap();
    let directory = network.directory(LATER).unwrap();
    assert!(directory.agency(&id("ocmw-kontich")).is_some() && directory.agency(&id("vlotter")).is_none());
    assert_eq!(directory.issued(), LATER);
    assert!(Directory::accept_newer(&first, directory.clone()).is_ok());
    let back = Directory::accept_newer(&directory, first).unwrap_err();
    assert_eq!(back, DirectoryError::Older { got: 1, newest: 4 });
}

#[test]
fn new_keys_take_over_and_the_former_ones_stay_known() {
    let folder = tempfile::tempdir().unwrap();
    let network = made(&folder.path().join("rupel"));
    let police = id("pz-rupel");
    let former = network.agency_keys(&police).unwrap();
    let tls = network
        .directory(LATER)
        .unwrap()
        .agency(&police)
        .unwrap()
        .tls_identities()
        .to_vec();
    network.rotate_openpgp(&police, LATER).unwrap();
    network.rotate_tls(&police, LATER).unwrap();
    let directory = network.directory(LATER).unwrap();
    let agency = directory.agency(&police).unwrap();
    let current = network.agency_keys(&police).unwrap();
    assert_ne!(current.fingerprint(), former.fingerprint());
    let first = agency.certificates().next().unwrap();
    assert_eq!(first.fingerprint(), current.fingerprint());
    assert!(agency.signing_keys(&former.fingerprint()).is_some());
    assert_ne!(agency.tls_identities(), tls);
    assert!(directory.agency_by_tls(&tls[0]).is_none());
}

#[test]
fn a_directory_that_parties_must_refuse_can_be_signed_for_tests() {
    let folder = tempfile::tempdir().unwrap();
    let network = made(&folder.path().join("rupel"));
    let signed = network
        .issue_changed(NOW, |d| d.network = "oostende".to_owned())
        .unwrap();
    let name = network.spec().network.clone();
    let refused = Directory::verify(&signed, &network.authority().unwrap(), &name, NOW).unwrap_err();
    assert_eq!(refused, DirectoryError::Network { expected: name });
}
