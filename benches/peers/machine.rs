//! On what it was measured: a figure without its machine is a rumour.

use std::fs;

use anyhow::ensure;

use crate::tools::Tools;

/// The method needs a core for the contender alone.
pub(crate) fn require_two_cores() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(
        cores >= 2,
        "two cores are needed: one for the load, one for the proxy; here is {cores}"
    );
    Ok(())
}

/// Processor, kernel and versions, as a Markdown list.
pub(crate) fn facts(tools: &Tools) -> String {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "\n- processor: {processor}, {cores} cores; Linux {}; load average at the end {}\n- {}",
        kernel.trim(),
        load.join(" "),
        tools.versions().join("; ")
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim().to_owned())
}
