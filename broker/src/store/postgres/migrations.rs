//! The schema of the database, in steps that are only ever added. Each step says which programs can still work with
//! what it leaves, so that brokers are replaced one after the other.

use tokio_postgres::Client;

use super::connect::away;
use super::lock;
use crate::store::error::StoreError;

/// One step.
pub(super) struct Migration {
    /// From 1, without gaps.
    pub(super) number: i32,
    /// What it is about.
    pub(super) name: &'static str,
    /// Programs that know fewer steps than this cannot work with what it leaves.
    pub(super) needs: i32,
    /// What it does.
    pub(super) sql: &'static str,
}

/// All steps. A step that was once released is never changed.
pub(super) const ALL: &[Migration] = &[
    Migration {
        number: 1,
        name: "rows",
        needs: 1,
        sql: include_str!("migrations/0001-rows.sql"),
    },
    Migration {
        number: 2,
        name: "leases",
        needs: 2,
        sql: include_str!("migrations/0002-leases.sql"),
    },
];

/// The fewest steps that this program works with; what is between here and the last may come later.
const RUNS_FROM: i32 = 2;

/// How far a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Steps taken.
    pub taken: i32,
    /// Steps that this program knows.
    pub known: i32,
}

fn unusable(why: String) -> StoreError {
    StoreError::Unusable(why.into())
}

/// How far the database is, and which programs it needs.
async fn standing(client: &Client) -> Result<(Standing, i32), tokio_postgres::Error> {
    let known = ALL.last().map_or(0, |last| last.number);
    let table = client
        .query_one("SELECT to_regclass('migration') IS NOT NULL", &[])
        .await?;
    if !table.get::<_, bool>(0) {
        return Ok((Standing { taken: 0, known }, 0));
    }
    let row = client
        .query_one(
            "SELECT coalesce(max(number), 0), coalesce(max(needs), 0) FROM migration",
            &[],
        )
        .await?;
    let taken = row.get(0);
    Ok((Standing { taken, known }, row.get(1)))
}

/// Whether this program works with the database as it is.
pub(super) async fn check(client: &Client) -> Result<Standing, StoreError> {
    let (standing, needs) = standing(client).await.map_err(away)?;
    if needs > standing.known {
        return Err(unusable(format!(
            "the database's schema is at step {}, which needs a program that knows step {needs}, and this one knows {}: \
             start the newer version",
            standing.taken, standing.known
        )));
    }
    if standing.taken < RUNS_FROM {
        return Err(unusable(format!(
            "the database's schema is at step {} and this program needs {RUNS_FROM}: run `schakel-broker store migrate`, \
             or set migrate = true in [store.postgres]",
            standing.taken
        )));
    }
    Ok(standing)
}

/// Takes every step that is missing, each whole or not at all; gives how far the database was, and is. Several brokers may
/// try at once: one does it.
pub(super) async fn take(client: &mut Client, schema: &str) -> Result<(Standing, Standing), StoreError> {
    let key = lock::key(schema, lock::MIGRATION);
    let created = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    client
        .query_one("SELECT pg_advisory_lock($1)", &[&key])
        .await
        .map_err(away)?;
    let done = steps(client, &created).await;
    let _ = client.query_one("SELECT pg_advisory_unlock($1)", &[&key]).await;
    done
}

async fn steps(client: &mut Client, created: &str) -> Result<(Standing, Standing), StoreError> {
    let (before, needs) = standing(client).await.map_err(away)?;
    if needs > before.known {
        return check(client).await.map(|standing| (standing, standing));
    }
    if before.taken == 0 {
        client.batch_execute(created).await.map_err(away)?;
    }
    for step in ALL.iter().filter(|step| step.number > before.taken) {
        let transaction = client.transaction().await.map_err(away)?;
        let table = "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, name text NOT NULL, \
                     needs integer NOT NULL, at timestamptz NOT NULL DEFAULT now())";
        let note = "INSERT INTO migration (number, name, needs) VALUES ($1, $2, $3)";
        transaction.batch_execute(table).await.map_err(away)?;
        transaction.batch_execute(step.sql).await.map_err(away)?;
        transaction
            .execute(note, &[&step.number, &step.name, &step.needs])
            .await
            .map_err(away)?;
        transaction.commit().await.map_err(away)?;
        tracing::info!(
            step = step.number,
            name = step.name,
            "the database's schema was brought up to date"
        );
    }
    let (after, _) = standing(client).await.map_err(away)?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_gaps_and_none_needs_a_later_one() {
        for (number, step) in (1..).zip(ALL) {
            assert_eq!(step.number, number);
            assert!(step.needs <= number && !step.sql.is_empty() && !step.name.is_empty());
        }
        assert!(ALL.iter().any(|step| step.number == RUNS_FROM));
    }
}
