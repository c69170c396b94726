//! The one door to the database: what genkan asks of it, behind one trait with two engines.
//!
//! Every promise of the trait holds on both, and one story in the tests runs over both. What only
//! one engine knows (NOTIFY, WAL, sockets) stays in its room.
//!
//! **Time.** A method that writes takes `now`. Leases are in no clock of the store: who waits for an
//! instance counts on its own clock how long that instance's row has not been renewed.
//!
//! **The log.** Triggers write it, not this code: plain SQL on the database cannot revoke a key
//! without telling every instance. Its counter is one row, whose lock a transaction holds to its
//! end: positions are gapless, in the order of the commits.

mod access_ends;
mod accounts;
mod audit;
mod database;
mod engine;
mod idempotency;
mod instances;
mod invitations;
mod keys;
mod lineage;
mod log;
mod management;
mod marks;
mod members;
pub mod postgres;
mod query;
mod rotations;
mod rows;
mod schema;
mod secrets;
mod sessions;
mod sql;
pub mod sqlite;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config;
use crate::model::change::{Change, Sequence};
use crate::model::clock::Timestamp;
use crate::model::id::InstanceId;
use crate::model::key::{Key, KeyHash};
use crate::model::member::{EmailAddress, Role};
pub use lineage::Beyond;
pub use management::{Management, SharedSecret};
pub use query::{
    AccessFilter, AuditPage, Created, Descendants, EndedAccess, Idempotency, KeyFilter, KeyOwner,
    KeyPage, KeyTraffic, ListedKey, ListedMember, ListedSession, MarkProgress, NewSession, Overlap,
    PageRequest, Reach, RevokedEverything, RevokedFamily, RoleChange, Rotation, Session,
};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached or opened, or did not answer in time. Says nothing about what was
    /// asked: never to be shown as "no such key".
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Nothing answered where it should be, when it was opened: it may come later.
    #[error("the store is unavailable: {0}")]
    Unreachable(String),
    /// There is none, and the caller did not ask for a new one.
    #[error(
        "there is no genkan database {0}; check the name, or create one there with `genkan init`"
    )]
    Absent(String),
    /// Another process holds it, for longer than the busy timeout.
    #[error("the database is locked by another process: {0}")]
    Locked(String),
    /// It answers, but takes no writes.
    #[error("the database is read-only: {0}")]
    ReadOnly(String),
    /// Its schema is newer than this binary knows.
    #[error(
        "the database was migrated by a newer genkan (schema {found}, this binary knows {known}): \
         run that version or a later one"
    )]
    Newer {
        /// The schema version in the database.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// What was asked for does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// What was to be created exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// A rule of the house forbids it.
    #[error("{0}")]
    Forbidden(String),
    /// An organization always has an owner.
    #[error("{0} is the last owner of the organization and stays; add another owner first")]
    LastOwner(EmailAddress),
    /// Who acts has lost the role by which it was allowed.
    #[error("your role was changed in this moment, and no longer allows this")]
    RoleLost,
    /// The key or the session by which somebody acts has ended.
    #[error("the key or the session by which this was asked for has ended in this moment")]
    AuthMethodEnded,
    /// A key would be more than the key with which it is made.
    #[error("{0}")]
    BeyondKey(Beyond),
    /// Not only the owner's own keys would end.
    #[error("keys of others come from this one, and would end with it")]
    OthersKeys,
    /// Somebody else changed it since the caller looked: look again.
    #[error("{0}")]
    Conflict(Conflict),
    /// A trigger that writes the revocation log is missing, disabled or altered: a revocation would
    /// be committed and reach nobody.
    #[error(
        "the database's {0}: revocations would reach no gateway. Put it back as it was when \
         genkan's migrations had run, or restore the schema from a backup"
    )]
    Unguarded(String),
    /// The store holds what genkan never writes.
    #[error("the database holds a value that genkan did not write: {0}")]
    Corrupt(String),
}

/// What was otherwise than the caller took it to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The key is revoked.
    #[error("the key is revoked by now")]
    KeyRevoked,
    /// The key's time is over.
    #[error("the key has expired by now")]
    KeyExpired,
    /// The key has a successor.
    #[error("the key is being replaced already")]
    KeyBeingReplaced,
    /// The key has another name.
    #[error("the key has another name by now")]
    KeyRenamed,
    /// The member has another role.
    #[error("the member's role is {0} by now")]
    RoleChanged(Role),
    /// The idempotency key stands for another request.
    #[error("this idempotency key was used for another request: take a new one for each request")]
    IdempotencyKeyReused,
}

/// What a look-up found, and as of when.
#[derive(Debug, Clone)]
pub struct LookedUp {
    /// The head of the log in the same snapshot: the answer holds all changes up to here.
    pub sequence: Sequence,
    /// The key, live or not. `None`: unknown. `revoked_at` is set, too, when its member was removed.
    pub key: Option<Key>,
}

/// What a change of keys left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Every instance must have applied the log up to here.
    pub sequence: Sequence,
    /// How many keys this call ended; 0: they were revoked before.
    pub keys: u64,
}

/// An instance's standing with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceRow {
    /// The process, since it last registered.
    pub id: InstanceId,
    /// How far it has applied the log.
    pub applied: Sequence,
    /// How often it has renewed its lease. A row whose number stays the same for longer than `lease`
    /// is one that may be evicted.
    pub renewals: i64,
    /// For how long each renewal holds.
    pub lease: Duration,
    /// Milliseconds since the last renewal, by the store's clock, which may jump: for people.
    pub renewed_ago_ms: i64,
    /// Somebody declared it gone; it must register anew.
    pub evicted: bool,
}

/// Every instance that is registered, in one snapshot with the head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// The head of the log.
    pub head: Sequence,
    /// See [`LogPage::history`].
    pub history: String,
    /// The instances.
    pub rows: Vec<InstanceRow>,
}

/// A part of the log, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The head of the log.
    pub head: Sequence,
    /// Which history of the database this is: PostgreSQL's timeline, which a standby that is promoted
    /// begins anew. Empty on SQLite.
    pub history: String,
    /// The store's wall clock.
    pub now: Timestamp,
    /// Whether a key of another format was ever imported.
    pub has_imported: bool,
    /// The entry at the position that was asked from, if the log has it.
    pub at: Option<Change>,
    /// The entries after it, in order.
    pub changes: Vec<Change>,
}

/// What applying one entry ended on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The entry.
    pub sequence: Sequence,
    /// How many open requests and streams were cut.
    pub streams_cut: u64,
    /// When this instance last accepted a request with what was revoked, if it remembers.
    pub last_accepted_at: Option<Timestamp>,
}

/// Whether an instance still stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Renewed: valid for its duration, from before the call.
    Renewed,
    /// The row is evicted or absent: register anew, with nothing remembered.
    Lost,
}

/// What genkan asks of a database.
#[async_trait]
pub trait Store: Send + Sync {
    // ---- the request's way ------------------------------------------------------------------

    /// The key with this hash and the head of the log, in one statement, by an index; on connections that
    /// serve nothing else.
    async fn look_up(&self, hash: &KeyHash) -> Result<LookedUp, StoreError>;

    /// How many look-ups run at a time; more wait for a connection. At least 1.
    fn lookups_at_once(&self) -> usize;

    // ---- the revocation's way ---------------------------------------------------------------

    /// The head of the log. Waits for no look-up and for no management.
    async fn head(&self) -> Result<Sequence, StoreError>;

    /// The head and the entries from `from` on, at most `limit` after it, in a fresh snapshot.
    async fn read_log(&self, from: Sequence, limit: u32) -> Result<LogPage, StoreError>;

    /// Writes the row of an instance that begins, under an id that was never used. Committed when it
    /// returns. Returns the head: the instance begins there with nothing remembered, and reads the
    /// log *after* this call before it answers anybody.
    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError>;

    /// Renews the lease and says how far the log is applied, unless the row is evicted or absent.
    /// Committed when it returns; the log is read *after* it.
    async fn renew(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError>;

    /// Says how far the log is applied, and what that ended, without touching the lease.
    async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError>;

    /// Removes the row: a clean end. Nobody waits for this instance any more.
    async fn deregister(&self, id: InstanceId) -> Result<(), StoreError>;

    /// Every instance that is registered, and the head.
    async fn instances(&self) -> Result<Instances, StoreError>;

    /// Declares an instance gone that has renewed exactly `renewals` times. True: it is evicted now,
    /// by this call. False: it has renewed since, is evicted already, or its row is gone.
    async fn evict(&self, id: InstanceId, renewals: i64) -> Result<bool, StoreError>;

    /// The instances' reports on the entries from `first` to `last`.
    async fn reports(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> Result<Vec<(InstanceId, Report)>, StoreError>;

    /// Revokes again what these entries revoked, where the database has it alive: it has lost them.
    /// Returns how many rows it changed.
    async fn reassert(&self, changes: &[Change], now: Timestamp) -> Result<u64, StoreError>;

    /// Returns when something may have been appended to the log since the last return, or after
    /// `at_most`. A hint: it may come late, early or twice, never as the only means. The first call
    /// returns at once. Meant for one follower: of two callers, one may wake later.
    async fn wait_for_change(&self, at_most: Duration);

    /// Whether a gateway can run on it: it takes writes, and keeps for each connection what is set there. Asked before
    /// [`Self::register`], and by `config check`.
    ///
    /// # Errors
    /// Why not, and what to change.
    async fn check_gateway(&self) -> Result<(), StoreError>;

    /// Whether the store answers at all, with what it calls itself (for people).
    async fn describe(&self) -> Result<String, StoreError>;

    /// Closes every connection; called once at the end.
    async fn close(&self);
}

/// What becomes of a database that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAbsent {
    /// It is created. Only for what begins a gateway: a mistyped name makes an empty database, in which no key is
    /// valid.
    Create,
    /// [`StoreError::Absent`].
    Refuse,
}

/// Opens the database and brings its schema up to date.
///
/// Several processes may do so at the same time.
///
/// # Errors
/// What does not work, with what to do about it; [`StoreError::Unguarded`] where the triggers that
/// write the log are not those that genkan made.
pub async fn open(
    config: &config::Store,
    absent: WhenAbsent,
) -> Result<Arc<dyn Management>, StoreError> {
    match config {
        config::Store::Sqlite { path } => {
            sqlite::open(path, sqlite::BUSY_TIMEOUT_DEFAULT, absent).await
        }
        config::Store::Postgres {
            url,
            connections_max,
        } => postgres::open(url, *connections_max, absent).await,
    }
}
