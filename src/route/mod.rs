//! Which route a request takes, and whether its caller may take it.
//!
//! **Invariant.** A [`Permit`] is made in one place ([`Route::authorize`] and its siblings in
//! `authorize.rs`), and forwarding takes a permit. The path that chose the route is the path that is
//! forwarded ([`path`]).

mod authorize;
pub mod path;
mod table;

pub use authorize::Permit;
pub use table::{Route, Routes};
