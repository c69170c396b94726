//! Sets up logging to standard error, as text or JSON, in a way that never delays a request.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Log, LogFormat};

/// The most verbose level for libraries. At lower levels, the HTTP/2 library logs header values, including keys, so
/// no configuration can enable those levels.
const LIBRARIES: LevelFilter = LevelFilter::WARN;

/// Starts logging. A separate thread writes the lines; if more than `lines_max` are waiting, further lines are
/// dropped. Dropping the guard writes the waiting lines.
pub(super) fn init(log: &Log, lines_max: usize) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines_max)
        .finish(io::stderr());
    let filter = filter(log.level);
    let lines = fmt::layer().with_writer(writer);
    let lines = match log.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
        LogFormat::Human => lines
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    // Fails if a logger is installed already, as in tests; that one is then used.
    let _installed = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    guard
}

fn filter(level: Level) -> Targets {
    Targets::new()
        .with_target("genkan", level)
        .with_default(LIBRARIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_makes_a_library_print_headers() {
        let filter = filter(Level::TRACE);
        assert!(filter.would_enable("genkan::proxy", &Level::TRACE));
        for library in ["h2::codec", "hyper::proto", "rustls::conn", "sqlx::query"] {
            assert!(!filter.would_enable(library, &Level::INFO), "{library}");
        }
    }
}
