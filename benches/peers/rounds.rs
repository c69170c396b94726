//! One contender in one round: start, ask who may pass, warm up, measure, stop.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use genkan::model::clock::{Clock, SystemClock};

use crate::contenders::{Auth, Contender, Start, Wire};
use crate::cpu::{Reading, resident_kib};
use crate::lab::{Lab, free_port};
use crate::options::Options;
use crate::pinned::{Core, Pinned};
use crate::talk::say;
use crate::{load, probe};

/// What a start, the questions and a stop take beside warm-up and measurement, roughly.
pub(crate) const OVERHEAD_SECONDS: u64 = 1;

/// A key of the right form that nobody has.
const UNKNOWN_KEY: &str = "not-a-key-of-this-gateway-0123456789";

/// A contender that runs and answers.
pub(crate) struct Running<'a> {
    /// How it was started.
    pub(crate) start: Start<'a>,
    /// Its processes.
    pub(crate) process: Pinned,
    /// From its start to its first 200; over TLS, to the open port.
    pub(crate) first_answer: Duration,
}

/// What one round found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// CPU time of the contender for each good answer, in µs.
    pub(crate) cpu_us: f64,
    /// Good answers a second.
    pub(crate) per_second: f64,
    /// Resident memory after the load, in MiB.
    pub(crate) resident_mib: f64,
    /// From its start to its first answer, in ms.
    pub(crate) first_answer_ms: f64,
}

/// Everything that was found, and everything that went wrong.
#[derive(Default)]
pub(crate) struct Results {
    /// By label, in the order of the rounds.
    pub(crate) measured: BTreeMap<String, Vec<Measured>>,
    /// One line for each round that does not count.
    pub(crate) failures: Vec<String>,
    /// The rows, in order.
    pub(crate) rows: Vec<(String, Auth)>,
}

impl Results {
    /// Takes in a round, good or bad.
    pub(crate) fn add(&mut self, contender: &Contender, round: anyhow::Result<Measured>) {
        let label = contender.label();
        if !self.rows.iter().any(|(known, _)| *known == label) {
            self.rows.push((label.clone(), contender.auth));
        }
        match round {
            Ok(measured) => self.measured.entry(label).or_default().push(measured),
            Err(error) => {
                say!("  {label}: {error:#}");
                self.failures.push(format!("{label}: {error:#}"));
            }
        }
    }

    /// An error when any round failed: a table with holes must not look whole to a script.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        ensure!(
            self.failures.is_empty(),
            "{} rounds failed, see above",
            self.failures.len()
        );
        Ok(())
    }
}

/// Starts a contender and waits for its first answer.
pub(crate) async fn start<'a>(lab: &'a Lab, contender: &Contender) -> anyhow::Result<Running<'a>> {
    let start = Start {
        lab,
        wire: contender.wire,
        port: free_port()?,
        folder: lab.fresh_folder()?,
    };
    let arguments = (contender.configure)(&start)?;
    let program = lab.tools.path(contender.program)?;
    let began = SystemClock.boot();
    let process = Pinned::start(Core::Contender, program, &arguments, &start.folder)?;
    let up = match contender.wire {
        Wire::Http1 => probe::until_served(start.port, lab.keys.valid()).await,
        Wire::TlsHttp2 => probe::until_open(start.port).await,
    };
    up.with_context(|| process.sse_error())?;
    Ok(Running {
        first_answer: SystemClock.boot().since(began),
        start,
        process,
    })
}

/// One round of one contender.
pub(crate) async fn measure(
    lab: &Lab,
    contender: &Contender,
    options: &Options,
) -> anyhow::Result<Measured> {
    let running = start(lab, contender).await?;
    require_a_door(contender, &running.start).await?;
    load::run(&running.start, options.warmup_seconds).await?;

    let group = running.process.group();
    let before = Reading::of(group);
    let answers = load::run(&running.start, options.seconds).await?;
    let used = Reading::of(group).since(&before);
    let resident_kib = resident_kib(group);
    running.process.stop().await;

    if answers.bad > 0 {
        bail!(
            "{} of {} requests went wrong",
            answers.bad,
            answers.bad + answers.good
        );
    }
    ensure!(
        used.threads_lost == 0,
        "{} threads ended during the round",
        used.threads_lost
    );
    Ok(Measured {
        cpu_us: used.cpu.as_secs_f64() * 1e6 / count(answers.good),
        per_second: count(answers.good) / count(options.seconds),
        resident_mib: count(resident_kib) / 1024.0,
        first_answer_ms: running.first_answer.as_secs_f64() * 1e3,
    })
}

/// A contender that lets everybody in has not been asked to do the work it is measured for.
async fn require_a_door(contender: &Contender, start: &Start<'_>) -> anyhow::Result<()> {
    let opens = match contender.wire {
        Wire::Http1 => probe::request(start.port, UNKNOWN_KEY).await?.0 == 200,
        Wire::TlsHttp2 => {
            let valid = load::once_over_tls(start, start.lab.keys.valid()).await?;
            ensure!(valid, "the valid key is refused");
            load::once_over_tls(start, UNKNOWN_KEY).await?
        }
    };
    match (contender.auth, opens) {
        (Auth::Keys | Auth::OneKey, true) => bail!("an unknown key is let in"),
        (Auth::Off, false) => bail!("a request without a valid key is refused"),
        (Auth::Keys | Auth::OneKey, false) | (Auth::Off, true) => Ok(()),
    }
}

/// Counts here are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests and KiB stay below 2^53"
)]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}
