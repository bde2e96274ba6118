//! Damaged packs, each by its name with the checks that must fail, and no other.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_proto::evidence::{Body, ErasureKey, Event, seal};
use schakel_proto::ids::Digest;
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::wire;
use schakel_tests::system::network::agency;
use schakel_tests::system::pack::{Pack, member, read, tar};
use schakel_tests::system::told;

use super::damage::{assert_failed, cut, file, flip, named, replace, strip};
use super::{PROSECUTOR, SENDER, Scene, anchor, failed};

/// A damage: its name, what it does, the checks that fail by it.
type Damage = (&'static str, fn(&mut Pack, &Known), fn(&Known) -> Vec<String>);

/// What a damage needs to know of the pack.
struct Known {
    other: Pack,
    /// Log entries: accepted, consigned, received, taken.
    entries: Vec<u64>,
    parts: Vec<String>,
    /// Sizes of the entries' checkpoints, each with the entry that it was read from first.
    sizes: Vec<(u64, String)>,
    newest: u64,
    /// Leaf of the consignment, in hexadecimal.
    consignment: String,
    /// The other packet's first entry, and the size of its checkpoint.
    stranger: (u64, u64),
    secret: LogSecret,
    /// Keys of the sender, who has them all but is not the recipient.
    forger: schakel_proto::openpgp::SecretKeys,
}

impl Known {
    fn of(scene: &Scene, pack: &Pack) -> Self {
        let network = scene.town.network();
        let directory = network.directory(schakel_tests::system::network::now()).unwrap();
        let key = directory.log().key();
        let name = NetworkName::new("rupel").unwrap();
        let mut entries: Vec<u64> = pack
            .keys()
            .filter_map(|name| name.strip_prefix("log/")?.strip_suffix("/leaf.bin")?.parse().ok())
            .collect();
        entries.sort_unstable();
        let body = |index: &u64| Body::parse(&pack[&format!("log/{index}/body.bin")], &name).unwrap();
        let events: Vec<_> = entries.iter().map(|index| body(index).event).collect();
        assert_eq!(
            events[..4],
            [
                Event::SubmissionAcceptance,
                Event::ContentConsignment,
                Event::ContentHandover,
                Event::ContentHandover
            ]
        );
        let mut sizes: Vec<(u64, String)> = Vec::new();
        let newest = SignedCheckpoint::open(&pack["checkpoint.note"], key)
            .unwrap()
            .size();
        // Folders are read in the order of their names.
        let mut folders: Vec<_> = entries.iter().map(u64::to_string).collect();
        folders.sort();
        for folder in folders {
            let proof = InclusionText::parse(&pack[&format!("log/{folder}/proof.tlog-proof")]).unwrap();
            let size = SignedCheckpoint::open(&proof.note, key).unwrap().size();
            if !sizes.iter().any(|(known, _)| *known == size) {
                sizes.push((size, format!("log/{folder}")));
            }
        }
        let secret = std::fs::read_to_string(network.broker_folder().join("log-key.txt")).unwrap();
        let others = scene.other.keys();
        let others =
            others.filter_map(|name| name.strip_prefix("log/")?.strip_suffix("/leaf.bin")?.parse().ok());
        let stranger: u64 = others.min().unwrap();
        let proof = &scene.other[&format!("log/{stranger}/proof.tlog-proof")];
        let note = InclusionText::parse(proof).unwrap().note;
        let stranger = (stranger, SignedCheckpoint::open(&note, key).unwrap().size());
        let consignment = leaf_hash(&pack[&format!("log/{}/leaf.bin", entries[1])]);
        let parts = pack
            .keys()
            .filter_map(|name| name.strip_prefix("parts/")?.strip_suffix("/salt.bin"));
        Self {
            other: scene.other.clone(),
            consignment: hex::encode(consignment.as_bytes()),
            stranger,
            entries,
            parts: parts.map(str::to_owned).collect(),
            sizes,
            newest,
            secret: LogSecret::from_text(&secret).unwrap(),
            forger: network.agency_keys(&agency(SENDER)).unwrap(),
        }
    }

    fn entry(&self, number: usize, file: &str) -> String {
        format!("log/{}/{file}", self.entries[number])
    }

    fn log(&self, number: usize) -> String {
        format!("log/{}", self.entries[number])
    }

    fn part(&self, number: usize, file: &str) -> String {
        format!("parts/{}/{file}", self.parts[number])
    }

    fn consistency(&self, which: impl Fn(u64) -> bool) -> Vec<String> {
        let sizes = self.sizes.iter().filter(|(size, _)| which(*size));
        sizes
            .map(|(size, about)| format!("consistency {about}, size {size}"))
            .collect()
    }

    /// Size of an entry's checkpoint.
    fn sizes_of(&self, number: usize) -> u64 {
        let of = |(_, about): &&(u64, String)| *about == self.log(number);
        self.sizes.iter().find(of).map_or(self.newest, |(size, _)| *size)
    }

    /// A checkpoint that is not the newest.
    fn smaller(&self) -> u64 {
        let (size, _) = self.sizes.iter().find(|(size, _)| *size < self.newest).unwrap();
        *size
    }

    fn every(&self, check: &str) -> Vec<String> {
        self.entries
            .iter()
            .map(|index| format!("{check} log/{index}"))
            .collect()
    }
}

fn all(lists: &[&[String]]) -> Vec<String> {
    lists.concat()
}

fn one(check: &str) -> Vec<String> {
    vec![check.to_owned()]
}

const OF_THE_PACK: &[Damage] = &[
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
            let keys = schakel_proto::openpgp::SecretKeys::generate(
                schakel_proto::openpgp::KeyKind::V4,
                "nobody",
                schakel_tests::system::network::now(),
            );
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

const OF_THE_PACKET: &[Damage] = &[
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
            let forged = known
                .forger
                .sign(b"another manifest", schakel_tests::system::network::now())
                .unwrap();
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

const OF_PEOPLE: &[Damage] = &[
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
            let forged = known
                .forger
                .sign(&bytes, schakel_tests::system::network::now())
                .unwrap();
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
            let forged = known
                .forger
                .sign(&bytes, schakel_tests::system::network::now())
                .unwrap();
            pack.insert(named(pack, ("answers/", ".sig")), forged);
        },
        |known| answer(known),
    ),
];

/// The recipient's answer: named after the leaf of the consignment.
fn answer(known: &Known) -> Vec<String> {
    one(&format!("acknowledgement answers/{}", known.consignment))
}

const OF_THE_LOG: &[Damage] = &[
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

#[test]
fn l06_each_damaged_pack_names_the_checks_that_fail_and_no_other() {
    let scene = Scene::new(PROSECUTOR);
    let pack = read(&scene.received);
    let known = Known::of(&scene, &pack);
    let tables = [OF_THE_PACK, OF_THE_PACKET, OF_PEOPLE, OF_THE_LOG];
    let mut names = std::collections::BTreeSet::new();
    for (name, damage, expected) in tables.into_iter().flatten() {
        let mut damaged = pack.clone();
        damage(&mut damaged, &known);
        assert!(damaged != pack && names.insert(*name), "{name}");
        println!("{name}");
        let expected = expected(&known);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        assert_failed(&scene.town, &mut damaged, &expected);
    }
    let containers = containers(&scene, &pack, &known);
    let count = names.len() + containers + lists(&scene, &pack, &known) + readers(&scene);
    assert!(count >= 30, "{count}");
    told::count(count as u64, "damaged packs");
}

/// Files that are no packs any more: nothing of them is looked at further.
fn containers(scene: &Scene, pack: &Pack, known: &Known) -> usize {
    let whole = tar(pack);
    let salt = known.entry(0, "salt.bin");
    let before_end = |more: Vec<u8>| [&whole[..whole.len() - 1024], &more, &[0; 1024]].concat();
    let damaged = [
        ("cut in the middle", whole[..whole.len() / 2].to_vec(), None),
        (
            "cut behind the last member",
            whole[..whole.len() - 1024].to_vec(),
            None,
        ),
        ("something behind the end", [&whole[..], b"more"].concat(), None),
        (
            "a member twice",
            before_end(member(&salt, b'0', 32, &[0; 32])),
            Some(salt.as_str()),
        ),
        (
            "a member that is too long",
            before_end(member("log/0/x.bin", b'0', 3 << 20, &[])),
            Some("log/0/x.bin"),
        ),
        ("a link", before_end(member("log/0/x.bin", b'2', 0, &[])), None),
        (
            "a name that leads elsewhere",
            before_end(member("../x", b'0', 1, b"x")),
            None,
        ),
    ];
    let out = file(&scene.town, pack);
    for (name, bytes, about) in &damaged {
        std::fs::write(&out, bytes).unwrap();
        let report = verify(&out, &anchor(&scene.town)).unwrap();
        let said = failed(&report);
        assert!(
            said.len() == 1 && said[0].starts_with("container"),
            "{name}: {said:?}"
        );
        if let Some(about) = about {
            assert_eq!(said, [format!("container {about}")], "{name}");
        }
        assert_eq!(report.findings.len(), 1, "{name}: nothing else was looked at");
    }
    damaged.len()
}

/// Damage that nobody hid: the list of digests was left as it was.
fn lists(scene: &Scene, pack: &Pack, known: &Known) -> usize {
    let content = known.part(0, "content.bin");
    let certificate = named(pack, ("certificates/", ".pgp"));
    let damaged: [(&str, &dyn Fn(&mut Pack), Vec<String>); 5] = [
        (
            "a content was changed",
            &|pack| flip(pack, &content),
            vec![format!("files {content}"), format!("part {}", known.parts[0])],
        ),
        (
            "a file is missing",
            &|pack| strip(pack, &certificate),
            one(&format!("files {certificate}")),
        ),
        (
            "a file is too many",
            &|pack| drop(pack.insert("note.txt".into(), b"see me".to_vec())),
            one("files note.txt"),
        ),
        (
            "the list is gone",
            &|pack| strip(pack, "SHA256SUMS"),
            one("files SHA256SUMS"),
        ),
        (
            "the list is no list",
            &|pack| drop(pack.insert("SHA256SUMS".into(), b"all is well\n".to_vec())),
            one("files SHA256SUMS"),
        ),
    ];
    for (name, damage, expected) in &damaged {
        let mut damaged = pack.clone();
        damage(&mut damaged);
        let report = verify(&file(&scene.town, &damaged), &anchor(&scene.town)).unwrap();
        assert_eq!(failed(&report), *expected, "{name}");
    }
    damaged.len()
}

/// A good pack under a reader who trusts another authority, or knows another network, or brings no trust along.
fn readers(scene: &Scene) -> usize {
    let own = anchor(&scene.town);
    let mut rng = StdRng::seed_from_u64(3);
    let folder = scene.town.scratch("elsewhere").join("rupel");
    let other =
        schakel_certs_dev::mint_vectors(&folder, (1, 2), schakel_tests::system::network::now(), &mut rng);
    let other = Anchor {
        authority: Some(other.unwrap().authority().unwrap()),
        network: None,
    };
    let demer = Anchor {
        authority: own.authority,
        network: Some(NetworkName::new("demer").unwrap()),
    };
    let nobody = Anchor::default();
    let lost = ["consignment", "directory directories/1", "submission"];
    let readers: [(&Anchor, &[&str]); 3] = [
        (&other, &lost),
        (&demer, &["description pack.json"]),
        (&nobody, &["authority authority.pgp"]),
    ];
    for (reader, expected) in readers {
        let report = verify(&scene.received, reader).unwrap();
        assert_eq!(failed(&report), expected, "{}", report.to_text("en"));
    }
    readers.len()
}
