//! Debian's packages, for machines where a test may install what it needs.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// One at a time: the package manager's own lock makes a second one fail.
static TURN: Mutex<()> = Mutex::new(());

/// Installs packages as root. False: this is not root, there is no apt-get, or it failed; what it said is on
/// standard output.
pub fn install(packages: &[&str]) -> bool {
    if !rustix::process::getuid().is_root() {
        return false;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let install = ["install", "-y", "--no-install-recommends"];
    run(&["update"]) && run(&[&install, packages].concat())
}

fn run(arguments: &[&str]) -> bool {
    println!("apt-get {}", arguments.join(" "));
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("{}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            println!("{error}");
            false
        }
    }
}
