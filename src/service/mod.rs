//! The management rules, free of HTTP: what the command line, and later the API and the console, may
//! do to organisations, members and keys.
//!
//! A change is written by the store and then *settled* ([`Service::settle`]): who calls gets a
//! [`Receipt`] once every gateway obeys it. `service` touches no cache.

mod error;
mod keys;
mod people;

use std::sync::Arc;
use std::time::Duration;

use crate::invalidation::receipt::{self, Receipt, SettleError};
use crate::model::change::Sequence;
use crate::model::clock::{Clock, Timestamp};
use crate::model::random::Entropy;
use crate::store::Store;
pub use error::ServiceError;
pub use keys::{ImportedKey, KeyList, NewKey, RevokedKey};
pub use people::{NewMember, RemovedMember};

/// How long a change may take to reach every gateway: above the longest lease (60 s), after which a
/// silent instance is evicted, there is nothing more to wait for.
pub const SETTLE_AT_MOST: Duration = Duration::from_secs(65);

/// The rules, over a store.
#[derive(Clone)]
pub struct Service {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Service {
    /// The rules over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
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
}
