//! The `genkan` binary: process-wide choices, then the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use genkan::cli::Cli;
use genkan::cli::exit::Exit;

/// Frees from other threads than the one that allocated are cheap, and memory goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for what blocks (name look-up, SQLite's own calls): the control plane does little of it.
const BLOCKING_THREADS_MAX: usize = 16;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Once for the whole process, before anything speaks TLS. An error says that it was done already.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // The control plane. The data plane's threads are started by the server.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(cli.run());
            // What still blocks a thread, a name look-up for one, is left.
            runtime.shutdown_background();
            exit.into()
        }
        Err(error) => {
            // Standard error may be closed too; the code says it then.
            let _told = writeln!(
                std::io::stderr(),
                "genkan: the system gives no event queue: {error}"
            );
            Exit::Failed.into()
        }
    }
}
