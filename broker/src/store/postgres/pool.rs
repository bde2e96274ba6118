//! The connections that read.

use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};

use super::connect::{Connector, Link, Use};
use super::settings::{CONNECT_MAX, POOL_WAIT_MAX};
use crate::store::error::StoreError;

/// Makes connections for the pool.
pub(super) struct Links(pub(super) Arc<Connector>);

impl Manager for Links {
    type Type = Link;
    type Error = StoreError;

    async fn create(&self) -> Result<Link, StoreError> {
        self.0.link(Use::Reads).await
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<StoreError> {
        if !self.0.is_current(link) {
            return Err(RecycleError::message(
                "the connection has ended, or its server was replaced",
            ));
        }
        Ok(())
    }
}

/// A pool of at most `max_count` connections.
pub(super) fn pool(connector: Arc<Connector>, max_count: usize) -> Result<Pool<Links>, StoreError> {
    let built = Pool::builder(Links(connector))
        .max_size(max_count)
        .wait_timeout(Some(POOL_WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX + CONNECT_MAX))
        .runtime(deadpool::Runtime::Tokio1)
        .build();
    built.map_err(|_| StoreError::Misused("a pool without a runtime"))
}

/// A free connection, waited for within the limit.
pub(super) async fn link(pool: &Pool<Links>) -> Result<Object<Links>, StoreError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(_) => StoreError::Away("all connections to the database are in use".into()),
        _ => StoreError::Away("the pool of connections is closed".into()),
    })
}
