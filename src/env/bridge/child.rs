//! A child process that exchanges lines with this one: every wait has a time limit, and the process always ends.

use super::family::{self, Family};
use super::message;
use crate::env::{EnvError, NAMES};
use crate::notice::{Notice, notify};
use std::fmt::Display;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest line, in bytes: enough for an observation of a million numbers.
const LONGEST_LINE: usize = 1 << 23;
/// Lines that are buffered before the process has to wait.
const BUFFERED_LINES: usize = 8;
/// Bytes of the end of standard error that are kept for an error message.
const KEPT_BYTES: usize = 4096;
/// Lines of the end of standard error in an error message.
const SHOWN_LINES: usize = 10;
/// Time for a process to end after its input is closed.
const GRACE: Duration = Duration::from_secs(2);

/// A running command.
pub(super) struct Child {
    command: String,
    process: std::process::Child,
    family: Family,
    /// Its end has been reported.
    ended: bool,
    timeout: Duration,
    /// To the thread that writes, so that a process that does not read cannot block this one. `None` once closed.
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
    /// Starts a command, split into words as by a shell.
    pub(super) fn start(command: &str, timeout: Duration) -> Result<Self, EnvError> {
        let fail = |problem: String| Err(EnvError::Process { command: command.into(), problem });
        let expected = || format!("expected a built-in environment ({}) or a command", NAMES.join(", "));
        let Some(words) = shlex::split(command) else {
            return fail("expected a command; found a quote that is not closed".into());
        };
        let Some((program, arguments)) = words.split_first() else {
            return fail(format!("{}; found nothing", expected()));
        };
        let mut starting = Command::new(program);
        starting.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mark = family::mark(&mut starting);
        let mut process = match starting.spawn() {
            Ok(process) => process,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return fail(format!("{}; found no program {program:?}", expected()));
            }
            Err(e) => return fail(format!("cannot be started: {e}")),
        };
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return fail("cannot be started: it has no standard input and output".into());
        };
        // The threads are not joined: each ends with its pipe, which a grandchild may hold open.
        let (requests, to_write) = channel();
        std::thread::spawn(move || write(stdin, &to_write));
        let (read, lines) = sync_channel(BUFFERED_LINES);
        std::thread::spawn(move || read_lines(stdout, &read));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = errors.clone();
        let errors_thread = std::thread::spawn(move || keep_end(stderr, &kept));
        Ok(Self {
            command: command.into(),
            family: Family::of(&process, mark),
            process,
            ended: false,
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

    /// Sends lines. A line that the process wrote before, without a request, is an error.
    pub(super) fn send(&mut self, lines: Vec<u8>) -> Result<(), EnvError> {
        match self.lines.try_recv() {
            Ok(Line::Whole(line)) => {
                let line = String::from_utf8_lossy(&line);
                let line: String = line.trim_end().chars().take(80).collect();
                return Err(self.fail(format!("wrote {line:?} without a request")));
            }
            Ok(Line::TooLong) => return Err(self.too_long()),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        // If the process no longer reads, the wait for its answer reports why.
        let _ = self.requests.as_ref().map(|requests| requests.send(lines));
        Ok(())
    }

    /// Reads the next line; `awaited` names it in errors.
    pub(super) fn line(&mut self, awaited: &str) -> Result<Vec<u8>, EnvError> {
        match self.lines.recv_timeout(self.timeout) {
            Ok(Line::Whole(line)) => Ok(line),
            Ok(Line::TooLong) => Err(self.too_long()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = self.timeout.as_secs_f64();
                Err(self.fail(format!("gave no {awaited} within {seconds} s (--env-timeout)")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let problem = match self.ended_within(GRACE) {
                    Some(status) => format!("ended before its {awaited} ({status})"),
                    None => format!("closed its standard output before its {awaited}"),
                };
                Err(self.fail(problem))
            }
        }
    }

    /// Ends the process; returns an error with the last lines of its standard error.
    pub(super) fn fail(&mut self, problem: impl Display) -> EnvError {
        self.end();
        let mut problem = problem.to_string();
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&errors);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            problem += "\nthe end of its standard error:";
        }
        for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
            problem += &format!("\n    {line}");
        }
        EnvError::Process { command: self.command.clone(), problem }
    }

    fn too_long(&mut self) -> EnvError {
        self.fail(format!("wrote a line of more than {} MiB", LONGEST_LINE >> 20))
    }

    /// The exit status, if the process ends in time; its standard error is read to the end by then.
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

    /// Closes the input, kills the process if it does not end, and ends what it has started.
    fn end(&mut self) {
        self.requests = None;
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let has_ended = self.ended_within(GRACE).is_some();
        let survivors = self.family.end(has_ended);
        // Both fail only if the process has ended meanwhile.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(survivors) = survivors {
            notify(Notice::Note(&format!("{}: {survivors}", self.command)));
        }
    }
}

impl Drop for Child {
    /// Asks the process to close, and ends it if it does not.
    fn drop(&mut self) {
        // An error means that the process no longer reads.
        let _ = self.requests.as_ref().map(|requests| requests.send(message::close()));
        self.end();
    }
}

/// Writes requests until the channel or the pipe is closed.
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
        let next = match read {
            Ok(0) | Err(_) => return,
            Ok(bytes) if bytes > LONGEST_LINE => Line::TooLong,
            Ok(_) => Line::Whole(line),
        };
        let over = matches!(next, Line::TooLong);
        if lines.send(next).is_err() || over {
            return;
        }
    }
}

/// Keeps the last bytes that are read.
fn keep_end(mut stderr: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 1024];
    loop {
        match stderr.read(&mut chunk) {
            Ok(0) => return,
            Ok(bytes) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..bytes]);
                let excess = kept.len().saturating_sub(KEPT_BYTES);
                kept.drain(..excess);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
