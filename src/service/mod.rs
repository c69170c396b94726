//! The management rules, free of HTTP: what the command line, and later the API and the console, may
//! do to organisations, members and keys.
//!
//! A change is written by the store and then *settled* ([`Service::settle`]): who calls gets a
//! [`Receipt`] once every gateway obeys it. `service` touches no cache.

pub mod access;
pub mod acting;
mod audit;
mod error;
mod keys;
mod people;
mod rotation;
mod service_accounts;
mod sessions;
pub mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use crate::invalidation::receipt::{self, Receipt, SettleError};
use crate::model::audit::{Act, Action, Actor, Deed, Means};
use crate::model::change::Sequence;
use crate::model::clock::{Clock, Timestamp};
use crate::model::id::{KeyId, OrganizationId};
use crate::model::random::Entropy;
use crate::store::Management;
pub use audit::AuditVerdict;
pub use error::ServiceError;
pub use keys::{ImportedKey, KEY_LIFETIME_MAX, KeyList, NewKey, RevokedKey};
pub use people::{NewMember, RemovedMember};
pub use rotation::{OVERLAP_DEFAULT, OVERLAP_MAX, RotatedKey, RotationOverlap, SILENCE_MIN};
pub use service_accounts::NewServiceAccount;
pub use sessions::SessionList;

/// How long a change may take to reach every gateway: above the longest lease (60 s), after which a
/// silent instance is evicted, there is nothing more to wait for.
pub const SETTLE_AT_MOST: Duration = Duration::from_secs(65);

/// How long a creation through the API or the console waits for every gateway: above the time of healthy ones
/// by far, and below what browsers and proxies wait for.
pub const SETTLE_CREATION_AT_MOST: Duration = Duration::from_secs(5);

/// A revocation that is committed, and to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// The first of its entries in the log; of most the only one.
    pub first: Sequence,
    /// Its place in the log: the last of its entries.
    pub sequence: Sequence,
    /// Whose keys ended; none: everybody's.
    pub organization: Option<OrganizationId>,
    /// It had been revoked before: this is the wait again, on the log's head, and no deed.
    pub repeated: bool,
}

/// The rules, over a store. Whoever has one is the operator: what members may do is [`acting::Acting`].
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

    /// Waits until every gateway obeys the log up to `sequence`, at most [`SETTLE_AT_MOST`].
    pub async fn settle(&self, sequence: Sequence) -> Result<Receipt, SettleError> {
        receipt::settle(&*self.store, &*self.clock, sequence, SETTLE_AT_MOST).await
    }

    /// Waits until every gateway knows what was created, at most [`SETTLE_CREATION_AT_MOST`]: whoever made it
    /// waits for a text that is shown once. A gateway that does not know it by then looks it up a moment later.
    pub async fn settle_creation(&self, sequence: Sequence) {
        let at_most = SETTLE_CREATION_AT_MOST;
        let settled = receipt::settle(&*self.store, &*self.clock, sequence, at_most).await;
        if let Err(error) = settled {
            tracing::warn!(%error, "what was created may be unknown to a gateway for a moment");
        }
    }

    /// Waits until every gateway obeys a revocation, and writes the receipt to the audit log.
    ///
    /// # Errors
    /// [`ServiceError::Unsettled`]: committed, and not confirmed.
    pub async fn settle_revocation(&self, revocation: Revocation) -> Result<Receipt, ServiceError> {
        self.settle_as(revocation, &self.act()).await
    }

    async fn settle_as(&self, revocation: Revocation, act: &Act) -> Result<Receipt, ServiceError> {
        let entries = (revocation.first, revocation.sequence);
        let settled = receipt::settle_all(&*self.store, &*self.clock, entries, SETTLE_AT_MOST);
        let receipt = settled.await?;
        if revocation.repeated {
            // What instances told of the head is of whatever stands there.
            return Ok(receipt.without_reports());
        }
        let deed = Deed {
            organization: revocation.organization,
            action: Action::RevocationSettled,
            subject: revocation.sequence.to_string(),
            details: serde_json::to_value(&receipt).unwrap_or_default(),
        };
        let act = Act {
            at: self.clock.now(),
            ..act.clone()
        };
        // The receipt holds whether or not it could be written down.
        if let Err(error) = self.store.record(&deed, &act).await {
            tracing::warn!(%error, "could not write a receipt to the audit log");
        }
        Ok(receipt)
    }

    /// Ends keys that were replaced and that nobody has used for as long as their rotation says; which.
    /// `told_since`: since when gateways' tellings are known to be without a gap.
    ///
    /// # Errors
    /// The store's; nothing is ended then.
    pub async fn end_silent_keys(&self, told_since: Timestamp) -> Result<Vec<KeyId>, ServiceError> {
        let act = Act {
            at: self.clock.now(),
            actor: Actor::System,
            means: Means::Gateway,
            address: None,
        };
        Ok(self.store.end_silent_keys(told_since, &act).await?)
    }

    /// What the operator does now.
    fn act(&self) -> Act {
        Act::of_operator(self.clock.now())
    }
}
