//! The rows of the catalogue of attacks (tests/catalogue.tsv) that hostile packets break, by number.

use schakel_proto::packet::Defect;
use schakel_proto::vectors::{World, named};

use super::forge::Forge;

/// Nobody on the way accepts these: the broker refuses them or the reader does, by the code in the file.
fn refused(names: &[&str]) {
    let world = World::load();
    for name in names {
        let vector = named(name);
        assert!(!vector.is_good(), "{name}");
        assert_eq!(
            vector.submit(&world).err().map(|e| e.code().to_owned()),
            vector.submit,
            "{name}"
        );
        assert_eq!(
            vector.open(&world).err().map(|e| e.code().to_owned()),
            vector.open,
            "{name}"
        );
    }
}

#[test]
fn c02_compression_is_refused_before_it_expands() {
    refused(&["inner-compressed"]);
}

#[test]
fn c03_nesting_and_huge_lengths_are_refused_before_anything_is_allocated() {
    refused(&[
        "inner-encrypted",
        "inner-key-packet",
        "header-length-huge",
        "header-claims-huge",
    ]);
    refused(&[
        "key-packet-partial-length",
        "sealing-length-huge",
        "inner-two-literals",
    ]);
}

#[test]
fn c05_ciphertext_cut_at_a_chunk_boundary_is_refused_and_nothing_is_released() {
    refused(&["last-tag-damaged", "sealing-truncated"]);
    // Version, cipher, AEAD, chunk size octet, salt; then chunks, each with its tag; then the last tag.
    const HEAD: usize = 36;
    let world = World::load();
    let content = vec![b'v'; 15_000];
    let mut cuts = 0;
    loop {
        let to: &[&str] = &["parket-antwerpen"];
        let mut forge = Forge::good(&world, "pz-rupel", &[(&content, to)], to[0], 80);
        let body = body(&forge.sealings[0].data.0);
        let chunk = (64_usize << body[3]) + 16;
        let kept = HEAD + (cuts + 1) * chunk;
        if kept + 16 >= body.len() {
            break;
        }
        forge.set_sealing(0, super::inner::packet(18, &body[..kept]));
        let error = forge.signed().open(&world).unwrap_err();
        assert_eq!(
            error.defect(),
            Defect::DecryptionFailed,
            "cut behind chunk {}",
            cuts + 1
        );
        cuts += 1;
    }
    assert!(cuts >= 3, "the ciphertext has {cuts} inner chunk boundaries");
}

/// The body of a packet with a definite length.
fn body(packet: &[u8]) -> Vec<u8> {
    let head = match packet[1] {
        0..192 => 2,
        192..224 => 3,
        255 => 6,
        _ => panic!("a partial length"),
    };
    packet[head..].to_vec()
}

#[test]
fn c06_old_formats_and_weak_algorithms_are_refused() {
    refused(&[
        "sealing-v4-in-v6",
        "sealing-without-mdc",
        "cipher-aes-128",
        "aead-gcm",
    ]);
    refused(&[
        "signature-weak-hash",
        "key-packet-rsa",
        "key-packet-v3-in-v6",
        "key-packet-old-format",
    ]);
}

#[test]
fn c08_a_part_stays_in_its_packet_and_in_its_place() {
    refused(&[
        "header-of-another-packet",
        "header-of-another-part",
        "part-of-another-packet",
    ]);
    refused(&["sealings-swapped", "sealing-missing", "part-opening-changed"]);
}

#[test]
fn c09_nobody_claims_what_another_wrote() {
    refused(&[
        "sender-impersonated",
        "sender-key-of-another",
        "header-of-another-sender",
        "inner-signed",
    ]);
}

#[test]
fn c10_only_a_binary_document_signature_counts() {
    refused(&[
        "signature-over-text",
        "signature-of-a-time",
        "signature-by-primary-key",
        "signature-in-armour",
    ]);
}

#[test]
fn c11_several_signatures_and_unknown_critical_subpackets_are_refused() {
    refused(&[
        "signature-twice",
        "signature-with-literal",
        "signature-critical-notation",
    ]);
    refused(&["signature-unhashed-notation"]);
}

#[test]
fn c12_file_names_exist_only_in_the_sealed_header_and_are_bounded() {
    refused(&[
        "literal-with-name",
        "header-name-with-control",
        "header-title-too-long",
    ]);
}

#[test]
fn c15_a_key_packet_names_its_recipient() {
    refused(&[
        "key-packet-wildcard",
        "key-packet-wildcard-v4",
        "key-packet-for-another",
    ]);
}
