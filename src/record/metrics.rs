//! Counters of the data plane, one set for each worker, added up when somebody looks.
//!
//! Names, units and buckets follow OpenTelemetry's semantic conventions for HTTP, in the Prometheus
//! text format.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::refusals::RefusalLog;
use crate::model::refusal::Refusal;

/// Upper bounds in seconds, as OpenTelemetry advises for `http.server.request.duration`.
const BUCKETS_S: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// One series of `http.server.request.duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct SeriesKey {
    /// Index into the routes' names. `None`: no route was found.
    route: Option<usize>,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Default)]
struct Series {
    /// The last is for what is above every bound.
    buckets: [AtomicU64; BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Series {
    fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let place = BUCKETS_S
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS_S.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Counters of one worker that others read.
#[derive(Debug, Default)]
struct Shared {
    series: Mutex<Vec<(SeriesKey, Arc<Series>)>>,
    refusals: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
    active: AtomicI64,
    aborted: AtomicU64,
    upstream_connections: AtomicU64,
}

/// One worker's handles: found without a lock, made with one, once for each series.
#[derive(Debug)]
pub struct WorkerMetrics {
    routes: Arc<[String]>,
    shared: Arc<Shared>,
    series: RefCell<HashMap<SeriesKey, Arc<Series>, RandomState>>,
    refusals: RefCell<HashMap<&'static str, Arc<AtomicU64>, RandomState>>,
    refusal_log: RefusalLog,
    /// Of keys that are known: revoked, expired, or without the scope. Anybody who invents keys drives none of these
    /// out.
    known_key_log: RefusalLog,
}

impl WorkerMetrics {
    fn new(routes: Arc<[String]>) -> Self {
        Self {
            routes,
            shared: Arc::default(),
            series: RefCell::default(),
            refusals: RefCell::default(),
            refusal_log: RefusalLog::default(),
            known_key_log: RefusalLog::default(),
        }
    }

    /// Which refusals get a line in the log: of requests with a key that is known, and of all others.
    pub fn refusal_log(&self, has_known_key: bool) -> &RefusalLog {
        if has_known_key {
            &self.known_key_log
        } else {
            &self.refusal_log
        }
    }

    /// The name of a route.
    pub fn route_name(&self, route: usize) -> Option<&str> {
        self.routes.get(route).map(String::as_str)
    }

    /// A request has begun.
    pub fn begun(&self) {
        self.shared.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of this worker in flight.
    pub fn active(&self) -> u64 {
        u64::try_from(self.shared.active.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A request was answered.
    pub fn answered(&self, route: Option<usize>, method: &Method, status: u16, took: Duration) {
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
        let key = SeriesKey {
            route,
            method: known(method),
            status,
        };
        let mut series = self.series.borrow_mut();
        series
            .entry(key)
            .or_insert_with(|| {
                let series = Arc::<Series>::default();
                lock(&self.shared.series).push((key, Arc::clone(&series)));
                series
            })
            .observe(took);
    }

    /// A request ended without an answer, or in the middle of one.
    pub fn aborted(&self) {
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
        self.shared.aborted.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused, or could not be forwarded.
    pub fn refused(&self, refusal: Refusal) {
        let reason = refusal.reason();
        let mut refusals = self.refusals.borrow_mut();
        refusals
            .entry(reason)
            .or_insert_with(|| {
                let count = Arc::<AtomicU64>::default();
                lock(&self.shared.refusals).push((reason, Arc::clone(&count)));
                count
            })
            .fetch_add(1, Ordering::Relaxed);
    }

    /// A connection to an upstream was opened.
    pub fn upstream_connected(&self) {
        self.shared
            .upstream_connections
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// The method's label: extension methods are callers' free choice, so they share one (as OpenTelemetry
/// says: `_OTHER`).
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// What every worker counted, for metrics.
#[derive(Debug)]
pub struct Metrics {
    routes: Arc<[String]>,
    workers: Vec<Arc<Shared>>,
}

impl Metrics {
    /// For these routes and as many workers, whose handles come with it.
    pub fn new(routes: Vec<String>, workers: usize) -> (Self, Vec<WorkerMetrics>) {
        let routes: Arc<[String]> = routes.into();
        let handle = |_| WorkerMetrics::new(Arc::clone(&routes));
        let handles: Vec<_> = (0..workers).map(handle).collect();
        let workers = handles
            .iter()
            .map(|handle| Arc::clone(&handle.shared))
            .collect();
        (Self { routes, workers }, handles)
    }

    /// Requests in flight.
    pub fn active(&self) -> i64 {
        self.workers
            .iter()
            .map(|worker| worker.active.load(Ordering::Relaxed))
            .sum()
    }

    fn durations(&self) -> BTreeMap<SeriesKey, (Vec<u64>, u64)> {
        let mut sums: BTreeMap<SeriesKey, (Vec<u64>, u64)> = BTreeMap::new();
        for worker in &self.workers {
            for (key, series) in lock(&worker.series).iter() {
                let (buckets, sum_us) = sums
                    .entry(*key)
                    .or_insert_with(|| (vec![0; BUCKETS_S.len() + 1], 0));
                for (total, bucket) in buckets.iter_mut().zip(&series.buckets) {
                    *total += bucket.load(Ordering::Relaxed);
                }
                *sum_us += series.sum_us.load(Ordering::Relaxed);
            }
        }
        sums
    }

    fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for worker in &self.workers {
            for (reason, count) in lock(&worker.refusals).iter() {
                *sums.entry(*reason).or_insert(0) += count.load(Ordering::Relaxed);
            }
        }
        sums
    }

    fn sum(&self, of: impl Fn(&Shared) -> &AtomicU64) -> u64 {
        self.workers
            .iter()
            .map(|worker| of(worker).load(Ordering::Relaxed))
            .sum()
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut family = encoder.encode_descriptor(
            "http_server_request_duration",
            "Time from the head of a request to the end of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (key, (buckets, sum_us)) in self.durations() {
            let status = key.status.to_string();
            let route = key.route.and_then(|route| self.routes.get(route));
            let labels = [
                ("http_request_method", key.method),
                ("http_response_status_code", status.as_str()),
                ("http_route", route.map_or("", String::as_str)),
            ];
            let bounds = BUCKETS_S.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(buckets).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact for 285 years of microseconds"
            )]
            let sum = sum_us as f64 / 1e6;
            family
                .encode_family(&labels)?
                .encode_histogram::<[(String, String); 0]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Requests that were refused or could not be forwarded, by reason";
        let mut family =
            encoder.encode_descriptor("genkan_refusals", help, None, MetricType::Counter)?;
        for (reason, count) in self.refusals() {
            let labels = [("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Writes one counter without labels.
pub fn encode_counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> std::fmt::Result {
    let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(count).encode(family)
}

/// Writes one counter for each value of a label, of which there must be few.
pub fn encode_counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &str,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> std::fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

/// Writes one gauge without labels.
pub fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> std::fmt::Result {
    let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(family)
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.encode_durations(&mut encoder)?;
        self.encode_refusals(&mut encoder)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "far fewer than 2^52 requests at a time"
        )]
        let active = self.active() as f64;
        let help = "Requests in flight";
        encode_gauge(&mut encoder, "http_server_active_requests", help, active)?;
        let help = "Requests that ended before their answer did";
        let aborted = self.sum(|worker| &worker.aborted);
        encode_counter(&mut encoder, "genkan_aborted_requests", help, aborted)?;
        let help = "Connections opened to upstreams";
        let opened = self.sum(|worker| &worker.upstream_connections);
        encode_counter(
            &mut encoder,
            "genkan_upstream_connections_opened",
            help,
            opened,
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
