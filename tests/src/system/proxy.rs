//! A bad road between an agent and the broker: a TCP proxy that delays, slows down, clogs, cuts and forgets connections,
//! as it is told at any moment. It sees ciphertext only and changes no byte: what TCP itself would repair is not
//! simulated here.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on the road at once in one direction.
const PIECES_MAX_COUNT: usize = 64;

/// How the road is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Where it leads to.
    pub to: SocketAddr,
    /// Time that each piece takes, each way.
    pub delay: Duration,
    /// As much more, at random.
    pub jitter: Duration,
    /// Bytes per second towards the agent; none: as fast as it goes.
    pub down_bytes_per_second: Option<u64>,
    /// Nothing passes towards the broker, until it does again.
    pub up_clogged: bool,
    /// Nothing passes towards the agent, until it does again.
    pub down_clogged: bool,
    /// New connections are closed at once.
    pub refuses: bool,
}

impl Weather {
    fn fair(to: SocketAddr) -> Self {
        Self {
            to,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            down_bytes_per_second: None,
            up_clogged: false,
            down_clogged: false,
            refuses: false,
        }
    }
}

/// What is done to the connections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Reset, at both ends.
    Cut,
    /// Reset at the agent's end; the broker hears nothing more, and is not told that it is over.
    Forget,
}

struct Shared {
    weather: watch::Sender<Weather>,
    orders: watch::Sender<(u64, Order)>,
    accepted: Mutex<Vec<Instant>>,
    /// The broker's ends of connections that were forgotten.
    forgotten: Mutex<Vec<std::net::TcpStream>>,
}

/// The road; closed when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Its threads end with it.
    _runtime: Runtime,
}

/// A socket that is reset when it is closed: as if whoever had it were gone.
fn abrupt(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

impl Proxy {
    /// A good road to `to`; what is random on it comes from `rng`.
    pub fn to(to: SocketAddr, mut rng: StdRng) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::fair(to)),
            orders: watch::Sender::new((0, Order::Cut)),
            accepted: Mutex::default(),
            forgotten: Mutex::default(),
        });
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.accepted.lock().unwrap().push(Instant::now());
                tokio::spawn(carry(Arc::clone(&serving), stream, StdRng::from_rng(&mut rng)));
            }
        });
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    /// Where the agent goes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather from now on, for all connections.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.shared.weather.send_modify(change);
    }

    /// Good weather again; it leads where it did.
    pub fn clear(&self) {
        self.change(|weather| *weather = Weather::fair(weather.to));
    }

    /// Nothing passes either way.
    pub fn clog(&self) {
        self.change(|weather| (weather.up_clogged, weather.down_clogged) = (true, true));
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.order(Order::Cut);
        self.shared.forgotten.lock().unwrap().clear();
    }

    /// Resets every connection towards the agent; the broker keeps its end open and hears nothing more.
    pub fn forget(&self) {
        self.order(Order::Forget);
    }

    fn order(&self, order: Order) {
        self.shared.orders.send_modify(|(number, last)| {
            *number += 1;
            *last = order;
        });
    }

    /// When each connection was asked for.
    pub fn accepted(&self) -> Vec<Instant> {
        self.shared.accepted.lock().unwrap().clone()
    }
}

/// Carries one connection until it ends or is told to.
async fn carry(shared: Arc<Shared>, agent: TcpStream, mut rng: StdRng) {
    let mut orders = shared.orders.subscribe();
    orders.mark_unchanged();
    abrupt(&agent);
    let (to, refuses) = {
        let weather = shared.weather.borrow();
        (weather.to, weather.refuses)
    };
    if refuses {
        return;
    }
    let Ok(broker) = TcpStream::connect(to).await else {
        return;
    };
    abrupt(&broker);
    agent.set_nodelay(true).ok();
    broker.set_nodelay(true).ok();
    // As long as this is there the broker's end is open.
    let broker = broker.into_std().unwrap();
    let held = broker.try_clone().unwrap();
    let broker = TcpStream::from_std(broker).unwrap();
    let ((from_agent, to_agent), (from_broker, to_broker)) = (agent.into_split(), broker.into_split());
    let first = StdRng::from_rng(&mut rng);
    let up = way(Arc::clone(&shared), (from_agent, to_broker), Way::Up, first);
    let down = way(Arc::clone(&shared), (from_broker, to_agent), Way::Down, rng);
    let mut both = tokio::spawn(async {
        // Where one direction ends the connection ends: nothing here is half-closed for long.
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    });
    let told = tokio::select! {
        _ = &mut both => return,
        changed = orders.changed() => changed.map(|()| orders.borrow().1),
    };
    both.abort();
    if matches!(told, Ok(Order::Forget)) {
        shared.forgotten.lock().unwrap().push(held);
    }
}

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

fn is_clogged(weather: &Weather, way: Way) -> bool {
    match way {
        Way::Up => weather.up_clogged,
        Way::Down => weather.down_clogged,
    }
}

async fn way(
    shared: Arc<Shared>,
    (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf),
    way: Way,
    mut rng: StdRng,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX_COUNT);
    let reading = {
        let shared = Arc::clone(&shared);
        async move {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let Ok(length @ 1..) = from.read(&mut piece).await else {
                    return;
                };
                piece.truncate(length);
                let (delay, jitter) = {
                    let weather = shared.weather.borrow();
                    (weather.delay, weather.jitter)
                };
                let due = Instant::now() + delay + jitter.mul_f64(rng.random());
                if sender.send((due, piece)).await.is_err() {
                    return;
                }
            }
        }
    };
    let writing = async move {
        let mut weather = shared.weather.subscribe();
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if weather
                .wait_for(|weather| !is_clogged(weather, way))
                .await
                .is_err()
            {
                return;
            }
            let rate = weather
                .borrow()
                .down_bytes_per_second
                .filter(|_| way == Way::Down);
            if write(&mut to, &piece, rate, &mut weather).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    // What was read before the end is still carried.
    tokio::join!(reading, writing);
}

/// Writes a piece, at this rate while the weather stays so.
async fn write(
    to: &mut OwnedWriteHalf,
    piece: &[u8],
    rate: Option<u64>,
    weather: &mut watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let Some(rate) = rate else {
        return to.write_all(piece).await;
    };
    let step = usize::try_from((rate / 4).max(1)).unwrap_or(usize::MAX);
    for few in piece.chunks(step) {
        to.write_all(few).await?;
        let slow = |weather: &Weather| weather.down_bytes_per_second.is_none();
        // Until a quarter of a second is over, or the road is good again.
        let _over = tokio::time::timeout(Duration::from_millis(250), weather.wait_for(slow)).await;
    }
    Ok(())
}
