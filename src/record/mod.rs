//! What is remembered of a request: counted always, logged where the configuration says so.
//!
//! **Invariant.** A [`request::Record`] is begun once and finished once: by the end of the answer, or,
//! where that never comes, by being dropped. No label holds a key id, an address or a path, so the
//! number of series is bounded by routes × methods × status codes.

pub mod metrics;
pub mod refusals;
pub mod request;
pub mod request_id;
pub mod usage;
