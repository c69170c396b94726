//! Clients that ask all the time, over connections that they keep.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::ground::{Asked, Ground};
use super::time::Dice;
use super::upstream::{AT_ONCE, CHECKED};
use crate::support::client::{self, BoxError, Connection, Mode};

/// Longer than any fault lasts.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// After a failure, so that nobody hammers on a closed port.
const BACK_OFF: Duration = Duration::from_millis(20);

/// A client of one gateway, with at most one connection.
pub struct Client {
    ground: Arc<Ground>,
    gateway: usize,
    mode: Mode,
    connection: Option<Connection>,
}

impl Client {
    pub fn new(ground: &Arc<Ground>, gateway: usize, mode: Mode) -> Self {
        Self {
            ground: Arc::clone(ground),
            gateway,
            mode,
            connection: None,
        }
    }

    /// Asks without end, at the pace that is set.
    pub async fn ask_on_and_on(mut self, mut dice: Dice) {
        loop {
            let next = Instant::now() + self.pause();
            let key = self.ground.pick(&mut dice);
            if self.ask(key).await.is_none() {
                tokio::time::sleep(BACK_OFF).await;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    fn pause(&self) -> Duration {
        Duration::from_nanos(self.ground.pause.load(Ordering::Relaxed))
    }

    /// One request, judged; its status.
    pub async fn ask(&mut self, key: usize) -> Option<u16> {
        let mut begun = self.ground.now();
        let status = timeout(ANSWERED_WITHIN, self.exchange(key, &mut begun)).await;
        let status = status.ok().and_then(Result::ok);
        if status.is_none() {
            self.connection = None;
        }
        let asked = Asked {
            gateway: self.gateway,
            key,
            begun,
        };
        self.ground.judge(asked, status);
        status
    }

    async fn exchange(&mut self, key: usize, begun: &mut u64) -> Result<u16, BoxError> {
        let ground = &self.ground;
        let target = ground.gateways[self.gateway].target(&ground.keys[key].plain);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(target.try_connect(self.mode).await?),
        };
        *begun = ground.now();
        let request = target
            .request(self.mode, "GET", AT_ONCE)
            .header(CHECKED, format!("{key} {begun}"))
            .body(client::empty())?;
        let response = connection.try_send(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        Ok(status)
    }
}
