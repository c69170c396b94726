//! The text of `/metrics`: put together a few times in a while, however often it is asked for.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// The text is put together at most [`MADE_MAX`] times in so long. Whoever asks more often is told the last one,
/// which is no older.
const PERIOD: Duration = Duration::from_millis(20);
/// More than scrapers that are there need: each asks every few seconds.
const MADE_MAX: u32 = 4;

/// What `/metrics` tells.
pub(super) struct Exposition {
    registry: Registry,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    text: Bytes,
    /// When the period began.
    since: Option<Instant>,
    /// How many times it was put together since.
    made: u32,
}

impl Exposition {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            last: Mutex::default(),
        }
    }

    /// Every metric, as `OPENMETRICS` says, for who asks `now`.
    pub(super) fn text(&self, now: Instant) -> Result<Bytes, fmt::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .since
            .is_none_or(|since| now.duration_since(since) >= PERIOD)
        {
            last.since = Some(now);
            last.made = 0;
        }
        if last.made < MADE_MAX {
            last.made += 1;
            let mut text = String::new();
            encode(&mut text, &self.registry)?;
            last.text = text.into();
        }
        Ok(last.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;

    use super::*;

    /// Counts how often it is asked.
    #[derive(Debug, Clone, Default)]
    struct Asked(Arc<AtomicU32>);

    impl Collector for Asked {
        fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn however_often_it_is_asked_for_it_is_made_a_few_times() {
        let asked = Asked::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(asked.clone()));
        let exposition = Exposition::new(registry);
        let mut now = Instant::now();
        for period in 1..=3 {
            for _ in 0..1_000 {
                assert_eq!(exposition.text(now).unwrap(), "# EOF\n");
            }
            assert_eq!(asked.0.load(Ordering::Relaxed), period * MADE_MAX);
            now += PERIOD;
        }
    }
}
