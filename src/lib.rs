//! genkan (玄関): an authentication gateway that recognises callers before they step in.
//!
//! The floors, from the ground up; a module imports only from floors below its own. ARCHITECTURE.md
//! is the map, and a test of the tree holds it.

// floor 0
pub mod model;
// floor 1
pub mod config;
// floor 2
pub mod listen;
pub mod store;
// floor 3
pub mod invalidation;
pub mod record;
// floor 4
pub mod auth;
pub mod oidc;
// floor 5
pub mod route;
pub mod service;
// floor 6
pub mod demo;
pub mod manage;
pub mod proxy;
// floor 7
pub mod console;
// floor 8
pub mod server;
// floor 9
pub mod cli;
