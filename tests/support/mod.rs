//! The parts that stories are told with: a real gateway process, a recording upstream, clients.

#![allow(dead_code, reason = "not every story uses every part")]

pub mod apt;
pub mod browser;
pub mod client;
pub mod deployment;
pub mod fault_proxy;
pub mod haproxy;
pub mod legitimate;
pub mod node;
pub mod other_user;
pub mod pooler;
pub mod postgres;
pub mod provider;
pub mod python;
pub mod raw;
pub mod scripted;
pub mod scripted_gateway;
pub mod tls;
pub mod upstream;

use std::future::Future;
use std::time::Duration;

/// Far longer than anything here takes: reaching it means that something hangs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Held by stories that measure, or that keep both cores busy: one at a time, so that none measures
/// another.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Waits for an event, and fails with its name when it does not come.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event)
        .await
        .unwrap_or_else(|_| panic!("did not happen within {DEADLINE:?}: {what}"))
}
