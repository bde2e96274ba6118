//! The gRPC service: wire types come in and go out here, and nowhere else. Each call begins by asking who
//! calls, in the directory of that moment.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use prost::Message;
use schakel_proto::ids::Digest;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire::{self, broker_server::Broker};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::intake::rates::{Place, Places};
use crate::intake::rejection::{self, Rejection};
use crate::refusals::Refused;
use crate::requests::Holding;
use crate::roles::Caller;
use crate::state::State;
use crate::tls::TlsIdentity;
use crate::{facts, pipeline, recall, receipt, session};

/// Open streams of one kind per agency.
const STREAMS_MAX_COUNT: usize = 4;

/// Wait before a refusal of somebody who submits too fast.
const THROTTLED: Duration = Duration::from_millis(200);

/// The service over the shared state.
pub struct Service {
    state: Arc<State>,
    receivers: Places,
    followers: Places,
}

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Over `state`.
    pub fn new(state: Arc<State>) -> Self {
        let places = || Places::new(STREAMS_MAX_COUNT);
        Self {
            state,
            receivers: places(),
            followers: places(),
        }
    }

    /// Who calls, in the directory of this moment.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let identity = request.extensions().get::<TlsIdentity>().copied();
        let caller = Caller::of(identity, self.state.directories.current());
        caller.map_err(|refusal| {
            self.state.meters.refused(Refused::Caller, refusal.code);
            refusal.to_status()
        })
    }

    /// The refusal of a request as its caller gets it; it is counted.
    fn refused(&self, refusal: &Refusal) -> Status {
        self.state.meters.refused(Refused::Request, refusal.code);
        refusal.to_status()
    }

    fn answer<T>(&self, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|refusal| self.refused(&refusal))
    }

    /// An answer to something that was signed: its refusal is counted, and recorded as an attempt.
    async fn recorded<T>(
        &self,
        caller: &Caller,
        what: Refused,
        result: Result<T, Refusal>,
    ) -> Result<Response<T>, Status> {
        match result {
            Ok(answer) => Ok(Response::new(answer)),
            Err(refusal) => {
                let rejected = Rejection::from(refusal.clone());
                rejection::record(&self.state, caller.agency(), &rejected, what).await;
                Err(refusal.to_status())
            }
        }
    }

    /// An answer that may be long: until it is taken it is held in the caller's share of memory.
    fn held<T: Message>(&self, caller: &Caller, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        let mut answer = self.answer(result)?;
        let length = answer.get_ref().encoded_len();
        let held = self.state.held.take(caller.agency(), length);
        if let Some(hold) = held.map_err(|refusal| self.refused(&refusal))? {
            answer.extensions_mut().insert(Holding(Arc::new(hold)));
        }
        Ok(answer)
    }

    fn place(&self, places: &Places, caller: &Caller) -> Result<Place, Status> {
        places.take(caller.agency()).ok_or_else(|| {
            let sentence = "This agency has as many open streams as one agency may have";
            let remedy = "Close one; only one agent of an agency should run.";
            let refusal = Refusal::new(Fault::Exhausted, "TOO_MANY_STREAMS", sentence, remedy);
            self.refused(&refusal.retry_after(5_000))
        })
    }

    /// Who calls, for a short call that reads: bounded in number and rate.
    fn reader<T>(&self, request: &Request<T>) -> Result<(Caller, Place), Status> {
        let caller = self.caller(request)?;
        let place = self.state.reads.enter(caller.agency(), self.state.clock.now());
        Ok((caller, place.map_err(|refusal| self.refused(&refusal))?))
    }
}

#[tonic::async_trait]
impl Broker for Service {
    async fn get_directory(
        &self,
        request: Request<wire::GetDirectoryRequest>,
    ) -> Result<Response<wire::GetDirectoryAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        let directory = caller.directory();
        let newer = directory.version() > request.get_ref().known_version;
        let directory = newer.then(|| directory.signed().clone());
        let mut answer = self.held(&caller, Ok(wire::GetDirectoryAnswer { directory }))?;
        // Agents compare their clocks with ours; nothing is decided by it.
        let now = self.state.clock.now().millis();
        answer.metadata_mut().insert("schakel-time-ms", now.into());
        Ok(answer)
    }

    async fn get_bundle(
        &self,
        request: Request<wire::GetBundleRequest>,
    ) -> Result<Response<wire::GetBundleAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        let rules = self.state.rules.current();
        let known = Digest::try_from(request.get_ref().known_digest.as_ref()).ok();
        let same = known == Some(rules.digest());
        let bundle = if same {
            wire::GetBundleAnswer::default()
        } else {
            rules.to_wire()
        };
        self.held(&caller, Ok(bundle))
    }

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitFrame>>,
    ) -> Result<Response<wire::SubmitAnswer>, Status> {
        let caller = self.caller(&request)?;
        let member = caller.agency().clone();
        let stream = Box::pin(request.into_inner());
        match pipeline::submit(&self.state, caller, stream).await {
            Ok(accepted) => Ok(Response::new(accepted.into_answer())),
            Err(rejected) => {
                rejection::record(&self.state, &member, &rejected, Refused::Submission).await;
                if ["TOO_FAST", "TOO_MANY_AT_ONCE"].contains(&rejected.code()) {
                    // Who asks again at once is answered more slowly: refusing costs time as well.
                    tokio::time::sleep(THROTTLED).await;
                }
                Err(Rejection::to_status(&rejected))
            }
        }
    }

    async fn submit_statement(
        &self,
        request: Request<wire::SubmitStatementRequest>,
    ) -> Result<Response<wire::SubmitStatementAnswer>, Status> {
        let caller = self.caller(&request)?;
        let stated = facts::submit(&self.state, &caller, request.into_inner()).await;
        self.recorded(&caller, Refused::Statement, stated).await
    }

    async fn get_facts(
        &self,
        request: Request<wire::GetFactsRequest>,
    ) -> Result<Response<wire::GetFactsAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        self.held(
            &caller,
            facts::show(&self.state, &caller, request.get_ref()).await,
        )
    }

    async fn get_outcome(
        &self,
        request: Request<wire::GetOutcomeRequest>,
    ) -> Result<Response<wire::GetOutcomeAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        // The rules are asked about every part that was handed over: as costly as a submission.
        let turn = self.state.turns.take(caller.agency()).await;
        let _turn = turn.map_err(|refusal| self.refused(&refusal))?;
        self.answer(recall::outcome(&self.state, &caller, request.get_ref()).await)
    }

    async fn recall(
        &self,
        request: Request<wire::RecallRequest>,
    ) -> Result<Response<wire::RecallAnswer>, Status> {
        let caller = self.caller(&request)?;
        let recalled = recall::recall(&self.state, &caller, request.into_inner()).await;
        self.recorded(&caller, Refused::Recall, recalled).await
    }

    type ReceiveStream = Out<wire::ReceiveFrame>;

    async fn receive(
        &self,
        request: Request<Streaming<wire::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let caller = self.caller(&request)?;
        let place = self.place(&self.receivers, &caller)?;
        let requests = Box::pin(request.into_inner());
        let frames = session::open(Arc::clone(&self.state), caller, requests, place);
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }

    type FollowEvidenceStream = Out<wire::FollowEvidenceFrame>;

    async fn follow_evidence(
        &self,
        request: Request<wire::FollowEvidenceRequest>,
    ) -> Result<Response<Self::FollowEvidenceStream>, Status> {
        let caller = self.caller(&request)?;
        let place = self.place(&self.followers, &caller)?;
        let frames = receipt::follow(Arc::clone(&self.state), caller, request.get_ref(), place);
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }

    async fn get_consistency(
        &self,
        request: Request<wire::GetConsistencyRequest>,
    ) -> Result<Response<wire::GetConsistencyAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        let answer = receipt::consistency(&self.state, request.get_ref()).await;
        self.held(&caller, answer)
    }

    async fn cosign(
        &self,
        request: Request<wire::CosignRequest>,
    ) -> Result<Response<wire::CosignAnswer>, Status> {
        let (caller, _place) = self.reader(&request)?;
        let answer = receipt::cosign(&self.state, &caller, request.get_ref()).await;
        self.held(&caller, answer)
    }
}
