//! All at once: many slow and hostile sockets, and what an honest agency feels of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::h2::{
    DATA, Door, END_HEADERS, Ended, HEADERS, PING, RST_STREAM, begin, call, frame, until_ended,
};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Player, Sealed};
use schakel_tests::system::told::{count, rounds, seeded};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{HONEST, LIMIT, ON_AND_ON, PART, memory_is_bounded};

/// Rest of a hostile socket between its end and its next beginning.
const AGAIN: Duration = Duration::from_secs(5);

/// One hostile connection to its end. Three in four say nothing at all; the others come with a certificate.
async fn hostile(door: &Door, kind: u32, open: &AtomicU64) -> std::io::Result<Option<Ended>> {
    let pace = (ON_AND_ON, Duration::from_millis(500));
    let silence = |_| Vec::new();
    if !kind.is_multiple_of(4) {
        let tcp = door.tcp().await?;
        open.fetch_add(1, Ordering::SeqCst);
        return Ok(until_ended(tcp, pace, LIMIT, silence).await);
    }
    let mut stream = door.http().await?;
    open.fetch_add(1, Ordering::SeqCst);
    Ok(match kind / 4 % 5 {
        0 => {
            let head = frame(HEADERS, END_HEADERS, 1, &call("Submit"));
            let drip = move |n: u32| head.get(n as usize).map(|byte| vec![*byte]).unwrap_or_default();
            until_ended(stream, pace, LIMIT, drip).await
        }
        1 => {
            // Messages that announce much, of which much comes and never the end.
            let piece = |n: u32| {
                let (stream, first) = (2 * (n / 32) + 1, n.is_multiple_of(32));
                let begins = [
                    begin(stream, "SubmitStatement"),
                    frame(DATA, 0, stream, &[0, 0, 0x1f, 0, 0]),
                ];
                let begins = if first { begins.concat() } else { Vec::new() };
                [begins, frame(DATA, 0, stream, &[7; 16_000])].concat()
            };
            until_ended(stream, (ON_AND_ON, Duration::from_millis(50)), LIMIT, piece).await
        }
        2 => {
            stream.write_all(&begin(1, "Submit")).await?;
            until_ended(stream, pace, LIMIT, silence).await
        }
        3 => {
            let pings = |_| frame(PING, 0, 0, &[7; 8]).repeat(50);
            until_ended(stream, (ON_AND_ON, Duration::from_millis(100)), LIMIT, pings).await
        }
        _ => {
            let reset = |n: u32| {
                let stream = 2 * n + 1;
                [
                    begin(stream, "Receive"),
                    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                ]
                .concat()
            };
            until_ended(stream, (ON_AND_ON, Duration::from_millis(20)), LIMIT, reset).await
        }
    })
}

/// The hostile have a thread of their own that gives way, as if they were on another machine: what is measured is what
/// they do to the broker, not to the honest client beside them.
pub fn elsewhere() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| {
            rustix::process::nice(15).unwrap();
        })
        .enable_all()
        .build()
        .unwrap()
}

/// Submits packets one after the other; how long each took, sorted.
pub async fn submitted(honest: &mut Player, packets: &[Sealed]) -> Vec<Duration> {
    let mut took = Vec::new();
    for sealed in packets {
        let began = Instant::now();
        let sent = honest.submit(sealed.frames()).await;
        sent.expect("the honest are served");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took
}

/// Packets of an honest agency, sealed.
pub fn sealed(honest: &mut Player, case: CaseRef, number: usize) -> Vec<Sealed> {
    let one = |_| {
        let manifest = honest.manifest(case, "prosecution", "legal_duty");
        honest.seal(manifest, &PART)
    };
    (0..number).map(one).collect()
}

/// What the honest felt: middle and 99th in 100, without and with the flood.
pub fn felt(quiet: &[Duration], busy: &[Duration]) -> String {
    let at = |sorted: &[Duration], percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
    let (calm, loud) = (at(quiet, 99), at(busy, 99));
    let ratio = loud.as_secs_f64() / calm.as_secs_f64();
    format!(
        "honest submissions p50 {:?} quiet, {:?} under it; p99 {calm:?} quiet, {loud:?} under it, {ratio:.1} times",
        at(quiet, 50),
        at(busy, 50),
    )
}

/// Begins `sockets` hostile connections, each again and again, with the certificates of all members but the honest.
fn begin_flood(town: &Town, sockets: u32, place: &Runtime, open: &Arc<AtomicU64>) -> JoinSet<()> {
    let agencies = &town.network().spec().agencies;
    let members: Vec<&str> = agencies
        .iter()
        .map(|a| a.id.as_str())
        .filter(|id| *id != HONEST)
        .collect();
    let mut flood = JoinSet::new();
    for n in 0..sockets {
        let member = members[n as usize % members.len()];
        let [_, _, high, low] = n.to_be_bytes();
        let door = Door::of(town, member, [127, 1, high, low.max(1)]);
        let open = Arc::clone(open);
        let attack = async move {
            loop {
                let _ended = hostile(&door, n, &open).await;
                tokio::time::sleep(AGAIN).await;
            }
        };
        flood.spawn_on(attack, place.handle());
    }
    flood
}

#[test]
fn n08_n09_n10_hostile_sockets_at_once_leave_memory_bounded_and_the_honest_served() {
    let sockets = u32::try_from(rounds(300, 2_000)).unwrap();
    let packets = usize::try_from(rounds(30, 300)).unwrap();
    let mut town = Town::rupel();
    town.limit("submissions_per_minute_max_count = 100000");
    town.start_broker();
    let mut rng = seeded();
    let place = elsewhere();
    let (report, quiet_peak) = runtime().block_on(async {
        let mut honest = Player::of(&town, HONEST, StdRng::from_rng(&mut rng));
        let case = honest.open_case(&[HONEST, "parket-antwerpen"]).await;
        let (before, during) = (
            sealed(&mut honest, case, packets),
            sealed(&mut honest, case, packets),
        );
        let quiet = submitted(&mut honest, &before).await;
        let quiet_peak = town.broker().peak_mebibytes();
        let open = Arc::new(AtomicU64::new(0));
        let flood = begin_flood(&town, sockets, &place, &open);
        let (began, least) = (Instant::now(), Duration::from_secs(rounds(10, 60)));
        while open.load(Ordering::SeqCst) < u64::from(sockets) * 3 / 4 && began.elapsed() < LIMIT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let busy = submitted(&mut honest, &during).await;
        tokio::time::sleep(least.saturating_sub(began.elapsed())).await;
        // A newcomer stands in the queue behind those who say nothing, and gets in.
        let began = Instant::now();
        let newcomer = Door::of(&town, HONEST, [127, 2, 1, 1]);
        tokio::time::timeout(LIMIT, async { while newcomer.http().await.is_err() {} })
            .await
            .expect("a newcomer gets in");
        let (newcomer, opened) = (began.elapsed(), open.load(Ordering::SeqCst));
        drop(flood);
        let felt = felt(&quiet, &busy);
        let report = format!(
            "hostile sockets at once ({opened} opened in all); {felt}; a newcomer in after {newcomer:?}"
        );
        (report, quiet_peak)
    });
    let peak = memory_is_bounded(&town);
    let each = (peak.saturating_sub(quiet_peak) * 1024).div_ceil(u64::from(sockets));
    assert!(each <= 64, "{each} KiB for each hostile socket");
    count(
        sockets.into(),
        &format!("{report}; broker at most {peak} MiB, {quiet_peak} before; {each} KiB for each socket"),
    );
}
