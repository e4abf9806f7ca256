//! The encoder's output as codes of a learned codebook.

use super::{CodedKind, EncoderOutput, Model, Pass, Quantized};
use crate::data::Batch;
use crate::ops::{self, without_gradients};

impl Model {
    /// The code of each token of the encoder's stream that has a codebook, in the order of the batch's documents.
    ///
    /// # Errors
    /// If the model has no codebook for the batch, or an operation fails.
    pub fn codes(&self, batch: &Batch) -> candle_core::Result<Vec<u32>> {
        let encode = || self.encode(batch, &Pass::default());
        let quantized = without_gradients(|| self.quantized(batch, encode()?.as_ref()))?;
        match quantized.into_iter().next() {
            Some(quantized) => Ok(quantized.ids),
            None => candle_core::bail!("expected a batch whose encoder has a codebook"),
        }
    }

    /// The encoder's output as codes, for each kind of code of the main stream.
    pub(super) fn quantized(
        &self,
        batch: &Batch,
        encoded: Option<&EncoderOutput>,
    ) -> candle_core::Result<Vec<Quantized>> {
        let Some(EncoderOutput { hidden: encoded, tokens: meta }) = encoded else { return Ok(vec![]) };
        let mut all = vec![];
        for &CodedKind { kind, source, .. } in &self.coded {
            let rows = (0..meta.len() as u32).filter(|&row| meta.kind[row as usize] as usize == source);
            let rows: Vec<u32> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let codes = batch.main.meta.kind.iter().filter(|&&of| of as usize == kind).count();
            if codes != rows.len() {
                candle_core::bail!(
                    "expected a code for each of {} tokens of the encoder; found {codes}",
                    rows.len()
                );
            }
            let of_kind = if rows.len() == meta.len() { encoded } else { &ops::gather_rows(encoded, &rows)? };
            all.push(self.embedder.quantize(kind, of_kind)?);
        }
        Ok(all)
    }
}
