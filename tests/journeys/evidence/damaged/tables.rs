//! The damages: each by its name, what it does to a pack, and the checks that fail by it.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::evidence::{ErasureKey, seal};
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::wire;
use schakel_tests::system::network::now;
use schakel_tests::system::pack::Pack;

use super::super::PROSECUTOR;
use super::super::damage::{cut, flip, named, replace, strip};
use super::Known;

/// A damage: its name, what it does, the checks that fail by it.
pub type Damage = (&'static str, fn(&mut Pack, &Known), fn(&Known) -> Vec<String>);

fn all(lists: &[&[String]]) -> Vec<String> {
    lists.concat()
}

fn one(check: &str) -> Vec<String> {
    vec![check.to_owned()]
}

/// The pack as a whole, and who was who.
pub const OF_THE_PACK: &[Damage] = &[
    (
        "it says that it is of another network",
        |pack, _| replace(pack, "pack.json", b"\"rupel\"", b"\"demer\""),
        |_| one("description pack.json"),
    ),
    (
        "it says that it is of another packet",
        |pack, known| {
            let (from, to) = (id_of(pack), id_of(&known.other));
            replace(pack, "pack.json", from.as_bytes(), to.as_bytes());
        },
        |_| one("description pack.json"),
    ),
    (
        "what it says of itself is gone",
        |pack, _| strip(pack, "pack.json"),
        |_| one("description pack.json"),
    ),
    (
        "a directory was changed",
        |pack, _| flip(pack, &named(&pack.clone(), ("directories/", "directory.bin"))),
        |_| {
            vec![
                "directory directories/1".into(),
                "submission".into(),
                "consignment".into(),
            ]
        },
    ),
    (
        "the authority's signature was changed",
        |pack, _| flip(pack, "directories/1/signature-0.sig"),
        |_| {
            vec![
                "directory directories/1".into(),
                "submission".into(),
                "consignment".into(),
            ]
        },
    ),
    (
        "the directory is named after another version",
        |pack, _| {
            for file in ["directory.bin", "signature-0.sig"] {
                let bytes = pack.remove(&format!("directories/1/{file}")).unwrap();
                pack.insert(format!("directories/2/{file}"), bytes);
            }
        },
        |_| {
            vec![
                "directory directories/2".into(),
                "submission".into(),
                "consignment".into(),
            ]
        },
    ),
    (
        "a certificate was replaced by another's",
        |pack, known| {
            let name = format!("certificates/{}.pgp", known.forger.fingerprint());
            let other = pack
                .keys()
                .find(|n| n.starts_with("certificates/") && **n != name)
                .unwrap();
            pack.insert(name, pack[other].clone());
        },
        |known| {
            one(&format!(
                "certificate certificates/{}.pgp",
                known.forger.fingerprint()
            ))
        },
    ),
    (
        "a certificate that nobody lists was added",
        |pack, _| {
            let keys = SecretKeys::generate(KeyKind::V4, "nobody", now());
            let bytes = keys.unwrap().certificate().to_bytes().unwrap();
            pack.insert("certificates/00.pgp".into(), bytes);
        },
        |_| one("certificate certificates/00.pgp"),
    ),
    (
        "half of a time stamp",
        |pack, _| drop(pack.insert("timestamp/token.tsr".into(), vec![0x30, 0x00])),
        |_| one("timestamp timestamp/token.tsr"),
    ),
];

/// What the sender signed and committed to.
pub const OF_THE_PACKET: &[Damage] = &[
    (
        "the manifest says another purpose",
        |pack, _| replace(pack, "manifest.bin", b"safety_protection", b"safety_protectiom"),
        |known| all(&[&known.every("entry"), &one("signature manifest.sig")]),
    ),
    (
        "the manifest was cut",
        |pack, _| cut(pack, "manifest.bin"),
        |_| one("manifest manifest.bin"),
    ),
    (
        "the sender's signature was changed",
        |pack, _| flip(pack, "manifest.sig"),
        |_| one("signature manifest.sig"),
    ),
    (
        "the sender's signature is of another packet",
        |pack, known| drop(pack.insert("manifest.sig".into(), known.other["manifest.sig"].clone())),
        |_| one("signature manifest.sig"),
    ),
    (
        "another member signed the manifest",
        |pack, known| {
            let forged = known.forger.sign(b"another manifest", now()).unwrap();
            pack.insert("manifest.sig".into(), forged);
        },
        |_| one("signature manifest.sig"),
    ),
    (
        "the recipient's description was changed",
        |pack, _| flip(pack, &named(&pack.clone(), ("openings/recipient-", ".bin"))),
        |_| one(&format!("opening openings/recipient-{PROSECUTOR}.bin")),
    ),
    (
        "a part's description was changed",
        |pack, known| flip(pack, &format!("openings/{}.bin", known.parts[0])),
        |known| one(&format!("opening openings/{}.bin", known.parts[0])),
    ),
    (
        "a part's description is of another packet",
        |pack, known| {
            let other = named(&known.other, ("openings/part-", ".bin"));
            pack.insert("openings/part-x.bin".into(), known.other[&other].clone());
        },
        |_| one("opening openings/part-x.bin"),
    ),
    (
        "a part's description is gone",
        |pack, known| strip(pack, &format!("openings/{}", known.parts[1])),
        |known| {
            vec![
                format!("decided {}", known.log(1)),
                format!("part {}", known.parts[1]),
            ]
        },
    ),
    (
        "a content was changed",
        |pack, known| flip(pack, &known.part(0, "content.bin")),
        |known| one(&format!("part {}", known.parts[0])),
    ),
    (
        "a content was cut",
        |pack, known| cut(pack, &known.part(0, "content.bin")),
        |known| one(&format!("part {}", known.parts[0])),
    ),
    (
        "two contents changed places",
        |pack, known| {
            let [one, two] = [0, 1].map(|n| pack[&known.part(n, "content.bin")].clone());
            pack.insert(known.part(0, "content.bin"), two);
            pack.insert(known.part(1, "content.bin"), one);
        },
        |known| known.parts.iter().map(|part| format!("part {part}")).collect(),
    ),
    (
        "a part's salt is another",
        |pack, known| flip(pack, &known.part(1, "salt.bin")),
        |known| one(&format!("part {}", known.parts[1])),
    ),
    (
        "a sealed header says another name",
        |pack, known| flip(pack, &known.part(1, "sealed-header.bin")),
        |known| one(&format!("part {}", known.parts[1])),
    ),
    (
        "a sealed header is gone",
        |pack, known| strip(pack, &known.part(1, "sealed-header.bin")),
        |known| one(&format!("part {}", known.parts[1])),
    ),
];

/// What was decided, and what the recipient signed.
pub const OF_PEOPLE: &[Damage] = &[
    (
        "the decision was changed",
        |pack, known| flip(pack, &known.entry(1, "shown.bin")),
        |known| one(&format!("decision {}", known.entry(1, "shown.bin"))),
    ),
    (
        "the decision is of another packet",
        |pack, known| {
            let other = named(&known.other, ("log/", "/shown.bin"));
            pack.insert(known.entry(1, "shown.bin"), known.other[&other].clone());
        },
        |known| one(&format!("decision {}", known.entry(1, "shown.bin"))),
    ),
    (
        "the decision is gone",
        |pack, known| strip(pack, &known.entry(1, "shown.bin")),
        |known| one(&format!("decision {}", known.entry(1, "shown.bin"))),
    ),
    (
        "an acknowledgement was forged by the sender",
        |pack, known| {
            let bytes = pack[&known.entry(2, "attachment.bin")].clone();
            let forged = known.forger.sign(&bytes, now()).unwrap();
            pack.insert(known.entry(2, "attachment.sig"), forged);
        },
        |known| one(&format!("attachment {}", known.entry(2, "attachment.bin"))),
    ),
    (
        "an acknowledgement is gone",
        |pack, known| strip(pack, &known.entry(2, "attachment.")),
        |known| one(&format!("attachment {}", known.entry(2, "attachment.bin"))),
    ),
    (
        "an acknowledgement is that of another entry",
        |pack, known| {
            for file in ["attachment.bin", "attachment.sig"] {
                pack.insert(known.entry(2, file), pack[&known.entry(3, file)].clone());
            }
        },
        |known| one(&format!("attachment {}", known.entry(2, "attachment.bin"))),
    ),
    (
        "the answer says the opposite",
        |pack, _| {
            let name = named(pack, ("answers/", ".bin"));
            let mut said = wire::Acknowledgement::decode(&*pack[&name]).unwrap();
            said.outcome = "refused".into();
            pack.insert(name, said.encode_to_vec());
        },
        |known| answer(known),
    ),
    (
        "the answer was signed by somebody else",
        |pack, known| {
            let bytes = pack[&named(pack, ("answers/", ".bin"))].clone();
            let forged = known.forger.sign(&bytes, now()).unwrap();
            pack.insert(named(pack, ("answers/", ".sig")), forged);
        },
        |known| answer(known),
    ),
];

/// The recipient's answer: named after the leaf of the consignment.
fn answer(known: &Known) -> Vec<String> {
    one(&format!("acknowledgement answers/{}", known.consignment))
}

/// What the log says.
pub const OF_THE_LOG: &[Damage] = &[
    (
        "a leaf was changed",
        |pack, known| flip(pack, &known.entry(1, "leaf.bin")),
        |known| {
            vec![
                format!("inclusion {}", known.log(1)),
                format!("commitment {}", known.log(1)),
                "consignment".into(),
            ]
        },
    ),
    (
        "a leaf's salt is another's",
        |pack, known| {
            let other = named(&known.other, ("log/", "/salt.bin"));
            pack.insert(known.entry(0, "salt.bin"), known.other[&other].clone());
        },
        |known| vec![format!("commitment {}", known.log(0)), "submission".into()],
    ),
    (
        "an entry says another event",
        |pack, known| {
            replace(
                pack,
                &known.entry(0, "body.bin"),
                b"SubmissionAcceptance",
                b"SubmissionAcceptancf",
            )
        },
        |known| vec![format!("commitment {}", known.log(0)), "submission".into()],
    ),
    (
        "an entry was back-dated, with a leaf and salt to fit",
        |pack, known| {
            let mut body = wire::EvidenceBody::decode(&*pack[&known.entry(0, "body.bin")]).unwrap();
            body.at_ms -= 60_000;
            let key = ErasureKey::random(&mut StdRng::seed_from_u64(1));
            let made = seal(&NetworkName::new("rupel").unwrap(), body, &key);
            pack.insert(known.entry(0, "leaf.bin"), made.leaf().to_vec());
            pack.insert(known.entry(0, "body.bin"), made.body().to_vec());
            pack.insert(
                known.entry(0, "salt.bin"),
                key.salt(made.body()).as_bytes().to_vec(),
            );
        },
        |known| vec![format!("inclusion {}", known.log(0)), "submission".into()],
    ),
    (
        "an entry stands at another place",
        |pack, known| {
            let proof = known.entry(0, "proof.tlog-proof");
            let mut text = InclusionText::parse(&pack[&proof]).unwrap();
            text.index += 1;
            pack.insert(proof, text.to_text());
        },
        |known| vec![format!("inclusion {}", known.log(0)), "submission".into()],
    ),
    (
        "the proof of another entry",
        |pack, known| {
            let proof = known.entry(2, "proof.tlog-proof");
            let mut text = InclusionText::parse(&pack[&proof]).unwrap();
            let last = text.path.last_mut().unwrap();
            *last = Digest::of(last.as_bytes());
            pack.insert(proof, text.to_text());
        },
        |known| one(&format!("inclusion {}", known.log(2))),
    ),
    (
        "the entry that accepted the packet is gone",
        |pack, known| strip(pack, &known.entry(0, "")),
        |_| one("submission"),
    ),
    (
        "the entry that consigned the packet is gone",
        |pack, known| strip(pack, &known.entry(1, "")),
        |known| {
            let after = known.entries[2..]
                .iter()
                .map(|index| format!("acknowledgement log/{index}"));
            all(&[&after.collect::<Vec<_>>(), &answer(known), &one("consignment")])
        },
    ),
    (
        "an entry of another packet was added",
        |pack, known| {
            let begins = format!("log/{}/", known.stranger.0);
            let of_it = known.other.iter().filter(|(name, _)| name.starts_with(&begins));
            pack.extend(of_it.map(|(name, bytes)| (name.clone(), bytes.clone())));
        },
        |known| {
            let (index, size) = known.stranger;
            vec![
                format!("entry log/{index}"),
                format!("consistency log/{index}, size {size}"),
            ]
        },
    ),
    (
        "the newest checkpoint is signed by another key",
        |pack, known| {
            let other =
                LogSecret::generate(known.secret.public().origin(), &mut StdRng::seed_from_u64(2)).unwrap();
            let root = SignedCheckpoint::open(&pack["checkpoint.note"], known.secret.public())
                .unwrap()
                .root();
            pack.insert(
                "checkpoint.note".into(),
                other.sign(known.newest, root).note().to_vec(),
            );
        },
        |_| one("checkpoint checkpoint.note"),
    ),
    (
        "the log's own key signed another history of the same size",
        |pack, known| {
            let lie = known.secret.sign(known.newest, Digest::of(b"another history"));
            pack.insert("checkpoint.note".into(), lie.note().to_vec());
        },
        |known| known.consistency(|_| true),
    ),
    (
        "the newest checkpoint is an older one",
        |pack, known| {
            let older = InclusionText::parse(&pack[&known.entry(0, "proof.tlog-proof")]).unwrap();
            pack.insert("checkpoint.note".into(), older.note);
        },
        // Larger ones than the newest; the smaller have no proof that leads to it.
        |known| known.consistency(|size| size != known.sizes_of(0)),
    ),
    (
        "a proof of one history was changed",
        |pack, known| flip_text(pack, &format!("consistency/{}.txt", known.smaller())),
        |known| known.consistency(|size| size == known.smaller()),
    ),
    (
        "a proof of one history is gone",
        |pack, known| strip(pack, &format!("consistency/{}.txt", known.smaller())),
        |known| known.consistency(|size| size == known.smaller()),
    ),
    (
        "the newest checkpoint is gone",
        |pack, _| strip(pack, "checkpoint.note"),
        |_| one("consistency checkpoint.note"),
    ),
];

/// The first letter of base64 becomes another.
fn flip_text(pack: &mut Pack, name: &str) {
    let bytes = pack.get_mut(name).unwrap();
    bytes[0] = if bytes[0] == b'A' { b'B' } else { b'A' };
}

/// The packet that a pack says it is of.
fn id_of(pack: &Pack) -> String {
    let said: serde_json::Value = serde_json::from_slice(&pack["pack.json"]).unwrap();
    said["packet"].as_str().unwrap().to_owned()
}
