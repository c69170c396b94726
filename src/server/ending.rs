//! Shuts a server down in steps, each with a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::Ended;
use super::worker::{Stages, Worker};
use crate::config::limits::Limits;
use crate::record::metrics::Metrics;
use crate::store::Management;

/// The parts of a running server that a shutdown needs.
pub(super) struct Running {
    /// False as soon as the shutdown begins.
    pub ready: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
    pub acceptors: JoinSet<()>,
    pub workers: Vec<Worker>,
    pub stages: Stages,
    /// Tasks to wait for after the last request has ended, each with the name of its step.
    pub steps: [(&'static str, JoinHandle<()>); 3],
    pub store: Arc<dyn Management>,
}

impl Running {
    /// Stops accepting connections, lets requests in flight finish within their time limit, cuts the others, then
    /// runs the last steps.
    pub(super) async fn end(self, limits: &Limits) -> Ended {
        self.ready.store(false, Ordering::Release);
        sleep(Duration::from_millis(limits.shutdown_delay_ms)).await;
        let in_flight = u64::try_from(self.metrics.active()).unwrap_or(0);
        tracing::info!(
            in_flight,
            "no more connections are accepted; finishing requests in flight"
        );
        let cut = drain(self.acceptors, self.workers, &self.stages).await;
        self.stages.end.send_replace(true);
        let limit = Duration::from_millis(limits.shutdown_store_timeout_ms);
        finish(self.steps, self.store, limit).await;
        Ended {
            finished: in_flight.saturating_sub(cut),
            cut,
        }
    }
}

/// Shuts down the data plane in order, and returns how many requests were cut.
async fn drain(mut acceptors: JoinSet<()>, workers: Vec<Worker>, stages: &Stages) -> u64 {
    stages.accept_no_more.send_replace(true);
    // When these tasks have ended, the kernel's accept queues are empty, and the workers' queues have no senders.
    while acceptors.join_next().await.is_some() {}
    stages.drain.send_replace(true);
    let mut cut = 0;
    for worker in workers {
        cut += worker.ended().await;
    }
    cut
}

/// Waits for the last steps, then closes the store, all within `limit`.
async fn finish(steps: [(&str, JoinHandle<()>); 3], store: Arc<dyn Management>, limit: Duration) {
    let deadline = Instant::now() + limit;
    for (step, task) in steps {
        finish_step(step, task, deadline).await;
    }
    let closing = tokio::spawn(async move { store.close().await });
    finish_step("closing the connections to the database", closing, deadline).await;
}

/// Waits for one of the last steps. A step that is not done at the deadline is aborted.
async fn finish_step(step: &str, mut task: JoinHandle<()>, deadline: Instant) {
    match timeout_at(deadline, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(step, %error, "a step of the shutdown failed"),
        Err(_elapsed) => {
            task.abort();
            tracing::warn!(
                step,
                "a step of the shutdown was not done in time and is aborted"
            );
        }
    }
}
