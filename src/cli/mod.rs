//! The command line, as a function: [`main`] over the modalities of a program. Each command is thin: its arguments, one
//! call of the library, what to print.
//!
//! The program `smalti` is `main(Modalities::builtin())`. A program with a modality of its own adds it:
//!
//! ```no_run
//! use smalti::registry::Modalities;
//!
//! # fn main() -> std::process::ExitCode {
//! // .with::<GeneTokenizer>()
//! smalti::cli::main(Modalities::builtin())
//! # }
//! ```

mod bench;
mod checks;
mod classify;
mod compare;
mod compositions;
mod count;
mod data;
mod demo;
mod device;
mod dtype;
mod embed;
mod eval;
mod generate;
mod import;
mod info;
mod launch;
mod notice;
mod panics;
mod predict;
mod print;
mod progress;
mod report;
mod reproduce;
mod rollout;
mod settings;
mod show;
mod tokenize;
mod train;
mod transcribe;
mod unknown;

use crate::registry::Modalities;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Tokenize text, images, audio and trajectories, and train one transformer on them.
#[derive(Parser)]
#[command(name = OWN_NAME, version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    checks: checks::CheckArgs,
}

/// The commands; the help of each is that of its arguments.
#[derive(Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Predict(predict::PredictArgs),
    Generate(generate::GenerateArgs),
    Classify(classify::ClassifyArgs),
    Transcribe(transcribe::TranscribeArgs),
    Rollout(rollout::RolloutArgs),
    Embed(embed::EmbedArgs),
    Import(import::ImportArgs),
    Export(import::ExportArgs),
    Tokenize(tokenize::TokenizeArgs),
    Data(data::DataArgs),
    Settings(settings::SettingsArgs),
    Info(info::InfoArgs),
    Compare(compare::CompareArgs),
    Show(show::ShowArgs),
    Report(report::ReportArgs),
    Bench(bench::BenchArgs),
    Reproduce(reproduce::ReproduceArgs),
    Demo(demo::DemoArgs),
}

impl Command {
    /// Whether the command fills its memory once: it loads a run, and does not train it.
    fn fills_memory_once(&self) -> bool {
        matches!(
            self,
            Self::Eval(_)
                | Self::Info(_)
                | Self::Report(_)
                | Self::Predict(_)
                | Self::Generate(_)
                | Self::Classify(_)
                | Self::Transcribe(_)
                | Self::Rollout(_)
                | Self::Embed(_)
        )
    }
}

/// The environment variable for backtraces of errors alone; where it is not set, `RUST_BACKTRACE` is also for them.
const BACKTRACE_OF_ERRORS: &str = "RUST_LIB_BACKTRACE";

/// Exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// Run the command line over these modalities, and return the exit status.
///
/// Reads the arguments of this process and runs one command. The status is 0 for success, 1 for a failure and 2 for wrong
/// usage, which includes modalities that fail their [`check`](Modalities::check). Errors are printed on standard error. In
/// help and `--version` the program has the name of its file.
///
/// Call it first in `main`, before another thread starts, because it changes the process:
/// - It sets the environment variable `CANDLE_NUM_THREADS` to 1, and `RUST_LIB_BACKTRACE` to 0 if it is not set.
/// - A panic is printed as one sentence; the status is then 1. `RUST_BACKTRACE=1` adds its backtrace.
/// - On Unix, SIGPIPE ends the process, as it ends other commands.
/// - On Linux, a command that loads weights and does not train turns transparent huge pages off, also for its child processes.
/// - With the feature `hdf5`, the program starts a second time for each HDF5 file; that process only reads the file.
pub fn main(modalities: Modalities) -> ExitCode {
    #[cfg(feature = "hdf5")]
    if let Some(code) = crate::modalities::trajectory::hdf5::serve() {
        return code;
    }
    // candle adds large tensors on a thread pool of its own, whose threads wait by spinning and so take the cores from the
    // kernels' threads: on two cores that also compile, a step of text-nano takes 62 ms without that pool and 187 ms with it.
    // SAFETY: no other thread runs yet that could read the environment, as the documentation requires.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    if std::env::var_os(BACKTRACE_OF_ERRORS).is_none() {
        // candle writes a backtrace into the message of its errors.
        // SAFETY: as above.
        unsafe { std::env::set_var(BACKTRACE_OF_ERRORS, "0") };
    }
    end_on_closed_output();
    panics::reported(|| run(std::env::args_os().collect(), &modalities))
}

/// Restores the default of SIGPIPE, so that `smalti info RUN | head -1` ends quietly when `head` has ended; Rust's default is
/// an error at the next printed line.
fn end_on_closed_output() {
    #[cfg(unix)]
    // SAFETY: sets the handler of a signal before any other thread runs.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Runs the command of these arguments, the first of which is the program, and prints the error if it fails.
fn run(arguments: Vec<OsString>, modalities: &Modalities) -> ExitCode {
    if let Err(error) = modalities.check() {
        print::note(&format!("error: {error}"));
        return ExitCode::from(USAGE);
    }
    let command = command(arguments.first());
    let cli = match command.try_get_matches_from(&arguments).and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(advice) = unknown::advice(&error, &arguments, modalities) {
                print::note(&format!("error: {advice}"));
                return ExitCode::from(USAGE);
            }
            // Help and version take this path too, on standard output and with status 0. Printing fails only if the output
            // is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    crate::data::on_notice(notice::show);
    cli.checks.choose();
    if cli.command.fills_memory_once() {
        use_small_pages();
    }
    // On a thread of the pool, so that work handed to the pool does not change threads.
    match rayon::scope(|_| dispatch(cli, modalities)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::note(&format!("error: {}", print::message(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Asks the system for memory in pages of 4 KiB and not of 2 MiB, for a command that fills its memory once.
///
/// Large pages come from memory that has been free for a while, and a virtual machine may have given that back to its host:
/// filling 650 MB took 2.0 s of system time in pages of 2 MiB and 0.5 s in pages of 4 KiB, and the first token of a model with
/// 135M parameters came after 0.9 s instead of 2.4 s (2 cores of such a machine). Training fills the same memory in every step and
/// is up to 8% faster with large pages.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets one flag of this process; if the system does not know the flag, nothing changes.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// The definition of the command line, under the name of the program's file.
fn command(program: Option<&OsString>) -> clap::Command {
    let file = program.and_then(|program| Path::new(program).file_name());
    let file = file.map(|file| file.to_string_lossy().into_owned());
    let command = with_negative_numbers(Cli::command());
    match file.as_deref().map(|file| file.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(file)) {
        None | Some(OWN_NAME) => command,
        // The version is the library's, not the program's.
        Some(name) => {
            command.name(name.to_string()).version(concat!("(smalti ", env!("CARGO_PKG_VERSION"), ")"))
        }
    }
}

/// Lets every option of a number, or of a list of numbers, take negative ones, so that its own error names the accepted range.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let is_number = |arg: &Arg| {
        let id = arg.get_value_parser().type_id();
        let numbers = [TypeId::of::<f32>(), TypeId::of::<f64>(), TypeId::of::<u32>(), TypeId::of::<u64>()];
        numbers.iter().any(|number| id == *number) || id == TypeId::of::<usize>()
    };
    let command = command.mut_args(|arg| match arg.get_value_delimiter() {
        _ if !is_number(&arg) => arg,
        None => arg.allow_negative_numbers(true),
        Some(_) => arg.allow_hyphen_values(true),
    });
    command.mut_subcommands(with_negative_numbers)
}

/// Name of this library's own program.
const OWN_NAME: &str = "smalti";

/// Runs one command.
fn dispatch(cli: Cli, modalities: &Modalities) -> anyhow::Result<()> {
    match cli.command {
        Command::Train(args) => train::run(args, modalities),
        Command::Eval(args) => eval::run(args, modalities),
        Command::Predict(args) => predict::run(args, modalities),
        Command::Generate(args) => generate::run(args, modalities),
        Command::Classify(args) => classify::run(args, modalities),
        Command::Transcribe(args) => transcribe::run(args, modalities),
        Command::Rollout(args) => rollout::run(args, modalities),
        Command::Embed(args) => embed::run(args, modalities),
        Command::Import(args) => import::import(args),
        Command::Export(args) => import::export(args),
        Command::Tokenize(args) => tokenize::run(args, modalities),
        Command::Data(args) => data::run(args, modalities),
        Command::Settings(args) => settings::run(args, modalities),
        Command::Info(args) => info::run(args, modalities),
        Command::Compare(args) => compare::run(args, modalities),
        Command::Show(args) => show::run(args, modalities),
        Command::Report(args) => report::run(args, modalities),
        Command::Bench(args) => bench::run(args),
        Command::Reproduce(args) => reproduce::run(args, modalities),
        Command::Demo(args) => demo::run(args, modalities),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(program: &str) -> clap::Command {
        command(Some(&program.into()))
    }

    #[test]
    fn a_program_has_the_name_of_its_file() {
        let own = named("target/release/smalti");
        assert_eq!(own.render_version(), concat!("smalti ", env!("CARGO_PKG_VERSION"), "\n"));
        let other = named("/opt/bin/genes");
        assert_eq!(other.render_version(), concat!("genes (smalti ", env!("CARGO_PKG_VERSION"), ")\n"));
        let error =
            named("/opt/bin/genes").try_get_matches_from(["/opt/bin/genes", "train", "--sett"]).unwrap_err();
        assert!(error.to_string().contains("Usage: genes train"), "{error}");
        assert_eq!(command(None).get_name(), "smalti");
    }

    #[test]
    fn definitions_of_arguments_are_consistent() {
        command(None).debug_assert();
    }

    #[cfg(any(feature = "text", feature = "audio"))]
    #[test]
    fn a_duplicate_modality_name_is_wrong_usage() {
        let modalities = Modalities::builtin().with::<crate::modalities::text::TextTokenizer>();
        let status = run(vec!["genes".into(), "--version".into()], &modalities);
        assert_eq!(status, ExitCode::from(USAGE));
    }

    /// The short help of a command, of its arguments and of its subcommands, each with its path.
    fn help_lines(command: &clap::Command, parent: &str) -> Vec<(String, String)> {
        let path = format!("{parent}{} ", command.get_name());
        let text =
            |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string).unwrap_or_default();
        let mut lines = vec![(path.clone(), text(command.get_about()))];
        let arguments = command.get_arguments();
        lines.extend(
            arguments.map(|argument| (format!("{path}{}", argument.get_id()), text(argument.get_help()))),
        );
        lines.extend(command.get_subcommands().flat_map(|command| help_lines(command, &path)));
        lines
    }

    /// A verb in the imperative or a noun phrase. clap removes the full stop at its end.
    #[test]
    fn every_help_line_is_a_phrase_of_at_most_100_characters() {
        let lines = help_lines(&Cli::command(), "");
        assert!(lines.len() > 100, "the test found {} lines", lines.len());
        for (path, line) in lines {
            let length = line.chars().count();
            assert!((1..=100).contains(&length), "{path}: {length} characters: {line}");
            assert!(line.starts_with(char::is_uppercase) && !line.ends_with('.'), "{path}: {line}");
            let article = ["A ", "An ", "The "].iter().any(|article| line.starts_with(article));
            assert!(!article, "{path}: begins with an article: {line}");
        }
    }
}
