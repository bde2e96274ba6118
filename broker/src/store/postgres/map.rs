//! The ordered byte map in the database: a snapshot for each read, one transaction for each group of verbs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::{MutexGuard, OnceLock, PoisonError};

use deadpool::managed::Object;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::Base;
use super::connect::{Link, Use, away, said};
use super::pool::Links;
use super::settings::Standby;
use super::standby::{HERE, Place, parse};
use crate::store::content::StoredContent;
use crate::store::error::StoreError;
use crate::store::kv::{CommitError, Group, Reading, Rows, Session, View};

/// The first key that does not begin with `prefix` any more. No key begins with the byte 255: tables are letters.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX]
}

async fn get(link: &Link, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let row = link.client.query_opt(&link.get, &[&key]).await.map_err(away)?;
    Ok(row.map(|row| row.get(0)))
}

async fn scan(link: &Link, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
    let end = end_of(prefix);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = match after {
        Some(after) if after >= prefix => link.client.query(&link.after, &[&after, &end, &limit]).await,
        _ => link.client.query(&link.from, &[&prefix, &end, &limit]).await,
    };
    let rows = rows.map_err(away)?;
    Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Rows that were fetched together, before they are asked for one by one.
pub(super) type Fetched = RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>;

/// Rows fetched ahead by one view, at most: what is beyond is asked for when it is needed.
const AHEAD_MAX_COUNT: usize = 4_096;

async fn fetch(link: &Link, fetched: &Fetched, keys: &[Vec<u8>]) -> Result<(), StoreError> {
    let wanted: Vec<&[u8]> = {
        let known = fetched.borrow();
        let room = AHEAD_MAX_COUNT.saturating_sub(known.len());
        let new = keys.iter().filter(|key| !known.contains_key(*key)).take(room);
        new.map(Vec::as_slice).collect()
    };
    if wanted.len() < 2 {
        return Ok(());
    }
    const FETCH: &str = "SELECT k, v FROM row WHERE k = ANY($1)";
    let rows = link.client.query(FETCH, &[&wanted]).await.map_err(away)?;
    let mut fetched = fetched.borrow_mut();
    fetched.extend(wanted.iter().map(|key| (key.to_vec(), None)));
    fetched.extend(rows.into_iter().map(|row| (row.get(0), Some(row.get(1)))));
    Ok(())
}

/// A read: one snapshot, taken at the first look.
pub(super) struct PgView<'a> {
    pub(super) fetched: Fetched,
    pub(super) base: &'a Base,
    pub(super) link: Option<Object<Links>>,
    /// Where the log was flushed to at the snapshot; without a standby 0.
    pub(super) begun: OnceLock<Place>,
    /// Set before anything is sent: a beginning whose answer did not come may have begun all the same.
    pub(super) touched: Cell<bool>,
}

impl PgView<'_> {
    fn link(&self) -> Result<&Link, StoreError> {
        self.link
            .as_deref()
            .ok_or(StoreError::Misused("a view that has ended"))
    }

    async fn begin(&self) -> Result<(), StoreError> {
        if self.begun.get().is_some() {
            return Ok(());
        }
        const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.touched.set(true);
        let client = &self.link()?.client;
        let place = match self.base.standby() {
            Standby::None => client.batch_execute(BEGIN).await.map_err(away).map(|()| 0)?,
            // The snapshot is taken before the place is: what it shows lies below.
            Standby::Required => {
                let begun = client.simple_query(&format!("{BEGIN}; {HERE}")).await;
                parse(&begun.map_err(away)?)?
            }
        };
        let _ = self.begun.set(place);
        Ok(())
    }
}

impl View for PgView<'_> {
    fn is_far(&self) -> bool {
        true
    }

    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        self.base.run(self.base.within(async {
            self.begin().await?;
            fetch(self.link()?, &self.fetched, keys).await
        }))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(known) = self.fetched.borrow().get(key) {
            return Ok(known.clone());
        }
        self.base.run(self.base.within(async {
            self.begin().await?;
            get(self.link()?, key).await
        }))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        self.base.run(self.base.within(async {
            self.begin().await?;
            scan(self.link()?, prefix, after, limit).await
        }))
    }
}

impl Reading for PgView<'_> {
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let Some(place) = self.begun.get().copied() else {
            return Ok(());
        };
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        let ended = self.base.run(self.base.within(async {
            match self.base.standby() {
                Standby::None => link.client.batch_execute("COMMIT").await.map_err(away),
                Standby::Required => self.base.horizon.end_read(&link.client, place).await,
            }
        }));
        if ended.is_err() {
            drop(Object::take(link));
        }
        ended
    }
}

impl Drop for PgView<'_> {
    /// A read that broke off leaves a transaction open: the connection goes with it.
    fn drop(&mut self) {
        if self.touched.get()
            && let Some(link) = self.link.take()
        {
            drop(Object::take(link));
        }
    }
}

/// A group in progress, on the writer's own connection, under the lock that only one broker holds.
pub(super) struct PgSession<'a> {
    pub(super) fetched: Fetched,
    pub(super) base: &'a Base,
    pub(super) writer: MutexGuard<'a, Option<Link>>,
    /// Set once the transaction has ended in an orderly way.
    pub(super) ended: bool,
}

impl<'a> PgSession<'a> {
    /// Takes the writer's connection, made anew if it has ended, and the lock.
    pub(super) fn begin(base: &'a Base) -> Result<Self, StoreError> {
        let mut writer = base.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer
            .as_ref()
            .is_some_and(|link| !base.connector.is_current(link))
        {
            *writer = None;
        }
        let key = base.writer_key;
        let begun = base.run(base.within(async {
            if writer.is_none() {
                *writer = Some(base.connector.link(Use::Commits).await?);
            }
            let Some(link) = writer.as_ref() else {
                return Err(StoreError::Misused("no connection"));
            };
            let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({key})");
            link.client.batch_execute(&begin).await.map_err(away)
        }));
        base.reached(begun.is_ok());
        if let Err(why) = begun {
            *writer = None;
            base.connector.forget();
            return Err(why);
        }
        Ok(Self {
            fetched: Fetched::default(),
            base,
            writer,
            ended: false,
        })
    }

    fn link(&self) -> Result<&Link, StoreError> {
        self.writer.as_ref().ok_or(StoreError::Misused("no connection"))
    }

    /// Content that the rows name must be there: a server that crashed since may have lost it.
    async fn holds_content(link: &Link, group: &Group<'_>) -> Result<(), Failure> {
        const THERE: &str = "SELECT count(*) FROM content WHERE digest = ANY($1)";
        let large = group.keep.iter().filter(|one| one.inline().is_none());
        let named: BTreeSet<&[u8]> = large.map(StoredContent::digest_bytes).collect();
        if named.is_empty() {
            return Ok(());
        }
        let named: Vec<&[u8]> = named.into_iter().collect();
        let found = link.client.query_one(THERE, &[&named]).await;
        let count: i64 = found.map_err(Failure::before)?.get(0);
        if usize::try_from(count).ok() == Some(named.len()) {
            return Ok(());
        }
        let why = "content that a packet names was lost before it was committed";
        Err(Failure::Away(why.to_owned()))
    }

    /// Sends everything at once; the server takes it in order, and commits only if nothing before failed.
    async fn send(&self, link: &Link, group: &Group<'_>) -> Result<Place, Failure> {
        const PUT: &str = "INSERT INTO row (k, v) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
                           ON CONFLICT (k) DO UPDATE SET v = excluded.v";
        const REMOVE: &str = "DELETE FROM row WHERE k = ANY($1)";
        const RELEASE: &str = "DELETE FROM lease USING unnest($1::bytea[], $2::text[]) AS one (packet, agency) \
                               WHERE lease.packet = one.packet AND lease.agency = one.agency";
        const TELL: &str = "SELECT pg_notify($1, one) FROM unnest($2::text[]) AS one";
        Self::holds_content(link, group).await?;
        let (mut keys, mut records, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (key, change) in group.batch {
            match change {
                Some(record) => {
                    keys.push(key.as_slice());
                    records.push(record.as_slice());
                }
                None => gone.push(key.as_slice()),
            }
        }
        let work = group.ended.iter();
        let (packets, agencies): (Vec<&[u8]>, Vec<&str>) = work
            .map(|(packet, agency)| (packet.as_bytes().as_slice(), agency.as_str()))
            .unzip();
        let said = super::heard::payloads(group.batch);
        let schema = &self.base.connector.options().schema;
        let (put, remove): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 1]) =
            ([&keys, &records], [&gone]);
        let (release, tell): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 2]) =
            ([&packets, &agencies], [schema, &said]);
        tokio::try_join!(
            execute(link, !keys.is_empty(), PUT, &put),
            execute(link, !gone.is_empty(), REMOVE, &remove),
            execute(link, !packets.is_empty(), RELEASE, &release),
            execute(link, !said.is_empty(), TELL, &tell),
        )
        .map_err(Failure::before)?;
        let noticed = link.noticed();
        let committed = link.client.simple_query(&format!("COMMIT; {HERE}")).await;
        // Now it may have been saved, whatever is answered.
        let committed = committed.map_err(Failure::during)?;
        if link.noticed() != noticed {
            let why = "the database warned during the commit: it may not have waited for its standby";
            return Err(Failure::Unknown(why.to_owned()));
        }
        parse(&committed).map_err(|why| Failure::Unknown(why.to_string()))
    }
}

/// A statement, if there is anything for it to do.
async fn execute(
    link: &Link,
    is_needed: bool,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, tokio_postgres::Error> {
    if !is_needed {
        return Ok(0);
    }
    link.client.execute(statement, parameters).await
}

/// How a commit went wrong.
enum Failure {
    /// Nothing was changed.
    Away(String),
    /// Nothing was changed, for want of room.
    Full,
    /// Nobody knows.
    Unknown(String),
}

impl Failure {
    fn before(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::DISK_FULL => Self::Full,
            _ => Self::Away(said(&error)),
        }
    }

    fn during(error: tokio_postgres::Error) -> Self {
        Self::Unknown(said(&error))
    }
}

impl View for PgSession<'_> {
    fn is_far(&self) -> bool {
        true
    }

    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let fetch = async { fetch(self.link()?, &self.fetched, keys).await };
        self.base.run(self.base.within(fetch))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(known) = self.fetched.borrow().get(key) {
            return Ok(known.clone());
        }
        self.base
            .run(self.base.within(async { get(self.link()?, key).await }))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        self.base.run(
            self.base
                .within(async { scan(self.link()?, prefix, after, limit).await }),
        )
    }
}

impl Session for PgSession<'_> {
    fn commit(mut self: Box<Self>, group: &Group<'_>) -> Result<(), CommitError> {
        let work = async {
            let link = self.link().map_err(|why| Failure::Away(why.to_string()))?;
            let place = self.send(link, group).await?;
            if self.base.standby() == Standby::Required {
                let waited = self.base.horizon.wait(&link.client, place).await;
                waited.map_err(|why| Failure::Unknown(why.to_string()))?;
            }
            Ok(())
        };
        let late = Err(Failure::Unknown("the database does not confirm".to_owned()));
        let limit = self.base.horizon.limit();
        let done = self
            .base
            .run(async { tokio::time::timeout(limit, work).await.unwrap_or(late) });
        self.ended = done.is_ok();
        match done {
            Ok(()) => Ok(()),
            Err(Failure::Full) => {
                self.base.filled();
                Err(CommitError::Full)
            }
            Err(Failure::Away(why)) => Err(CommitError::Away(why)),
            Err(Failure::Unknown(why)) => {
                self.leave();
                tracing::error!(%why, "alarm: whether a group was saved is unknown; nobody was told that it was");
                Err(CommitError::Unknown(why))
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let done = self.base.run(self.base.within(async {
            let link = self.link()?;
            link.client.batch_execute("ROLLBACK").await.map_err(away)?;
            self.base
                .horizon
                .catch_up(&link.client, self.base.standby())
                .await
        }));
        self.ended = done.is_ok();
        if !self.ended {
            self.leave();
        }
        done
    }
}

impl PgSession<'_> {
    /// A server that does not confirm may have been replaced by its standby: the next group looks for the primary anew.
    fn leave(&mut self) {
        drop(self.writer.take());
        self.base.connector.forget();
    }
}

impl Drop for PgSession<'_> {
    /// A group that broke off: its transaction ends with its connection, and with it the lock.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Some(link) = self.writer.take() else { return };
        // A group that was never sent is taken back in an orderly way, and the connection stays.
        let undone = self.base.run(
            self.base
                .within(async { link.client.batch_execute("ROLLBACK").await.map_err(away) }),
        );
        if undone.is_ok() {
            *self.writer = Some(link);
        } else {
            self.base.connector.forget();
            self.base.reached(false);
        }
    }
}
