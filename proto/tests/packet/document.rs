//! The format document is true: its codes are those of the library, its example is the vector's, its
//! one-line cut is the one that the interoperability tests run.

use schakel_proto::ids::Digest;
use schakel_proto::packet::Defect;
use schakel_proto::vectors::named;

use super::interop::CUT;

const DOCUMENT: &str = include_str!("../../../docs/format/packet.md");

#[test]
fn every_code_is_in_the_table_with_its_meaning() {
    for defect in Defect::ALL {
        let row = DOCUMENT
            .lines()
            .find(|l| l.starts_with(&format!("| `{}` |", defect.code())));
        let row = row.unwrap_or_else(|| panic!("{} is not in the document", defect.code()));
        assert!(row.ends_with(&format!("| {} |", defect.sentence())), "{row}");
    }
    let rows = DOCUMENT
        .lines()
        .filter(|l| l.starts_with("| `") && l.matches('|').count() == 4);
    assert_eq!(
        rows.count(),
        Defect::ALL.len(),
        "the document names a code that does not exist"
    );
}

#[test]
fn the_cut_is_the_one_that_is_tested() {
    assert!(DOCUMENT.contains(CUT));
}

#[test]
fn the_worked_example_is_the_vector() {
    let vector = named("good-v4-recipient");
    let opening = |o: &schakel_proto::vectors::Opening| Digest::of_all(&[&o.nonce.0, &o.descriptor.0]);
    let digests = [
        Digest::of(&vector.manifest.bytes.0),
        Digest::of(&vector.manifest.signature.0),
        opening(&vector.recipients[0]),
        opening(&vector.parts[0]),
        Digest::of(&vector.key_packets[0].packet.0),
        Digest::of(&vector.sealings[0].data.0),
    ];
    for digest in digests {
        let text = hex::encode(digest.as_bytes());
        assert!(DOCUMENT.contains(&text), "{text} is not in the document");
    }
    let count = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/packets"))
        .unwrap()
        .count();
    assert!(
        DOCUMENT.contains(&format!("`proto/vectors/` {count} packets by name")),
        "{count} packets"
    );
}
