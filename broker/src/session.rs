//! A recipient's open stream: credit and acknowledgements come in, deliveries go out. Every lease that it
//! took is given back when it ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::limits;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire::{self, receive_frame::Frame, receive_request::Request};
use tokio::sync::{Semaphore, mpsc};

use crate::acknowledge;
use crate::deliver::Line;
use crate::intake::rates::Place;
use crate::pipeline;
use crate::redact::{Code, safe};
use crate::roles::Caller;
use crate::state::{Alarms, State};
use crate::store::{CASE_ERASED, Lease, LeaseRequest};

/// Frames ahead of a slow recipient.
const AHEAD_COUNT: usize = 4;
/// Packets leased at once; further credit waits.
const LEASES_MAX_COUNT: usize = 16;
/// Rest after an acknowledgement that does not hold.
const NOT_HELD_REST: Duration = Duration::from_millis(200);
/// Look into the queue at least this often: leases of others end by time.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether a frozen log goes on.
const FROZEN_LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the recipient sends.
pub type Requests = Pin<Box<dyn Stream<Item = Result<wire::ReceiveRequest, tonic::Status>> + Send>>;
/// What the recipient gets.
pub type Frames = mpsc::Receiver<Result<wire::ReceiveFrame, tonic::Status>>;

struct Session {
    state: Arc<State>,
    caller: Mutex<Caller>,
    line: Line,
    credit: Semaphore,
    /// What this session leased and has not seen settled.
    leases: Mutex<HashMap<PacketId, DeliveryId>>,
}

/// Serves the stream until the recipient goes, the broker stops or the caller is no longer who it was.
/// `place` is held for as long.
pub fn open(state: Arc<State>, caller: Caller, requests: Requests, place: Place) -> Frames {
    let (sender, frames) = mpsc::channel(AHEAD_COUNT);
    let line = Line::new(sender);
    tokio::spawn(async move {
        let _place = place;
        let session = Session {
            state,
            caller: Mutex::new(caller),
            line: line.clone(),
            credit: Semaphore::new(0),
            leases: Mutex::default(),
        };
        let end = tokio::select! {
            end = session.listen(requests) => end,
            end = session.push() => end,
            () = line.gone() => Ok(()),
        };
        session.give_back().await;
        if let Err(refusal) = end {
            line.refuse(&refusal).await;
        }
    });
    frames
}

impl Session {
    /// The caller under the directory of this moment.
    fn caller(&self) -> Result<Caller, Refusal> {
        let mut caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        let again = caller.again(self.state.directories.current())?;
        *caller = again.clone();
        Ok(again)
    }

    async fn listen(&self, mut requests: Requests) -> Result<(), Refusal> {
        let mut first = true;
        while let Some(request) = requests.next().await {
            // A broken stream ends the session; the recipient connects again.
            let Ok(request) = request else { return Ok(()) };
            let caller = self.caller()?;
            match request.request {
                Some(Request::Credit(credit)) => self.grant(credit.packets),
                Some(Request::Acknowledgement(_)) if first => return Err(credit_first()),
                Some(Request::Acknowledgement(signed)) => self.acknowledge(&caller, signed).await?,
                None => return Err(credit_first()),
            }
            first = false;
        }
        // The recipient asks for nothing more and acknowledges nothing more: what it has credit for is
        // still its own to receive.
        std::future::pending().await
    }

    fn grant(&self, packets: u32) {
        let most = usize::try_from(limits::CREDIT_MAX_PACKETS).unwrap_or(usize::MAX);
        let room = most.saturating_sub(self.credit.available_permits());
        self.credit
            .add_permits(usize::try_from(packets).unwrap_or(usize::MAX).min(room));
    }

    /// Settles an acknowledgement. One that does not hold must not keep the others, or new packets, from
    /// being served, now or after the recipient connected again: its consignment stays unacknowledged.
    async fn acknowledge(&self, caller: &Caller, signed: wire::Signed) -> Result<(), Refusal> {
        let settled = match acknowledge::verify(&self.state, caller, signed) {
            Ok(verified) => acknowledge::settle(&self.state, caller, verified).await,
            Err(refusal) => Err(refusal),
        };
        match settled {
            Ok(settled) => {
                if let Ok(packet) = PacketId::try_from(settled.packet_id.as_ref()) {
                    self.forget(packet);
                }
                self.line.send(Frame::Settled(settled)).await
            }
            // The broker cannot now: the recipient connects again and says it again.
            Err(refusal) if refusal.retry_after_millis > 0 => Err(refusal),
            // A word that comes late, and is no sign of anything: its case was erased.
            Err(refusal) if refusal.code == CASE_ERASED => {
                tokio::time::sleep(NOT_HELD_REST).await;
                Ok(())
            }
            Err(refusal) => {
                let count = self.state.alarms.raise(refusal.code);
                if Alarms::is_told(count) {
                    tracing::error!(
                        agency = safe(caller.agency()),
                        code = safe(Code(&refusal)),
                        count,
                        "alarm: an acknowledgement does not hold; its consignment stays unacknowledged"
                    );
                }
                // Each cost the check of a signature: who says more of them waits. Deliveries go on beside this.
                tokio::time::sleep(NOT_HELD_REST).await;
                Ok(())
            }
        }
    }

    /// Delivers whatever waits, as far as credit goes, until the broker stops: then the delivery that is
    /// on its way is the last.
    async fn push(&self) -> Result<(), Refusal> {
        let mut stop = self.state.stop.clone();
        let bell = self.state.bells.of(self.caller()?.agency());
        loop {
            tokio::select! {
                permit = self.credit.acquire() => drop(permit.map_err(|_| credit_first())?),
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            if self.state.log.is_frozen() {
                // What is decided now could not be proved before the next shard: it waits undecided.
                tokio::select! {
                    () = tokio::time::sleep(FROZEN_LOOK_EVERY) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                }
                continue;
            }
            let hurried = self.state.bells.hurried(self.caller()?.agency());
            let before = hurried.load(Ordering::SeqCst);
            let leases = self.lease(&self.caller()?).await?;
            if leases.is_empty() {
                tokio::select! {
                    () = bell.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                }
                continue;
            }
            for lease in leases {
                if *stop.borrow() {
                    return Ok(());
                }
                if hurried.load(Ordering::SeqCst) != before {
                    // What cannot wait came in: the rest stands behind it from now on.
                    self.release(lease.packet.packet, lease.token).await;
                    continue;
                }
                // The caller's identity may have been taken out of the directory since the last one.
                let caller = self.caller()?;
                self.deliver(&caller, lease).await;
            }
        }
    }

    async fn lease(&self, caller: &Caller) -> Result<Vec<Lease>, Refusal> {
        let now = self.state.clock.now();
        let count = self.credit.available_permits().min(LEASES_MAX_COUNT);
        let request = LeaseRequest {
            recipient: caller.agency().clone(),
            now,
            lease_millis: limits::LEASE_MILLIS,
            tokens: self.state.tokens(count),
        };
        let leases = self.state.store.lease(request).await?;
        let mut mine = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        mine.extend(leases.iter().map(|lease| (lease.packet.packet, lease.token)));
        Ok(leases)
    }

    async fn deliver(&self, caller: &Caller, lease: Lease) {
        let (token, packet) = (lease.token, lease.packet.packet);
        let now = self.state.clock.now();
        let until = now.plus_millis(limits::LEASE_MILLIS);
        // One that waited behind a long delivery may have ended; it is leased again.
        if !self.state.store.renew(token, now, until).await.unwrap_or(false) {
            self.forget(packet);
            return;
        }
        match pipeline::hand_over(&self.state, caller, &self.line, lease).await {
            Ok(Some(_sent)) => {
                if let Ok(permit) = self.credit.try_acquire() {
                    permit.forget();
                }
            }
            Ok(None) => self.release(packet, token).await,
            // The lease is kept until it ends by time: what fails is tried again, but not at once.
            Err(refusal) => {
                let delivery = token.to_vec().into();
                // Whatever was offered of it is to be forgotten; a recipient that is gone needs no word.
                let _gone = self.line.send(Frame::Dropped(wire::Dropped { delivery })).await;
                let (packet, damaged) = (safe(packet), refusal.code == "CORRUPT");
                let code = safe(Code(&refusal));
                if damaged {
                    tracing::error!(packet, code, "alarm: what is stored of a packet is damaged");
                } else {
                    tracing::warn!(packet, code, "a delivery failed");
                }
            }
        }
    }

    fn forget(&self, packet: PacketId) {
        self.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&packet);
    }

    async fn release(&self, packet: PacketId, token: DeliveryId) {
        self.forget(packet);
        if let Err(error) = self.state.store.release(token).await {
            tracing::warn!(code = safe(Code(&error.into())), "a lease ends by time only");
        }
    }

    /// The session is over: what it did not settle may go to the next one at once.
    async fn give_back(&self) {
        let leases = std::mem::take(&mut *self.leases.lock().unwrap_or_else(PoisonError::into_inner));
        for (packet, token) in leases {
            self.release(packet, token).await;
        }
        if let Ok(caller) = self.caller() {
            self.state.bells.ring(caller.agency());
        }
    }
}

fn credit_first() -> Refusal {
    let remedy = "Open the stream with a credit frame, then send credit or acknowledgements.";
    Refusal::new(
        Fault::Invalid,
        "CREDIT_FIRST",
        "The stream did not begin with credit",
        remedy,
    )
}
