//! Which route a request takes, and whether its caller may take it.
//!
//! **Invariant.** A [`Permit`] is made in one place ([`Found::authorize`] and its siblings, in
//! `authorize.rs`), and forwarding takes a permit. The path that chose the route is the path that is
//! forwarded ([`path`]). What a lenient reader of the same path would find, the caller may too
//! (`lenient`).

mod authorize;
mod found;
mod host;
mod lenient;
mod origins;
pub mod path;
mod table;

pub use authorize::Permit;
pub use found::Found;
pub use host::without_dot;
pub use table::{Route, Routes};
