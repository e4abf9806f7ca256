//! `smalti embed`

use super::compositions::{Loaded, Unanswered, batches, files};
use super::{dtype::LoadArgs, print};
use crate::cli::count::{MANY, up_to};
use crate::data;
use crate::inference::{Embedding, embed, embed_tokens, embedded_part};
use crate::model::Model;
use crate::registry::Modalities;
use crate::sample::{Composition, Part, Pool};
use crate::train::{check_tensors_target, save};
use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use clap::{Args, ValueEnum};
use serde_json::json;
use smalti_contract::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Embed values: one vector for each text, image or clip.
#[derive(Args)]
pub struct EmbedArgs {
    /// Run folder.
    run: PathBuf,
    /// Files of texts, one on each line, or of images, clips or other values; folders or tars of them.
    files: Vec<String>,
    /// Text to embed. May be repeated.
    #[arg(long)]
    text: Vec<String>,
    /// Input to embed, for a run with several inputs.
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    /// Pooling of a value's tokens.
    ///
    /// The default is that of the run's `represent` output; without one, the class token, if there is one, or the mean.
    #[arg(long, value_enum)]
    pool: Option<PoolChoice>,
    /// Divide each vector by its L2 norm, as a run's `represent` output may also do.
    #[arg(long)]
    normalize: bool,
    /// Maximum number of tokens of a text; 0 for the most that the model reads.
    #[arg(long, default_value_t = 0, value_parser = up_to::<MANY>)]
    max_tokens: usize,
    /// Number of values in a batch.
    #[arg(long, default_value_t = 32, value_parser = up_to::<{ 1 << 20 }>)]
    batch: usize,
    /// Write the vectors, `[values, d_model]`, as the tensor `vectors` of a safetensors file.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: inputs_per_s, and for each value its file, its place there and its vector.
    ///
    /// inputs_per_s does not count the loading of the model.
    #[arg(long)]
    json: bool,
}

/// Pooling of a value's tokens.
#[derive(Clone, Copy, ValueEnum)]
enum PoolChoice {
    /// Mean of all tokens; of images with class token and registers, as of transformers' last_hidden_state.
    Mean,
    /// First token: BERT's [CLS].
    First,
    /// Last token, which attends to all others in a causal model, or the end of CLIP's texts.
    Last,
    /// Class token that an output reads: ViT's.
    ClassToken,
}

impl From<PoolChoice> for Pool {
    fn from(choice: PoolChoice) -> Self {
        match choice {
            PoolChoice::Mean => Pool::Mean,
            PoolChoice::First => Pool::First,
            PoolChoice::Last => Pool::Last,
            PoolChoice::ClassToken => Pool::ClassToken,
        }
    }
}

/// A value's file, its place there, and its vector.
type Row = (String, usize, Vec<f32>);

/// Embeds.
pub fn run(args: EmbedArgs, modalities: &Modalities) -> Result<()> {
    if args.files.is_empty() && args.text.is_empty() {
        bail!("nothing to embed: expected files or --text");
    }
    args.out.as_deref().map_or(Ok(()), check_tensors_target)?;
    let run = Loaded::open(&args.run, args.load, modalities)?;
    let started = std::time::Instant::now();
    let (number, task, part) = run
        .find("a single input (of several, --input names one)", |number, task| {
            Some((number, task, embedded_part(task, args.input.as_deref()).ok()?))
        })?;
    let (rows, unanswered) = rows(&args, (&run.model, number, task), part)?;
    let inputs_per_s = rows.len() as f64 / started.elapsed().as_secs_f64();
    if let Some(out) = &args.out {
        write(out, &rows)?;
    }
    if args.json {
        let vectors = rows
            .iter()
            .map(|(file, place, vector)| json!({ "input": file, "place": place, "vector": vector }));
        let vectors: Vec<_> = vectors.chain(unanswered.json("input")).collect();
        print::json(&json!({ "inputs_per_s": inputs_per_s, "vectors": vectors }))?;
        return unanswered.check();
    }
    let first =
        |vector: &[f32]| vector.iter().take(4).map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let row = |(file, place, vector): &Row| {
        vec![
            file.clone(),
            place.to_string(),
            vector.len().to_string(),
            format!("{:.4}", length(vector)),
            format!("({}, …)", first(vector)),
        ]
    };
    print::answers(
        &["input", "place", "numbers", "length", "vector"],
        &rows.iter().map(row).collect::<Vec<_>>(),
    );
    unanswered.check()
}

/// The vectors of all texts, then those of the values in other files, and the files without vectors.
fn rows(args: &EmbedArgs, of: (&Model, usize, &Composition), part: usize) -> Result<(Vec<Row>, Unanswered)> {
    let embedding =
        Embedding { pool: args.pool.map(Pool::from), normalize: args.normalize, max_tokens: args.max_tokens };
    let mut texts: Vec<(String, usize, String)> =
        args.text.iter().enumerate().map(|(i, text)| ("--text".into(), i + 1, text.clone())).collect();
    let mut rows: Vec<Row> = vec![];
    let read = &of.2.parts()[part];
    let files = files(read, &args.files)?;
    let mut unanswered = Unanswered::of(files.len() + args.text.len());
    let answer = |file: &String| -> Result<(Lines, Vec<Row>)> {
        let (bytes, mut found) = (data::read(file)?, vec![]);
        if let Some(lines) = lines(read, &bytes) {
            return Ok((lines, found));
        }
        batches(read, (file, &bytes), args.batch, |first, tokens| {
            let vectors = embed_tokens(of, part, tokens, &embedding, args.batch)?;
            found.extend((first..).zip(vectors).map(|(place, vector)| (file.clone(), place, vector)));
            Ok(())
        })?;
        Ok((vec![], found))
    };
    for file in &files {
        let Some((lines, vectors)) = unanswered.keep(file, answer(file))? else { continue };
        texts.extend(lines.into_iter().map(|(line, text)| (file.clone(), line, text)));
        rows.extend(vectors);
    }
    let values = texts.iter().map(|(.., text)| Value::Text(text.clone())).collect();
    let embedded = embed(of, part, values, &embedding, args.batch)?;
    if embedded.truncated > 0 {
        let n = embedded.truncated;
        eprintln!("note: {n} texts were truncated to the length that the model reads");
    }
    let of_texts = texts.into_iter().zip(embedded.vectors);
    let of_texts = of_texts.map(|((file, place, _), vector)| (file, place, vector));
    Ok((of_texts.chain(rows).collect(), unanswered))
}

/// Lines, each with its number from 1.
type Lines = Vec<(usize, String)>;

/// The lines of a file that are not empty, if the part reads texts.
fn lines(part: &Part, bytes: &[u8]) -> Option<Lines> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let lines: Lines = lines.map(|(place, line)| (place + 1, line.to_string())).collect();
    let first = Value::Text(lines.first()?.1.clone());
    part.tokenizer.encode_value_truncated(first, usize::MAX).ok().map(|_| lines)
}

fn write(out: &Path, rows: &[Row]) -> Result<()> {
    let width = rows.first().map_or(0, |(.., vector)| vector.len());
    let values: Vec<f32> = rows.iter().flat_map(|(.., vector)| vector.iter().copied()).collect();
    let tensor = Tensor::from_vec(values, (rows.len(), width), &Device::Cpu)?;
    save(out, &BTreeMap::from([("vectors".to_string(), tensor)]), &BTreeMap::new())?;
    Ok(())
}
