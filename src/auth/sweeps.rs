//! How the follower has every worker look at its open requests: it asks, each worker answers from its
//! own thread, and nobody waits for long.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::store::Report;

/// The longest wait for all workers. A worker that is busy for longer lets no chunk of a revoked key
/// pass all the same; only the number of what it cut is missing from the receipt.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// Sweeps that wait for one worker. One that finds no place is not needed: an earlier one, which has
/// not begun, will see the same.
const WAITING_MAX: usize = 2;

/// A worker's sweeps, each to be answered with what was cut.
pub(super) type SweepRequests = mpsc::Receiver<oneshot::Sender<Vec<Report>>>;

/// The workers that take part.
#[derive(Default)]
pub(super) struct Sweeps {
    /// Locked at a worker's start and by the follower: never on a request's way.
    workers: Mutex<Vec<mpsc::Sender<oneshot::Sender<Vec<Report>>>>>,
}

impl Sweeps {
    /// One more worker.
    pub(super) fn attend(&self) -> SweepRequests {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(sender);
        requests
    }

    /// Has every worker sweep; what they cut, in no order.
    pub(super) async fn run(&self) -> Vec<Report> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answers: Vec<_> = {
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            let ask = |worker: &mpsc::Sender<_>| {
                let (answer, answered) = oneshot::channel();
                worker.try_send(answer).ok().map(|()| answered)
            };
            workers.iter().filter_map(ask).collect()
        };
        let answered = answers
            .into_iter()
            .map(|answer| timeout_at(deadline, answer));
        let reports = join_all(answered).await.into_iter();
        reports.flatten().flatten().flatten().collect()
    }
}
