//! What is remembered of keys, and whether a key of another system can be known at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use foldhash::quality::RandomState;

use super::authenticate::{Answer, Refused};
use super::caller::Caller;
use super::lookups::Budget;
use crate::config::limits::Limits;
use crate::model::change::Sequence;
use crate::model::clock::BootInstant;
use crate::model::key::KeyHash;
use crate::model::principal::Principal;

type RejectedKeys = moka::sync::Cache<KeyHash, (Refused, Sequence), RandomState>;

/// The cache of keys. Keyed by the whole hash through a hasher with a random seed: callers
/// choose what they present, and could otherwise choose where it falls.
pub(super) struct KeyCache {
    pub(super) known: moka::sync::Cache<KeyHash, Arc<Caller>, RandomState>,
    pub(super) rejected: RejectedKeys,
    /// Of keys that were not presented in our format: anybody who invents such keys drives no other out.
    pub(super) rejected_foreign: RejectedKeys,
    /// Whether keys of other systems were imported.
    pub(super) imported: Imported,
}

impl KeyCache {
    pub(super) fn new(limits: &Limits) -> Self {
        let rejected = |capacity| {
            moka::sync::Cache::builder()
                .max_capacity(capacity)
                .build_with_hasher(RandomState::default())
        };
        Self {
            known: moka::sync::Cache::builder()
                .max_capacity(limits.cache_keys_max)
                .build_with_hasher(RandomState::default()),
            rejected: rejected(limits.cache_unknown_max),
            rejected_foreign: rejected(limits.cache_unknown_imported_max),
            imported: Imported::default(),
        }
    }

    pub(super) fn get(&self, hash: &KeyHash, budget: Budget) -> Option<Answer> {
        if let Some(caller) = self.known.get(hash) {
            return Some(Answer::Known(caller));
        }
        self.rejected_in(budget)
            .get(hash)
            .map(|(refused, as_of)| Answer::Rejected { refused, as_of })
    }

    pub(super) fn insert(&self, hash: KeyHash, budget: Budget, answer: &Answer) {
        match answer {
            Answer::Known(caller) => {
                if budget == Budget::Imported {
                    // Seen with one's own eyes, perhaps before the follower reads of it.
                    self.imported.learn(true);
                }
                self.rejected_in(budget).invalidate(&hash);
                self.known.insert(hash, Arc::clone(caller));
            }
            Answer::Rejected { refused, as_of } => {
                self.known.invalidate(&hash);
                self.rejected_in(budget).insert(hash, (*refused, *as_of));
            }
        }
    }

    /// Forgets the callers that `whose` picks. One that comes in meanwhile is forbidden by the tombstone.
    pub(super) fn forget(&self, whose: impl Fn(&Principal) -> bool) {
        for (hash, caller) in &self.known {
            if whose(caller.principal()) {
                self.known.invalidate(&*hash);
            }
        }
    }

    /// When a request was last accepted of those callers that `whose` picks.
    pub(super) fn accepted(&self, whose: impl Fn(&Principal) -> bool) -> Option<BootInstant> {
        let theirs = self
            .known
            .iter()
            .filter(|(_, caller)| whose(caller.principal()));
        theirs.filter_map(|(_, caller)| caller.accepted()).max()
    }

    fn rejected_in(&self, budget: Budget) -> &RejectedKeys {
        match budget {
            Budget::Own | Budget::Remembered => &self.rejected,
            Budget::Imported => &self.rejected_foreign,
        }
    }
}

/// Whether a key of another system was ever imported: while none was, a key that looks like one is
/// unknown for certain. It is learned from the snapshot of the log that is read after the lease was
/// written, so it holds for as long as the lease does: the first import is an entry of the log, which
/// this instance acknowledges only when it knows, or else it is fenced.
#[derive(Debug, Default)]
pub(super) struct Imported(AtomicU8);

/// Nothing is known: the store has to be asked.
const NOT_KNOWN: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;

impl Imported {
    /// What a snapshot says. Of one database it never goes back: an older snapshot changes nothing.
    pub(super) fn learn(&self, has_imported: bool) {
        if has_imported {
            self.0.store(SOME, Ordering::Release);
        } else {
            // Whatever else is known is newer.
            let _known =
                self.0
                    .compare_exchange(NOT_KNOWN, NONE, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// The database may be another one: it is learned anew.
    pub(super) fn forget(&self) {
        self.0.store(NOT_KNOWN, Ordering::Release);
    }

    /// Whether the store has to be asked about a key that is not in our format. To be read *before* the
    /// lease is looked at.
    pub(super) fn may_exist(&self) -> bool {
        self.0.load(Ordering::Acquire) != NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_was_imported_is_believed_until_something_was_and_not_before_it_was_said() {
        let imported = Imported::default();
        assert!(imported.may_exist(), "nothing is known yet");
        imported.learn(false);
        assert!(!imported.may_exist());
        imported.learn(true);
        imported.learn(false);
        assert!(imported.may_exist(), "an older snapshot takes nothing back");
        imported.forget();
        assert!(imported.may_exist(), "another database may have some");
        imported.learn(false);
        assert!(!imported.may_exist(), "it has none");
    }
}
