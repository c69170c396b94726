//! The terminal that a process was started from.

use std::fs::{self, File};

/// SIGHUP's bit in a mask of signals (`signal(7)`: number 1).
const HANGUP_BIT: u64 = 1;

/// Whether the process has a terminal. One that was closed is none any more (`tty(4)`).
pub(super) fn is_there() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP was not already ignored when the process began (`proc(5)`, `SigIgn`): with `nohup` it was, so that
/// the process outlives its terminal.
pub(super) fn hangup_is_heeded() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default() & HANGUP_BIT == 0
}
