//! Whoever measures runs `schakel-bench`: it goes to its end, checks every packet, and writes the figures that it
//! promises. No figure is judged here.

use schakel_tests::system::process::{binary, command};
use serde_json::Value;

/// Figures of every window, and of their medians.
const FIGURES: [&str; 24] = [
    "appends_grouped_per_s",
    "appends_single_per_s",
    "bare_calls_per_s",
    "bare_messages_per_s",
    "deliveries_per_s",
    "delivery_cpu_ms",
    "submission_cpu_ms",
    "submission_p50_ms",
    "submission_p99_ms",
    "submissions_per_s",
    "submissions_to_bare_calls",
    "submissions_to_grouped_appends",
    "submissions_to_verifications",
    "through_accepted_p50_ms",
    "through_accepted_p99_ms",
    "through_acknowledged_p50_ms",
    "through_acknowledged_p99_ms",
    "through_cpu_ms",
    "through_deliveries_per_s",
    "through_packets_per_s",
    "through_to_grouped_appends",
    "through_to_verifications",
    "deliveries_to_verifications",
    "verifications_per_s",
];

#[test]
fn the_bench_runs_to_its_end_and_writes_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let mut tiny = command(binary("schakel-bench"));
    tiny.args([
        "--sizes",
        "4KiB,64KiB",
        "--packets",
        "6",
        "--warm-up",
        "2",
        "--windows",
        "1",
    ]);
    tiny.args([
        "--senders",
        "2",
        "--in-flight",
        "3",
        "--cases",
        "2",
        "--reference-millis",
        "50",
    ]);
    let ended = tiny.arg("--json").arg(&json).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(said.contains("SEED schakel-bench: repeat with --seed"), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    // Of each size 2 to warm up, 6 to be submitted and delivered, 6 to go through.
    assert_eq!(report["checked_packets"], 28, "{report:#}");
    assert_eq!(report["recipients"].as_array().map(Vec::len), Some(3));
    for field in ["seed", "processors", "broker_start_bytes"] {
        assert!(
            report[field].as_u64().is_some_and(|number| number > 0),
            "{field} in {report:#}"
        );
    }
    let sizes = report["sizes"].as_array().unwrap();
    let bytes: Vec<_> = sizes
        .iter()
        .map(|size| size["content_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(bytes, [4 << 10, 64 << 10]);
    for size in sizes {
        assert!(size["wire_bytes"].as_u64() > size["content_bytes"].as_u64());
        assert!(size["broker_peak_bytes"].as_u64() >= report["broker_start_bytes"].as_u64());
        let windows = size["windows"].as_array().unwrap();
        windows.iter().chain([&size["median"]]).for_each(check_figures);
    }
}

/// All figures are there, and no other.
fn check_figures(figures: &Value) {
    for name in FIGURES {
        // The kernel counts processor time in ticks: so few packets may take none.
        let least = if name.contains("cpu") {
            0.0
        } else {
            f64::MIN_POSITIVE
        };
        let there = figures[name].as_f64().is_some_and(|figure| figure >= least);
        assert!(there, "{name} in {figures:#}");
    }
    let count = figures.as_object().map(serde_json::Map::len);
    assert_eq!(count, Some(FIGURES.len()), "{figures:#}");
}

#[test]
fn the_bench_says_what_it_cannot_do() {
    let ended = command(binary("schakel-bench"))
        .args(["--senders", "65"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("senders times in-flight must be 1 to 64"), "{said}");
}
