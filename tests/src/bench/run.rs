//! The run: for each size some windows, each with the references of its own minute.
//!
//! A window has three parts: packets are submitted while no recipient is connected (how fast packets become
//! durable), the recipients come and take them (how fast deliveries are acknowledged), and new packets go through
//! while all are connected, the next as soon as one is acknowledged by all (how long a packet takes).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::ids::PacketId;
use schakel_proto::openpgp::SigningKeys;

use super::bare::BareServer;
use super::figures::{Figures, Report, SizeReport, medians, millis, percentile, rate};
use super::ledger::Ledger;
use super::load::{Ready, Recipients, Senders, Until};
use super::{IN_FLIGHT_MAX_COUNT, Order, RECIPIENTS, Trouble, reference, usage};
use crate::system::backend::Backend;
use crate::system::network::{Town, now};
use crate::system::peer::Client;
use crate::system::several::Second;

/// Ciphertext of one window, bytes, at most; with it the number of large packets is cut.
const WINDOW_MAX_BYTES: u64 = 128 << 20;
/// Content in flight, bytes, at most.
const IN_FLIGHT_MAX_BYTES: u64 = 16 << 20;
/// Fewest packets in a window.
const WINDOW_MIN_COUNT: usize = 8;

/// Everything that stays for the whole run.
struct Bed {
    town: Town,
    second: Option<Second>,
    order: Order,
    senders: Senders,
    recipients: Recipients,
    ledger: Arc<Ledger>,
    bare: Vec<Client>,
    keys: Vec<SigningKeys>,
    _server: BareServer,
}

/// Runs the order; each size's report is told as soon as it is there.
///
/// # Errors
/// A packet was lost, doubled or refused, or the machine cannot do it.
pub async fn run(order: &Order, tell: impl Fn(&str)) -> Result<Report, Trouble> {
    if !(1..=2).contains(&order.brokers) || (order.brokers > 1 && order.backend == Backend::Sled) {
        return Err(Trouble::new("brokers is 1, or 2 on a database".to_owned()));
    }
    if order.senders * order.in_flight > IN_FLIGHT_MAX_COUNT || order.senders * order.in_flight == 0 {
        let most = IN_FLIGHT_MAX_COUNT;
        return Err(Trouble::new(format!(
            "senders times in-flight must be 1 to {most}"
        )));
    }
    let load_before = usage::load()?;
    let mut bed = Bed::new(order).await?;
    let broker_start_bytes = usage::peak_bytes(bed.broker())?;
    let mut sizes = Vec::new();
    for bytes in &order.sizes {
        let report = bed.size(*bytes, &tell).await?;
        tell(&report.text());
        sizes.push(report);
    }
    let all = bed.ledger.check()?;
    tell(&format!("asking the broker about each of {} packets", all.len()));
    bed.senders.check_outcomes(&all).await?;
    let load = [load_before, usage::load()?];
    if let Some(second) = &mut bed.second {
        second.take().stop();
    }
    bed.town.take_broker().stop();
    Ok(Report {
        seed: order.seed,
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        load,
        recipients: RECIPIENTS.map(str::to_owned).to_vec(),
        senders: order.senders,
        streams: order.streams,
        cases: order.cases,
        checked_packets: all.len() as u64,
        broker_start_bytes,
        sizes,
    })
}

impl Bed {
    async fn new(order: &Order) -> Result<Self, Trouble> {
        let mut rng = StdRng::seed_from_u64(order.seed);
        let mut town = order.backend.town();
        town.lift_rates();
        town.start_broker();
        let second = (order.brokers > 1).then(|| {
            let mut second = Second::beside(&town);
            second.start();
            second
        });
        let brokers: Vec<_> = [town.address()]
            .into_iter()
            .chain(second.iter().map(Second::address))
            .collect();
        let agencies = RECIPIENTS.map(str::to_owned);
        let own = StdRng::seed_from_u64(rng.next_u64());
        let senders = Senders::new((&town, &brokers), &agencies, (order.senders, order.cases), own).await?;
        let recipients = Recipients::new((&town, &brokers), &agencies, order.streams, &mut rng);
        let server = BareServer::start(&town).await?;
        let directory = town.network().directory(now()).unwrap();
        Ok(Self {
            bare: reference::bare_clients(&town, &server, order.senders),
            keys: reference::sender_keys(&directory),
            ledger: Arc::new(Ledger::new(agencies.len())),
            order: order.clone(),
            senders,
            recipients,
            second,
            town,
            _server: server,
        })
    }

    fn broker(&self) -> u32 {
        self.town.broker().id()
    }

    /// All windows of one size.
    async fn size(&mut self, bytes: u64, tell: &impl Fn(&str)) -> Result<SizeReport, Trouble> {
        let fit = |limit: u64, wanted: usize, least: usize| {
            let room = usize::try_from(limit / bytes.max(1)).unwrap_or(usize::MAX);
            wanted.min(room.max(least))
        };
        let in_flight = fit(IN_FLIGHT_MAX_BYTES, self.order.senders * self.order.in_flight, 1);
        let packets = fit(WINDOW_MAX_BYTES, self.order.packets, WINDOW_MIN_COUNT);
        let warm_up = self.senders.seal(self.order.warm_up.min(packets), bytes);
        let connected = self.recipients.connect(&self.ledger);
        let how = (in_flight, Until::Acknowledged);
        self.senders.submit(warm_up, how, &self.ledger).await?;
        connected.disconnect().await;
        let mut windows = Vec::with_capacity(self.order.windows);
        let mut wire_bytes = 0;
        for number in 1..=self.order.windows {
            let (first, second) = (
                self.senders.seal(packets, bytes),
                self.senders.seal(packets, bytes),
            );
            wire_bytes = first.iter().map(Ready::wire_bytes).sum::<u64>() / packets as u64;
            let window = self
                .window((first, second), (wire_bytes, bytes), in_flight)
                .await?;
            let told = ["submissions_per_s", "deliveries_per_s", "through_packets_per_s"];
            let told = told.map(|name| format!("{name} {:.0}", window[name])).join(", ");
            tell(&format!("{bytes} bytes, window {number}: {told}"));
            windows.push(window);
        }
        Ok(SizeReport {
            content_bytes: bytes,
            wire_bytes,
            in_flight,
            packets,
            broker_peak_bytes: usage::peak_bytes(self.broker())?,
            median: medians(&windows),
            windows,
        })
    }

    async fn window(
        &mut self,
        (first, second): (Vec<Ready>, Vec<Ready>),
        (wire_bytes, bytes): (u64, u64),
        in_flight: usize,
    ) -> Result<Figures, Trouble> {
        let mut found = Figures::new();
        let bare = first.clone();
        self.references((bare, &second), (wire_bytes, bytes), in_flight, &mut found)
            .await?;
        self.submissions(first, in_flight, &mut found).await?;
        self.deliveries(second.len(), &mut found).await?;
        self.through(second, in_flight, &mut found).await?;
        for (share, part, of) in [
            (
                "submissions_to_grouped_appends",
                "submissions_per_s",
                "appends_grouped_per_s",
            ),
            (
                "submissions_to_verifications",
                "submissions_per_s",
                "verifications_per_s",
            ),
            (
                "submissions_to_bare_calls",
                "submissions_per_s",
                "bare_calls_per_s",
            ),
            (
                "deliveries_to_verifications",
                "deliveries_per_s",
                "verifications_per_s",
            ),
            (
                "through_to_grouped_appends",
                "through_packets_per_s",
                "appends_grouped_per_s",
            ),
            (
                "through_to_verifications",
                "through_packets_per_s",
                "verifications_per_s",
            ),
        ] {
            found.insert(share, found[part] / found[of]);
        }
        Ok(found)
    }

    async fn references(
        &self,
        (bare, packets): (Vec<Ready>, &[Ready]),
        (wire_bytes, bytes): (u64, u64),
        in_flight: usize,
        found: &mut Figures,
    ) -> Result<(), Trouble> {
        let time = Duration::from_millis(self.order.reference_millis);
        let folder = self.town.network().root().to_owned();
        for (name, group) in [("appends_single_per_s", 1), ("appends_grouped_per_s", in_flight)] {
            found.insert(name, reference::appends(&folder, (wire_bytes, group), time)?);
        }
        found.insert(
            "verifications_per_s",
            reference::verifications(&self.keys, packets, time)?,
        );
        found.insert(
            "bare_calls_per_s",
            reference::bare_calls(&self.bare, bare, in_flight).await?,
        );
        let messages = reference::bare_messages(&self.bare[0], bytes, time).await?;
        found.insert("bare_messages_per_s", messages);
        Ok(())
    }

    /// Packets become durable; nobody is there to receive them.
    async fn submissions(
        &self,
        packets: Vec<Ready>,
        in_flight: usize,
        found: &mut Figures,
    ) -> Result<(), Trouble> {
        let (count, ids) = (packets.len(), ids(&packets));
        let (used, began) = (usage::cpu(self.broker())?, Instant::now());
        self.senders
            .submit(packets, (in_flight, Until::Accepted), &self.ledger)
            .await?;
        found.insert("submissions_per_s", rate(count, began.elapsed()));
        let used = usage::cpu(self.broker())?.saturating_sub(used);
        found.insert("submission_cpu_ms", millis(used) / count as f64);
        let (accepted, _) = self.ledger.times(&ids);
        spread(found, ["submission_p50_ms", "submission_p99_ms"], accepted);
        Ok(())
    }

    /// The recipients come and take what waits for them.
    async fn deliveries(&self, packets: usize, found: &mut Figures) -> Result<(), Trouble> {
        let count = packets * RECIPIENTS.len();
        let enough = self.ledger.standing().settled + count as u64;
        let (used, began) = (usage::cpu(self.broker())?, Instant::now());
        let connected = self.recipients.connect(&self.ledger);
        let settled = self
            .ledger
            .wait_for("deliveries", |now| now.settled >= enough)
            .await;
        found.insert("deliveries_per_s", rate(count, began.elapsed()));
        let used = usage::cpu(self.broker())?.saturating_sub(used);
        found.insert("delivery_cpu_ms", millis(used) / count as f64);
        connected.disconnect().await;
        settled
    }

    /// Packets go all the way while everybody is there.
    async fn through(
        &self,
        packets: Vec<Ready>,
        in_flight: usize,
        found: &mut Figures,
    ) -> Result<(), Trouble> {
        let (count, ids) = (packets.len(), ids(&packets));
        let connected = self.recipients.connect(&self.ledger);
        let (used, began) = (usage::cpu(self.broker())?, Instant::now());
        self.senders
            .submit(packets, (in_flight, Until::Acknowledged), &self.ledger)
            .await?;
        found.insert("through_packets_per_s", rate(count, began.elapsed()));
        found.insert(
            "through_deliveries_per_s",
            rate(count * RECIPIENTS.len(), began.elapsed()),
        );
        let used = usage::cpu(self.broker())?.saturating_sub(used);
        found.insert("through_cpu_ms", millis(used) / count as f64);
        let (accepted, acknowledged) = self.ledger.times(&ids);
        spread(
            found,
            ["through_accepted_p50_ms", "through_accepted_p99_ms"],
            accepted,
        );
        spread(
            found,
            ["through_acknowledged_p50_ms", "through_acknowledged_p99_ms"],
            acknowledged,
        );
        connected.disconnect().await;
        Ok(())
    }
}

/// The middle of some times, and what all but one in a hundred stay below.
fn spread(found: &mut Figures, [p50, p99]: [&'static str; 2], mut times: Vec<f64>) {
    found.insert(p50, percentile(&mut times, 0.5));
    found.insert(p99, percentile(&mut times, 0.99));
}

fn ids(packets: &[Ready]) -> Vec<PacketId> {
    packets.iter().map(|packet| packet.id).collect()
}
