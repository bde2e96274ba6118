//! Keys go out before the leaf stands under a signed checkpoint.
//! error[E0308]: mismatched types | expected `Proved`, found `Committed`

use schakel_broker::deliver::{self, Committed, Line, Sent};
use schakel_proto::refusal::Refusal;

pub async fn leg(line: &Line, committed: Committed) -> Result<Sent, Refusal> {
    deliver::send(line, committed).await
}
