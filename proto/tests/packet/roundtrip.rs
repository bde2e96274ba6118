//! There and back, for both profiles, all kinds of keys, many sizes; memory stays flat.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use proptest::prelude::*;
use schakel_proto::ids::PartId;
use schakel_proto::limits::PADDED_SIZES_BYTES;
use schakel_proto::openpgp::KeyKind;
use schakel_proto::packet::Profile;
use schakel_proto::packet::open::{Ciphertext, check_part};
use schakel_proto::packet::seal::SealSink;

use super::world::{NOW, World, key_packet};

const ALL: [(&str, KeyKind); 4] = [
    ("pz-rupel", KeyKind::V6),
    ("parket-antwerpen", KeyKind::V6PostQuantumSigning),
    ("caw-rupel", KeyKind::V6),
    ("jh-antwerpen-dader", KeyKind::V4),
];

#[test]
fn several_parts_for_several_recipients_open_where_they_may_and_nowhere_else() {
    let world = World::new(&ALL);
    let parts: [(&[u8], &[&str]); 3] = [
        (
            b"voor iedereen",
            &["parket-antwerpen", "caw-rupel", "jh-antwerpen-dader"],
        ),
        (b"voor het parket", &["parket-antwerpen"]),
        (b"voor de daderhulp", &["jh-antwerpen-dader"]),
    ];
    let (sealed, sink) = world.seal("pz-rupel", &parts, 1);
    let complete = world.submit("pz-rupel", &sealed, &sink).unwrap();
    let profiles: Vec<_> = complete.parsed().sealings().map(|s| s.profile).collect();
    assert_eq!(profiles, [Profile::V6, Profile::V4, Profile::V6, Profile::V4]);
    assert_eq!(
        sealed.sealings.iter().map(|s| s.profile).collect::<Vec<_>>(),
        profiles
    );
    for reader in ["parket-antwerpen", "caw-rupel", "jh-antwerpen-dader"] {
        let handed = world.handed(reader, &sealed).unwrap();
        for (part, (content, to)) in complete.parsed().parts().iter().zip(parts) {
            assert_eq!(handed.part(&part.id()).is_some(), to.contains(&reader));
            if to.contains(&reader) {
                let ciphertext = sink.get(&part.id(), world.profile(reader)).unwrap();
                let (plain, opened) = world.open(reader, &sealed, &part.id(), &ciphertext).unwrap();
                assert_eq!(plain, content);
                assert_eq!(opened.file_name, "verslag.pdf");
                assert_eq!(opened.content_length, content.len() as u64);
            }
        }
    }
}

#[test]
fn every_kind_of_key_signs_and_opens() {
    let world = World::new(&ALL);
    for (n, (sender, _)) in ALL.into_iter().enumerate() {
        for (reader, _) in ALL {
            let (sealed, sink) = world.seal(sender, &[(b"inhoud", &[reader])], n as u64);
            let part = sealed.sealings[0].part_id;
            world.submit(sender, &sealed, &sink).unwrap();
            let ciphertext = sink.get(&part, world.profile(reader)).unwrap();
            assert_eq!(
                world.open(reader, &sealed, &part, &ciphertext).unwrap().0,
                b"inhoud"
            );
        }
    }
}

#[test]
fn keys_survive_being_written_and_read() {
    let world = World::new(&ALL);
    for (id, _) in ALL {
        let keys = world.keys(id);
        let again = schakel_proto::openpgp::SecretKeys::parse(&keys.to_bytes().unwrap()).unwrap();
        assert_eq!(again.fingerprint(), keys.fingerprint());
        let signature = again.sign(b"x", NOW).unwrap();
        keys.certificate()
            .signing_keys_at(NOW)
            .unwrap()
            .verify(b"x", &signature, NOW)
            .unwrap();
        assert!(schakel_proto::openpgp::SecretKeys::parse(&keys.certificate().to_bytes().unwrap()).is_err());
    }
}

#[test]
fn c18_ciphertext_length_says_only_the_size_class() {
    let world = World::new(&ALL);
    let length = |content: &[u8], reader: &str| {
        let (sealed, _) = world.seal("pz-rupel", &[(content, &[reader])], 7);
        sealed.sealings[0].length
    };
    for reader in ["caw-rupel", "jh-antwerpen-dader"] {
        assert_eq!(length(&[1; 1], reader), length(&[1; 3000], reader));
        assert_eq!(length(&[1; 5000], reader), length(&[1; 15_000], reader));
        assert_ne!(length(&[1; 3000], reader), length(&[1; 5000], reader));
        // Whatever the sizes: no more lengths on the wire than there are classes, and at most sixteen of these.
        let mut random = 12_345_u64;
        let lengths: BTreeSet<u64> = (0..120)
            .map(|n| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let size = 1 + (random >> 33) % (1 << (8 + n % 12));
                length(&vec![1; size as usize], reader)
            })
            .collect();
        let classes = PADDED_SIZES_BYTES.iter().filter(|size| **size <= 1 << 20).count();
        assert!(
            lengths.len() <= classes && lengths.len() >= classes - 1,
            "{lengths:?}"
        );
        assert!(PADDED_SIZES_BYTES.len() <= 16);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_size_around_a_class_boundary_comes_back(class in 0..5_usize, off in -700_i64..200, v4: bool) {
        let world = WORLD.with(Clone::clone);
        let size = usize::try_from(PADDED_SIZES_BYTES[class] as i64 + off).unwrap();
        let content: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        let reader = if v4 { "jh-antwerpen-dader" } else { "caw-rupel" };
        let (sealed, sink) = world.seal("pz-rupel", &[(&content, &[reader])], class as u64);
        let part = sealed.sealings[0].part_id;
        let ciphertext = sink.get(&part, world.profile(reader)).unwrap();
        prop_assert_eq!(world.open(reader, &sealed, &part, &ciphertext).unwrap().0, content);
    }
}

thread_local! {
    static WORLD: std::rc::Rc<World> = std::rc::Rc::new(World::new(&ALL));
}

/// A sink that writes to a file and a source that makes its bytes: nothing is held in memory.
struct FileSink(std::path::PathBuf);

impl SealSink for FileSink {
    fn open(&mut self, _: &PartId, profile: Profile) -> io::Result<Box<dyn Write + Send + Sync>> {
        Ok(Box::new(std::fs::File::create(
            self.0.join(format!("{profile:?}")),
        )?))
    }
}

struct Pattern(u64);

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.0) as usize;
        buffer[..count].fill((self.0 % 251) as u8);
        self.0 -= count as u64;
        Ok(count)
    }
}

/// Run alone, in a process of its own (`flat_memory_child`), so that the peak is this packet's.
#[test]
fn a_part_of_64_mib_streams_in_flat_memory() {
    let child = std::env::current_exe().unwrap();
    let status = std::process::Command::new(child)
        .args(["roundtrip::flat_memory_child", "--exact"])
        .env("SCHAKEL_FLAT_MEMORY", "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn flat_memory_child() {
    if std::env::var_os("SCHAKEL_FLAT_MEMORY").is_none() {
        return; // Driven by the test above.
    }
    const SIZE: u64 = 64 << 20;
    let world = World::new(&ALL);
    let folder = tempfile::tempdir().unwrap();
    let before = peak_kib();
    let to = ["caw-rupel", "jh-antwerpen-dader"];
    let mut content = Pattern(SIZE);
    let mut sink = FileSink(folder.path().to_owned());
    let parts = std::iter::once((&mut content as &mut dyn Read, SIZE, to.as_slice()));
    let sealed = world.seal_to("pz-rupel", parts, 1, &mut sink);
    let part = sealed.sealings[0].part_id;
    for reader in to {
        let handed = world.handed(reader, &sealed).unwrap();
        let path = folder.path().join(format!("{:?}", world.profile(reader)));
        let mut file = || Ok(Box::new(std::fs::File::open(&path)?) as Ciphertext<'static>);
        let key_packet = key_packet(&sealed, &part, reader);
        let opened = check_part(&handed, &part, &key_packet, &mut file, world.keys(reader)).unwrap();
        assert_eq!(opened.content_length, SIZE);
    }
    let grown = peak_kib() - before;
    assert!(
        grown < 48 * 1024,
        "sealing and opening 2 x 64 MiB took {grown} KiB"
    );
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
