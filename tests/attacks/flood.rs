//! Floods at the broker's door: slow at each stage, HTTP/2 frames that no library sends, connections without end, one
//! agency with a hundred times its share. Each ends in time, memory stays bounded, the honest are served.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::{refusal, wire};
use schakel_tests::system::h2::{DATA, END_STREAM, HEADERS, RST_STREAM};
use schakel_tests::system::network::Town;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::wait;
use tokio::io::{AsyncRead, AsyncReadExt};

mod slow;

mod frames;

mod crowd;

mod share;

mod storm;

/// Most memory that the broker may take, whatever is thrown at it.
const MEMORY_MAX_MEBIBYTES: u64 = 256;
/// Longest wait for the end of a hostile connection; its own limits are far below.
const LIMIT: Duration = wait::LIMIT;
/// Enough writes to outlast any limit.
const ON_AND_ON: u32 = 1_000_000;
/// Reason of a GOAWAY: the peer does too much (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

const HOSTILE: &str = "ocmw-boom";
const HONEST: &str = "pz-rupel";

const PART: [Piece<'_>; 1] = [Piece {
    category: "facts_summary",
    to: &["parket-antwerpen"],
    content: b"Eerste vaststelling.",
}];

fn figure(town: &Town, kind: &str) -> u64 {
    let name = format!("schakel_closed_total{{kind=\"{kind}\"}}");
    town.figure(&name).expect("the broker tells its figures")
}

fn memory_is_bounded(town: &Town) -> u64 {
    let peak = town.broker().peak_mebibytes();
    assert!(peak < MEMORY_MAX_MEBIBYTES, "the broker took {peak} MiB");
    peak
}

/// An honest agency that asks again and again until told to stop; how often it was answered.
async fn served(mut honest: Player, stop: Arc<AtomicBool>) -> (u64, Player) {
    let mut answered = 0;
    while !stop.load(Ordering::SeqCst) || answered < 3 {
        let request = wire::GetDirectoryRequest { known_version: 0 };
        let answer = honest.client.get_directory(request).await;
        answer.expect("the honest are served all the time");
        answered += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (answered, honest)
}

/// Runs `flood` while an honest agency is served from another address; gives how often.
async fn while_honest_is_served<T>(town: &Town, flood: impl Future<Output = T>) -> (T, u64) {
    let mut honest = Player::of(town, HONEST, StdRng::from_os_rng());
    // On its way before the flood begins, as a member's agent is.
    honest
        .client
        .get_directory(wire::GetDirectoryRequest::default())
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let serving = tokio::spawn(served(honest, Arc::clone(&stop)));
    let done = flood.await;
    stop.store(true, Ordering::SeqCst);
    (done, serving.await.unwrap().0)
}

/// Status of a call and the code in its details.
fn code(status: &tonic::Status) -> (tonic::Code, String) {
    let code = refusal::from_status(status).map(|refusal| refusal.code);
    (status.code(), code.unwrap_or_default())
}

/// Whether the broker ends this stream.
async fn answered<S: AsyncRead + Unpin>(stream: &mut S, id: u32) -> bool {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let whole = async {
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..length]);
            let mut rest = &bytes[..];
            while let Some((head, after)) = rest.split_at_checked(9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let of = u32::from_be_bytes(head[5..9].try_into().unwrap());
                let ends = match head[3] {
                    HEADERS | DATA => head[4] & END_STREAM != 0,
                    kind => kind == RST_STREAM,
                };
                if of == id && ends {
                    return true;
                }
                rest = after.get(length..).unwrap_or_default();
            }
        }
        false
    };
    tokio::time::timeout(LIMIT, whole).await.unwrap_or(false)
}
