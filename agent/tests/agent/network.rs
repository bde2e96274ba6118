//! Directory and rules: never older than the newest seen, whatever is served and whatever is lost here.

use std::sync::Arc;

use prost::Message;
use schakel_agent::clock::SystemClock;
use schakel_agent::directory::Network;
use schakel_agent::disk::Disk;
use schakel_agent::problem::Problem;
use schakel_agent::transport::tls::Pins;
use schakel_proto::wire;

use crate::support::parcel::{RECIPIENT, bundle, bundle_of_version};
use crate::support::town::{Town, now};

pub fn open(town: &Town, development: bool) -> Result<Network, Problem> {
    let config = town.config(RECIPIENT);
    Disk::default().make_dir(&config.data_dir).unwrap();
    let key = town.keys(RECIPIENT).fingerprint();
    Network::open(
        &config,
        key,
        Arc::new(Pins::default()),
        Arc::new(SystemClock),
        Disk::default(),
        development,
    )
}

pub fn served(town: &Town) -> wire::MultiSigned {
    wire::MultiSigned::decode(&*std::fs::read(town.network.directory_file()).unwrap()).unwrap()
}

fn code(done: Result<(), Problem>) -> String {
    done.unwrap_err().code
}

#[test]
fn i06_p01_an_older_directory_is_refused_also_after_a_restart_and_a_loss() {
    let town = Town::new(1);
    let first = served(&town);
    town.network.refresh(now()).unwrap();
    let second = served(&town);
    let network = open(&town, true).unwrap();
    network.adopt(&first).unwrap();
    network.adopt(&second).unwrap();
    assert_eq!(code(network.adopt(&first)), "DIRECTORY_OLDER");
    let network = open(&town, true).unwrap();
    assert_eq!(network.view().unwrap().directory().version(), 2);
    assert_eq!(code(network.adopt(&first)), "DIRECTORY_OLDER");
    std::fs::remove_file(town.config(RECIPIENT).data_dir.join("network/directory.bin")).unwrap();
    let network = open(&town, true).unwrap();
    assert_eq!(network.view().err().unwrap().code, "NO_DIRECTORY");
    assert_eq!(code(network.adopt(&first)), "DIRECTORY_OLDER");
    network.adopt(&second).unwrap();
}

#[test]
fn i06_a_directory_that_the_authority_did_not_sign_or_that_leaves_us_out_is_refused() {
    let town = Town::new(1);
    let network = open(&town, true).unwrap();
    let mut forged = served(&town);
    let mut signature = forged.signatures[0].to_vec();
    *signature.last_mut().unwrap() ^= 1;
    forged.signatures[0] = signature.into();
    assert_eq!(code(network.adopt(&forged)), "DIRECTORY_SIGNATURE");
    let without = town
        .network
        .issue_changed(now(), |d| d.agencies.retain(|a| a.id != RECIPIENT))
        .unwrap();
    assert_eq!(code(network.adopt(&without)), "NOT_A_MEMBER");
    let other = town.network.issue_changed(now(), |d| {
        let keys = d.agencies[0].certificates.clone();
        d.agencies.retain(|a| a.id != "pz-rupel");
        d.agencies
            .iter_mut()
            .find(|a| a.id == RECIPIENT)
            .unwrap()
            .certificates = keys;
    });
    assert_eq!(code(network.adopt(&other.unwrap())), "KEY_NOT_LISTED");
    assert!(network.view().is_err(), "nothing of a refused directory is used");
    assert_eq!(
        code(open(&town, false).unwrap().adopt(&served(&town))),
        "DEVELOPMENT_MARK"
    );
}

#[test]
fn p03_rules_that_two_officers_of_two_agencies_did_not_sign_are_refused() {
    let town = Town::new(1);
    let network = open(&town, true).unwrap();
    network.adopt(&served(&town)).unwrap();
    let good = bundle(&town);
    let mut once = good.clone();
    once.signatures.truncate(1);
    let mut twice = good.clone();
    twice.signatures = vec![good.signatures[0].clone(), good.signatures[0].clone()];
    for bad in [once, twice] {
        assert!(network.adopt_bundle(&bad).is_err());
        assert!(network.engine().is_none());
    }
    network.adopt_bundle(&good).unwrap();
    let (digest, version) = {
        let engine = network.engine().unwrap();
        (engine.bundle().digest(), engine.bundle().version())
    };
    assert!(network.bundle_holds(&digest, version, now()));
    assert!(!network.bundle_holds(&digest, version + 1, now()));
    assert!(
        open(&town, true).unwrap().bundle_holds(&digest, version, now()),
        "known after a restart"
    );
}

#[test]
fn p01_older_rules_are_refused_also_after_a_restart_and_a_loss() {
    let town = Town::new(1);
    let (first, second) = (bundle(&town), bundle_of_version(&town, 2));
    let network = open(&town, true).unwrap();
    network.adopt(&served(&town)).unwrap();
    network.adopt_bundle(&first).unwrap();
    network.adopt_bundle(&second).unwrap();
    let in_force = |network: &Network| network.engine().map(|engine| engine.bundle().version());
    assert_eq!(code(network.adopt_bundle(&first)), "BUNDLE_OLDER");
    assert_eq!(in_force(&network), Some(2));
    drop(network);
    let network = open(&town, true).unwrap();
    assert_eq!(code(network.adopt_bundle(&first)), "BUNDLE_OLDER");
    assert_eq!(in_force(&network), Some(2));
    drop(network);
    // The older file put back on the disk, or none: the newest seen is still the newest seen.
    let kept = town.config(RECIPIENT).data_dir.join("network/bundle.bin");
    for left in [Some(first.to_bytes()), None] {
        match left {
            Some(bytes) => std::fs::write(&kept, bytes).unwrap(),
            None => std::fs::remove_file(&kept).unwrap(),
        }
        let network = open(&town, true).unwrap();
        assert_eq!(in_force(&network), None, "nothing is decided by older rules");
        assert_eq!(code(network.adopt_bundle(&first)), "BUNDLE_OLDER");
    }
    let network = open(&town, true).unwrap();
    network.adopt_bundle(&second).unwrap();
    assert_eq!(in_force(&network), Some(2));
}
