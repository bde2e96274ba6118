//! A part is withheld from one recipient: the other opens and verifies everything, and the one who may not have it
//! cannot tell from anything it got that the part exists. Compared with a control in which it never existed.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::wire::{self, receive_frame::Frame};
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Office, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::seeded;

const BOTH: &[&str] = &["parket-antwerpen", "pz-rupel-opvolgcel"];
const SHOWN: Piece<'_> = Piece {
    category: "facts_summary",
    to: BOTH,
    content: b"Wat beiden mogen weten.",
};
/// Of the investigation: for the prosecutor, never for the follow-up cell. Sealed to both all the same.
const SEALED_TO_BOTH: Piece<'_> = Piece {
    category: "investigation_file",
    to: BOTH,
    content: &[b'g'; 70_000],
};
const SEALED_TO_ONE: Piece<'_> = Piece {
    to: &["parket-antwerpen"],
    ..SEALED_TO_BOTH
};

/// What one recipient got of a packet: each message with its kind and its length, and what it can count.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    frames: Vec<(&'static str, usize)>,
    /// Of each entry what it is, how long, and where in the log.
    evidence: Vec<(String, usize, u64)>,
    /// Leaves in the log when all is over.
    log_size: u64,
    /// What it is told of the packet when it asks.
    outcome: String,
    digests: (usize, usize),
    facts: usize,
}

fn kind(frame: &Frame) -> &'static str {
    match frame {
        Frame::Offer(_) => "offer",
        Frame::Chunk(_) => "chunk",
        Frame::HandOver(_) => "hand-over",
        Frame::Dropped(_) => "dropped",
        Frame::Settled(_) => "settled",
    }
}

/// A packet of these pieces, received by the follow-up cell over the bare protocol.
async fn receive(town: &Town, rng: &mut StdRng, pieces: &[Piece<'_>]) -> (Got, Vec<u8>) {
    let mut police = Player::of(town, "pz-rupel", StdRng::from_rng(rng));
    let mut cell = Player::of(town, "pz-rupel-opvolgcel", StdRng::from_rng(rng));
    let case = police
        .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
        .await;
    let sealed = police.send(case, "triage", "legal_duty", pieces).await;
    let mut session = cell.receive(4).await;
    let delivery = session.delivery().await;
    session
        .acknowledge(cell.acknowledgement(&delivery, "received", ""))
        .await;
    let settled = wire::ReceiveFrame {
        frame: Some(session.next().await),
    };
    let quiet = session.next_within(std::time::Duration::from_secs(1)).await;
    assert!(quiet.is_none(), "nothing more comes: {quiet:?}");
    let all: Vec<_> = delivery.frames.iter().chain([&settled]).collect();
    let frames = all
        .iter()
        .map(|f| (kind(f.frame.as_ref().unwrap()), f.encoded_len()))
        .collect();
    let manifest = wire::Manifest::decode(delivery.offer.manifest.as_ref().unwrap().bytes.clone()).unwrap();
    let facts = wire::GetFactsRequest {
        case_ref: case.to_vec().into(),
    };
    let facts = cell
        .client
        .get_facts(facts)
        .await
        .unwrap()
        .into_inner()
        .encoded_len();
    let evidence = evidence(&mut cell).await;
    let request = wire::GetConsistencyRequest::default();
    let note = cell
        .client
        .get_consistency(request)
        .await
        .unwrap()
        .into_inner()
        .checkpoint;
    // The second line of a checkpoint is the size of the log.
    let log_size = String::from_utf8_lossy(&note)
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let request = wire::GetOutcomeRequest {
        packet_id: sealed.id().to_vec().into(),
    };
    let asked = cell.client.get_outcome(request).await.unwrap_err();
    let outcome = asked.message().to_owned();
    let digests = (manifest.recipient_digests.len(), manifest.part_digests.len());
    let bytes = all.iter().flat_map(|f| f.encode_to_vec()).collect();
    (
        Got {
            frames,
            evidence,
            log_size,
            outcome,
            digests,
            facts,
        },
        bytes,
    )
}

/// The log entries that concern the follow-up cell, up to its own acknowledgement.
async fn evidence(cell: &mut Player) -> Vec<(String, usize, u64)> {
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = cell.client.follow_evidence(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    loop {
        let evidence = frames.message().await.unwrap().unwrap().evidence.unwrap();
        assert!(
            evidence.hidden.is_none(),
            "a recipient is never shown the hidden decision"
        );
        let body = wire::EvidenceBody::decode(evidence.body.clone()).unwrap();
        let index = evidence.index;
        // The proof's length depends on the moment at which it was asked for.
        let length = wire::Evidence {
            inclusion: Vec::new(),
            checkpoint: "".into(),
            tree_size: 1,
            ..evidence
        }
        .encoded_len();
        found.push((body.event.clone(), length, index));
        if body.event == "ContentHandover" {
            return found;
        }
    }
}

#[test]
fn a_withheld_part_leaves_no_trace_with_its_recipient() {
    let mut rng = seeded();
    let mut run = |pieces: &[Piece<'_>]| {
        let town = Town::running(&[]);
        runtime().block_on(receive(&town, &mut rng, pieces)).0
    };
    let control = run(&[SHOWN]);
    assert!(
        control
            .frames
            .iter()
            .any(|(kind, length)| *kind == "chunk" && *length > 4_096),
        "{control:?}"
    );
    assert_eq!(run(&[SHOWN, SEALED_TO_BOTH]), control, "withheld by the broker");
    assert_eq!(run(&[SEALED_TO_ONE, SHOWN]), control, "sealed to the other only");
    let other = run(&[
        SHOWN,
        Piece {
            category: "risk_assessment",
            ..SEALED_TO_BOTH
        },
    ]);
    assert_ne!(other, control, "the comparison sees a part that is delivered");
}

#[test]
fn nothing_of_a_withheld_part_is_in_the_bytes_that_its_recipient_got() {
    let mut rng = seeded();
    let town = Town::running(&[]);
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let mut cell = Player::of(&town, "pz-rupel-opvolgcel", StdRng::from_rng(&mut rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let sealed = police
            .send(case, "triage", "legal_duty", &[SHOWN, SEALED_TO_BOTH])
            .await;
        let mut session = cell.receive(4).await;
        let delivery = session.delivery().await;
        let bytes: Vec<u8> = delivery.frames.iter().flat_map(Message::encode_to_vec).collect();
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        let mine = |key: &&wire::KeyPacket, part: usize| {
            let id = wire::PartDescriptor::decode(sealed.packet.parts[part].descriptor.clone())
                .unwrap()
                .part_id;
            key.recipient == "pz-rupel-opvolgcel" && key.part_id == id
        };
        let key = |part| sealed.packet.key_packets.iter().find(|k| mine(k, part)).unwrap();
        let chunk = |part| {
            sealed
                .chunks
                .iter()
                .find(|c| c.part_id == key(part).part_id)
                .unwrap()
        };
        for (part, there) in [(0, true), (1, false)] {
            assert_eq!(
                has(&sealed.packet.parts[part].descriptor),
                there,
                "descriptor of part {part}"
            );
            assert_eq!(
                has(&sealed.packet.parts[part].nonce),
                there,
                "nonce of part {part}"
            );
            assert_eq!(has(&key(part).part_id), there, "id of part {part}");
            assert_eq!(has(&key(part).packet), there, "session key of part {part}");
            assert_eq!(
                has(&chunk(part).data[100..1_000]),
                there,
                "ciphertext of part {part}"
            );
        }
    });
}

#[test]
fn the_other_recipient_verifies_everything_and_the_sender_sees_both_outcomes() {
    let mut rng = seeded();
    let town = Town::running(&["parket-antwerpen", "pz-rupel-opvolgcel"]);
    let [prosecutor, cell] = ["parket-antwerpen", "pz-rupel-opvolgcel"].map(|id| Office::of(&town, id));
    let (packet, parts) = runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let sealed = police
            .send(case, "triage", "legal_duty", &[SHOWN, SEALED_TO_BOTH])
            .await;
        let request = wire::GetOutcomeRequest {
            packet_id: sealed.id().to_vec().into(),
        };
        let settled = async {
            loop {
                let outcome = police
                    .client
                    .get_outcome(request.clone())
                    .await
                    .unwrap()
                    .into_inner();
                if outcome.state == "settled" {
                    return outcome.parts;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let parts = tokio::time::timeout(schakel_tests::system::wait::LIMIT, settled)
            .await
            .unwrap();
        (sealed.id().to_string(), parts)
    });
    let states = |recipient: &str| {
        let mut states: Vec<_> = parts
            .iter()
            .filter(|p| p.recipient == recipient)
            .map(|p| p.state.as_str())
            .collect();
        states.sort_unstable();
        states
    };
    assert_eq!(states("parket-antwerpen"), ["received", "received"]);
    assert_eq!(states("pz-rupel-opvolgcel"), ["received", "withheld"]);
    let scratch = town.scratch("out");
    let delivery = prosecutor.received(&packet);
    let contents: Vec<Vec<u8>> = delivery["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| prosecutor.open(&packet, &text(part, "part"), &scratch))
        .collect();
    assert!(
        contents.iter().any(|c| c == SHOWN.content) && contents.iter().any(|c| c == SEALED_TO_BOTH.content)
    );
    assert_eq!(cell.received(&packet)["parts"].as_array().unwrap().len(), 1);
}

/// What the follow-up cell's real agent has on its disk of a packet of these pieces: each file with its length,
/// identifiers in names masked.
fn stored(rng: &mut StdRng, pieces: &[Piece<'_>]) -> Vec<(String, u64)> {
    let town = Town::running(&["pz-rupel-opvolgcel"]);
    let cell = Office::of(&town, "pz-rupel-opvolgcel");
    let packet = runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        police
            .send(case, "triage", "legal_duty", pieces)
            .await
            .id()
            .to_string()
    });
    schakel_tests::system::wait::until("the acknowledgement's settlement", || {
        (!cell.received(&packet)["settled"].is_null()).then_some(())
    });
    let inbox = cell.data().join("inbox");
    // Beside the hand-over its agent keeps the log's entry of the settlement: the last that it writes.
    schakel_tests::system::wait::until("the settlement's evidence on disk", || {
        let mut files = walkdir::WalkDir::new(&inbox).into_iter().filter_map(Result::ok);
        files
            .any(|file| {
                let within = file.path().parent().is_some_and(|dir| dir.ends_with("evidence"));
                within
                    && file
                        .file_name()
                        .to_str()
                        .is_some_and(|name| !name.starts_with('.'))
            })
            .then_some(())
    });
    let files = walkdir::WalkDir::new(&inbox)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    let mask = |c: char| if c.is_ascii_hexdigit() { '#' } else { c };
    let name = |path: &std::path::Path| {
        path.strip_prefix(&inbox)
            .unwrap()
            .to_str()
            .unwrap()
            .chars()
            .map(mask)
            .collect()
    };
    let mut found: Vec<(String, u64)> = files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (name(entry.path()), entry.metadata().unwrap().len()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_withheld_part_leaves_no_trace_on_its_recipients_disk() {
    let mut rng = seeded();
    let control = stored(&mut rng, &[SHOWN]);
    assert!(control.iter().any(|(_, length)| *length > 4_096), "{control:?}");
    assert_eq!(stored(&mut rng, &[SHOWN, SEALED_TO_BOTH]), control);
}

/// What the follow-up cell learns when the prosecutor is sent a packet: frames on its open stream, and the log's entries
/// that it is shown before its own next one.
fn told_of(rng: &mut StdRng, to: &[&str]) -> (usize, Vec<String>) {
    let town = Town::running(&[]);
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(rng));
        let mut cell = Player::of(&town, "pz-rupel-opvolgcel", StdRng::from_rng(rng));
        let mut prosecutor = Player::of(&town, "parket-antwerpen", StdRng::from_rng(rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let (mut session, mut receives) = (cell.receive(4).await, prosecutor.receive(4).await);
        let piece = Piece { to, ..SEALED_TO_BOTH };
        police.send(case, "triage", "legal_duty", &[piece]).await;
        receives.delivery().await;
        let silence = session.next_within(std::time::Duration::from_secs(1)).await;
        cell.client
            .submit(tokio_stream::iter(Vec::new()))
            .await
            .unwrap_err();
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: 0,
        };
        let mut frames = cell.client.follow_evidence(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while events.last().is_none_or(|event| event != "SubmissionRejection") {
            let evidence = frames.message().await.unwrap().unwrap().evidence.unwrap();
            events.push(wire::EvidenceBody::decode(evidence.body).unwrap().event);
        }
        (usize::from(silence.is_some()), events)
    })
}

#[test]
fn a_recipient_from_whom_everything_is_withheld_learns_no_more_than_one_to_whom_nothing_was_sent() {
    let mut rng = seeded();
    let control = told_of(&mut rng, &["parket-antwerpen"]);
    assert_eq!(control.0, 0);
    assert_eq!(told_of(&mut rng, BOTH), control);
}
