//! The settings of training: `[train]` in `run.toml`.

use super::schedule::ResumeSchedule;
use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The precision of training. Parameters, their gradients and the optimizer are always in `f32`; norms, softmax and losses
/// are computed in `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// 32-bit floats, whose matrix products a GPU computes with 10 bits of mantissa.
    Tf32,
    /// 16-bit activations and matrix products with the range of 32-bit floats (bfloat16). Sums are in `f32`. On a CPU it saves
    /// memory, and time if the CPU multiplies `bf16` faster than `f32`: with AMX, or with AVX512-BF16 on some processors.
    Bf16,
}

impl Precision {
    /// The precision of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::Tf32, Self::Bf16].into_iter().find(|precision| precision.name() == name)
    }

    /// The name of the precision in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// The type of activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// The settings of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Optimizer steps; 0 if `epochs` sets the length. A resumed run may have more than before.
    pub max_steps: u64,
    /// Passes over the training data; 0 if `max_steps` sets the length. For models of one task.
    pub epochs: f64,
    /// Documents in a micro-batch of one rank; a mix divides them among its tasks by weight.
    pub batch_size: usize,
    /// Largest number of tokens in a micro-batch, which then holds as many documents as fit; 0 for `batch_size` documents. A
    /// mix still keeps its weights over every `batch_size` documents.
    pub batch_tokens: usize,
    /// Number of samples in a shuffle window; 0 shuffles a whole epoch. With 10,000, say, data on a network or a slow disk are
    /// read in long sequential stretches.
    pub shuffle: usize,
    /// Threads that read and tokenize samples; the batches do not depend on it.
    pub workers: usize,
    /// Micro-batches of each rank in one step, whose gradients are summed.
    pub gradient_accumulation_steps: usize,
    /// `f32` or `bf16`; on a GPU also `tf32`.
    pub precision: Precision,
    /// Activation checkpointing: keep only the input of each block and compute its activations again in the backward pass, for
    /// less memory, more time and the same bits.
    pub checkpoint_activations: bool,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end of the cosine, or `learning_rate`, if that is lower.
    pub min_learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// The learning rate of a run that resumes with another schedule, such as more steps: on the longer `cosine`, `constant` at
    /// the last learning rate, or `rewarm`, which warms up again and follows a cosine from there to the end.
    #[serde(skip_serializing_if = "is_default")]
    pub resume_schedule: ResumeSchedule,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Number added to the root of AdamW's second moment.
    pub eps: f64,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
    /// Gradient norm above which the gradient is clipped; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Share of each target's probability that is spread over all classes or ids.
    pub label_smoothing: f32,
    /// Names of parameters that are not trained: `["embed.*", "stack.blocks.0.*"]`, with `*` for any characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Decay of the moving average of weights, which is evaluated and saved as the model; 0 for none.
    pub ema_decay: f64,
    /// Steps between evaluations; 0 for a single one at the end.
    pub eval_every: u64,
    /// Early stopping: training stops after this many evaluations, one after another, without a lower validation loss (the
    /// weighted sum of all outputs); 0 never stops early.
    #[serde(skip_serializing_if = "is_default")]
    pub patience: u64,
    /// Samples of each task in an evaluation during training; 0 for all.
    pub eval_samples: usize,
    /// Steps between checkpoints; 0 for those of the first evaluation and of the end.
    pub checkpoint_every: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The smallest shuffle window that can mix several ranges of the data.
const MIN_SHUFFLE: usize = 16;
/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("train.{setting}: {problem}")]
pub struct TrainConfigError {
    /// The setting.
    pub setting: &'static str,
    /// The problem, with the expected and the found value.
    pub problem: String,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 1337,
            max_steps: 1000,
            epochs: 0.0,
            batch_size: 32,
            batch_tokens: 0,
            shuffle: 0,
            workers: 2,
            gradient_accumulation_steps: 1,
            precision: Precision::F32,
            checkpoint_activations: false,
            learning_rate: 1e-3,
            min_learning_rate: 1e-4,
            warmup_steps: 100,
            resume_schedule: ResumeSchedule::Cosine,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            label_smoothing: 0.0,
            freeze: vec![],
            ema_decay: 0.0,
            eval_every: 250,
            patience: 0,
            eval_samples: 0,
            checkpoint_every: 500,
            log_every: 10,
        }
    }
}

/// Most passes over the data.
const MOST_EPOCHS: f64 = 1e9;
/// Most steps or samples: the largest whole number that a 64-bit float counts exactly.
const MOST_STEPS: u64 = 1 << 53;

impl TrainConfig {
    /// The fewest and the most of each count.
    fn counts(&self) -> [(&'static str, u64, std::ops::RangeInclusive<u64>); 12] {
        [
            ("batch_size", self.batch_size as u64, 1..=1 << 20),
            ("batch_tokens", self.batch_tokens as u64, 0..=1 << 31),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps as u64, 1..=1 << 20),
            ("workers", self.workers as u64, 1..=1024),
            ("log_every", self.log_every, 1..=MOST_STEPS),
            ("shuffle", self.shuffle as u64, 0..=MOST_STEPS),
            ("eval_samples", self.eval_samples as u64, 0..=MOST_STEPS),
            ("max_steps", self.max_steps, 0..=MOST_STEPS),
            ("warmup_steps", self.warmup_steps, 0..=MOST_STEPS),
            ("eval_every", self.eval_every, 0..=MOST_STEPS),
            ("patience", self.patience, 0..=MOST_STEPS),
            ("checkpoint_every", self.checkpoint_every, 0..=MOST_STEPS),
        ]
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// The first [`TrainConfigError`] found.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        let fail = |setting, problem| Err(TrainConfigError { setting, problem });
        for (setting, found, range) in self.counts() {
            if found < *range.start() {
                return fail(setting, format!("expected at least {}; found {found}", range.start()));
            }
            if found > *range.end() {
                return fail(setting, format!("expected at most {}; found {found}", range.end()));
            }
        }
        if (1..MIN_SHUFFLE).contains(&self.shuffle) {
            let problem = format!("expected 0 or at least {MIN_SHUFFLE}; found {}", self.shuffle);
            return fail("shuffle", problem);
        }
        if self.patience > 0 && self.eval_every == 0 {
            let problem = "expected train.eval_every above 0 with it, as it counts evaluations; found 0";
            return fail("patience", problem.into());
        }
        if self.batch_tokens > 0 && self.max_steps == 0 {
            let problem = "an epoch has no fixed number of batches with it; set train.max_steps instead of train.epochs";
            return fail("batch_tokens", problem.into());
        }
        if (self.max_steps == 0) == (self.epochs == 0.0) {
            let problem = format!(
                "expected either max_steps or epochs above 0; found max_steps {} and epochs {}",
                self.max_steps, self.epochs
            );
            return fail("max_steps", problem);
        }
        let not_negative = [
            ("epochs", self.epochs),
            ("learning_rate", self.learning_rate),
            ("min_learning_rate", self.min_learning_rate),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ];
        if self.epochs > MOST_EPOCHS {
            return fail("epochs", format!("expected at most {MOST_EPOCHS}; found {}", self.epochs));
        }
        for (setting, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return fail(setting, format!("expected a number of at least 0; found {value}"));
            }
        }
        if self.learning_rate == 0.0 {
            return fail("learning_rate", "expected a number above 0; found 0, which trains nothing".into());
        }
        let shares = [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("ema_decay", self.ema_decay),
            ("label_smoothing", f64::from(self.label_smoothing)),
        ];
        for (setting, value) in shares {
            if !(0.0..1.0).contains(&value) {
                return fail(setting, format!("expected at least 0 and below 1; found {value}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_the_loader_cannot_use_are_rejected() {
        let budget = TrainConfig { max_steps: 0, epochs: 1.0, batch_tokens: 100, ..TrainConfig::default() };
        assert_eq!(budget.validate().unwrap_err().setting, "batch_tokens");
        let one = TrainConfig { shuffle: 1, ..TrainConfig::default() };
        assert_eq!(one.validate().unwrap_err().problem, "expected 0 or at least 16; found 1");
        let still = TrainConfig { learning_rate: 0.0, ..TrainConfig::default() };
        assert_eq!(still.validate().unwrap_err().setting, "learning_rate");
        let blind = TrainConfig { patience: 2, eval_every: 0, ..TrainConfig::default() };
        assert_eq!(blind.validate().unwrap_err().setting, "patience");
        let none = TrainConfig { workers: 0, ..TrainConfig::default() };
        assert_eq!(none.validate().unwrap_err().setting, "workers");
    }

    #[test]
    fn counts_have_a_most() {
        let default = TrainConfig::default();
        let huge = [
            TrainConfig { batch_size: 1 << 62, ..default.clone() },
            TrainConfig { workers: 1 << 20, ..default.clone() },
            TrainConfig { max_steps: u64::MAX, ..default.clone() },
            TrainConfig { patience: u64::MAX, ..default },
        ];
        let problems = huge.map(|config| config.validate().unwrap_err().to_string());
        assert_eq!(problems[0], "train.batch_size: expected at most 1048576; found 4611686018427387904");
        assert_eq!(problems[1], "train.workers: expected at most 1024; found 1048576");
        assert!(problems[2].starts_with("train.max_steps: expected at most"), "{}", problems[2]);
        assert!(problems[3].starts_with("train.patience: expected at most"), "{}", problems[3]);
    }

    #[test]
    fn max_steps_and_epochs_exclude_each_other() {
        let both = TrainConfig { epochs: 1.0, ..TrainConfig::default() };
        assert_eq!(both.validate().unwrap_err().setting, "max_steps");
        let one = TrainConfig { max_steps: 0, epochs: 0.5, ..TrainConfig::default() };
        assert_eq!(one.validate(), Ok(()));
    }
}
