//! Who has not renewed its lease for longer than it lasts: counted here, on this process's own clock.
//!
//! A renewal that is seen in an answer committed before the answer came, and the instance measures its
//! lease from before it asked for that renewal. So a count that begins *after* the answer came ends
//! after the instance's own, whatever any wall clock says. An eviction then names the renewal that was
//! seen: a later one defeats it.

use std::collections::HashMap;

use crate::model::clock::BootInstant;
use crate::model::id::InstanceId;
use crate::store::InstanceRow;

/// The renewals that were seen, and since when.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<InstanceId, (i64, BootInstant)>,
}

impl Observer {
    /// Takes note of `rows`, and returns those that may be evicted, with their number of renewals.
    /// `now` must be read after the rows had arrived.
    pub fn overdue(&mut self, rows: &[InstanceRow], now: BootInstant) -> Vec<(InstanceId, i64)> {
        self.seen
            .retain(|id, _| rows.iter().any(|row| row.id == *id));
        let mut overdue = Vec::new();
        for row in rows.iter().filter(|row| !row.evicted) {
            let (renewals, since) = self.seen.entry(row.id).or_insert((row.renewals, now));
            if *renewals != row.renewals {
                (*renewals, *since) = (row.renewals, now);
            } else if now.since(*since) >= row.lease {
                overdue.push((row.id, row.renewals));
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::change::Sequence;
    use crate::model::clock::Timestamp;
    use crate::model::random::SystemEntropy;

    fn row(renewals: i64) -> InstanceRow {
        InstanceRow {
            id: InstanceId::generate(Timestamp::from_millis(0), &SystemEntropy),
            applied: Sequence::ZERO,
            renewals,
            lease: Duration::from_secs(3),
            renewed_ago_ms: 3_600_000,
            evicted: false,
        }
    }

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn an_instance_is_overdue_when_it_was_seen_without_a_renewal_for_its_whole_lease() {
        let (mut observer, mut row) = (Observer::default(), row(7));
        // Whatever the store's clock says of its last renewal: the count begins here.
        assert!(observer.overdue(&[row], at(10)).is_empty());
        assert!(observer.overdue(&[row], at(12)).is_empty());
        assert_eq!(observer.overdue(&[row], at(13)), [(row.id, 7)]);
        row.renewals = 8;
        assert!(observer.overdue(&[row], at(14)).is_empty());
        assert!(observer.overdue(&[row], at(16)).is_empty());
        assert_eq!(observer.overdue(&[row], at(17)), [(row.id, 8)]);
    }

    #[test]
    fn who_is_evicted_is_not_evicted_again_and_who_is_gone_is_forgotten() {
        let (mut observer, mut row) = (Observer::default(), row(1));
        assert!(observer.overdue(&[row], at(0)).is_empty());
        row.evicted = true;
        assert!(observer.overdue(&[row], at(9)).is_empty());
        assert!(observer.overdue(&[], at(10)).is_empty());
        assert!(observer.seen.is_empty());
    }
}
