//! Encodes the text of `/metrics`, at most a few times in each period, and caches it in between.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// The text is encoded at most [`ENCODED_MAX`] times in this period. Further requests get the cached text, which is
/// no older than the period.
const PERIOD: Duration = Duration::from_millis(20);
/// More than real scrapers need: each sends a request every few seconds.
const ENCODED_MAX: u32 = 4;

/// The metrics registry with the cached text of `/metrics`.
pub(super) struct Exposition {
    registry: Registry,
    cached: Mutex<CachedText>,
}

#[derive(Default)]
struct CachedText {
    text: Bytes,
    /// When the current period began.
    period_start: Option<Instant>,
    /// How often the text was encoded in the current period.
    encoded: u32,
}

impl Exposition {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            cached: Mutex::default(),
        }
    }

    /// Returns every metric in the format of `OPENMETRICS`, for a request at `now`.
    pub(super) fn text(&self, now: Instant) -> Result<Bytes, fmt::Error> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached
            .period_start
            .is_none_or(|start| now.duration_since(start) >= PERIOD)
        {
            cached.period_start = Some(now);
            cached.encoded = 0;
        }
        if cached.encoded < ENCODED_MAX {
            cached.encoded += 1;
            let mut text = String::new();
            encode(&mut text, &self.registry)?;
            cached.text = text.into();
        }
        Ok(cached.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;

    use super::*;

    /// Counts how often it is encoded.
    #[derive(Debug, Clone, Default)]
    struct CountingCollector(Arc<AtomicU32>);

    impl Collector for CountingCollector {
        fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn the_text_is_encoded_a_few_times_in_each_period() {
        let collector = CountingCollector::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector.clone()));
        let exposition = Exposition::new(registry);
        let mut now = Instant::now();
        for period in 1..=3 {
            for _ in 0..1_000 {
                assert_eq!(exposition.text(now).unwrap(), "# EOF\n");
            }
            assert_eq!(collector.0.load(Ordering::Relaxed), period * ENCODED_MAX);
            now += PERIOD;
        }
    }
}
