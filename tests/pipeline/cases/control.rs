//! Control: both legs as `broker/src/pipeline.rs` has them, from outside. This must compile.

use schakel_broker::accept::{self, AcceptedPacket};
use schakel_broker::acknowledge;
use schakel_broker::admit::{self, Admission};
use schakel_broker::decide;
use schakel_broker::deliver::{self, Commit, Line, Sent};
use schakel_broker::intake::frames::SubmitStream;
use schakel_broker::intake::rejection::Rejection;
use schakel_broker::intake::{self, sealings};
use schakel_broker::roles::Caller;
use schakel_broker::state::State;
use schakel_broker::store::Lease;
use schakel_broker::verify;
use schakel_proto::refusal::Refusal;
use schakel_proto::wire;

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

pub async fn hand_over(
    state: &State,
    caller: &Caller,
    line: &Line,
    lease: Lease,
) -> Result<Option<Sent>, Refusal> {
    let decided = decide::decide(state, lease).await?;
    let streamed = deliver::stream(state, line, decided).await?;
    let Commit::Committed(committed) = deliver::commit(state, line, streamed).await? else {
        return Ok(None);
    };
    let proved = deliver::prove(state, *committed).await?;
    deliver::send(state, caller, line, proved).await
}

pub async fn settle(state: &State, caller: &Caller, signed: wire::Signed) -> Result<wire::Settled, Refusal> {
    let verified = acknowledge::verify(state, caller, signed)?;
    acknowledge::settle(state, caller, verified).await
}
