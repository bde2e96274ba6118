//! What we say of a hand-over on the stream of deliveries, and what the broker settled of it: the answer, and
//! later words (taken, an obligation carried out). A later word is signed when it is sent; the broker gives the
//! first leaf to the same word again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::wire::{self, receive_request::Request};
use tokio::sync::mpsc;

use crate::agent::{Agent, blocking};
use crate::inbox::keep::Open;
use crate::inbox::record::Kind;
use crate::problem::Problem;

/// Changes that come together are looked at once.
const TOGETHER: Duration = Duration::from_millis(200);

/// The way to the broker.
#[derive(Clone)]
pub struct Line(mpsc::UnboundedSender<wire::ReceiveRequest>);

impl Line {
    /// Requests go into `sender`; bounded by the credit that we give and by what is open on disk.
    pub fn new(sender: mpsc::UnboundedSender<wire::ReceiveRequest>) -> Self {
        Self(sender)
    }

    /// Sends one request.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send(&self, request: Request) -> Result<(), Problem> {
        self.0
            .send(wire::ReceiveRequest {
                request: Some(request),
            })
            .map_err(|_| Problem::from(tonic::Status::unavailable("the stream of deliveries ended")))
    }
}

/// What an acknowledgement that we sent is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    /// The packet.
    pub packet: PacketId,
    /// Leaf of the consignment.
    pub consignment: Digest,
    /// A later word on one part; none: the answer.
    pub later: Option<(PartId, Kind, String)>,
}

/// What was sent on this stream and is not settled yet, by the SHA-256 of its bytes.
#[derive(Default)]
pub struct Sent(Mutex<HashMap<Digest, Word>>);

impl Sent {
    /// Signed bytes that go out now.
    pub fn note(&self, signed: &wire::Signed, word: Word) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(Digest::of(&signed.bytes), word);
    }

    /// What a settlement is about; none: nothing that we sent on this stream.
    pub fn settled(&self, acknowledgement: &Digest) -> Option<Word> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.remove(acknowledgement)
    }

    fn has(&self, word: &Word) -> bool {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.values().any(|one| one == word)
    }
}

/// Says what is to be said later, as it comes up, until the stream ends.
///
/// # Errors
/// The stream has ended, or our own disk or key failed.
pub async fn tell(agent: &Arc<Agent>, line: &Line, sent: &Arc<Sent>) -> Result<(), Problem> {
    let mut changes = agent.watch();
    loop {
        changes.mark_unchanged();
        let (teller, sent) = (Arc::clone(agent), Arc::clone(sent));
        let signed = blocking(move || teller.sign_later(&sent)).await?;
        for signed in signed {
            line.send(Request::Acknowledgement(signed))?;
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

impl Agent {
    /// Every later word that is open and was not sent on this stream, signed.
    fn sign_later(&self, sent: &Sent) -> Result<Vec<wire::Signed>, Problem> {
        let mut signed = Vec::new();
        for open in self.inbox.open_later() {
            let word = word_of(&open);
            if sent.has(&word) {
                continue;
            }
            let one = self
                .with_answering(|answering| answering.sign_later(&open.delivery, open.part, &open.later))?;
            sent.note(&one, word);
            signed.push(one);
        }
        Ok(signed)
    }

    /// The broker settled something that we said on this stream.
    pub(crate) fn note_settled(&self, word: &Word, leaf: Digest) -> Result<(), Problem> {
        let of = (word.packet, word.consignment);
        match &word.later {
            None => self.inbox.settled(word.packet, word.consignment, leaf)?,
            Some((part, kind, obligation)) => {
                self.inbox.later_settled(of, *part, (*kind, obligation), leaf)?;
            }
        }
        self.changed();
        Ok(())
    }
}

fn word_of(open: &Open) -> Word {
    Word {
        packet: open.delivery.packet,
        consignment: open.delivery.consignment,
        later: Some((open.part, open.later.kind, open.later.obligation.clone())),
    }
}
