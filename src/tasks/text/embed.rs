//! A vector for each text.

use super::TextTask;
use crate::data::Stream;
use crate::model::Model;
use crate::tasks::TaskError;
use crate::tasks::embed::{Embedding, Pooling, embed};
use std::collections::BTreeMap;

/// The vectors of some texts, and how many of them were cut.
pub struct Embedded {
    /// `[texts, d_model]`.
    pub vectors: Vec<Vec<f32>>,
    /// Texts of which the end was not read.
    pub cut: usize,
    /// Tokens that were read.
    pub tokens: usize,
}

impl TextTask {
    /// A vector for each text, `batch` of them at a time. `number` is the task's among the model's.
    ///
    /// # Errors
    /// A text without a token; where the tensor library refuses.
    pub fn embed(
        &self,
        model: &Model,
        number: usize,
        texts: &[String],
        Embedding { pooling, normalize, most_tokens }: Embedding,
        batch: usize,
    ) -> Result<Embedded, TaskError> {
        let context = self.tokenizer.context();
        let most = if most_tokens == 0 { context } else { most_tokens.min(context) };
        let mut embedded = Embedded { vectors: vec![vec![]; texts.len()], cut: 0, tokens: 0 };
        // Texts of one length next to each other: a batch takes as long as its tokens are many, whoever is in it, but
        // threads share documents more evenly.
        let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let mut ids = self.tokenizer.document(text)?;
            if ids.is_empty() {
                let problem = format!("text {} has no token", place + 1);
                return Err(TaskError::Setting { setting: "path", problem });
            }
            if ids.len() > most {
                embedded.cut += 1;
                ids = self.shortened(text, ids, most);
            }
            embedded.tokens += ids.len();
            by_length.entry(ids.len()).or_default().push((place, ids));
        }
        let sorted: Vec<(usize, Vec<u32>)> = by_length.into_values().flatten().collect();
        for some in sorted.chunks(batch.max(1)) {
            let inputs = some.iter().map(|(_, ids)| Ok(vec![(Stream::Main, self.tokenizer.tokens(ids)?)]));
            let inputs = inputs.collect::<Result<Vec<_>, TaskError>>()?;
            let pool = |_: &crate::data::Batch, rows: std::ops::Range<usize>| match pooling {
                Pooling::Mean => rows.collect(),
                Pooling::First => vec![rows.start],
            };
            let vectors = embed(model, number, inputs, pool, normalize)?;
            for ((place, _), vector) in some.iter().zip(vectors) {
                embedded.vectors[*place] = vector;
            }
        }
        Ok(embedded)
    }

    /// The first ids of a text, and whatever stands behind a whole one: BERT's `[SEP]`.
    fn shortened(&self, text: &str, ids: Vec<u32>, most: usize) -> Vec<u32> {
        let bare = self.tokenizer.ids(text).unwrap_or_default();
        let start = ids.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        let behind = ids[(start + bare.len()).min(ids.len())..].to_vec();
        let kept = most.saturating_sub(behind.len());
        [&ids[..kept.min(ids.len())], &behind].concat()
    }
}
