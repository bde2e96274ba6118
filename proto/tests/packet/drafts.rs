//! Drafts that cannot be sealed, stores that fail, and ciphertext that changes while it is read.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Write};

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::ids::PartId;
use schakel_proto::limits;
use schakel_proto::openpgp::KeyKind;
use schakel_proto::packet::open::{Ciphertext, check_part, open_part};
use schakel_proto::packet::seal::{Draft, MemorySink, SealSink, seal};
use schakel_proto::packet::{Defect, Profile};

use super::world::{NOW, World, agency, key_packet};

fn world() -> World {
    World::new(&[
        ("pz-rupel", KeyKind::V6),
        ("caw-rupel", KeyKind::V6),
        ("jh-antwerpen-dader", KeyKind::V4),
    ])
}

/// Seals a draft of one part that was changed before; tells what is wrong with it.
fn refused(change: impl FnOnce(&mut Draft<'_>)) -> Defect {
    let world = world();
    let mut rng = StdRng::seed_from_u64(1);
    let mut content = Cursor::new(b"inhoud".to_vec());
    let to: &[&str] = &["caw-rupel"];
    let parts = std::iter::once((&mut content as &mut dyn Read, 6, to));
    let mut draft = world.draft("pz-rupel", parts, &mut rng);
    change(&mut draft);
    seal(
        draft,
        world.keys("pz-rupel"),
        NOW,
        &mut rng,
        &mut MemorySink::default(),
    )
    .unwrap_err()
    .defect()
}

#[test]
fn a_draft_that_could_not_be_delivered_is_refused() {
    assert_eq!(refused(|d| d.parts.clear()), Defect::PartsCountWrong);
    assert_eq!(refused(|d| d.recipients.clear()), Defect::RecipientsCountWrong);
    assert_eq!(refused(|d| d.parts[0].recipients.clear()), Defect::FieldInvalid);
    assert_eq!(
        refused(|d| d.parts[0].recipients = vec![agency("pz-nergens")]),
        Defect::FieldInvalid
    );
    assert_eq!(
        refused(|d| d.manifest.sender_key = d.recipients[0].key.fingerprint().clone()),
        Defect::FieldInvalid
    );
    assert_eq!(
        refused(|d| d.manifest.expires = d.manifest.created),
        Defect::TimesWrong
    );
    let life = limits::PACKET_LIFE_MAX_MILLIS + 1;
    assert_eq!(
        refused(|d| d.manifest.expires = NOW.plus_millis(life)),
        Defect::LifeTooLong
    );
    let twice = |d: &mut Draft<'_>| d.recipients.push(d.recipients[0].clone());
    assert_eq!(refused(twice), Defect::RecipientRepeated);
    let nobody = |d: &mut Draft<'_>| d.recipients[0].agency = agency("caw-boom");
    assert_eq!(refused(nobody), Defect::FieldInvalid);
}

#[test]
fn content_must_have_the_announced_length_and_names_must_be_names() {
    assert_eq!(
        refused(|d| d.parts[0].content_length = 5),
        Defect::ContentReadFailed
    );
    assert_eq!(
        refused(|d| d.parts[0].content_length = 7),
        Defect::ContentReadFailed
    );
    assert_eq!(
        refused(|d| d.parts[0].content_length = 0),
        Defect::ContentLengthWrong
    );
    let too_long = limits::PART_MAX_BYTES + 1;
    assert_eq!(
        refused(|d| d.parts[0].content_length = too_long),
        Defect::ContentLengthWrong
    );
    assert_eq!(
        refused(|d| d.parts[0].file_name = "a\u{0}b".to_owned()),
        Defect::HeaderTextRefused
    );
    assert_eq!(
        refused(|d| d.parts[0].title = "x".repeat(256)),
        Defect::HeaderTextRefused
    );
    let subject = |d: &mut Draft<'_>| {
        let subject = d.parts[0].subjects[0].clone();
        d.parts[0].subjects.push(subject);
    };
    assert_eq!(refused(subject), Defect::SubjectRepeated);
}

/// A disk that is full after a number of bytes, or that cannot be opened.
struct FullDisk(usize);

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("full"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SealSink for FullDisk {
    fn open(&mut self, _: &PartId, _: Profile) -> io::Result<Box<dyn Write + Send + Sync>> {
        if self.0 == 0 {
            Err(io::Error::other("full"))
        } else {
            Ok(Box::new(FullDisk(self.0)))
        }
    }
}

#[test]
fn a_full_disk_is_an_error_not_a_packet() {
    let world = world();
    for room in [0, 100, 3000] {
        let mut rng = StdRng::seed_from_u64(1);
        let mut content = Cursor::new(vec![1_u8; 20_000]);
        let to: &[&str] = &["caw-rupel", "jh-antwerpen-dader"];
        let parts = std::iter::once((&mut content as &mut dyn Read, 20_000, to));
        let draft = world.draft("pz-rupel", parts, &mut rng);
        let error = seal(draft, world.keys("pz-rupel"), NOW, &mut rng, &mut FullDisk(room)).unwrap_err();
        assert!(
            matches!(error.defect(), Defect::WriteFailed | Defect::SealingFailed),
            "{error}"
        );
    }
}

#[test]
fn ciphertext_that_changes_between_the_passes_is_noticed() {
    let world = world();
    for reader in ["caw-rupel", "jh-antwerpen-dader"] {
        let (sealed, sink) = world.seal("pz-rupel", &[(&[7; 9000], &[reader])], 1);
        let part = sealed.sealings[0].part_id;
        let good = sink.get(&part, world.profile(reader)).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        let passes = Cell::new(0);
        let mut changing = || {
            passes.set(passes.get() + 1);
            let bytes = if passes.get() == 1 {
                good.clone()
            } else {
                bad.clone()
            };
            Ok(Box::new(Cursor::new(bytes)) as Ciphertext<'static>)
        };
        let handed = world.handed(reader, &sealed).unwrap();
        let key = key_packet(&sealed, &part, reader);
        let error = open_part(
            &handed,
            &part,
            &key,
            &mut changing,
            world.keys(reader),
            &mut Vec::new(),
        );
        assert_eq!(error.unwrap_err().defect(), Defect::CiphertextChanged);
        assert_eq!(passes.get(), 2);
    }
}

/// Reads some bytes, then fails.
struct BrokenDisk(Cursor<Vec<u8>>);

impl Read for BrokenDisk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("broken")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_broken_disk_is_not_the_senders_fault() {
    let world = world();
    for reader in ["caw-rupel", "jh-antwerpen-dader"] {
        let (sealed, sink) = world.seal("pz-rupel", &[(&[7; 9000], &[reader])], 1);
        let part = sealed.sealings[0].part_id;
        let ciphertext = sink.get(&part, world.profile(reader)).unwrap();
        let handed = world.handed(reader, &sealed).unwrap();
        let key = key_packet(&sealed, &part, reader);
        for length in [0, 1, 100, ciphertext.len() / 2] {
            let bytes = ciphertext[..length].to_vec();
            let mut broken = || Ok(Box::new(BrokenDisk(Cursor::new(bytes.clone()))) as Ciphertext<'static>);
            let error = check_part(&handed, &part, &key, &mut broken, world.keys(reader)).unwrap_err();
            assert_eq!(error.defect(), Defect::ReadFailed, "{length} bytes");
        }
    }
}

#[test]
fn c16_nothing_random_is_used_twice() {
    let world = world();
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let (sealed, sink) = world.seal(
            "pz-rupel",
            &[(b"a", &["caw-rupel"]), (b"a", &["caw-rupel"])],
            seed,
        );
        for sealing in &sealed.sealings {
            let data = sink.get(&sealing.part_id, sealing.profile).unwrap();
            assert!(seen.insert(data[..64].to_vec()), "encrypted-data salt");
        }
        for packet in &sealed.key_packets {
            assert!(seen.insert(packet.packet[40..].to_vec()), "encrypted session key");
        }
        for opening in sealed.parts.iter().chain(&sealed.recipients) {
            assert!(seen.insert(opening.nonce.to_vec()), "nonce");
        }
    }
    assert_eq!(seen.len(), 20 * (2 + 2 + 3));
}
