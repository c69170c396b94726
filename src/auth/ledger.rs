//! The one race of a revocation, by itself: who looks whether anything happened, and who writes that it
//! did.
//!
//! A reader looks at one number; only when it is newer than what the reader knows, at the marks. The
//! writer puts the mark in place first and raises the number after it: a reader that sees the number sees the
//! mark. A reader that missed the number was there before the writer notified anybody, and is found by the
//! scan that follows the mark. The file imports nothing but [`super::sync`], so that a test runs these
//! very lines through every interleaving.

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock};

/// Marks, and the newest sequence that any of them has.
pub(super) struct Ledger<M> {
    newest: AtomicU64,
    marks: RwLock<M>,
}

impl<M> Ledger<M> {
    pub(super) fn new(marks: M) -> Self {
        Self {
            newest: AtomicU64::new(0),
            marks: RwLock::new(marks),
        }
    }

    /// The newest sequence.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Reads the marks, if there are newer ones than `as_of`; else says how new they are, after one
    /// atomic load.
    pub(super) fn since<T>(&self, as_of: u64, read: impl FnOnce(&M) -> T) -> Result<T, u64> {
        let newest = self.newest();
        if as_of >= newest {
            return Err(newest);
        }
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        Ok(read(&marks))
    }

    /// Reads the marks, whatever is known.
    pub(super) fn read<T>(&self, read: impl FnOnce(&M) -> T) -> T {
        read(&self.marks.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters marks up to `sequence`. They are in force when this returns.
    pub(super) fn enter(&self, sequence: u64, write: impl FnOnce(&mut M)) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        write(&mut marks);
        drop(marks);
        self.newest.fetch_max(sequence, Ordering::AcqRel);
    }
}
