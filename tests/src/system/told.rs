//! What a test tells the person who runs it: skips, counts, seeds. `tests/run` reads these lines.

use std::io::Write;

use rand::{RngCore, SeedableRng, rngs::StdRng};

fn test_name() -> String {
    std::thread::current().name().unwrap_or("test").to_owned()
}

/// Past libtest's capture, as one line of its own.
fn say(line: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| v == "1" || v == "true")
}

/// Says loudly that the running test cannot be done here, and why; the caller returns.
///
/// # Panics
/// With `CI=true` or `SCHAKEL_NO_SKIP=1`, where a skip is a failure.
pub fn skip(why: &str) {
    say(&format!("SKIPPED {}: {why}", test_name()));
    assert!(
        !is_set("CI") && !is_set("SCHAKEL_NO_SKIP"),
        "skipped where no test may be: {why}"
    );
}

/// Records how often the running test did its thing, for `tests/run --report`.
pub fn count(number: u64, what: &str) {
    let name = test_name();
    let short = name.rsplit("::").next().unwrap_or(&name);
    say(&format!("COUNT {short}: {number} {what}"));
}

/// The usual number of rounds, or the long one under `tests/run --long`, or as many as `SCHAKEL_ROUNDS` says.
///
/// # Panics
/// When that is not a number.
pub fn rounds(usual: u64, long: u64) -> u64 {
    match std::env::var("SCHAKEL_ROUNDS") {
        Ok(given) => given.parse().expect("SCHAKEL_ROUNDS is a number"),
        Err(_) if is_set("SCHAKEL_LONG") => long,
        Err(_) => usual,
    }
}

/// A generator for one test, from `SCHAKEL_SEED` or a new seed; the seed is printed.
pub fn seeded() -> StdRng {
    let given = std::env::var("SCHAKEL_SEED")
        .ok()
        .map(|s| s.parse().expect("SCHAKEL_SEED is a number"));
    let seed = given.unwrap_or_else(|| StdRng::from_os_rng().next_u64());
    println!("SEED {}: repeat with SCHAKEL_SEED={seed}", test_name());
    StdRng::seed_from_u64(seed)
}
