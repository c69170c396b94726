//! The keys under check: what each of them may still do, and who has already seen what.

use std::sync::atomic::{AtomicU32, Ordering};

use genkan::model::id::KeyId;

use super::time::Moment;

/// A key, and the few moments that decide what is right.
#[derive(Debug)]
pub struct CheckedKey {
    pub id: KeyId,
    pub plain: String,
    /// Before the revocation was asked for: nobody may refuse it earlier.
    pub revoking: Moment,
    /// When its receipt was in hand: whatever begins later is refused.
    pub returned: Moment,
    /// For each gateway, when it first refused the key.
    refused: Vec<Moment>,
    /// A bit for each gateway that accepted the key.
    accepted: AtomicU32,
    /// A bit for each gateway that answered a request that began after the receipt.
    asked_after: AtomicU32,
}

impl CheckedKey {
    pub fn new(id: KeyId, plain: String, gateways: usize) -> Self {
        Self {
            id,
            plain,
            revoking: Moment::default(),
            returned: Moment::default(),
            refused: (0..gateways).map(|_| Moment::default()).collect(),
            accepted: AtomicU32::new(0),
            asked_after: AtomicU32::new(0),
        }
    }

    pub fn refused(&self, gateway: usize) -> &Moment {
        &self.refused[gateway]
    }

    /// True the first time.
    pub fn is_accepted_by(&self, gateway: usize) -> bool {
        mark(&self.accepted, gateway)
    }

    /// True the first time.
    pub fn is_asked_for_after(&self, gateway: usize) -> bool {
        mark(&self.asked_after, gateway)
    }

    pub fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn asked_after(&self) -> u32 {
        self.asked_after.load(Ordering::SeqCst)
    }
}

fn mark(bits: &AtomicU32, gateway: usize) -> bool {
    let bit = 1 << gateway;
    bits.fetch_or(bit, Ordering::SeqCst) & bit == 0
}
