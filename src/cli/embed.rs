//! `smalti embed`

use super::device::DeviceChoice;
use crate::registry::Modalities;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Give a vector for each text or image.
#[derive(Args)]
pub struct EmbedArgs {
    /// The folder of a run with a text or an image task.
    run: PathBuf,
    /// Texts, each line of which is one, or images; on disk or inside a tar.
    files: Vec<String>,
    /// A text; may come several times.
    #[arg(long)]
    text: Vec<String>,
    /// What is taken of an input's tokens. Left out, what was published with an imported model, or their mean.
    #[arg(long, value_enum)]
    pool: Option<Pool>,
    /// Brings each vector to length 1, as a published model of sentences may also say.
    #[arg(long)]
    normalize: bool,
    /// Inputs that are computed together.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Writes the vectors, `[inputs, d_model]`, as the tensor `vectors` of a safetensors file.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: inputs_per_s without the loading of the model, and for each input its file, its place
    /// there and its vector.
    #[arg(long)]
    json: bool,
}

/// What is taken of an input's tokens.
#[derive(Clone, Copy, ValueEnum)]
enum Pool {
    /// Their mean.
    Mean,
    /// The first: BERT's [CLS], ViT's class token.
    First,
}

/// An input's name, its place in the file, and its vector.
#[cfg(any(feature = "text", feature = "image"))]
type Row = (String, usize, Vec<f32>);

/// Embeds.
#[cfg(any(feature = "text", feature = "image"))]
pub fn run(args: EmbedArgs, modalities: &Modalities) -> Result<()> {
    use super::print;
    use crate::run::{Run, Weights};
    use crate::tasks::Builtin;

    if args.files.is_empty() && args.text.is_empty() {
        bail!("nothing to embed; name files, or give --text");
    }
    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let started = std::time::Instant::now();
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        #[cfg(feature = "text")]
        Builtin::Text(task) => Some(texts(&args, &model, number, task)),
        #[cfg(feature = "image")]
        Builtin::Image(task) => Some(images(&args, &model, number, task)),
        #[allow(unreachable_patterns)] // where there is no other modality
        _ => None::<Result<Vec<Row>>>,
    });
    let Some(rows) = found else { bail!("{} has no text or image task", args.run.display()) };
    let rows = rows?;
    let inputs_per_s = rows.len() as f64 / started.elapsed().as_secs_f64();
    if let Some(out) = &args.out {
        save(out, &rows)?;
    }
    if args.json {
        let vectors = rows.iter().map(
            |(file, place, vector)| serde_json::json!({ "input": file, "place": place, "vector": vector }),
        );
        return print::json(&serde_json::json!({
            "inputs_per_s": inputs_per_s,
            "vectors": vectors.collect::<Vec<_>>(),
        }));
    }
    let shown =
        |vector: &[f32]| vector.iter().take(4).map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let row = |(file, place, vector): &Row| {
        vec![
            file.clone(),
            place.to_string(),
            vector.len().to_string(),
            format!("{:.4}", length(vector)),
            format!("({}, …)", shown(vector)),
        ]
    };
    print::table(
        &["input", "place", "numbers", "length", "vector"],
        &rows.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

#[cfg(any(feature = "text", feature = "image"))]
fn save(out: &std::path::Path, rows: &[Row]) -> Result<()> {
    use candle_core::{Device, Tensor};
    use std::collections::BTreeMap;

    let width = rows.first().map_or(0, |(.., vector)| vector.len());
    let values: Vec<f32> = rows.iter().flat_map(|(.., vector)| vector.iter().copied()).collect();
    let tensor = Tensor::from_vec(values, (rows.len(), width), &Device::Cpu)?;
    crate::train::save(out, &BTreeMap::from([("vectors".to_string(), tensor)]), &BTreeMap::new())?;
    Ok(())
}

#[cfg(feature = "text")]
fn texts(
    args: &EmbedArgs,
    model: &crate::model::Model,
    number: usize,
    task: &crate::tasks::text::TextTask,
) -> Result<Vec<Row>> {
    use crate::tasks::{Embedding, Pooling};
    use anyhow::Context;

    let Embedding { mut pooling, mut normalize, most_tokens } = task.embedding();
    normalize |= args.normalize;
    if let Some(pool) = args.pool {
        pooling = match pool {
            Pool::Mean => Pooling::Mean,
            Pool::First => Pooling::First,
        };
    }
    let (mut places, mut texts) = (Vec::new(), Vec::new());
    for (place, text) in args.text.iter().enumerate() {
        places.push(("--text".to_string(), place + 1));
        texts.push(text.clone());
    }
    for file in &args.files {
        let whole = String::from_utf8(crate::data::read(file)?).with_context(|| file.clone())?;
        for (line, text) in whole.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            places.push((file.clone(), line + 1));
            texts.push(text.to_string());
        }
    }
    let embedded =
        task.embed(model, number, &texts, Embedding { pooling, normalize, most_tokens }, args.batch)?;
    if embedded.cut > 0 {
        eprintln!(
            "note: of {} texts only the beginning was read: they are longer than the model reads",
            embedded.cut
        );
    }
    Ok(places
        .into_iter()
        .zip(embedded.vectors)
        .map(|((file, place), vector)| (file, place, vector))
        .collect())
}

#[cfg(feature = "image")]
fn images(
    args: &EmbedArgs,
    model: &crate::model::Model,
    number: usize,
    task: &crate::tasks::image::ImageTask,
) -> Result<Vec<Row>> {
    use crate::tasks::Pooling;
    use anyhow::Context;
    use smalti_contract::Tokenizer;

    if !args.text.is_empty() {
        bail!("--text is for a run with a text task; {} reads images", args.run.display());
    }
    let pooling = match args.pool {
        Some(Pool::Mean) => Pooling::Mean,
        Some(Pool::First) | None => Pooling::First,
    };
    let mut rows = Vec::new();
    for file in &args.files {
        let bytes = crate::data::read(file)?;
        let images = task.tokenizer().records(&bytes).collect::<Result<Vec<_>, _>>();
        let images = images.with_context(|| file.clone())?;
        for (chunk, images) in images.chunks(args.batch.max(1)).enumerate() {
            let vectors =
                task.embed(model, number, images, pooling, args.normalize).with_context(|| file.clone())?;
            let first = chunk * args.batch.max(1);
            rows.extend(vectors.into_iter().enumerate().map(|(i, vector)| (file.clone(), first + i, vector)));
        }
    }
    Ok(rows)
}

/// Says that this build cannot.
#[cfg(not(any(feature = "text", feature = "image")))]
pub fn run(_: EmbedArgs, _: &Modalities) -> Result<()> {
    bail!("this smalti is built without the features `text` and `image`")
}
