//! Witnesses at the broker: all are held up the same checkpoint, what they cosign is checked and counted, and published
//! with the checkpoint.

use prost::Message;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::cosignature::WitnessSecret;
use schakel_proto::wire;

use crate::packet::{Client, new_case, refusal, state};
use crate::peer::{Ground, agency, now};

/// The witness' secret of an agency.
fn secret(ground: &Ground, id: &str) -> WitnessSecret {
    let text = std::fs::read_to_string(ground.network.witness_key_file(&agency(id))).unwrap();
    WitnessSecret::from_text(&text).unwrap()
}

async fn ask(client: &mut Client) -> wire::CosignAnswer {
    client
        .cosign(wire::CosignRequest::default())
        .await
        .unwrap()
        .into_inner()
}

fn open(ground: &Ground, note: &[u8]) -> SignedCheckpoint {
    let directory = ground.network.directory(now()).unwrap();
    SignedCheckpoint::open(note, directory.log().key()).unwrap()
}

fn request(secret: &WitnessSecret, checkpoint: &SignedCheckpoint, seconds: i64) -> wire::CosignRequest {
    let seconds = u64::try_from(seconds).unwrap();
    let line = secret.cosign(checkpoint, seconds).unwrap().line;
    wire::CosignRequest {
        size: checkpoint.size(),
        cosignature: format!("{line}\n").into_bytes().into(),
    }
}

#[tokio::test]
async fn l01_l08_enough_witnesses_make_a_checkpoint_witnessed_and_fewer_do_not() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let directory = ground.network.directory(now()).unwrap();
    let watch = directory.log().watch();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let case = new_case();
    state(&mut police, ground.opening("pz-rupel", case, &["pz-rupel"]))
        .await
        .unwrap();
    let first = ask(&mut police).await;
    let candidate = open(&ground, &first.candidate);
    assert!(candidate.size() > 0 && first.witnessed.is_empty());
    let seconds = now().millis() / 1_000;
    let witnesses = directory.log().witnesses().to_vec();
    for (number, id) in (1..).zip(witnesses.iter().take(watch.needed())) {
        let mut client = ground.client(broker.address(), id.as_str()).await;
        let cosigned = request(&secret(&ground, id.as_str()), &candidate, seconds);
        let answer = client.cosign(cosigned).await.unwrap().into_inner();
        // As soon as enough have signed, the next is held up.
        let enough = !answer.witnessed.is_empty();
        let signed = if enough {
            &answer.witnessed
        } else {
            &answer.candidate
        };
        let standing = watch.standing(&open(&ground, signed)).unwrap();
        assert_eq!(
            (standing.by().len(), standing.is_witnessed()),
            (number, number == watch.needed())
        );
        assert_eq!(enough, standing.is_witnessed());
        // The log goes on whether anybody cosigns or not, and the candidate stays until enough did.
        let case = new_case();
        state(&mut police, ground.opening("pz-rupel", case, &["pz-rupel"]))
            .await
            .unwrap();
    }
    let later = ask(&mut police).await;
    let (next, witnessed) = (open(&ground, &later.candidate), open(&ground, &later.witnessed));
    assert!(next.size() > candidate.size());
    assert_eq!(witnessed.size(), candidate.size());
    assert!(watch.standing(&witnessed).unwrap().is_witnessed());
    assert!(!watch.standing(&next).unwrap().is_witnessed());
    // The newest is published with what it has, and proofs lead between any two sizes.
    let id = &witnesses[0];
    let mut client = ground.client(broker.address(), id.as_str()).await;
    let wait = std::time::Duration::from_secs(3);
    tokio::time::sleep(wait).await;
    client
        .cosign(request(&secret(&ground, id.as_str()), &next, seconds))
        .await
        .unwrap();
    let answer = published(&ground, &mut police, (&candidate, &next)).await;
    assert_eq!(broker.state().newest_note().await.unwrap().unwrap(), answer);
    let newest = open(&ground, &answer);
    if newest.size() == next.size() {
        assert_eq!(watch.standing(&newest).unwrap().by().len(), 1);
    }
    broker.stop().await.unwrap();
}

/// The newest note as it is published, once two checkpoints were proved to be of one history.
async fn published(
    ground: &Ground,
    client: &mut Client,
    (older, newer): (&SignedCheckpoint, &SignedCheckpoint),
) -> bytes::Bytes {
    let between = wire::GetConsistencyRequest {
        from_size: older.size(),
        to_size: newer.size(),
    };
    let answer = client.get_consistency(between).await.unwrap().into_inner();
    let proof: Vec<_> = answer
        .proof
        .iter()
        .map(|h| h.as_ref().try_into().unwrap())
        .collect();
    let same = schakel_proto::tlog::witnessed::same_history(older, newer, &proof);
    assert_eq!(same, Ok(()));
    assert!(open(ground, &answer.checkpoint).size() >= newer.size());
    answer.checkpoint
}

#[tokio::test]
async fn l06_a_cosignature_that_is_not_the_witness_own_of_what_is_held_up_now_is_refused() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let (mut police, mut parket, mut caw) = (
        ground.client(broker.address(), "pz-rupel").await,
        ground.client(broker.address(), "parket-antwerpen").await,
        ground.client(broker.address(), "caw-rupel").await,
    );
    state(&mut police, ground.opening("pz-rupel", new_case(), &["pz-rupel"]))
        .await
        .unwrap();
    let candidate = open(&ground, &ask(&mut police).await.candidate);
    let (own, other) = (secret(&ground, "pz-rupel"), secret(&ground, "parket-antwerpen"));
    let seconds = now().millis() / 1_000;
    let good = request(&own, &candidate, seconds);
    let code = |status: &tonic::Status| refusal(status).code;
    // Not a witness; another witness' line; another size; another root.
    let strange = request(&secret(&ground, "caw-rupel"), &candidate, seconds);
    assert_eq!(code(&caw.cosign(strange).await.unwrap_err()), "NOT_A_WITNESS");
    assert_eq!(
        code(&parket.cosign(good.clone()).await.unwrap_err()),
        "COSIGNATURE_WRONG"
    );
    let spoilt = wire::CosignRequest {
        size: 9_999,
        ..good.clone()
    };
    assert_eq!(code(&police.cosign(spoilt).await.unwrap_err()), "COSIGN_OTHER");
    assert_eq!(code(&police.cosign(good.clone()).await.unwrap_err()), "TOO_FAST");
    let wait = || tokio::time::sleep(std::time::Duration::from_millis(2_100));
    wait().await;
    let old = request(&own, &candidate, seconds - 3_600);
    assert_eq!(code(&police.cosign(old).await.unwrap_err()), "COSIGNATURE_TIME");
    wait().await;
    let long = wire::CosignRequest {
        cosignature: vec![b'x'; 5_000].into(),
        ..good.clone()
    };
    assert_eq!(code(&police.cosign(long).await.unwrap_err()), "COSIGNATURE_WRONG");
    assert_eq!(
        open(&ground, &ask(&mut police).await.candidate).note(),
        candidate.note(),
        "nothing was taken"
    );
    wait().await;
    let mine = police.cosign(good.clone()).await.unwrap().into_inner();
    let watch = ground.network.directory(now()).unwrap();
    let by = watch
        .log()
        .watch()
        .standing(&open(&ground, &mine.candidate))
        .unwrap();
    assert_eq!(by.by().len(), 1);
    // A restart forgets none, and confuses none: the same is held up, and taken again.
    drop((parket, caw, other));
    broker.stop().await.unwrap();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let again = open(&ground, &ask(&mut police).await.candidate);
    assert_eq!(again.size(), candidate.size());
    assert_eq!(watch.log().watch().standing(&again).unwrap().by().len(), 1);
    police.cosign(request(&own, &again, seconds)).await.unwrap();
    assert!(good.encoded_len() < 4_096);
    broker.stop().await.unwrap();
}
