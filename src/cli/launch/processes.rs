//! Processes that are one job: all end well, or all end.

use crate::train::ranks::ENDED;
use anyhow::{Context, Result, bail};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Once a rank has failed, the others have so long to see it and say so.
const GRACE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(20);

struct Rank {
    gpu: usize,
    process: Child,
    ended: Option<ExitStatus>,
    /// Ended from here.
    killed: bool,
}

type Ranks = Arc<Mutex<Vec<Rank>>>;

/// Runs the ranks, each with its GPU's number. Ctrl-C is theirs: they save and stop.
#[cfg(feature = "nccl")]
pub fn run(commands: Vec<(usize, Command)>) -> Result<()> {
    let ranks = Ranks::default();
    let asked = ranks.clone();
    ctrlc::set_handler(move || held(&asked).iter_mut().for_each(Rank::stop))
        .context("Ctrl-C cannot be caught")?;
    wait_for(commands, &ranks)
}

fn wait_for(commands: Vec<(usize, Command)>, ranks: &Ranks) -> Result<()> {
    for (rank, (gpu, mut command)) in commands.into_iter().enumerate() {
        end_with_this(&mut command);
        match command.spawn() {
            Ok(process) => held(ranks).push(Rank { gpu, process, ended: None, killed: false }),
            Err(error) => {
                held(ranks).iter_mut().for_each(Rank::kill);
                return Err(error).with_context(|| format!("rank {rank}, for GPU {gpu}, cannot be started"));
            }
        }
    }
    let mut failed: Option<Instant> = None;
    while held(ranks).iter_mut().map(Rank::runs).filter(|runs| *runs).count() > 0 {
        let failing = held(ranks).iter().any(|rank| rank.ended.is_some_and(|ended| !ended.success()));
        if failing && failed.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            held(ranks).iter_mut().for_each(Rank::kill);
        }
        sleep(MOMENT);
    }
    let ranks = held(ranks);
    let problems = |of: &dyn Fn(&Rank) -> bool| {
        let found = ranks.iter().enumerate().filter(|(_, rank)| of(rank));
        found.filter_map(|(number, rank)| rank.problem(number)).collect::<Vec<_>>()
    };
    // Of those that fail, the first are the cause.
    let causes = problems(&|rank| !rank.killed && rank.ended.and_then(|ended| ended.code()) != Some(ENDED));
    let problems = if causes.is_empty() { problems(&|_| true) } else { causes };
    match problems.is_empty() {
        true => Ok(()),
        false => bail!(
            "{}, and so the training has ended; --resume goes on from a checkpoint, if there is one",
            problems.join(", ")
        ),
    }
}

fn held(ranks: &Ranks) -> MutexGuard<'_, Vec<Rank>> {
    ranks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rank {
    fn runs(&mut self) -> bool {
        // An error would mean that it is not a child of this process.
        self.ended = self.ended.or_else(|| self.process.try_wait().ok().flatten());
        self.ended.is_none()
    }

    /// Asks it to save and stop.
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
            let _ = self.process.kill(); // an error: it has just ended by itself
        }
    }

    /// How it failed.
    fn problem(&self, rank: usize) -> Option<String> {
        let ended = self.ended.filter(|ended| !ended.success())?;
        Some(format!("rank {rank} on GPU {} has ended with {ended}", self.gpu))
    }
}

/// Has a process stop as by Ctrl-C when this one is killed.
fn end_with_this(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: one system call, in the child before it becomes another program.
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

    /// Ranks that are scripts, on GPUs 4, 5, ….
    fn ran(scripts: &[&str]) -> Result<(), String> {
        let command = |(i, script): (usize, &&str)| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            (4 + i, command)
        };
        let commands = scripts.iter().enumerate().map(command).collect();
        wait_for(commands, &Ranks::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_end_well() {
        assert_eq!(ran(&["exit 0", "sleep 0.1"]), Ok(()));
    }

    #[test]
    fn the_rank_that_failed_is_named() {
        let said = ran(&["sleep 0.2; exit 3", "kill -KILL $$", "exit 3"]).unwrap_err();
        assert!(said.starts_with("rank 1 on GPU 5 has ended with signal: 9"), "{said}");
        assert!(!said.contains("rank 0") && !said.contains("rank 2"), "{said}");
    }

    #[test]
    fn who_does_not_see_it_is_ended() {
        let started = Instant::now();
        let said = ran(&["exec sleep 600", "exit 1"]).unwrap_err();
        assert!(said.starts_with("rank 1 on GPU 5 has ended with exit status: 1,"), "{said}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn ctrl_c_goes_on_to_all() {
        let ranks = Ranks::default();
        let asked = ranks.clone();
        let stops = std::thread::spawn(move || {
            while held(&asked).len() < 2 {
                sleep(MOMENT);
            }
            sleep(10 * MOMENT); // until the shells have come to their traps
            held(&asked).iter_mut().for_each(Rank::stop);
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
