//! The command line. Each command is thin: its arguments, one call of the library, what to print.

mod bench;
mod classify;
mod data;
mod demo;
mod device;
mod embed;
mod eval;
mod generate;
mod import;
mod info;
mod launch;
mod print;
mod progress;
mod rollout;
mod show;
mod tokenize;
mod train;
mod transcribe;

pub use print::message;

use clap::{Parser, Subcommand};

/// Chop anything into tokens, throw them in the mix, and let one transformer see the picture.
#[derive(Parser)]
#[command(name = "smalti", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model from a preset or a TOML file, or go on with a run.
    Train(train::TrainArgs),
    /// Measure a run on validation data, its own or others.
    Eval(eval::EvalArgs),
    /// Write text on from a prompt.
    Generate(generate::GenerateArgs),
    /// Say what images show.
    Classify(classify::ClassifyArgs),
    /// Write down what recordings say.
    Transcribe(transcribe::TranscribeArgs),
    /// Let a trained policy act in an environment, for the return you ask for.
    Rollout(rollout::RolloutArgs),
    /// Give a vector for each text or image.
    Embed(embed::EmbedArgs),
    /// Turn a published checkpoint into a run.
    Import(import::ImportArgs),
    /// Write a run that was imported as the checkpoint that it came from.
    Export(import::ExportArgs),
    /// Show the tokens that a file becomes.
    Tokenize(tokenize::TokenizeArgs),
    /// List, fetch, make and check data.
    Data(data::DataArgs),
    /// Say what a run is: settings, tasks, parameters, progress.
    Info(info::InfoArgs),
    /// Draw a run's attention rules and its curves.
    Show(show::ShowArgs),
    /// Measure speed: training on the standard loads, inference, tokenizers, the loader, growth with length.
    Bench(bench::BenchArgs),
    /// One shared model learns four modalities on the data that ships, in a few minutes.
    Demo(demo::DemoArgs),
}

/// Runs one command.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Classify(args) => classify::run(args),
        Command::Transcribe(args) => transcribe::run(args),
        Command::Rollout(args) => rollout::run(args),
        Command::Embed(args) => embed::run(args),
        Command::Import(args) => import::import(args),
        Command::Export(args) => import::export(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Data(args) => data::run(args),
        Command::Info(args) => info::run(args),
        Command::Show(args) => show::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Demo(args) => demo::run(args),
    }
}
