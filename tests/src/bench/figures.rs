//! Figures by name: percentiles of one window, medians of several, and how they are written down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Figures of one window, or their medians; the unit stands last in the name.
pub type Figures = BTreeMap<&'static str, f64>;

/// What was measured at one size.
#[derive(Clone, Debug, Serialize)]
pub struct SizeReport {
    /// Length of the content, bytes.
    pub content_bytes: u64,
    /// Length of a whole submission as messages, bytes (mean).
    pub wire_bytes: u64,
    /// Submissions at once, all connections together.
    pub in_flight: usize,
    /// Packets in a window.
    pub packets: usize,
    /// Most memory that the broker ever had, after this size, bytes.
    pub broker_peak_bytes: u64,
    /// Each window's figures.
    pub windows: Vec<Figures>,
    /// Their medians, each for itself.
    pub median: Figures,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of what was random.
    pub seed: u64,
    /// `release` or `debug`.
    pub build: &'static str,
    /// Processors.
    pub processors: usize,
    /// Load of the machine before and after, average of a minute.
    pub load: [f64; 2],
    /// Agencies that receive each packet.
    pub recipients: Vec<String>,
    /// Connections of the sender.
    pub senders: usize,
    /// Streams of each recipient.
    pub streams: usize,
    /// Cases that the packets are spread over.
    pub cases: usize,
    /// Packets that were sent in all, each delivered and acknowledged exactly once at each recipient.
    pub checked_packets: u64,
    /// Most memory that the broker ever had before the first packet, bytes.
    pub broker_start_bytes: u64,
    /// By size.
    pub sizes: Vec<SizeReport>,
}

/// The value that `share` (0 to 1) of all values do not exceed, nearest rank; 0 if there are none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values
        .get(rank.clamp(1, values.len().max(1)) - 1)
        .copied()
        .unwrap_or_default()
}

/// The middle one; of an even number the lower.
pub fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 0.5)
}

/// The median of each figure.
pub fn medians(windows: &[Figures]) -> Figures {
    let mut all: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in windows.iter().flatten() {
        all.entry(name).or_default().push(*value);
    }
    all.into_iter()
        .map(|(name, values)| (name, median(values)))
        .collect()
}

/// So many in such a time, per second.
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// Milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl SizeReport {
    /// The medians, to be read.
    pub fn text(&self) -> String {
        let mut text = format!(
            "content {} bytes, a submission of {} bytes, {} in flight, {} windows of {} packets; broker's peak {} MiB\n",
            self.content_bytes,
            self.wire_bytes,
            self.in_flight,
            self.windows.len(),
            self.packets,
            self.broker_peak_bytes >> 20
        );
        for (name, value) in &self.median {
            let digits = if *value < 10.0 { 3 } else { 0 };
            text += &format!("  {name:<40} {value:>12.digits$}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut values, 1.0), 100.0);
        assert_eq!(percentile(&mut [7.0], 0.99), 7.0);
        assert_eq!(percentile(&mut [], 0.99), 0.0);
    }

    #[test]
    fn medians_are_taken_of_each_figure_for_itself() {
        let windows = [
            [("a", 1.0), ("b", 9.0)],
            [("a", 3.0), ("b", 7.0)],
            [("a", 2.0), ("b", 8.0)],
        ];
        let windows = windows.map(Figures::from);
        assert_eq!(medians(&windows), Figures::from([("a", 2.0), ("b", 8.0)]));
    }
}
