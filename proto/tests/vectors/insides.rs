//! Well encrypted, but with the wrong thing inside. The broker cannot see any of these.

use prost::Message;
use schakel_proto::packet::Defect::{
    CommitmentDiffers, ContentLengthWrong, HeaderDiffers, HeaderLengthWrong, HeaderMalformed,
    HeaderTextRefused, InnerCompressed, InnerEncrypted, InnerNotLiteral, InnerSeveral, InnerSigned,
    LiteralNotPlain, NotCanonical, PaddingWrong, SealingLengthWrong, TypeWrong,
};
use schakel_proto::vectors::{PacketVector, World};
use schakel_proto::wire;

use super::forge::{Forge, agency};
use super::inner::{self, literal, packet, plain_literal};
use super::{Recipe, at_reader, hostile};

const CONTENT: &[u8] = b"Verzonnen verslag.\n";

/// Good plaintext in another wrapping.
fn wrapped(world: &World, wrap: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PacketVector {
    let mut forge = Forge::plain(world);
    let plain = forge.good_plaintext();
    forge.reseal(inner::V6, &wrap(plain));
    forge.signed()
}

/// Another sealed header, committed to as it is.
fn headed(world: &World, change: impl FnOnce(&mut wire::SealedHeader)) -> PacketVector {
    let mut forge = Forge::plain(world);
    let mut header = forge.header(CONTENT);
    change(&mut header);
    let plain = forge.plaintext(&header, CONTENT);
    forge.reseal(inner::V6, &plain_literal(&plain));
    forge.signed()
}

/// Other header bytes, committed to as they are.
fn raw_header(world: &World, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    let mut forge = Forge::plain(world);
    let header = forge.header(CONTENT);
    let mut bytes = header.encode_to_vec();
    change(&mut bytes);
    let plain = forge.plaintext_of(&bytes, &header.salt, CONTENT);
    forge.reseal(inner::V6, &plain_literal(&plain));
    forge.signed()
}

/// Plaintext changed after it was committed to.
fn spoilt(world: &World, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    wrapped(world, |mut plain| {
        change(&mut plain);
        plain_literal(&plain)
    })
}

pub const RECIPES: &[&[Recipe]] = &[WRAPPINGS, HEADERS, PLAINTEXTS];

const WRAPPINGS: &[Recipe] = &[
    at_reader(
        "inner-compressed",
        InnerCompressed,
        "a compressed-data packet: could expand without bound",
        |w| {
            wrapped(w, |plain| {
                let mut body = vec![0]; // uncompressed
                body.extend(plain_literal(&plain));
                packet(8, &body)
            })
        },
    ),
    at_reader(
        "inner-encrypted",
        InnerEncrypted,
        "encryption inside the encryption",
        |w| wrapped(w, |plain| inner::encrypted(inner::V6, &plain_literal(&plain))),
    ),
    at_reader(
        "inner-key-packet",
        InnerEncrypted,
        "a whole encrypted message inside the encryption",
        |w| {
            let reader = w.keys(&agency("parket-antwerpen"))[0].clone();
            wrapped(w, |plain| {
                let mut message = inner::key_packet(&reader, true, &[0x5A; 32]);
                message.extend(inner::encrypted(inner::V6, &plain_literal(&plain)));
                message
            })
        },
    ),
    at_reader(
        "inner-signed",
        InnerSigned,
        "a signed message inside: who would be its author?",
        |w| {
            let keys = w.keys(&agency("ocmw-boom"))[0].clone();
            wrapped(w, |plain| inner::signed_inside(&keys, &plain))
        },
    ),
    at_reader(
        "inner-two-literals",
        InnerSeveral,
        "two literal-data packets: two readers could read different ones",
        |w| {
            wrapped(w, |plain| {
                [plain_literal(&plain), plain_literal(b"anders")].concat()
            })
        },
    ),
    at_reader(
        "inner-marker-first",
        InnerNotLiteral,
        "a marker packet before the content",
        |w| wrapped(w, |plain| [packet(10, b"PGP"), plain_literal(&plain)].concat()),
    ),
    at_reader(
        "inner-padding-after",
        InnerNotLiteral,
        "an OpenPGP padding packet behind the content",
        |w| wrapped(w, |plain| [plain_literal(&plain), packet(21, &[0; 64])].concat()),
    ),
    at_reader(
        "literal-with-name",
        LiteralNotPlain,
        "a file name in the literal-data packet, beside the sealed header's",
        |w| wrapped(w, |plain| literal(b'b', b"ander.exe", 0, &plain)),
    ),
    at_reader(
        "literal-with-date",
        LiteralNotPlain,
        "a date in the literal-data packet",
        |w| wrapped(w, |plain| literal(b'b', b"", 1_795_278_600, &plain)),
    ),
    at_reader(
        "literal-text",
        LiteralNotPlain,
        "a literal-data packet of text, which tools may change",
        |w| wrapped(w, |plain| literal(b'u', b"", 0, &plain)),
    ),
];

const HEADERS: &[Recipe] = &[
    at_reader(
        "header-of-another-packet",
        HeaderDiffers,
        "a part moved here from another packet",
        |w| headed(w, |h| h.packet_id = vec![9; 16].into()),
    ),
    at_reader(
        "header-of-another-part",
        HeaderDiffers,
        "two parts exchanged",
        |w| headed(w, |h| h.part_id = vec![9; 16].into()),
    ),
    at_reader(
        "header-of-another-sender",
        HeaderDiffers,
        "somebody else's part, signed as one's own",
        |w| headed(w, |h| h.sender = "ocmw-boom".to_owned()),
    ),
    at_reader(
        "header-of-another-key",
        HeaderDiffers,
        "the sender is the same, its key is not",
        |w| headed(w, |h| h.sender_key = vec![9; 32].into()),
    ),
    at_reader(
        "header-of-another-network",
        HeaderDiffers,
        "a part from another network",
        |w| headed(w, |h| h.network = "schelde".to_owned()),
    ),
    at_reader(
        "header-other-type",
        TypeWrong,
        "another message in the header's place",
        |w| headed(w, |h| h.r#type = "schakel.v1.Manifest".to_owned()),
    ),
    at_reader("header-salt-short", HeaderMalformed, "a salt of 16 bytes", |w| {
        headed(w, |h| h.salt = h.salt.slice(..16))
    }),
    at_reader(
        "header-name-with-control",
        HeaderTextRefused,
        "a file name with a line break",
        |w| headed(w, |h| h.file_name = "verslag\n.pdf".to_owned()),
    ),
    at_reader(
        "header-title-too-long",
        HeaderTextRefused,
        "a title of 256 bytes",
        |w| headed(w, |h| h.title = "t".repeat(256)),
    ),
    at_reader(
        "header-claims-less",
        PaddingWrong,
        "the header says the content is shorter: the rest is no padding",
        |w| headed(w, |h| h.content_length -= 1),
    ),
    at_reader(
        "header-claims-huge",
        ContentLengthWrong,
        "the header says 2^63 bytes",
        |w| headed(w, |h| h.content_length = 1 << 63),
    ),
    at_reader(
        "header-claims-nothing",
        ContentLengthWrong,
        "the header says no content",
        |w| headed(w, |h| h.content_length = 0),
    ),
    at_reader(
        "header-claims-beyond",
        ContentLengthWrong,
        "the header says more than there is",
        |w| headed(w, |h| h.content_length = 100_000),
    ),
    at_reader(
        "header-garbage",
        HeaderMalformed,
        "a header that is not protobuf",
        |w| raw_header(w, |bytes| bytes.fill(0xFF)),
    ),
    at_reader(
        "header-not-canonical",
        NotCanonical,
        "a header with an unknown field",
        |w| raw_header(w, |bytes| bytes.extend([0xFA, 0x07, 1, b'x'])),
    ),
    at_reader(
        "header-length-zero",
        HeaderLengthWrong,
        "a header of no length",
        |w| raw_header(w, Vec::clear),
    ),
    at_reader(
        "header-length-huge",
        HeaderLengthWrong,
        "a header length of 2^32 - 1",
        |w| spoilt(w, |plain| plain[..4].fill(0xFF)),
    ),
];

const PLAINTEXTS: &[Recipe] = &[
    at_reader(
        "content-other-than-committed",
        CommitmentDiffers,
        "one letter of the content is not what was committed to",
        |w| {
            spoilt(w, |plain| {
                let at = plain.windows(CONTENT.len()).position(|x| x == CONTENT).unwrap();
                plain[at] ^= 1;
            })
        },
    ),
    at_reader(
        "commitment-of-another",
        CommitmentDiffers,
        "the descriptor commits to something else: two readers could be told different things",
        |w| {
            let mut forge = Forge::plain(w);
            forge.parts[0].message.commitment = vec![9; 32].into();
            forge.signed()
        },
    ),
    at_reader(
        "padding-not-zero",
        PaddingWrong,
        "something hidden in the padding",
        |w| spoilt(w, |plain| *plain.last_mut().unwrap() = 1),
    ),
    at_reader(
        "padding-too-short",
        PaddingWrong,
        "padding that ends before the size class",
        |w| spoilt(w, |plain| plain.truncate(4095)),
    ),
    at_reader(
        "padding-too-long",
        PaddingWrong,
        "padding into a larger size class",
        |w| spoilt(w, |plain| plain.resize(16 * 1024, 0)),
    ),
    hostile(
        "plaintext-short",
        SealingLengthWrong,
        "a plaintext that is not padded at all",
        |w| spoilt(w, |plain| plain.truncate(20)),
    ),
];
