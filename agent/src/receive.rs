//! The recipient's side: an open stream to the broker. Ciphertext is spooled, everything is verified, the
//! delivery is stored and answered; our answers are sent again until the broker has settled them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schakel_proto::ids::{CaseRef, DeliveryId, Digest};
use schakel_proto::tlog::contradiction::Seen;
use schakel_proto::wire::{self, receive_frame::Frame, receive_request::Request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::agent::Agent;
use crate::audit::gossip::Heard;
use crate::audit::shards;
use crate::clock::randomness;
use crate::decide::{Own, Shown};
use crate::directory::View;
use crate::inbox::record::{Answer, Delivery};
use crate::inbox::spool::Incoming;
use crate::inbox::verify::{Context, ProvedDelivery, Rejection, VerifiedDelivery, prove, verify};
use crate::later::{self, Line, Sent, Word};
use crate::link::{Loop, gone_on};
use crate::problem::{Kind, Problem};
use crate::transport::Client;
use crate::transport::backoff::Backoff;
use crate::transport::brokers::Stay;

/// Frames read ahead of the disk.
const FRAMES_AHEAD_COUNT: usize = 4;
/// Deliveries under way at once; the broker sends one after the other.
const INCOMING_MAX_COUNT: usize = 16;

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(randomness());
    loop {
        let (stay, client) = agent.at_broker();
        let problem = match session(&agent, (stay, client), &mut backoff).await {
            Ok(()) => Problem::from(tonic::Status::unavailable("the stream of deliveries ended")),
            Err(problem) => problem,
        };
        // A full disk mends itself as little as any other fault of this machine.
        if problem.is_temporary() && problem.code != "DISK_FULL" {
            tracing::debug!(code = problem.code, "connecting again");
        } else {
            tracing::error!(
                code = problem.code,
                sentence = problem.sentence,
                "no deliveries are taken"
            );
        }
        agent.failed_at(stay, Loop::Stream, &problem);
        let wait = backoff.next(problem.retry_after_ms);
        tokio::time::sleep(wait.max(Duration::from_millis(50))).await;
    }
}

async fn session(
    agent: &Arc<Agent>,
    (stay, mut client): (Stay, Client),
    backoff: &mut Backoff,
) -> Result<(), Problem> {
    agent.audit.trust()?;
    shards::contact(agent, &mut client).await?;
    let (requests, outgoing) = mpsc::unbounded_channel();
    let credit = wire::Credit {
        packets: agent.config.credit_packets,
    };
    let (line, sent) = (Line::new(requests), Arc::new(Sent::default()));
    line.send(Request::Credit(credit))?;
    let mut frames = client
        .receive(UnboundedReceiverStream::new(outgoing))
        .await?
        .into_inner();
    agent.does(Loop::Stream);
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD_COUNT);
    let worker = {
        let (agent, client) = (Arc::clone(agent), client.clone());
        let (line, sent) = (line.clone(), Arc::clone(&sent));
        let handle = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || Worker::new(agent, client, (line, sent), handle).run(receiver))
    };
    let received = tokio::select! {
        received = pump(&mut frames, &sender, backoff) => received,
        told = later::tell(agent, &line, &sent) => told,
        () = agent.brokers().left(stay) => Err(gone_on()),
    };
    drop(line);
    drop(sender);
    let worked = worker.await.unwrap_or_else(|e| {
        Err(Problem::new(
            Kind::Local,
            "DEFECT",
            format!("receiving ended unexpectedly: {e}"),
            "",
        ))
    });
    worked.and(received)
}

/// Hands the broker's frames to the worker until the stream or the worker ends.
async fn pump(
    frames: &mut tonic::Streaming<wire::ReceiveFrame>,
    sender: &mpsc::Sender<Frame>,
    backoff: &mut Backoff,
) -> Result<(), Problem> {
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame?,
            () = sender.closed() => return Ok(()),
        };
        let Some(frame) = frame else { return Ok(()) };
        backoff.reset();
        if let Some(frame) = frame.frame
            && sender.send(frame).await.is_err()
        {
            return Ok(());
        }
    }
}

/// Takes frames one after the other, on a thread that may wait for the disk.
struct Worker {
    agent: Arc<Agent>,
    client: Client,
    line: Line,
    handle: tokio::runtime::Handle,
    incoming: HashMap<DeliveryId, Incoming>,
    sent: Arc<Sent>,
}

impl Worker {
    fn new(
        agent: Arc<Agent>,
        client: Client,
        (line, sent): (Line, Arc<Sent>),
        handle: tokio::runtime::Handle,
    ) -> Self {
        Self {
            agent,
            client,
            line,
            handle,
            incoming: HashMap::new(),
            sent,
        }
    }

    /// What was under way when the stream ends is offered again on the next one.
    fn run(mut self, mut frames: mpsc::Receiver<Frame>) -> Result<(), Problem> {
        self.agent.inbox.empty_spool()?;
        let done = self.work(&mut frames);
        self.incoming.clear();
        self.agent.inbox.empty_spool()?;
        done
    }

    fn work(&mut self, frames: &mut mpsc::Receiver<Frame>) -> Result<(), Problem> {
        let agent = Arc::clone(&self.agent);
        for (delivery, signed) in self
            .agent
            .with_answering(|answering| agent.inbox.open_answers(answering))?
        {
            self.answer(&delivery, signed)?;
        }
        while let Some(frame) = frames.blocking_recv() {
            match frame {
                Frame::Offer(offer) => self.offer(&offer)?,
                Frame::Chunk(chunk) => self.chunk(&chunk)?,
                Frame::HandOver(hand_over) => self.hand_over(&hand_over)?,
                Frame::Dropped(dropped) => self.drop_it(&dropped.delivery)?,
                Frame::Settled(settled) => self.settled(&settled)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, delivery: &Delivery, signed: wire::Signed) -> Result<(), Problem> {
        let word = Word {
            packet: delivery.packet,
            consignment: delivery.consignment,
            later: None,
        };
        self.sent.note(&signed, word);
        self.line.send(Request::Acknowledgement(signed))
    }

    fn offer(&mut self, offer: &wire::Offer) -> Result<(), Problem> {
        if self.incoming.len() >= INCOMING_MAX_COUNT {
            return Err(Problem::distrust(
                "DELIVERY_MALFORMED",
                "too many deliveries at once",
            ));
        }
        let incoming = self.agent.inbox.begin(offer)?;
        if let Some(former) = self.incoming.insert(incoming.id(), incoming) {
            drop(former);
            return Err(Problem::distrust(
                "DELIVERY_MALFORMED",
                "one delivery is offered twice",
            ));
        }
        Ok(())
    }

    /// A chunk that does not fit spoils its delivery only; later chunks of it are passed over.
    fn chunk(&mut self, chunk: &wire::Chunk) -> Result<(), Problem> {
        let Ok(id) = DeliveryId::try_from(&*chunk.delivery) else {
            return Ok(());
        };
        let Some(incoming) = self.incoming.get_mut(&id) else {
            return Ok(());
        };
        let Err(problem) = incoming.chunk(chunk) else {
            return Ok(());
        };
        match self.incoming.remove(&id) {
            Some(incoming) => self.set_aside(incoming, None, &problem),
            None => Ok(()),
        }
    }

    fn drop_it(&mut self, delivery: &[u8]) -> Result<(), Problem> {
        let id = DeliveryId::try_from(delivery).ok();
        match id.and_then(|id| self.incoming.remove(&id)) {
            Some(incoming) => self.agent.inbox.discard(incoming),
            None => Ok(()),
        }
    }

    fn settled(&mut self, settled: &wire::Settled) -> Result<(), Problem> {
        let said = Digest::try_from(&*settled.acknowledgement_digest).ok();
        let leaf = Digest::try_from(&*settled.leaf_hash).ok();
        let (Some(said), Some(leaf)) = (said, leaf) else {
            let sentence = "a settlement names no acknowledgement or leaf";
            return Err(Problem::distrust("SETTLED_MALFORMED", sentence));
        };
        match self.sent.settled(&said) {
            Some(word) => self.agent.note_settled(&word, leaf),
            None => Ok(()),
        }
    }

    fn hand_over(&mut self, hand_over: &wire::HandOver) -> Result<(), Problem> {
        let id = DeliveryId::try_from(&*hand_over.delivery).ok();
        if let Some(incoming) = id.and_then(|id| self.incoming.remove(&id)) {
            self.take(incoming, hand_over)?;
            self.agent.changed();
        }
        self.line.send(Request::Credit(wire::Credit { packets: 1 }))
    }

    /// Verifies, stores and answers one delivery. An error ends the stream: it is this machine's.
    fn take(&mut self, incoming: Incoming, hand_over: &wire::HandOver) -> Result<(), Problem> {
        let checked = self.check(&incoming, hand_over);
        let (verified, decided_again) = match checked {
            Ok(checked) => checked,
            Err(Rejection::Unproved(problem)) => {
                return self.set_aside(incoming, Some(hand_over), &problem);
            }
            Err(Rejection::Unsound(unsound)) => {
                let (proved, problem) = *unsound;
                return self.refuse(incoming, hand_over, &proved, &problem);
            }
        };
        let agent = Arc::clone(&self.agent);
        let delivery = self.agent.with_answering(|answering| {
            agent
                .inbox
                .accept(incoming, hand_over, &verified, decided_again, answering)
        })?;
        tracing::info!(packet = %delivery.packet, parts = delivery.parts.len(), "received");
        let known = agent.facts.known(&delivery.case);
        if known.is_some_and(|known| known.count() > delivery.facts_count) {
            agent.stir(delivery.case);
        }
        self.answer_once(&delivery)
    }

    fn refuse(
        &mut self,
        incoming: Incoming,
        hand_over: &wire::HandOver,
        proved: &ProvedDelivery,
        problem: &Problem,
    ) -> Result<(), Problem> {
        tracing::error!(packet = %proved.packet(), code = problem.code, "alarm: refused, in quarantine");
        let agent = Arc::clone(&self.agent);
        let delivery = self.agent.with_answering(|answering| {
            agent
                .inbox
                .refuse(incoming, hand_over, proved, problem, answering)
        })?;
        self.answer_once(&delivery)
    }

    /// Sends the answer, unless the broker has settled it before.
    fn answer_once(&mut self, delivery: &Delivery) -> Result<(), Problem> {
        if delivery.settled.is_some() && delivery.answer == Answer::Received {
            return Ok(());
        }
        let agent = Arc::clone(&self.agent);
        let signed = self
            .agent
            .with_answering(|answering| agent.inbox.answer(delivery, answering))?;
        self.answer(delivery, signed)
    }

    /// Nothing is answered: what fails here is the broker's or this machine's doing.
    fn set_aside(
        &self,
        incoming: Incoming,
        hand_over: Option<&wire::HandOver>,
        problem: &Problem,
    ) -> Result<(), Problem> {
        if problem.kind != Kind::Distrust {
            tracing::warn!(
                code = problem.code,
                sentence = problem.sentence,
                remedy = problem.remedy,
                "a delivery was not taken; it is offered again"
            );
            return self.agent.inbox.discard(incoming);
        }
        tracing::error!(
            code = problem.code,
            sentence = problem.sentence,
            "alarm: delivery not accepted"
        );
        let now = self.agent.clock.now();
        self.agent.inbox.quarantine(incoming, hand_over, problem, now)?;
        self.agent.audit.trust()
    }

    /// Everything that must hold; see `inbox::verify`.
    fn check(
        &mut self,
        incoming: &Incoming,
        hand_over: &wire::HandOver,
    ) -> Result<(VerifiedDelivery, Option<bool>), Rejection> {
        let (view, proved) = self.prove(incoming, hand_over)?;
        for checkpoint in proved.checkpoints() {
            let placed = self
                .agent
                .audit
                .place(&mut self.client, view.shards(), checkpoint);
            self.handle.block_on(placed)?;
        }
        self.check_bundle(&proved)?;
        let verified = {
            let context = self.context(&view);
            verify(incoming, hand_over, proved, &context)?
        };
        self.compare(&view, incoming, &verified)?;
        if let Some(problem) = self.other_packet(&verified) {
            return Err(verified.unsound(problem));
        }
        let decided_again = self.decide_again(&view, &verified)?;
        if decided_again == Some(false) {
            let sentence = "our own policy engine does not deliver it";
            return Err(verified.unsound(Problem::distrust("OWN_DECISION_DIFFERS", sentence)));
        }
        Ok((verified, decided_again))
    }

    /// Compares the checkpoint that the sender says it saw with our history. If it is not of it, either of sender and
    /// broker lies, and which of them nobody can tell from here: nothing is accepted and nothing answered.
    fn compare(
        &mut self,
        view: &View,
        incoming: &Incoming,
        verified: &VerifiedDelivery,
    ) -> Result<(), Problem> {
        let manifest = verified.handed().manifest();
        let Some(seen) = &manifest.checkpoint_seen else {
            return Ok(());
        };
        let [_, own] = verified.proved().checkpoints();
        let heard = Heard {
            seen: Seen {
                size: seen.size,
                root: seen.root,
            },
            origin: &seen.origin,
            by: manifest.sender.as_str(),
            signed: incoming.manifest(),
            what: "manifest",
        };
        let audit = &self.agent.audit;
        let heard = audit.hear(&mut self.client, view.shards(), &heard, own);
        self.handle.block_on(heard)
    }

    fn context<'a>(&'a self, view: &'a View) -> Context<'a> {
        Context {
            network: self.agent.network.name(),
            agency: self.agent.network.agency(),
            directory: view.directory(),
            shards: view.shards(),
            keys: &self.agent.keyring,
            now: self.agent.clock.now(),
        }
    }

    /// The log's evidence; a newer directory is fetched once if the decision names one, or ours is
    /// out of date.
    fn prove(
        &mut self,
        incoming: &Incoming,
        hand_over: &wire::HandOver,
    ) -> Result<(Arc<View>, ProvedDelivery), Problem> {
        let again = ["DECISION_DIRECTORY", "DIRECTORY_EXPIRED", shards::UNKNOWN];
        let view = self.agent.network.view()?;
        match self.proved(&view, incoming, hand_over) {
            Err(problem) if again.contains(&&*problem.code) => {}
            proved => return Ok((view, proved?)),
        }
        self.handle
            .block_on(self.agent.network.refresh(&mut self.client))?;
        let view = self.agent.network.view()?;
        let proved = self.proved(&view, incoming, hand_over)?;
        Ok((view, proved))
    }

    fn proved(
        &self,
        view: &View,
        incoming: &Incoming,
        hand_over: &wire::HandOver,
    ) -> Result<ProvedDelivery, Problem> {
        let proved = prove(incoming, hand_over, &self.context(view));
        proved.map_err(|problem| self.agent.audit.forged_in(view.shards(), hand_over, problem))
    }

    fn check_bundle(&mut self, proved: &ProvedDelivery) -> Result<(), Problem> {
        let decision = proved.decision();
        let holds = |agent: &Agent| {
            let (digest, version) = (decision.bundle_digest(), decision.bundle_version());
            agent.network.bundle_holds(&digest, version, decision.at())
        };
        if holds(&self.agent) {
            return Ok(());
        }
        self.handle
            .block_on(self.agent.network.refresh(&mut self.client))?;
        if holds(&self.agent) {
            return Ok(());
        }
        let sentence = "it was decided under rules that two officers have not signed, or that are superseded";
        Err(Problem::distrust("DECISION_BUNDLE", sentence))
    }

    /// The same packet id must always mean the same manifest.
    fn other_packet(&self, verified: &VerifiedDelivery) -> Option<Problem> {
        let proved = verified.proved();
        let before = self.agent.inbox.of_packet(proved.packet());
        let other = before
            .iter()
            .any(|d| d.answer == Answer::Received && d.manifest_digest != proved.manifest_digest());
        let sentence = "this packet id came before with another manifest";
        other.then(|| Problem::distrust("PACKET_ID_REUSED", sentence))
    }

    /// Our own decision; none if the rules changed meanwhile, or if the case's facts are rightly not shown to
    /// us.
    fn decide_again(&mut self, view: &View, verified: &VerifiedDelivery) -> Result<Option<bool>, Problem> {
        let Some(engine) = self.agent.network.engine() else {
            return Ok(None);
        };
        if engine.bundle().digest() != verified.proved().decision().bundle_digest() {
            return Ok(None);
        }
        let facts = self.facts(verified.proved().case())?;
        let own = Own {
            engine: &engine,
            directory: view.directory(),
            agency: self.agent.network.agency(),
        };
        own.decide(facts, verified)
    }

    /// The facts of a case as the broker shows them, or as it showed them before.
    fn facts(&mut self, case: CaseRef) -> Result<Shown, Problem> {
        let now = self.agent.clock.now();
        let facts = &self.agent.facts;
        let fetched = facts.refresh(&mut self.client, &self.agent.network, case, now);
        match self.handle.block_on(fetched) {
            Ok(chain) => Ok(Shown::Now(chain)),
            Err(problem) if matches!(problem.kind, Kind::Refused | Kind::NotFound) => {
                Ok(facts.known(&case).map_or(Shown::Never, Shown::Before))
            }
            Err(problem) => Err(problem),
        }
    }
}
