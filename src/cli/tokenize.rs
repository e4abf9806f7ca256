//! `smalti tokenize`

#[cfg(feature = "trajectory")]
mod episodes;
mod long;
mod options;
mod task;

pub use options::{SlicingOptions, TokenizerOptions};

use super::compositions::settings_file;
use super::print;
use crate::cli::count::{MANY, up_to};
use crate::data::{self, DataError};
use crate::registry::Modalities;
use crate::report::figure::{self, Format};
use crate::report::tokens::{self, GroupSummary, Span, Token, TokenContent, text_of_id};
use crate::table::Modality;
use crate::train::{check_target, check_tensors_target, checkpoint::write_atomically};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use smalti_contract::{AnyTokenizer, ContentSpec, File, TokenSpec, Tokens};
use std::path::PathBuf;

/// Show the tokens of a file: number, content, positions, time steps and order of each kind.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti tokenize photo.jpg --patch-size 16 --image-size 224x224 --image grid.png\n  \
    smalti tokenize builtin:touchtone.tar/clips/000.wav --image slices.png\n  \
    smalti tokenize log.npz --index 3 --json\n  \
    smalti tokenize frames.npz --patch-size 12 --image-size 84x84")]
pub struct TokenizeArgs {
    /// File of any modality, folder of episodes, or a task: a TOML file, preset or run folder.
    ///
    /// A file is on disk, inside a tar (clips.tar/one.wav), or ships (builtin:touchtone.tar/clips/000.wav). A task with
    /// inputs and outputs gives the tokens of a training sample.
    file: String,
    /// Override a setting of a task: data.source=my.csv. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Input or output to draw with --image, for a task [default: the first input].
    #[arg(long, value_name = "PART")]
    part: Option<String>,
    /// Modality of the file [default: by its name, else by its content].
    #[arg(long = "as", value_enum, value_name = "MODALITY")]
    modality: Option<Modality>,
    /// Row of the file, counted from 0.
    ///
    /// A row is an image of an IDX file, a window of --context time steps of episodes, or a training sample of a task.
    #[arg(long, default_value_t = 0, value_parser = up_to::<MANY>)]
    index: usize,
    /// Number of tokens to print from the first on; the last is printed too.
    #[arg(long, default_value_t = 8, value_parser = up_to::<MANY>)]
    first: usize,
    #[command(flatten)]
    tokenizer: TokenizerOptions,
    /// Draw the tokens as a figure, a PNG or SVG file by its name.
    ///
    /// The figure shows patches on the image, slices on the spectrogram, characters in boxes, an episode in lanes. A name
    /// that ends in .svg gives shapes instead of pixels.
    #[arg(long = "image", value_name = "FILE.png", value_parser = figure_file)]
    figure: Option<(PathBuf, Format)>,
    /// Write content, positions, order and time of each kind as tensors, KIND.content and so on.
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
    /// Print one JSON object: modality, index, rows, tokens, groups, the first tokens and the last.
    #[arg(long)]
    json: bool,
}

fn figure_file(path: &str) -> Result<(PathBuf, Format), String> {
    let path = PathBuf::from(path);
    match Format::of(&path) {
        Some(format) => Ok((path, format)),
        None => Err("expected a file name that ends in .png or .svg".into()),
    }
}

/// Tokenizes.
pub fn run(args: TokenizeArgs, modalities: &Modalities) -> Result<()> {
    args.out.as_deref().map_or(Ok(()), check_tensors_target)?;
    args.figure.as_ref().map_or(Ok(()), |(path, _)| check_target(path))?;
    if let Some(settings) = settings_file(&args.file) {
        return task::run(&args, &settings, modalities);
    }
    ensure!(
        args.set.is_empty() && args.part.is_none(),
        "{}: --set and --part are for a task: a TOML file, preset or run folder; leave them out",
        args.file
    );
    if long::run(&args, modalities)? {
        return Ok(());
    }
    // A folder can only be one of episodes.
    let bytes = match data::read(&args.file) {
        Err(DataError::IsFolder { .. }) => None,
        read => Some(read?),
    };
    let guess =
        || bytes.as_ref().map_or(Some(Modality::Trajectory), |bytes| Modality::guess(&args.file, bytes));
    let modality = args.modality.or_else(guess).with_context(|| {
        format!(
            "{}: neither name nor content tells its modality; add --as text, image, audio or trajectory",
            args.file
        )
    })?;
    args.tokenizer.check(modality).with_context(|| args.file.clone())?;
    #[cfg(feature = "trajectory")]
    if modality == Modality::Trajectory {
        let of_folder = || {
            format!(
                "{}: a folder is read as episodes; for other data, give a file in it (`smalti data check` takes folders)",
                args.file
            )
        };
        let shown = episodes::run(&args, modalities);
        return if bytes.is_none() { shown.with_context(of_folder) } else { shown };
    }
    let file = File { name: args.file.clone(), bytes: bytes.unwrap_or_default() };
    let tokenizer = args.tokenizer.fit(modality, &file, modalities).with_context(|| args.file.clone())?;
    let tokenizer = tokenizer.as_ref();
    let (tokens, rows) = row(tokenizer, &file.bytes, args.index).with_context(|| args.file.clone())?;
    let figure = || figure::of(tokenizer, &tokens);
    let view = TokenView { spec: tokenizer.spec(), tokens: &tokens, tokenizer: &|_| Some(tokenizer) };
    show(&args, modality, &view, rows, &figure)
}

/// The tokens of row `index`, and the number of rows.
fn row(tokenizer: &dyn AnyTokenizer, bytes: &[u8], index: usize) -> Result<(Tokens, usize)> {
    let (mut found, mut rows) = (None, 0);
    for tokens in tokenizer.encode_file(bytes, None) {
        let tokens = tokens.with_context(|| format!("row {rows}"))?;
        if rows == index {
            tokenizer.spec().check(&tokens)?;
            found = Some(tokens);
        }
        rows += 1;
    }
    check_index(index, rows, "rows")?;
    Ok((found.unwrap_or_default(), rows))
}

/// Fails if `--index` is not below the number of rows or samples.
fn check_index(index: usize, n: usize, what: &str) -> Result<()> {
    ensure!(index < n, "--index: expected less than {n}, the number of {what}; found {index}");
    Ok(())
}

/// The tokens of one row, as a table or as JSON.
struct TokenView<'a> {
    spec: &'a TokenSpec,
    tokens: &'a Tokens,
    tokenizer: TokenizerOf<'a>,
}

/// Writes and prints the tokens of one of a file's rows.
fn show(
    args: &TokenizeArgs,
    modality: Modality,
    view: &TokenView,
    rows: usize,
    figure: &dyn Fn() -> figure::Scene,
) -> Result<()> {
    if let Some((path, format)) = &args.figure {
        write_atomically(path, &figure().encode(*format)?)?;
    }
    if let Some(out) = &args.out {
        write_atomically(out, &tokens::to_safetensors(view.spec, view.tokens)?)?;
    }
    print_row(args, modality, rows, &view.shown(args.first), view.tokenizer)
}

/// Prints the tokens of one of a file's rows.
fn print_row(
    args: &TokenizeArgs,
    modality: Modality,
    rows: usize,
    tokens: &Shown,
    of: TokenizerOf,
) -> Result<()> {
    let (file, modality, index) = (&args.file, modality.name(), args.index);
    if args.json {
        let mut shown = tokens.json();
        for (key, value) in [
            ("file", json!(file)),
            ("modality", json!(modality)),
            ("index", json!(index)),
            ("rows", json!(rows)),
        ] {
            shown[key] = value;
        }
        return print::json(&shown);
    }
    println!("{file}: {modality}, row {index} of {rows}, {} tokens", tokens.tokens);
    tokens.print(of);
    Ok(())
}

/// The tokenizer of the tokens of a kind.
type TokenizerOf<'a> = &'a dyn Fn(&str) -> Option<&'a dyn AnyTokenizer>;

/// The printed part of the tokens of one row.
struct Shown {
    /// The number of tokens.
    tokens: usize,
    groups: Vec<GroupSummary>,
    first: Vec<Token>,
    last: Option<Token>,
}

impl TokenView<'_> {
    fn shown(&self, first: usize) -> Shown {
        Shown {
            tokens: self.tokens.len(),
            groups: tokens::summary(self.spec, self.tokens),
            first: tokens::first(self.spec, self.tokens, first),
            last: tokens::last(self.spec, self.tokens),
        }
    }
}

impl Shown {
    /// Number of tokens, summary of each kind, the first tokens and the last.
    fn json(&self) -> Value {
        json!({ "tokens": self.tokens, "groups": self.groups, "first": self.first, "last": self.last })
    }

    fn print(&self, tokenizer: TokenizerOf) {
        print::table(
            &["kind", "tokens", "content", "values", "positions", "time", "order"],
            &self.groups.iter().map(group_row).collect::<Vec<_>>(),
        );
        let row = |token: &Token| token_row(token, tokenizer(&token.kind));
        let mut rows: Vec<_> = self.first.iter().map(row).collect();
        if let Some(last) = self.last.as_ref().filter(|_| self.tokens > self.first.len()) {
            if self.tokens > self.first.len() + 1 {
                rows.push(vec!["…".into(); 5]);
            }
            rows.push(row(last));
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

/// Number of features of a token to print.
const FEATURES: usize = 4;

fn token_row(token: &Token, tokenizer: Option<&dyn AnyTokenizer>) -> Vec<String> {
    let content = match &token.content {
        TokenContent::Id(id) => match tokenizer.and_then(|tokenizer| text_of_id(tokenizer, *id)) {
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
