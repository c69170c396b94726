//! `cargo bench --bench instructions`: what the decision about one request costs, in instructions.
//!
//! Nanoseconds move with the neighbours of a machine; instructions do not. This program runs itself
//! under valgrind's callgrind, each subject twice, N and 2 N times; the difference divided by N is one
//! call, without start-up and without markers in the code. It needs `valgrind` and nothing else. (The
//! usual harness for this needs a second binary of exactly the version of its library: a command that
//! fails on a fresh clone.)
//!
//! The whole decision is not among the subjects: with the threads of a store around it, the program does
//! not get through valgrind.
//!
//! valgrind does not show SHA-NI to the program, so a hash here is the portable one: several times the
//! instructions of the real thing. Compare with former runs, not with nanoseconds.

use std::hint::black_box;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use genkan::model::key::PresentedKey;

#[path = "support/samples.rs"]
mod samples;

/// How often a subject runs; enough that the last digit of a call's figure is stable.
const CALLS: u64 = 1_000;
/// Comes first in the arguments of the runs under valgrind.
const CHILD: &str = "--under-valgrind";

/// What is counted: a name, and a run of so many calls.
type Subject = (&'static str, fn(u64));

const SUBJECTS: &[Subject] = &[
    ("format and checksum", |calls| {
        let key = samples::key_text();
        repeat(calls, || PresentedKey::parse(black_box(key.as_bytes())));
    }),
    ("format, checksum and hash", |calls| {
        let key = samples::key_text();
        repeat(calls, || {
            PresentedKey::parse(black_box(key.as_bytes())).map(PresentedKey::hash)
        });
    }),
    ("a mistyped key", |calls| {
        let key = samples::mistyped(samples::key_text().as_bytes());
        repeat(calls, || {
            PresentedKey::parse(black_box(&key)).map(PresentedKey::hash)
        });
    }),
    ("copy of a principal", |calls| {
        let principal = samples::principal();
        repeat(calls, || black_box(&principal).clone());
    }),
];

fn repeat<T>(calls: u64, call: impl Fn() -> T) {
    for _ in 0..calls {
        black_box(call());
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, calls] = arguments.as_slice()
        && first == CHILD
    {
        return run_subject(name, calls.parse()?);
    }
    let mut out = std::io::stdout();
    writeln!(out, "| | instructions |\n|---|---|")?;
    for (name, _) in SUBJECTS {
        let (once, twice) = (count(name, CALLS)?, count(name, 2 * CALLS)?);
        writeln!(out, "| {name} | {} |", twice.saturating_sub(once) / CALLS)?;
    }
    Ok(())
}

fn run_subject(name: &str, calls: u64) -> anyhow::Result<()> {
    let subject = SUBJECTS.iter().find(|(known, _)| *known == name);
    let (_, run) = subject.with_context(|| format!("unknown subject {name}"))?;
    run(calls);
    Ok(())
}

/// Instructions of a whole run of this program.
fn count(name: &str, calls: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([CHILD, name, &calls.to_string()])
        .output()
        .context("valgrind could not be started: apt-get install -y valgrind")?;
    let report = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {report}");
    let Some((_, collected)) = report.split_once("Collected : ") else {
        bail!("valgrind's report has no count: {report}");
    };
    let digits: String = collected.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
