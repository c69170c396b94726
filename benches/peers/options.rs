//! What can be asked of the benchmark.

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// CPU time per request: genkan beside its peers.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench peers --")]
pub(crate) struct Options {
    /// How often every contender is measured, in turn; medians need at least 3.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<u32>::new().range(1..=25))]
    pub(crate) rounds: u32,
    /// Length of one measurement.
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..=60))]
    pub(crate) seconds: u64,
    /// Length of the warm-up before it.
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<u64>::new().range(1..=10))]
    pub(crate) warmup_seconds: u64,
    /// Install what is missing: from Debian (as root) and from PyPI into target/bench-peers.
    #[arg(long)]
    pub(crate) install: bool,
    /// Leave out the contenders whose name contains this; can be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) without: Vec<String>,
    /// Only the contenders whose name contains this; can be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Also measure the memory of 10,000 idle connections.
    #[arg(long)]
    pub(crate) idle: bool,
    /// Passed by `cargo bench` itself.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Whether a contender of this label was asked for.
    pub(crate) fn wants(&self, label: &str) -> bool {
        let named = |names: &[String]| {
            let label = label.to_lowercase();
            names
                .iter()
                .any(|name| label.contains(&name.to_lowercase()))
        };
        !named(&self.without) && (self.only.is_empty() || named(&self.only))
    }
}
