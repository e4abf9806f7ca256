//! Turn anything into tokens, and train one transformer on them.
//!
//! Texts, image patches, slices of a spectrogram, numbers, the steps of an episode, or a modality of your own: a task names the
//! fields of a table that are inputs and those that are outputs. Everything after the tokens is the same for all of them.
//!
//! # The library in fifteen lines
//!
//! Does the driver brake, at this distance (m) and speed (m/s)? A table in memory, a model, training, a prediction:
//!
#![cfg_attr(feature = "numbers", doc = "```")]
#![cfg_attr(not(feature = "numbers"), doc = "```no_run")]
//! use smalti::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! # std::env::set_current_dir(place.path())?;
//! let rows = (0..600).map(|i| {
//!     let (distance, speed) = ((i % 30) as f32 * 4.0, (i / 30) as f32 * 2.0);
//!     Row::from([("radar", Value::vector([distance, speed])), ("brakes", (distance < 3.0 * speed).into())])
//! });
//! let modalities = Modalities::builtin().with_table(MemoryTable::new("drives", rows.collect()));
//! let settings = r#"data.source = "memory:drives"
//!     inputs.radar.modality = "numbers"
//!     outputs.brakes.head = "classify"
//!     model = { d_model = 16, n_layers = 1 }
//!     train = { max_steps = 60, learning_rate = 1e-2, warmup_steps = 5 }"#;
//! let (run, outcome) = Run::train("runs/drives", settings.parse()?, &Device::Cpu, &modalities)?;
//! let (model, tasks) = run.load(Weights::Best, &Device::Cpu)?;
//! let row = Row::from([("radar", Value::vector([20.0, 30.0]))]);
//! let predicted = predict_rows(&model, 0, &tasks[0].task, &[row], &Generation::default())?; // of task 0, the only one
//! // {"accuracy": 1.00, "loss": 0.04, "macro_f1": 1.00} [("true", 0.99), ("false", 0.01)]: a bool is a text.
//! println!("{:.2?} {:.2?}", outcome.metrics["brakes"], predicted[0]["brakes"].probabilities);
//! # assert_eq!(predicted[0]["brakes"].probabilities[0].0, "true");
//! # assert!(outcome.metrics["brakes"]["accuracy"] > 0.5);
//! # Ok(())
//! # }
//! ```
//!
//! The settings are those of every `run.toml`; `smalti settings` lists them, and a file or a preset serves as well
//! ([`RunConfig::of_preset_or_file`](config::RunConfig::of_preset_or_file)). A tenth of the rows is held out for validation.
//! The run folder is enough to predict, to resume and to start other runs: [`Run::open`](run::Run::open).
//! [`Run::create_with`](run::Run::create_with) returns the [`Trainer`](train::Trainer), for reports of each step and for several
//! processes; below it, every part can be used alone.
//!
//! # Parts
//!
//! Data moves one way, from a source to a prediction:
//!
//! | module | content |
//! | --- | --- |
//! | [`table`] | sources as tables of rows with named fields, one reader for each layout |
//! | [`contract`], [`modalities`] | the trait [`Tokenizer`](contract::Tokenizer), and the modalities: values to tokens, plain data |
//! | [`registry`] | the modalities, heads, layouts and tables of a program, by name |
//! | [`sample`] | inputs and outputs, their order and targets: rows to samples |
//! | [`data`] | samples to packed batches; loader threads, files, recipes |
//! | [`rules`] | which tokens attend to which, as data |
//! | [`model`] | embedder (content + type + position), transformer, heads; layers of candle-nn in them |
//! | [`ops`] | differentiable operations with forward, backward and reference |
//! | [`head`] | target, loss, metrics and prediction of an output |
//! | [`train`] | loop, optimizer, audit, checkpoints, ranks |
//! | [`run`], [`config`] | a run folder, and its settings |
//! | [`inference`], [`mod@env`] | predictions, generation, transcripts, embeddings, rollouts |
//! | [`mod@convert`] | any table as WebDataset or Parquet shards |
//! | [`synthetic`] | generated data with known answers |
//! | [`inspect`], [`report`], [`metrics`], [`mod@bench`], [`heap`] | what data, tokens, rules and results look like; speed and memory |
//! | [`reproduce`] | experiments: claims about transformers, trained, measured, and held against published numbers |
//! | `pretrained` | published checkpoints in and out (with `text`, `image`, `audio` and `trajectory`) |
//! | `cli` | the command line as a function over the modalities of a program |
//!
//! # Features
//!
//! | feature | default | adds | needs |
//! | --- | --- | --- | --- |
//! | `cli` | yes | the command line and the program `smalti`; a library wants neither | a C compiler |
//! | `text` | yes | the modality `text` | |
//! | `image` | yes | the modality `image`; the layouts `idx` and `cifar` | |
//! | `audio` | yes | the modality `audio`; includes `text` | |
//! | `numbers` | yes | the modality `numbers` | |
//! | `trajectory` | yes | logs of episodes, the layout `episodes`; includes `image` and `numbers` | |
//! | `remote` | yes | data at `s3://`, `gs://`, `http://`, `https://` | a C compiler |
//! | `hdf5` | | logs as HDF5: D4RL, Minari | CMake 3.26 |
//! | `cuda` | | a GPU | a CUDA toolkit |
//! | `nccl` | | several GPUs | NCCL |
//! | `mpi` | | several processes under `mpirun` or `srun` | an MPI library with its headers, libclang |
//!
//! A library without the command line: `smalti = { version = "0.1", default-features = false, features = ["text", "image"] }`.
//! Two settings that the program `smalti` makes, and that a library cannot, make training faster:
//! [in a program of your own](guide::speed#in-a-program-of-your-own).
//!
//! # Guide
//!
//! [Concepts](guide::concepts) · [your data](guide::data): [text](guide::text), [images](guide::image),
//! [audio](guide::audio), [numbers](guide::numbers), [trajectories](guide::trajectory) · [mixing](guide::mixing) ·
//! [a modality of your own](guide::your_own_modality) · [speed](guide::speed) ·
//! [several machines](guide::several_machines) · [Python](guide::python)

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod bench;
mod builtin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codes;
pub mod config;
pub mod convert;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod env;
pub mod guide;
pub mod head;
pub mod heap;
pub mod inference;
pub mod inspect;
pub mod metrics;
pub mod modalities;
pub mod model;
mod notice;
pub mod ops;
mod pattern;
pub mod prelude;
// A published checkpoint may be of any modality.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub mod pretrained;
pub mod random;
pub mod registry;
pub mod report;
pub mod reproduce;
pub mod rules;
pub mod run;
pub mod sample;
pub mod synthetic;
pub mod table;
pub mod task;
pub mod train;

/// candle, whose tensors and devices the library uses, in the same version.
pub use candle_core;
/// candle's layers, in the same version.
pub use candle_nn;
/// The contract of a modality: values of a table, tokens, and the trait `Tokenizer`.
pub use smalti_contract as contract;
