//! The load: packets sealed beforehand, a sender that keeps so many submissions in flight, recipients that
//! acknowledge what they are handed with their own keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use rand::seq::IndexedRandom;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, Digest, PacketId, Sha256};
use schakel_proto::wire::{self, receive_frame::Frame, receive_request::Request};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::ledger::Ledger;
use super::{SENDER, Trouble};
use crate::system::network::{Town, agency};
use crate::system::peer::{self, Client};
use crate::system::player::{Delivery, Piece, Player};

/// Deliveries that a recipient's stream may have on their way.
const CREDIT: u32 = 64;
/// Acknowledgements and credit on their way to the broker.
const REQUESTS_MAX_COUNT: usize = 256;
/// Longest wait for the place of a stream that was closed just before.
const PLACE_MAX: Duration = Duration::from_secs(10);

/// A sealed packet, ready to go.
#[derive(Clone)]
pub struct Ready {
    /// Its id.
    pub id: PacketId,
    /// Of its ciphertext.
    pub digest: Digest,
    /// Manifest and signature.
    pub manifest: wire::Signed,
    /// The submission, frame by frame.
    pub frames: Vec<wire::SubmitFrame>,
}

impl Ready {
    /// Length of the submission as messages, bytes.
    pub fn wire_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| frame.encoded_len() as u64).sum()
    }
}

/// What the submitting task waits for before it lets the next packet go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The broker's answer.
    Accepted,
    /// The last recipient's acknowledgement is durable.
    Acknowledged,
}

/// The sending agency.
pub struct Senders {
    player: Player,
    clients: Vec<Client>,
    cases: Vec<CaseRef>,
    recipients: Vec<String>,
    rng: StdRng,
}

impl Senders {
    /// Takes the sender's keys, opens its connections and the cases.
    ///
    /// # Errors
    /// A case is not opened.
    pub async fn new(
        (town, brokers): (&Town, &[SocketAddr]),
        recipients: &[String],
        (connections, cases): (usize, usize),
        mut rng: StdRng,
    ) -> Result<Self, Trouble> {
        let sender = agency(SENDER);
        let to = brokers.iter().cycle().take(connections);
        let clients: Vec<Client> = to.map(|to| peer::as_agent_at(town, &sender, *to)).collect();
        let own = StdRng::from_rng(&mut rng);
        let mut player = Player::with(town, SENDER, peer::as_agent(town, &sender), own);
        let roster: Vec<&str> = [SENDER]
            .into_iter()
            .chain(recipients.iter().map(String::as_str))
            .collect();
        let mut opened = Vec::with_capacity(cases);
        for _ in 0..cases {
            opened.push(player.open_case(&roster).await);
        }
        Ok(Self {
            player,
            clients,
            cases: opened,
            recipients: recipients.to_vec(),
            rng,
        })
    }

    /// The sender's connections.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Seals packets with one part of `bytes` random bytes for all recipients.
    pub fn seal(&mut self, count: usize, bytes: u64) -> Vec<Ready> {
        let to: Vec<&str> = self.recipients.iter().map(String::as_str).collect();
        let mut content = vec![0; usize::try_from(bytes).unwrap()];
        let mut ready = Vec::with_capacity(count);
        for _ in 0..count {
            self.rng.fill_bytes(&mut content);
            let case = *self.cases.choose(&mut self.rng).unwrap();
            let manifest = self
                .player
                .manifest(case, "safety_protection", "public_interest_task");
            let piece = Piece {
                category: "facts_summary",
                to: &to,
                content: &content,
            };
            let sealed = self.player.seal(manifest, &[piece]);
            let mut digest = Sha256::default();
            sealed.chunks.iter().for_each(|chunk| digest.update(&chunk.data));
            ready.push(Ready {
                id: sealed.id(),
                digest: digest.finish(),
                manifest: sealed.packet.manifest.clone(),
                frames: sealed.frames(),
            });
        }
        ready
    }

    /// Submits packets, `in_flight` at once, and waits until all of them got as far as `until`.
    ///
    /// # Errors
    /// One was refused, lost or doubled.
    pub async fn submit(
        &self,
        packets: Vec<Ready>,
        (in_flight, until): (usize, Until),
        ledger: &Arc<Ledger>,
    ) -> Result<(), Trouble> {
        let before = ledger.standing();
        let count = packets.len() as u64;
        let places = Arc::new(Semaphore::new(in_flight));
        for (number, packet) in packets.into_iter().enumerate() {
            // The permits come back when something fails, too: whoever waits below hears of it.
            let permit = Arc::clone(&places).acquire_owned();
            let permit = tokio::select! {
                permit = permit => permit.map_err(|_| Trouble::new("the load ended"))?,
                failed = ledger.wait_for("room for a submission", |_| false) => return failed,
            };
            let (held, given) = match until {
                Until::Accepted => (Some(permit), None),
                Until::Acknowledged => (None, Some(permit)),
            };
            let client = self.clients[number % self.clients.len()].clone();
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                ledger.begin(packet.id, packet.digest, given);
                one(client, packet, &ledger).await;
                drop(held);
            });
        }
        let enough = move |now: &super::ledger::Standing| match until {
            Until::Accepted => now.accepted >= before.accepted + count,
            Until::Acknowledged => now.finished >= before.finished + count,
        };
        ledger.wait_for("the broker's answers", enough).await
    }

    /// That the broker itself says of each packet that it is settled, and every part of it received.
    ///
    /// # Errors
    /// It says something else of one.
    pub async fn check_outcomes(&self, packets: &[PacketId]) -> Result<(), Trouble> {
        for (number, packet) in packets.iter().enumerate() {
            let mut client = self.clients[number % self.clients.len()].clone();
            let answer = loop {
                let request = wire::GetOutcomeRequest {
                    packet_id: packet.to_vec().into(),
                };
                match client.get_outcome(request).await {
                    Ok(answer) => break answer.into_inner(),
                    // So many questions are more than one agency may ask in a minute.
                    Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(status) => return Err(status.into()),
                }
            };
            let received = answer
                .parts
                .iter()
                .filter(|part| part.state == "received")
                .count();
            let all = (self.recipients.len(), self.recipients.len());
            if answer.state != "settled" || (received, answer.parts.len()) != all {
                return Err(Trouble::new(format!(
                    "packet {packet} was acknowledged by all, and the broker says of it: {}, {received} of {} received",
                    answer.state,
                    answer.parts.len()
                )));
            }
        }
        Ok(())
    }
}

async fn one(mut client: Client, packet: Ready, ledger: &Ledger) {
    match client.submit(tokio_stream::iter(packet.frames)).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            if answer.packet_id.as_ref() != packet.id.as_bytes() || answer.repeated {
                ledger.fail(format!(
                    "packet {} was answered as another, or as sent before",
                    packet.id
                ));
            }
            let part = |outlook: wire::Outlook| Some((outlook.recipient, outlook.part?));
            let denied = answer.outlook.into_iter().filter_map(part);
            for (recipient, part) in denied.filter(|(_, part)| part.outcome != "deliver") {
                let (id, outcome, reason) = (packet.id, part.outcome, part.reason);
                ledger.fail(format!(
                    "packet {id} would not go to {recipient}: {outcome}, {reason}"
                ));
            }
            ledger.accepted(packet.id);
        }
        Err(status) => {
            let (id, code) = (packet.id, status.code());
            ledger.fail(format!("packet {id} was refused: {code:?}: {}", status.message()));
        }
    }
}

/// The receiving agencies.
pub struct Recipients {
    players: Vec<Arc<Player>>,
    streams: usize,
}

/// Recipients while they are connected; dropped, they go.
pub struct Connected {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Recipients {
    /// Takes their keys.
    pub fn new(
        (town, brokers): (&Town, &[SocketAddr]),
        recipients: &[String],
        streams: usize,
        rng: &mut StdRng,
    ) -> Self {
        let player = |(id, at): (&String, &SocketAddr)| {
            let client = peer::as_agent_at(town, &agency(id), *at);
            Arc::new(Player::with(town, id, client, StdRng::from_rng(&mut *rng)))
        };
        Self {
            players: recipients
                .iter()
                .zip(brokers.iter().cycle())
                .map(player)
                .collect(),
            streams,
        }
    }

    /// Connects all of them: from now on whatever waits is delivered and acknowledged.
    pub fn connect(&self, ledger: &Arc<Ledger>) -> Connected {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for (place, player) in self.players.iter().enumerate() {
            for _ in 0..self.streams {
                let (player, ledger, stop) = (Arc::clone(player), Arc::clone(ledger), stop.subscribe());
                tasks.spawn(async move {
                    if let Err(trouble) = receive(&player, place, &ledger, stop).await {
                        ledger.fail(format!("recipient {place}: {trouble}"));
                    }
                });
            }
        }
        Connected { tasks, stop }
    }
}

impl Connected {
    /// Disconnects all, and waits until they are gone.
    pub async fn disconnect(self) {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }
}

/// One stream of one recipient: takes deliveries, acknowledges each.
async fn receive(
    player: &Player,
    place: usize,
    ledger: &Ledger,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Trouble> {
    let (requests, mut frames) = opened(player).await?;
    let mut offered: Option<(wire::Offer, Sha256)> = None;
    loop {
        let frame = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            frame = frames.message() => frame?,
        };
        let frame = frame.and_then(|frame| frame.frame);
        match frame.ok_or_else(|| Trouble::new("the broker ended the stream"))? {
            Frame::Offer(offer) => offered = Some((offer, Sha256::default())),
            Frame::Chunk(chunk) => {
                if let Some((_, digest)) = &mut offered {
                    digest.update(&chunk.data);
                }
            }
            Frame::Dropped(_) => offered = None,
            Frame::HandOver(hand_over) => {
                let (offer, digest) = offered
                    .take()
                    .ok_or_else(|| Trouble::new("a hand-over without an offer"))?;
                let delivery = Delivery {
                    frames: Vec::new(),
                    hand_over,
                    offer,
                };
                ledger.handed(place, packet_of(&delivery)?, digest.finish());
                let signed = player.acknowledgement(&delivery, "received", "");
                say(&requests, Request::Acknowledgement(signed)).await?;
                say(&requests, Request::Credit(wire::Credit { packets: 1 })).await?;
            }
            Frame::Settled(settled) => ledger.settled(place, id(&settled.packet_id)?),
        }
    }
}

/// Opens the stream, with credit; a place that a former one has not given back yet is waited for.
async fn opened(
    player: &Player,
) -> Result<
    (
        mpsc::Sender<wire::ReceiveRequest>,
        tonic::Streaming<wire::ReceiveFrame>,
    ),
    Trouble,
> {
    let began = Instant::now();
    loop {
        let (requests, stream) = mpsc::channel(REQUESTS_MAX_COUNT);
        say(&requests, Request::Credit(wire::Credit { packets: CREDIT })).await?;
        match player.client.clone().receive(ReceiverStream::new(stream)).await {
            Err(full) if full.code() == tonic::Code::ResourceExhausted && began.elapsed() < PLACE_MAX => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            frames => return Ok((requests, frames?.into_inner())),
        }
    }
}

async fn say(requests: &mpsc::Sender<wire::ReceiveRequest>, request: Request) -> Result<(), Trouble> {
    let request = wire::ReceiveRequest {
        request: Some(request),
    };
    let said = requests.send(request).await;
    said.map_err(|_| Trouble::new("the broker ended the stream"))
}

fn packet_of(delivery: &Delivery) -> Result<PacketId, Trouble> {
    let manifest = delivery
        .offer
        .manifest
        .as_ref()
        .map(|signed| signed.bytes.clone());
    let manifest = wire::Manifest::decode(manifest.unwrap_or_default());
    let manifest = manifest.map_err(|_| Trouble::new("an offer without a manifest"))?;
    id(&manifest.packet_id)
}

fn id(bytes: &[u8]) -> Result<PacketId, Trouble> {
    PacketId::try_from(bytes).map_err(|_| Trouble::new("a frame that names no packet"))
}
