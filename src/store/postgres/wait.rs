//! Waking up when the log grew.
//!
//! NOTIFY is a hint: it has no replay, and what is sent while nobody listens is lost. So a wait ends
//! after [`POLL_INTERVAL`] at the latest, and at once when the connection was new or was lost: then
//! the caller reads the log, which is the truth.

use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Error, PgPool};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How late a change is noticed when no notification arrives.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What the triggers notify.
const CHANNEL: &str = "genkan_log";

/// Who listens, and who waits for who listens.
pub(super) struct Watch {
    /// Of one connection, apart from the others: it is not to be lent out.
    pool: PgPool,
    /// Held by the one caller that listens; it wakes the others.
    ear: Mutex<ListenerState>,
    heard: watch::Sender<()>,
}

/// How far the listening connection is.
#[derive(Default)]
enum ListenerState {
    #[default]
    Deaf,
    /// In a task of its own: it may take longer than one wait.
    Connecting(JoinHandle<Result<PgListener, Error>>),
    Listening(Box<PgListener>),
}

impl Watch {
    /// Connects no earlier than the first wait: most commands never do.
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            ear: Mutex::default(),
            heard: watch::Sender::new(()),
        }
    }

    pub(super) async fn wait(&self, at_most: Duration) {
        let mut heard = self.heard.subscribe();
        let either = async {
            tokio::select! {
                _told = heard.changed() => {}
                () = self.listen() => {}
            }
        };
        // Out of time is an answer too.
        drop(timeout(at_most.min(POLL_INTERVAL), either).await);
    }

    /// Returns when there may be news.
    async fn listen(&self) {
        let mut ear = self.ear.lock().await;
        while !ear.hears(&self.pool).await {}
        self.heard.send_replace(());
    }

    pub(super) async fn close(&self) {
        *self.ear.lock().await = ListenerState::Deaf;
        self.pool.close().await;
    }
}

impl ListenerState {
    /// One step: true when there may be news. Dropped half-way, it goes on where it was.
    async fn hears(&mut self, pool: &PgPool) -> bool {
        match self {
            Self::Deaf => {
                *self = Self::Connecting(tokio::spawn(connect(pool.clone())));
                false
            }
            Self::Connecting(task) => {
                if let Ok(Ok(listener)) = task.await {
                    *self = Self::Listening(Box::new(listener));
                    return true;
                }
                *self = Self::Deaf;
                // Not at once again: the rest of this wait passes first.
                std::future::pending().await
            }
            Self::Listening(listener) => {
                // `recv` would hide a reconnection; here None says that something may be lost.
                if !matches!(listener.try_recv().await, Ok(Some(_))) {
                    *self = Self::Deaf;
                }
                true
            }
        }
    }
}

async fn connect(pool: PgPool) -> Result<PgListener, Error> {
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
