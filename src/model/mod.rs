//! The words: what a key, a member, a scope and a refusal are.
//!
//! Floor 0. No I/O but the two doors to the machine's clock and randomness ([`clock`], [`random`]),
//! no async, no HTTP. Everything above speaks in these types.

pub mod audit;
pub mod change;
pub mod clock;
pub mod cookie;
pub mod header;
pub mod id;
pub mod key;
pub mod language;
pub mod member;
pub mod name;
pub mod network;
pub mod principal;
pub mod random;
pub mod refusal;
pub mod scope;
pub mod token;
pub mod translation;
pub mod usage;
