//! What the standby has. A commit that returned has usually waited for it; but a wait can be cancelled, cut off or
//! switched off, and a primary that restarts shows rows that no standby has. So each answer rests on the standby's own
//! word: everything that was flushed here when it was read is flushed there.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::connect::away;
use super::settings::Standby;
use crate::store::error::StoreError;

/// A place in the database's write-ahead log, in bytes from its beginning.
pub(super) type Place = u64;

/// Pause between two looks at the standby.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where this primary's log is flushed to.
pub(super) const HERE: &str = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text";
/// Where the furthest synchronous standby's is.
const THERE: &str = "SELECT coalesce(max(flush_lsn - '0/0'::pg_lsn), 0)::text FROM pg_stat_replication \
                     WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')";

/// How long the standby is waited for. What it said before is not remembered: a server that was replaced by its standby has
/// none any more, and must not be believed for what it had.
pub(super) struct Horizon {
    wait_max: Duration,
}

impl Horizon {
    /// Nobody waits longer than `wait_max`.
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { wait_max }
    }

    /// Longest time of any exchange with the database, whatever it says itself: the network may have swallowed the answer.
    pub(super) fn limit(&self) -> Duration {
        self.wait_max + self.wait_max / 2
    }

    /// Waits until the standby has everything up to `place`.
    ///
    /// # Errors
    /// It does not, within the limit.
    pub(super) async fn wait(&self, client: &Client, place: Place) -> Result<(), StoreError> {
        let there = number(client, THERE).await?;
        self.wait_from(client, place, there).await
    }

    /// The same, once it was asked.
    async fn wait_from(&self, client: &Client, place: Place, mut there: Place) -> Result<(), StoreError> {
        let began = Instant::now();
        while there < place {
            if began.elapsed() > self.wait_max {
                let why = if there == 0 {
                    "no synchronous standby is attached"
                } else {
                    "the standby lags behind"
                };
                return Err(StoreError::Away(why.into()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            there = number(client, THERE).await?;
        }
        Ok(())
    }

    /// Ends a read whose snapshot was taken at `place`, and waits until the standby has all that it showed.
    pub(super) async fn end_read(&self, client: &Client, place: Place) -> Result<(), StoreError> {
        let ended = client.simple_query(&format!("COMMIT; {THERE}")).await;
        let there = parse(&ended.map_err(away)?)?;
        self.wait_from(client, place, there).await
    }

    /// Waits until the standby has everything that is visible on this connection just now.
    pub(super) async fn catch_up(&self, client: &Client, standby: Standby) -> Result<(), StoreError> {
        match standby {
            Standby::None => Ok(()),
            Standby::Required => {
                let place = number(client, HERE).await?;
                self.wait(client, place).await
            }
        }
    }
}

/// The number that a query answers with, as text.
async fn number(client: &Client, query: &str) -> Result<Place, StoreError> {
    parse(&client.simple_query(query).await.map_err(away)?)
}

/// The last row's first field.
pub(super) fn parse(messages: &[SimpleQueryMessage]) -> Result<Place, StoreError> {
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
        _ => None,
    });
    row.ok_or_else(|| StoreError::Away("the database does not say how far its standby is".into()))
}
