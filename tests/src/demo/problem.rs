//! What stopped the demonstration: one sentence, and what to do.

use std::fmt;

/// The demonstration cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

/// Result of a step.
pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    /// A problem in words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// Says what was being done when an error came.
    pub fn during<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}
