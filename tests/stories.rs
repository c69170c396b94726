//! The integration tests: real processes, real databases, real clients, told as stories and linked as
//! one binary.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::struct_field_names,
    clippy::unnecessary_debug_formatting,
    clippy::unwrap_used,
    reason = "clippy knows functions marked as tests, not the helpers that they call"
)]

mod support;

mod answers;
mod api;
mod attacks;
mod blackbox;
mod canary;
mod command_line;
mod configuration;
mod console;
mod current_caller;
mod cut_streams;
mod fault_proxy;
mod faults;
mod first_run;
mod framing;
mod graceful_end;
mod lookups;
mod mass_revocation;
mod mcp_clients;
mod mcp_refusals;
mod mcp_sessions;
mod model;
mod names_and_times;
mod people;
mod provider_forms;
mod race;
mod redirects;
mod request_rules;
mod resend;
mod revocation;
mod rolling_restart;
mod seen_from_outside;
mod store_migration;
mod store_story;
mod streaming;
mod takeover;
mod tree;
mod tunnels;
mod upstream_tls;
mod vendor_sequence;
