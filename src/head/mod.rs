//! Heads: from the transformer's tokens to a loss, or to a prediction.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Activation, Value};
use crate::params::Scope;
use crate::transformer::{Linear, ModelConfig, Norm};
use candle_core::{DType, Error, Result, Tensor, bail};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a head reads and says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSpec {
    /// The kind of token that it reads.
    pub reads: String,
    /// What it says of each.
    pub says: Says,
}

/// What a head says of each token that it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Which class the whole input is of, read at a readout token.
    Classify {
        /// How many classes there are.
        classes: usize,
    },
    /// Which token comes next.
    NextToken {
        /// How many ids there are.
        vocabulary: usize,
    },
    /// Which token was masked here.
    MaskedToken {
        /// How many ids there are.
        vocabulary: usize,
    },
    /// A label or a blank; the labels in their order are what the input says (CTC, Graves et al. 2006).
    Ctc {
        /// How many labels there are; the blank comes after them.
        labels: usize,
    },
    /// Which of some discrete actions to take.
    Act {
        /// How many actions there are.
        actions: usize,
    },
    /// Real numbers, such as a continuous action.
    Regress {
        /// How many.
        dim: usize,
        /// Whether they are kept in −1..1 by a hyperbolic tangent.
        #[serde(default)]
        bounded: bool,
    },
    /// Nothing: what its tokens have become is what is asked for. It has no loss.
    Nothing,
    /// Several things at a time, by name, each independently of the others: a choice for the gripper, numbers for the
    /// arm. Parts have no parts.
    Parts(Vec<(String, Says)>),
}

impl Says {
    /// Numbers in an output row.
    pub fn width(&self) -> usize {
        match self {
            Says::Classify { classes } => *classes,
            Says::NextToken { vocabulary } | Says::MaskedToken { vocabulary } => *vocabulary,
            Says::Ctc { labels } => labels + 1,
            Says::Act { actions } => *actions,
            Says::Regress { dim, .. } => *dim,
            Says::Nothing => 0,
            Says::Parts(parts) => parts.iter().map(|(_, part)| part.width()).sum(),
        }
    }

    /// The thing itself, or its parts.
    pub fn parts(&self) -> Vec<&Says> {
        match self {
            Says::Parts(parts) => parts.iter().map(|(_, part)| part).collect(),
            whole => vec![whole],
        }
    }

    /// Whether the loss has labels that can be smoothed.
    pub fn has_labels(&self) -> bool {
        self.parts()
            .iter()
            .any(|part| !matches!(part, Says::Ctc { .. } | Says::Regress { .. } | Says::Nothing))
    }
}

/// One task's head: a linear map of the tokens that it reads, or one for each part of what it says.
pub struct Head {
    says: Says,
    /// What a head of ids reads its tokens through.
    transform: Option<Transform>,
    /// What a head of ids multiplies its input with.
    scale: Option<f64>,
    /// One for each of `says.parts()`.
    outputs: Vec<Output>,
}

enum Output {
    Own(Linear),
    /// The embedding of the kind that it reads, `[vocabulary, d_model]`, and a bias of its own.
    Shared(Value, Option<Value>),
}

/// A linear map, an activation and a norm.
struct Transform {
    map: Linear,
    activation: Activation,
    norm: Norm,
}

impl Head {
    /// A head on a model's tokens. With a `table`, a next- or masked-token head uses it as its matrix.
    ///
    /// # Errors
    /// Where the table has another number of rows than the head has ids.
    pub fn new(mut scope: Scope, says: &Says, config: &ModelConfig, table: Option<&Value>) -> Result<Self> {
        let d_model = config.d_model;
        let own = |scope: Scope, says: &Says| {
            let bias = config.head_bias.unwrap_or(true);
            Linear::new(scope, d_model, says.width(), bias, 0.02).map(Output::Own)
        };
        let of_ids = matches!(says, Says::NextToken { .. } | Says::MaskedToken { .. });
        let transform = match config.head_transform && of_ids {
            true => Some(Transform {
                map: Linear::new(scope.at("transform"), d_model, d_model, config.bias, 0.02)?,
                activation: config.activation,
                norm: Norm::new(scope.at("transform_norm"), config)?,
            }),
            false => None,
        };
        let outputs = match (says, table) {
            (Says::NextToken { vocabulary } | Says::MaskedToken { vocabulary }, Some(table)) => {
                if table.dims()[0] != *vocabulary {
                    bail!("a shared embedding has {} rows; its head has {vocabulary} ids", table.dims()[0]);
                }
                let bias = config.head_bias.unwrap_or(false);
                let bias = bias.then(|| scope.zeros("bias", *vocabulary)).transpose()?;
                vec![Output::Shared(table.clone(), bias)]
            }
            (Says::Parts(parts), _) => {
                parts.iter().map(|(name, part)| own(scope.at(name), part)).collect::<Result<_>>()?
            }
            (Says::Nothing, _) => vec![],
            _ => vec![own(scope, says)?],
        };
        let scale = config.head_scale.filter(|_| of_ids);
        Ok(Self { says: says.clone(), transform, scale, outputs })
    }

    /// `[n_tokens, d_model]` → `[rows, width]` for each part of what the head says, one where it has none: logits, or
    /// for [`Says::Regress`] the numbers themselves.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn forward(&self, hidden: &Value, rows: &[u32]) -> Result<Vec<Value>> {
        let all =
            rows.len() == hidden.dims()[0] && rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let mut read = if all { hidden.clone() } else { ops::gather_rows(hidden, rows)? };
        if let Some(Transform { map, activation, norm }) = &self.transform {
            read = norm.forward(&ops::activation(&map.forward(&read)?, *activation)?)?;
        }
        if let Some(factor) = self.scale {
            read = ops::scale(&read, factor)?;
        }
        let output = |(output, says): (&Output, &Says)| {
            let y = match output {
                Output::Own(linear) => linear.forward(&read)?,
                Output::Shared(table, bias) => ops::linear(&read, table, bias.as_ref())?,
            };
            match says {
                Says::Regress { bounded: true, .. } => ops::activation(&y, Activation::Tanh),
                _ => Ok(y),
            }
        };
        self.outputs.iter().zip(self.says.parts()).map(output).collect()
    }

    /// What [`forward`](Self::forward) gives, side by side: `[rows, width]`.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn output(&self, hidden: &Value, rows: &[u32]) -> Result<Tensor> {
        let mut parts: Vec<Tensor> =
            self.forward(hidden, rows)?.into_iter().map(Value::into_tensor).collect();
        match parts.len() {
            0 => hidden
                .tensor()
                .narrow(1, 0, 0)?
                .index_select(&Tensor::new(rows, hidden.tensor().device())?, 0),
            1 => Ok(parts.remove(0)),
            _ => Tensor::cat(&parts, 1),
        }
    }

    /// The parts of an [`output`](Self::output).
    ///
    /// # Errors
    /// Where it is of another width.
    pub fn split(&self, output: &Tensor) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let part = |says: &Says| {
            let part = output.narrow(1, start, says.width())?.contiguous();
            start += says.width();
            part
        };
        match &self.says {
            Says::Parts(_) => self.says.parts().into_iter().map(part).collect(),
            _ => Ok(vec![output.clone()]),
        }
    }

    /// The weighted sum of losses, over all parts: a scalar. Divide by [`Targets::weight`] for the mean.
    ///
    /// # Errors
    /// Where targets are of another sort than the head's.
    pub fn loss(&self, outputs: &[Value], batch: &HeadBatch, label_smoothing: f32) -> Result<Value> {
        let targets = match (&batch.targets, &self.says) {
            (Targets::Parts(parts), Says::Parts(_)) => parts.iter().collect(),
            (whole, _) => vec![whole],
        };
        let says = self.says.parts();
        if targets.len() != says.len() || outputs.len() != says.len() {
            bail!("{} targets do not fit a head that says {:?}", targets.len(), self.says)
        }
        let mut sum: Option<Value> = None;
        for ((output, targets), says) in outputs.iter().zip(targets).zip(says) {
            let loss = loss(output, targets, says, &batch.documents, label_smoothing)?;
            sum = Some(match sum {
                None => loss,
                Some(sum) => ops::add(&sum, &loss)?,
            });
        }
        sum.ok_or_else(|| Error::msg("a head that says nothing has no loss"))
    }

    /// What the head says.
    pub fn says(&self) -> &Says {
        &self.says
    }
}

fn loss(
    output: &Value,
    targets: &Targets,
    says: &Says,
    documents: &[Range<usize>],
    label_smoothing: f32,
) -> Result<Value> {
    match (targets, says) {
        (Targets::Labels { labels, weights }, Says::Ctc { labels: blank }) => {
            ops::ctc::ctc(&ops::cast(output, DType::F32)?, documents, labels, weights, *blank as u32)
        }
        (Targets::Features { values, weights, .. }, Says::Regress { .. }) => {
            ops::squared_error(&ops::cast(output, DType::F32)?, values, weights)
        }
        (Targets::Ids { ids, weights }, says)
            if !matches!(says, Says::Ctc { .. } | Says::Regress { .. } | Says::Nothing | Says::Parts(_)) =>
        {
            ops::cross_entropy(output, ids, weights, label_smoothing)
        }
        (_, says) => bail!("targets do not fit a head that says {says:?}"),
    }
}
