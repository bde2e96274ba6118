//! What a process used of the machine, as the kernel counts it.

use std::time::Duration;

use super::Trouble;

/// Length of the kernel's tick in `/proc/PID/stat`, milliseconds; the same on every Linux that this runs on.
const TICK_MILLIS: u64 = 10;

/// Processor time of a process so far, all its threads, also those that ended.
///
/// # Errors
/// The process is gone.
pub fn cpu(process: u32) -> Result<Duration, Trouble> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold anything; `utime` and `stime` are the 12th and 13th fields after it.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * TICK_MILLIS))
}

/// Most memory that a process ever had, bytes (`VmHWM`).
///
/// # Errors
/// The process is gone.
pub fn peak_bytes(process: u32) -> Result<u64, Trouble> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes
        .map(|number| number << 10)
        .ok_or_else(|| Trouble::new("the system does not say how much memory a process had (VmHWM)"))
}

/// The machine's load, average of a minute.
///
/// # Errors
/// The system does not say.
pub fn load() -> Result<f64, Trouble> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| Trouble::new("the system does not say its load"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_used_something() {
        let me = std::process::id();
        let before = cpu(me).unwrap();
        let began = std::time::Instant::now();
        while cpu(me).unwrap() < before + Duration::from_millis(2 * TICK_MILLIS) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "no processor time is counted"
            );
        }
        assert!(peak_bytes(me).unwrap() > 1 << 20);
        assert!(load().unwrap() >= 0.0);
    }
}
