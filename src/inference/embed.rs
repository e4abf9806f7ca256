//! Embeddings: one vector for each value, pooled from the hidden states of its tokens.

use super::PredictError;
use crate::data::{Batch, Sample, Stream, collate};
use crate::model::{HeadLayer, Model};
use crate::ops::{self, without_gradients};
use crate::sample::{Composition, Part, Pool, ReadSite, Role};
use candle_core::Tensor;
use smalti_contract::{Tokens, Value};
use std::ops::Range;

/// The settings of embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedding {
    /// The pooling of a value's tokens. Left out, that of the task's `represent` output; without one, the class token, or the
    /// mean if there is no class token.
    pub pool: Option<Pool>,
    /// Whether each vector is divided by its length. A `represent` output may do so too.
    pub normalize: bool,
    /// The most tokens of a value that are read; 0 for as many as the model can read.
    pub max_tokens: usize,
}

/// Embeddings and counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// `[values, d_model]`.
    pub vectors: Vec<Vec<f32>>,
    /// Number of values that were cut to `max_tokens`, or to what the model can read.
    pub truncated: usize,
    /// Number of tokens that were read.
    pub tokens: usize,
}

/// The number of the part whose values are embedded: the only input, or the one with this name. For a task without inputs, it
/// is the text that the task continues or whose masked tokens it predicts.
///
/// # Errors
/// [`PredictError::Parts`] if there is no such part, or there are several and no name.
pub fn embedded_part(task: &Composition, name: Option<&str>) -> Result<usize, PredictError> {
    let numbers = |embeds: &dyn Fn(&Part) -> bool| -> Vec<usize> {
        let parts = task.parts().iter().enumerate();
        parts.filter(|(_, part)| !part.series && embeds(part)).map(|(number, _)| number).collect()
    };
    let mut found = numbers(&|part| part.role == Role::Input);
    if found.is_empty() {
        found = numbers(&|part| match part.role {
            Role::Masked(_) => true,
            Role::Generated(_) => part.windows,
            Role::Input | Role::Series(_) => false,
        });
    }
    found.retain(|&number| name.is_none_or(|name| task.parts()[number].name == name));
    match found[..] {
        [part] => Ok(part),
        _ => {
            Err(PredictError::Parts { expected: "a single input, or the name of one", found: task.listed() })
        }
    }
}

/// Embed the values of part number `part` of task number `number`, in batches of `batch` values.
///
/// # Errors
/// If a value cannot be tokenized, or has no token.
pub fn embed(
    (model, number, task): (&Model, usize, &Composition),
    part: usize,
    values: Vec<Value>,
    embedding: &Embedding,
    batch: usize,
) -> Result<Embedded, PredictError> {
    let most = if embedding.max_tokens == 0 { usize::MAX } else { embedding.max_tokens };
    let (mut tokens, mut truncated) = (vec![], 0);
    for value in values {
        let (value_tokens, is_truncated) =
            task.parts()[part].tokenizer.encode_value_truncated(value, most)?;
        truncated += usize::from(is_truncated);
        tokens.push(value_tokens);
    }
    let n_tokens = tokens.iter().map(Tokens::len).sum();
    let vectors = embed_tokens((model, number, task), part, tokens, embedding, batch)?;
    Ok(Embedded { vectors, truncated, tokens: n_tokens })
}

/// Embed the tokens of values of part number `part` of task number `number`, in batches of `batch` values.
///
/// # Errors
/// If tokens do not fit the model, or a value has no token.
pub fn embed_tokens(
    (model, number, task): (&Model, usize, &Composition),
    part: usize,
    tokens: Vec<Tokens>,
    embedding: &Embedding,
    batch: usize,
) -> Result<Vec<Vec<f32>>, PredictError> {
    let pooler = Pooler::new(task, part, embedding)?;
    if let Some(empty) = tokens.iter().position(Tokens::is_empty) {
        let problem = format!("value {}: expected at least one token; found 0", empty + 1);
        return Err(smalti_contract::TokenizeError::Input(problem).into());
    }
    // Sorted by length: threads share documents of one length more evenly.
    let mut vectors = vec![vec![]; tokens.len()];
    let mut sorted: Vec<(usize, Tokens)> = tokens.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, tokens)| tokens.len());
    let mut sorted = sorted.into_iter();
    loop {
        let (places, tokens): (Vec<usize>, Vec<Tokens>) = sorted.by_ref().take(batch.max(1)).unzip();
        if places.is_empty() {
            return Ok(vectors);
        }
        for (place, vector) in places.into_iter().zip(pooler.vectors(model, number, tokens)?) {
            vectors[place] = vector;
        }
    }
}

/// Pools the hidden states of samples.
struct Pooler<'a> {
    task: &'a Composition,
    part: usize,
    /// The number of the `represent` output.
    output: Option<usize>,
    pool: Pool,
    /// The kind of the class token.
    class: Option<usize>,
    /// Whether the mean is of all tokens of the model, with class token and registers, as of transformers' `last_hidden_state`.
    whole: bool,
    normalize: bool,
}

impl<'a> Pooler<'a> {
    fn new(task: &'a Composition, part: usize, embedding: &Embedding) -> Result<Self, PredictError> {
        let output = task.outputs().iter().position(|output| output.head.is_representation());
        let of_output = output.map(|output| match task.outputs()[output].site {
            ReadSite::FirstToken => Pool::First,
            ReadSite::LastToken => Pool::Last,
            ReadSite::Attention => Pool::Attention,
            site if site.class_token().is_some() => Pool::ClassToken,
            _ => Pool::Mean,
        });
        let own = output.map(|output| &task.outputs()[output]);
        let mut classes = own.into_iter().chain(task.outputs()).map(|output| output.site);
        let class = classes.find_map(ReadSite::class_token);
        let by_default = if class.is_some() { Pool::ClassToken } else { Pool::Mean };
        let pool = embedding.pool.or(of_output).unwrap_or(by_default);
        if matches!(pool, Pool::ClassTokenAndMean | Pool::ClassTokenAndRegisters | Pool::LearnedMean) {
            let problem = "expected class_token, mean, first or last".into();
            return Err(PredictError::Option { option: "pool", problem });
        }
        if pool == Pool::Attention && of_output != Some(pool) {
            let problem = "no output of the model embeds by attention; choose mean, first or last".into();
            return Err(PredictError::Option { option: "pool", problem });
        }
        if pool == Pool::ClassToken && class.is_none() {
            let problem = "the model has no class token; choose mean, first or last".into();
            return Err(PredictError::Option { option: "pool", problem });
        }
        let whole = class.is_some() && of_output != Some(Pool::Mean);
        Ok(Self { task, part, output, pool, class, whole, normalize: embedding.normalize })
    }

    /// The embeddings of values given as tokens: `[values, d_model]`.
    fn vectors(
        &self,
        model: &Model,
        number: usize,
        tokens: Vec<Tokens>,
    ) -> Result<Vec<Vec<f32>>, PredictError> {
        let sample = |(id, tokens)| {
            let sample = self.task.sample_of_tokens(self.part, tokens, id)?;
            Ok((number, Sample { outputs: vec![], ..sample }))
        };
        let samples = (0..).zip(tokens).map(sample).collect::<Result<Vec<_>, PredictError>>()?;
        let batch = collate(model.layouts(), &samples)?;
        let encodes = self.task.parts()[self.part].stream == Stream::Encoder;
        let states = match encodes {
            true => model.encoded(&batch)?,
            false => Some(without_gradients(|| model.forward(&batch, None))?.into_tensor()),
        };
        let Some(states) = states else { return Ok(vec![]) };
        let states = states.to_dtype(candle_core::DType::F32)?;
        let rows = samples.iter().zip(documents(&batch, encodes)).map(|((_, sample), document)| {
            self.orders(sample).into_iter().map(|order| document.start as u32 + order).collect()
        });
        let rows: Vec<Vec<u32>> = rows.collect();
        let vectors = match (self.pool, self.output) {
            (Pool::Attention, Some(output)) => represented(model.head(number, output), states, &rows, true)?,
            (_, Some(output)) => {
                let (means, d) = means(&states, &rows)?;
                let n = rows.len();
                let means = Tensor::from_vec(means.concat(), (n, d), model.device())?;
                let each: Vec<Vec<u32>> = (0..n as u32).map(|row| vec![row]).collect();
                represented(model.head(number, output), means, &each, false)?
            }
            (_, None) => means(&states, &rows)?.0,
        };
        Ok(if self.normalize { normalized(vectors) } else { vectors })
    }

    /// The `order` of each token of a sample that is pooled.
    fn orders(&self, sample: &Sample) -> Vec<u32> {
        let part = &self.task.parts()[self.part];
        let of_stream = sample.inputs.iter().filter(|(stream, _)| *stream == part.stream);
        let mut groups = of_stream.flat_map(|(_, tokens)| &tokens.groups);
        if let (Pool::ClassToken, Some(kind)) = (self.pool, self.class) {
            return groups.nth(kind).map_or(vec![], |group| group.order.clone());
        }
        if self.pool == Pool::Mean && self.whole {
            return groups.flat_map(|group| group.order.iter().copied()).collect();
        }
        let first = self.task.first_kind(part);
        let own = groups.skip(first).take(part.kinds.len());
        let orders = own.clone().flat_map(|group| group.order.iter().copied());
        match self.pool {
            Pool::Last => match self.output {
                Some(output) => self.task.outputs()[output].last(own).into_iter().collect(),
                None => orders.max().into_iter().collect(),
            },
            Pool::First => orders.min().into_iter().collect(),
            _ => orders.collect(),
        }
    }
}

/// The mean of the rows of each value, and their width.
fn means(states: &Tensor, rows: &[Vec<u32>]) -> Result<(Vec<Vec<f32>>, usize), PredictError> {
    let (_, d) = states.dims2()?;
    let states = states.flatten_all()?.to_vec1::<f32>()?;
    let mean = |rows: &Vec<u32>| {
        let mut vector = vec![0.0; d];
        for row in rows.iter().map(|&row| row as usize) {
            vector.iter_mut().zip(&states[row * d..(row + 1) * d]).for_each(|(sum, x)| *sum += x);
        }
        let share = 1.0 / rows.len().max(1) as f32;
        vector.iter_mut().for_each(|sum| *sum *= share);
        vector
    };
    Ok((rows.iter().map(mean).collect(), d))
}

/// The output of a `represent` head for each value: of its only row, or, if the head `pools`, of all its rows.
fn represented(
    head: &HeadLayer,
    states: Tensor,
    rows: &[Vec<u32>],
    pools: bool,
) -> Result<Vec<Vec<f32>>, PredictError> {
    let mut next = 0;
    let ranges = rows.iter().map(|rows| {
        next += rows.len();
        next - rows.len()..next
    });
    let ranges: Vec<Range<usize>> = ranges.collect();
    let documents: Vec<_> = (0..rows.len()).map(|row| row..row + 1).collect();
    let pools = pools.then_some(&ranges[..]);
    let states = ops::Value::constant(states);
    let output = without_gradients(|| head.forward(&states, &rows.concat(), pools, &documents))?;
    let predicted = head.head().predict(output.tensor(), &documents)?;
    Ok(predicted.into_iter().map(|of| of.value.into_numbers()).collect::<Result<_, _>>()?)
}

/// Divide each vector by its length.
fn normalized(mut vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    for vector in &mut vectors {
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vectors
}

/// The rows of each document, in the encoder's stream if it `encodes`.
fn documents(batch: &Batch, encodes: bool) -> Vec<Range<usize>> {
    let meta = match &batch.encoder {
        Some(encoder) if encodes => &encoder.meta,
        _ => &batch.main.meta,
    };
    meta.documents.clone()
}
