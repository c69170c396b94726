//! A disk that is full, under a running gateway on SQLite.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::task::block_in_place;

use super::files::{
    FAULT, RECOVERY, deployment_in_a_folder, readiness, recovery, remembered_works,
};
use super::{ask, no_panic};
use crate::support::deployment::{Deployment, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// A file system of its own in memory, of six mebibytes, with the deployment's data in it; seen by the gateway alone,
/// in a mount namespace that it lives in.
struct SmallDisk {
    gateway: Process,
    data: PathBuf,
    config: PathBuf,
}

const ON_A_SMALL_DISK: &str = r#"
data=$1; shift
copy=$(mktemp -d) && cp -a "$data/." "$copy" &&
mount -t tmpfs -o size=6m,mode=700 tmpfs "$data" && cp -a "$copy/." "$data" && rm -r "$copy" &&
exec "$@"
"#;

impl SmallDisk {
    async fn start(deployment: &Deployment, data: &Path) -> Self {
        let config = deployment.config();
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                ON_A_SMALL_DISK,
                "sh",
            ])
            .arg(data)
            .arg(env!("CARGO_BIN_EXE_genkan"))
            .args(["serve", "--config", config.to_str().unwrap()]);
        let gateway = Deployment::ready(Process::spawn(command)).await;
        Self {
            gateway,
            data: data.to_owned(),
            config,
        }
    }

    /// Where the gateway's files are, as this process sees them.
    fn folder(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.gateway.id());
        Path::new(&root).join(self.data.strip_prefix("/").unwrap())
    }

    /// Runs a command where the gateway lives: its exit code and what it says.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new("nsenter")
            .args(["--preserve-credentials", "--user", "--mount", "--target"])
            .arg(self.gateway.id().to_string())
            .arg(env!("CARGO_BIN_EXE_genkan"))
            .args(arguments)
            .args(["--config", self.config.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    }

    fn create_key(&self) -> (Option<i32>, String) {
        self.run(&[
            "keys",
            "create",
            "--name",
            "new",
            "--member",
            "hana@example.com",
        ])
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = File::create(self.folder().join("filler")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.folder().join("filler")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_a_remembered_key_nothing_and_heals_by_itself() {
    let upstream = Upstream::start().await;
    let deployment = deployment_in_a_folder(&upstream);
    let (key, other) = (deployment.key("ci", &[]), deployment.key("other", &[]));
    let disk = SmallDisk::start(&deployment, &deployment.folder.path().join("data")).await;
    let mut wire = Wire::connect(disk.gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);

    block_in_place(|| disk.fill());
    let (code, said) = block_in_place(|| disk.create_key());
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("the disk is full"), "{said}");
    remembered_works(&disk.gateway, &key, FAULT).await;
    // To look a key up needs no room.
    assert_eq!(ask(&mut wire, &other.plain).await, 200);

    block_in_place(|| disk.free());
    let recovered = block_in_place(|| recovery(|| disk.create_key().0 == Some(0)));
    println!("full disk: a key could be made {recovered:?} after there was room");
    remembered_works(&disk.gateway, &key, RECOVERY).await;
    assert_eq!(readiness(&disk.gateway).await["ready"], true);
    no_panic(&[disk.gateway]);
}
