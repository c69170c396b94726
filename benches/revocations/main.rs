//! `cargo bench --bench revocations`: the long run of the black-box checker.
//!
//! Real gateways, clients at half of what the machine does, a revoker and faults, on a real PostgreSQL;
//! progress on standard error, one table on standard output, exit code 1 when a promise was broken.
//! Loopback only; every process is a child of this one and ends with it.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::struct_field_names,
    clippy::unnecessary_debug_formatting,
    clippy::unwrap_used,
    reason = "the parts of the integration tests: whatever surprises them ends the run"
)]

#[path = "../../tests/blackbox/checker/mod.rs"]
mod checker;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use checker::Plan;
use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Revocations under faults, seen from outside.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench revocations --")]
struct Options {
    /// Keys to revoke, one after another.
    #[arg(long, default_value_t = 10_000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    revocations: usize,
    /// Gateways on the one database.
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    instances: usize,
    /// Of the dice for faults, keys and pauses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The lease of every gateway, in milliseconds.
    #[arg(long, default_value_t = 3_000, value_parser = RangedU64ValueParser::<u64>::new().range(300..=10_000))]
    lease_ms: u64,
    /// Only the load: the latency of receipts from healthy gateways.
    #[arg(long)]
    without_faults: bool,
    /// Passed by `cargo bench` itself.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn plan(&self) -> Plan {
        let lease = Duration::from_millis(self.lease_ms);
        Plan {
            gateways: self.instances,
            revocations: self.revocations,
            time_max: None,
            seed: self.seed,
            with_faults: !self.without_faults,
            lease,
            // Claim 3.
            receipt_max: lease + Duration::from_millis(200),
            late_max: Duration::from_nanos(checker::CUT_WITHIN),
            outlived_after: Duration::from_millis(500),
            progress_every: Some(250),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let report = checker::run(options.plan()).await;
    println!("{}", report.table);
    for message in report.message {
        eprintln!("{message}");
    }
    for failure in &report.failures {
        println!("**Broken**: {failure}");
    }
    if report.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
