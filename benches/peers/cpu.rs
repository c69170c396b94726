//! The scheduler's own accounting of a process group: nanoseconds on a core, and resident memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

/// Nanoseconds on a core of every thread alive, by thread id.
pub(crate) struct Reading(BTreeMap<u32, u64>);

/// What a process group used between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Of all threads that were alive at the end.
    pub(crate) cpu: Duration,
    /// Threads that ended between: their last share is lost, and the figure is too low.
    pub(crate) threads_lost: usize,
}

impl Reading {
    /// Reads `/proc/PID/task/*/schedstat`; the first figure is the time on a core (Linux,
    /// Documentation/scheduler/sched-stats.rst).
    pub(crate) fn of(group: Pid) -> Self {
        let tasks = members(group)
            .into_iter()
            .flat_map(|process| entries(process.join("task")));
        Self(
            tasks
                .filter_map(|task| {
                    let id = task.file_name()?.to_str()?.parse().ok()?;
                    let text = fs::read_to_string(task.join("schedstat")).ok()?;
                    Some((id, text.split_ascii_whitespace().next()?.parse().ok()?))
                })
                .collect(),
        )
    }

    /// What was used since the `earlier` reading. A new thread began at zero.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let nanos = self
            .0
            .iter()
            .map(|(task, now)| now.saturating_sub(earlier.0.get(task).copied().unwrap_or(0)));
        Used {
            cpu: Duration::from_nanos(nanos.sum()),
            threads_lost: earlier
                .0
                .keys()
                .filter(|task| !self.0.contains_key(task))
                .count(),
        }
    }
}

/// Resident memory of the group in KiB: the sum of `VmRSS`. What processes share counts for each.
pub(crate) fn resident_kib(group: Pid) -> u64 {
    members(group)
        .into_iter()
        .filter_map(|process| {
            let status = fs::read_to_string(process.join("status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// `/proc/PID` of every process in the group.
fn members(group: Pid) -> Vec<PathBuf> {
    let group = group.as_raw_nonzero().to_string();
    entries("/proc".into())
        .filter(|process| {
            // "PID (name) state parent group …"; the name may have spaces and parentheses.
            fs::read_to_string(process.join("stat"))
                .ok()
                .and_then(|stat| {
                    let (_name, rest) = stat.rsplit_once(')')?;
                    Some(rest.split_ascii_whitespace().nth(2)? == group)
                })
                .unwrap_or(false)
        })
        .collect()
}

/// The entries of a folder of /proc; none when the process has ended.
fn entries(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}
