//! What all parts of the check share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::faults::Fault;
use super::gateways::Gateway;
use super::keys::CheckedKey;
use super::time::{Dice, Nanos, Stopwatch, Weather, nanos};
use super::upstream::sent_at;
use super::verdict::{Breach, Verdict};
use super::{CUT_WITHIN, Plan};
use crate::support::deployment::Deployment;

/// Keys that are never revoked: the first ones.
pub const PERMANENT: usize = 64;
/// How long a gateway may take to be well again after a fault.
pub const RECOVERY: Duration = Duration::from_secs(2);
/// How long the revoker waits for clients to try a key before and after.
const TRIED_WITHIN: Duration = Duration::from_millis(500);

pub struct Ground {
    pub plan: Plan,
    pub deployment: Deployment,
    pub database: String,
    pub clock: Stopwatch,
    /// The permanent ones, then those to be revoked, one after another.
    pub keys: Vec<CheckedKey>,
    pub gateways: Vec<Gateway>,
    pub verdict: Verdict,
    /// Whether any fault is on, whomever it hits.
    pub weather: Weather,
    /// The fault that is on, or was the last.
    pub fault: AtomicUsize,
    /// The key that is revoked now or next.
    pub hot: AtomicUsize,
    /// What a client waits between two requests, in nanoseconds.
    pub pause: AtomicU64,
    /// Somebody saw a key accepted, or tried it after its receipt, for the first time.
    pub news: Notify,
}

/// A request, as its sender knows it.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub gateway: usize,
    pub key: usize,
    /// Before its first byte was sent.
    pub begun: Nanos,
}

impl Ground {
    pub fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// Half of the picks are the key that is being revoked; the others are its neighbours, keys that
    /// were revoked a while ago, and keys that membership.
    pub fn pick(&self, dice: &mut Dice) -> usize {
        let hot = self.hot.load(Ordering::Relaxed);
        match dice.below(10) {
            0..5 => hot,
            5..7 => dice.below(PERMANENT),
            7..9 => (hot + dice.below(16)).saturating_sub(8),
            _ => hot.saturating_sub(dice.below(200)),
        }
        .min(self.keys.len() - 1)
    }

    /// Whether nothing was wrong with a gateway since then.
    pub fn is_calm(&self, gateway: usize, since: Nanos) -> bool {
        let weather = &self.gateways[gateway].weather;
        let calm = weather.calm_since(self.now(), RECOVERY);
        calm.is_some_and(|calm| calm <= since)
    }

    /// The fault that a revocation which began then has met.
    pub fn fault_since(&self, since: Nanos) -> Option<Fault> {
        let calm = self.weather.calm_since(self.now(), RECOVERY);
        let is_calm = calm.is_some_and(|calm| calm <= since);
        (!is_calm).then(|| Fault::ALL[self.fault.load(Ordering::SeqCst)])
    }

    /// Waits until every gateway that is well has its bit in `bits`, for a while.
    pub async fn tried(&self, bits: impl Fn() -> u32) {
        let all = async {
            loop {
                let news = self.news.notified();
                let now = self.now();
                let well = self.gateways.iter().filter(|gateway| {
                    let calm = gateway.weather.calm_since(now, Duration::ZERO);
                    calm.is_some()
                });
                let wanted = well.fold(0, |bits, gateway| bits | (1 << gateway.number));
                if bits() & wanted == wanted {
                    return;
                }
                news.await;
            }
        };
        drop(tokio::time::timeout(TRIED_WITHIN, all).await);
    }

    /// Judges an answer's status; none: there was no answer.
    pub fn judge(&self, asked: Asked, status: Option<u16>) {
        let verdict = &self.verdict;
        let key = &self.keys[asked.key];
        let is_after = key.returned.get().is_some_and(|at| asked.begun > at);
        verdict.requests.add(1);
        if is_after {
            verdict.asked_after.add(1);
            if key.is_asked_for_after(asked.gateway) {
                self.news.notify_waiters();
            }
        }
        match status {
            Some(200) => self.judge_accepted(asked, is_after),
            Some(401) => {
                verdict.refused.add(1);
                key.refused(asked.gateway).set(self.now());
                if key.revoking.get().is_none() {
                    verdict.breach(Breach::LiveKeyRefused, || format!("{asked:?}"));
                }
            }
            Some(503) => {
                verdict.unavailable.add(1);
                self.judge_failure(asked, Breach::UnavailableInCalm, status);
            }
            other => {
                verdict.failed.add(1);
                self.judge_failure(asked, Breach::FailedInCalm, other);
            }
        }
    }

    fn judge_accepted(&self, asked: Asked, is_after: bool) {
        let verdict = &self.verdict;
        let key = &self.keys[asked.key];
        verdict.accepted.add(1);
        if key.is_accepted_by(asked.gateway) {
            self.news.notify_waiters();
        }
        let message = || {
            let returned = key.returned.get();
            format!("{asked:?}, receipt at {returned:?}, now {}", self.now())
        };
        if is_after {
            verdict.breach(Breach::AcceptedAfterReceipt, message);
        }
        let refused = key.refused(asked.gateway).get();
        if refused.is_some_and(|at| asked.begun > at) {
            verdict.breach(Breach::AcceptedAfterRefusal, message);
        }
    }

    /// A request with a key that is being revoked may be cut; others fail only under faults.
    fn judge_failure(&self, asked: Asked, breach: Breach, status: Option<u16>) {
        let is_live = self.keys[asked.key].revoking.get().is_none();
        if is_live && self.is_calm(asked.gateway, asked.begun) {
            let took = self.now() - asked.begun;
            let message = || format!("{status:?} after {took} ns, {asked:?}");
            self.verdict.breach(breach, message);
        }
    }

    /// Judges bytes of an open stream, either way, by what they say of themselves: how late they are,
    /// and whether they were sent too late for any excuse.
    pub fn judge_bytes(&self, key: usize, bytes: &[u8]) {
        let now = self.now();
        let Some(returned) = self.keys[key].returned.get() else {
            return;
        };
        let late = now.saturating_sub(returned);
        let mut histogram = self.verdict.late_bytes.lock().unwrap();
        histogram.saturating_record(late.max(1));
        drop(histogram);
        let message = || format!("key {key}, {late} ns after the receipt");
        if sent_at(bytes).is_some_and(|sent| sent > returned + CUT_WITHIN) {
            self.verdict.breach(Breach::StreamedAfterReceipt, message);
        } else if late > self.late_max() {
            self.verdict.breach(Breach::StreamLate, message);
        }
    }

    /// What the plan allows, and what the checker itself was late by.
    pub fn late_max(&self) -> Nanos {
        nanos(self.plan.late_max) + self.verdict.own_delay.get()
    }

    /// Judges what reached the upstream.
    pub fn judge_relayed(&self, key: usize, begun: Nanos) {
        self.verdict.relayed.add(1);
        let now = self.now();
        let Some(returned) = self.keys[key].returned.get() else {
            return;
        };
        let message = || format!("key {key}, begun {begun}, receipt at {returned}, now {now}");
        if begun > returned {
            self.verdict.breach(Breach::RelayedAfterReceipt, message);
        } else if now > returned + self.late_max() {
            self.verdict.breach(Breach::RelayedLate, message);
        }
    }
}
