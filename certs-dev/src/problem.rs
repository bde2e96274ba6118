//! What goes wrong while a network is made or changed: where, why, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub struct Problem {
    /// The file, folder or setting.
    pub place: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.place.display(), self.what, self.remedy)
    }
}

impl Problem {
    /// An error at a place.
    pub fn new(place: impl AsRef<Path>, what: impl fmt::Display, remedy: &'static str) -> Self {
        Self {
            place: place.as_ref().to_owned(),
            what: what.to_string(),
            remedy,
        }
    }

    /// A closure that turns an error at `place` into a problem.
    pub(crate) fn at<E: fmt::Display>(
        place: impl AsRef<Path>,
        remedy: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |error| Self::new(place, error, remedy)
    }
}
