//! Surreptitious forwarding: a recipient passes on what it was sent as if it had been sent to the third agency, or as
//! its own. What the broker can see it refuses; what is inside the seal the third agency's agent refuses.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::openpgp::{Encryption, Profile, SessionKey};
use schakel_proto::time::Timestamp;
use schakel_proto::wire::submit_frame::Frame;
use schakel_proto::{refusal, wire};
use schakel_tests::system::forge::recommitted;
use schakel_tests::system::leaves::{refused_submissions, rejection_leaves};
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player, Sealed};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;

/// Who wrote it, who passes it on, and to whom.
const AUTHOR: &str = "pz-rupel";
const FORWARDER: &str = "parket-antwerpen";
const THIRD: &str = "pz-rupel-opvolgcel";
const CONTENT: &[u8] = b"Wat alleen het parket mocht weten.";

fn piece<'a>(to: &'a [&'a str], content: &'a [u8]) -> Piece<'a> {
    Piece {
        category: "facts_summary",
        to,
        content,
    }
}

/// The author's packet, as its recipient knows it once it has opened it.
struct Known {
    manifest: wire::Manifest,
    part: wire::PartDescriptor,
}

impl Known {
    fn of(sealed: &Sealed) -> Self {
        Self {
            manifest: wire::Manifest::decode(sealed.packet.manifest.bytes.clone()).unwrap(),
            part: wire::PartDescriptor::decode(sealed.packet.parts[0].descriptor.clone()).unwrap(),
        }
    }

    /// The sealed header: it names the author, its packet and its part.
    fn header(&self) -> wire::SealedHeader {
        wire::SealedHeader {
            content_length: CONTENT.len() as u64,
            r#type: "schakel.v1.SealedHeader".to_owned(),
            network: self.manifest.network.clone(),
            packet_id: self.manifest.packet_id.clone(),
            part_id: self.part.part_id.clone(),
            sender: self.manifest.sender.clone(),
            sender_key: self.manifest.sender_key.clone(),
            file_name: "verslag.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            title: "Verslag".to_owned(),
            salt: vec![5; 32].into(),
        }
    }
}

/// The forwarder's own packet to the third agency, well-formed and signed, but with the author's plaintext in its seal.
fn resealed(forwarder: &mut Player, case: CaseRef, header: &wire::SealedHeader) -> Vec<wire::SubmitFrame> {
    let manifest = forwarder.manifest(case, "triage", "legal_duty");
    let own = forwarder.seal(manifest, &[piece(&[THIRD], CONTENT)]);
    let header = header.encode_to_vec();
    let framed = [&u32::try_from(header.len()).unwrap().to_be_bytes()[..], &header].concat();
    let mut plaintext = [&framed[..], CONTENT].concat();
    plaintext.resize(4096, 0);
    let (mut ciphertext, session) = (Vec::new(), SessionKey::random(&mut forwarder.rng));
    let mut encryption = Encryption::begin(Profile::V6, &session, &mut ciphertext).unwrap();
    std::io::Write::write_all(&mut encryption, &plaintext).unwrap();
    encryption.finish().unwrap();
    let key_packet = forwarder.sealing_key(THIRD).key_packet(&session).unwrap();

    let salt = wire::SealedHeader::decode(&*header).unwrap().salt;
    let commitment = Digest::of_all(&[b"schakel/part/v1", &salt, &framed, CONTENT]);
    recommitted(forwarder, &own, ciphertext, Some((key_packet, commitment)))
}

/// Author, forwarder, and a packet from one to the other that was accepted.
async fn sent(town: &Town, rng: &mut StdRng) -> (Player, CaseRef, Sealed) {
    let mut author = Player::of(town, AUTHOR, StdRng::from_rng(rng));
    let forwarder = Player::of(town, FORWARDER, StdRng::from_rng(rng));
    let case = author.open_case(&[AUTHOR, FORWARDER, THIRD]).await;
    let sealed = author
        .send(case, "prosecution", "legal_duty", &[piece(&[FORWARDER], CONTENT)])
        .await;
    (forwarder, case, sealed)
}

#[test]
fn c07_what_a_recipient_passes_on_in_the_authors_name_or_as_its_own_is_refused_by_the_broker() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let (mut forwarder, _, sealed) = sent(&town, &mut rng).await;
        let changed = |change: &dyn Fn(&mut wire::SubmitHead)| {
            let mut frames = sealed.frames();
            let Some(Frame::Head(head)) = &mut frames[0].frame else {
                unreachable!()
            };
            change(head);
            frames
        };
        let theirs = sealed.packet.manifest.bytes.to_vec();
        let mine = |forwarder: &Player, at: Timestamp| {
            let mut manifest = wire::Manifest::decode(&*theirs).unwrap();
            FORWARDER.clone_into(&mut manifest.sender);
            forwarder.sign_at(manifest.encode_to_vec(), at)
        };
        let again = forwarder.sign(theirs.clone());
        let claimed = mine(&forwarder, now());
        let acts = [
            ("as it is", "SENDER_NOT_CALLER", changed(&|_| ())),
            (
                "signed again by the forwarder",
                "SENDER_NOT_CALLER",
                changed(&|head| head.manifest = Some(again.clone())),
            ),
            (
                "the author's name replaced, its key kept",
                "SENDER_KEY_UNKNOWN",
                changed(&|head| head.manifest = Some(claimed.clone())),
            ),
        ];
        for (what, code, frames) in acts {
            let refused = forwarder.submit(frames).await.expect_err(what);
            assert_eq!(refusal::from_status(&refused).unwrap().code, code, "{what}");
        }
        let leaves = rejection_leaves(&mut forwarder.client).await;
        assert_eq!(
            leaves,
            ["SENDER_NOT_CALLER", "SENDER_NOT_CALLER", "SENDER_KEY_UNKNOWN"]
        );
    });
    assert_eq!(refused_submissions(&town)["SENDER_NOT_CALLER"], 2);
}

#[test]
fn c07_what_a_recipient_seals_anew_for_a_third_agency_is_refused_by_that_agencys_agent() {
    let town = Town::running(&[THIRD]);
    let third = Office::of(&town, THIRD);
    let mut rng = seeded();
    let (stolen, honest) = runtime().block_on(async {
        let (mut forwarder, case, sealed) = sent(&town, &mut rng).await;
        let known = Known::of(&sealed);
        let frames = resealed(&mut forwarder, case, &known.header());
        let stolen = forwarder.submit(frames).await.unwrap().packet_id;
        let manifest = forwarder.manifest(case, "triage", "legal_duty");
        let honest = forwarder.seal(manifest, &[piece(&[THIRD], b"Van het parket zelf.")]);
        forwarder.submit(honest.frames()).await.unwrap();
        let request = wire::GetOutcomeRequest {
            packet_id: stolen.clone(),
        };
        let refused = wait_for(&mut forwarder, request).await;
        assert_eq!(
            (refused.0.as_str(), refused.1.as_str()),
            ("refused", "HEADER_DIFFERS")
        );
        (
            schakel_proto::ids::PacketId::try_from(&*stolen)
                .unwrap()
                .to_string(),
            honest.id().to_string(),
        )
    });
    // The same agent takes what the forwarder wrote itself, and has nothing of what it did not.
    let received = third.received(&honest);
    assert_eq!(received["parts"].as_array().unwrap().len(), 1);
    let answer = third
        .inbox()
        .into_iter()
        .find(|one| one["packet"] == stolen.as_str());
    assert!(
        answer.is_none_or(|one| one["answer"] == "refused"),
        "nothing of it is in the inbox"
    );
    let parts = third.data().join("inbox").join(&stolen);
    let left: Vec<_> = walkdir::WalkDir::new(parts)
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let left = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"));
    assert_eq!(left.count(), 0);
}

/// State and reason of a packet's only outcome, once it has one.
async fn wait_for(player: &mut Player, request: wire::GetOutcomeRequest) -> (String, String) {
    let began = std::time::Instant::now();
    loop {
        let outcome = player
            .client
            .get_outcome(request.clone())
            .await
            .unwrap()
            .into_inner();
        let part = outcome.parts[0].clone();
        if outcome.state == "settled" {
            return (part.state, part.reason);
        }
        assert!(began.elapsed() < wait::LIMIT, "not settled in time: {outcome:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
