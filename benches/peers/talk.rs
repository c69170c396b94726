//! The table goes to standard output, everything else to standard error.

use std::io::Write;

/// One line of progress.
macro_rules! say {
    ($($text:tt)*) => { $crate::talk::progress(format_args!($($text)*)) };
}
pub(crate) use say;

/// Writes a line to standard error. A reader who left misses nothing.
pub(crate) fn progress(line: std::fmt::Arguments<'_>) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Writes a result to standard output.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
