//! Heads: from the transformer's tokens to a loss, or to a prediction.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Value};
use crate::params::Scope;
use crate::transformer::Linear;
use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

/// What a head reads and says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSpec {
    /// The kind of token that it reads.
    pub reads: String,
    /// What it says of each.
    pub says: Says,
}

/// What a head says of each token that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
}

impl Says {
    /// Numbers in an output row.
    pub fn width(self) -> usize {
        match self {
            Says::Classify { classes } => classes,
            Says::NextToken { vocabulary } | Says::MaskedToken { vocabulary } => vocabulary,
            Says::Ctc { labels } => labels + 1,
            Says::Act { actions } => actions,
            Says::Regress { dim } => dim,
        }
    }
}

/// One task's head: a linear map of the tokens that it reads.
pub struct Head {
    says: Says,
    output: Output,
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
    pub fn new(scope: Scope, says: Says, d_model: usize, table: Option<&Value>) -> Result<Self> {
        let output = match (says, table) {
            (Says::NextToken { vocabulary } | Says::MaskedToken { vocabulary }, Some(table)) => {
                if table.dims()[0] != vocabulary {
                    bail!("a shared embedding has {} rows; its head has {vocabulary} ids", table.dims()[0]);
                }
                Output::Shared(table.clone())
            }
            _ => Output::Own(Linear::new(scope, d_model, says.width(), true, 0.02)?),
        };
        Ok(Self { says, output })
    }

    /// `[n_tokens, d_model]` → `[rows, width]`: logits, or for [`Says::Regress`] the numbers themselves.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn forward(&self, hidden: &Value, rows: &[u32]) -> Result<Value> {
        let all =
            rows.len() == hidden.dims()[0] && rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let read = if all { hidden.clone() } else { ops::gather_rows(hidden, rows)? };
        match &self.output {
            Output::Own(linear) => linear.forward(&read),
            Output::Shared(table) => ops::linear(&read, table, None),
        }
    }

    /// The weighted sum of losses: a scalar. Divide by [`Targets::weight`] for the mean.
    ///
    /// # Errors
    /// Where targets are of another sort than the head's.
    pub fn loss(&self, output: &Value, batch: &HeadBatch, label_smoothing: f32) -> Result<Value> {
        match (&batch.targets, self.says) {
            (Targets::Labels { labels, weights }, Says::Ctc { labels: blank }) => {
                ops::ctc::ctc(output, &batch.documents, labels, weights, blank as u32)
            }
            (Targets::Features { values, weights, .. }, Says::Regress { .. }) => {
                ops::squared_error(output, values, weights)
            }
            (Targets::Ids { ids, weights }, says)
                if !matches!(says, Says::Ctc { .. } | Says::Regress { .. }) =>
            {
                ops::cross_entropy(output, ids, weights, label_smoothing)
            }
            (_, says) => bail!("targets do not fit a head that says {says:?}"),
        }
    }

    /// What the head says.
    pub fn says(&self) -> Says {
        self.says
    }
}
