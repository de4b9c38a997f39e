//! Processes of a story: found, killed, gone.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::within;

fn process(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Sends a signal; a process that is gone already does not mind.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = process(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends a process as a crash would.
pub fn kill9(pid: u32) {
    send(pid, Signal::KILL);
}

/// Asks a process to end, as a service manager does.
pub fn terminate(pid: u32) {
    send(pid, Signal::TERM);
}

/// Whether a process is there and is more than the memory of one that nobody has asked after.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name before the state is in parentheses and may hold anything.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// The most memory that a process has had in RAM so far, in bytes.
#[must_use]
pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The processes that have `folder` in one of their arguments.
fn of(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && is_alive(*pid))
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line)
                .split('\0')
                .any(|argument| argument.contains(&folder))
        })
        .collect()
}

/// Kills whatever was started for a folder, until nothing is left. The folder is a test's own, so
/// that nobody else's processes name it.
pub(crate) fn clear(folder: &Path) {
    let gone = within(Duration::from_secs(10), || {
        let left = of(folder);
        left.iter().for_each(|pid| kill9(*pid));
        left.is_empty().then_some(())
    });
    if gone.is_none() {
        eprintln!(
            "processes of {} do not end: {:?}",
            folder.display(),
            of(folder)
        );
    }
}

/// The processes that are left of a deployment.
pub(crate) fn left(folder: &Path) -> Vec<u32> {
    of(folder)
}
