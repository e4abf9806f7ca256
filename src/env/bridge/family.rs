//! The processes that an environment has started, its children and theirs: they end with it.

use std::fmt::Write as _;
use std::process::Command;
#[cfg(target_os = "linux")]
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that marks a process and all that it starts, also those with a session of their own.
const MARK: &str = "SMALTI_ENVIRONMENT";

/// The processes of one environment.
pub(super) struct Family {
    /// The process group of the environment.
    #[cfg(unix)]
    group: libc::pid_t,
    mark: String,
    /// Ends the family when this process is killed.
    #[cfg(target_os = "linux")]
    watcher: Option<Child>,
}

/// The script of the watcher: its input ends when this process does, whatever ends it.
#[cfg(target_os = "linux")]
const WATCH: &str = "read -r _; kill -KILL -- \"-$0\"; \
     for e in $(grep -lszxF \"$1\" /proc/[0-9]*/environ); do p=${e#/proc/}; kill -KILL \"${p%/environ}\"; done";

/// Mark a command that is going to be started: its processes get a group and a mark. Return the mark.
pub(super) fn mark(command: &mut Command) -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let mark = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
    command.env(MARK, &mark);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    mark
}

impl Family {
    /// Describe the family of a marked process that has been started.
    pub(super) fn of(process: &std::process::Child, mark: String) -> Self {
        #[cfg(not(unix))]
        let _ = process;
        Self {
            #[cfg(unix)]
            group: process.id().cast_signed(),
            #[cfg(target_os = "linux")]
            watcher: watch(process.id(), &mark),
            mark,
        }
    }

    /// Kill all processes that still run, the environment too unless it `has_ended`. Return a description of those that it had
    /// started, if any still ran: those that were ended, and those that could not be.
    pub(super) fn end(&mut self, has_ended: bool) -> Option<String> {
        #[cfg(target_os = "linux")]
        if let Some(mut watcher) = self.watcher.take() {
            // Both fail only if it has ended.
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
        let running = self.running();
        #[cfg(unix)]
        if !has_ended || cfg!(not(target_os = "linux")) {
            // SAFETY: sends a signal to the group of a child that is not reaped yet, or, where processes bear no mark, to
            // what is left of its group.
            unsafe { libc::kill(-self.group, libc::SIGKILL) };
        }
        let mut left = running.clone();
        for _ in 0..20 {
            #[cfg(unix)]
            for (id, _) in &left {
                // SAFETY: sends a signal to a process that had the mark a moment ago.
                unsafe { libc::kill(*id, libc::SIGKILL) };
            }
            left = self.running(); // a process may have started another meanwhile
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let list = |of: &[(i32, String)]| {
            of.iter().take(10).map(|(id, name)| format!("{name} ({id})")).collect::<Vec<_>>().join(", ")
        };
        #[cfg(unix)]
        let running: Vec<_> = running.into_iter().filter(|(id, _)| *id != self.group).collect();
        let mut text = String::new();
        if !running.is_empty() {
            let _ =
                write!(text, "processes that it had started still ran and were ended: {}", list(&running));
        }
        if !left.is_empty() {
            let _ = write!(text, "; these could not be ended: {}", list(&left));
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// The marked processes that run, by number and name.
    #[cfg(target_os = "linux")]
    fn running(&self) -> Vec<(i32, String)> {
        let variable = format!("{MARK}={}", self.mark);
        let is_marked = |id: &i32| {
            let variables = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            variables.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        };
        let name = |id: i32| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            (id, name.trim().to_string())
        };
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.filter(is_marked).map(name).collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn running(&self) -> Vec<(i32, String)> {
        let _ = &self.mark; // elsewhere the group alone is ended
        Vec::new()
    }
}

/// Start the watcher; without a shell there is none.
#[cfg(target_os = "linux")]
fn watch(group: u32, mark: &str) -> Option<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCH, &group.to_string(), &format!("{MARK}={mark}")]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0); // Ctrl-C does not reach it
    command.spawn().ok()
}
