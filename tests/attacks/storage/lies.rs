//! What whoever has the disk does on purpose, with right checksums and in more than one row; and what is right and must
//! not be called wrong.

use std::sync::atomic::Ordering;

use prost::Message;
use rand::rngs::StdRng;
use schakel_broker::admin::{Ask, Told};
use schakel_broker::clock::Clock;
use schakel_broker::config::Config;
use schakel_broker::erasure::ErasureKeys;
use schakel_broker::log::entry::{EntryDraft, EntryMaker};
use schakel_broker::store::sled::raw::{self, CHECK_BYTES};
use schakel_broker::store::{
    Ceiling, CeilingOf, DecidedPart, Expired, Expiring, HandOver, HandedOver, LeaseRequest, Raised, Recall,
    Recalling, Store, Verdict,
};
use schakel_proto::evidence::Event;
use schakel_proto::ids::{DeliveryId, Digest, PacketId};
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::told::seeded;
use serde_json::{Value, json};

use super::{Copy, Ran, run};

/// An entry as it lies in the store.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    leaf: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    case: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    shown: Option<wire::Opening>,
    #[prost(message, optional, tag = "5")]
    hidden: Option<wire::Opening>,
    #[prost(message, optional, tag = "6")]
    attachment: Option<wire::Signed>,
    #[prost(message, repeated, tag = "7")]
    concerns: Vec<ConcernOf>,
}

#[derive(Clone, PartialEq, Message)]
struct ConcernOf {
    #[prost(string, tag = "1")]
    agency: String,
    #[prost(bool, tag = "2")]
    sees_hidden: bool,
}

/// The row of a part: to whom it goes.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(message, optional, tag = "1")]
    opening: Option<wire::Opening>,
    #[prost(string, repeated, tag = "2")]
    recipients: Vec<String>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    sealings: Vec<Vec<u8>>,
}

/// What was found, in words: place and what.
fn said(verified: &Value) -> Vec<String> {
    let findings = verified["findings"].as_array().cloned().unwrap_or_default();
    let words = |one: &Value| format!("{}: {}", one["place"], one["what"]);
    findings.iter().map(words).collect()
}

fn finds(verified: &Value, what: &str) {
    let found = said(verified);
    assert!(found.iter().any(|one| one.contains(what)), "{what}: {found:#?}");
}

impl Copy {
    fn put(&self, key: &[u8], value: &[u8]) {
        let framed = [&[0], value].concat();
        self.store.raw_put(key, Some(&raw::seal(key, &framed))).unwrap();
    }

    /// A value that is not in pieces.
    fn value(record: &[u8]) -> &[u8] {
        assert_eq!(record[CHECK_BYTES], 0, "in pieces");
        &record[CHECK_BYTES + 1..]
    }

    fn of_table(&self, table: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
        let rows = self.rows.iter().filter(move |(key, _)| key[0] == table);
        rows.map(|(key, record)| (&key[..], &record[..]))
    }

    /// An entry made with the network's keys.
    async fn entry(
        &self,
        town: &Town,
        draft: EntryDraft,
        rng: &mut StdRng,
    ) -> schakel_broker::store::NewEntry {
        let config = Config::load(&town.network().broker_config()).unwrap();
        let keys = ErasureKeys::open(&config.erasure_dir).unwrap();
        let maker = EntryMaker::new(NetworkName::new("rupel").unwrap(), keys);
        maker.make(draft, rng).await.unwrap()
    }

    /// Decides what is held once more, and holds it again: no entry is made.
    async fn hold_again(&self, packet: PacketId, rng: &mut StdRng) {
        self.store.reconsider(None).await.unwrap();
        let request = LeaseRequest {
            recipient: agency("caw-rupel"),
            now: now(),
            lease_millis: 60_000,
            tokens: (0..8).map(|_| DeliveryId::random(rng)).collect(),
        };
        let leases = self.store.lease(request).await.unwrap();
        let lease = leases
            .into_iter()
            .find(|one| one.packet.packet == packet)
            .unwrap();
        let facts = self.store.facts(lease.packet.case).await.unwrap();
        let ceilings = self.store.ceilings().await.unwrap();
        let open = lease.parts.iter().filter(|part| !part.stage.is_final());
        let parts = open.map(|part| DecidedPart {
            part: part.part,
            verdict: Verdict::Hold,
            reason: "HELD_FOR_ANOTHER_REASON".to_owned(),
            obligations: vec!["review".to_owned()],
        });
        let handed = self.store.hand_over(HandOver {
            token: lease.token,
            packet,
            recipient: lease.recipient.clone(),
            facts_head: facts.head,
            facts_count: facts.count(),
            bundle_version: ceilings.bundle.unwrap().version,
            directory_version: ceilings.directory.unwrap().version,
            parts: parts.collect(),
            entry: None,
            at: now(),
        });
        let handed = handed.await.unwrap();
        let without = matches!(handed, HandedOver::Committed { leaf_hash: None, .. });
        assert!(without, "{handed:?}");
    }

    /// The draft of what ends a packet.
    async fn ending(&self, event: Event, packet: PacketId, at: Timestamp) -> EntryDraft {
        let stored = self.store.packet(packet).await.unwrap().unwrap();
        let draft = EntryDraft {
            case: Some(stored.case),
            packet: Some(packet),
            manifest_digest: Some(stored.manifest_digest),
            sender: Some(stored.sender.clone()),
            ..EntryDraft::new(event, at)
        };
        draft.concerning(&stored.sender, false)
    }

    async fn raise(&self, town: &Town, rng: &mut StdRng) -> Ceiling {
        let version = self.store.ceilings().await.unwrap().bundle.unwrap().version + 1;
        let digest = Digest::of(&version.to_be_bytes());
        let draft = EntryDraft {
            manifest_digest: Some(digest),
            reason: format!("version-{version}"),
            ..EntryDraft::new(Event::BundleActivated, self.clock.now())
        };
        let entry = self.entry(town, draft, rng).await;
        let ceiling = Ceiling { version, digest };
        let raised = self.store.raise(CeilingOf::Bundle, ceiling, entry).await.unwrap();
        assert!(matches!(raised, Raised::New { .. }), "{raised:?}");
        ceiling
    }
}

#[test]
fn l02_lies_in_several_rows_are_found_and_what_is_right_is_not_called_wrong() {
    let mut town = Town::running(&["pz-rupel", "caw-rupel", "parket-antwerpen"]);
    let ran = run(&mut town);
    town.take_broker().stop();
    held_again_and_ended(&town, &ran);
    a_ceiling_put_back(&town);
    a_packet_deleted_whole(&town, &ran);
    shown_to_others(&town);
    session_keys_exchanged(&town, &ran);
    erased(&town, &ran);
}

/// What is held, decided again without an entry, and then ends, is right.
fn held_again_and_ended(town: &Town, ran: &Ran) {
    let mut rng = seeded();
    let packet: PacketId = ran.held.parse().unwrap();
    let copy = Copy::of(town);
    copy.runtime.block_on(copy.hold_again(packet, &mut rng));
    assert_eq!(said(&copy.verify()), [""; 0], "held again");
    copy.runtime.block_on(async {
        let at = now().plus_millis(40 * 24 * 3_600_000);
        let draft = copy.ending(Event::Expired, packet, at).await;
        let entry = copy.entry(town, draft, &mut rng).await;
        let expired = copy.store.expire(Expiring { packet, entry, at }).await.unwrap();
        assert!(matches!(expired, Expired::Done { .. }), "{expired:?}");
    });
    assert_eq!(said(&copy.verify()), [""; 0], "held again, then expired");

    let copy = Copy::of(town);
    copy.runtime.block_on(async {
        copy.hold_again(packet, &mut rng).await;
        let (at, sender) = (now(), agency("pz-rupel"));
        let reason = "sent_in_error".to_owned();
        let draft = EntryDraft {
            reason: reason.clone(),
            ..copy.ending(Event::Recalled, packet, at).await
        };
        let entry = copy.entry(town, draft, &mut rng).await;
        let recalling = Recalling {
            packet,
            sender,
            reason,
            entry,
            at,
        };
        let recalled = copy.store.recall(recalling).await.unwrap();
        assert!(matches!(recalled, Recall::Done { .. }), "{recalled:?}");
    });
    // This test has no agency's key: that the recall is not signed is all that is wrong with it.
    let found = said(&copy.verify());
    assert_eq!(found.len(), 1, "held again, then recalled: {found:#?}");
    assert!(found[0].contains("has lost what was signed"), "{found:#?}");
}

/// An older bundle is put back into force, or none is.
fn a_ceiling_put_back(town: &Town) {
    let mut rng = seeded();
    let copy = Copy::of(town);
    let key = copy.of_table(b'!').map(|(key, _)| key);
    let key = key
        .filter(|key| key.ends_with(b"bundle"))
        .last()
        .unwrap()
        .to_vec();
    let before = copy.rows.iter().find(|row| row.0 == key).unwrap().1.clone();
    let place = "the policy bundle in force";
    copy.store.raw_put(&key, None).unwrap();
    finds(&copy.verify(), place);
    copy.store.raw_put(&key, Some(&before)).unwrap();
    assert_eq!(copy.verify()["wrong"], 0);

    copy.runtime.block_on(copy.raise(town, &mut rng));
    let good = copy.verify();
    assert_eq!(said(&good), [""; 0]);
    assert_eq!(good["gone"], json!({ "what came into force is not kept yet": 1 }));
    copy.clock.0.fetch_add(61_000, Ordering::SeqCst);
    finds(&copy.verify(), "is in force and not kept");
    copy.store.raw_put(&key, Some(&before)).unwrap();
    finds(&copy.verify(), place);

    // What came into force and was kept is gone.
    let copy = Copy::of(town);
    copy.runtime.block_on(copy.raise(town, &mut rng));
    let kept = copy.of_table(b'D').map(|(key, _)| key);
    let kept = kept.filter(|key| key[1..].starts_with(b"bundle")).last().unwrap();
    copy.store.raw_put(kept, None).unwrap();
    finds(&copy.verify(), "should be kept and is not there");

    // While new ones come into force nothing is wrong with what is.
    let copy = Copy::of(town);
    for _ in 0..4 {
        let told = Told::default();
        let both = async {
            tokio::join!(copy.desk.answer(Ask::Verify, &told), async {
                for _ in 0..3 {
                    copy.raise(town, &mut rng).await;
                }
            })
        };
        let (verified, ()) = copy.runtime.block_on(both);
        let found = said(&verified.unwrap());
        assert!(!found.iter().any(|one| one.contains(place)), "{found:#?}");
    }
}

/// Every row of a packet is taken out, and its entries stay.
fn a_packet_deleted_whole(town: &Town, ran: &Ran) {
    let packet: PacketId = ran.released.parse().unwrap();
    let copy = Copy::of(town);
    let names = |key: &[u8]| key.windows(16).any(|part| part == packet.as_bytes());
    for (key, _) in copy.rows.iter().filter(|(key, _)| key[0] != b'p' && names(key)) {
        copy.store.raw_put(key, None).unwrap();
    }
    let found = copy.verify();
    finds(&found, "an entry of the log, ");
    finds(&found, "accepted a packet that is not there");
}

/// An agency is made to see an entry that it must not see, or more of it.
fn shown_to_others(town: &Town) {
    let copy = Copy::of(town);
    let show = |event: Event, sees_hidden: bool, expected: &str| {
        let (key, record, mut entry, body) = copy
            .of_table(b'E')
            .filter_map(|(key, record)| {
                let entry = Entry::decode(Copy::value(record)).ok()?;
                let body = wire::EvidenceBody::decode(&*entry.body).ok()?;
                Some((key, record, entry, body))
            })
            .find(|(_, _, _, body)| body.event == event.as_str())
            .unwrap();
        entry.concerns.retain(|one| one.agency != body.recipient);
        entry.concerns.push(ConcernOf {
            agency: body.recipient.clone(),
            sees_hidden,
        });
        let index = [b"V", body.recipient.as_bytes(), &[0], &key[1..]].concat();
        let before = copy.rows.iter().find(|row| row.0 == index);
        copy.put(key, &entry.encode_to_vec());
        copy.put(&index, &[u8::from(sees_hidden)]);
        finds(&copy.verify(), expected);
        copy.store.raw_put(key, Some(record)).unwrap();
        copy.store
            .raw_put(&index, before.map(|(_, record)| &record[..]))
            .unwrap();
        assert_eq!(copy.verify()["wrong"], 0, "taken back");
    };
    show(Event::ContentWithheld, false, "is shown to others");
    show(Event::ContentConsignment, true, "shows what is hidden");
}

/// Two recipients' session keys for a part change places, so that none of them can read it; and one is left out.
fn session_keys_exchanged(town: &Town, ran: &Ran) {
    let packet: PacketId = ran.shared.parse().unwrap();
    let copy = Copy::of(town);
    let rows = |table: u8| {
        let mine = copy.of_table(table);
        let mine = mine.filter(|(key, _)| key[1..].starts_with(packet.as_bytes()));
        mine.collect::<Vec<_>>()
    };
    let keys = rows(b'K');
    assert!(keys.len() >= 2, "a part with two recipients");
    copy.put(keys[0].0, Copy::value(keys[1].1));
    copy.put(keys[1].0, Copy::value(keys[0].1));
    finds(&copy.verify(), &format!("a packet, packet {packet}"));
    for (key, record) in &keys {
        copy.store.raw_put(key, Some(record)).unwrap();
    }
    assert_eq!(copy.verify()["wrong"], 0, "taken back");
    let (key, record) = rows(b'S')[0];
    let mut part = Part::decode(Copy::value(record)).unwrap();
    part.recipients.pop();
    copy.put(key, &part.encode_to_vec());
    finds(&copy.verify(), "has a recipient of no part");
}

/// The case's key is destroyed: its signatures can be checked all the same.
fn erased(town: &Town, ran: &Ran) {
    let packet: PacketId = ran.waits.parse().unwrap();
    let keys = Config::load(&town.network().broker_config()).unwrap().erasure_dir;
    for file in std::fs::read_dir(&keys).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let copy = Copy::of(town);
    let good = copy.verify();
    assert_eq!(said(&good), [""; 0]);
    assert!(
        good["gone"]["the erasure key of its case is destroyed"] != Value::Null,
        "{good:#}"
    );
    assert!(good["signatures"].as_u64().unwrap() > 5, "{good:#}");
    let of = |(key, _): &(&[u8], &[u8])| key[1..] == packet.as_bytes()[..];
    let (key, record) = copy.of_table(b'M').find(of).unwrap();
    let mut manifest = wire::Signed::decode(Copy::value(record)).unwrap();
    let mut signature = manifest.signature.to_vec();
    *signature.last_mut().unwrap() ^= 1;
    manifest.signature = signature.into();
    copy.put(key, &manifest.encode_to_vec());
    finds(&copy.verify(), "SubmissionAcceptance");
}
