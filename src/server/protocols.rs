//! Configures hyper's HTTP/1.1 and HTTP/2 servers for client connections.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::config::limits::Limits;
use crate::proxy::upstream::LocalExecutor;

/// Largest read buffer of one HTTP/1 connection, in bytes. It holds the largest head, and body chunks that are
/// large enough to be worth a system call.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Interval between PING frames to an idle HTTP/2 client, and the time limit for its answer.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);

pub(super) fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The watch enforces the deadlines; `listen::watch` explains why.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
        .max_header_size(limits.head_bytes_max + limits.target_bytes_max)
        // Some MCP clients look for `WWW-Authenticate` in exactly this case.
        .title_case_headers(true)
        .writev(false);
    builder
}

pub(super) fn http2_builder(limits: &Limits) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_EVERY)
        .max_concurrent_streams(limits.http2_streams_max)
        .initial_stream_window_size(limits.http2_stream_window_bytes)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX));
    builder
}
