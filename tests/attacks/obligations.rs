//! A recipient that lies about obligations: it claims to have carried out what it never had, what binds another, or
//! what nobody laid on it. Each is refused and counted as an acknowledgement that does not hold; an honest
//! word still gets through on the same stream, and the sender has evidence of that one only.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::Digest;
use schakel_proto::wire::{self, receive_frame::Frame};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player, Session};
use schakel_tests::system::told::seeded;

const TO_BOTH: Piece<'_> = Piece {
    category: "facts_summary",
    to: &["parket-antwerpen", "pz-rupel-opvolgcel"],
    content: b"Vaststellingen.",
};
const TO_ONE: Piece<'_> = Piece {
    to: &["parket-antwerpen"],
    ..TO_BOTH
};
/// Comes with every delivery.
const BOUND: &str = "purpose-bound";

fn fulfilled(said: wire::Acknowledgement, obligation: &str) -> wire::Acknowledgement {
    wire::Acknowledgement {
        outcome: "fulfilled".to_owned(),
        obligation: obligation.to_owned(),
        done_ms: said.made_ms,
        ..said
    }
}

/// The digest of the acknowledgement that the broker settles next.
async fn settled(session: &mut Session) -> Vec<u8> {
    match session.next().await {
        Frame::Settled(settled) => settled.acknowledgement_digest.to_vec(),
        other => panic!("not a settlement: {other:?}"),
    }
}

#[test]
fn a_recipient_cannot_claim_to_have_carried_out_what_does_not_bind_it() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let mut prosecutor = Player::of(&town, "parket-antwerpen", StdRng::from_rng(&mut rng));
        let mut cell = Player::of(&town, "pz-rupel-opvolgcel", StdRng::from_rng(&mut rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        police.send(case, "prosecution", "legal_duty", &[TO_ONE]).await;
        let mut theirs = prosecutor.receive(4).await;
        let not_ours = theirs.delivery().await;
        theirs
            .acknowledge(prosecutor.acknowledgement(&not_ours, "received", ""))
            .await;
        settled(&mut theirs).await;

        police.send(case, "triage", "legal_duty", &[TO_BOTH]).await;
        let mut session = cell.receive(4).await;
        let delivery = session.delivery().await;
        let honest = cell.said_of(&delivery, "received");
        let elsewhere = wire::Acknowledgement {
            packet_id: cell.said_of(&not_ours, "received").packet_id,
            manifest_digest: cell.said_of(&not_ours, "received").manifest_digest,
            ..honest.clone()
        };
        let wrong = [
            ("too early", fulfilled(honest.clone(), BOUND)),
            (
                "a packet that it never had",
                fulfilled(cell.said_of(&not_ours, "received"), BOUND),
            ),
            ("its consignment, another's packet", fulfilled(elsewhere, BOUND)),
        ];
        for (_, said) in &wrong {
            session.acknowledge(cell.sign(said.encode_to_vec())).await;
        }
        let received = cell.sign(honest.encode_to_vec());
        let answer = Digest::of(&received.bytes).to_vec();
        session.acknowledge(received).await;
        assert_eq!(
            settled(&mut session).await,
            answer,
            "none of {wrong:?} was settled"
        );

        lies_of_one_bound(&cell, &mut session, &honest).await;
        let told = told(&mut police, "pz-rupel-opvolgcel").await;
        assert_eq!(told, [BOUND], "the sender has evidence of the honest word only");
        let log = std::fs::read_to_string(town.broker_log()).unwrap();
        let alarms = log.matches("an acknowledgement does not hold").count();
        assert!(alarms >= 11, "{alarms} alarms: {log}");
    });
}

/// What it received, it may speak of; but only the truth in its form is settled, and once.
async fn lies_of_one_bound(cell: &Player, session: &mut Session, honest: &wire::Acknowledgement) {
    let later = |obligation: &str, change: fn(&mut wire::Acknowledgement)| {
        let mut said = fulfilled(honest.clone(), obligation);
        change(&mut said);
        cell.sign(said.encode_to_vec())
    };
    let wrong = [
        later("expire-at:2020-01-01T00:00:00Z", |_| {}),
        later("", |_| {}),
        later("log-access\u{1b}[2J", |_| {}),
        later(BOUND, |said| said.done_ms = 0),
        later(BOUND, |said| said.done_ms = said.made_ms + 1),
        later(BOUND, |said| said.outcome = "received".to_owned()),
        later(BOUND, |said| said.outcome = "taken".to_owned()),
        later(BOUND, |said| said.reason = "because".to_owned()),
    ];
    for signed in wrong {
        session.acknowledge(signed).await;
    }
    let good = later(BOUND, |_| {});
    let digest = Digest::of(&good.bytes).to_vec();
    session.acknowledge(good.clone()).await;
    assert_eq!(settled(session).await, digest, "what does not hold was settled");
    // The same again has the same leaf, and leaves no second one.
    session.acknowledge(good).await;
    assert_eq!(settled(session).await, digest);
}

/// The obligations that the log says a recipient carried out, as the police is shown it, up to what it sends last.
async fn told(police: &mut Player, recipient: &str) -> Vec<String> {
    let case = police.open_case(&["pz-rupel"]).await;
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = police.client.follow_evidence(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    loop {
        let evidence = frames.message().await.unwrap().unwrap().evidence.unwrap();
        let body = wire::EvidenceBody::decode(evidence.body.clone()).unwrap();
        if *body.case_ref == *case.as_bytes() {
            return found;
        }
        if body.event == "schakel:ObligationFulfilled" {
            assert_eq!(body.recipient, recipient);
            let said = wire::Acknowledgement::decode(&*evidence.attachment.unwrap().bytes).unwrap();
            found.push(said.obligation);
        }
    }
}
