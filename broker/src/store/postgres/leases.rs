//! Leases that all brokers share: rows of an unlogged table. A lease of a broker that no longer lives is void.

use std::sync::Arc;

use async_trait::async_trait;
use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use tokio_postgres::error::SqlState;

use super::Base;
use super::connect::away;
use super::map::end_of;
use crate::store::error::StoreError;
use crate::store::kv::leases::{Claim, Claimed, LeaseTable, Work};
use crate::store::kv::txn::Read;

/// Attempts when others claim at the same moment.
const TRIES_MAX_COUNT: usize = 5;

/// Brokers that live: each holds a lock of its own number.
const LIVE: &str = "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int8::oid \
                    AND objsubid = 2 AND granted";

/// The table of leases in the database.
pub(super) struct PgLeases(pub(super) Arc<Base>);

impl PgLeases {
    fn claim_statement() -> String {
        // A lease stands if its broker lives, its time is not over, and it was not given in the future (a clock was put back).
        let stands = |lease: &str| {
            format!(
                "({lease}.token IS NOT NULL AND {lease}.until_ms > $6 AND {lease}.since_ms - $6 <= $7 \
                 AND {lease}.owner::bigint IN (SELECT objid FROM live) OR {lease}.aside_until_ms > $6)"
            )
        };
        format!(
            "WITH live AS MATERIALIZED ({LIVE}), free AS ( \
               SELECT q.k, substring(q.k FROM octet_length(q.k) - 15) AS packet FROM row q \
               WHERE q.k > $2 AND q.k < $3 AND NOT EXISTS ( \
                 SELECT 1 FROM lease l WHERE l.agency = $4 \
                 AND l.packet = substring(q.k FROM octet_length(q.k) - 15) AND {}) \
               ORDER BY q.k LIMIT array_length($5::bytea[], 1) FOR UPDATE OF q SKIP LOCKED), \
             placed AS (SELECT k, packet, ($5::bytea[])[row_number() OVER (ORDER BY k)] AS token FROM free), \
             leased AS ( \
               INSERT INTO lease AS o (packet, agency, token, owner, since_ms, until_ms, attempts) \
               SELECT packet, $4, token, $9, $6, $8, 1 FROM placed \
               ON CONFLICT (packet, agency) DO UPDATE SET token = excluded.token, owner = excluded.owner, \
                 since_ms = excluded.since_ms, until_ms = excluded.until_ms, attempts = o.attempts + 1 \
               WHERE NOT {} RETURNING packet, token, attempts) \
             SELECT placed.k, leased.packet, leased.token, leased.attempts \
             FROM leased JOIN placed USING (packet) ORDER BY placed.k",
            stands("l"),
            stands("o"),
        )
    }

    async fn claimed(&self, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        let link = self.0.link().await?;
        let after = claim.after.unwrap_or(claim.prefix);
        let end = end_of(claim.prefix);
        let tokens: Vec<&[u8]> = claim
            .tokens
            .iter()
            .map(|token| token.as_bytes().as_slice())
            .collect();
        let class = i64::from(self.0.class);
        let statement = Self::claim_statement();
        let mut tries = 0;
        let rows = loop {
            let found = link
                .client
                .query(
                    &statement,
                    &[
                        &class,
                        &after,
                        &end,
                        &claim.recipient.as_str(),
                        &tokens,
                        &claim.now.millis(),
                        &limits::LEASE_MILLIS,
                        &claim.until.millis(),
                        &self.0.owner,
                    ],
                )
                .await;
            match found {
                Ok(rows) => break rows,
                Err(error) if is_passing(&error) && tries < TRIES_MAX_COUNT => tries += 1,
                Err(error) => return Err(away(error)),
            }
        };
        let damaged = |_| StoreError::Corrupt("a lease".into());
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            claimed.push(Claimed {
                key: row.get(0),
                packet: PacketId::try_from(row.get::<_, &[u8]>(1)).map_err(damaged)?,
                token: DeliveryId::try_from(row.get::<_, &[u8]>(2)).map_err(damaged)?,
                attempt: u32::try_from(row.get::<_, i32>(3)).unwrap_or(u32::MAX),
            });
        }
        Ok(claimed)
    }
}

/// Another transaction was in the way: the same again may work.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
    })
}

#[async_trait]
impl LeaseTable for PgLeases {
    fn claim(&self, _read: &dyn Read, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        self.0.run(self.0.within(self.claimed(claim)))
    }

    fn holds(
        &self,
        token: DeliveryId,
        packet: PacketId,
        agency: &AgencyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const ASK: &str = "SELECT count(*) FROM lease WHERE token = $1 AND packet = $2 AND agency = $3 \
                           AND until_ms > $4 AND since_ms - $4 <= $5";
        self.0.run(self.0.within(async {
            let link = self.0.link().await?;
            let (token, packet) = (token.as_bytes().as_slice(), packet.as_bytes().as_slice());
            let (agency, now) = (agency.as_str(), now.millis());
            let asked = link
                .client
                .query_one(ASK, &[&token, &packet, &agency, &now, &limits::LEASE_MILLIS])
                .await;
            Ok(asked.map_err(away)?.get::<_, i64>(0) > 0)
        }))
    }

    async fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        const RENEW: &str = "UPDATE lease SET since_ms = $2, until_ms = $3 WHERE token = $1 AND until_ms > $2 \
                             AND since_ms - $2 <= $4";
        let (token, now, until) = (token.as_bytes().as_slice(), now.millis(), until.millis());
        let renew = async {
            let link = self.0.link().await?;
            let renewed = link
                .client
                .execute(RENEW, &[&token, &now, &until, &limits::LEASE_MILLIS])
                .await;
            Ok(renewed.map_err(away)? > 0)
        };
        self.0.within(renew).await
    }

    async fn release(&self, token: DeliveryId) -> Result<(), StoreError> {
        let release = async {
            let link = self.0.link().await?;
            let release = "UPDATE lease SET token = NULL WHERE token = $1";
            let released = link
                .client
                .execute(release, &[&token.as_bytes().as_slice()])
                .await;
            released.map(drop).map_err(away)
        };
        self.0.within(release).await
    }

    fn give_back(&self, tokens: &[DeliveryId]) -> Result<(), StoreError> {
        if tokens.is_empty() {
            return Ok(());
        }
        let tokens: Vec<&[u8]> = tokens.iter().map(|token| token.as_bytes().as_slice()).collect();
        self.0.run(self.0.within(async {
            let link = self.0.link().await?;
            let release = "UPDATE lease SET token = NULL WHERE token = ANY($1)";
            link.client
                .execute(release, &[&tokens])
                .await
                .map(drop)
                .map_err(away)
        }))
    }

    fn set_aside(&self, work: Work, token: DeliveryId, until: Timestamp) -> Result<(), StoreError> {
        self.0.run(self.0.within(async {
            let link = self.0.link().await?;
            let aside = "UPDATE lease SET token = NULL, aside_until_ms = $3 WHERE token = $1 AND packet = $2";
            let (token, packet) = (token.as_bytes().as_slice(), work.0.as_bytes().as_slice());
            let done = link
                .client
                .execute(aside, &[&token, &packet, &until.millis()])
                .await;
            done.map(drop).map_err(away)
        }))
    }

    fn end(&self, _work: &Work) {}
}
