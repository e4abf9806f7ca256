//! `smalti tokenize`

#[cfg(feature = "trajectory")]
mod episodes;
mod shape;
mod task;

pub use shape::{Cut, Shape};

use super::print;
use crate::data::{self, DataError};
use crate::registry::Modalities;
use crate::report::figure::{self, Format};
use crate::report::tokens::{self, GroupSummary, Span, Token, TokenContent, spelled};
use crate::table::Modality;
use crate::train::checkpoint::write_atomically;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use smalti_contract::{AnyTokenizer, ContentSpec, File, TokenSpec, Tokens};
use std::path::PathBuf;

/// Show the tokens that a file becomes: how many of each kind, what they hold, where they stand.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti tokenize photo.jpg --patch 16 --size 224x224 --image grid.png\n  \
    smalti tokenize builtin:touchtone.tar/clips/000.wav --image slices.png\n  \
    smalti tokenize log.npz --record 3 --json\n  \
    smalti tokenize frames.npz --patch 12 --size 84x84")]
pub struct TokenizeArgs {
    /// A file on disk, inside a tar (clips.tar/one.wav), or that ships (builtin:touchtone.tar/clips/000.wav); or a folder
    /// of episodes. Or a TOML file of a task made of inputs and outputs: the tokens of a training sample.
    file: String,
    /// Override a setting of a TOML file: data.source=my.csv. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The part to draw with --image, for a TOML file; left out, the first input.
    #[arg(long, value_name = "PART")]
    part: Option<String>,
    /// What the file is; without it, its name or content tells.
    #[arg(long = "as", value_enum, value_name = "MODALITY")]
    modality: Option<Modality>,
    /// Which of a file's records, counted from 0: images of an IDX file, windows of --context time steps.
    #[arg(long, default_value_t = 0)]
    record: usize,
    /// How many tokens to print, from the first on; the last is printed too.
    #[arg(long, default_value_t = 8)]
    first: usize,
    #[command(flatten)]
    shape: Shape,
    /// Draws the tokens: patches on the image, slices on the spectrogram, characters in their boxes, an episode in
    /// lanes. A name that ends in .svg gives shapes instead of pixels.
    #[arg(long, value_name = "FILE.png", value_parser = figure_file)]
    figure: Option<(PathBuf, Format)>,
    /// Writes content, positions, order and time of each kind as the tensors KIND.content and so on.
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
    /// Prints one JSON object: modality, records, tokens, groups, the first tokens and the last.
    #[arg(long)]
    json: bool,
}

fn figure_file(path: &str) -> Result<(PathBuf, Format), String> {
    let path = PathBuf::from(path);
    match Format::of(&path) {
        Some(format) => Ok((path, format)),
        None => Err("a figure is written as .png or .svg; its name must end so".into()),
    }
}

/// Tokenizes.
pub fn run(args: TokenizeArgs, modalities: &Modalities) -> Result<()> {
    if args.file.ends_with(".toml") {
        return task::run(&args, modalities);
    }
    ensure!(
        args.set.is_empty() && args.part.is_none(),
        "{}: --set and --part are for a TOML file",
        args.file
    );
    // A folder can only be one of episodes.
    let bytes = match data::read(&args.file) {
        Err(DataError::IsFolder { .. }) => None,
        read => Some(read?),
    };
    let guess =
        || bytes.as_ref().map_or(Some(Modality::Trajectory), |bytes| Modality::guess(&args.file, bytes));
    let modality = args.modality.or_else(guess).with_context(|| {
        format!(
            "{}: neither name nor content tells what it is; add --as text, image, audio or trajectory",
            args.file
        )
    })?;
    args.shape.only(modality).with_context(|| args.file.clone())?;
    #[cfg(feature = "trajectory")]
    if modality == Modality::Trajectory {
        return episodes::run(&args, modalities);
    }
    let file = File { name: args.file.clone(), bytes: bytes.unwrap_or_default() };
    let tokenizer = args.shape.fit(modality, &file, modalities).with_context(|| args.file.clone())?;
    let tokenizer = tokenizer.as_ref();
    let (tokens, records) = record(tokenizer, &file.bytes, args.record).with_context(|| args.file.clone())?;
    let figure = || figure::of(tokenizer, &tokens);
    let drawn = Drawn { spec: tokenizer.spec(), tokens: &tokens, tokenizer: &|_| Some(tokenizer) };
    show(&args, modality, &drawn, records, &figure)
}

/// The tokens of record `n`, and how many records there are.
fn record(tokenizer: &dyn AnyTokenizer, bytes: &[u8], n: usize) -> Result<(Tokens, usize)> {
    let (mut found, mut records) = (None, 0);
    for tokens in tokenizer.encode_file(bytes, None) {
        let tokens = tokens.with_context(|| format!("record {records}"))?;
        if records == n {
            tokenizer.spec().check(&tokens)?;
            found = Some(tokens);
        }
        records += 1;
    }
    ensure!(found.is_some(), "--record {n} is not among the {records} records, counted from 0");
    Ok((found.unwrap_or_default(), records))
}

/// Tokens to be shown.
struct Drawn<'a> {
    spec: &'a TokenSpec,
    tokens: &'a Tokens,
    /// The tokenizer that made the tokens of a kind.
    tokenizer: &'a dyn Fn(&str) -> Option<&'a dyn AnyTokenizer>,
}

/// Writes and prints a file's record.
fn show(
    args: &TokenizeArgs,
    modality: Modality,
    drawn: &Drawn,
    records: usize,
    figure: &dyn Fn() -> figure::Scene,
) -> Result<()> {
    if let Some((path, format)) = &args.figure {
        write_atomically(path, &figure().encode(*format)?)?;
    }
    if let Some(out) = &args.out {
        write_atomically(out, &tokens::to_safetensors(drawn.spec, drawn.tokens)?)?;
    }
    let (file, modality, record) = (&args.file, modality.name(), args.record);
    if args.json {
        let mut shown = drawn.json(args.first);
        for (key, value) in [
            ("file", json!(file)),
            ("modality", json!(modality)),
            ("record", json!(record)),
            ("records", json!(records)),
        ] {
            shown[key] = value;
        }
        return print::json(&shown);
    }
    println!("{file}: {modality}, record {record} of {records}, {} tokens", drawn.tokens.len());
    drawn.print(args.first);
    Ok(())
}

impl Drawn<'_> {
    /// How many tokens there are, what each kind is like, the first tokens and the last.
    fn json(&self, first: usize) -> Value {
        json!({
            "tokens": self.tokens.len(),
            "groups": tokens::summary(self.spec, self.tokens),
            "first": tokens::first(self.spec, self.tokens, first),
            "last": tokens::last(self.spec, self.tokens),
        })
    }

    fn print(&self, first: usize) {
        let groups = tokens::summary(self.spec, self.tokens);
        print::table(
            &["kind", "tokens", "content", "values", "positions", "time", "order"],
            &groups.iter().map(group_row).collect::<Vec<_>>(),
        );
        let first = tokens::first(self.spec, self.tokens, first);
        let row = |token: &Token| token_row(token, (self.tokenizer)(&token.kind));
        let mut rows: Vec<_> = first.iter().map(row).collect();
        if let Some(last) = tokens::last(self.spec, self.tokens).filter(|_| self.tokens.len() > first.len()) {
            if self.tokens.len() > first.len() + 1 {
                rows.push(vec!["…".into(); 5]);
            }
            rows.push(row(&last));
        }
        print::table(&["kind", "order", "positions", "time", "content"], &rows);
    }
}

fn group_row(group: &GroupSummary) -> Vec<String> {
    let span = |span: Option<Span>| span.map_or("none".into(), |span| span.to_string());
    let axes = group.axes.iter().map(|axis| format!("{} {}", axis.name, span(axis.span)));
    vec![
        group.kind.clone(),
        group.tokens.to_string(),
        match group.content {
            ContentSpec::Ids { vocabulary } => format!("ids of {vocabulary}"),
            ContentSpec::Features { dim: 1 } => "1 feature".into(),
            ContentSpec::Features { dim } => format!("{dim} features"),
        },
        group.values.map_or("none".into(), |values| values.to_string()),
        axes.collect::<Vec<_>>().join(", "),
        span(group.time),
        span(group.order),
    ]
}

/// Features of a token that are printed.
const FEATURES: usize = 4;

fn token_row(token: &Token, tokenizer: Option<&dyn AnyTokenizer>) -> Vec<String> {
    let content = match &token.content {
        TokenContent::Id(id) => match tokenizer.and_then(|tokenizer| spelled(tokenizer, *id)) {
            Some(text) => format!("{id} {text:?}"),
            None => id.to_string(),
        },
        TokenContent::Features(values) => {
            let some: Vec<String> = values.iter().take(FEATURES).map(|value| format!("{value:.3}")).collect();
            format!("{}{}", some.join(" "), if values.len() > FEATURES { " …" } else { "" })
        }
    };
    let positions: Vec<String> = token.positions.iter().map(u32::to_string).collect();
    let (order, time) = (token.order.to_string(), token.time.to_string());
    vec![token.kind.clone(), order, positions.join(", "), time, content]
}
