//! `smalti import` and `smalti export`

#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use crate::pretrained::TrainedKind;
use crate::train::Storage;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Import a published checkpoint as a run.
#[derive(Args)]
pub struct ImportArgs {
    /// Folder with config.json and weights, a safetensors file beside config.json, or hf:OWNER/NAME.
    ///
    /// Weights in a folder are model.safetensors, in one file or several, or pytorch_model.bin. hf:OWNER/NAME, or
    /// hf:OWNER/NAME@REVISION, is a repository on the Hugging Face Hub, which is downloaded into its cache.
    checkpoint: PathBuf,
    /// Run folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Data type of the stored weights; int8 and int4 round those of linear maps.
    ///
    /// The run then has the rounded values in f32, or, loaded with the same --dtype, as they are stored.
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    dtype: Stored,
    /// Decision transformer: logged episodes to normalize states by [default: no normalization].
    ///
    /// The mean and the standard deviation of the states are no part of a checkpoint.
    #[arg(long)]
    log: Option<String>,
    /// Decision transformer: divisor of the returns in its training, often 1000.
    #[arg(long)]
    return_scale: Option<f32>,
    /// Setting beside the weights that changes no output. May be repeated.
    ///
    /// A setting that this build does not know is an error, because it may change the output. The run keeps the names of
    /// ignored settings.
    #[arg(long, value_name = "KEY")]
    ignore_setting: Vec<String>,
    /// Read weights that are integers as numbers.
    ///
    /// Weights are floating-point numbers. Integers are a mistake, or quantized weights whose scales are elsewhere.
    #[arg(long)]
    allow_integers: bool,
    /// CLIP, SigLIP: which of the two models to import. Both are two runs.
    #[arg(long, value_enum)]
    tower: Option<Tower>,
    /// Print one JSON object: loaded, numbers, repeated, unread, ignored, ids_as_text.
    #[arg(long)]
    json: bool,
}

/// Export a run for other programs: transformers, ONNX, llama.cpp.
///
/// An imported run is written in the layout of its checkpoint, a run that was trained here in that of the kind that has its
/// settings. A setting that the layout does not have is an error; the guide has the settings of each kind.
///
/// The input of an ONNX file is the content of the tokens of one text, image or clip, without a batch: of an image of 28×28 gray
/// pixels in patches of 4×4, the normalized patches [49, 16]. `smalti tokenize` and the Python package make tokens.
#[derive(Args)]
pub struct ExportArgs {
    /// Run folder.
    run: PathBuf,
    /// Folder to write config.json and model.safetensors into; for onnx and gguf, the file to write.
    #[arg(long)]
    out: PathBuf,
    /// Format to write.
    #[arg(long, value_enum, default_value_t = Format::Huggingface)]
    format: Format,
    /// Kind of a run that was trained here: vit, bert, gpt2, llama, t5 or whisper.
    ///
    /// By default, it follows from the inputs, the outputs and the norm of the run.
    #[arg(long)]
    kind: Option<TrainedKind>,
    /// Data type of the stored weights; onnx has f32 alone.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
    /// Print one JSON object: tensors, or of onnx inputs, outputs, nodes, bytes.
    #[arg(long)]
    json: bool,
}

/// A build without these features exports nothing.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
type TrainedKind = String;

/// Format of an export.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A folder for transformers: config.json, model.safetensors, and the tokenizer or processor.
    Huggingface,
    /// One file for ONNX runtimes: an encoder, or a decoder of one step without a cache.
    Onnx,
    /// One file for llama.cpp: Llama or GPT-2 with a byte-level BPE vocabulary.
    Gguf,
}

/// One of the two models of CLIP or SigLIP.
#[derive(Clone, Copy, ValueEnum)]
enum Tower {
    /// The model that embeds images.
    Image,
    /// The model that embeds texts.
    Text,
}

/// Data type of a stored weight.
#[derive(Clone, Copy, ValueEnum)]
enum Numbers {
    F32,
    Bf16,
    F16,
}

/// Data type of a weight that an import stores.
#[derive(Clone, Copy, ValueEnum)]
enum Stored {
    F32,
    Bf16,
    F16,
    /// 8 bits, with a scale for each output.
    Int8,
    /// 4 bits, with a scale for each output and 32 inputs.
    Int4,
}

impl From<Numbers> for Storage {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::F32 => Storage::F32,
            Numbers::Bf16 => Storage::Bf16,
            Numbers::F16 => Storage::F16,
        }
    }
}

/// Most unread tensors to print; JSON has all.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
const LISTED: usize = 10;

/// Imports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn import(args: ImportArgs) -> Result<()> {
    use super::{checks, print};
    use crate::ops::QuantizedType;
    use crate::pretrained;

    let scaled = args.log.is_some() || args.return_scale.is_some();
    let scales = pretrained::Scales { log: args.log, return_scale: args.return_scale };
    let (storage, quantized) = match args.dtype {
        Stored::F32 => (Storage::F32, None),
        Stored::Bf16 => (Storage::Bf16, None),
        Stored::F16 => (Storage::F16, None),
        Stored::Int8 => (Storage::F32, Some(QuantizedType::Int8)),
        Stored::Int4 => (Storage::F32, Some(QuantizedType::Int4)),
    };
    let tower = args.tower.map(|tower| match tower {
        Tower::Image => pretrained::Tower::Image,
        Tower::Text => pretrained::Tower::Text,
    });
    let options = pretrained::Options {
        scales: scaled.then_some(&scales),
        ignored: &args.ignore_setting,
        tower,
        allow_non_finite: !checks::chosen().finite,
        allow_integers: args.allow_integers,
        quantized,
    };
    let report = pretrained::import_with(&args.checkpoint, &args.out, storage, &options)?;
    if args.json {
        return print::json(&serde_json::to_value(&report)?);
    }
    let one = |what: &str, name: &str| vec![what.to_string(), name.to_string()];
    let mut rows = vec![
        one("parameters set", &report.loaded.to_string()),
        one("numbers in them", &report.numbers.to_string()),
    ];
    rows.extend(
        report.repeated.iter().map(|(name, other)| one("copy of another", &format!("{name} = {other}"))),
    );
    rows.extend(report.unread.iter().take(LISTED).map(|name| one("not read, kept for export", name)));
    if report.unread.len() > LISTED {
        rows.push(one("not read, in all", &report.unread.len().to_string()));
    }
    rows.extend(report.ignored.iter().map(|key| one("setting ignored", key)));
    print::table(&["tensors", ""], &rows);
    println!("the run is in {}", args.out.display());
    if report.ids_as_text {
        println!(
            "the checkpoint has no vocabulary: prompts and texts are ids, such as --prompt \"5 7 9\", without added begin and \
             end ids"
        );
    }
    Ok(())
}

/// Exports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn export(args: ExportArgs) -> Result<()> {
    use super::{checks, print};
    use crate::pretrained::{self, ExportOptions};
    use anyhow::bail;

    let ExportArgs { run, out, format, kind, dtype, json } = args;
    let options = ExportOptions { storage: dtype.into(), kind, checks: checks::chosen() };
    if format == Format::Onnx {
        if let Some(kind) = kind {
            let found = kind.name();
            bail!(
                "--kind: expected none with --format onnx, which has no kinds; found {found}: leave it out"
            );
        }
        if let Some(found) = dtype.to_possible_value().filter(|_| options.storage != Storage::F32) {
            let found = found.get_name();
            bail!("--dtype: expected f32 with --format onnx; found {found}: leave it out");
        }
        let report = pretrained::export_onnx(&run, &out, options.checks)?;
        note_rounded(&run);
        if json {
            return print::json(&serde_json::to_value(&report)?);
        }
        let (inputs, outputs) = (report.inputs.join(", "), report.outputs.join(", "));
        println!("{} has {} nodes; inputs {inputs}; outputs {outputs}", out.display(), report.nodes);
        return Ok(());
    }
    let tensors = match format {
        Format::Gguf => pretrained::export_gguf(&run, &out, &options)?,
        Format::Huggingface | Format::Onnx => pretrained::export_checked(&run, &out, &options)?.len(),
    };
    note_rounded(&run);
    if json {
        return print::json(&serde_json::json!({ "tensors": tensors }));
    }
    println!("{tensors} tensors are in {}", out.display());
    Ok(())
}

/// Prints that the exported weights are rounded, if those of the run are.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
fn note_rounded(run: &std::path::Path) {
    use crate::train::{MODEL_FILE, TensorFile};

    let types = TensorFile::open(&run.join(MODEL_FILE)).map(|file| file.types()).unwrap_or_default();
    if let Some(dtype) = types.iter().find(|dtype| dtype.starts_with("int")) {
        super::print::note(&format!(
            "weights of the run are stored in {dtype}; the export has the rounded values"
        ));
    }
}

#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
const NEEDED_FEATURES: &str =
    "published checkpoints need the features text, image, audio and trajectory; build smalti with them";

/// Fails: this build lacks a modality.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn import(args: ImportArgs) -> Result<()> {
    let ImportArgs { checkpoint, .. } = args;
    anyhow::bail!("{}: {NEEDED_FEATURES}", checkpoint.display())
}

/// Fails: this build lacks a modality.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn export(args: ExportArgs) -> Result<()> {
    let ExportArgs { run, .. } = args;
    anyhow::bail!("{}: {NEEDED_FEATURES}", run.display())
}
