//! `cargo bench --bench peers`: what a request costs genkan in CPU time, beside its peers.
//!
//! The story: find the programs, lay out the laboratory, let the contenders run one after another in
//! several rounds, print one table. What is measured, and why so, is in `benches/README.md`.
//!
//! Everything is on loopback, every process is a child of this one and ends with it, and the whole
//! takes about as long as it says at the beginning.

mod caddy;
mod contenders;
mod cpu;
mod envoy;
mod genkan_gateway;
mod haproxy;
mod idle;
mod lab;
mod load;
mod machine;
mod nginx;
mod options;
mod pinned;
mod probe;
mod rounds;
mod table;
mod talk;
mod tools;

use anyhow::{Context, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use contenders::Contender;
use lab::Lab;
use options::Options;
use rounds::Results;
use talk::say;
use tools::Tools;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    // Dropping `run` drops every child's guard, so an interrupted benchmark leaves nothing behind.
    tokio::select! {
        outcome = run(&options) => outcome,
        _ = tokio::signal::ctrl_c() => bail!("interrupted: every process was ended"),
        _ = terminated.recv() => bail!("terminated: every process was ended"),
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    machine::require_two_cores()?;
    let tools = Tools::find(options.install).await?;
    let contenders = contenders::present(&tools, options);
    if contenders.is_empty() {
        bail!("nothing to compare: see the commands above, or pass --install");
    }
    announce(&contenders, options);

    let lab = Lab::build(tools, &contenders)
        .await
        .context("the laboratory could not be laid out")?;
    let _awake = pinned::keep_awake()?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for contender in &contenders {
            say!("round {round} of {}: {}", options.rounds, contender.label());
            results.add(contender, rounds::measure(&lab, contender, options).await);
        }
    }
    talk::print(&machine::facts(&lab.tools))?;
    talk::print(&table::of(&results, options))?;
    if options.idle {
        talk::print(&idle::table(&lab, &contenders).await?)?;
    }
    results.verdict()
}

fn announce(contenders: &[&Contender], options: &Options) {
    let each = options.seconds + options.warmup_seconds + rounds::OVERHEAD_SECONDS;
    let runs = contenders.len() as u64 * u64::from(options.rounds);
    say!(
        "{} contenders × {} rounds × about {each} s: about {} s in all",
        contenders.len(),
        options.rounds,
        runs * each
    );
}
