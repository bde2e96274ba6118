//! File descriptors that run out: newcomers wait until there is room again, and whoever asks how the broker is, is told.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::meters::Meters;

/// Rest after a failed accept.
pub const REST: Duration = Duration::from_millis(100);
/// Free descriptors before newcomers are let in again: part files, the store and monitors need some, too.
const FREE_MIN_COUNT: usize = 24;

/// Whether there was no file descriptor left, for this process or the whole machine.
pub fn ran_out(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// A descriptor that is kept to be given away when there is no other.
pub fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether there are some left, found out by taking them.
fn is_room() -> bool {
    let taken: Vec<Option<File>> = (0..FREE_MIN_COUNT).map(|_| spare()).collect();
    taken.iter().all(Option::is_some)
}

/// After an accept that failed: rests, and for want of descriptors until there are some again.
pub async fn rest(error: &io::Error, meters: &Meters) {
    tokio::time::sleep(REST).await;
    if !ran_out(error) {
        return;
    }
    tracing::error!(
        "alarm: no file descriptor is left, newcomers wait: raise the limit (LimitNOFILE) or find what holds them"
    );
    meters.newcomers_wait(true);
    while !is_room() {
        tokio::time::sleep(REST).await;
    }
    meters.newcomers_wait(false);
    tracing::info!("there are file descriptors again: newcomers are let in");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n18_only_a_want_of_descriptors_is_one() {
        let of = |errno: Errno| ran_out(&io::Error::from(errno));
        assert!(of(Errno::MFILE) && of(Errno::NFILE));
        assert!(!of(Errno::CONNABORTED) && !ran_out(&io::Error::other("x")));
        assert!(is_room());
    }

    #[tokio::test]
    async fn n18_while_newcomers_wait_it_is_told_and_no_longer() {
        let meters = Meters::default();
        rest(&Errno::MFILE.into(), &meters).await;
        assert!(!meters.do_newcomers_wait(), "there was room at once");
        meters.newcomers_wait(true);
        assert!(meters.to_text().contains("\nschakel_newcomers_wait 1\n"));
    }
}
