//! The cache of generation: keys and values, or the states of mixers.

use super::plan::EncoderOutput;
use crate::ops::Value;
use crate::rules::{AttentionRules, TokenMeta};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;
use std::sync::Arc;

/// The keys and values, or the state, of the tokens of some documents in each layer.
///
/// The first batch decides the number of documents. Each document has room for equally many tokens, so that all documents append
/// in place to one tensor, in which attention finds each document's keys without a copy.
pub struct Cache {
    /// One for each layer.
    pub layers: Vec<LayerCache>,
    /// The tokens so far to which a later one may attend, and the room of each document.
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
    /// The state of linear attention or of a state space, of one size for any number of tokens; the first axis is documents.
    pub state: Option<Tensor>,
}

/// Rows of some documents, which are appended in place.
#[derive(Default)]
pub struct GrowingRows {
    /// `[documents·capacity, width]`.
    rows: Option<Tensor>,
}

impl GrowingRows {
    /// Appends the rows `new` `[n, width]` of `tokens` to those of their documents. `all` is the metadata of the result: that of
    /// all rows, which end with the new ones in each document. The result shares this storage.
    ///
    /// # Errors
    /// If the width differs from that of earlier rows, or `new` has a gradient; nothing is appended then.
    pub fn append(&mut self, new: &Value, tokens: &TokenMeta, all: &TokenMeta) -> Result<Value> {
        let (_, width) = new.dims2()?;
        if new.has_gradient() {
            bail!("cached rows have no gradient; use a cache within `without_gradients`");
        }
        let new = new.tensor().contiguous()?;
        let rows = match &self.rows {
            Some(rows) => rows.clone(),
            None => Tensor::zeros((all.len(), width), new.dtype(), new.device())?,
        };
        for (from, to) in tokens.documents.iter().zip(&all.documents).filter(|(from, _)| !from.is_empty()) {
            rows.slice_set(&new.narrow(0, from.start, from.len())?, 0, to.end - from.len())?;
        }
        self.rows = Some(rows.clone());
        Ok(Value::constant(rows))
    }

    /// A copy with a document for each of these ranges of rows, as [`TokenMeta::spaced`] makes it.
    fn spaced(&self, documents: &[Range<usize>], capacity: usize) -> Result<Self> {
        let Some(old) = &self.rows else { return Ok(Self::default()) };
        let rows = Tensor::zeros((documents.len() * capacity, old.dim(1)?), old.dtype(), old.device())?;
        for (document, from) in documents.iter().enumerate().filter(|(_, from)| !from.is_empty()) {
            rows.slice_set(&old.narrow(0, from.start, from.len())?, 0, document * capacity)?;
        }
        Ok(Self { rows: Some(rows) })
    }
}

impl Cache {
    /// An empty cache for a transformer of `n_layers`.
    pub fn new(n_layers: usize) -> Self {
        let layers = (0..n_layers).map(|_| LayerCache::default()).collect();
        Self { layers, tokens: Arc::default(), encoder_output: None }
    }

    /// A copy with the documents of these numbers, in this order, for texts with the same beginning: a document may be left out,
    /// or be there several times.
    ///
    /// # Errors
    /// If a number is not that of a document, or there is none.
    pub fn select(&self, documents: &[usize]) -> Result<Self> {
        let n = self.tokens.documents.len();
        if documents.is_empty() || documents.iter().any(|&document| document >= n) {
            bail!("expected one or more of the {n} documents of the cache; found {documents:?}");
        }
        let capacity = self.tokens.len() / n;
        let rows: Vec<_> = documents.iter().map(|&of| self.tokens.documents[of].clone()).collect();
        let places: Vec<u32> = documents.iter().map(|&document| document as u32).collect();
        let select = |LayerCache { mixer, cross_attention }: &LayerCache| {
            let of_documents =
                |state: &Tensor| state.index_select(&Tensor::new(&places[..], state.device())?, 0);
            let state = mixer.state.as_ref().map(of_documents).transpose()?;
            let mixer = MixerCache { key_values: mixer.key_values.spaced(&rows, capacity)?, state };
            Ok(LayerCache { mixer, cross_attention: cross_attention.clone() })
        };
        Ok(Self {
            layers: self.layers.iter().map(select).collect::<Result<_>>()?,
            tokens: Arc::new(self.tokens.spaced(&rows, capacity)),
            encoder_output: self.encoder_output.as_ref().map(|output| output.select(documents)),
        })
    }

    /// Adds the metadata of the next tokens of each document. When there is no room for them, the cache drops the tokens at the
    /// beginning of a document to which no later token attends by any of the rules, those of all layers.
    ///
    /// # Errors
    /// If the number of documents is another, or a rule lets an earlier token attend to a new one: the cached keys and values
    /// would be wrong then.
    pub fn extend<'a>(
        &mut self,
        next: &TokenMeta,
        rules: impl IntoIterator<Item = &'a AttentionRules>,
    ) -> Result<()> {
        let (n, rules) = (next.documents.len(), rules.into_iter().collect::<Vec<_>>());
        if self.tokens.documents.is_empty() {
            self.tokens = Arc::new(TokenMeta { documents: vec![0..0; n], ..TokenMeta::default() });
        }
        if n == 0 || self.tokens.documents.len() != n {
            bail!("a cache of {} documents cannot continue {n} documents", self.tokens.documents.len());
        }
        rules.iter().try_for_each(|rules| self.check_past(next, rules))?;
        let mut documents = self.tokens.documents.iter().zip(&next.documents);
        if documents.any(|(old, new)| (old.len() + new.len()) * n > self.tokens.len()) {
            self.make_room(next, &rules)?;
        }
        Arc::make_mut(&mut self.tokens).append(next);
        Ok(())
    }

    /// Drops what no later token attends to, and makes room for the next tokens and for half as many more as are kept, so that
    /// rows are moved rarely.
    fn make_room(&mut self, next: &TokenMeta, rules: &[&AttentionRules]) -> Result<()> {
        /// The least capacity, in tokens of a document.
        const CAPACITY: usize = 64;
        let kept = |(old, new): (&Range<usize>, &Range<usize>)| {
            let Some(first) = new.clone().next().map(|row| next.order[row]) else { return old.clone() };
            let is_read = |&row: &usize| !rules.iter().all(|rules| rules.forgets(&self.tokens, row, first));
            old.clone().find(is_read).unwrap_or(old.end)..old.end
        };
        let documents = self.tokens.documents.iter().zip(&next.documents);
        let kept: Vec<_> = documents.map(kept).collect();
        let lengths = kept.iter().zip(&next.documents).map(|(old, new)| old.len() + new.len());
        let longest = lengths.max().unwrap_or_default();
        let capacity = (longest + longest / 2).max(CAPACITY);
        for layer in &mut self.layers {
            layer.mixer.key_values = layer.mixer.key_values.spaced(&kept, capacity)?;
        }
        self.tokens = Arc::new(self.tokens.spaced(&kept, capacity));
        Ok(())
    }

    /// Fails if an earlier token attends to a new one.
    fn check_past(&self, next: &TokenMeta, rules: &AttentionRules) -> Result<()> {
        for (old_rows, new_rows) in self.tokens.documents.iter().zip(&next.documents) {
            for old in old_rows.clone() {
                let attends = |new: &usize| rules.allows(&self.tokens, old, next, *new);
                if let Some(new) = new_rows.clone().find(attends) {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rule;
    use candle_core::{Device, Var};

    /// Documents of `lengths` tokens, of which the first is in place `first`.
    fn documents(lengths: &[usize], first: usize) -> TokenMeta {
        let mut meta = TokenMeta::default();
        for (document, &n) in lengths.iter().enumerate() {
            let start = meta.len();
            meta.document.resize(start + n, document as u32);
            meta.kind.resize(start + n, 0);
            meta.order.extend((first..first + n).map(|place| place as u32));
            meta.documents.push(start..start + n);
        }
        (meta.time, meta.positions) = (meta.order.clone(), vec![[0, 0]; meta.len()]);
        meta
    }

    /// The rows of each document.
    fn of_documents(rows: &Value, all: &TokenMeta) -> Result<Vec<Vec<f32>>> {
        let rows = rows.tensor().to_vec2::<f32>()?;
        assert!(rows.iter().all(|row| row.iter().all(|x| *x == row[0])));
        Ok(all.documents.iter().map(|of| rows[of.clone()].iter().map(|row| row[0]).collect()).collect())
    }

    #[test]
    fn rows_are_appended_to_each_document_and_invalid_rows_are_not() -> Result<()> {
        let rules = AttentionRules::uniform(["token"], Rule::causal());
        let row =
            |x: f32, n: usize, width: usize| Tensor::full(x, (n, width), &Device::Cpu).map(Value::constant);
        let mut cache = Cache::new(1);
        let first = documents(&[2, 0, 1], 0);
        cache.extend(&first, [&rules])?;
        cache.layers[0].mixer.key_values.append(&row(0.5, 3, 2)?, &first, &cache.tokens)?;
        let mut expected = vec![vec![0.5; 2], vec![], vec![0.5]];
        for i in 0..200 {
            let next = documents(&[1, 1, 1], 2 + i);
            cache.extend(&next, [&rules])?;
            let rows = &mut cache.layers[0].mixer.key_values;
            if i == 62 || i == 100 {
                assert!(rows.append(&row(0.0, 3, 4)?, &next, &cache.tokens).is_err(), "another width");
                let weight = Var::zeros((3, 2), candle_core::DType::F32, &Device::Cpu)?;
                let parameter = Value::parameter(&weight, 0);
                assert!(rows.append(&parameter, &next, &cache.tokens).is_err(), "a gradient would be cut");
            }
            let all = rows.append(&row(i as f32, 3, 2)?, &next, &cache.tokens)?;
            expected.iter_mut().for_each(|rows| rows.push(i as f32));
            assert_eq!(of_documents(&all, &cache.tokens)?, expected);
        }

        let mut selected = cache.select(&[2, 0, 2])?;
        let next = documents(&[1, 1, 1], 202);
        for (cache, x) in [(&mut selected, 7.0), (&mut cache, 8.0)] {
            cache.extend(&next, [&rules])?;
            cache.layers[0].mixer.key_values.append(&row(x, 3, 2)?, &next, &cache.tokens)?;
        }
        let rows = |cache: &Cache| {
            let rows = cache.layers[0].mixer.key_values.rows.clone().map(Value::constant);
            of_documents(&rows.ok_or_else(|| candle_core::Error::msg("no rows"))?, &cache.tokens)
        };
        let with = |document: usize, x: f32| [&expected[document][..], &[x]].concat();
        assert_eq!(rows(&selected)?, [with(2, 7.0), with(0, 7.0), with(2, 7.0)]);
        assert_eq!(rows(&cache)?, [with(0, 8.0), with(1, 8.0), with(2, 8.0)], "a copy does not change it");
        let error = |documents: &[usize]| cache.select(documents).err().map(|e| e.to_string());
        assert!(error(&[1, 3]).is_some_and(|e| e.contains("of the 3 documents of the cache; found [1, 3]")));
        assert!(error(&[]).is_some());
        let error = cache.extend(&documents(&[1], 203), [&rules]).unwrap_err().to_string();
        assert!(error.contains("a cache of 3 documents cannot continue 1 documents"), "{error}");
        Ok(())
    }

    /// The cache keeps what the widest window of a layer reaches, and all that a layer without one attends to.
    #[test]
    fn tokens_before_the_windows_of_all_layers_are_dropped() -> Result<()> {
        let window =
            |rule: &str| AttentionRules::uniform(["token"], rule.parse().unwrap_or_else(|e| panic!("{e}")));
        let windows = [window("causal & near(5, order)"), window("causal & near(40, order)")];
        let full = [window("causal & near(5, order)"), window("causal")];
        for (rules, most, kept) in [(&windows, 70, 41), (&full, 400, 301)] {
            let mut cache = Cache::new(1);
            for place in 0..301 {
                // The second document begins later, so it has fewer tokens, but the same places.
                let next = documents(&[1, usize::from(place >= 10)], place);
                cache.extend(&next, rules)?;
                let values: Vec<f32> = next.order.iter().flat_map(|&place| [place as f32; 2]).collect();
                let rows = Value::constant(Tensor::from_vec(values, (next.len(), 2), &Device::Cpu)?);
                let all = cache.layers[0].mixer.key_values.append(&rows, &next, &cache.tokens.clone())?;
                for (rows, of) in of_documents(&all, &cache.tokens)?.iter().zip(&cache.tokens.documents) {
                    let orders = &cache.tokens.order[of.clone()];
                    assert!(rows.iter().zip(orders).all(|(row, place)| *row == *place as f32));
                    assert!(orders.last().is_none_or(|last| *last == place as u32));
                }
            }
            let (capacity, held) = (cache.tokens.len() / 2, cache.tokens.documents[0].len());
            assert!(capacity <= most && held >= kept, "{capacity} rows of a document, {held} in use");
        }
        Ok(())
    }
}
