//! A recipient's side of a stream, by hand: what came, what it says, what is answered.

use std::collections::BTreeMap;

use prost::Message;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::PartId;
use schakel_proto::packet::open::{Ciphertext, open_part};
use schakel_proto::packet::verify::{HandedContext, verify_handed};
use schakel_proto::wire::{self, receive_frame::Frame, receive_request::Request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::packet::{Client, Sealed};
use crate::peer::{Ground, agency, now};

/// An open stream of deliveries.
pub struct Inbox {
    pub requests: mpsc::Sender<wire::ReceiveRequest>,
    pub frames: tonic::Streaming<wire::ReceiveFrame>,
    /// Everything that came, encoded.
    pub seen: Vec<u8>,
}

/// What was handed over: frames put together.
pub struct Handed {
    pub manifest: wire::Signed,
    pub streams: BTreeMap<u32, Vec<u8>>,
    pub hand_over: wire::HandOver,
}

impl Inbox {
    pub async fn open(client: &mut Client, credit: u32) -> Self {
        let (requests, outgoing) = mpsc::channel(16);
        let first = Request::Credit(wire::Credit { packets: credit });
        requests
            .send(wire::ReceiveRequest { request: Some(first) })
            .await
            .unwrap();
        let frames = client
            .receive(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            frames,
            seen: Vec::new(),
        }
    }

    /// Sends an acknowledgement and waits for nothing.
    pub async fn say(&mut self, signed: wire::Signed) {
        let request = Some(Request::Acknowledgement(signed));
        self.requests
            .send(wire::ReceiveRequest { request })
            .await
            .unwrap();
    }

    pub async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.message().await.unwrap()?;
        self.seen.extend(frame.encode_to_vec());
        frame.frame
    }

    pub async fn handed(&mut self) -> Handed {
        let mut manifest = None;
        let mut streams: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        loop {
            match self.next().await.unwrap() {
                Frame::Offer(offer) => manifest = offer.manifest,
                Frame::Chunk(chunk) => {
                    let stream = streams.entry(chunk.stream).or_default();
                    assert_eq!(u64::try_from(stream.len()).unwrap(), chunk.offset);
                    stream.extend(&chunk.data);
                }
                Frame::HandOver(hand_over) => {
                    return Handed {
                        manifest: manifest.unwrap(),
                        streams,
                        hand_over,
                    };
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn acknowledge(&mut self, signed: wire::Signed) -> wire::Settled {
        self.say(signed).await;
        match self.next().await.unwrap() {
            Frame::Settled(settled) => settled,
            other => panic!("{other:?}"),
        }
    }
}

impl Handed {
    /// Verifies everything and opens every part.
    pub fn open(&self, ground: &Ground, who: &str) -> BTreeMap<PartId, Vec<u8>> {
        let directory = ground.network.directory(now()).unwrap();
        let network = &ground.network.spec().network;
        let context = HandedContext {
            network,
            recipient: &agency(who),
            directory: &directory,
            now: now(),
        };
        let openings: Vec<_> = self
            .hand_over
            .parts
            .iter()
            .map(|part| part.part.clone().unwrap())
            .collect();
        let recipient = self.hand_over.recipient.as_ref().unwrap();
        let handed = verify_handed(&self.manifest, recipient, &openings, context).unwrap();
        let keys = ground.keys(who);
        let mut opened = BTreeMap::new();
        for (part, described) in self.hand_over.parts.iter().zip(handed.parts()) {
            let ciphertext = self.streams[&part.stream].clone();
            let mut read = || Ok(Box::new(std::io::Cursor::new(ciphertext.clone())) as Ciphertext<'static>);
            let mut out = Vec::new();
            open_part(
                &handed,
                &described.id(),
                &part.key_packet,
                &mut read,
                &keys,
                &mut out,
            )
            .unwrap();
            opened.insert(described.id(), out);
        }
        let key = directory.log().key();
        let submission = self.hand_over.submission.as_ref().unwrap();
        let submission = evidence::check(submission, network, key).unwrap();
        assert_eq!(submission.body().event, Event::SubmissionAcceptance);
        let consignment = self.hand_over.consignment.as_ref().unwrap();
        let consignment = evidence::check(consignment, network, key).unwrap();
        assert_eq!(consignment.body().event, Event::ContentConsignment);
        assert!(consignment.hidden().is_none());
        assert_eq!(
            consignment.shown().unwrap().parts().len(),
            self.hand_over.parts.len()
        );
        opened
    }

    /// The decision that was opened to the recipient.
    pub fn decision(&self, ground: &Ground) -> evidence::Decision {
        let directory = ground.network.directory(now()).unwrap();
        let consignment = self.hand_over.consignment.as_ref().unwrap();
        let network = &ground.network.spec().network;
        let checked = evidence::check(consignment, network, directory.log().key()).unwrap();
        checked.shown().unwrap().clone()
    }

    pub fn acknowledgement(&self, ground: &Ground, who: &str, sealed: &Sealed) -> wire::Signed {
        self.word(ground, who, sealed, "received")
    }

    /// Something that the recipient says of all parts.
    pub fn word(&self, ground: &Ground, who: &str, sealed: &Sealed, outcome: &str) -> wire::Signed {
        let keys = ground.keys(who);
        let directory = ground.network.directory(now()).unwrap();
        let network = &ground.network.spec().network;
        let consignment = self.hand_over.consignment.as_ref().unwrap();
        let consignment = evidence::check(consignment, network, directory.log().key()).unwrap();
        let parts = consignment.shown().unwrap().parts();
        let message = wire::Acknowledgement {
            r#type: "schakel.v1.Acknowledgement".into(),
            network: network.to_string(),
            packet_id: sealed.packet.packet_id.to_vec().into(),
            recipient: who.into(),
            recipient_key: keys.fingerprint().as_bytes().to_vec().into(),
            manifest_digest: consignment.body().manifest_digest.unwrap().to_vec().into(),
            consignment_leaf: consignment.leaf_hash().to_vec().into(),
            outcome: outcome.into(),
            done_ms: if outcome == "taken" { now().millis() } else { 0 },
            part_ids: parts.iter().map(|part| part.part.to_vec().into()).collect(),
            made_ms: now().millis(),
            ..Default::default()
        };
        let bytes = message.encode_to_vec();
        let signature = keys.sign(&bytes, now()).unwrap();
        wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        }
    }
}

pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}
