//! The way of a packet, in two straight functions. Each stage takes what the one before it proved, as a
//! type that cannot be had otherwise: leaving a stage out, or swapping two, does not compile.
//!
//! ```text
//! stream -> Received -> VerifiedPacket -> AdmittedPacket -> CompletePacket -> AcceptedPacket
//! Lease  -> Decided  -> Streamed       -> Committed      -> Proved         -> Sent
//! ```

use std::sync::Arc;

use crate::accept::{self, AcceptedPacket};
use crate::activate;
use crate::admit::{self, Admission};
use crate::decide;
use crate::deliver::{self, Commit, Line, Sent};
use crate::intake::frames::SubmitStream;
use crate::intake::rejection::Rejection;
use crate::intake::{self, sealings};
use crate::roles::Caller;
use crate::state::State;
use crate::store::Lease;
use crate::verify;

/// How often one delivery is decided again because something changed under it, before it waits its turn.
const DECIDED_MAX_COUNT: usize = 4;

/// Leg 1: from a member's stream to a durable, logged packet.
///
/// # Errors
/// Why the packet is not accepted; nothing of it is kept then.
pub async fn submit(
    state: &State,
    caller: Caller,
    stream: SubmitStream,
) -> Result<AcceptedPacket, Rejection> {
    let received = intake::receive(state, caller, stream).await?;
    let verified = verify::verify(state, received)?;
    let admitted = match admit::admit(state, verified).await? {
        Admission::New(admitted) => *admitted,
        Admission::Repeated(accepted) => return Ok(accepted),
    };
    let complete = sealings::fetch(state, admitted).await?;
    Ok(accept::accept(state, complete).await?)
}

/// Leg 2: from a leased packet to what its recipient may have of it; none if nothing goes now.
///
/// # Errors
/// Why nothing could be handed over; the packet waits for another turn.
pub async fn hand_over(
    state: &Arc<State>,
    caller: &Caller,
    line: &Line,
    lease: Lease,
) -> Result<Option<Sent>, schakel_proto::refusal::Refusal> {
    let mut lease = lease;
    for _ in 0..DECIDED_MAX_COUNT {
        let decided = decide::decide(state, lease).await?;
        let streamed = deliver::stream(state, line, decided).await?;
        let committed = match deliver::commit(state, line, streamed).await? {
            Commit::Committed(committed) => *committed,
            Commit::Nothing => return Ok(None),
            Commit::Changed(again) => {
                // What another broker brought into force is taken up first, or it would change for ever.
                activate::catch_up(state).await?;
                lease = *again;
                continue;
            }
        };
        let proved = deliver::prove(state, committed).await?;
        return deliver::send(state, caller, line, proved).await;
    }
    Ok(None)
}
