//! Garbage, random and structured, in every place that takes bytes: an error with a code, never a panic,
//! never a part that opens.

use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use schakel_proto::openpgp::{Certificate, SecretKeys};
use schakel_proto::vectors::{Base64, PacketVector, World};

use super::forge::Forge;
use super::inner::{self, How};

thread_local! {
    static WORLD: Rc<World> = Rc::new(World::load());
}

fn world() -> Rc<World> {
    WORLD.with(Clone::clone)
}

/// Both parties must refuse or, if the change is invisible to one of them, the other must.
fn refused(world: &World, vector: &PacketVector) -> bool {
    let submit = vector.submit(world).is_err();
    let open = vector.open(world).is_err();
    submit || open
}

/// Replaces `count` bytes at a place by others: cuts, insertions and changes alike.
fn splice(bytes: &mut Vec<u8>, at: usize, count: usize, by: &[u8]) -> bool {
    let at = at % (bytes.len() + 1);
    let end = (at + count).min(bytes.len());
    let before = bytes.clone();
    bytes.splice(at..end, by.iter().copied());
    *bytes != before
}

fn forge(world: &World, v4: bool) -> Forge<'_> {
    if v4 {
        Forge::plain_v4(world)
    } else {
        Forge::plain(world)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn c01_random_bytes_in_every_place_of_a_packet(place in 0..7_usize, bytes in vec(any::<u8>(), 0..600)) {
        let world = world();
        let mut vector = Forge::plain(&world).signed();
        let target = match place {
            0 => &mut vector.manifest.bytes,
            1 => &mut vector.manifest.signature,
            2 => &mut vector.recipients[0].descriptor,
            3 => &mut vector.parts[0].descriptor,
            4 => &mut vector.parts[0].nonce,
            5 => &mut vector.key_packets[0].packet,
            _ => &mut vector.sealings[0].data,
        };
        *target = Base64(bytes);
        prop_assert!(refused(&world, &vector));
    }

    #[test]
    fn c01_spliced_manifests_signed_all_the_same(at: usize, count in 0..9_usize, by in vec(any::<u8>(), 0..9)) {
        let world = world();
        let forge = Forge::plain(&world);
        let mut bytes = prost::Message::encode_to_vec(&forge.manifest);
        splice(&mut bytes, at, count, &by);
        let vector = forge.signed_as(bytes);
        // Another time or code may be as good; but then the part is what it was.
        if let Ok(opened) = vector.open(&world) {
            prop_assert_eq!(&opened[0].1, &vector.contents[0].content.0);
        }
        let _judged = vector.submit(&world);
    }

    #[test]
    fn c01_spliced_descriptors_committed_all_the_same(at: usize, count in 0..9_usize, by in vec(any::<u8>(), 0..9)) {
        let world = world();
        let mut forge = Forge::plain(&world);
        let mut bytes = prost::Message::encode_to_vec(&forge.parts[0].message);
        splice(&mut bytes, at, count, &by);
        forge.parts[0].raw = Some(bytes);
        let vector = forge.signed();
        if let Ok(opened) = vector.open(&world) {
            prop_assert_eq!(&opened[0].1, &vector.contents[0].content.0);
        }
        let _judged = vector.submit(&world);
    }

    #[test]
    fn c01_spliced_ciphertext_committed_all_the_same(v4: bool, at: usize, count in 0..40_usize, by in vec(any::<u8>(), 0..40)) {
        let world = world();
        let mut forge = forge(&world, v4);
        let mut data = forge.sealings[0].data.0.clone();
        prop_assume!(splice(&mut data, at, count, &by));
        forge.set_sealing(0, data);
        prop_assert!(refused(&world, &forge.signed()));
    }

    #[test]
    fn c01_spliced_key_packets_committed_all_the_same(v4: bool, at: usize, count in 0..9_usize, by in vec(any::<u8>(), 0..9)) {
        let world = world();
        let mut forge = forge(&world, v4);
        let mut packet = forge.key_packets[0].packet.to_vec();
        prop_assume!(splice(&mut packet, at, count, &by));
        forge.set_key_packet(0, packet);
        prop_assert!(refused(&world, &forge.signed()));
    }

    #[test]
    fn c01_random_packets_inside_the_encryption(v4: bool, tag in 0..64_u8, body in vec(any::<u8>(), 4200..4300)) {
        let world = world();
        let mut forge = forge(&world, v4);
        let how: How = if v4 { inner::V4 } else { inner::V6 };
        forge.reseal(how, &inner::packet(tag, &body));
        prop_assert!(refused(&world, &forge.signed()));
    }

    #[test]
    fn c01_spliced_packets_inside_the_encryption(v4: bool, at in 0..400_usize, count in 0..9_usize, by in vec(any::<u8>(), 0..9)) {
        let world = world();
        let mut forge = forge(&world, v4);
        let plain = forge.good_plaintext();
        let mut packets = inner::plain_literal(&plain);
        prop_assume!(splice(&mut packets, at, count, &by));
        forge.reseal(if v4 { inner::V4 } else { inner::V6 }, &packets);
        prop_assert!(refused(&world, &forge.signed()));
    }

    #[test]
    fn c01_random_keys(bytes in vec(any::<u8>(), 0..400), at: usize, by in vec(any::<u8>(), 0..20)) {
        let world = world();
        prop_assert!(SecretKeys::parse(&bytes).is_err());
        let id = world.members().next().unwrap().clone();
        let mut good = world.keys(&id)[0].certificate().to_bytes().unwrap();
        splice(&mut good, at, by.len(), &by);
        // May still be a certificate (a changed user id is dropped); it must only not panic.
        if let Ok(certificate) = Certificate::parse(&good) {
            let _signing = certificate.signing_keys_at(schakel_proto::vectors::NOW);
            let _sealing = certificate.sealing_key_at(schakel_proto::vectors::NOW);
        }
    }
}
