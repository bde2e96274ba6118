//! What an agency signed that it saw of the log and a checkpoint of another history are a dispute that anybody can check;
//! two that may both be true are none, and neither is what nobody signed.

use std::path::{Path, PathBuf};

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::evidence::verify::verify;
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::pack::{command, path};

use super::contradiction::History;
use super::{PROSECUTOR, SENDER, anchor, failed};

/// Somebody who keeps disputes with a recipient.
struct Keeper {
    town: Town,
    log: LogSecret,
    recipient: SecretKeys,
}

impl Keeper {
    fn new() -> Self {
        let town = Town::rupel();
        let text = std::fs::read_to_string(town.network().broker_folder().join("log-key.txt")).unwrap();
        Self {
            log: LogSecret::from_text(&text).unwrap(),
            recipient: town.network().agency_keys(&agency(PROSECUTOR)).unwrap(),
            town,
        }
    }

    /// What the recipient says that it saw.
    fn said(&self, seen: &History) -> wire::Acknowledgement {
        wire::Acknowledgement {
            r#type: "schakel.v1.Acknowledgement".into(),
            network: "rupel".into(),
            recipient: PROSECUTOR.into(),
            recipient_key: self.recipient.fingerprint().as_bytes().to_vec().into(),
            made_ms: now().millis(),
            checkpoint_seen: Some(wire::CheckpointSeen {
                origin: self.log.public().origin().to_owned(),
                size: seen.size(),
                root: seen.root().to_vec().into(),
            }),
            ..wire::Acknowledgement::default()
        }
    }

    /// The folder in which a word is kept beside our own history.
    fn keep(&self, said: &wire::Acknowledgement, own: &History, proof: &[Digest]) -> PathBuf {
        let folder = self.town.scratch("disputed");
        let bytes = said.encode_to_vec();
        let signature = self.recipient.sign(&bytes, now()).unwrap();
        let signed = wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        };
        let seen = said.checkpoint_seen.clone().unwrap_or_default();
        let found = serde_json::json!({
            "what": "found by a test", "by": said.recipient, "in": "acknowledgement",
            "size": seen.size, "root": Digest::try_from(&*seen.root).ok(), "proof": proof,
        });
        let directory = std::fs::read(self.town.network().directory_file()).unwrap();
        let files = [
            ("signed.bin", signed.encode_to_vec()),
            ("own.note", self.log.sign(own.size(), own.root()).note().to_vec()),
            ("found.json", found.to_string().into_bytes()),
            ("directory.bin", directory),
        ];
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }

    fn check(&self, folder: &Path) -> Vec<String> {
        failed(&verify(folder, &anchor(&self.town)).unwrap())
    }
}

const NONE: [&str; 0] = [];

#[test]
fn l01_l09_what_an_agency_saw_and_a_checkpoint_of_another_history_are_a_dispute() {
    let keeper = Keeper::new();
    let (honest, lie) = (History::of(15, None), History::of(10, Some(4)));
    let ten = History::of(10, None);
    let said = keeper.said(&lie);
    // Two roots of one size.
    let two = keeper.keep(&said, &ten, &[]);
    assert_eq!(keeper.check(&two), NONE);
    let authority = keeper.town.network().authority_file();
    let verify = ["evidence", "verify", path(&two), "--lang", "nl", "--authority"];
    let (status, told) = command(&[&verify[..], &[path(&authority)]].concat());
    assert_eq!(status, Some(0), "{told}");
    assert!(
        told.contains("een van beide liegt") && told.contains(PROSECUTOR),
        "{told}"
    );
    // The broker's proof shows, under our checkpoint, another root of the size that was seen.
    let proof = honest.proof_from(10);
    assert_eq!(keeper.check(&keeper.keep(&said, &honest, &proof)), NONE);
    // Without it, or with another, both may be true.
    let none = ["dispute 10 / 15"];
    assert_eq!(keeper.check(&keeper.keep(&said, &honest, &[])), none);
    let mut spoilt = proof.clone();
    spoilt[0] = Digest::of(b"no proof of anybody");
    assert_eq!(keeper.check(&keeper.keep(&said, &honest, &spoilt)), none);
    // Of eight leaves with the root that stands there, and with no other.
    let eight = History::of(8, Some(4));
    let folder = keeper.keep(&keeper.said(&eight), &honest, &honest.proof_from(8));
    assert_eq!(keeper.check(&folder), ["dispute 8 / 15"]);
    let found = folder.join("found.json");
    for (root, expected) in [
        (History::of(8, None).root(), &NONE[..]),
        (Digest::of(b"invented"), &["dispute 8 / 15"][..]),
    ] {
        let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&found).unwrap()).unwrap();
        told["from_root"] = serde_json::json!(root);
        std::fs::write(&found, told.to_string()).unwrap();
        assert_eq!(keeper.check(&folder), expected);
    }
    // They are of one history.
    let saw_ours = keeper.said(&ten);
    assert_eq!(keeper.check(&keeper.keep(&saw_ours, &honest, &proof)), none);
    assert_eq!(keeper.check(&keeper.keep(&saw_ours, &honest, &spoilt)), none);
    assert_eq!(
        keeper.check(&keeper.keep(&saw_ours, &ten, &[])),
        ["dispute 10 / 10"]
    );
    // What was seen may be what came later.
    let later = keeper.said(&honest);
    assert_eq!(keeper.check(&keeper.keep(&later, &ten, &[])), ["dispute 15 / 10"]);
    // Of another log it says nothing of this one.
    let mut elsewhere = said.clone();
    elsewhere.checkpoint_seen.as_mut().unwrap().origin = "log.example/other".into();
    assert_eq!(
        keeper.check(&keeper.keep(&elsewhere, &ten, &[])),
        ["dispute 10 / 10"]
    );
}

#[test]
fn l01_l09_a_dispute_that_a_side_did_not_sign_is_none() {
    let mut keeper = Keeper::new();
    let (ten, lie) = (History::of(10, None), History::of(10, Some(4)));
    let said = keeper.said(&lie);
    let word = ["seen signed.bin"];
    // The agency said nothing of the log, or is of another network, or is another than signed.
    let forgeries: [fn(&mut wire::Acknowledgement); 4] = [
        |said| said.checkpoint_seen = None,
        |said| said.network = "demer".into(),
        |said| said.recipient = SENDER.into(),
        |said| said.r#type = "schakel.v1.Recall".into(),
    ];
    for forge in forgeries {
        let mut forged = said.clone();
        forge(&mut forged);
        assert_eq!(keeper.check(&keeper.keep(&forged, &ten, &[])), word);
    }
    let folder = keeper.keep(&said, &ten, &[]);
    let file = |name: &str| folder.join(name);
    let whole = std::fs::read(file("signed.bin")).unwrap();
    std::fs::write(file("signed.bin"), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(keeper.check(&folder), word, "half of it");
    std::fs::remove_file(file("signed.bin")).unwrap();
    assert_eq!(keeper.check(&folder), word, "nothing signed");
    std::fs::write(file("signed.bin"), &whole).unwrap();
    assert_eq!(keeper.check(&folder), NONE);
    // What is written beside it is not what was signed; or something rides along.
    let found = std::fs::read_to_string(file("found.json")).unwrap();
    std::fs::write(file("found.json"), found.replace(PROSECUTOR, SENDER)).unwrap();
    assert_eq!(keeper.check(&folder), ["dispute 10 / 10"]);
    std::fs::write(file("found.json"), found).unwrap();
    std::fs::write(file("verslag.pdf"), "see me").unwrap();
    assert_eq!(keeper.check(&folder), ["container verslag.pdf"]);
    std::fs::remove_file(file("verslag.pdf")).unwrap();
    // Nobody says whose keys these are.
    std::fs::remove_file(file("directory.bin")).unwrap();
    assert_eq!(keeper.check(&folder), ["directory directory.bin"]);
    // Another member signed for it; somebody else signed our side.
    let own = std::mem::replace(
        &mut keeper.recipient,
        keeper.town.network().agency_keys(&agency(SENDER)).unwrap(),
    );
    assert_eq!(keeper.check(&keeper.keep(&said, &ten, &[])), word);
    keeper.recipient = own;
    keeper.log = LogSecret::generate(keeper.log.public().origin(), &mut StdRng::seed_from_u64(8)).unwrap();
    assert_eq!(
        keeper.check(&keeper.keep(&said, &ten, &[])),
        ["checkpoint own.note"]
    );
}
