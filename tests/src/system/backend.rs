//! What the broker under test keeps everything in.

use super::database;
use super::network::Town;

/// A store that outlives its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded, in the broker's data folder.
    Sled,
    /// In a PostgreSQL server beside it.
    Postgres,
}

impl Backend {
    /// A town whose broker uses it; nothing runs yet.
    pub fn town(self) -> Town {
        match self {
            Self::Sled => Town::rupel(),
            Self::Postgres => {
                let town = Town::rupel();
                database::shared().put_under(&town);
                town
            }
        }
    }
}
