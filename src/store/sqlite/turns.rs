//! Whose turn it is to write.
//!
//! One connection writes, and lends itself first come, first served. On a slow disk a queue of writers would
//! make the follower wait until its lease is over. So everybody but the follower takes a turn before they
//! queue for the connection, and keeps it until they have committed: the follower meets one of them there.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::errors::explain;
use crate::store::StoreError;

/// A right to write; given back when dropped.
pub(super) type Turn = OwnedSemaphorePermit;

/// One turn at a time.
pub(super) struct Turns {
    turns: Arc<Semaphore>,
    /// The longest wait for one.
    patience: Duration,
}

impl Turns {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(1)),
            patience,
        }
    }

    /// First come, first served.
    pub(super) async fn next(&self) -> Result<Turn, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match timeout(self.patience, turn).await {
            Ok(turn) => turn.map_err(|_closed| explain(sqlx::Error::PoolClosed)),
            Err(_elapsed) => Err(explain(sqlx::Error::PoolTimedOut)),
        }
    }
}

/// A transaction, and the turn by which it was begun; none: the follower's. Dropped, it is rolled back.
pub(super) struct Write {
    // In this order: the turn is over when the connection is on its way back.
    transaction: Transaction<'static, Sqlite>,
    _turn: Option<Turn>,
}

impl Write {
    pub(super) fn new(transaction: Transaction<'static, Sqlite>, turn: Option<Turn>) -> Self {
        Self {
            transaction,
            _turn: turn,
        }
    }

    /// Commits; then the turn is over.
    pub(super) async fn commit(self) -> sqlx::Result<()> {
        let Self { transaction, _turn } = self;
        transaction.commit().await
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::SqliteEngine;
    use super::super::open;
    use crate::model::change::Sequence;
    use crate::model::clock::Timestamp;
    use crate::model::id::InstanceId;
    use crate::model::random::SystemEntropy;
    use crate::store::engine::Engine as _;

    use super::*;

    /// As many as the management API lets write at once, and more.
    const WRITERS: u32 = 63;

    async fn write(engine: &SqliteEngine, written: &AtomicU32) {
        let transaction = engine.begin().await.unwrap();
        engine.commit(transaction).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn a_renewal_waits_for_one_write_at_most_however_many_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genkan.db");
        let engine = Arc::new(open::engine(&path, Duration::from_secs(5)).await.unwrap());
        let id = InstanceId::generate(Timestamp::from_millis(0), &SystemEntropy);
        let lease = Duration::from_secs(3);
        engine.register(id, lease).await.unwrap();

        let written = Arc::new(AtomicU32::new(0));
        let first = engine.begin().await.unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (engine, written) = (Arc::clone(&engine), Arc::clone(&written));
                tokio::spawn(async move { write(&engine, &written).await })
            })
            .collect();
        let follower = {
            let (engine, written) = (Arc::clone(&engine), Arc::clone(&written));
            tokio::spawn(async move {
                engine.renew(id, Sequence::ZERO).await.unwrap();
                let at_renewal = written.load(Ordering::Relaxed);
                engine.acknowledge(id, Sequence::ZERO, &[]).await.unwrap();
                (at_renewal, written.load(Ordering::Relaxed))
            })
        };
        // One thread: everybody queues before the first one commits.
        tokio::task::yield_now().await;
        engine.commit(first).await.unwrap();

        let (at_renewal, at_acknowledgement) = follower.await.unwrap();
        assert!(at_renewal <= 1, "{at_renewal} wrote before the renewal");
        assert!(
            at_acknowledgement <= 3,
            "{at_acknowledgement} wrote before the acknowledgement"
        );
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(written.load(Ordering::Relaxed), WRITERS);
    }

    #[tokio::test]
    async fn a_writer_that_leaves_gives_its_turn_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genkan.db");
        let engine = open::engine(&path, Duration::from_millis(100))
            .await
            .unwrap();
        let first = engine.begin().await.unwrap();
        let refused = engine.begin().await.err();
        assert!(
            matches!(refused, Some(StoreError::Locked(_))),
            "{refused:?}"
        );
        drop(first);
        let second = engine.begin().await.unwrap();
        engine.commit(second).await.unwrap();
    }
}
