//! A training as event files of TensorBoard: scalars, the attention rules as a figure, histograms of weights and gradients.

mod file;
mod histogram;
mod message;

use super::figure::{self, Format};
use super::rules;
use crate::model::{Model, Params};
use crate::ops::Gradients;
use crate::train::{Metrics, Observer, SaveError, StepReport, Trainer, check_folder, is_count};
use file::EventFile;
use histogram::Histogram;
use message::{Image, SummaryValue, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// An observer that writes a training into a folder of event files.
///
/// Each training has a new file. Its first event is a session log: TensorBoard drops the events that an interrupted training
/// wrote after its last checkpoint, which this one writes again.
///
/// | tag | value | at |
/// | --- | --- | --- |
/// | `train/loss`, `train/OUTPUT/loss`, `train/load_balance` | as in [`StepReport`] | the logged steps |
/// | `train/learning_rate`, `train/grad_norm`, `train/tokens_per_s` | as in [`StepReport`] | the logged steps |
/// | `validation/OUTPUT/METRIC` | a metric | evaluations |
/// | `attention_rules` | the attention masks, a figure | the first event of a file |
/// | `weights/PARAMETER`, `gradients/PARAMETER` | a histogram | the step before each evaluation |
pub struct TensorBoard {
    file: EventFile,
    log_every: u64,
    /// The figure of the attention rules, until it is written.
    rules: Option<Value>,
    /// The first error, after which nothing is written.
    failure: Option<SaveError>,
}

impl TensorBoard {
    /// The event files of a trainer's next steps; the first event creates the folder and a file.
    ///
    /// # Errors
    /// [`SaveError::NotReplaced`] if there is anything but a folder.
    pub fn new(folder: &Path, trainer: &Trainer) -> Result<Self, SaveError> {
        check_folder(folder)?;
        Ok(Self {
            file: EventFile::new(folder, trainer.progress().0 + 1),
            log_every: trainer.config().log_every,
            rules: rules_figure(trainer.model()),
            failure: None,
        })
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The first [`SaveError`]; no event after it was written.
    pub fn finish(self) -> Result<(), SaveError> {
        self.failure.map_or(Ok(()), Err)
    }

    fn write(&mut self, step: u64, values: impl IntoIterator<Item = (String, Value)>) {
        let is_written = |value: &Value| !matches!(value, Value::Scalar(number) if !number.is_finite());
        let mut values: Vec<_> = values.into_iter().filter(|(_, value)| is_written(value)).collect();
        if values.is_empty() || self.failure.is_some() {
            return;
        }
        values.extend(self.rules.take().map(|figure| ("attention_rules".into(), figure)));
        let values = values.into_iter().map(|(tag, value)| SummaryValue { tag, value: Some(value) });
        self.failure = self.file.write(step, values.collect()).err();
    }
}

impl Observer for TensorBoard {
    fn step(&mut self, report: &StepReport) {
        if !report.is_logged(self.log_every) {
            return;
        }
        let scalars = [
            ("loss", Some(report.loss)),
            ("load_balance", report.load_balance),
            ("learning_rate", Some(report.learning_rate)),
            ("grad_norm", Some(report.grad_norm)),
            ("tokens_per_s", Some(report.tokens_per_s)),
        ];
        let scalars = scalars.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
        let losses = report.losses.iter().filter(|(output, _)| !output.is_empty());
        let losses = losses.map(|(output, loss)| (format!("{output}/loss"), *loss));
        let values = scalars.chain(losses);
        let values = values.map(|(name, value)| (format!("train/{name}"), Value::Scalar(value as f32)));
        self.write(report.step, values);
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        let values = metrics.iter().flat_map(|(output, metrics)| {
            let measured = metrics.iter().filter(|(metric, _)| !is_count(metric));
            measured.map(move |(metric, value)| {
                let names = ["validation", output, metric].into_iter().filter(|name| !name.is_empty());
                (names.collect::<Vec<_>>().join("/"), Value::Scalar(*value as f32))
            })
        });
        self.write(step, values);
    }

    fn gradients(&mut self, step: u64, params: &Params, gradients: &Gradients) -> candle_core::Result<()> {
        for (place, (name, weight)) in params.iter().enumerate() {
            if params.is_frozen(name) {
                continue;
            }
            let weights = Some(("weights", weight.as_tensor()));
            let gradients = gradients.get(place).map(|gradient| ("gradients", gradient));
            for (of, tensor) in weights.into_iter().chain(gradients) {
                let histogram = Histogram::of_tensor(tensor)?;
                // An event for each parameter, as an event with all of a large model would be large.
                self.write(
                    step,
                    histogram.map(|histogram| (format!("{of}/{name}"), Value::Histogram(histogram))),
                );
            }
        }
        Ok(())
    }
}

/// The attention rules of a model; `None` if the figure is too large for the memory.
fn rules_figure(model: &Model) -> Option<Value> {
    let scene = figure::rules(&rules::figures(model));
    let png = scene.encode(Format::Png).ok()?;
    let (width, height) = (scene.width() as i32, scene.height() as i32);
    Some(Value::Image(Image { height, width, colorspace: 3, encoded_image_string: png }))
}
