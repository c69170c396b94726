//! A map that forgets its oldest entry rather than grow.

use std::collections::{HashMap, VecDeque};

/// At most `entries_max` entries; one more drops the one that was put in first.
#[derive(Debug)]
pub(super) struct Bounded<V> {
    entries: HashMap<String, V>,
    order: VecDeque<String>,
    entries_max: usize,
}

impl<V> Bounded<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
        }
    }

    /// Keys are never reused here: each is a fresh identifier.
    pub(super) fn insert(&mut self, key: &str, value: V) {
        while self.entries.len() >= self.entries_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.to_owned());
        self.entries.insert(key.to_owned(), value);
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.order.retain(|held| held != key);
        self.entries.remove(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut bounded = Bounded::new(2);
        for key in ["first", "second", "third"] {
            bounded.insert(key, ());
        }
        assert!(!bounded.contains("first"));
        assert!(bounded.contains("second") && bounded.contains("third"));
    }

    #[test]
    fn what_was_removed_makes_room() {
        let mut bounded = Bounded::new(2);
        bounded.insert("first", ());
        bounded.insert("second", ());
        assert!(bounded.remove("second"));
        assert!(!bounded.remove("second"));
        bounded.insert("third", ());
        assert!(bounded.contains("first"));
    }
}
