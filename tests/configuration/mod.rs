//! What a process makes of its configuration, as an operator sees it on standard error.

mod database_urls;
mod secrets;
mod serving;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::deployment::Done;

const CANARY: &str = "c4n4ry";

/// A folder with a configuration of one gateway, to which `store` and `more` are added.
struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(store: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[[listeners]]\nname = \"main\"\n\
             address = \"127.0.0.1:0\"\n[upstreams.genesis]\nurls = [\"http://127.0.0.1:9\"]\n\
             [[routes]]\nname = \"api\"\npath_prefix = \"/api/\"\nupstream = \"genesis\"\n\
             scope = \"api\"\n[store]\n{store}\n{more}"
        );
        std::fs::write(folder.path().join("genkan.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("genkan.toml")
    }

    /// Runs a command on it to its end.
    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_genkan"));
        command.envs(environment.iter().copied());
        self.run_command(command, arguments)
    }

    fn run_command(&self, mut command: Command, arguments: &[&str]) -> Done {
        let output = command
            .args(arguments)
            .arg("--config")
            .arg(self.file())
            .output()
            .unwrap();
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Nothing of what it said holds the canary.
fn assert_hidden(done: &Done) {
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(!said.contains(CANARY), "{said}");
}
