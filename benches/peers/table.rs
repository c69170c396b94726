//! The table: medians with their spreads, and ratios to the floor and to the mark.

use std::fmt::Write;

use crate::contenders::{Auth, FLOOR, MARK};
use crate::options::Options;
use crate::rounds::{Measured, Results};

/// Median, lowest and highest of several rounds.
pub(crate) struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// None of no rounds.
    pub(crate) fn of(rounds: &[Measured], figure: fn(&Measured) -> f64) -> Option<Self> {
        let mut sorted: Vec<f64> = rounds.iter().map(figure).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) {
            *sorted.get(middle.checked_sub(1)?)?
        } else {
            upper
        };
        Some(Self {
            median: f64::midpoint(lower, upper),
            low: *sorted.first()?,
            high: *sorted.last()?,
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} [{:.1}..{:.1}]", self.median, self.low, self.high)
    }
}

/// The whole table in Markdown, and below it every round that does not count.
pub(crate) fn of(results: &Results, options: &Options) -> String {
    let median = |label: &str| {
        let rounds = results.measured.get(label)?;
        Spread::of(rounds, |round| round.cpu_us).map(|spread| spread.median)
    };
    let (floor, mark) = (median(FLOOR), median(MARK));
    let mut text = String::from(
        "\n| | auth | CPU per request, µs | × floor | × nginx | requests/s | resident, MiB | first answer, ms |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (label, auth) in &results.rows {
        let rounds = results.measured.get(label).map_or(&[][..], Vec::as_slice);
        text.push_str(&row(label, *auth, rounds, [floor, mark]));
    }
    let (rounds, seconds) = (options.rounds, options.seconds);
    write_line(
        &mut text,
        format_args!(
            "\nMedian [lowest..highest] of {rounds} rounds of {seconds} s, taken in turn. Floor: {FLOOR}; \
             nginx: {MARK}, both over plain HTTP/1.1. Only 2xx count."
        ),
    );
    for failure in &results.failures {
        write_line(
            &mut text,
            format_args!("\nA round that does not count: {failure}"),
        );
    }
    text
}

fn row(label: &str, auth: Auth, rounds: &[Measured], compared: [Option<f64>; 2]) -> String {
    let auth = match auth {
        Auth::Off => "no",
        Auth::OneKey => "one key",
        Auth::Keys => "yes",
    };
    let Some(cpu) = Spread::of(rounds, |round| round.cpu_us) else {
        return format!("| {label} | {auth} | failed | – | – | – | – | – |\n");
    };
    let [floor, mark] = compared
        .map(|base| base.map_or("–".to_owned(), |base| format!("{:.2}", cpu.median / base)));
    let plain = |figure: fn(&Measured) -> f64| {
        Spread::of(rounds, figure).map_or(String::new(), |spread| format!("{:.0}", spread.median))
    };
    format!(
        "| {label} | {auth} | {cpu} | {floor} | {mark} | {} | {} | {} |\n",
        plain(|round| round.per_second),
        plain(|round| round.resident_mib),
        plain(|round| round.first_answer_ms),
    )
}

/// Writing to a string cannot fail.
fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").ok();
}
