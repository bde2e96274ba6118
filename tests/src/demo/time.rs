//! Simulated time: a file that says by how much all clocks of the network are ahead. It only goes forward.

use std::path::{Path, PathBuf};

use schakel_agent::clock::{Clock, SystemClock};
use schakel_proto::time::Timestamp;

use super::problem::{Problem, Result};
use super::story::Moment;

const MINUTE_MILLIS: i64 = 60_000;
const DAY_MILLIS: i64 = 24 * 60 * MINUTE_MILLIS;

/// The story's time.
#[derive(Debug)]
pub struct Time {
    file: PathBuf,
    /// Midnight before day 0: the next one, so that no moment of the story is past already.
    begin: Timestamp,
    ahead: i64,
    last: Option<Moment>,
}

impl Time {
    /// Time that goes with the machine's until the first moment is named; `file` is written.
    pub fn in_file(file: &Path) -> Result<Self> {
        let day = SystemClock.now().millis().div_euclid(DAY_MILLIS) + 1;
        let time = Self {
            file: file.to_owned(),
            begin: Timestamp::from_millis(day * DAY_MILLIS),
            ahead: 0,
            last: None,
        };
        time.write()?;
        Ok(time)
    }

    /// The file that the processes follow.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// This moment, as broker and agents see it.
    pub fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.ahead)
    }

    /// A moment of the story.
    pub const fn at(&self, moment: Moment) -> Timestamp {
        self.begin
            .plus_millis(moment.day * DAY_MILLIS + moment.minute * MINUTE_MILLIS)
    }

    /// Goes to a moment; says whether the clocks jumped. A moment that real time has reached meanwhile
    /// needs no jump; one before an earlier step's is an error.
    pub fn go(&mut self, moment: Moment) -> Result<bool> {
        if self.last.is_some_and(|last| moment < last) {
            return Err(Problem::new(
                "time does not go back: this moment is before an earlier step's",
            ));
        }
        self.last = Some(moment);
        let missing = self.at(moment).millis() - self.now().millis();
        if missing <= 0 {
            return Ok(false);
        }
        self.ahead += missing;
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> Result<()> {
        let new = self.file.with_extension("new");
        let written =
            std::fs::write(&new, self.ahead.to_string()).and_then(|()| std::fs::rename(&new, &self.file));
        written.map_err(Problem::during(self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_only_and_is_read_by_the_clocks_of_the_processes() {
        let folder = tempfile::tempdir().unwrap();
        let mut time = Time::in_file(&folder.path().join("time")).unwrap();
        let clock = schakel_broker::clock::SimulatedClock::following(time.file()).unwrap();
        let moment = |day, minute| Moment { day, minute };
        assert!(time.go(moment(3, 9 * 60)).unwrap());
        let now = schakel_broker::clock::Clock::now(&clock).millis();
        let meant = time.at(moment(3, 9 * 60)).millis();
        assert!((meant..meant + 60_000).contains(&now), "{now} {meant}");
        assert!(!time.go(moment(3, 9 * 60)).unwrap(), "already there");
        assert!(time.go(moment(2, 0)).is_err());
    }
}
