//! The cache of generation: keys and values, or the states of mixers.

use super::plan::EncoderOutput;
use crate::ops::Value;
use crate::rules::{AttentionRules, TokenMeta};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// The keys and values, or the state, of one document's tokens in each layer.
pub struct Cache {
    /// One for each layer.
    pub layers: Vec<LayerCache>,
    /// The tokens so far, of one document.
    pub tokens: Arc<TokenMeta>,
    /// The encoder output that cross-attention attends to.
    pub encoder_output: Option<EncoderOutput>,
}

/// One layer's cache. Keys and values are side by side: `[n, 2·n_kv_heads·d_head]`.
#[derive(Default)]
pub struct LayerCache {
    /// The tokens so far.
    pub mixer: MixerCache,
    /// Keys and values of the encoder output.
    pub cross_attention: Option<Value>,
}

/// What a mixer keeps of the tokens so far.
#[derive(Default)]
pub struct MixerCache {
    /// Keys and values of attention.
    pub key_values: GrowingRows,
    /// The state of linear attention or of a state space, of one size for any number of tokens.
    pub state: Option<Tensor>,
}

/// Rows that are appended in place; the capacity doubles when it is used up.
#[derive(Default)]
pub struct GrowingRows {
    /// `[capacity, width]`; the rows after the first `len` are unused.
    rows: Option<Tensor>,
    len: usize,
}

impl GrowingRows {
    /// A copy, to which rows are appended independently.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn fork(&self) -> Result<Self> {
        Ok(Self { rows: self.rows.as_ref().map(Tensor::copy).transpose()?, len: self.len })
    }

    /// Appends the rows of `new` `[n, width]`; returns all rows, `[len, width]`, which share this storage.
    ///
    /// # Errors
    /// If the width differs from that of earlier rows, or `new` has a gradient; nothing is appended then.
    pub fn append(&mut self, new: &Value) -> Result<Value> {
        /// The first capacity, in rows.
        const CAPACITY: usize = 64;
        let (n, width) = new.dims2()?;
        if new.has_gradient() {
            bail!("cached rows have no gradient; use a cache within `without_gradients`");
        }
        let (new, len) = (new.tensor().contiguous()?, self.len + n);
        let rows = match &self.rows {
            Some(rows) if len <= rows.dim(0)? => rows.clone(),
            old => {
                let capacity = len.next_power_of_two().max(CAPACITY);
                let rows = Tensor::zeros((capacity, width), new.dtype(), new.device())?;
                if let Some(old) = old {
                    rows.slice_set(&old.narrow(0, 0, self.len)?.contiguous()?, 0, 0)?;
                }
                rows
            }
        };
        if n > 0 {
            rows.slice_set(&new, 0, self.len)?;
        }
        let all = rows.narrow(0, 0, len)?;
        (self.rows, self.len) = (Some(rows), len);
        Ok(Value::constant(all))
    }
}

impl Cache {
    /// An empty cache for a transformer of `n_layers`.
    pub fn new(n_layers: usize) -> Self {
        let layers = (0..n_layers).map(|_| LayerCache::default()).collect();
        Self { layers, tokens: Arc::default(), encoder_output: None }
    }

    /// A copy that is extended independently, for texts with the same beginning.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn fork(&self) -> Result<Self> {
        let fork = |LayerCache { mixer, cross_attention }: &LayerCache| {
            // A state is replaced by the next one, and not written to.
            let mixer = MixerCache { key_values: mixer.key_values.fork()?, state: mixer.state.clone() };
            Ok(LayerCache { mixer, cross_attention: cross_attention.clone() })
        };
        Ok(Self {
            layers: self.layers.iter().map(fork).collect::<Result<_>>()?,
            tokens: self.tokens.clone(),
            encoder_output: self.encoder_output.clone(),
        })
    }

    /// Adds the metadata of the next tokens.
    ///
    /// # Errors
    /// If the new tokens are not of one document, or a rule lets an earlier token attend to a new one: the cached keys and
    /// values would be wrong then.
    pub fn extend(&mut self, next: &TokenMeta, rules: &[impl AsRef<AttentionRules>]) -> Result<()> {
        if next.documents.len() != 1 {
            bail!("a cache holds one document; found {}", next.documents.len());
        }
        for rules in rules {
            let rules = rules.as_ref();
            for old in 0..self.tokens.len() {
                if let Some(new) = (0..next.len()).find(|&new| rules.allows(&self.tokens, old, next, new)) {
                    let name = |meta: &TokenMeta, i: usize| rules.kinds()[meta.kind[i] as usize].clone();
                    bail!(
                        "no cache with these rules: {} {} attends to the later {} {}",
                        name(&self.tokens, old),
                        self.tokens.order[old],
                        name(next, new),
                        next.order[new]
                    );
                }
            }
        }
        Arc::make_mut(&mut self.tokens).append(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn rows_are_appended_and_invalid_rows_are_not() -> Result<()> {
        let row = |x: f32, width: usize| Tensor::full(x, (1, width), &Device::Cpu).map(Value::constant);
        let mut rows = GrowingRows::default();
        for i in 0..200 {
            let all = rows.append(&row(i as f32, 3)?)?.into_tensor().to_vec2::<f32>()?;
            assert!(all.iter().enumerate().all(|(i, row)| *row == [i as f32; 3]));
            if i == 63 || i == 100 {
                assert!(rows.append(&row(0.0, 4)?).is_err(), "another width");
                let weight = Var::zeros((1, 3), candle_core::DType::F32, &Device::Cpu)?;
                assert!(rows.append(&Value::parameter(&weight, 0)).is_err(), "a gradient would be cut");
            }
        }
        assert_eq!(rows.append(&row(0.0, 3)?)?.dims(), [201, 3]);

        let mut fork = rows.fork()?;
        rows.append(&row(1.0, 3)?)?;
        let forked = fork.append(&row(2.0, 3)?)?.into_tensor().to_vec2::<f32>()?;
        assert_eq!(
            (forked.len(), forked[200].as_slice(), forked[201].as_slice()),
            (202, &[0.0; 3][..], &[2.0; 3][..])
        );
        let rows = rows.append(&row(1.0, 3)?)?.into_tensor().to_vec2::<f32>()?;
        assert_eq!(rows[201], [1.0; 3], "appending to a fork does not change the original");
        Ok(())
    }
}
