//! The end of a server, step by step, each within its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::worker::{Stages, Worker};
use crate::store::Management;

/// Ends the data plane in its order; returns how many requests were cut.
pub(super) async fn drain(
    mut acceptors: JoinSet<()>,
    workers: Vec<Worker>,
    stages: &Stages,
) -> u64 {
    stages.accept_no_more.send_replace(true);
    // The queues of the kernel are empty when these have ended; the workers' ends see no more senders.
    while acceptors.join_next().await.is_some() {}
    stages.drain.send_replace(true);
    let mut cut = 0;
    for worker in workers {
        cut += worker.ended().await;
    }
    cut
}

/// Waits for the last steps, and closes the store after them, all within `limit`.
pub(super) async fn finish(
    steps: [(&str, JoinHandle<()>); 3],
    store: Arc<dyn Management>,
    limit: Duration,
) {
    let deadline = Instant::now() + limit;
    for (step, task) in steps {
        finish_step(step, task, deadline).await;
    }
    let closing = tokio::spawn(async move { store.close().await });
    finish_step("closing the connections to the database", closing, deadline).await;
}

/// Waits for one of the last steps. What is not done by the deadline is left.
async fn finish_step(step: &str, mut task: JoinHandle<()>, deadline: Instant) {
    match timeout_at(deadline, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(step, %error, "a step of the end failed"),
        Err(_elapsed) => {
            task.abort();
            tracing::warn!(step, "a step of the end was not done in time, and is left");
        }
    }
}
