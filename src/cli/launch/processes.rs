//! The processes of one job: if one fails, all are ended.

use super::PEER_FAILED;
use anyhow::{Context, Result, bail};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time that the other ranks have, after one has failed, to notice it and to report it.
const GRACE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(20);

struct Rank {
    gpu: usize,
    process: Child,
    ended: Option<ExitStatus>,
    /// Killed by this process.
    killed: bool,
}

type Ranks = Arc<Mutex<Vec<Rank>>>;

/// Runs the ranks, each with its GPU's number. Ctrl-C is forwarded to them: they save and stop.
#[cfg(feature = "nccl")]
pub fn run(commands: Vec<(usize, Command)>) -> Result<()> {
    let ranks = Ranks::default();
    let on_signal = ranks.clone();
    ctrlc::set_handler(move || lock(&on_signal).iter_mut().for_each(Rank::stop))
        .context("Ctrl-C cannot be caught")?;
    wait_for(commands, &ranks)
}

fn wait_for(commands: Vec<(usize, Command)>, ranks: &Ranks) -> Result<()> {
    for (rank, (gpu, mut command)) in commands.into_iter().enumerate() {
        end_with_parent(&mut command);
        match command.spawn() {
            Ok(process) => lock(ranks).push(Rank { gpu, process, ended: None, killed: false }),
            Err(error) => {
                lock(ranks).iter_mut().for_each(Rank::kill);
                return Err(error).with_context(|| format!("rank {rank}, for GPU {gpu}, cannot be started"));
            }
        }
    }
    let mut failed: Option<Instant> = None;
    while lock(ranks).iter_mut().map(Rank::runs).filter(|runs| *runs).count() > 0 {
        let failing = lock(ranks).iter().any(|rank| rank.ended.is_some_and(|ended| !ended.success()));
        if failing && failed.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            lock(ranks).iter_mut().for_each(Rank::kill);
        }
        sleep(MOMENT);
    }
    let ranks = lock(ranks);
    let problems = |of: &dyn Fn(&Rank) -> bool| {
        let found = ranks.iter().enumerate().filter(|(_, rank)| of(rank));
        found.filter_map(|(number, rank)| rank.problem(number)).collect::<Vec<_>>()
    };
    // A rank that ended because another had failed, or was killed here, is not a cause.
    let causes =
        problems(&|rank| !rank.killed && rank.ended.and_then(|ended| ended.code()) != Some(PEER_FAILED));
    let problems = if causes.is_empty() { problems(&|_| true) } else { causes };
    match problems.is_empty() {
        true => Ok(()),
        false => bail!(
            "{}, and the training has ended; --resume continues from the last checkpoint, if there is one",
            problems.join(", ")
        ),
    }
}

fn lock(ranks: &Ranks) -> MutexGuard<'_, Vec<Rank>> {
    ranks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rank {
    fn runs(&mut self) -> bool {
        // `try_wait` fails only for a process that is no child of this one.
        self.ended = self.ended.or_else(|| self.process.try_wait().ok().flatten());
        self.ended.is_none()
    }

    /// Sends SIGTERM, at which a rank saves and stops.
    fn stop(&mut self) {
        #[cfg(unix)]
        if self.runs() {
            // SAFETY: sends a signal to a child that has not been waited for, so that its number is still its own.
            unsafe { libc::kill(self.process.id().cast_signed(), libc::SIGTERM) };
        }
    }

    fn kill(&mut self) {
        if self.runs() {
            self.killed = true;
            let _ = self.process.kill(); // fails only if it has just ended by itself
        }
    }

    /// Description of its failure.
    fn problem(&self, rank: usize) -> Option<String> {
        let ended = self.ended.filter(|ended| !ended.success())?;
        Some(format!("rank {rank} on GPU {} has ended with {ended}", self.gpu))
    }
}

/// Lets a process stop as by Ctrl-C when this one is killed.
fn end_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: one system call, in the child before `exec`.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            })
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs scripts as ranks, on GPUs 4, 5, ….
    fn run_scripts(scripts: &[&str]) -> Result<(), String> {
        let command = |(i, script): (usize, &&str)| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            (4 + i, command)
        };
        let commands = scripts.iter().enumerate().map(command).collect();
        wait_for(commands, &Ranks::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn success_of_all_ranks_is_success() {
        assert_eq!(run_scripts(&["exit 0", "sleep 0.1"]), Ok(()));
    }

    #[test]
    fn the_rank_that_failed_is_named() {
        let message = run_scripts(&["sleep 0.2; exit 3", "kill -KILL $$", "exit 3"]).unwrap_err();
        assert!(message.starts_with("rank 1 on GPU 5 has ended with signal: 9"), "{message}");
        assert!(!message.contains("rank 0") && !message.contains("rank 2"), "{message}");
    }

    #[test]
    fn a_rank_that_keeps_running_after_a_failure_is_killed() {
        let started = Instant::now();
        let message = run_scripts(&["exec sleep 600", "exit 1"]).unwrap_err();
        assert!(message.starts_with("rank 1 on GPU 5 has ended with exit status: 1,"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn ctrl_c_is_forwarded_to_all_ranks() {
        let ranks = Ranks::default();
        let started = ranks.clone();
        let stops = std::thread::spawn(move || {
            while lock(&started).len() < 2 {
                sleep(MOMENT);
            }
            sleep(10 * MOMENT); // until the shells have set their traps
            lock(&started).iter_mut().for_each(Rank::stop);
        });
        let command = |gpu| {
            let mut command = Command::new("sh");
            command.args(["-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]);
            (gpu, command)
        };
        wait_for(vec![command(0), command(1)], &ranks).unwrap();
        stops.join().unwrap();
    }
}
