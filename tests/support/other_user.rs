//! The binary as a user who is bound by permissions: root is not.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// `nobody`, and its group.
const NOBODY: u32 = 65_534;

/// A command that runs the binary as a user who owns these folders and what is in them: as this user, or, where that is
/// root, as nobody.
pub(crate) fn command(folders: &[&Path]) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_genkan"));
    if !rustix::process::getuid().is_root() {
        return Command::new(binary);
    }
    // The binary may lie where that user cannot go.
    let copy = folders[0].join("genkan");
    if !copy.exists() {
        std::fs::copy(binary, &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for folder in folders {
        give(folder);
    }
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    command
}

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}
