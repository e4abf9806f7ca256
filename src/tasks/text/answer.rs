//! Pairs of texts: a question, which the encoder reads, and its answer (Raffel et al. 2020).

use super::{TextTask, TextTaskConfig};
use crate::data::{DataError, Dataset, Sample, Stream, Target, manifest};
use crate::tasks::holdout::hold_out;
use crate::tasks::{Splits, TaskError};
use smalti_contract::{TokenizeError, Tokens};
use std::sync::Arc;

/// The columns of a table of pairs.
const COLUMNS: [&str; 2] = ["source", "target"];

impl TextTask {
    /// What the model reads of a question, and of an answer as far as it is written, from its start token on.
    ///
    /// # Errors
    /// Where one of them is longer than the context, or has an id beyond the vocabulary.
    pub fn pair(&self, question: &[u32], written: &[u32]) -> Result<Vec<(Stream, Tokens)>, TokenizeError> {
        let tokens = |ids: &[u32]| self.tokenizer.tokens(ids);
        Ok(vec![(Stream::Encoder, tokens(question)?), (Stream::Main, tokens(written)?)])
    }

    /// The ids of a question with the end behind it.
    ///
    /// # Errors
    /// Where a character is not in the vocabulary.
    pub fn question(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = self.tokenizer.ids(text)?;
        ids.extend(self.end);
        Ok(ids)
    }

    /// The token before an answer.
    pub fn start(&self) -> u32 {
        self.start.unwrap_or_default()
    }
}

/// The pairs that train and those that validate.
pub(super) fn splits(task: &Arc<TextTask>, config: &TextTaskConfig) -> Result<Splits, TaskError> {
    let rows = manifest::columns(&config.path, &COLUMNS)?;
    let (train, valid) = hold_out(rows.len(), config.holdout)?;
    let pairs = |indices: Vec<u32>| -> Arc<dyn Dataset> {
        let pick = |i: u32| (i, rows[i as usize].clone());
        Arc::new(Pairs {
            rows: indices.into_iter().map(pick).collect(),
            path: config.path.clone(),
            task: task.clone(),
        })
    };
    Ok(Splits { train: pairs(train), valid: pairs(valid) })
}

/// Some rows of a table, each with its number.
struct Pairs {
    rows: Vec<(u32, Vec<String>)>,
    path: String,
    task: Arc<TextTask>,
}

impl Pairs {
    fn encode(&self, row: &[String], id: u64) -> Result<Sample, TokenizeError> {
        let task = &self.task;
        let answer = task.tokenizer.ids(&row[1])?;
        let written: Vec<u32> = std::iter::once(task.start()).chain(answer.iter().copied()).collect();
        let mut next = answer;
        next.extend(task.end);
        // Without an end there is nothing to predict after the last token.
        let written = &written[..next.len()];
        let inputs = task.pair(&task.question(&row[0])?, written)?;
        Ok(Sample { inputs, outputs: vec![Target::ids(next).into()], id })
    }
}

impl Dataset for Pairs {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize, _seed: Option<u64>) -> Result<Sample, DataError> {
        let (number, row) = &self.rows[index];
        self.encode(row, u64::from(*number)).map_err(|e| DataError::Sample {
            task: self.task.spec.name.clone(),
            id: u64::from(*number),
            problem: format!("({} row {}): {e}", self.path, number + 1),
        })
    }

    fn varies(&self) -> bool {
        false
    }
}
