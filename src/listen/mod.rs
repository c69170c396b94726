//! Sockets and TLS: from an address to a stream of connections, each with its deadlines.
//!
//! One socket and so one accept queue for each listener: connections are handed to the workers in
//! turn, and at the end the queue is emptied before the socket is closed. (With one socket for each
//! worker, `SO_REUSEPORT`, the kernel spreads by a hash, unevenly, and closing a socket resets what
//! waits in its queue.)

pub mod accept;
pub mod forwarded;
mod frames;
pub mod per_address;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod watch;
