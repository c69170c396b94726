//! The trait, once for both engines: which rule runs in which kind of connection.

use std::time::Duration;

use async_trait::async_trait;

use super::engine::{Engine, Value};
use super::{
    Instances, KeyFilter, Lease, LogPage, LookedUp, Report, Revoked, Store, StoreError, keys, log,
    members, sql,
};
use crate::model::change::{Change, Sequence};
use crate::model::clock::Timestamp;
use crate::model::id::{InstanceId, KeyId, MembershipId, OrganizationId};
use crate::model::key::{Key, KeyHash};
use crate::model::member::{EmailAddress, Member, Organization};

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

#[async_trait]
impl<E: Engine> Store for Database<E> {
    async fn look_up(&self, hash: &KeyHash) -> Result<LookedUp, StoreError> {
        log::look_up(&mut self.0.reader().await?, hash).await
    }

    async fn head(&self) -> Result<Sequence, StoreError> {
        log::head(&mut self.0.reader().await?).await
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
        self.0.write_instance(sql::DEREGISTER, values).await?;
        Ok(())
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        self.0.instances().await
    }

    async fn evict(&self, id: InstanceId, renewals: i64) -> Result<bool, StoreError> {
        let values = vec![Value::text(id), renewals.into()];
        let evicted = self.0.write_instance(sql::EVICT, values).await?;
        Ok(evicted > 0)
    }

    async fn reports(&self, sequence: Sequence) -> Result<Vec<(InstanceId, Report)>, StoreError> {
        log::reports(&mut self.0.reader().await?, sequence).await
    }

    async fn reassert(&self, changes: &[Change], now: Timestamp) -> Result<u64, StoreError> {
        write!(self.0, log::reassert, changes, now)
    }

    async fn wait_for_change(&self, at_most: Duration) {
        self.0.wait_for_change(at_most).await;
    }

    async fn create_organization(&self, organization: &Organization) -> Result<(), StoreError> {
        write!(self.0, members::create_organization, organization)
    }

    async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
        members::organizations(&mut self.0.reader().await?).await
    }

    async fn add_member(&self, member: &Member) -> Result<Member, StoreError> {
        write!(self.0, members::add, member)
    }

    async fn members(&self, of: Option<OrganizationId>) -> Result<Vec<Member>, StoreError> {
        members::list(&mut self.0.reader().await?, of).await
    }

    async fn members_by_email(&self, email: &EmailAddress) -> Result<Vec<Member>, StoreError> {
        members::by_email(&mut self.0.reader().await?, email).await
    }

    async fn remove_member(
        &self,
        membership: MembershipId,
        now: Timestamp,
    ) -> Result<Revoked, StoreError> {
        write!(self.0, members::remove, membership, now)
    }

    async fn create_key(&self, key: &Key) -> Result<Sequence, StoreError> {
        write!(self.0, keys::create, key)
    }

    async fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        keys::get(&mut self.0.reader().await?, id).await
    }

    async fn keys(&self, filter: KeyFilter) -> Result<Vec<Key>, StoreError> {
        keys::list(&mut self.0.reader().await?, filter).await
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<Revoked, StoreError> {
        write!(self.0, keys::revoke, id, now)
    }

    async fn revoke_everything(
        &self,
        of: Option<OrganizationId>,
        now: Timestamp,
    ) -> Result<Revoked, StoreError> {
        write!(self.0, log::revoke_everything, of, now)
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
