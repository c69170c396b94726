//! Every bound in one place: its name, its default and the reason for it.
//!
//! Names end in their unit. A bound that is reached is answered or counted, never waited out in
//! silence.

use super::read::{Field, Presence, Read, Reader};
use super::tree::Node;
use super::values::{Within, number};

/// Declares the limits once: field, default, the least and the most that make sense, reason. The
/// reader of the configuration and its commented example are made from the same table.
macro_rules! limits {
    ($($(#[doc = $reason:literal])+ $name:ident: $type:ty = $default:literal in $min:literal..=$max:literal,)+) => {
        /// The bounds. See each field for what happens when it is reached.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $reason])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Name and value of every limit, in order.
            pub(super) fn entries(&self) -> Vec<(&'static str, u64)> {
                // Every type here has at most 64 bits.
                vec![$((stringify!($name), u64::try_from(self.$name).unwrap_or(u64::MAX)),)+]
            }
        }

        impl Read for Limits {
            const FIELDS: &'static [Field] = &[$(Field::of::<Within<$min, $max>>(
                stringify!($name),
                Presence::Default,
                stringify!($default),
                concat!($($reason, "\n",)+ " At least ", stringify!($min), ", at most ", stringify!($max), ".\n"),
            ),)+];

            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let table = reader.table(node, Self::FIELDS)?;
                let mut limits = Self::default();
                $(if let Some(number) = table
                    .get(stringify!($name))
                    .and_then(|node| number(node, reader, $min, $max))
                {
                    limits.$name = <$type>::try_from(number).unwrap_or(<$type>::MAX);
                })+
                Some(limits)
            }
        }
    };
}

limits! {
    /// Client connections of the whole process. At the bound no more are accepted: they wait in the
    /// kernel's queue. Each counts as two file descriptors, with its upstream's; where the system gives
    /// fewer (`ulimit -n`), the bound is lowered at the start, with a warning. Streams of HTTP/2 beyond
    /// the first may take one more each, of those of `upstream_connections_max`.
    connections_max: usize = 10_000 in 1..=1_000_000,
    /// Client connections from one address (of IPv6, from one /64 network), and never more than half of
    /// those of all: one client cannot take the places of the others. Above, the next is closed at once,
    /// with a line in the log. Trusted proxies, which connect for many, have no such bound.
    connections_per_address_max: usize = 1_000_000 in 1..=1_000_000,
    /// Connections of the admin listener. Above, one that waits for its client is closed for the next:
    /// of the address that has the most, the oldest. Its deadlines are those below. The requests that
    /// are worked on there at a time are fewer in any case, so at least 8.
    admin_connections_max: usize = 512 in 8..=100_000,
    /// Connections of the admin listener from one address, and never more than a quarter of those of
    /// all. Above, the oldest of them that waits for its client is closed for the next, or the next
    /// is. Trusted proxies, which connect for many, may have more.
    admin_connections_per_address_max: usize = 64 in 1..=100_000,
    /// From the connection to the end of the TLS handshake and the first byte of a request: slow
    /// starters hold a descriptor and nothing else.
    handshake_timeout_ms: u64 = 10_000 in 100..=120_000,
    /// From the first byte of a request's head to its end (slow headers, "Slowloris").
    head_timeout_ms: u64 = 10_000 in 100..=120_000,
    /// A connection without a request in flight is closed after this time. Longer than most
    /// clients' own, so that the client closes first and no request meets a closing connection.
    keep_alive_timeout_ms: u64 = 75_000 in 100..=3_600_000,
    /// Bytes of all header lines of a request together: 431 above. Browsers and tools stay below 8 KiB.
    head_bytes_max: usize = 16_384 in 1_024..=65_536,
    /// Bytes of the request target: 414 above.
    target_bytes_max: usize = 8_192 in 256..=65_536,
    /// Bytes of a request's body: 413 above. Bodies are streamed, so this protects the upstream, not
    /// genkan's memory.
    body_bytes_max: u64 = 4_294_967_296 in 0..=1_099_511_627_776,
    /// A body, in either direction, of which nothing moves for this long is cut. Event streams are
    /// excepted: they may be silent.
    body_idle_timeout_ms: u64 = 30_000 in 100..=3_600_000,
    /// A WebSocket or another tunnel in which nothing moves, either way, for this long is closed.
    /// Clients that mean to stay ping every 20 to 60 seconds; who is silent for an hour has gone, and
    /// would hold two descriptors for ever.
    tunnel_idle_timeout_ms: u64 = 3_600_000 in 100..=86_400_000,
    /// HTTP/2 streams at a time in one connection (RFC 9113 §5.1.2).
    http2_streams_max: u32 = 200 in 1..=10_000,
    /// HTTP/2 flow-control window of one stream, in bytes: what one slow upstream can hold in memory.
    http2_stream_window_bytes: u32 = 262_144 in 65_535..=16_777_216,
    /// Connections to upstreams, of the whole process, idle ones included: at most half of the bound.
    /// A request that needs one more is answered 503. Where the system gives fewer descriptors, the bound
    /// is lowered at the start.
    upstream_connections_max: usize = 20_000 in 1..=2_000_000,
    /// Idle connections kept to one upstream address, for each worker.
    upstream_idle_connections_max: usize = 256 in 0..=100_000,
    /// Known keys kept in memory, about 600 bytes each. The least used leave first.
    cache_keys_max: u64 = 100_000 in 1..=10_000_000,
    /// Hashes remembered as unknown, about 100 bytes each, in a cache of their own: guesses do not
    /// drive known keys out.
    cache_unknown_max: u64 = 20_000 in 1..=10_000_000,
    /// The same for keys that are not in genkan's format, in a cache of their own: random texts need
    /// no checksum, and drive nothing else out.
    cache_unknown_imported_max: u64 = 5_000 in 1..=10_000_000,
    /// Look-ups in the store at a time: as many of new keys, and as many of keys that were good here
    /// before. A key that finds no place in time is answered 503, and guessing cannot load the store
    /// with more than this.
    lookups_max: usize = 32 in 1..=10_000,
    /// The same for keys that are not in genkan's format, once such keys were imported; before, they
    /// are refused without a look-up. Few, as anybody can invent them; at most half of what the store
    /// looks up at a time.
    lookups_imported_max: usize = 8 in 1..=10_000,
    /// The longest that a request waits for the store; then 503.
    lookup_timeout_ms: u64 = 250 in 10..=60_000,
    /// How long an instance may answer from its cache without having renewed its lease. Both the
    /// outage of the database that cached keys survive and the worst wait of a revocation.
    lease_ms: u64 = 3_000 in 300..=60_000,
    /// How long an open request may stand still because the lease is out; then it is cut. Longer than a
    /// restart of the database takes.
    freeze_timeout_ms: u64 = 30_000 in 100..=3_600_000,
    /// Revocations remembered one by one. Older cache entries are looked up anew.
    tombstones_max: usize = 65_536 in 1..=10_000_000,
    /// Requests a second of one key on one instance, in bursts of up to one second's worth: 429 above.
    /// 0: not limited.
    requests_per_second_per_key: u32 = 0 in 0..=1_000_000,
    /// At the end: from SIGTERM until no more connections are accepted. Give a load balancer time to
    /// see `/readyz` answer 503.
    shutdown_delay_ms: u64 = 0 in 0..=600_000,
    /// At the end: how long idle HTTP/1.1 connections are kept after the last was accepted. A request
    /// that is on its way on one is answered, with `Connection: close`, rather than reset.
    shutdown_linger_ms: u64 = 1_000 in 0..=60_000,
    /// At the end: how long requests in flight may take to finish. What is left then is cut and counted.
    shutdown_timeout_ms: u64 = 30_000 in 0..=3_600_000,
    /// At the end: how long clients have to take the reason for which they are cut: a close frame of a
    /// WebSocket, the last event of a stream, the answer 503 of a request.
    shutdown_notice_ms: u64 = 1_000 in 0..=60_000,
    /// At the end: how long the steps after the last request may take together: what was noted of keys is
    /// written, the instance leaves the database, the connections to it are closed. What is not done
    /// then is left, with a line in the log: a database that does not answer keeps no process.
    shutdown_store_timeout_ms: u64 = 5_000 in 100..=600_000,
    /// Log lines that wait to be written. Above, lines are dropped and counted: a full disk or a slow
    /// terminal stops no request.
    log_lines_max: usize = 8_192 in 16..=1_000_000,
}
