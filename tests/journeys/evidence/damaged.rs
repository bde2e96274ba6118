//! Damaged packs, each by its name with the checks that must fail, and no other.

mod forged;
mod tables;

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_proto::evidence::{Body, Event};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::wire;
use schakel_tests::system::network::agency;
use schakel_tests::system::pack::{Pack, member, read, sum, tar};
use schakel_tests::system::told;

use super::damage::{differs, file, flip, named, strip};
use super::{PROSECUTOR, SENDER, Scene, anchor, failed};
use forged::BY_FORGERS;
use tables::{OF_PEOPLE, OF_THE_LOG, OF_THE_PACK, OF_THE_PACKET};

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
    forger: SecretKeys,
    /// Keys of the recipient.
    recipient: SecretKeys,
    /// A directory that comes into force in two hours.
    later: wire::MultiSigned,
    /// The same with another log key, and that key.
    later_log: wire::MultiSigned,
    other_log: LogSecret,
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
        let soon = schakel_tests::system::network::now().plus_millis(7_200_000);
        let other_log = LogSecret::generate(key.origin(), &mut StdRng::seed_from_u64(6)).unwrap();
        let renew = |directory: &mut wire::Directory| {
            let log = directory.log.as_mut().unwrap();
            log.key = other_log.public().public().to_vec().into();
        };
        Self {
            later: network.issue_changed(soon, |_| ()).unwrap(),
            later_log: network.issue_changed(soon, renew).unwrap(),
            other_log,
            recipient: network.agency_keys(&agency(PROSECUTOR)).unwrap(),
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

#[test]
fn l06_each_damaged_pack_names_the_checks_that_fail_and_no_other() {
    let scene = Scene::new(PROSECUTOR);
    let pack = read(&scene.received);
    let known = Known::of(&scene, &pack);
    let tables = [OF_THE_PACK, OF_THE_PACKET, OF_PEOPLE, OF_THE_LOG, BY_FORGERS];
    let (mut names, mut wrong) = (std::collections::BTreeSet::new(), Vec::new());
    for (name, damage, expected) in tables.into_iter().flatten() {
        let mut damaged = pack.clone();
        damage(&mut damaged, &known);
        assert!(damaged != pack && names.insert(*name), "{name}");
        let differs = differs(&scene.town, &mut damaged, expected(&known));
        wrong.extend(differs.map(|found| format!("{name}: {found}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let containers = containers(&scene, &pack, &known);
    let containers = containers + forged::witnesses_of_another_time(&scene, &pack, &known);
    let count = names.len() + containers + lists(&scene, &pack, &known) + readers(&scene);
    assert!(count >= 30, "{count}");
    told::count(count as u64, "damaged packs");
}

/// One bit anywhere in any member that proves something; whoever flips it makes the list of digests fit.
#[test]
fn l06_a_bit_changed_in_any_member_of_a_pack_is_found() {
    let scene = Scene::new(PROSECUTOR);
    let mut rng = told::seeded();
    let pack = read(&scene.received);
    // What the pack says of itself proves nothing, nor does its own copy of the authority's certificate.
    let proves = |name: &&String| !["pack.json", "authority.pgp", "SHA256SUMS"].contains(&name.as_str());
    let mut count = 0;
    for _ in 0..told::rounds(1, 100) {
        for name in pack.keys().filter(proves) {
            let mut damaged = pack.clone();
            let bytes = damaged.get_mut(name).unwrap();
            let (at, bit) = (rng.random_range(0..bytes.len()), rng.random_range(0..8));
            bytes[at] ^= 1 << bit;
            sum(&mut damaged);
            let report = verify(&file(&scene.town, &damaged), &anchor(&scene.town)).unwrap();
            assert!(!report.is_good(), "bit {bit} of byte {at} of {name}");
            count += 1;
        }
    }
    told::count(count, "bits");
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

/// A damage, what it does, the checks that fail by it.
type Plain<'a> = (&'static str, &'a dyn Fn(&mut Pack), Vec<String>);

/// Damage that nobody hid: the list of digests was left as it was.
fn lists(scene: &Scene, pack: &Pack, known: &Known) -> usize {
    let content = known.part(0, "content.bin");
    let certificate = named(pack, ("certificates/", ".pgp"));
    let damaged: [Plain<'_>; 6] = [
        (
            "a content was changed",
            &|pack| flip(pack, &content),
            vec![format!("files {content}"), format!("part {}", known.parts[0])],
        ),
        (
            "a file is missing",
            &|pack| strip(pack, &certificate),
            vec![format!("files {certificate}")],
        ),
        (
            "a file is too many",
            &|pack| drop(pack.insert("note.txt".into(), b"see me".to_vec())),
            vec!["files note.txt".to_owned()],
        ),
        (
            "the list is gone",
            &|pack| strip(pack, "SHA256SUMS"),
            vec!["files SHA256SUMS".to_owned()],
        ),
        (
            "a file is listed twice",
            &|pack| {
                let line = format!("{}  manifest.bin\n", "0".repeat(64));
                let list = pack.get_mut("SHA256SUMS").unwrap();
                list.splice(0..0, line.into_bytes());
            },
            vec!["files SHA256SUMS".to_owned()],
        ),
        (
            "the list is no list",
            &|pack| drop(pack.insert("SHA256SUMS".into(), b"all is well\n".to_vec())),
            vec!["files SHA256SUMS".to_owned()],
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
        directory: None,
    };
    let demer = Anchor {
        authority: own.authority,
        network: Some(NetworkName::new("demer").unwrap()),
        directory: None,
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
