//! The log over plain HTTP: what members read, and how everything else is refused.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Request};
use prost::Message;
use schakel_broker::clock::{Clock, SetClock};
use schakel_broker::serve::Running;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::tree::Frontier;
use schakel_proto::wire;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use crate::delivery::next_event;
use crate::packet::{new_case, state};
use crate::peer::{Ground, agency, now};

const POLICE: &str = "pz-rupel";
const WELFARE: &str = "caw-rupel";
const STRANGER: &str = "ocmw-boom";

/// What came back: status, headers, body.
struct Said(u16, HeaderMap, Vec<u8>);

impl Said {
    fn header(&self, name: &str) -> &str {
        self.1.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8(self.2.clone()).unwrap()
    }

    /// Its status and the code that its text begins with.
    fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(self.header("cache-control"), "no-store");
        (self.0, self.text().split(':').next().unwrap().to_owned())
    }
}

async fn ask(channel: &Channel, method: Method, path: &str) -> Said {
    let mut channel = channel.clone();
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let bytes = axum::body::to_bytes(axum::body::Body::new(body), 1 << 20)
        .await
        .unwrap();
    Said(head.status.as_u16(), head.headers, bytes.to_vec())
}

async fn get(channel: &Channel, path: &str) -> Said {
    ask(channel, Method::GET, path).await
}

/// A broker whose log has some entries of the police and does not grow any more.
async fn told(ground: &Ground, clock: Option<Arc<dyn Clock>>) -> Running {
    let broker = match clock {
        Some(clock) => ground.broker_at(clock).await,
        None => ground.broker().await,
    };
    let mut police = ground.client(broker.address(), POLICE).await;
    for _ in 0..3 {
        let opening = ground.opening(POLICE, new_case(), &[POLICE, "parket-antwerpen"]);
        state(&mut police, opening).await.unwrap();
    }
    next_event(ground, &mut police, Event::StatementAccepted).await;
    // The last one too stands under a checkpoint: two activations and three openings.
    let mut watch = broker.state().log.watch();
    let all =
        |state: &_| matches!(state, schakel_broker::log::sequencer::LogState::Running { size } if *size >= 5);
    watch.wait_for(all).await.unwrap();
    broker
}

fn hashes(tile: &[u8]) -> Vec<Digest> {
    let chunks = tile.chunks_exact(32);
    assert!(chunks.remainder().is_empty());
    chunks.map(|hash| Digest::try_from(hash).unwrap()).collect()
}

fn leaves(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (leaf, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        all.push(leaf.to_vec());
        bundle = rest;
    }
    assert!(bundle.is_empty());
    all
}

#[tokio::test]
async fn members_read_checkpoint_tiles_and_leaves_and_these_hold_together() {
    let ground = Ground::new();
    let broker = told(&ground, None).await;
    // Whoever is a member reads all of it: a leaf says nothing but when.
    let channel = ground.channel(broker.address(), STRANGER).await;
    let note = get(&channel, "/log/checkpoint").await;
    assert_eq!(
        (note.0, note.header("content-type")),
        (200, "text/plain; charset=utf-8")
    );
    assert_eq!(note.header("cache-control"), "no-store");
    assert_eq!(note.header("content-length"), note.2.len().to_string());
    let directory = ground.network.directory(now()).unwrap();
    let checkpoint = SignedCheckpoint::open(&note.2, directory.log().key()).unwrap();
    let size = checkpoint.size();
    assert!((5..256).contains(&size));
    let tile = get(&channel, &format!("/log/tile/0/000.p/{size}")).await;
    let bundle = get(&channel, &format!("/log/tile/entries/000.p/{size}")).await;
    for said in [&tile, &bundle] {
        assert_eq!(
            (said.0, said.header("content-type")),
            (200, "application/octet-stream")
        );
        assert_eq!(
            said.header("cache-control"),
            "private, max-age=31536000, immutable"
        );
    }
    let (hashes, leaves) = (hashes(&tile.2), leaves(&bundle.2));
    assert_eq!(
        leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>(),
        hashes
    );
    let mut frontier = Frontier::default();
    hashes
        .iter()
        .for_each(|hash| frontier.append(*hash, &mut |_, _| {}));
    assert_eq!((frontier.size(), frontier.root()), (size, checkpoint.root()));
    // Any part of what is covered, and nothing beyond.
    let first = get(&channel, "/log/tile/0/000.p/1").await;
    assert_eq!(first.2, tile.2[..32]);
    for path in [
        format!("/log/tile/0/000.p/{}", size + 1),
        format!("/log/tile/entries/000.p/{}", size + 1),
        "/log/tile/0/000".to_owned(),
        "/log/tile/1/000.p/1".to_owned(),
        "/log/tile/63/000".to_owned(),
        "/log/tile/0/x018/x446/x744/x073/x709/x551/615.p/255".to_owned(),
    ] {
        assert_eq!(
            get(&channel, &path).await.refusal(),
            (404, "LOG_NOT_YET".to_owned()),
            "{path}"
        );
    }
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_opens_a_leaf_is_shown_to_those_concerned_and_for_others_does_not_exist() {
    let ground = Ground::new();
    let broker = told(&ground, None).await;
    let police = ground.channel(broker.address(), POLICE).await;
    let stranger = ground.channel(broker.address(), STRANGER).await;
    let directory = ground.network.directory(now()).unwrap();
    let network = &ground.network.spec().network;
    let size = broker
        .state()
        .store
        .latest_checkpoint()
        .await
        .unwrap()
        .unwrap()
        .size;
    let nowhere = get(&stranger, &format!("/log/entry/{}", size + 7)).await;
    assert_eq!(nowhere.refusal(), (404, "LOG_ENTRY_UNKNOWN".to_owned()));
    let mut openings = 0;
    for index in 0..size {
        let path = format!("/log/entry/{index}");
        let (mine, theirs) = (get(&police, &path).await, get(&stranger, &path).await);
        // Not its business and not there: the same to the last byte.
        assert_eq!((theirs.0, &theirs.2), (nowhere.0, &nowhere.2), "{path}");
        let names = |said: &Said| said.1.keys().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(&nowhere));
        if mine.0 == 404 {
            assert_eq!(mine.2, nowhere.2);
            continue;
        }
        assert_eq!(
            (mine.0, mine.header("content-type")),
            (200, "application/protobuf")
        );
        assert_eq!(mine.header("cache-control"), "no-store");
        let shown = wire::Evidence::decode(&*mine.2).unwrap();
        let checked = evidence::check(&shown, network, directory.log().key()).unwrap();
        assert_eq!(checked.index(), index);
        openings += usize::from(checked.body().event == Event::StatementAccepted);
    }
    assert_eq!(openings, 3);
    broker.stop().await.unwrap();
}

/// What an agency is told of an entry.
async fn entry_of(channel: &Channel, index: u64) -> Option<wire::Evidence> {
    let said = get(channel, &format!("/log/entry/{index}")).await;
    (said.0 == 200).then(|| wire::Evidence::decode(&*said.2).unwrap())
}

#[tokio::test]
async fn an_auditor_reads_the_body_of_every_entry_and_that_stands_in_the_log() {
    let ground = Ground::new();
    ground.network.set_auditors(&[agency(STRANGER)], now()).unwrap();
    let broker = told(&ground, None).await;
    let auditor = ground.channel(broker.address(), STRANGER).await;
    let police = ground.channel(broker.address(), POLICE).await;
    let directory = ground.network.directory(now()).unwrap();
    let key = directory.log().key();
    let network = &ground.network.spec().network;
    let store = Arc::clone(&broker.state().store);
    let size = store.latest_checkpoint().await.unwrap().unwrap().size;
    let mut openings = 0;
    for index in 0..size {
        let shown = entry_of(&auditor, index).await.expect("an auditor reads each");
        let checked = evidence::check(&shown, network, key).unwrap();
        assert_eq!(checked.index(), index);
        // What it says, and not what was decided or signed.
        assert_eq!(
            (&shown.shown, &shown.hidden, &shown.attachment),
            (&None, &None, &None)
        );
        openings += usize::from(checked.body().event == Event::StatementAccepted);
        if let Some(mine) = entry_of(&police, index).await {
            assert_eq!(mine.body, shown.body);
            assert!(mine.attachment.is_some(), "who is concerned sees what was signed");
        }
    }
    assert_eq!(openings, 3);
    // All of that reading is one entry, and it names who read.
    let mut watch = broker.state().log.watch();
    let more = |state: &_| matches!(state, schakel_broker::log::sequencer::LogState::Running { size: now } if *now > size);
    watch.wait_for(more).await.unwrap();
    let acts = store.records(size, 16).await.unwrap();
    assert_eq!(acts.len(), 1);
    let body = wire::EvidenceBody::decode(&*acts[0].body).unwrap();
    assert_eq!(
        (body.event.as_str(), body.reason.as_str(), body.actor.as_str()),
        (Event::AdminAct.as_str(), "audit", "agency:ocmw-boom")
    );
    // It is shown it too, like every entry; whoever is no auditor any more is shown nothing.
    assert!(entry_of(&auditor, size).await.is_some());
    assert!(entry_of(&police, size).await.is_none());
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn i03_who_is_no_member_reads_nothing_and_other_methods_and_paths_are_refused_in_words() {
    let mut ground = Ground::new();
    ground.network.remove_agency(&agency("ocmw-niel"), now()).unwrap();
    let broker = told(&ground, None).await;
    let former = ground.channel(broker.address(), "ocmw-niel").await;
    for path in [
        "checkpoint",
        "tile/0/000.p/1",
        "tile/entries/000.p/1",
        "entry/0",
        "tile/0/x",
        "nothing",
    ] {
        let said = get(&former, &format!("/log/{path}")).await;
        assert_eq!(said.refusal(), (403, "UNKNOWN_IDENTITY".to_owned()), "{path}");
    }
    let member = ground.channel(broker.address(), POLICE).await;
    for method in [
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ] {
        let said = ask(&member, method.clone(), "/log/checkpoint").await;
        assert_eq!((said.0, said.header("allow")), (405, "GET"), "{method}");
    }
    for (path, status, code) in [
        ("tile/0/0", 400, "LOG_PATH_MALFORMED"),
        ("tile/64/000", 400, "LOG_PATH_MALFORMED"),
        ("tile/0/000?x=1", 400, "LOG_PATH_MALFORMED"),
        ("tile/0/%30%30%30", 400, "LOG_PATH_MALFORMED"),
        ("tile/entries/000.p/0", 400, "LOG_PATH_MALFORMED"),
        ("entry/-1", 400, "LOG_PATH_MALFORMED"),
        ("checkpoint?", 404, "LOG_PATH_UNKNOWN"),
        ("checkpoint/", 404, "LOG_PATH_UNKNOWN"),
        ("../schakel.v1.Broker/Submit", 404, "LOG_PATH_UNKNOWN"),
    ] {
        let said = get(&member, &format!("/log/{path}")).await;
        assert_eq!(said.refusal(), (status, code.to_owned()), "{path}");
        let text = said.text();
        let sentences = text.ends_with(".\n") && text.contains(". ");
        assert!(
            sentences && !text.contains(path),
            "what is wrong and what to do: {text}"
        );
    }
    let counted = broker.state().meters.to_text();
    for line in [
        "{what=\"caller\",code=\"UNKNOWN_IDENTITY\"} 6\n",
        "{what=\"request\",code=\"LOG_GET_ONLY\"} 6\n",
        "{what=\"request\",code=\"LOG_PATH_MALFORMED\"} 6\n",
    ] {
        assert!(counted.contains(line), "{line}: {counted}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn n16_who_asks_for_much_at_once_waits_for_itself() {
    let ground = Ground::new();
    let broker = told(&ground, None).await;
    let [hot, calm] = [STRANGER, WELFARE].map(|id| ground.channel(broker.address(), id));
    let (hot, calm) = (hot.await, calm.await);
    let mut turns = Vec::new();
    for _ in 0..std::thread::available_parallelism().unwrap().get() {
        turns.push(broker.state().turns.take(&agency(STRANGER)).await.unwrap());
    }
    let waiting = tokio::spawn(async move { get(&hot, "/log/tile/entries/000.p/1").await.0 });
    for _ in 0..20 {
        assert_eq!(get(&calm, "/log/tile/entries/000.p/1").await.0, 200);
    }
    assert!(!waiting.is_finished(), "all its turns are taken");
    drop(turns);
    assert_eq!(waiting.await.unwrap(), 200);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn n16_reading_counts_with_all_that_the_agency_reads_and_says_when_to_come_again() {
    let ground = Ground::new();
    let file = ground.network.broker_config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[limits]\nrequests_open_max_count = 2\n")).unwrap();
    let clock = Arc::new(SetClock::at(now()));
    let broker = told(&ground, Some(clock.clone())).await;
    let busy = ground.channel(broker.address(), WELFARE).await;
    let limited = |said: &Said| (said.refusal(), said.header("retry-after").to_owned());
    let refused = |code: &str, after: &str| ((429, code.to_owned()), after.to_owned());
    // Requests that a key has open: calls and reading together.
    let mut client = ground.client(broker.address(), WELFARE).await;
    let first = client
        .follow_evidence(wire::FollowEvidenceRequest::default())
        .await
        .unwrap();
    let second = client
        .follow_evidence(wire::FollowEvidenceRequest::default())
        .await
        .unwrap();
    let said = get(&busy, "/log/checkpoint").await;
    assert_eq!(limited(&said), refused("TOO_MANY_AT_ONCE", "1"));
    drop((first, second, client));
    let reads = &broker.state().reads;
    // Places of the agency.
    let places: Vec<_> = (0..64)
        .map(|_| reads.enter(&agency(STRANGER), clock.now()).ok().unwrap())
        .collect();
    let other = ground.channel(broker.address(), STRANGER).await;
    let said = get(&other, "/log/tile/0/000.p/1").await;
    assert_eq!(limited(&said), refused("TOO_MANY_AT_ONCE", "1"));
    drop(places);
    assert_eq!(get(&other, "/log/tile/0/000.p/1").await.0, 200);
    // Its rate: what was taken by calls is gone for reading, and comes back with time.
    while reads.enter(&agency(STRANGER), clock.now()).is_ok() {}
    for path in [
        "checkpoint",
        "tile/0/000.p/1",
        "tile/entries/000.p/1",
        "entry/0",
        "nothing",
    ] {
        let said = get(&other, &format!("/log/{path}")).await;
        assert_eq!(limited(&said), refused("TOO_FAST", "1"), "{path}");
    }
    clock.set(clock.now().plus_millis(1_000));
    assert_eq!(get(&other, "/log/checkpoint").await.0, 200);
    // A bundle costs as much as its leaves: with what is left for ten calls there is none of 256.
    while reads.enter(&agency(STRANGER), clock.now()).is_ok() {}
    clock.set(clock.now().plus_millis(50));
    let said = get(&other, "/log/tile/entries/000").await;
    assert_eq!(limited(&said), refused("TOO_FAST", "1"));
    assert_eq!(get(&other, "/log/tile/entries/000.p/1").await.0, 200);
    broker.stop().await.unwrap();
}
