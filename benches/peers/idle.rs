//! What an idle connection costs: many are opened, one request is made on each, and all stay.

use std::fmt::Write;

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;

use crate::contenders::{Contender, Wire};
use crate::cpu::resident_kib;
use crate::lab::Lab;
use crate::probe;
use crate::rounds::{self, count};
use crate::talk::say;

/// As many as the mark names.
const CONNECTIONS: u64 = 10_000;
/// Descriptors of this process and of the contender that are not client connections.
const OTHER_DESCRIPTORS: u64 = 1_000;

/// A row for each contender that speaks plain HTTP/1.1.
pub(crate) async fn table(lab: &Lab, contenders: &[&Contender]) -> anyhow::Result<String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = CONNECTIONS.min(limit.saturating_sub(OTHER_DESCRIPTORS));
    let mut text = format!(
        "\n| {wanted} idle connections | idle, MiB | KiB for each connection |\n|---|---|---|\n"
    );
    for contender in contenders
        .iter()
        .filter(|contender| contender.wire == Wire::Http1)
    {
        say!("idle connections: {}", contender.label());
        let cells = match measure(lab, contender, wanted).await {
            Ok((idle_mib, each_kib)) => format!("{idle_mib:.1} | {each_kib:.1}"),
            Err(error) => format!("failed: {error:#} | –"),
        };
        writeln!(text, "| {} | {cells} |", contender.label())?;
    }
    Ok(text)
}

/// Resident MiB before, and KiB more for each connection.
async fn measure(lab: &Lab, contender: &Contender, wanted: u64) -> anyhow::Result<(f64, f64)> {
    let running = rounds::start(lab, contender).await?;
    let group = running.process.group();
    let before = resident_kib(group);
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..wanted {
        open.push(
            probe::request(running.start.port, lab.keys.valid())
                .await?
                .1,
        );
    }
    let after = resident_kib(group);
    drop(open);
    running.process.stop().await;
    Ok((
        count(before) / 1024.0,
        count(after.saturating_sub(before)) / count(wanted),
    ))
}
