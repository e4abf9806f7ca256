//! The settings of training: `[train]` in `run.toml`.

use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The arithmetic of training. Parameters, their gradients, norms and losses are in `f32` whichever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// 32-bit floats, whose products a GPU multiplies with 10 bits of mantissa.
    Tf32,
    /// Activations and products in 16 bits with the range of 32; on a GPU.
    Bf16,
}

impl Precision {
    /// The precision of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::Tf32, Self::Bf16].into_iter().find(|precision| precision.name() == name)
    }

    /// Its name in settings.
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

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Optimizer steps; 0 where `epochs` says the length.
    pub max_steps: u64,
    /// Passes over the training data; 0 where `steps` says the length. For models of one task.
    pub epochs: f64,
    /// Documents in a micro-batch_size: batch, of which each rank has its own; a mix splits them among its tasks by weight.
    pub batch_size: usize,
    /// The most tokens in a micro-batch_size: batch, which holds as many documents as fit; 0 for `batch` documents. A mix still
    /// keeps its weights over every `batch` documents.
    pub batch_tokens: usize,
    /// How many neighbouring samples are shuffled among themselves, in runs that come in any order; 0 for all of an
    /// epoch. Data on a network or a slow disk are read in long stretches where it is, say, 10,000.
    pub shuffle: usize,
    /// Threads that read and tokenize samples. The batches are the same for any number.
    pub workers: usize,
    /// Micro-batches of each rank whose gradients are summed into one step.
    pub gradient_accumulation_steps: usize,
    /// `f32`; on a GPU `tf32` and `bf16` too.
    pub precision: Precision,
    /// Keeps of each block what enters it alone, and computes the block again on the way back: a step holds less memory and
    /// takes longer, and its bits are the same.
    pub checkpoint_activations: bool,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end of the cosine.
    pub min_learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// AdamW's addition to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, on matrices only.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Share of each target spread over all classes or ids.
    pub label_smoothing: f32,
    /// Parameters that stay as they are, by name: `["embed.*", "stack.blocks.0.*"]`, where `*` stands for any letters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Decay of the moving average of weights that is evaluated and kept as the model; 0 for none.
    pub ema_decay: f64,
    /// Steps between evaluations; 0 for one at the end.
    pub eval_every: u64,
    /// Samples of each task in an evaluation during training; 0 for all.
    pub eval_samples: usize,
    /// Steps between checkpoints; 0 for one at the end.
    pub checkpoint_every: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
}

/// Fewer samples could not be put together from several places.
const LEAST_SHUFFLE: usize = 16;

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("train.{setting}: {problem}")]
pub struct TrainConfigError {
    /// Which setting.
    pub setting: &'static str,
    /// What is wrong with it, with the expected and the actual value.
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
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            label_smoothing: 0.0,
            freeze: vec![],
            ema_decay: 0.0,
            eval_every: 250,
            eval_samples: 0,
            checkpoint_every: 500,
            log_every: 10,
        }
    }
}

impl TrainConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// The first [`TrainConfigError`] found.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        let refuse = |setting, problem| Err(TrainConfigError { setting, problem });
        let at_least_one = "must be at least 1; found 0";
        if self.batch_size == 0 {
            return refuse("batch_size", at_least_one.into());
        }
        if self.gradient_accumulation_steps == 0 {
            return refuse("gradient_accumulation_steps", at_least_one.into());
        }
        if self.log_every == 0 {
            return refuse("log_every", at_least_one.into());
        }
        if self.workers == 0 {
            return refuse("workers", at_least_one.into());
        }
        if (1..LEAST_SHUFFLE).contains(&self.shuffle) {
            let problem = format!("must be 0 or at least {LEAST_SHUFFLE}; found {}", self.shuffle);
            return refuse("shuffle", problem);
        }
        if self.batch_tokens > 0 && self.max_steps == 0 {
            let problem =
                "leaves open how many batches an epoch is; set train.max_steps in place of train.epochs";
            return refuse("batch_tokens", problem.into());
        }
        if (self.max_steps == 0) == (self.epochs == 0.0) {
            let problem =
                format!("say steps or epochs; found steps {} and epochs {}", self.max_steps, self.epochs);
            return refuse("max_steps", problem);
        }
        let not_negative = [
            ("epochs", self.epochs),
            ("learning_rate", self.learning_rate),
            ("min_learning_rate", self.min_learning_rate),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ];
        for (setting, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(setting, format!("must be a number of at least 0; found {value}"));
            }
        }
        let shares = [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("ema_decay", self.ema_decay),
            ("label_smoothing", f64::from(self.label_smoothing)),
        ];
        for (setting, value) in shares {
            if !(0.0..1.0).contains(&value) {
                return refuse(setting, format!("must be at least 0 and below 1; found {value}"));
            }
        }
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0, of `steps`: a linear rise, then half a cosine.
    pub fn learning_rate_at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let progress =
            (step - self.warmup_steps) as f64 / (steps.saturating_sub(self.warmup_steps)).max(1) as f64;
        let share = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress.min(1.0)));
        self.min_learning_rate + share * (self.learning_rate - self.min_learning_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let train = TrainConfig { warmup_steps: 10, ..TrainConfig::default() };
        let rates: Vec<f64> = (0..=100).map(|step| train.learning_rate_at(step, 100)).collect();
        assert!(rates[..=10].is_sorted() && rates[10..].is_sorted_by(|a, b| a >= b));
        assert!((rates[10] - 1e-3).abs() < 1e-12 && (rates[100] - 1e-4).abs() < 1e-12);
        assert!((rates[55] - 5.5e-4).abs() < 1e-12, "half way down the cosine: {}", rates[55]);
    }

    #[test]
    fn what_a_loader_cannot_do_is_refused() {
        let budget = TrainConfig { max_steps: 0, epochs: 1.0, batch_tokens: 100, ..TrainConfig::default() };
        assert_eq!(budget.validate().unwrap_err().setting, "batch_tokens");
        let one = TrainConfig { shuffle: 1, ..TrainConfig::default() };
        assert_eq!(one.validate().unwrap_err().problem, "must be 0 or at least 16; found 1");
        let none = TrainConfig { workers: 0, ..TrainConfig::default() };
        assert_eq!(none.validate().unwrap_err().setting, "workers");
    }

    #[test]
    fn a_length_is_said_once() {
        let both = TrainConfig { epochs: 1.0, ..TrainConfig::default() };
        assert_eq!(both.validate().unwrap_err().setting, "max_steps");
        let one = TrainConfig { max_steps: 0, epochs: 0.5, ..TrainConfig::default() };
        assert_eq!(one.validate(), Ok(()));
    }
}
