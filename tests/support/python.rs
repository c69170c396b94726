//! Python environments that belong to tests, installed once for each content of their requirements.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp");

/// A program in `tests/mcp`.
pub fn program(name: &str) -> PathBuf {
    Path::new(SOURCES).join(name)
}

/// The Python of an environment under `target/` with exactly what `tests/mcp/requirements-NAME.txt`
/// names.
pub fn with_requirements(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    // Several test processes may come here at once; one installs, the others wait for it.
    let lock = File::create(folder.join("install.lock")).unwrap();
    lock.lock().unwrap();
    let requirements = program(&format!("requirements-{name}.txt"));
    // An environment belongs to the Python that made it.
    let version = require_python();
    let wanted = version + &std::fs::read_to_string(&requirements).unwrap();
    let (stamp, environment) = (folder.join("installed.txt"), folder.join("venv"));
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        install(&environment, &requirements);
        std::fs::write(&stamp, &wanted).unwrap();
    }
    environment.join("bin/python")
}

fn install(environment: &Path, requirements: &Path) {
    let python = environment.join("bin/python");
    let by_hand = format!(
        "Try it by hand: python3 -m venv --clear {} && {} -m pip install -r {}",
        environment.display(),
        python.display(),
        requirements.display()
    );
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(environment);
    run(
        &mut create,
        &format!("python3 -m venv failed: apt-get install python3-venv. {by_hand}"),
    );
    let mut fill = Command::new(&python);
    fill.args(["-m", "pip", "install", "--quiet", "--no-input"]);
    fill.args(["--disable-pip-version-check", "-r"]);
    fill.arg(requirements);
    run(&mut fill, &format!("pip install failed. {by_hand}"));
}

/// Runs a command to its end, and panics with the message and what it printed where it fails.
fn run(command: &mut Command, message: &str) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{message}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn require_python() -> String {
    let version = Command::new("python3")
        .arg("--version")
        .output()
        .expect("python3 is missing: apt-get install python3 python3-venv");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let minor: u32 = version
        .trim()
        .trim_start_matches("Python 3.")
        .split('.')
        .next()
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(0);
    assert!(
        minor >= 11,
        "this test needs Python 3.11 or later, this is {version:?}: see python.org"
    );
    version
}
