//! A head of your own: ordinal regression, for classes that have an order, such as grades or stars.
//!
//! The head answers a question for each class but the first: is the class at least this one? The loss is the mean binary
//! cross-entropy of the answers (Frank and Hall 2001), so that a prediction far from its target costs more than one near it.
//!
//! `cargo run --release --example 08_ordinal_head` trains the head for a few seconds; it prints loss, mean absolute error and
//! predictions. With arguments it is the `smalti` command line with one more head: `-- settings ordinal`, `-- train TASK.toml`.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead of 300.

use serde::{Deserialize, Serialize};
use smalti::data::{HeadBatch, Target, Targets};
use smalti::head::{
    FitData, Head, HeadKind, Labels, MetricAccumulator, Metrics, Prediction, TargetContext, Transcript,
    document_value, loss, ranked,
};
use smalti::prelude::*;
use smalti::train::{Alone, Silent};
use smalti::{candle_core::Result, ops};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::{Arc, atomic::AtomicBool};

const SETTINGS: &str = r#"
    data.source = "memory:drinks"
    inputs.drink.modality = "numbers"
    outputs.grade = { head = "ordinal", classes = ["1", "2", "3", "4", "5"] }
    model = { d_model = 32, n_layers = 1 }
    train = { learning_rate = 3e-3, warmup_steps = 20, eval_every = 0 }
"#;

fn main() -> anyhow::Result<ExitCode> {
    let modalities = Modalities::builtin().with_head::<Ordinal>().with_table(drinks());
    if std::env::args().len() > 1 {
        return Ok(smalti::cli::main(modalities));
    }
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("300".into());
    let config = RunConfig::parse("settings", SETTINGS, &[format!("train.max_steps={steps}")])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("drinks");
    let (run, mut trainer) = Run::create_with(&path, config, &Device::Cpu, Arc::new(Alone), &modalities)?;
    let outcome = trainer.run(Some(&path), &AtomicBool::new(false), &mut Silent)?;
    let metrics = &outcome.metrics["grade"];
    println!("loss {:.3}, MAE {:.3} grades", metrics["loss"], metrics["mae"]);

    let (model, tasks) = run.load(Weights::Best, &Device::Cpu)?;
    let drinks: [[f32; 2]; 3] = [[1.0, 4.5], [5.0, 2.5], [9.5, 0.5]];
    let rows = drinks.map(|drink| Row::from([("drink", Value::vector(drink))]));
    let predicted = predict_rows(&model, 0, &tasks[0].task, &rows, &Generation::default())?;
    for (drink, outputs) in drinks.iter().zip(&predicted) {
        let (grade, probability) = &outputs["grade"].probabilities[0];
        println!("sugar and acid {drink:?}: grade {grade}, probability {probability:.2}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Sugar (0..10) and acid (0..5) of drinks; sweet ones with little acid have high grades, of 1 to 5.
fn drinks() -> MemoryTable {
    let rows = (0..1000_u16).map(|i| {
        let (sugar, acid) = (f32::from(i * 37 % 100) / 10.0, f32::from(i * 61 % 97) / 19.4);
        let grade = 1.0 + (0.3 * sugar + 0.4 * (5.0 - acid)).floor().min(4.0);
        Row::from([("drink", Value::vector([sugar, acid])), ("grade", f64::from(grade).into())])
    });
    MemoryTable::new("drinks", rows.collect())
}

/// Predicts one of several classes that have an order, of a sample or of each step of a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ordinal {
    classes: Labels,
}

/// The settings in `[outputs.NAME]`. `smalti settings ordinal` shows the comments of the fields.
#[derive(Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct OrdinalSettings {
    /// The classes, the lowest first.
    classes: Vec<String>,
}

impl HeadKind for Ordinal {
    const NAME: &'static str = "ordinal";
    const PREDICTS_LABELS: bool = true;
    type Settings = OrdinalSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(OrdinalSettings).into()
    }

    fn fit(settings: OrdinalSettings, _: &FitData) -> std::result::Result<Self, TokenizeError> {
        let OrdinalSettings { classes } = settings;
        if classes.len() < 2 {
            let problem = format!("classes: expected at least 2; found {}", classes.len());
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        Ok(Self { classes: classes.into() })
    }
}

impl Head for Ordinal {
    /// A logit for each class but the first.
    fn width(&self) -> usize {
        self.classes.len() - 1
    }

    /// 1 for the classes up to the target, 0 for higher ones.
    fn target(&self, value: Value, _: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let class = self.classes.number_of(value)? as usize;
        let values = (1..=self.width()).map(|other| if other <= class { 1.0 } else { 0.0 }).collect();
        Ok(Target::Features { values, dim: self.width(), weights: vec![1.0] })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::binary_cross_entropy(Self::NAME, output, read)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::<AbsoluteErrors>::default()
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let predict = |rows: &Range<usize>| {
            let rows = output.narrow(0, rows.start, rows.len())?.to_vec2::<f32>()?;
            let value = |logits: &Vec<f32>| Value::Text(self.classes.names()[class_of(logits)].clone());
            let probabilities = if let [logits] = &rows[..] { self.probabilities(logits) } else { vec![] };
            Ok(Prediction { value: document_value(rows.iter().map(value).collect()), probabilities })
        };
        documents.iter().map(predict).collect()
    }

    fn labels(&self) -> &[String] {
        self.classes.names()
    }
}

/// The number of the predicted class: how many questions in a row, from the lowest on, have the answer yes.
fn class_of(logits: &[f32]) -> usize {
    logits.iter().take_while(|&&logit| logit > 0.0).count()
}

impl Ordinal {
    /// The probability of a class: that of "at least this class" minus that of "at least the next".
    fn probabilities(&self, logits: &[f32]) -> Vec<(String, f64)> {
        let mut at_least = vec![1.0_f64];
        for &logit in logits {
            let probability = 1.0 / (1.0 + (-f64::from(logit)).exp());
            at_least.push(at_least[at_least.len() - 1].min(probability)); // no class is below 0
        }
        at_least.push(0.0);
        let probabilities: Vec<f64> = at_least.windows(2).map(|pair| pair[0] - pair[1]).collect();
        ranked(self.classes.names(), &probabilities)
    }
}

/// The sums of absolute errors, in classes, and of weights.
#[derive(Default)]
struct AbsoluteErrors(f64, f64);

impl MetricAccumulator for AbsoluteErrors {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, dim, weights } = &read.targets else { return Ok(()) };
        let rows = output.to_vec2::<f32>()?;
        for ((logits, target), &weight) in rows.iter().zip(values.chunks_exact(*dim)).zip(weights) {
            let error = class_of(logits) as f32 - target.iter().sum::<f32>();
            self.0 += f64::from(weight * error.abs());
            self.1 += f64::from(weight);
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::from([("mae".to_string(), self.0 / self.1.max(f64::MIN_POSITIVE))])
    }
}
