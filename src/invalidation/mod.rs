//! How a revocation reaches every instance.
//!
//! A revocation is written with its log entry in one transaction. Each gateway process *follows* the
//! log ([`follower`]): it writes its lease, reads the log, applies what is new to whatever remembers
//! keys ([`Invalidate`]), cuts what is open, and only then acknowledges. The caller who revoked waits until
//! every registered instance has acknowledged, deregistered, or was evicted ([`receipt::wait_for_acknowledgements`]),
//! and has then a receipt: no request that begins later is accepted with that key.
//!
//! An instance that cannot renew its lease answers 503 when the lease is over ([`lease::Lease`]); it
//! measures that from *before* it asked, on a clock that goes on in suspend, less a margin for clock
//! drift. A process that wants to evict it counts from *after* it saw the last renewal, on a clock of its own
//! ([`observer`]). So the instance's own view of its lease always ends first, and no clock of a
//! database is asked.

pub mod follower;
pub mod lease;
pub mod observer;
pub mod progress;
pub mod receipt;

use async_trait::async_trait;

use crate::model::change::{Change, Sequence};
use crate::model::clock::Timestamp;
use crate::store::Report;

/// What remembers keys and must forget them. Implemented by the authenticator's cache; `server` ties
/// the two.
#[async_trait]
pub trait Invalidate: Send + Sync {
    /// From the return of this call on, no request is admitted against `change`, and no chunk of an
    /// open one passes. Returns when a request was last accepted with what it revokes, if known.
    fn apply(&self, change: &Change) -> Option<Timestamp>;

    /// Nothing that was learned before `head` may be used any more, whether keys were imported included.
    fn forget_before(&self, head: Sequence);

    /// Whether a key of another format was ever imported, in a snapshot of the log. Called for every page
    /// that is read, before its entries are applied and acknowledged: so it is as fresh as the lease, and
    /// an import that was acknowledged is known.
    fn learn_has_imported(&self, has_imported: bool);

    /// Looks at every open request again: what was revoked is cut, what was frozen and may go on goes
    /// on, what can no longer be judged is looked up anew. Returns what was cut, by log entry. Bounded
    /// in time: a worker that does not answer is not waited for, as no chunk passes there anyway.
    async fn sweep(&self) -> Vec<Report>;

    /// The revocations that are still remembered, oldest first: they are repeated to a database that lost
    /// them.
    fn revocations(&self) -> Vec<Change>;
}
