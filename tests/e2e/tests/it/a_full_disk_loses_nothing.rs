//! The disk of the mirror is full in mid-run: it says so, lands nothing by halves, and goes on when
//! there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use github_sim::{Config, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK};

/// A file system of a test's own, in memory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path))?;
        Ok(Self(path.to_owned()))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.0)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still has a file open there is killed by the deployment.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("{error}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

#[test]
fn it_goes_on_when_there_is_room_again() {
    let sim = Sim::start(Config::generated(Generate::new(400, 9))).unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let disk = match Disk::mount(&deployment.data(), "12m") {
        Ok(disk) => disk,
        Err(reason) => {
            println!("not told here, for a file system cannot be mounted: {reason}");
            return;
        }
    };
    let limit = Duration::from_secs(180);
    let ended = deployment.up_to_the_end(&["--once", "--patience", "10s"], limit);
    println!("full: exit code {:?}\n{}", ended.code, ended.err);
    assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.words);
    assert!(
        !ended.words.contains("SIGABRT") && !ended.words.contains("panic"),
        "{}",
        ended.words
    );

    disk.resize("1g");
    let ended = deployment.up_to_the_end(&["--once"], limit);
    ended.assert_code(0);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let report = mirror.compare();
    println!("{report}");
    report.assert_equal();
}
