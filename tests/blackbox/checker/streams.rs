//! Streams and long polls that are open while their key is revoked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{MissedTickBehavior, interval};

use super::ground::{Asked, Ground, PERMANENT, RECOVERY};
use super::time::{Nanos, nanos};
use super::upstream::{CHECKED, EVENTS, POLL};
use super::verdict::Breach;
use crate::support::client::{self, BoxError, Connection, Mode};

/// How often an open stream looks whether it should still be open.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A live stream, whose events come every 20 ms, stands still.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// One stream or long poll with one key on one gateway.
#[derive(Clone)]
pub struct Opened {
    pub ground: Arc<Ground>,
    pub gateway: usize,
    pub key: usize,
    pub mode: Mode,
}

/// How a wait on an open stream went on.
enum Step {
    Chunk(Bytes),
    Ended,
    Look,
}

impl Opened {
    /// A stream of events, to its end.
    pub async fn events(self) {
        let begun = self.ground.now();
        // While its gateway is down there is nothing to check.
        let Ok((_connection, response)) = self.open(EVENTS, &[]).await else {
            return;
        };
        let status = response.status().as_u16();
        self.judge(begun, Some(status));
        if status != 200 {
            return;
        }
        self.ground.verdict.streams.add(1);
        self.watch(response.into_body()).await;
    }

    /// Streams of a key that stays, one after another.
    pub async fn events_for_ever(self) {
        loop {
            self.clone().events().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A long poll, to its answer, or to its cut.
    pub async fn poll(self) {
        self.ground.verdict.polls.add(1);
        let begun = self.ground.now();
        let answer = self.open(POLL, &[]);
        tokio::pin!(answer);
        let mut looks = looks();
        loop {
            tokio::select! {
                answer = &mut answer => {
                    let status = answer.ok().map(|(_, response)| response.status().as_u16());
                    self.judge(begun, status);
                    self.ended(begun);
                    return;
                }
                _ = looks.tick() => if self.is_outlived() {
                    return;
                }
            }
        }
    }

    pub async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Connection, Response<Incoming>), BoxError> {
        let ground = &self.ground;
        let target = ground.gateways[self.gateway].target(&ground.keys[self.key].plain);
        let mut connection = target.try_connect(self.mode).await?;
        let mut request = target
            .request(self.mode, "GET", path)
            .header(CHECKED, format!("{} {}", self.key, ground.now()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = connection.try_send(request.body(client::empty())?).await?;
        Ok((connection, response))
    }

    pub fn judge(&self, begun: Nanos, status: Option<u16>) {
        let asked = Asked {
            gateway: self.gateway,
            key: self.key,
            begun,
        };
        self.ground.judge(asked, status);
    }

    async fn watch(&self, mut body: Incoming) {
        let opened = self.ground.now();
        let mut last = opened;
        let mut looks = looks();
        loop {
            let step = tokio::select! {
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => Step::Chunk(frame.into_data().unwrap_or_default()),
                    Some(Err(_)) | None => Step::Ended,
                },
                _ = looks.tick() => Step::Look,
            };
            match step {
                Step::Chunk(chunk) => {
                    last = self.ground.now();
                    self.ground.judge_bytes(self.key, &chunk);
                }
                Step::Ended => return self.ended(opened),
                Step::Look => {
                    if self.is_outlived() || self.is_stuck(last) {
                        return;
                    }
                }
            }
        }
    }

    /// Its end: right for a key that is being revoked.
    pub fn ended(&self, opened: Nanos) {
        let ground = &self.ground;
        let now = ground.now();
        let key = &ground.keys[self.key];
        let Some(revoking) = key.revoking.get() else {
            if ground.is_calm(self.gateway, opened) && self.key < PERMANENT {
                let message = || format!("key {} on {} ended", self.key, self.gateway);
                ground.verdict.breach(Breach::LiveStreamCut, message);
            }
            return;
        };
        ground.verdict.ended.add(1);
        // Before the receipt is early enough. Where a fault was on, the bytes count and not the end.
        let late = key.returned.get().map_or(0, |at| now.saturating_sub(at));
        if ground.is_calm(self.gateway, revoking) {
            let mut histogram = ground.verdict.late_ends.lock().unwrap();
            histogram.saturating_record(late.max(1));
            drop(histogram);
            if late > ground.late_max() {
                let message =
                    || format!("key {} on {} ended {late} ns late", self.key, self.gateway);
                ground.verdict.breach(Breach::StreamLate, message);
            }
        }
    }

    /// Whether it is open although its key was revoked long ago and its gateway is well.
    pub fn is_outlived(&self) -> bool {
        let ground = &self.ground;
        let now = ground.now();
        let Some(returned) = ground.keys[self.key].returned.get() else {
            return false;
        };
        let weather = &ground.gateways[self.gateway].weather;
        let Some(calm) = weather.calm_since(now, RECOVERY) else {
            return false;
        };
        let is_outlived = now > returned.max(calm) + nanos(ground.plan.outlived_after);
        if is_outlived {
            let message = || format!("key {} on {}", self.key, self.gateway);
            ground.verdict.breach(Breach::StreamOutlived, message);
        }
        is_outlived
    }

    /// Whether a live stream stands still although its gateway is well.
    fn is_stuck(&self, last: Nanos) -> bool {
        let ground = &self.ground;
        let now = ground.now();
        let weather = &ground.gateways[self.gateway].weather;
        let calm = weather.calm_since(now, RECOVERY);
        let is_live = ground.keys[self.key].revoking.get().is_none();
        let is_still = |calm: Nanos| now > last.max(calm) + nanos(STUCK_AFTER);
        let is_stuck = is_live && calm.is_some_and(is_still);
        if is_stuck {
            let message = || format!("key {} on {} stands still", self.key, self.gateway);
            ground.verdict.breach(Breach::LiveStreamCut, message);
        }
        is_stuck
    }
}

pub fn looks() -> tokio::time::Interval {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}
