//! What a former primary has and its successor has not: rows that no standby confirmed, so that nobody was told of them.

use schakel_proto::ids::PacketId;
use tokio_postgres::Client;

use crate::store::kv::keys;

/// Packets of the former primary that are looked at, the newest first: their numbers begin with their time.
const LOOKED_MAX_COUNT: i64 = 10_000;

/// The packets that only the former primary has, of its newest.
///
/// # Errors
/// One of both does not answer.
pub(super) async fn between(
    former: &Client,
    newest: &Client,
) -> Result<Vec<PacketId>, tokio_postgres::Error> {
    const LAST: &str = "SELECT k FROM row WHERE k >= $1 AND k < $2 ORDER BY k DESC LIMIT $3";
    const MISSING: &str = "SELECT one FROM unnest($1::bytea[]) AS one \
                           WHERE NOT EXISTS (SELECT 1 FROM row WHERE k = one) ORDER BY one";
    let from = [keys::PACKET];
    let end = super::map::end_of(&from);
    let rows = former
        .query(LAST, &[&from.as_slice(), &end, &LOOKED_MAX_COUNT])
        .await?;
    let there: Vec<Vec<u8>> = rows.into_iter().map(|row| row.get(0)).collect();
    let rows = newest.query(MISSING, &[&there]).await?;
    let packet = |key: &[u8]| keys::last_packet(key);
    Ok(rows
        .iter()
        .filter_map(|row| packet(row.get::<_, &[u8]>(0)))
        .collect())
}
