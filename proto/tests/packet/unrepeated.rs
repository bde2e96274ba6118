//! Nothing random is used twice: session keys, salts, nonces and ids over very many packets, each sealed with fresh
//! randomness as an agent seals it.

use std::io::Read;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use schakel_proto::openpgp::KeyKind;
use schakel_proto::packet::seal::{MemorySink, seal};

use super::world::{NOW, World};

/// Packets sealed by default, and in the long run (about 2 ms of processor time each in the development profile).
const PACKETS: (usize, usize) = (100_000, 1_000_000);
/// Random values of 32 bytes that a packet of one part for one recipient takes: session key, salt, two nonces, and
/// what its lists are padded with (63 of parts, 63 of recipients, 3 of key packets).
const DRAWN_COUNT: usize = 1 + 1 + 2 + 63 + 63 + 3;
/// How many of them are kept: those that come before the padding.
const KEPT_COUNT: usize = 8;

/// Passes randomness on, and notes what was taken.
struct Noting<'a> {
    inner: StdRng,
    drawn: &'a mut Vec<u64>,
    count: usize,
}

impl RngCore for Noting<'_> {
    fn next_u32(&mut self) -> u32 {
        self.inner.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.inner.fill_bytes(bytes);
        if bytes.len() == 32 {
            self.count += 1;
            if self.count <= KEPT_COUNT {
                self.drawn.push(u64::from_be_bytes(*bytes.first_chunk().unwrap()));
            }
        }
    }
}

/// What of so many packets must occur once: values drawn, and per packet the salt of the encrypted data and the
/// encrypted session key.
fn sealed(count: usize) -> [Vec<u64>; 3] {
    let world = World::new(&[("pz-rupel", KeyKind::V6), ("caw-rupel", KeyKind::V6)]);
    let [mut drawn, mut salts, mut keys] = [const { Vec::new() }; 3];
    for _ in 0..count {
        let mut rng = Noting {
            inner: StdRng::from_os_rng(),
            drawn: &mut drawn,
            count: 0,
        };
        let mut content: &[u8] = b"a";
        let part: (&mut dyn Read, u64, &[&str]) = (&mut content, 1, &["caw-rupel"]);
        let draft = world.draft("pz-rupel", std::iter::once(part), &mut rng);
        let mut sink = MemorySink::default();
        let packet = seal(draft, world.keys("pz-rupel"), NOW, &mut rng, &mut sink).unwrap();
        assert_eq!(rng.count, DRAWN_COUNT, "a packet takes fresh values");
        let first = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().unwrap());
        let sealing = &packet.sealings[0];
        let data = sink.get(&sealing.part_id, sealing.profile).unwrap();
        salts.push(first(&data[16..]));
        let key = &packet.key_packets[0].packet;
        keys.push(first(&key[key.len() - 32..]));
    }
    [drawn, salts, keys]
}

#[test]
fn c16_no_session_key_salt_or_nonce_is_used_twice() {
    let long = std::env::var("SCHAKEL_LONG").is_ok_and(|v| v == "1" || v == "true");
    let count = if long { PACKETS.1 } else { PACKETS.0 };
    let halves = [0, 1].map(|_| std::thread::spawn(move || sealed(count / 2)));
    let [mine, others] = halves.map(|half| half.join().unwrap());
    for (what, (mut all, more)) in ["drawn", "encryption salt", "session key"]
        .iter()
        .zip(mine.into_iter().zip(others))
    {
        all.extend(more);
        let taken = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), taken, "{what}");
    }
    eprintln!("\nCOUNT c16_no_session_key_salt_or_nonce_is_used_twice: {count} packets sealed");
}
