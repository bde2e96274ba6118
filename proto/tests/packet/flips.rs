//! A flipped bit anywhere, in anything that travels, is refused.

use std::io::Cursor;

use proptest::prelude::*;
use schakel_proto::openpgp::KeyKind;
use schakel_proto::packet::open::{Ciphertext, open_part};
use schakel_proto::packet::seal::{MemorySink, SealedPacket};

use super::world::{World, key_packet};

struct Good {
    world: World,
    sealed: SealedPacket,
    sink: MemorySink,
}

impl Good {
    fn new(sender: &str, reader: &str) -> Self {
        let world = World::new(&[
            ("pz-rupel", KeyKind::V6),
            ("parket-antwerpen", KeyKind::V6PostQuantumSigning),
            ("jh-antwerpen-dader", KeyKind::V4),
        ]);
        let (sealed, sink) = world.seal(sender, &[(b"inhoud van het verslag", &[reader])], 3);
        Self { world, sealed, sink }
    }

    /// Whether any party on the way refuses the packet: the broker, or the reader that opens it.
    fn refused(&self, sender: &str, reader: &str, sealed: &SealedPacket, ciphertext: &[u8]) -> bool {
        let part = sealed.sealings[0].part_id;
        self.world.submit(sender, sealed, &self.sink).is_err()
            || self.world.open(reader, sealed, &part, ciphertext).is_err()
    }
}

fn flip(bytes: &bytes::Bytes, bit: usize) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

/// Flips one bit of the n-th region of a packet, or of the ciphertext.
fn changed(good: &Good, reader: &str, region: usize, bit: usize) -> (SealedPacket, Vec<u8>) {
    let mut sealed = good.sealed.clone();
    let part = sealed.sealings[0].part_id;
    let mut ciphertext = good.sink.get(&part, good.world.profile(reader)).unwrap();
    match region {
        0 => sealed.manifest.bytes = flip(&sealed.manifest.bytes, bit),
        1 => sealed.manifest.signature = flip(&sealed.manifest.signature, bit),
        2 => sealed.recipients[0].nonce = flip(&sealed.recipients[0].nonce, bit),
        3 => sealed.recipients[0].descriptor = flip(&sealed.recipients[0].descriptor, bit),
        4 => sealed.parts[0].nonce = flip(&sealed.parts[0].nonce, bit),
        5 => sealed.parts[0].descriptor = flip(&sealed.parts[0].descriptor, bit),
        6 => sealed.key_packets[0].packet = flip(&sealed.key_packets[0].packet, bit),
        _ => ciphertext = flip(&ciphertext.into(), bit).to_vec(),
    }
    (sealed, ciphertext)
}

const WAYS: [(&str, &str); 3] = [
    ("pz-rupel", "parket-antwerpen"),
    ("parket-antwerpen", "jh-antwerpen-dader"),
    ("jh-antwerpen-dader", "pz-rupel"),
];

thread_local! {
    static GOOD: std::rc::Rc<Vec<Good>> = std::rc::Rc::new(WAYS.map(|(s, r)| Good::new(s, r)).into());
}

#[test]
fn the_unchanged_packets_are_accepted() {
    GOOD.with(|all| {
        for (good, (sender, reader)) in all.iter().zip(WAYS) {
            let ciphertext = good
                .sink
                .get(&good.sealed.sealings[0].part_id, good.world.profile(reader));
            assert!(!good.refused(sender, reader, &good.sealed, &ciphertext.unwrap()));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn c04_one_flipped_bit_is_refused(way in 0..3_usize, region in 0..8_usize, bit in any::<usize>()) {
        let all = GOOD.with(Clone::clone);
        let (good, (sender, reader)) = (&all[way], WAYS[way]);
        let (sealed, ciphertext) = changed(good, reader, region, bit);
        prop_assert!(good.refused(sender, reader, &sealed, &ciphertext));
    }
}

/// Signatures are short: every single bit of them.
#[test]
fn c04_every_bit_of_every_kind_of_classical_signature_counts() {
    for (sender, reader) in [
        ("pz-rupel", "parket-antwerpen"),
        ("jh-antwerpen-dader", "pz-rupel"),
    ] {
        let good = Good::new(sender, reader);
        for bit in 0..good.sealed.manifest.signature.len() * 8 {
            let mut sealed = good.sealed.clone();
            sealed.manifest.signature = flip(&sealed.manifest.signature, bit);
            assert!(
                good.world.submit(sender, &sealed, &good.sink).is_err(),
                "{sender}, bit {bit}"
            );
        }
    }
}

/// Every third byte of the ciphertext, in both profiles; in the long run every byte.
#[test]
fn c04_every_byte_of_the_ciphertext_counts_and_nothing_is_released() {
    let long = std::env::var("SCHAKEL_LONG").is_ok_and(|v| v == "1" || v == "true");
    for (sender, reader) in [
        ("jh-antwerpen-dader", "pz-rupel"),
        ("pz-rupel", "jh-antwerpen-dader"),
    ] {
        let good = Good::new(sender, reader);
        let part = good.sealed.sealings[0].part_id;
        let ciphertext = good.sink.get(&part, good.world.profile(reader)).unwrap();
        let handed = good.world.handed(reader, &good.sealed).unwrap();
        let key = key_packet(&good.sealed, &part, reader);
        for at in (0..ciphertext.len()).step_by(if long { 1 } else { 3 }) {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1 << (at % 8);
            let mut again = || Ok(Box::new(Cursor::new(changed.clone())) as Ciphertext<'static>);
            let mut out = Vec::new();
            let opened = open_part(
                &handed,
                &part,
                &key,
                &mut again,
                good.world.keys(reader),
                &mut out,
            );
            assert!(opened.is_err() && out.is_empty(), "{reader}, byte {at}");
        }
    }
}
