//! Child processes: each on one core, in a process group of its own, ended when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a contender may take to end when asked politely.
const END_MAX: Duration = Duration::from_secs(3);

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Core {
    /// Core 0: load generator and upstream.
    Generator,
    /// Core 1: the contender alone.
    Contender,
}

impl Core {
    const fn number(self) -> &'static str {
        match self {
            Self::Generator => "0",
            Self::Contender => "1",
        }
    }
}

/// A program with everything it started.
pub(crate) struct Pinned {
    child: Child,
    group: Pid,
    output: PathBuf,
}

impl Pinned {
    /// Starts a program; what it says goes to `output.log` in `folder`.
    pub(crate) fn start(
        core: Core,
        program: &Path,
        arguments: &[String],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let output = folder.join("output.log");
        let log = File::create(&output)?;
        let child = on(core, program)
            .args(arguments)
            .env("HOME", folder)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} could not be started", program.display()))?;
        // The group has the id of its first process, which `taskset` becomes by exec.
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let group = id.context("the process ended at once")?;
        Ok(Self {
            child,
            group,
            output,
        })
    }

    /// The process group: the id under which its CPU time and memory are found.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    /// Says what it last said, for an error message.
    pub(crate) fn sse_error(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Asks it to end and waits; what is left after a while is killed by the drop.
    pub(crate) async fn stop(mut self) {
        if kill_process_group(self.group, Signal::TERM).is_ok() {
            drop(timeout(END_MAX, self.child.wait()).await);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // An error means that the group is gone already, which is what is wanted.
        kill_process_group(self.group, Signal::KILL).ok();
    }
}

/// A core that nobody needs is halted, and on a virtual machine it takes the host milliseconds to wake
/// it: then the wait is measured, not the work. These loops, of the scheduler's idle class, run only
/// when nothing else wants the core, and keep it awake. They end when dropped.
pub(crate) fn keep_awake() -> anyhow::Result<[Child; 2]> {
    let turn = |core: Core| {
        Command::new("chrt")
            .args(["--idle", "0", "taskset", "-c", core.number()])
            .args(["sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chrt could not be started: apt-get install -y util-linux")
    };
    Ok([turn(Core::Generator)?, turn(Core::Contender)?])
}

/// A command on one core.
fn on(core: Core, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", core.number()])
        .arg(program)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a load generator to its end, at most `at_most`; returns what it printed.
pub(crate) async fn run(
    program: &Path,
    arguments: &[String],
    at_most: Duration,
) -> anyhow::Result<String> {
    let name = program.display();
    let running = on(Core::Generator, program).args(arguments).output();
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(at_most, running)
        .await
        .with_context(|| format!("{name} did not end within {} s", at_most.as_secs()))??;
    if !status.success() {
        bail!(
            "{name} failed ({status}): {}",
            String::from_utf8_lossy(&stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
