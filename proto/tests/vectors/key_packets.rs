//! Hostile session-key packets.

use schakel_proto::packet::Defect::{
    KeyPacketAlgorithmRefused, KeyPacketMalformed, KeyPacketMissing, KeyPacketNotCommitted,
    KeyPacketOtherRecipient, KeyPacketRepeated, KeyPacketStray, KeyPacketTooLong, KeyPacketVersionWrong,
    KeyPacketWildcard, SessionKeyRefused,
};
use schakel_proto::vectors::{PacketVector, World};

use super::forge::{Forge, agency};
use super::inner;
use super::{Recipe, at_broker, at_reader, hostile};

/// A plain packet whose key packet is changed and committed to as it is.
fn changed(world: &World, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    let mut forge = Forge::plain(world);
    let mut packet = forge.key_packets[0].packet.to_vec();
    change(&mut packet);
    forge.set_key_packet(0, packet);
    forge.signed()
}

/// The length octets of a key packet of the default algorithm: 0xC1, two octets, then the body.
const BODY: usize = 3;

pub const RECIPES: &[&[Recipe]] = &[ALL];

const ALL: &[Recipe] = &[
    hostile(
        "key-packet-wildcard",
        KeyPacketWildcard,
        "a v6 key packet that names nobody: the reader would try every key",
        |w| {
            let mut forge = Forge::plain(w);
            let packet = inner::wildcard_key_packet(&w.keys(&forge.reader)[0], true);
            forge.set_key_packet(0, packet);
            forge.signed()
        },
    ),
    hostile(
        "key-packet-wildcard-v4",
        KeyPacketWildcard,
        "a v3 key packet with key id zero",
        |w| {
            let mut forge = Forge::plain_v4(w);
            let packet = inner::wildcard_key_packet(&w.keys(&forge.reader)[0], false);
            forge.set_key_packet(0, packet);
            forge.signed()
        },
    ),
    hostile(
        "key-packet-for-another",
        KeyPacketOtherRecipient,
        "a key packet to another agency's key",
        |w| {
            let mut forge = Forge::plain(w);
            let packet = inner::key_packet(&w.keys(&agency("caw-rupel"))[0], true, &[7; 32]);
            forge.set_key_packet(0, packet);
            forge.signed()
        },
    ),
    hostile(
        "key-packet-v3-in-v6",
        KeyPacketVersionWrong,
        "a v3 key packet in profile v6",
        |w| {
            let mut forge = Forge::plain(w);
            let packet = inner::key_packet(&w.keys(&agency("jh-antwerpen-dader"))[0], false, &[7; 32]);
            forge.set_key_packet(0, packet);
            forge.signed()
        },
    ),
    hostile(
        "key-packet-rsa",
        KeyPacketAlgorithmRefused,
        "a key packet that claims RSA",
        |w| changed(w, |packet| packet[BODY + 2 + 33 - 1 + 1] = 1),
    ),
    hostile(
        "key-packet-empty",
        KeyPacketMalformed,
        "an empty key packet",
        |w| changed(w, Vec::clear),
    ),
    hostile(
        "key-packet-and-more",
        KeyPacketMalformed,
        "a key packet followed by another",
        |w| changed(w, |packet| packet.extend_from_within(..)),
    ),
    hostile(
        "key-packet-is-a-password",
        KeyPacketMalformed,
        "a password's key packet (SKESK) in its place",
        |w| changed(w, |packet| packet[0] = 0xC3),
    ),
    hostile(
        "key-packet-old-format",
        KeyPacketMalformed,
        "a key packet with a header of the old format",
        |w| changed(w, |packet| packet[0] = 0x84),
    ),
    hostile(
        "key-packet-partial-length",
        KeyPacketMalformed,
        "a key packet with partial body lengths",
        |w| changed(w, |packet| packet[1] = 0xE0),
    ),
    hostile(
        "key-packet-too-long",
        KeyPacketTooLong,
        "a key packet of more than 4 KiB",
        |w| changed(w, |packet| packet.resize(4097, 0)),
    ),
    hostile(
        "key-packet-not-committed",
        KeyPacketNotCommitted,
        "a good key packet that the sender did not commit to",
        |w| {
            let mut forge = Forge::plain(w);
            let reader = &w.keys(&forge.reader)[0];
            forge.key_packets[0].packet = inner::key_packet(reader, true, &[7; 32]).into();
            forge.signed()
        },
    ),
    at_broker(
        "key-packet-for-unknown-part",
        KeyPacketStray,
        None,
        "a key packet for a part that is not there",
        |w| {
            let mut forge = Forge::plain(w);
            let mut stray = forge.key_packets[0].clone();
            stray.part_id = vec![9; 16].into();
            forge.key_packets.push(stray);
            forge.signed()
        },
    ),
    at_broker(
        "key-packet-for-stranger",
        KeyPacketStray,
        None,
        "a key packet for an agency that is not a recipient",
        |w| {
            let mut forge = Forge::plain(w);
            let mut stray = forge.key_packets[0].clone();
            stray.recipient = "caw-rupel".to_owned();
            forge.key_packets.push(stray);
            forge.signed()
        },
    ),
    at_broker(
        "key-packet-twice",
        KeyPacketRepeated,
        None,
        "the same key packet twice",
        |w| {
            let mut forge = Forge::plain(w);
            forge.key_packets.push(forge.key_packets[0].clone());
            forge.signed()
        },
    ),
    at_broker(
        "recipient-without-key-packet",
        KeyPacketMissing,
        None,
        "a recipient that gets nothing",
        |w| {
            let parts: [(&[u8], &[&str]); 1] =
                [(b"Verzonnen verslag.\n", &["parket-antwerpen", "caw-rupel"])];
            let mut forge = Forge::good(w, "pz-rupel", &parts, "parket-antwerpen", 60);
            forge.key_packets.retain(|k| k.recipient != "caw-rupel");
            forge.signed()
        },
    ),
    at_broker(
        "part-without-key-packet",
        KeyPacketMissing,
        None,
        "a part that nobody gets",
        |w| {
            let to: &[&str] = &["parket-antwerpen"];
            let parts: [(&[u8], &[&str]); 2] = [(b"Verzonnen verslag.\n", to), (b"b", to)];
            let mut forge = Forge::good(w, "pz-rupel", &parts, "parket-antwerpen", 61);
            forge.key_packets.pop();
            forge.contents.pop();
            forge.signed()
        },
    ),
    at_reader(
        "session-key-damaged",
        SessionKeyRefused,
        "the encrypted session key is damaged, and committed to so",
        |w| changed(w, |packet| *packet.last_mut().unwrap() ^= 1),
    ),
    at_reader(
        "session-key-short",
        SessionKeyRefused,
        "a session key of 128 bits",
        |w| {
            let mut forge = Forge::plain(w);
            forge.rekey(&[7; 16]);
            forge.signed()
        },
    ),
    at_reader(
        "session-key-v4-checksum",
        SessionKeyRefused,
        "a v3 key packet whose content is damaged",
        |w| {
            let mut forge = Forge::plain_v4(w);
            let mut packet = forge.key_packets[0].packet.to_vec();
            *packet.last_mut().unwrap() ^= 1;
            forge.set_key_packet(0, packet);
            forge.signed()
        },
    ),
];
