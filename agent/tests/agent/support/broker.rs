//! A broker in this process, over real TLS, that says what it was told to say.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use prost::Message;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire::broker_server::{Broker, BrokerServer};
use schakel_proto::wire::receive_frame::Frame;
use schakel_proto::wire::receive_request::Request as Asked;
use schakel_proto::wire::{self, submit_frame};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::ledger::{Ledger, body};
use super::parcel::RECIPIENT;
use super::town::Town;
use super::wires;

/// How the broker answers a submission.
pub enum Answer {
    /// Takes it.
    Accept,
    /// Takes it, but the answer is lost.
    Lose,
    /// Says this.
    Refuse(Status),
}

/// What the broker says, and what it was told.
pub struct Script {
    pub ledger: Ledger,
    pub directory: wire::MultiSigned,
    pub bundle: wire::GetBundleAnswer,
    pub facts: HashMap<CaseRef, wire::CaseFacts>,
    /// Cases whose facts it does not show.
    pub hidden: HashSet<CaseRef>,
    /// Frames for the stream of deliveries; sent as soon as there is one.
    pub frames: Vec<Frame>,
    /// Whether acknowledgements are settled.
    pub settles: bool,
    /// How many acknowledgements are passed over before.
    pub passes_over: usize,
    /// Whether it serves its directory even to who has a newer one.
    pub pushes_directory: bool,
    /// How long ago it says that it accepted, in milliseconds.
    pub accepted_ago: i64,
    /// Whether it shows nobody the receipts of what it accepts.
    pub withholds: bool,
    /// What witnesses are told.
    pub held_up: wire::CosignAnswer,
    /// What they cosigned.
    pub cosignatures: Vec<wire::CosignRequest>,
    /// Told instead of the honest checkpoint and proof.
    pub consistency: Option<wire::GetConsistencyAnswer>,
    /// Answers to submissions, in order; then they are accepted.
    pub answers: Vec<Answer>,
    /// Log positions shown to whoever follows.
    pub shown: Vec<u64>,
    pub acknowledgements: Vec<wire::Signed>,
    /// Packet, digest of all frames.
    pub submissions: Vec<(PacketId, Digest)>,
    /// Packets that it took.
    pub held: HashSet<PacketId>,
    pub statements: Vec<wire::Signed>,
    pub recalls: Vec<wire::Signed>,
    pub streams_count: usize,
    /// How often somebody was told that the log is shorter than what it saw.
    pub shorter_count: usize,
}

pub type Shared = Arc<Mutex<Script>>;

/// A running broker; stops when dropped.
pub struct Running {
    pub script: Shared,
    /// Where it listens.
    pub port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds a port, mints a town for it and starts the broker. `certificate_of`: an agency whose TLS
/// certificate the broker shows instead of its own.
pub async fn start(certificate_of: Option<&str>) -> (Town, Running) {
    start_on(Town::new, certificate_of).await
}

/// The same for a town made otherwise.
pub async fn start_on(make: fn(u16) -> Town, certificate_of: Option<&str>) -> (Town, Running) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let town = make(listener.local_addr().unwrap().port());
    let script = Script {
        ledger: Ledger::new(&town),
        directory: wire::MultiSigned::decode(&*std::fs::read(town.network.directory_file()).unwrap())
            .unwrap(),
        bundle: wire::GetBundleAnswer::decode(&*std::fs::read(town.network.bundle_file()).unwrap()).unwrap(),
        facts: HashMap::new(),
        hidden: HashSet::new(),
        frames: Vec::new(),
        settles: true,
        passes_over: 0,
        pushes_directory: false,
        accepted_ago: 0,
        withholds: false,
        held_up: wire::CosignAnswer::default(),
        cosignatures: Vec::new(),
        consistency: None,
        answers: Vec::new(),
        shown: Vec::new(),
        acknowledgements: Vec::new(),
        submissions: Vec::new(),
        held: HashSet::new(),
        statements: Vec::new(),
        recalls: Vec::new(),
        streams_count: 0,
        shorter_count: 0,
    };
    let script = Arc::new(Mutex::new(script));
    let running = serve(&town, listener, script, certificate_of);
    (town, running)
}

/// Another broker beside one: they share all that they know.
pub async fn beside(town: &Town, first: &Running, certificate_of: Option<&str>) -> Running {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve(town, listener, Arc::clone(&first.script), certificate_of)
}

fn serve(
    town: &Town,
    listener: tokio::net::TcpListener,
    script: Shared,
    certificate_of: Option<&str>,
) -> Running {
    let folder = match certificate_of {
        None => town.network.broker_folder(),
        Some(id) => town.network.agent_folder(&super::town::agency(id)),
    };
    let port = listener.local_addr().unwrap().port();
    let acceptor = wires::acceptor(&folder);
    let service = BrokerServer::new(Said(Arc::clone(&script)));
    let incoming = wires::connections(listener, acceptor);
    let task = tokio::spawn(async move {
        let served = tonic::transport::Server::builder().add_service(service);
        served.serve_with_incoming(incoming).await.unwrap();
    });
    Running { script, port, task }
}

/// The service.
struct Said(Shared);

type Frames<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Broker for Said {
    async fn get_directory(
        &self,
        request: Request<wire::GetDirectoryRequest>,
    ) -> Result<Response<wire::GetDirectoryAnswer>, Status> {
        let known = request.into_inner().known_version;
        let directory = self.0.lock().unwrap().directory.clone();
        let version = wire::Directory::decode(&*directory.bytes).unwrap().version;
        let pushes = self.0.lock().unwrap().pushes_directory;
        let directory = (version > known || pushes).then_some(directory);
        Ok(Response::new(wire::GetDirectoryAnswer { directory }))
    }

    async fn get_bundle(
        &self,
        request: Request<wire::GetBundleRequest>,
    ) -> Result<Response<wire::GetBundleAnswer>, Status> {
        let known = !request.into_inner().known_digest.is_empty();
        let bundle = (!known).then(|| self.0.lock().unwrap().bundle.clone());
        Ok(Response::new(bundle.unwrap_or_default()))
    }

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitFrame>>,
    ) -> Result<Response<wire::SubmitAnswer>, Status> {
        let mut frames = request.into_inner();
        let (mut all, mut head) = (Vec::new(), None);
        while let Some(frame) = frames.message().await? {
            all.extend(frame.encode_to_vec());
            if let Some(submit_frame::Frame::Head(one)) = frame.frame {
                head = Some(one);
            }
        }
        let manifest = head.unwrap().manifest.unwrap();
        let fields = wire::Manifest::decode(&*manifest.bytes).unwrap();
        let packet = PacketId::try_from(&*fields.packet_id).unwrap();
        let mut script = self.0.lock().unwrap();
        let repeated = script.held.contains(&packet);
        script.submissions.push((packet, Digest::of(&all)));
        let answer = if script.answers.is_empty() {
            Answer::Accept
        } else {
            script.answers.remove(0)
        };
        if let Answer::Refuse(status) = answer {
            return Err(status);
        }
        if script.held.insert(packet) {
            let entry = wire::EvidenceBody {
                case_ref: fields.case_ref.clone(),
                packet_id: fields.packet_id.clone(),
                manifest_digest: Digest::of(&manifest.bytes).to_vec().into(),
                sender: fields.sender.clone(),
                ..body(Event::SubmissionAcceptance)
            };
            let index = script.ledger.add(entry, None, None, None);
            if !script.withholds {
                script.shown.push(index);
            }
        }
        if matches!(answer, Answer::Lose) {
            return Err(Status::unavailable("the answer is lost"));
        }
        let leaf = script.ledger.leaf(script.ledger.size() - 1);
        Ok(Response::new(wire::SubmitAnswer {
            packet_id: fields.packet_id,
            leaf_hash: leaf.to_vec().into(),
            accepted_ms: super::town::now().millis() - script.accepted_ago,
            repeated,
            outlook: Vec::new(),
        }))
    }

    async fn submit_statement(
        &self,
        request: Request<wire::SubmitStatementRequest>,
    ) -> Result<Response<wire::SubmitStatementAnswer>, Status> {
        let statement = request.into_inner().statement.unwrap();
        self.0.lock().unwrap().statements.push(statement);
        let answer = wire::SubmitStatementAnswer {
            number: 1,
            roster_version: 1,
            ..Default::default()
        };
        Ok(Response::new(answer))
    }

    async fn get_facts(
        &self,
        request: Request<wire::GetFactsRequest>,
    ) -> Result<Response<wire::GetFactsAnswer>, Status> {
        let case = CaseRef::try_from(&*request.into_inner().case_ref).unwrap();
        let script = self.0.lock().unwrap();
        match script.facts.get(&case) {
            Some(facts) if !script.hidden.contains(&case) => Ok(Response::new(wire::GetFactsAnswer {
                facts: Some(facts.clone()),
            })),
            _ => Err(Status::not_found("no such case")),
        }
    }

    async fn get_outcome(
        &self,
        _: Request<wire::GetOutcomeRequest>,
    ) -> Result<Response<wire::GetOutcomeAnswer>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn recall(
        &self,
        request: Request<wire::RecallRequest>,
    ) -> Result<Response<wire::RecallAnswer>, Status> {
        let signed = request.into_inner().recall.unwrap();
        let said = wire::Recall::decode(&*signed.bytes).unwrap();
        let packet = PacketId::try_from(&*said.packet_id).unwrap();
        let mut script = self.0.lock().unwrap();
        script.recalls.push(signed);
        if script.held.contains(&packet) {
            Ok(Response::new(wire::RecallAnswer::default()))
        } else {
            Err(Status::not_found("no such packet"))
        }
    }

    type ReceiveStream = Frames<wire::ReceiveFrame>;

    async fn receive(
        &self,
        request: Request<Streaming<wire::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(4);
        let script = Arc::clone(&self.0);
        script.lock().unwrap().streams_count += 1;
        tokio::spawn(async move {
            loop {
                let due = std::mem::take(&mut script.lock().unwrap().frames);
                for frame in due {
                    if sender
                        .send(Ok(wire::ReceiveFrame { frame: Some(frame) }))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = tokio::time::sleep(std::time::Duration::from_millis(10)) => continue,
                };
                let Some(Ok(request)) = request else { return };
                let Some(Asked::Acknowledgement(signed)) = request.request else {
                    continue;
                };
                let Some(settled) = acknowledged(&script, signed) else {
                    continue;
                };
                let frame = wire::ReceiveFrame {
                    frame: Some(Frame::Settled(settled)),
                };
                if sender.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type FollowEvidenceStream = Frames<wire::FollowEvidenceFrame>;

    async fn follow_evidence(
        &self,
        request: Request<wire::FollowEvidenceRequest>,
    ) -> Result<Response<Self::FollowEvidenceStream>, Status> {
        let mut next = request.into_inner().after_index_plus_one;
        let (sender, receiver) = mpsc::channel(4);
        let script = Arc::clone(&self.0);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let due: Vec<_> = {
                    let script = script.lock().unwrap();
                    let due = script.shown.iter().filter(|index| **index >= next);
                    due.map(|index| script.ledger.evidence(*index)).collect()
                };
                for evidence in due {
                    next = evidence.index + 1;
                    let frame = wire::FollowEvidenceFrame {
                        evidence: Some(evidence),
                    };
                    if sender.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_consistency(
        &self,
        request: Request<wire::GetConsistencyRequest>,
    ) -> Result<Response<wire::GetConsistencyAnswer>, Status> {
        let mut script = self.0.lock().unwrap();
        let wire::GetConsistencyRequest { from_size, to_size } = request.into_inner();
        if script.consistency.is_none() && from_size.max(to_size) > script.ledger.size() {
            script.shorter_count += 1;
            let shorter = Refusal::new(
                Fault::Precondition,
                "LOG_SHORTER",
                "The log is shorter",
                "Keep it.",
            );
            return Err(shorter.to_status());
        }
        let honest = || wire::GetConsistencyAnswer {
            checkpoint: script.ledger.checkpoint().into(),
            proof: script.ledger.consistency_to(from_size, to_size),
            from_root: script.ledger.root_within(from_size, to_size),
        };
        Ok(Response::new(script.consistency.clone().unwrap_or_else(honest)))
    }

    async fn cosign(
        &self,
        request: Request<wire::CosignRequest>,
    ) -> Result<Response<wire::CosignAnswer>, Status> {
        let mut script = self.0.lock().unwrap();
        let request = request.into_inner();
        if !request.cosignature.is_empty() {
            script.cosignatures.push(request);
        }
        Ok(Response::new(script.held_up.clone()))
    }
}

/// Logs an acknowledgement and settles it, if acknowledgements are settled at all.
fn acknowledged(script: &Shared, signed: wire::Signed) -> Option<wire::Settled> {
    let mut script = script.lock().unwrap();
    script.acknowledgements.push(signed.clone());
    if !script.settles || script.passes_over > 0 {
        script.passes_over = script.passes_over.saturating_sub(1);
        return None;
    }
    let said = wire::Acknowledgement::decode(&*signed.bytes).unwrap();
    let entry = wire::EvidenceBody {
        packet_id: said.packet_id.clone(),
        manifest_digest: said.manifest_digest.clone(),
        recipient: RECIPIENT.to_owned(),
        attachment_digest: evidence::attachment_digest(&signed).to_vec().into(),
        ..body(match said.outcome.as_str() {
            "refused" => Event::ContentHandoverFailure,
            "fulfilled" => Event::ObligationFulfilled,
            _ => Event::ContentHandover,
        })
    };
    let acknowledgement_digest = Digest::of(&signed.bytes).to_vec().into();
    let index = script.ledger.add(entry, None, None, Some(signed));
    script.shown.push(index);
    let leaf_hash = script.ledger.leaf(index).to_vec().into();
    Some(wire::Settled {
        packet_id: said.packet_id,
        leaf_hash,
        acknowledgement_digest,
    })
}
