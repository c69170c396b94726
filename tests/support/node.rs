//! Node.js programs that belong to tests, their modules installed once for each content of their lock file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// The folder with the MCP clients and their modules, under `target/`.
pub fn mcp_client() -> PathBuf {
    program("mcp", &["client.mjs", "refusals.mjs", "bridge.mjs"])
}

/// The folder with the OpenID Connect providers and its modules, under `target/`.
pub fn oidc_provider() -> PathBuf {
    program("oidc", &["provider.mjs", "forms.mjs"])
}

fn program(name: &str, scripts: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    // Several test processes may come here at once; one installs, the others wait for it.
    let lock = File::create(folder.join("install.lock")).unwrap();
    lock.lock().unwrap();
    let about = ["package.json", "package-lock.json", ".npmrc"];
    for file in about.iter().chain(scripts) {
        let wanted = std::fs::read(Path::new(SOURCES).join(name).join(file)).unwrap();
        let copy = folder.join(file);
        // Another test may start a program from it now: a copy that is right is not written again.
        if std::fs::read(&copy).ok().as_ref() != Some(&wanted) {
            std::fs::write(&copy, &wanted).unwrap();
        }
    }
    let wanted = std::fs::read(folder.join("package-lock.json")).unwrap();
    let stamp = folder.join("installed-lock.json");
    if std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        install(&folder);
        std::fs::write(&stamp, &wanted).unwrap();
    }
    folder
}

fn install(folder: &Path) {
    require_node();
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(folder)
        .output()
        .expect("npm is missing: apt-get install npm, or install Node.js 20 from nodejs.org");
    assert!(
        output.status.success(),
        "npm ci failed. Try it by hand: (cd {} && npm ci)\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn require_node() {
    let version = Command::new("node")
        .arg("--version")
        .output()
        .expect("node is missing: apt-get install nodejs npm, or install it from nodejs.org");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major: u32 = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    assert!(
        major >= 20,
        "this test needs Node.js 20.18 or later, this is {version:?}: see nodejs.org"
    );
}
