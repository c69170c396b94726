//! Checks the terminal that the process was started from.

use std::fs::{self, File};

/// SIGHUP's bit in a mask of signals (`signal(7)`: number 1).
const HANGUP_BIT: u64 = 1;

/// Whether the process has a controlling terminal that has not been closed (`tty(4)`).
pub(super) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP is not ignored (`proc(5)`, `SigIgn`). `nohup` starts a process with SIGHUP ignored, so that the
/// process outlives its terminal.
pub(super) fn is_hangup_enabled() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default() & HANGUP_BIT == 0
}
