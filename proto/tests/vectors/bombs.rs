//! Decompression bombs inside a part: refused without being expanded, in flat memory.

use schakel_proto::packet::Defect;
use schakel_proto::vectors::World;

use super::forge::Forge;
use super::inner::{self, packet, plain_literal};

/// What the bomb would be once expanded: at least this many bytes.
const EXPANDED_BYTES: usize = 256 << 20;
/// Most memory that refusing one may take, in KiB.
const GROWN_MAX_KIB: u64 = 16 * 1024;

/// Bits of a deflate stream (RFC 1951): codes with their first bit first, numbers with their last.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn put(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (8 - self.free);
        }
        self.free -= 1;
    }

    fn code(&mut self, code: u32, length: u32) {
        (0..length).rev().for_each(|n| self.put(code >> n & 1 == 1));
    }
}

/// A deflate stream of zeros, 158 times as long when expanded.
fn deflated(expanded: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(true); // the last block
    bits.put(true); // with the fixed codes
    bits.put(false);
    bits.code(0x30, 8); // one zero
    for _ in 0..expanded.div_ceil(258) {
        bits.code(0xc5, 8); // 258 times
        bits.code(0, 5); // what stands one before
    }
    bits.code(0, 7); // the end
    bits.bytes
}

/// A compressed-data packet (algorithm 1, ZIP) that expands to zeros.
fn bomb() -> Vec<u8> {
    packet(8, &[vec![1], deflated(EXPANDED_BYTES)].concat())
}

/// What the child says of each.
const REFUSED: &str = " is refused in flat memory";

#[test]
fn c02_bombs_are_refused_in_flat_memory() {
    let child = std::env::current_exe().unwrap();
    let done = std::process::Command::new(child)
        .args(["bombs::bombs_child", "--exact", "--show-output"])
        .env("SCHAKEL_BOMBS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches(REFUSED).count(), 4, "all of them were tried: {said}");
}

#[test]
fn bombs_child() {
    if std::env::var_os("SCHAKEL_BOMBS").is_none() {
        return; // Driven by the test above.
    }
    let world = World::load();
    let nested = packet(8, &[vec![0], bomb()].concat());
    let behind = [plain_literal(&[7; 4_000]), bomb()].concat();
    let signed = [packet(4, &[3; 13]), bomb()].concat();
    for (what, inside, defects) in [
        ("a bomb", bomb(), &[Defect::InnerCompressed][..]),
        ("a bomb in another packet", nested, &[Defect::InnerCompressed]),
        (
            "a bomb behind the content",
            behind,
            &[
                Defect::InnerSeveral,
                Defect::InnerNotLiteral,
                Defect::InnerCompressed,
            ],
        ),
        ("a bomb behind a signature", signed, &[Defect::InnerSigned]),
    ] {
        let mut forge = Forge::plain(&world);
        forge.reseal(inner::V6, &inside);
        let vector = forge.signed();
        let before = peak_kib();
        let error = vector.open(&world).unwrap_err();
        assert!(defects.contains(&error.defect()), "{what}: {error}");
        let grown = peak_kib() - before;
        assert!(grown < GROWN_MAX_KIB, "{what}: {grown} KiB");
        println!("{what}{REFUSED}");
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
