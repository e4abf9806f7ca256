//! Heads: from the transformer's tokens to a loss, or to a prediction.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Value};
use crate::params::Scope;
use crate::transformer::Linear;
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
    },
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
            Says::Regress { dim } => *dim,
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
        self.parts().iter().any(|part| !matches!(part, Says::Ctc { .. } | Says::Regress { .. }))
    }
}

/// One task's head: a linear map of the tokens that it reads, or one for each part of what it says.
pub struct Head {
    says: Says,
    /// One for each of `says.parts()`.
    outputs: Vec<Output>,
}

enum Output {
    Own(Linear),
    /// The embedding of the kind that it reads, `[vocabulary, d_model]`.
    Shared(Value),
}

impl Head {
    /// A head on tokens of width `d_model`. With a `table`, a next- or masked-token head uses it as its matrix.
    ///
    /// # Errors
    /// Where the table has another number of rows than the head has ids.
    pub fn new(mut scope: Scope, says: &Says, d_model: usize, table: Option<&Value>) -> Result<Self> {
        let own = |scope: Scope, says: &Says| {
            Linear::new(scope, d_model, says.width(), true, 0.02).map(Output::Own)
        };
        let outputs = match (says, table) {
            (Says::NextToken { vocabulary } | Says::MaskedToken { vocabulary }, Some(table)) => {
                if table.dims()[0] != *vocabulary {
                    bail!("a shared embedding has {} rows; its head has {vocabulary} ids", table.dims()[0]);
                }
                vec![Output::Shared(table.clone())]
            }
            (Says::Parts(parts), _) => {
                parts.iter().map(|(name, part)| own(scope.at(name), part)).collect::<Result<_>>()?
            }
            _ => vec![own(scope, says)?],
        };
        Ok(Self { says: says.clone(), outputs })
    }

    /// `[n_tokens, d_model]` → `[rows, width]` for each part of what the head says, one where it has none: logits, or
    /// for [`Says::Regress`] the numbers themselves.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn forward(&self, hidden: &Value, rows: &[u32]) -> Result<Vec<Value>> {
        let all =
            rows.len() == hidden.dims()[0] && rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let read = if all { hidden.clone() } else { ops::gather_rows(hidden, rows)? };
        let output = |output: &Output| match output {
            Output::Own(linear) => linear.forward(&read),
            Output::Shared(table) => ops::linear(&read, table, None),
        };
        self.outputs.iter().map(output).collect()
    }

    /// What [`forward`](Self::forward) gives, side by side: `[rows, width]`.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn output(&self, hidden: &Value, rows: &[u32]) -> Result<Tensor> {
        let mut parts: Vec<Tensor> =
            self.forward(hidden, rows)?.into_iter().map(Value::into_tensor).collect();
        if parts.len() == 1 { Ok(parts.remove(0)) } else { Tensor::cat(&parts, 1) }
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
            if !matches!(says, Says::Ctc { .. } | Says::Regress { .. } | Says::Parts(_)) =>
        {
            ops::cross_entropy(output, ids, weights, label_smoothing)
        }
        (_, says) => bail!("targets do not fit a head that says {says:?}"),
    }
}
