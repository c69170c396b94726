//! One request, from its head to the end of its answer.

use std::rc::Rc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::metrics::WorkerMetrics;
use super::request_id::RequestId;
use crate::config::LogRequests;
use crate::listen::forwarded::ClientAddress;
use crate::model::id::KeyId;
use crate::model::refusal::Refusal;

/// Begun once, finished once; dropped without being finished, it counts as aborted.
#[derive(Debug)]
pub struct Record {
    metrics: Rc<WorkerMetrics>,
    log: LogRequests,
    begun: Instant,
    id: RequestId,
    method: Method,
    client: ClientAddress,
    /// Canonical, without query, and without anything that looks like a key. Kept only to be logged.
    path: Option<Box<str>>,
    route: Option<usize>,
    key: Option<KeyId>,
    refusal: Option<Refusal>,
    status: Option<u16>,
    finished: bool,
}

impl Record {
    /// A request whose head has come.
    pub fn begin(
        metrics: &Rc<WorkerMetrics>,
        log: LogRequests,
        id: RequestId,
        method: Method,
        client: ClientAddress,
    ) -> Self {
        metrics.begun();
        Self {
            metrics: Rc::clone(metrics),
            log,
            begun: Instant::now(),
            id,
            method,
            client,
            path: None,
            route: None,
            key: None,
            refusal: None,
            status: None,
            finished: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Where it comes from.
    pub fn client(&self) -> ClientAddress {
        self.client
    }

    /// The route it takes, by its place in the table.
    pub fn set_route(&mut self, index: usize, path: &str) {
        self.route = Some(index);
        if self.log == LogRequests::All {
            self.keep_path(path);
        }
    }

    /// Whose it is.
    pub fn set_key(&mut self, key: KeyId) {
        self.key = Some(key);
    }

    /// It was refused, or could not be forwarded.
    pub fn refuse(&mut self, refusal: Refusal, path: &str) {
        self.metrics.refused(refusal);
        self.refusal = Some(refusal);
        if self.log != LogRequests::None {
            self.keep_path(path);
        }
    }

    /// It was ended in the middle: the answer had begun, and does not come to its end.
    pub fn cut(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        self.tell("request cut", self.begun.elapsed());
    }

    /// The head of the answer has been chosen.
    pub fn set_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The answer is complete.
    pub fn finish(mut self) {
        self.finished = true;
        let took = self.begun.elapsed();
        self.metrics
            .answered(self.route, &self.method, self.status.unwrap_or(0), took);
        let is_logged = match self.log {
            LogRequests::None => false,
            LogRequests::All => true,
            LogRequests::Refused => {
                self.refusal.is_some()
                    && self
                        .metrics
                        .refusal_log(self.is_of_known_key())
                        .admits(self.client.ip.into())
            }
        };
        if is_logged {
            self.tell("request", took);
        }
    }

    /// Whether it is a key that the store knows which was refused, and not a request of a good one.
    fn is_of_known_key(&self) -> bool {
        self.key.is_some() && self.refusal.is_some_and(Refusal::is_about_the_key)
    }

    fn keep_path(&mut self, path: &str) {
        self.path = Some(crate::model::key::redact(path).into());
    }

    fn tell(&self, message: &str, took: Duration) {
        if self.log == LogRequests::None {
            return;
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            request_id = %self.id,
            method = %crate::model::key::redact(self.method.as_str()),
            client = %self.client,
            path = self.path.as_deref(),
            route = self.route.and_then(|route| self.metrics.route_name(route)),
            key_id = self.key.map(tracing::field::display),
            status = self.status,
            refusal = self.refusal.map(Refusal::reason),
            took_us,
            "{message}"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished {
            self.metrics.aborted();
            if self.log == LogRequests::All {
                self.tell("request aborted", self.begun.elapsed());
            }
        }
    }
}
