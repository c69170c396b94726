//! The management rules, free of HTTP: what the command line, and later the API and the console, may
//! do to organizations, members and keys.
//!
//! The store writes a change; then [`Service::wait_for_acknowledgements`] waits for the gateways. The caller gets a
//! [`Receipt`] once every gateway has acknowledged it. `service` touches no cache.

pub mod access;
mod audit;
mod error;
mod keys;
pub mod member_context;
mod people;
mod rotation;
mod service_accounts;
mod sessions;
pub mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use crate::invalidation::receipt::{self, Receipt, ReceiptError};
use crate::model::audit::{Action, Actor, AuditContext, AuditEvent, AuthMethod};
use crate::model::change::Sequence;
use crate::model::clock::{Clock, Timestamp};
use crate::model::id::{KeyId, OrganizationId};
use crate::model::random::Entropy;
use crate::store::Management;
pub use audit::AuditVerdict;
pub use error::ServiceError;
pub use keys::{ImportedKey, KEY_LIFETIME_MAX, KeyList, NewKey, RevokedKey};
pub use people::{NewMember, RemovedMember};
pub use rotation::{IDLE_TIME_MIN, OVERLAP_DEFAULT, OVERLAP_MAX, RotatedKey, RotationOverlap};
pub use service_accounts::NewServiceAccount;
pub use sessions::SessionList;

/// How long a change may take to reach every gateway: above the longest lease (60 s), after which a
/// silent instance is evicted, there is nothing more to wait for.
pub const ACKNOWLEDGEMENTS_TIMEOUT: Duration = Duration::from_secs(65);

/// How long a creation through the API or the console waits for every gateway: above the time of healthy ones
/// by far, and below what browsers and proxies wait for.
pub const CREATION_ACKNOWLEDGEMENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// A revocation that is committed, and has to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// The first of its entries in the log; of most the only one.
    pub first: Sequence,
    /// Its place in the log: the last of its entries.
    pub sequence: Sequence,
    /// Whose keys ended. `None`: everybody's.
    pub organization: Option<OrganizationId>,
    /// It had been revoked before: this is the wait again, on the log's head, and no deed.
    pub repeated: bool,
}

/// The rules, over a store. Code that has one acts as the operator: what members may do is
/// [`member_context::MemberContext`].
#[derive(Clone)]
pub struct Service {
    store: Arc<dyn Management>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Service {
    /// The rules over `store`.
    pub fn new(
        store: Arc<dyn Management>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            store,
            clock,
            entropy,
        }
    }

    /// The wall clock, by which a key is live or expired.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits until every gateway has acknowledged the log up to `sequence`, at most [`ACKNOWLEDGEMENTS_TIMEOUT`].
    pub async fn wait_for_acknowledgements(
        &self,
        sequence: Sequence,
    ) -> Result<Receipt, ReceiptError> {
        receipt::wait_for_acknowledgements(
            &*self.store,
            &*self.clock,
            sequence,
            ACKNOWLEDGEMENTS_TIMEOUT,
        )
        .await
    }

    /// Waits until every gateway knows what was created, at most [`CREATION_ACKNOWLEDGEMENTS_TIMEOUT`]: anybody who
    /// made it waits for a text that is shown once. A gateway that does not know it by then looks it up a moment later.
    pub async fn wait_for_creation(&self, sequence: Sequence) {
        let at_most = CREATION_ACKNOWLEDGEMENTS_TIMEOUT;
        let settled =
            receipt::wait_for_acknowledgements(&*self.store, &*self.clock, sequence, at_most).await;
        if let Err(error) = settled {
            tracing::warn!(%error, "what was created may be unknown to a gateway for a moment");
        }
    }

    /// Waits until every gateway has acknowledged a revocation, and writes the receipt to the audit log.
    ///
    /// # Errors
    /// [`ServiceError::Unconfirmed`]: committed, and not confirmed.
    pub async fn confirm_revocation(
        &self,
        revocation: Revocation,
    ) -> Result<Receipt, ServiceError> {
        self.confirm_as(revocation, &self.audit_context()).await
    }

    async fn confirm_as(
        &self,
        revocation: Revocation,
        audit_context: &AuditContext,
    ) -> Result<Receipt, ServiceError> {
        let entries = (revocation.first, revocation.sequence);
        let settled = receipt::wait_for_all_acknowledgements(
            &*self.store,
            &*self.clock,
            entries,
            ACKNOWLEDGEMENTS_TIMEOUT,
        );
        let receipt = settled.await?;
        if revocation.repeated {
            // The reports of the head belong to the entry there, which is another change.
            return Ok(receipt.without_reports());
        }
        let audit_event = AuditEvent {
            organization: revocation.organization,
            action: Action::RevocationConfirmed,
            subject: revocation.sequence.to_string(),
            details: serde_json::to_value(&receipt).unwrap_or_default(),
        };
        let audit_context = AuditContext {
            at: self.clock.now(),
            ..audit_context.clone()
        };
        // The receipt holds whether or not it could be written down.
        if let Err(error) = self.store.record(&audit_event, &audit_context).await {
            tracing::warn!(%error, "could not write a receipt to the audit log");
        }
        Ok(receipt)
    }

    /// Ends keys that were replaced and that nobody has used for as long as their rotation says; which.
    /// `usage_complete_since`: since when gateways' tellings are known to be without a gap.
    ///
    /// # Errors
    /// The store's; nothing is ended then.
    pub async fn end_idle_keys(
        &self,
        usage_complete_since: Timestamp,
    ) -> Result<Vec<KeyId>, ServiceError> {
        let audit_context = AuditContext {
            at: self.clock.now(),
            actor: Actor::System,
            auth_method: AuthMethod::Gateway,
            address: None,
        };
        Ok(self
            .store
            .end_idle_keys(usage_complete_since, &audit_context)
            .await?)
    }

    /// What the operator does now.
    fn audit_context(&self) -> AuditContext {
        AuditContext::of_operator(self.clock.now())
    }
}
