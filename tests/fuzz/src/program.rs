//! All targets in one program: `SCHAKEL_FUZZ_TARGET=manifest schakel-fuzz [libFuzzer's options] [folders or files]`.
//! With `SCHAKEL_FUZZ_SEEDS` it first writes to that folder what the target is fed first. Built without `with-coverage`
//! it only repeats inputs: nothing guides it.
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test material")]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rustix::process::{Resource, Rlimit, setrlimit};
use schakel_fuzz::Target;

/// What one input may take, in MiB, over what the program has when it begins.
const MEMORY_MIB: u64 = 256;

static TARGET: OnceLock<&Target> = OnceLock::new();

/// Chooses the target, makes its fixtures, and takes away the memory that no input may need: an allocation
/// beyond it fails and ends the program, and libFuzzer keeps the input.
fn begin() {
    let name = std::env::var("SCHAKEL_FUZZ_TARGET").expect("SCHAKEL_FUZZ_TARGET names a target");
    let target = Target::named(&name).expect("SCHAKEL_FUZZ_TARGET names a target");
    let seeds = target.seeds();
    seeds.iter().take(4).for_each(|seed| target.run(seed));
    if let Some(folder) = std::env::var_os("SCHAKEL_FUZZ_SEEDS") {
        for (number, seed) in seeds.iter().enumerate() {
            let file = Path::new(&folder).join(format!("{number:04}"));
            std::fs::write(file, seed).expect("the folder of seeds can be written");
        }
    }
    TARGET.set(target).ok().expect("one beginning");
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = data.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let most = (kib.expect("VmData") << 10) + (MEMORY_MIB << 20);
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Data, limit).expect("a lower limit is always granted");
}

fuzz_target!(init: begin(), |input: &[u8]| {
    TARGET.get().expect("libFuzzer begins first").run(input);
});
