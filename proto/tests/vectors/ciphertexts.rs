//! Hostile ciphertext: what streams by is not what was committed to, or not what it must be.

use schakel_proto::packet::Defect::{
    self, CiphertextChanged, DecryptionFailed, EncryptedDataAlgorithmRefused, EncryptedDataVersionWrong,
    InnerNotLiteral, SealingDigestDiffers, SealingLengthDiffers, SealingMissing, SealingNotEncryptedData,
    TrailingData,
};
use schakel_proto::vectors::{PacketVector, World};
use sequoia_openpgp::types::{AEADAlgorithm, SymmetricAlgorithm};

use super::forge::Forge;
use super::inner::{self, How};
use super::{Recipe, at_broker, at_reader};

/// A plain packet whose ciphertext is changed on its way.
fn on_the_way(world: &World, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    let mut vector = Forge::plain(world).signed();
    change(&mut vector.sealings[0].data.0);
    vector
}

/// A packet whose sender committed to ciphertext that was changed before.
fn committed(mut forge: Forge<'_>, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    let mut data = forge.sealings[0].data.0.clone();
    change(&mut data);
    forge.set_sealing(0, data);
    forge.signed()
}

#[expect(
    clippy::ptr_arg,
    reason = "one of several changes, most of which alter the length"
)]
fn flip_middle(data: &mut Vec<u8>) {
    let middle = data.len() / 2;
    data[middle] ^= 1;
}

pub const RECIPES: &[&[Recipe]] = &[ON_THE_WAY_RECIPES, COMMITTED_RECIPES];

const CHANGED: Option<Defect> = Some(CiphertextChanged);

const ON_THE_WAY_RECIPES: &[Recipe] = &[
    at_broker(
        "sealing-truncated",
        SealingLengthDiffers,
        CHANGED,
        "the last byte of the ciphertext is missing",
        |w| on_the_way(w, |data| data.truncate(data.len() - 1)),
    ),
    at_broker(
        "sealing-extended",
        SealingLengthDiffers,
        CHANGED,
        "a byte too many",
        |w| on_the_way(w, |data| data.push(0)),
    ),
    at_broker(
        "sealing-bit-flipped",
        SealingDigestDiffers,
        CHANGED,
        "one bit of the ciphertext flipped",
        |w| on_the_way(w, flip_middle),
    ),
    at_broker(
        "sealing-missing",
        SealingMissing,
        CHANGED,
        "the ciphertext does not come",
        |w| {
            let mut vector = Forge::plain(w).signed();
            vector.sealings.clear();
            vector
        },
    ),
    at_broker(
        "sealings-swapped",
        SealingDigestDiffers,
        CHANGED,
        "the ciphertexts of two parts in each other's place",
        |w| {
            let to: &[&str] = &["parket-antwerpen"];
            let parts: [(&[u8], &[&str]); 2] = [(b"a", to), (b"b", to)];
            let mut vector = Forge::good(w, "pz-rupel", &parts, "parket-antwerpen", 70).signed();
            let first = vector.sealings[0].data.clone();
            vector.sealings[0].data = std::mem::replace(&mut vector.sealings[1].data, first);
            vector
        },
    ),
];

/// Encrypted data of version 1 with a right prefix and too little behind it for an MDC packet: 38 bytes, which is enough
/// for a cipher of 8-byte blocks and so for the library's check of the header. What followed stands behind it.
fn no_room_for_an_mdc(data: &mut Vec<u8>) {
    let version_at = match data[1] {
        192..=223 => 3,
        255 => 6,
        _ => 2,
    };
    let beginning = &data[version_at..version_at + 38];
    *data = [&[0xD2, 38], beginning, data.as_slice()].concat();
}

/// Encrypted data of version 1 of the same length in pieces (RFC 9580 section 4.2.1.4), as large as fit, behind which
/// nothing says how long the next one is.
fn pieces_without_end(data: &mut Vec<u8>) {
    let version_at = match data[1] {
        192..=223 => 3,
        255 => 6,
        _ => 2,
    };
    let (mut left, mut powers) = (data.len() - 1, Vec::new());
    while left >= 2 {
        let power = (left - 1).ilog2();
        left -= 1 + (1 << power);
        powers.push(power);
    }
    // An octet that is left is the head of one half of the last piece.
    if left == 1
        && let Some(last) = powers.pop()
    {
        powers.extend([last - 1, last - 1]);
    }
    let mut body = data[version_at..].iter().copied().chain(std::iter::repeat(0));
    let mut pieces = vec![0xD2];
    for power in powers {
        pieces.push(0xE0 | u8::try_from(power).unwrap());
        pieces.extend(body.by_ref().take(1 << power));
    }
    *data = pieces;
}

const COMMITTED_RECIPES: &[Recipe] = &[
    at_reader(
        "sealing-of-pieces-without-end",
        schakel_proto::packet::Defect::EncryptedDataMalformed,
        "the encrypted data has a right prefix and comes in pieces of which none is the last: the library panics on it",
        |w| committed(Forge::plain_v4(w), pieces_without_end),
    ),
    at_reader(
        "sealing-without-room-for-its-mdc",
        schakel_proto::packet::Defect::EncryptedDataMalformed,
        "the encrypted data has a right prefix and no room for its MDC packet: the library panics on it",
        |w| committed(Forge::plain_v4(w), no_room_for_an_mdc),
    ),
    at_broker(
        "sealing-is-plaintext",
        SealingNotEncryptedData,
        Some(schakel_proto::packet::Defect::EncryptedDataMalformed),
        "the content in the clear, so that the broker could read it",
        |w| {
            committed(Forge::plain(w), |data| {
                *data = inner::plain_literal(&[b'x'; 5000])
            })
        },
    ),
    at_broker(
        "sealing-v4-in-v6",
        SealingNotEncryptedData,
        Some(EncryptedDataVersionWrong),
        "SEIPDv1 in profile v6: a downgrade",
        |w| {
            let mut forge = Forge::plain(w);
            let plain = forge.good_plaintext();
            forge.reseal(inner::V4, &inner::plain_literal(&plain));
            forge.signed()
        },
    ),
    at_broker(
        "sealing-v6-in-v4",
        SealingNotEncryptedData,
        Some(EncryptedDataVersionWrong),
        "SEIPDv2 in profile v4",
        |w| {
            let mut forge = Forge::plain_v4(w);
            let plain = forge.good_plaintext();
            forge.reseal(inner::V6, &inner::plain_literal(&plain));
            forge.signed()
        },
    ),
    at_broker(
        "sealing-without-mdc",
        SealingNotEncryptedData,
        Some(schakel_proto::packet::Defect::EncryptedDataMalformed),
        "the obsolete encrypted-data packet without integrity (type 9)",
        |w| committed(Forge::plain_v4(w), |data| data[0] = 0xC9),
    ),
    at_reader(
        "cipher-aes-128",
        EncryptedDataAlgorithmRefused,
        "AES-128 in profile v6",
        |w| resealed(w, How::V2(SymmetricAlgorithm::AES128, AEADAlgorithm::OCB)),
    ),
    at_reader(
        "aead-gcm",
        EncryptedDataAlgorithmRefused,
        "GCM instead of OCB",
        |w| resealed(w, How::V2(SymmetricAlgorithm::AES256, AEADAlgorithm::GCM)),
    ),
    at_reader(
        "session-key-of-another",
        DecryptionFailed,
        "a session key that does not fit the ciphertext",
        |w| {
            let mut forge = Forge::plain(w);
            forge.rekey(&[7; 32]);
            forge.signed()
        },
    ),
    at_reader(
        "ciphertext-damaged-v6",
        DecryptionFailed,
        "ciphertext damaged before it was committed to: the tag fails",
        |w| committed(Forge::plain(w), flip_middle),
    ),
    at_reader(
        "ciphertext-damaged-v4",
        DecryptionFailed,
        "the same in profile v4: the MDC fails, and not a byte is released",
        |w| committed(Forge::plain_v4(w), flip_middle),
    ),
    at_reader(
        "last-tag-damaged",
        DecryptionFailed,
        "only the last AEAD tag is damaged",
        |w| committed(Forge::plain(w), |data| *data.last_mut().unwrap() ^= 1),
    ),
    at_reader("mdc-damaged", DecryptionFailed, "only the MDC is damaged", |w| {
        committed(Forge::plain_v4(w), |data| *data.last_mut().unwrap() ^= 1)
    }),
    at_reader(
        "sealing-and-more",
        TrailingData,
        "a second packet behind the encrypted data",
        |w| {
            committed(Forge::plain(w), |data| {
                data.extend(inner::plain_literal(b"daarna"))
            })
        },
    ),
    at_reader(
        "sealing-empty-inside",
        InnerNotLiteral,
        "encrypted data with only a marker inside",
        |w| {
            let mut forge = Forge::plain(w);
            let padding = inner::packet(21, &[0; 5000]);
            forge.reseal(inner::V6, &padding);
            forge.signed()
        },
    ),
];

fn resealed(world: &World, how: How) -> PacketVector {
    let mut forge = Forge::plain(world);
    let plain = forge.good_plaintext();
    forge.reseal(how, &inner::plain_literal(&plain));
    forge.signed()
}
