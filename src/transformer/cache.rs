//! Keys and values kept from token to token, for generation.

use crate::ops::Value;
use crate::rules::{AttentionRules, TokenMeta};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// What one document's tokens left behind in each layer of a stack.
pub struct Cache {
    /// One for each layer.
    pub layers: Vec<LayerCache>,
    /// The tokens seen so far: one document.
    pub seen: Arc<TokenMeta>,
    /// The other stack's output and what its tokens are, where there is cross-attention.
    pub memory: Option<(Value, Arc<TokenMeta>)>,
}

/// One layer's keys and values, side by side: `[n, 2·n_kv_heads·d_head]`.
#[derive(Default)]
pub struct LayerCache {
    /// Of the stack's own tokens.
    pub own: GrowingRows,
    /// Of the other stack's, where there is cross-attention.
    pub other: Option<Value>,
}

/// Rows that are added one after the other, in place: twice the room is made whenever it is used up.
#[derive(Default)]
pub struct GrowingRows {
    /// `[room, width]`; the rows behind the first `len` mean nothing.
    room: Option<Tensor>,
    len: usize,
}

impl GrowingRows {
    /// The same rows, to be added to apart from these.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn fork(&self) -> Result<Self> {
        Ok(Self { room: self.room.as_ref().map(Tensor::copy).transpose()?, len: self.len })
    }

    /// Adds the rows of `fresh` `[n, width]`; gives all rows, `[len, width]`, which share this storage.
    ///
    /// # Errors
    /// Where the width differs from that of earlier rows, or `fresh` has a gradient; nothing is added then.
    pub fn append(&mut self, fresh: &Value) -> Result<Value> {
        /// Rows that there is room for at first.
        const ROOM: usize = 64;
        let (n, width) = fresh.dims2()?;
        if fresh.has_gradient() {
            bail!("kept rows carry no gradient; use a cache within `without_gradients`");
        }
        let (fresh, len) = (fresh.tensor().contiguous()?, self.len + n);
        let room = match &self.room {
            Some(room) if len <= room.dim(0)? => room.clone(),
            old => {
                let rows = len.next_power_of_two().max(ROOM);
                let room = Tensor::zeros((rows, width), fresh.dtype(), fresh.device())?;
                if let Some(old) = old {
                    room.slice_set(&old.narrow(0, 0, self.len)?.contiguous()?, 0, 0)?;
                }
                room
            }
        };
        if n > 0 {
            room.slice_set(&fresh, 0, self.len)?;
        }
        let all = room.narrow(0, 0, len)?;
        (self.room, self.len) = (Some(room), len);
        Ok(Value::constant(all))
    }
}

impl Cache {
    /// A cache of nothing for a stack of `n_layers`.
    pub fn new(n_layers: usize) -> Self {
        let layers = (0..n_layers).map(|_| LayerCache::default()).collect();
        Self { layers, seen: Arc::default(), memory: None }
    }

    /// A cache of the same tokens, which goes on apart from this one: for texts that begin alike.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn fork(&self) -> Result<Self> {
        let layers = self
            .layers
            .iter()
            .map(|LayerCache { own, other }| Ok(LayerCache { own: own.fork()?, other: other.clone() }));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            seen: self.seen.clone(),
            memory: self.memory.clone(),
        })
    }

    /// Takes note of the next tokens.
    ///
    /// # Errors
    /// Where the new tokens are not one document, or under some rule an old token would see a new one: its
    /// kept keys and values would be wrong then.
    pub fn extend(&mut self, next: &TokenMeta, rules: &[impl AsRef<AttentionRules>]) -> Result<()> {
        if next.documents.len() != 1 {
            bail!("a cache holds one document; found {}", next.documents.len());
        }
        for rules in rules {
            let rules = rules.as_ref();
            for old in 0..self.seen.len() {
                if let Some(new) = (0..next.len()).find(|&new| rules.allows(&self.seen, old, next, new)) {
                    let name = |meta: &TokenMeta, i: usize| rules.kinds()[meta.kind[i] as usize].clone();
                    bail!(
                        "no cache under these rules: {} {} would see the later {} {}",
                        name(&self.seen, old),
                        self.seen.order[old],
                        name(next, new),
                        next.order[new]
                    );
                }
            }
        }
        Arc::make_mut(&mut self.seen).append(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn rows_are_kept_and_what_does_not_fit_is_not() -> Result<()> {
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
        assert_eq!(rows[201], [1.0; 3], "a fork changes nothing of what it comes from");
        Ok(())
    }
}
