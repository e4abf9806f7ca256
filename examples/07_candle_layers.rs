//! Layers of candle-nn in a model: a convolution as the stem of images, and a head of two linear layers on the mean of all patches.
//!
//! ```text
//! cargo run --release --example 07_candle_layers
//! ```
//!
//! Their parameters are the model's: initialized from `train.seed`, saved, resumed, frozen by name, and checked for gradients.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead of 300.

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, conv2d, linear};
use smalti::config::RunConfig;
use smalti::model::{CandleLayer, CustomLayers, Layer, Model, Params};
use smalti::ops::Value;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use smalti::task::Task;
use smalti::train::{Observer, StepReport, TrainTask, Trainer, baseline};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Patches on each side of an image.
const SIDE: usize = 4;

/// A convolution over the grid of patches.
struct ConvolutionStem(CandleLayer<Conv2d>);

impl Layer for ConvolutionStem {
    fn forward(&self, patches: &Value, documents: &[Range<usize>]) -> candle_core::Result<Value> {
        let n = documents.iter().filter(|rows| !rows.is_empty()).count(); // images, of 16 patches each
        self.0.apply(&[patches], |convolution, inputs| {
            let (_, dim) = inputs[0].dims2()?;
            let grid = inputs[0].reshape((n, SIDE, SIDE, dim))?.permute((0, 3, 1, 2))?; // [n, dim, 4, 4]
            let y = convolution.forward(&grid.contiguous()?)?; // [n, d_model, 4, 4]
            y.permute((0, 2, 3, 1))?.contiguous()?.flatten_to(2) // [n·16, d_model]
        })
    }
}

/// Two linear layers with an activation between them.
struct TwoLayers(CandleLayer<(Linear, Linear)>);

impl Layer for TwoLayers {
    fn forward(&self, mean: &Value, _: &[Range<usize>]) -> candle_core::Result<Value> {
        self.0
            .apply(&[mean], |(first, second), inputs| second.forward(&first.forward(&inputs[0])?.gelu_erf()?))
    }
}

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("300".into());
    let settings = [
        "train.epochs=0",
        "train.eval_every=0",
        "outputs.class.pool=mean",
        &format!("train.max_steps={steps}"),
    ];
    let config = RunConfig::of_preset_or_file("image", &settings.map(String::from))?;
    let Opened { task, train, validation, .. } =
        config.tasks()[0].open(&Modalities::builtin(), Start::New)?;

    let layers = CustomLayers::default()
        .stem("image.patch", |scope, inputs, outputs| {
            let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
            let layer = CandleLayer::new(scope, |vb| conv2d(inputs, outputs, 3, config, vb))?;
            Ok(Box::new(ConvolutionStem(layer)))
        })
        .head("class", |scope, inputs, outputs| {
            let layer = CandleLayer::new(scope, |vb| {
                Ok((linear(inputs, inputs, vb.pp("first"))?, linear(inputs, outputs, vb.pp("second"))?))
            })?;
            Ok(Box::new(TwoLayers(layer)))
        });
    let params = Params::new(config.train.seed, &Device::Cpu);
    let model = Model::with_layers(&config.model, &[task.spec().clone()], params, &layers)?;
    for (name, parameter) in
        model.params().iter().filter(|(name, _)| name.contains("stem") || name.starts_with("head"))
    {
        println!("{name} {:?}", parameter.dims());
    }

    let baseline = baseline(train.as_ref(), validation.as_ref(), 0)?[&0]["accuracy"];
    let train_task = TrainTask { task, train, validation, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![train_task])?;
    let accuracy = trainer.run(None, &AtomicBool::new(false), &mut Losses)?.metrics["class"]["accuracy"];
    println!("accuracy {:.1}% (the most frequent class: {:.1}%)", 100.0 * accuracy, 100.0 * baseline);

    // The trained parameters in a layer of candle alone.
    let model = trainer.into_model();
    let first = linear(
        config.model.d_model,
        config.model.d_model,
        model.params().var_builder().pp("head.class.first"),
    )?;
    let mean = Tensor::zeros((1, config.model.d_model), candle_core::DType::F32, &Device::Cpu)?;
    println!("head.class.first of zeros is its bias: {:?}", first.forward(&mean)?.dims());
    Ok(())
}

struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(100) {
            println!("step {} loss {:.3}", report.step, report.loss);
        }
    }
}
