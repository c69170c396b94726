//! The traits, once for both engines: which rule runs in which kind of connection.

mod management;

use std::time::Duration;

use async_trait::async_trait;

use super::engine::{Engine, Value};
use super::{Instances, Lease, LogPage, LookedUp, Report, Store, StoreError, instances, log};
use crate::model::change::{Change, Sequence};
use crate::model::clock::Timestamp;
use crate::model::id::InstanceId;
use crate::model::key::KeyHash;

/// A store on one of the engines.
pub(super) struct Database<E>(pub(super) E);

/// Runs a rule in a transaction of its own. An error, or a caller that no longer waits, rolls back.
macro_rules! write {
    ($engine:expr, $rule:path $(, $argument:expr)*) => {{
        let mut transaction = $engine.begin().await?;
        let written = $rule(&mut transaction $(, $argument)*).await?;
        $engine.commit(transaction).await?;
        Ok(written)
    }};
}

use write;

#[async_trait]
impl<E: Engine> Store for Database<E> {
    async fn look_up(&self, hash: &KeyHash) -> Result<LookedUp, StoreError> {
        log::look_up(&mut self.0.lookup_reader().await?, hash).await
    }

    fn lookups_at_once(&self) -> usize {
        self.0.lookups_at_once()
    }

    async fn head(&self) -> Result<Sequence, StoreError> {
        log::head(&mut self.0.probe_reader().await?).await
    }

    async fn read_log(&self, from: Sequence, limit: u32) -> Result<LogPage, StoreError> {
        self.0.read_log(from, limit).await
    }

    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError> {
        self.0.register(id, lease).await
    }

    async fn renew(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError> {
        self.0.renew(id, applied).await
    }

    async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError> {
        self.0.acknowledge(id, applied, reports).await
    }

    async fn deregister(&self, id: InstanceId) -> Result<(), StoreError> {
        let values = vec![Value::text(id)];
        self.0.write_instance(instances::DEREGISTER, values).await?;
        Ok(())
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        self.0.instances().await
    }

    async fn evict(&self, id: InstanceId, renewals: i64) -> Result<bool, StoreError> {
        let values = vec![Value::text(id), renewals.into()];
        let evicted = self.0.write_instance(instances::EVICT, values).await?;
        Ok(evicted > 0)
    }

    async fn reports(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> Result<Vec<(InstanceId, Report)>, StoreError> {
        instances::reports(&mut self.0.reports_reader().await?, first, last).await
    }

    async fn reassert(&self, changes: &[Change], now: Timestamp) -> Result<u64, StoreError> {
        write!(self.0, log::reassert, changes, now)
    }

    async fn wait_for_change(&self, at_most: Duration) {
        self.0.wait_for_change(at_most).await;
    }

    async fn check_gateway(&self) -> Result<(), StoreError> {
        self.0.check_gateway().await
    }

    async fn describe(&self) -> Result<String, StoreError> {
        self.0.describe().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

impl Lease {
    /// By how many rows an UPDATE found that was for one instance that is not evicted.
    pub(super) const fn of_rows(changed: u64) -> Self {
        if changed == 0 {
            Self::Lost
        } else {
            Self::Renewed
        }
    }
}
