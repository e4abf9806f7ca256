//! A part of a sample: fields of a row that become tokens.

use crate::data::Stream;
use crate::notice::{Notice, notify};
use crate::random;
use smalti_contract::{
    AnyTokenizer, Axis, Content, ContentSpec, Group, KindSpec, TokenizeError, Tokens, Value,
};
use std::sync::{Arc, Once};

/// A part with tokens in a sample: an input, or an output that is generated, masked or a series.
#[derive(Clone)]
pub struct Part {
    /// The part's name, the prefix of its kinds of token.
    pub name: String,
    /// The fields of a row.
    pub fields: Vec<String>,
    /// The tokenizer of their value.
    pub tokenizer: Arc<dyn AnyTokenizer>,
    /// The kinds of token, named `PART.KIND`.
    pub kinds: Vec<KindSpec>,
    /// Whether the value is a series: one value for each time step.
    pub series: bool,
    /// The stream of its tokens: main transformer or encoder.
    pub stream: Stream,
    /// The use of its tokens.
    pub role: Role,
    /// Probability that a training sample lacks the part (modality dropout).
    pub drop: f64,
    /// Whether its tokens have position embeddings.
    pub positions: bool,
    /// Whether a row without the value is a corrupt sample.
    pub required: bool,
    /// The ids before and after a generated value, and the id of masked tokens.
    pub special_ids: SpecialIds,
    /// Vocabulary size of the modality, without added special ids; 0 if the tokens are not ids.
    pub base_vocabulary: usize,
    /// Whether the values of all rows are cut into windows.
    pub windows: bool,
    /// Whether windows have the end id after each row.
    pub append_eos: bool,
}

/// The use of a part's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An input.
    Input,
    /// Output number `.0`, generated token by token.
    Generated(usize),
    /// Output number `.0`, whose masked tokens are predicted from all others.
    Masked(usize),
    /// Output number `.0`, a predicted series, whose tokens are an input of later steps.
    Series(usize),
}

/// Special ids of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// The ids before a generated value, or before a prompt that is continued.
    pub begin: Vec<u32>,
    /// The ids that end a generated value; the first is after it in training.
    pub end: Vec<u32>,
    /// The id of a masked token.
    pub mask: Option<u32>,
}

impl Part {
    /// The kinds of a part whose tokenizer has `kinds`, with `added` special ids and, for a series, with time steps.
    ///
    /// # Errors
    /// If the part is a series, and its modality has time steps already.
    pub(super) fn kinds_of(
        name: &str,
        kinds: &[KindSpec],
        added: usize,
        max_steps: Option<usize>,
    ) -> Result<Vec<KindSpec>, String> {
        let named = |kind: &KindSpec| {
            if let (Some(_), Some(_)) = (max_steps, kind.time_steps) {
                return Err(format!(
                    "expected a modality without time steps for a series; tokens of kind {} have them",
                    kind.name
                ));
            }
            let content = match kind.content {
                ContentSpec::Ids { vocabulary } => ContentSpec::Ids { vocabulary: vocabulary + added },
                features @ ContentSpec::Features { .. } => features,
            };
            let time_steps = max_steps.or(kind.time_steps);
            Ok(KindSpec { name: format!("{name}.{}", kind.name), content, time_steps, ..kind.clone() })
        };
        kinds.iter().map(named).collect()
    }

    /// The vocabulary size, special ids included, of a part whose tokens are ids of one kind; `None` for any other part.
    pub fn vocabulary(&self) -> Option<usize> {
        match &self.kinds[..] {
            [KindSpec { content: ContentSpec::Ids { vocabulary }, .. }] => Some(*vocabulary),
            _ => None,
        }
    }

    /// The tokens of a value, augmented if there is a seed; `None` if the value is missing.
    ///
    /// # Errors
    /// If the value cannot be tokenized.
    pub(super) fn tokens(&self, value: Value, seed: Option<u64>) -> Result<Option<Tokens>, TokenizeError> {
        if value.is_missing() {
            return Ok(None);
        }
        self.tokenizer.encode_value(value, seed).map(Some)
    }

    /// The tokens of a value for a prediction: of a longer text than the model reads its beginning, with a note, which each
    /// process has once; `None` if the value is missing.
    ///
    /// # Errors
    /// If the value cannot be tokenized.
    pub(super) fn beginning(&self, value: Value) -> Result<Option<Tokens>, TokenizeError> {
        static NOTED: Once = Once::new();
        if value.is_missing() {
            return Ok(None);
        }
        let (tokens, is_truncated) = self.tokenizer.encode_value_truncated(value, usize::MAX)?;
        if is_truncated {
            let name = &self.name;
            let note =
                format!("inputs.{name}: longer texts were truncated to the length that the model reads");
            NOTED.call_once(|| notify(Notice::Note(&note)));
        }
        Ok(Some(tokens))
    }

    /// The ids of a value, without special ids; `None` if the value is missing.
    ///
    /// # Errors
    /// If the value cannot be tokenized, or its tokens are not ids.
    pub(crate) fn ids(&self, value: Value) -> Result<Option<Vec<u32>>, TokenizeError> {
        if value.is_missing() { Ok(None) } else { ids(self.tokenizer.as_ref(), value).map(Some) }
    }

    /// The tokens of a sequence of ids, which may include special ids. On a single axis positions are counted from 0; on
    /// several, begin ids have the first position.
    ///
    /// # Errors
    /// If there are more ids than positions.
    pub fn sequence(&self, ids: Vec<u32>) -> Result<Tokens, TokenizeError> {
        Ok(Tokens::new(vec![self.sequence_from(ids, 0)?]))
    }

    /// The tokens of ids at the places from `first` on in a sequence.
    ///
    /// # Errors
    /// If a place is beyond the last position.
    pub(crate) fn sequence_from(&self, ids: Vec<u32>, first: usize) -> Result<Group, TokenizeError> {
        let kind = &self.kinds[0];
        let places = first..first + ids.len();
        let order: Vec<u32> = places.clone().map(|place| place as u32).collect();
        let positions = match &kind.axes[..] {
            [] => vec![],
            [_] => order.clone(),
            axes => {
                let n_begin = self.n_begin();
                places.flat_map(|place| unravel(place.saturating_sub(n_begin), axes)).collect()
            }
        };
        let group = Group { content: Content::Ids(ids), positions, time: order.clone(), order };
        kind.check(&group)?;
        Ok(group)
    }

    /// Maximum number of ids in a sequence, without begin ids; `None` for a part without tokens, or whose kind has no positions.
    pub fn capacity(&self) -> Option<usize> {
        let places =
            |axes: &[Axis]| axes.iter().filter(|axis| axis.name != SEGMENT).map(|axis| axis.size).product();
        match &self.kinds.first()?.axes[..] {
            [] => None,
            // Begin ids have positions, too.
            [axis] => Some(axis.size.saturating_sub(self.n_begin()).max(1)),
            axes => Some(places(axes)),
        }
    }

    /// The number of ids before each value; a window of a longer value has none.
    fn n_begin(&self) -> usize {
        if self.windows { 0 } else { self.special_ids.begin.len() }
    }

    /// Masks each id with probability `rate`, at least one: replaces 80% by the mask id and 10% by a random id (BERT; Devlin
    /// et al. 2019). Returns all ids, and weights that are 1 for masked ids and 0 for all others.
    pub(super) fn mask(&self, ids: &[u32], rate: f64, seed: u64) -> (Vec<u32>, Vec<f32>) {
        let generator = &mut random::generator(seed);
        let vocabulary = self.base_vocabulary.max(1);
        let (mut masked, mut weights) = (ids.to_vec(), vec![0.0; ids.len()]);
        for (place, id) in masked.iter_mut().enumerate() {
            if random::uniform(generator) >= rate {
                continue;
            }
            weights[place] = 1.0;
            match random::uniform(generator) {
                u if u < 0.8 => *id = self.special_ids.mask.unwrap_or(*id),
                u if u < 0.9 => *id = random::below(generator, vocabulary) as u32,
                _ => {}
            }
        }
        if !ids.is_empty() && weights.iter().all(|&weight| weight == 0.0) {
            let place = random::below(generator, ids.len());
            (masked[place], weights[place]) = (self.special_ids.mask.unwrap_or(ids[place]), 1.0);
        }
        (masked, weights)
    }

    /// Masks `k` of `n` ids, where `rate` in `0..1` chooses `k` in `1..=n`: replaces them by the mask id. Returns all ids, and
    /// weights that are `n / k` for masked ids and 0 for all others, so that they sum to `n`
    /// ([`Masking::Diffusion`](crate::head::Masking::Diffusion)).
    pub(super) fn mask_any(&self, ids: &[u32], rate: f64, seed: u64) -> (Vec<u32>, Vec<f32>) {
        let n = ids.len();
        let k = ((rate * n as f64) as usize + 1).min(n);
        let (mut masked, mut weights) = (ids.to_vec(), vec![0.0; n]);
        for place in random::permutation(seed, n).into_iter().take(k).map(|place| place as usize) {
            masked[place] = self.special_ids.mask.unwrap_or(ids[place]);
            weights[place] = n as f32 / k as f32;
        }
        (masked, weights)
    }

    /// The value of the fields of a row or of a time step; numbers of several fields are concatenated.
    ///
    /// # Errors
    /// If `get` fails, or the values of several fields are not numbers.
    pub(crate) fn value<E: From<TokenizeError>>(
        fields: &[String],
        get: &dyn Fn(&str) -> Result<Value, E>,
    ) -> Result<Value, E> {
        match fields {
            [one] => get(one),
            several => {
                let values = several.iter().map(|field| get(field)).collect::<Result<Vec<_>, E>>()?;
                Ok(concatenated(values)?)
            }
        }
    }
}

/// The ids of a value that is not missing.
///
/// # Errors
/// If the value cannot be tokenized, or its tokens are not ids.
pub(super) fn ids(tokenizer: &dyn AnyTokenizer, value: Value) -> Result<Vec<u32>, TokenizeError> {
    let group = tokenizer.encode_value(value, None)?.groups.into_iter().next();
    match group.map(|group| group.content) {
        Some(Content::Ids(ids)) => Ok(ids),
        Some(Content::Features { .. }) => Err(TokenizeError::Input("expected ids; found features".into())),
        None => Ok(vec![]),
    }
}

/// Concatenates the numbers of several fields, of series in each step; a missing number among others is NaN.
pub(super) fn concatenated(values: Vec<Value>) -> Result<Value, TokenizeError> {
    let Some(steps) = values.iter().filter_map(Value::steps).max() else {
        if values.iter().all(Value::is_missing) {
            return Ok(Value::Missing);
        }
        let numbers = values.into_iter().map(|value| match value {
            Value::Missing => Ok(vec![f32::NAN]),
            present => present.into_numbers(),
        });
        return Ok(Value::vector(numbers.collect::<Result<Vec<_>, _>>()?.concat()));
    };
    let step = |t: usize| {
        let at = |value: &Value| match value {
            Value::Series(values) => values.get(t).cloned().unwrap_or_default(),
            constant => constant.clone(),
        };
        concatenated(values.iter().map(at).collect())
    };
    (0..steps).map(step).collect::<Result<Vec<_>, _>>().map(Value::Series)
}

/// The positions on each axis of a place in a sequence, in row-major order; the position on a segment axis is 0.
pub(super) fn unravel(place: usize, axes: &[Axis]) -> Vec<u32> {
    let mut left = place;
    let mut positions = vec![0; axes.len()];
    for (axis, position) in axes.iter().zip(&mut positions).rev().filter(|(axis, _)| axis.name != SEGMENT) {
        *position = (left % axis.size.max(1)) as u32;
        left /= axis.size.max(1);
    }
    if let Some(first) = positions.first_mut() {
        *first += (left * axes[0].size) as u32; // a position beyond the axis, which the kind's check reports
    }
    positions
}

/// The axis of a text's segments.
const SEGMENT: &str = "segment";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_several_fields_are_concatenated() {
        let number = Value::Number;
        assert_eq!(
            concatenated(vec![number(1.0), Value::vector([2.0, 3.0])]).unwrap(),
            Value::vector([1.0, 2.0, 3.0])
        );
        assert_eq!(concatenated(vec![Value::Missing, Value::Missing]).unwrap(), Value::Missing);
        let Value::Array(array) = concatenated(vec![Value::Missing, number(2.0)]).unwrap() else {
            panic!("a vector")
        };
        assert!(array.to_f32()[0].is_nan());
        let series = |numbers: &[f64]| Value::Series(numbers.iter().map(|&x| number(x)).collect());
        assert_eq!(
            concatenated(vec![series(&[1.0, 2.0]), number(5.0)]).unwrap(),
            Value::Series(vec![Value::vector([1.0, 5.0]), Value::vector([2.0, 5.0])])
        );
        assert!(concatenated(vec![Value::Text("a".into()), number(1.0)]).is_err());
    }
}
