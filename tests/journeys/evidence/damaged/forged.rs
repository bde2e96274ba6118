//! What a forger makes that signs with keys of his own, or with the log's: nothing in it is damaged, and it proves
//! less than it says.

use std::collections::BTreeSet;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::evidence::verify::verify;
use schakel_proto::evidence::{ErasureKey, seal};
use schakel_proto::ids::Digest;
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::cosignature::{Algorithm, WitnessSecret, with_lines};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::wire;
use schakel_tests::system::network::now;
use schakel_tests::system::pack::{Pack, sum};

use super::super::damage::file;
use super::super::{PROSECUTOR, SENDER, Scene, anchor, failed};
use super::Known;
use super::tables::Damage;

/// Puts a directory of the authority into a pack.
fn insert(pack: &mut Pack, version: u64, signed: &wire::MultiSigned) {
    let at = |file: &str| format!("directories/{version}/{file}");
    pack.insert(at("directory.bin"), signed.bytes.to_vec());
    for (number, signature) in signed.signatures.iter().enumerate() {
        pack.insert(at(&format!("signature-{number}.sig")), signature.to_vec());
    }
}

/// The only leaf of a tree that the log's own key signed: an entry of the pack, changed.
fn only_leaf(pack: &mut Pack, known: &Known, number: usize, change: impl FnOnce(&mut wire::EvidenceBody)) {
    let mut body = wire::EvidenceBody::decode(&*pack[&known.entry(number, "body.bin")]).unwrap();
    change(&mut body);
    let key = ErasureKey::random(&mut StdRng::seed_from_u64(4));
    let made = seal(&NetworkName::new("rupel").unwrap(), body, &key);
    let note = known.secret.sign(1, leaf_hash(made.leaf())).note().to_vec();
    let proof = InclusionText {
        index: 0,
        path: Vec::new(),
        note,
    };
    let files = [
        ("leaf.bin", made.leaf().to_vec()),
        ("body.bin", made.body().to_vec()),
        ("salt.bin", key.salt(made.body()).as_bytes().to_vec()),
        ("proof.tlog-proof", proof.to_text()),
    ];
    for (name, bytes) in files {
        assert!(pack.insert(format!("log/0/{name}"), bytes).is_none(), "{name}");
    }
}

/// Folders of log entries that there is no room for.
fn folders() -> impl Iterator<Item = String> {
    (9_000_000..9_001_024).map(|number| format!("log/{number}"))
}

const UNREAD: [&str; 6] = [
    "answers/besluit.pdf",
    "directories/1/signature-7.sig",
    "consistency/007.txt",
    "sealed/verslag.v6",
    "timestamp/verslag.pdf",
    "verslag.pdf",
];

fn list(about: &[&str]) -> Vec<String> {
    about.iter().map(|one| (*one).to_owned()).collect()
}

/// By people who are who they say, but not then or not of that.
pub const BY_FORGERS: &[Damage] = &[
    (
        "the only directory was issued after all that it would judge",
        |pack, known| {
            pack.retain(|name, _| !name.starts_with("directories/"));
            insert(pack, 2, &known.later);
        },
        |known| {
            let said = known.entries[2..]
                .iter()
                .map(|index| format!("acknowledgement log/{index}"));
            let mut lost: Vec<_> = said.collect();
            lost.extend(known.every("checkpoint"));
            lost.extend(list(&["submission", "consignment", "signature manifest.sig"]));
            lost
        },
    ),
    (
        "a key that becomes the log's later signed the checkpoint of an entry",
        |pack, known| {
            insert(pack, 2, &known.later_log);
            let name = known.entry(0, "proof.tlog-proof");
            let mut proof = InclusionText::parse(&pack[&name]).unwrap();
            let checkpoint = SignedCheckpoint::open(&proof.note, known.secret.public()).unwrap();
            let forged = known.other_log.sign(checkpoint.size(), checkpoint.root());
            proof.note = forged.note().to_vec();
            pack.insert(name, proof.to_text());
        },
        |known| list(&[&format!("checkpoint {}", known.log(0)), "submission"]),
    ),
    (
        "the log says that it was received, and not what the recipient signed",
        |pack, known| only_leaf(pack, known, 2, |body| body.attachment_digest.clear()),
        |_| {
            list(&[
                "attachment log/0/attachment.bin",
                "consistency log/0, size 1",
                "order",
            ])
        },
    ),
    (
        "the log says that it was taken back, and not what the sender signed",
        |pack, known| only_leaf(pack, known, 0, |body| body.event = "schakel:Recalled".into()),
        |_| {
            list(&[
                "attachment log/0/attachment.bin",
                "consistency log/0, size 1",
                "order",
            ])
        },
    ),
    (
        // Only that the tree is not of this history: it was refused before its case was opened, and then accepted.
        "it was refused first",
        |pack, known| {
            only_leaf(pack, known, 0, |body| {
                body.event = "SubmissionRejection".into();
                body.case_ref.clear();
            });
        },
        |_| list(&["consistency log/0, size 1"]),
    ),
    (
        "half of a signed message stands beside an entry that is about none",
        |pack, known| drop(pack.insert(known.entry(0, "attachment.bin"), b"besluit".to_vec())),
        |known| list(&[&format!("attachment {}", known.entry(0, "attachment.bin"))]),
    ),
    (
        "files that nothing reads",
        |pack, known| {
            for name in UNREAD {
                pack.insert(name.into(), b"see me".to_vec());
            }
            for name in [known.part(0, "verslag.pdf"), known.entry(0, "decision.pdf")] {
                pack.insert(name, b"see me".to_vec());
            }
        },
        |known| {
            let unread = UNREAD.iter().map(|name| format!("files {name}"));
            let beside = [known.part(0, "verslag.pdf"), known.entry(0, "decision.pdf")];
            let sealed = list(&["sealed sealed/verslag.v6"]);
            let unlisted = unread.chain(beside.map(|name| format!("files {name}")));
            unlisted.chain(sealed).collect()
        },
    ),
    (
        "the authority's keyring is something else",
        |pack, _| drop(pack.insert("authority.pgp".into(), b"see me".to_vec())),
        |_| list(&["files authority.pgp"]),
    ),
    (
        "more log entries than a pack can have",
        |pack, _| pack.extend(folders().map(|folder| (format!("{folder}/leaf.bin"), vec![0]))),
        |known| {
            let read = folders().take(1024 - known.entries.len());
            let read = read.map(|folder| format!("inclusion {folder}"));
            read.chain(list(&["inclusion log"])).collect()
        },
    ),
    (
        "two parts' descriptions changed names",
        |pack, known| {
            let names = [0, 1].map(|n: usize| format!("openings/{}.bin", known.parts[n]));
            let [one, two] = names.clone().map(|name| pack[&name].clone());
            let [first, second] = names;
            pack.insert(first, two);
            pack.insert(second, one);
        },
        |known| {
            known
                .parts
                .iter()
                .map(|part| format!("opening openings/{part}.bin"))
                .collect()
        },
    ),
    (
        "the recipient's description stands under another's name",
        |pack, _| {
            let opening = pack
                .remove(&format!("openings/recipient-{PROSECUTOR}.bin"))
                .unwrap();
            pack.insert(format!("openings/recipient-{SENDER}.bin"), opening);
        },
        |_| list(&[&format!("opening openings/recipient-{SENDER}.bin")]),
    ),
    (
        "the answer stands under another consignment",
        |pack, known| {
            for ending in ["bin", "sig"] {
                let answer = pack
                    .remove(&format!("answers/{}.{ending}", known.consignment))
                    .unwrap();
                pack.insert(format!("answers/{}.{ending}", "0".repeat(64)), answer);
            }
        },
        |_| list(&[&format!("acknowledgement answers/{}", "0".repeat(64))]),
    ),
    (
        "the log had an acknowledgement a day before it was made",
        |pack, known| {
            let mut said = wire::Acknowledgement::decode(&*pack[&known.entry(2, "attachment.bin")]).unwrap();
            said.made_ms += 24 * 3_600_000;
            let bytes = said.encode_to_vec();
            let signature = known.recipient.sign(&bytes, now()).unwrap();
            let both = [Digest::of(&bytes).to_vec(), Digest::of(&signature).to_vec()].concat();
            pack.insert("log/0/attachment.bin".into(), bytes);
            pack.insert("log/0/attachment.sig".into(), signature);
            only_leaf(pack, known, 2, |body| {
                body.attachment_digest = Digest::of(&both).to_vec().into();
            });
        },
        |_| list(&["acknowledgement log/0", "consistency log/0, size 1", "order"]),
    ),
    (
        "the answer was made a day after the pack",
        |pack, known| {
            let name = format!("answers/{}.bin", known.consignment);
            let mut said = wire::Acknowledgement::decode(&*pack[&name]).unwrap();
            said.made_ms += 24 * 3_600_000;
            let bytes = said.encode_to_vec();
            let signature = known.recipient.sign(&bytes, now()).unwrap();
            pack.insert(name, bytes);
            pack.insert(format!("answers/{}.sig", known.consignment), signature);
        },
        |known| list(&[&format!("acknowledgement answers/{}", known.consignment)]),
    ),
];

/// Witnesses that a later directory names cosigned the newest checkpoint before they were any: it is provisional, and
/// so is all that stands in it. Gives how many packs were tried.
pub fn witnesses_of_another_time(scene: &Scene, pack: &Pack, known: &Known) -> usize {
    let mut rng = StdRng::seed_from_u64(5);
    let network = scene.town.network();
    let agencies: Vec<_> = network
        .spec()
        .agencies
        .iter()
        .map(|agency| agency.id.clone())
        .collect();
    let origin = known.secret.public().origin().to_owned();
    let secrets: Vec<_> = agencies
        .iter()
        .take(2)
        .map(|id| {
            let name = schakel_proto::tlog::cosignature::witness_name(&origin, id);
            (
                id,
                WitnessSecret::generate(Algorithm::Ed25519, &name, &mut rng).unwrap(),
            )
        })
        .collect();
    let issued = |at| {
        let change = |directory: &mut wire::Directory| {
            let log = directory.log.as_mut().unwrap();
            log.witnesses = secrets.iter().map(|(id, _)| id.to_string()).collect();
            let key = |(id, secret): &(&_, WitnessSecret)| wire::WitnessKey {
                agency: ToString::to_string(id),
                key: secret.public().to_bytes().into(),
            };
            log.witness_keys = secrets.iter().map(key).collect();
            log.tolerated_liars = 0;
        };
        network.issue_changed(at, change).unwrap()
    };
    let seconds = u64::try_from(now().seconds()).unwrap();
    let newest = SignedCheckpoint::open(&pack["checkpoint.note"], known.secret.public()).unwrap();
    let lines = secrets
        .iter()
        .map(|(_, secret)| secret.cosign(&newest, seconds).unwrap().line);
    let lines: Vec<_> = lines.collect();
    let note = with_lines(newest.note(), lines.iter().map(String::as_str));
    let mut seen = BTreeSet::new();
    for (at, witnessed) in [(now(), true), (now().plus_millis(7_200_000), false)] {
        let mut forged = pack.clone();
        insert(&mut forged, 2, &issued(at));
        forged.insert("witnessed.note".into(), note.clone());
        sum(&mut forged);
        let report = verify(&file(&scene.town, &forged), &anchor(&scene.town)).unwrap();
        let text = report.to_text("en");
        assert!(failed(&report).is_empty(), "{text}");
        assert!(
            report.told.iter().all(|told| told.witnessed == witnessed),
            "{witnessed}: {text}"
        );
        seen.insert(witnessed);
    }
    seen.len()
}
