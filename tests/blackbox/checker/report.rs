//! The summary, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Plan;
use super::faults::Fault;
use super::ground::Ground;
use super::verdict::{Breach, Verdict};

/// What a check came to.
pub struct Report {
    pub table: String,
    /// Each promise that was not kept.
    pub failures: Vec<String>,
    /// The first of them in full.
    pub message: Vec<String>,
}

/// How the check ran.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub took: Duration,
    /// Per cent of the machine, the checker's own part included.
    pub busy: u64,
}

/// The figures of a histogram of nanoseconds, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Figures {
    count: u64,
    p50: f64,
    p99: f64,
    worst: f64,
}

impl Figures {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50: millis(histogram.value_at_quantile(0.5)),
            p99: millis(histogram.value_at_quantile(0.99)),
            worst: millis(histogram.max()),
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.count == 0 {
            return write!(f, "0 | – | – | –");
        }
        let Self {
            count,
            p50,
            p99,
            worst,
        } = self;
        write!(f, "{count} | {p50:.1} | {p99:.1} | {worst:.1}")
    }
}

fn millis(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1_000.0
}

pub fn of(ground: &Ground, run: Run, panics: &[String]) -> Report {
    let verdict = &ground.verdict;
    let mut table = seen(ground, run);
    receipts(verdict, &mut table);
    promises(verdict, &mut table);
    Report {
        table,
        failures: failures(&ground.plan, verdict, panics),
        message: verdict.message(),
    }
}

fn seen(ground: &Ground, run: Run) -> String {
    let verdict = &ground.verdict;
    let plan = &ground.plan;
    let rows = [
        ("gateways", ground.gateways.len() as u64),
        ("seed", plan.seed),
        ("seconds", run.took.as_secs()),
        (
            "requests a second",
            verdict.requests.get() / run.took.as_secs().max(1),
        ),
        (
            "per cent of the machine busy, all of this together",
            run.busy,
        ),
        ("requests", verdict.requests.get()),
        (
            "of these, begun after their key's receipt",
            verdict.asked_after.get(),
        ),
        ("accepted (200)", verdict.accepted.get()),
        ("refused (401)", verdict.refused.get()),
        ("unavailable (503)", verdict.unavailable.get()),
        ("no answer or another", verdict.failed.get()),
        ("relayed to the upstream", verdict.relayed.get()),
        ("event streams opened", verdict.streams.get()),
        ("long polls opened", verdict.polls.get()),
        ("WebSockets opened", verdict.sockets.get()),
        (
            "of these three, ended after their key was revoked",
            verdict.ended.get(),
        ),
    ];
    let mut table = "| seen | |\n|---|---|\n".to_owned();
    for (what, number) in rows {
        writeln!(table, "| {what} | {number} |").unwrap();
    }
    let delay = millis(verdict.own_delay.get());
    writeln!(
        table,
        "| worst delay of the checker itself | {delay:.1} ms |"
    )
    .unwrap();
    table
}

fn receipts(verdict: &Verdict, table: &mut String) {
    let receipts = verdict.receipts.lock().unwrap();
    let mut all = super::verdict::histogram();
    for under in &receipts.under {
        all.add(under).unwrap();
    }
    let (calm, under_fault) = (Figures::of(&receipts.calm), Figures::of(&all));
    table.push_str("\n| receipts, ms | faults | revocations | p50 | p99 | worst |\n|---|---|---|---|---|---|\n");
    writeln!(table, "| without a fault | – | {calm} |").unwrap();
    let injected: u64 = verdict
        .injected
        .iter()
        .map(super::verdict::Counter::get)
        .sum();
    writeln!(
        table,
        "| under a fault or just after | {injected} | {under_fault} |"
    )
    .unwrap();
    for fault in Fault::ALL {
        let times = verdict.injected[fault as usize].get();
        let figures = Figures::of(&receipts.under[fault as usize]);
        writeln!(table, "| – {} | {times} | {figures} |", fault.words()).unwrap();
    }
    let lateness = [
        (
            "bytes of revoked streams, after the receipt",
            &verdict.late_bytes,
        ),
        (
            "ends of revoked streams, after the receipt (without a fault)",
            &verdict.late_ends,
        ),
    ];
    for (what, histogram) in lateness {
        let figures = Figures::of(&histogram.lock().unwrap());
        writeln!(table, "| {what} | – | {figures} |").unwrap();
    }
    let (acknowledged, fenced) = (receipts.acknowledged, receipts.fenced);
    writeln!(
        table,
        "\nInstances in receipts: {acknowledged} acknowledged, {fenced} fenced, {} deregistered.",
        receipts.deregistered
    )
    .unwrap();
}

fn promises(verdict: &Verdict, table: &mut String) {
    table.push_str("\n| promise | broken |\n|---|---|\n");
    for breach in Breach::ALL {
        writeln!(
            table,
            "| {} | {} |",
            breach.words(),
            verdict.breaches(breach)
        )
        .unwrap();
    }
}

fn failures(plan: &Plan, verdict: &Verdict, panics: &[String]) -> Vec<String> {
    let mut failures = Vec::new();
    for breach in Breach::ALL {
        let count = verdict.breaches(breach);
        if count > 0 {
            failures.push(format!("{}: {count}", breach.words()));
        }
    }
    let receipts = verdict.receipts.lock().unwrap();
    let worst = receipts.under.iter().map(Histogram::max).max();
    let worst = Duration::from_nanos(worst.unwrap_or(0).max(receipts.calm.max()));
    if worst > plan.receipt_max {
        failures.push(format!(
            "a receipt took {worst:?}, more than {:?}",
            plan.receipt_max
        ));
    }
    if receipts.acknowledged == 0 || verdict.asked_after.get() == 0 {
        failures.push("nothing was checked".to_owned());
    }
    failures.extend(
        panics
            .iter()
            .map(|line| format!("a gateway panicked: {line}")),
    );
    failures
}
