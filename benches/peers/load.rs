//! The load generators, and what they report.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::contenders::{Start, Wire};
use crate::pinned;
use crate::tools::Program;

/// Beyond its own duration, a load generator gets this long to connect and to sum up.
const GRACE: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Answers {
    /// Answers with a 2xx status.
    pub(crate) good: u64,
    /// Other answers, and requests without any.
    pub(crate) bad: u64,
}

/// Loads a contender for `seconds`.
pub(crate) async fn run(start: &Start<'_>, seconds: u64) -> anyhow::Result<Answers> {
    let (key, port) = (start.lab.keys.valid(), start.port);
    let at_most = Duration::from_secs(seconds) + GRACE;
    // wrk takes a header without a blank after the colon for none, and says nothing.
    let header = format!("x-api-key: {key}");
    let (program, flags, scheme, parse): (_, _, _, fn(&str) -> Option<Answers>) = match start.wire {
        Wire::Http1 => (
            Program::Wrk,
            format!("-t1 -c32 -d{seconds}s"),
            "http",
            parse_wrk,
        ),
        Wire::TlsHttp2 => (
            Program::H2load,
            format!("-t1 -c8 -m8 -D{seconds}"),
            "https",
            parse_h2load,
        ),
    };
    let url = format!("{scheme}://127.0.0.1:{port}/");
    let mut arguments: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    arguments.extend(["-H".to_owned(), header, url]);
    let report = pinned::run(start.lab.tools.path(program)?, &arguments, at_most).await?;
    let answers = parse(&report).with_context(|| format!("unknown report: {report}"))?;
    ensure!(answers.good + answers.bad > 0, "no answers: {report}");
    Ok(answers)
}

/// One request over TLS and HTTP/2; whether it got a 2xx.
pub(crate) async fn once_over_tls(start: &Start<'_>, key: &str) -> anyhow::Result<bool> {
    let url = format!("https://127.0.0.1:{}/", start.port);
    let arguments = ["-n1", "-c1", &format!("-Hx-api-key: {key}"), &url].map(str::to_owned);
    let program = start.lab.tools.path(Program::H2load)?;
    let report = pinned::run(program, &arguments, GRACE).await?;
    ensure!(
        report.contains("Application protocol: h2"),
        "HTTP/2 was not agreed on: {report}"
    );
    Ok(parse_h2load(&report).is_some_and(|answers| answers.good == 1))
}

/// wrk counts all answers, and says apart which were not 2xx or 3xx. (No contender redirects.)
fn parse_wrk(report: &str) -> Option<Answers> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    let all: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    let last = |prefix| {
        let line = report
            .lines()
            .find_map(|line| line.trim().strip_prefix(prefix));
        line.map_or(0, |line| numbers(line).sum::<u64>())
    };
    let refused = last("Non-2xx or 3xx responses:");
    Some(Answers {
        good: all.saturating_sub(refused),
        bad: refused + last("Socket errors:"),
    })
}

/// h2load prints "status codes: 12 2xx, 0 3xx, …" and "requests: …, 0 failed, 0 errored, 0 timeout".
fn parse_h2load(report: &str) -> Option<Answers> {
    let line = |prefix| report.lines().find_map(|line| line.strip_prefix(prefix));
    let count = |text: &str, label: &str| -> Option<u64> {
        let part = text.split(',').find(|part| part.trim().ends_with(label))?;
        part.split_ascii_whitespace().next()?.parse().ok()
    };
    let good = count(line("status codes: ")?, " 2xx")?;
    Some(Answers {
        good,
        bad: count(line("requests: ")?, " failed")?,
    })
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|char: char| !char.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
}
