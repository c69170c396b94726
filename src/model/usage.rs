//! Who used a key last, and how much.

use std::net::IpAddr;

use super::clock::Timestamp;
use super::id::KeyId;

/// The use of a key since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Which key.
    pub key: KeyId,
    /// Requests accepted since.
    pub requests: u64,
    /// The time of the report. The last use was at most one reporting interval before.
    pub at: Timestamp,
    /// From where it was used last.
    pub address: IpAddr,
    /// What the client called itself then, in printable ASCII; empty: nothing.
    pub client: String,
    /// How many requests and streams of it are open now.
    pub open: u64,
}
