//! Ways to damage a pack, and what a damaged one must be found to be.

use std::path::PathBuf;

use schakel_agent::evidence::verify::verify;
use schakel_tests::system::network::Town;
use schakel_tests::system::pack::{Pack, sum, tar};

use super::{anchor, failed};

/// A pack as a file.
pub fn file(town: &Town, pack: &Pack) -> PathBuf {
    let out = town.scratch("damaged").join("pack.tar");
    std::fs::write(&out, tar(pack)).unwrap();
    out
}

/// A pack whose list of digests was made to fit again fails exactly these checks.
#[track_caller]
pub fn assert_failed(town: &Town, pack: &mut Pack, expected: &[&str]) {
    let expected = expected.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(differs(town, pack, expected), None);
}

/// What fails of a pack whose list of digests was made to fit again, if it is not exactly this.
pub fn differs(town: &Town, pack: &mut Pack, mut expected: Vec<String>) -> Option<String> {
    sum(pack);
    let report = verify(&file(town, pack), &anchor(town)).unwrap();
    expected.sort();
    let found = failed(&report);
    let said = || format!("{found:?}, not {expected:?}\n{}", report.to_text("en"));
    (found != expected).then(said)
}

/// The one member whose name begins and ends so.
pub fn named(pack: &Pack, (begins, ends): (&str, &str)) -> String {
    let fits = |name: &&String| name.starts_with(begins) && name.ends_with(ends);
    pack.keys()
        .find(fits)
        .unwrap_or_else(|| panic!("{begins}…{ends}"))
        .clone()
}

/// One bit in the middle of a member.
pub fn flip(pack: &mut Pack, name: &str) {
    let bytes = pack.get_mut(name).unwrap_or_else(|| panic!("{name}"));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// Replaces a text within a member.
pub fn replace(pack: &mut Pack, name: &str, from: &[u8], to: &[u8]) {
    let bytes = &pack[name];
    let at = bytes.windows(from.len()).position(|w| w == from);
    let at = at.unwrap_or_else(|| panic!("{name} does not hold it"));
    let changed = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
    pack.insert(name.to_owned(), changed);
}

/// Takes everything out whose name begins so.
pub fn strip(pack: &mut Pack, begins: &str) {
    let before = pack.len();
    pack.retain(|name, _| !name.starts_with(begins));
    assert_ne!(pack.len(), before, "{begins}");
}

/// The last byte of a member goes.
pub fn cut(pack: &mut Pack, name: &str) {
    pack.get_mut(name).unwrap_or_else(|| panic!("{name}")).pop();
}
