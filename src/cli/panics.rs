//! Panics of the program: one sentence on standard error, with the place to report it, and exit status 1.

use super::print;
use smalti_contract::panics;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// The start of the message with which `println!` panics if standard output cannot be written, as on a full disk.
const NOT_PRINTED: &str = "failed printing to stdout: ";

/// Run a command. If it panics, the status is that of a failure.
///
/// From now on, a panic of any thread is printed as one sentence, and with `RUST_BACKTRACE=1` its backtrace. A panic that a
/// reader [catches](panics::caught) is not printed, because it becomes the error of a file.
pub fn reported(command: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        if !panics::is_caught() {
            report(panic);
        }
    }));
    catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|payload| {
        // A thread of the pool that waits within a reader may have run this work, and its panic counted as the reader's.
        if !REPORTED.load(Ordering::Relaxed) {
            print::note(&sentence(panics::message(&*payload), ""));
        }
        ExitCode::FAILURE
    })
}

/// Whether a panic was printed.
static REPORTED: AtomicBool = AtomicBool::new(false);

fn report(panic: &PanicHookInfo) {
    REPORTED.store(true, Ordering::Relaxed);
    let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
    print::note(&sentence(panics::message(panic.payload()), &place.unwrap_or_default()));
    // `Backtrace::capture` obeys the variable for errors first.
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        print::note(&Backtrace::force_capture().to_string());
    }
}

fn sentence(message: &str, place: &str) -> String {
    if let Some(problem) = message.strip_prefix(NOT_PRINTED) {
        return format!("error: standard output cannot be written: {problem}");
    }
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "error: smalti {} panicked{place}: {message}; this is a defect, please report it with the command at {}/issues",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in the process that panics.
    const PANICS: &str = "SMALTI_TEST_PANICS";

    #[test]
    fn a_panic_is_one_sentence_and_status_1() {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", "cli::panics::tests::a_command_that_panics", "--nocapture"]);
        let ended = command.env(PANICS, "1").env_remove("RUST_BACKTRACE").output().unwrap();
        let message = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{message}");
        let [first, second] = message.lines().collect::<Vec<_>>()[..] else { panic!("{message}") };
        for (line, problem) in [(first, "of a thread"), (second, "left is not right")] {
            assert!(line.starts_with("error: smalti 0."), "{line}");
            assert!(line.contains(" panicked at src/cli/panics.rs:") && line.contains(problem), "{line}");
            assert!(line.ends_with("https://github.com/smalti-rs/smalti/issues"), "{line}");
        }
    }

    /// The test above starts this one by its name; alone it does nothing, because the hook is that of the whole process.
    #[test]
    fn a_command_that_panics() {
        if std::env::var_os(PANICS).is_none() {
            return;
        }
        let status = reported(|| {
            assert_eq!(panics::caught::<()>(|| panic!("caught")), Err("caught".to_string()));
            assert!(std::thread::spawn(|| panic!("of a thread")).join().is_err());
            panic!("left\n is  not right");
        });
        assert_eq!(status, ExitCode::FAILURE);
    }

    #[test]
    fn output_that_cannot_be_written_is_no_defect() {
        let message = sentence("failed printing to stdout: No space left on device (os error 28)", "");
        assert_eq!(
            message,
            "error: standard output cannot be written: No space left on device (os error 28)"
        );
    }
}
