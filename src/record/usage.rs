//! The last use of each key: recorded on the worker's own thread, reported to the store a few
//! times a minute, never on a request's way.
//!
//! Everything is bounded, and what does not fit is dropped and counted: knowing who used a key last is
//! worth no request.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::usage::KeyUse;

/// How often workers report, and the reports are written. What the console shows is at most twice as old.
pub const USAGE_REPORTED_EVERY: Duration = Duration::from_secs(5);
/// Keys noted between two tellings, for each worker and for the whole process. Some 200 bytes each.
pub const KEYS_MAX: usize = 20_000;
/// Bytes kept of what a client calls itself (`User-Agent`).
const CLIENT_BYTES_MAX: usize = 100;

struct Noted {
    requests: u64,
    address: IpAddr,
    client: String,
}

/// What one worker has noted.
#[derive(Default)]
pub struct UsageNotes {
    keys: RefCell<HashMap<KeyId, Noted, RandomState>>,
    dropped: Cell<u64>,
}

impl UsageNotes {
    /// A request with this key was accepted. Allocates once for each key between two tellings, and where
    /// its client is another than before.
    pub fn used(&self, key: KeyId, address: IpAddr, client: Option<&[u8]>) {
        let client = shortened(client.unwrap_or_default());
        let mut keys = self.keys.borrow_mut();
        if let Some(noted) = keys.get_mut(&key) {
            noted.requests += 1;
            noted.address = address;
            if noted.client.as_bytes() != client {
                noted.client = printable(client);
            }
            return;
        }
        if keys.len() >= KEYS_MAX {
            self.dropped.set(self.dropped.get().saturating_add(1));
            return;
        }
        let noted = Noted {
            requests: 1,
            address,
            client: printable(client),
        };
        keys.insert(key, noted);
    }

    /// Everything since the last time, and how many requests found no place. `open`: the keys of requests
    /// that are open, once for each request.
    pub fn take(&self, open: impl Iterator<Item = KeyId>, at: Timestamp) -> (Vec<KeyUse>, u64) {
        let mut counts: HashMap<KeyId, u64, RandomState> = HashMap::default();
        open.for_each(|key| *counts.entry(key).or_default() += 1);
        let noted = std::mem::take(&mut *self.keys.borrow_mut());
        let mut uses: Vec<_> = noted
            .into_iter()
            .map(|(key, noted)| KeyUse {
                key,
                requests: noted.requests,
                at,
                address: noted.address,
                client: noted.client,
                open: counts.remove(&key).unwrap_or(0),
            })
            .collect();
        // Streams go on while nothing new is asked.
        let still_open = counts.into_iter().map(|(key, open)| KeyUse {
            open,
            ..quiet(key, at)
        });
        uses.extend(still_open);
        (uses, self.dropped.take())
    }
}

/// Of a key that nobody has used since.
fn quiet(key: KeyId, at: Timestamp) -> KeyUse {
    KeyUse {
        key,
        requests: 0,
        at,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        client: String::new(),
        open: 0,
    }
}

fn shortened(client: &[u8]) -> &[u8] {
    client.get(..CLIENT_BYTES_MAX).unwrap_or(client)
}

/// It is shown in a console, and anybody may send anything.
fn printable(client: &[u8]) -> String {
    let shown = client.iter().map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        _other => '?',
    });
    shown.collect()
}

/// What all workers of a process have reported, and the store has not taken yet.
#[derive(Default)]
pub struct PendingUsage {
    keys: HashMap<KeyId, KeyUse, RandomState>,
    /// Open requests of each worker.
    open: HashMap<(KeyId, usize), u64, RandomState>,
}

impl PendingUsage {
    /// Adds a worker's report. Returns the number of keys for which there is no room.
    pub fn add(&mut self, worker: usize, uses: Vec<KeyUse>, at: Timestamp) -> u64 {
        let mut dropped = 0;
        // A telling names every key with open requests: what it does not name is closed.
        let was_open = self.open.extract_if(|(_key, of), _| *of == worker);
        let mut closed: HashSet<KeyId, RandomState> =
            was_open.map(|((key, _worker), _)| key).collect();
        for one in &uses {
            if one.open > 0 {
                self.open.insert((one.key, worker), one.open);
                closed.remove(&one.key);
            }
        }
        for key in closed {
            self.keys.entry(key).or_insert_with(|| quiet(key, at));
        }
        for one in uses {
            let has_room = self.keys.len() < KEYS_MAX;
            match self.keys.get_mut(&one.key) {
                Some(known) => {
                    known.requests += one.requests;
                    if one.requests > 0 {
                        (known.at, known.address, known.client) = (one.at, one.address, one.client);
                    }
                }
                None if has_room => {
                    self.keys.insert(one.key, one);
                }
                None => dropped += 1,
            }
        }
        dropped
    }

    /// What the store did not take. It is reported again the next time, merged with what came meanwhile.
    pub fn give_back(&mut self, uses: Vec<KeyUse>) {
        for one in uses {
            let has_room = self.keys.len() < KEYS_MAX;
            match self.keys.get_mut(&one.key) {
                Some(known) => {
                    let newer = known.requests > 0;
                    known.requests += one.requests;
                    if !newer {
                        (known.at, known.address, known.client) = (one.at, one.address, one.client);
                    }
                }
                None if has_room => {
                    self.keys.insert(one.key, one);
                }
                None => {}
            }
        }
    }

    /// All of it, each key once; [`Self::give_back`] takes back what the store did not.
    pub fn take(&mut self) -> Vec<KeyUse> {
        let mut counts: HashMap<KeyId, u64, RandomState> = HashMap::default();
        for ((key, _worker), open) in &self.open {
            *counts.entry(*key).or_default() += open;
        }
        let counted = std::mem::take(&mut self.keys)
            .into_values()
            .map(|one| KeyUse {
                open: counts.get(&one.key).copied().unwrap_or(0),
                ..one
            });
        counted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    fn key() -> KeyId {
        KeyId::generate(Timestamp::from_millis(1), &SystemEntropy)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn uses_are_counted_and_the_last_client_is_kept_in_printable_letters() {
        let (notes, key) = (UsageNotes::default(), key());
        notes.used(key, HOME, Some(b"curl/8"));
        notes.used(key, HOME, Some("curl\u{7}花".as_bytes()));
        let (uses, dropped) = notes.take(std::iter::empty(), at(5));
        assert_eq!((uses[0].requests, uses[0].client.as_str()), (2, "curl????"));
        assert_eq!((uses.len(), dropped), (1, 0));
        notes.used(key, HOME, Some(&[b'x'; 300]));
        let (uses, _dropped) = notes.take(std::iter::empty(), at(6));
        assert_eq!(uses[0].client.len(), CLIENT_BYTES_MAX);
    }

    #[test]
    fn a_stream_is_told_while_it_is_open() {
        let (notes, key) = (UsageNotes::default(), key());
        notes.used(key, HOME, None);
        let open = |times| std::iter::repeat_n(key, times);
        let told = |times| {
            let (uses, _dropped) = notes.take(open(times), at(5));
            uses.iter()
                .map(|it| (it.requests, it.open))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(2), [(1, 2)]);
        assert_eq!(told(2), [(0, 2)]);
        assert_eq!(told(0), []);
    }

    #[test]
    fn more_keys_than_there_is_room_for_are_dropped_and_counted() {
        let notes = UsageNotes::default();
        for _ in 0..KEYS_MAX + 3 {
            notes.used(key(), HOME, None);
        }
        let (uses, dropped) = notes.take(std::iter::empty(), at(5));
        assert_eq!((uses.len(), dropped), (KEYS_MAX, 3));
    }

    #[test]
    fn workers_add_up_and_a_failed_telling_loses_nothing() {
        let (mut untold, key) = (PendingUsage::default(), key());
        let used = |requests, open| KeyUse {
            key,
            requests,
            at: at(1),
            address: HOME,
            client: "a".to_owned(),
            open,
        };
        untold.add(0, vec![used(2, 1)], at(1));
        untold.add(1, vec![used(3, 4)], at(1));
        let taken = untold.take();
        assert_eq!((taken[0].requests, taken[0].open), (5, 5));
        untold.add(0, vec![used(1, 0)], at(2));
        untold.give_back(taken);
        let taken = untold.take();
        assert_eq!((taken[0].requests, taken[0].open), (6, 4));
        // The telling that it was closed was lost; the next names it no more.
        untold.add(1, Vec::new(), at(3));
        let taken = untold.take();
        assert_eq!((taken[0].requests, taken[0].open), (0, 0));
    }
}
