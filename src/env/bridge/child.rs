//! A child process that is spoken to in lines, never waited for without end, and never left behind.

use super::message;
use crate::env::EnvError;
use std::fmt::Display;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest line that is read, in bytes; an observation of a million numbers.
const LONGEST_LINE: usize = 1 << 23;
/// Lines that may wait to be read; a process that says more has to wait.
const LINES_WAITING: usize = 8;
/// How much of the end of standard error is kept, in bytes, and shown, in lines.
const KEPT: usize = 4096;
const SHOWN: usize = 10;
/// How long a process may take to end once its input has.
const GRACE: Duration = Duration::from_secs(2);

/// A running command.
pub(super) struct Child {
    command: String,
    process: std::process::Child,
    timeout: Duration,
    /// To the thread that writes: a process that does not read must not stop this one. `None` once it is closed.
    requests: Option<Sender<Vec<u8>>>,
    lines: Receiver<Line>,
    /// The end of its standard error.
    errors: Arc<Mutex<Vec<u8>>>,
    errors_thread: JoinHandle<()>,
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl Child {
    /// Starts a command, which is split into words as a shell would.
    pub(super) fn start(command: &str, timeout: Duration) -> Result<Self, EnvError> {
        let refuse = |problem: String| Err(EnvError::Outside { command: command.into(), problem });
        let Some(words) = shlex::split(command) else {
            return refuse("is not a command: a quote is not closed".into());
        };
        let Some((program, arguments)) = words.split_first() else {
            return refuse("is empty; say a built-in environment, cartpole, or a command".into());
        };
        let mut starting = Command::new(program);
        starting.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)] // with what it starts itself, so that all of it can be ended
        std::os::unix::process::CommandExt::process_group(&mut starting, 0);
        let mut process = match starting.spawn() {
            Ok(process) => process,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return refuse(format!(
                    "is neither a built-in environment, cartpole, nor a command: no program {program:?} is found"
                ));
            }
            Err(e) => return refuse(format!("cannot be started: {e}")),
        };
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return refuse("cannot be started: it has no standard input and output".into());
        };
        // The threads are not waited for: each ends with its pipe, which a stray grandchild may hold open.
        let (requests, to_write) = channel();
        std::thread::spawn(move || write(stdin, &to_write));
        let (read, lines) = sync_channel(LINES_WAITING);
        std::thread::spawn(move || read_lines(stdout, &read));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = errors.clone();
        let errors_thread = std::thread::spawn(move || keep_end(stderr, &kept));
        Ok(Self {
            command: command.into(),
            process,
            timeout,
            requests: Some(requests),
            lines,
            errors,
            errors_thread,
        })
    }

    pub(super) fn command(&self) -> &str {
        &self.command
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends lines. Whatever was said before, unasked, is an error.
    pub(super) fn send(&mut self, lines: Vec<u8>) -> Result<(), EnvError> {
        match self.lines.try_recv() {
            Ok(Line::Whole(line)) => {
                let line = String::from_utf8_lossy(&line);
                let line: String = line.trim_end().chars().take(80).collect();
                return Err(self.refuse(format!("says {line:?} without being asked")));
            }
            Ok(Line::TooLong) => return Err(self.too_long()),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        // Where nobody reads any more, the wait for the answer says why.
        let _ = self.requests.as_ref().map(|requests| requests.send(lines));
        Ok(())
    }

    /// The next line that it says; `awaited` names it in errors.
    pub(super) fn line(&mut self, awaited: &str) -> Result<Vec<u8>, EnvError> {
        match self.lines.recv_timeout(self.timeout) {
            Ok(Line::Whole(line)) => Ok(line),
            Ok(Line::TooLong) => Err(self.too_long()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = self.timeout.as_secs_f64();
                Err(self.refuse(format!("gave no {awaited} within {seconds} s (--env-timeout)")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let problem = match self.ended_within(GRACE) {
                    Some(status) => format!("ended before its {awaited} ({status})"),
                    None => format!("closed its standard output before its {awaited}"),
                };
                Err(self.refuse(problem))
            }
        }
    }

    /// Ends the process, with which there is nothing more to say, and makes an error with the last that it said on
    /// its standard error.
    pub(super) fn refuse(&mut self, problem: impl Display) -> EnvError {
        self.end();
        let mut problem = problem.to_string();
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&errors);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            problem += "\nthe last on its standard error:";
        }
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            problem += &format!("\n    {line}");
        }
        EnvError::Outside { command: self.command.clone(), problem }
    }

    fn too_long(&mut self) -> EnvError {
        self.refuse(format!("says a line of more than {} MiB", LONGEST_LINE >> 20))
    }

    /// How it ended, with its standard error read to the end, if it ends in time.
    fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let status = self.process.try_wait().ok()?;
            if started.elapsed() > time || (status.is_some() && self.errors_thread.is_finished()) {
                return status;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(50));
        }
    }

    /// Closes its input, and kills it where it does not end at that.
    fn end(&mut self) {
        self.requests = None;
        if self.ended_within(GRACE).is_some() {
            return;
        }
        #[cfg(unix)]
        // SAFETY: sends a signal to the group of a child that is not yet waited for, so the number is still its own.
        unsafe {
            libc::kill(-(self.process.id() as libc::pid_t), libc::SIGKILL);
        }
        // Both fail only where it has ended meanwhile.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks it to close, and sees to it that it ends.
impl Drop for Child {
    fn drop(&mut self) {
        // Where nobody reads any more, there is nobody to ask.
        let _ = self.requests.as_ref().map(|requests| requests.send(message::close()));
        self.end();
    }
}

/// Writes requests until there are no more, or nobody reads them.
fn write(mut stdin: ChildStdin, requests: &Receiver<Vec<u8>>) {
    while let Ok(lines) = requests.recv() {
        if stdin.write_all(&lines).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_lines(stdout: ChildStdout, lines: &SyncSender<Line>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = stdout.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line);
        let said = match read {
            Ok(0) | Err(_) => return,
            Ok(bytes) if bytes > LONGEST_LINE => Line::TooLong,
            Ok(_) => Line::Whole(line),
        };
        let over = matches!(said, Line::TooLong);
        if lines.send(said).is_err() || over {
            return;
        }
    }
}

/// Keeps the last that is read.
fn keep_end(mut stderr: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 1024];
    loop {
        match stderr.read(&mut chunk) {
            Ok(0) => return,
            Ok(bytes) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..bytes]);
                let excess = kept.len().saturating_sub(KEPT);
                kept.drain(..excess);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
