//! The trait, once for both engines: which rule runs in which kind of connection.

use std::time::Duration;

use async_trait::async_trait;

use super::engine::{Engine, Value};
use super::{
    InstanceRow, KeyFilter, Lease, LookedUp, Revoked, Store, StoreError, keys, log, members, sql,
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

    async fn changes_after(&self, after: Sequence, limit: u32) -> Result<Vec<Change>, StoreError> {
        log::changes_after(&mut self.0.reader().await?, after, limit).await
    }

    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError> {
        self.0.register(id, lease).await
    }

    async fn renew(
        &self,
        id: InstanceId,
        applied: Sequence,
        lease: Duration,
    ) -> Result<Lease, StoreError> {
        self.0.renew(id, applied, lease).await
    }

    async fn acknowledge(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError> {
        let (sql, values) = log::acknowledgement(id, applied);
        self.0.write_instance(sql, values).await.map(Lease::of_rows)
    }

    async fn deregister(&self, id: InstanceId) -> Result<(), StoreError> {
        let values = vec![Value::text(id)];
        self.0.write_instance(sql::DEREGISTER, values).await?;
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        self.0.instances().await
    }

    async fn evict_if_expired(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.0.evict_if_expired(id).await
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
