//! One part of a sample: the fields that it reads, and how their value becomes tokens.

use crate::data::Stream;
use crate::random;
use smalti_contract::{
    AnyTokenizer, Axis, Content, ContentSpec, Group, KindSpec, TokenizeError, Tokens, Value,
};
use std::sync::Arc;

/// A part that has tokens in a sample: an input, or an output that is generated, masked or a series.
#[derive(Clone)]
pub struct Part {
    /// The part's name, the prefix of its kinds of token.
    pub name: String,
    /// The fields of a row that it reads.
    pub fields: Vec<String>,
    /// What makes tokens of their value.
    pub tokenizer: Arc<dyn AnyTokenizer>,
    /// Its kinds of token, named `PART.KIND`.
    pub kinds: Vec<KindSpec>,
    /// Whether its value is a series: one value for each time step.
    pub series: bool,
    /// The stack that reads it.
    pub stream: Stream,
    /// What its tokens are to the other parts.
    pub role: Role,
    /// Share of training samples that it is left out of.
    pub drop: f64,
    /// Whether a row without it is a corrupt sample.
    pub required: bool,
    /// The ids before and after a generated value, or in place of a masked one.
    pub added: Added,
    /// How many ids are of the modality itself, if its tokens are ids.
    pub ordinary: usize,
    /// Whether the values of all rows are cut into windows.
    pub windows: bool,
}

/// What the tokens of a part are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They are read.
    Input,
    /// They are predicted one after another, each from those before it: output number `.0`.
    Generated(usize),
    /// Some of them are hidden and predicted from all others.
    Masked(usize),
    /// They are a series that is predicted, and an input of later steps.
    Series(usize),
}

/// Ids of a part that its tokenizer never gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// The ids before the first token of a generated value.
    pub begin: Vec<u32>,
    /// The id after its last token.
    pub end: Option<u32>,
    /// The id that hides a token.
    pub mask: Option<u32>,
}

impl Part {
    /// The kinds of a part of this name whose tokenizer has `kinds`, with room for ids of its own and, for a series,
    /// with the time of each step.
    ///
    /// # Errors
    /// A series of a modality that has a time of its own.
    pub(super) fn kinds_of(
        name: &str,
        kinds: &[KindSpec],
        added: usize,
        max_steps: Option<usize>,
    ) -> Result<Vec<KindSpec>, String> {
        let named = |kind: &KindSpec| {
            if let (Some(_), Some(_)) = (max_steps, kind.time_steps) {
                return Err(format!(
                    "tokens of kind {} have a time of their own; they cannot be a series",
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

    /// The number of ids of a part whose tokens are all ids of one vocabulary; `None` for any other.
    pub fn vocabulary(&self) -> Option<usize> {
        match &self.kinds[..] {
            [KindSpec { content: ContentSpec::Ids { vocabulary }, .. }] => Some(*vocabulary),
            _ => None,
        }
    }

    /// The tokens of a value; `None` if it is missing. With a seed, of a random variation.
    ///
    /// # Errors
    /// If the value cannot become tokens.
    pub(super) fn tokens(&self, value: Value, seed: Option<u64>) -> Result<Option<Tokens>, TokenizeError> {
        if value.is_missing() {
            return Ok(None);
        }
        self.tokenizer.encode_value(value, seed).map(Some)
    }

    /// The ids of a value of a part whose tokens are ids of one vocabulary, without any that were added.
    ///
    /// # Errors
    /// As of [`tokens`](Self::tokens).
    pub(crate) fn ids(&self, value: Value) -> Result<Option<Vec<u32>>, TokenizeError> {
        if value.is_missing() { Ok(None) } else { ids(self.tokenizer.as_ref(), value).map(Some) }
    }

    /// The tokens of a sequence of ids, which may be of those that were added. On a single axis the positions count
    /// from 0; on several, an added id stands at the first place.
    ///
    /// # Errors
    /// More ids than the axis has positions.
    pub fn sequence(&self, ids: Vec<u32>) -> Result<Tokens, TokenizeError> {
        Ok(Tokens::new(vec![self.sequence_from(ids, 0)?]))
    }

    /// The tokens of ids at the places from `first` on of a sequence, alone.
    ///
    /// # Errors
    /// More places than the axis has positions.
    pub(crate) fn sequence_from(&self, ids: Vec<u32>, first: usize) -> Result<Group, TokenizeError> {
        let kind = &self.kinds[0];
        let places = first..first + ids.len();
        let order: Vec<u32> = places.clone().map(|place| place as u32).collect();
        let positions = match &kind.axes[..] {
            [] => vec![],
            [_] => order.clone(),
            axes => {
                let added = self.added.begin.len();
                places.flat_map(|place| unravel(place.saturating_sub(added), axes)).collect()
            }
        };
        let group = Group { content: Content::Ids(ids), positions, time: order.clone(), order };
        kind.check(&group)?;
        Ok(group)
    }

    /// The most ids of a sequence, without one that begins it; `None` if the kind has no positions.
    pub fn capacity(&self) -> Option<usize> {
        let places =
            |axes: &[Axis]| axes.iter().filter(|axis| axis.name != SEGMENT).map(|axis| axis.size).product();
        match &self.kinds[0].axes[..] {
            [] => None,
            // The ids that begin a sequence have positions too.
            [axis] => Some(axis.size.saturating_sub(self.added.begin.len()).max(1)),
            axes => Some(places(axes)),
        }
    }

    /// Ids of which a share `rate` is hidden, and for each its weight: 1 where it is to be predicted. At least one is.
    pub(super) fn hide(&self, ids: &[u32], rate: f64, seed: u64) -> (Vec<u32>, Vec<f32>) {
        let generator = &mut random::generator(seed);
        let ordinary = self.ordinary.max(1);
        let (mut hidden, mut weights) = (ids.to_vec(), vec![0.0; ids.len()]);
        for (place, id) in hidden.iter_mut().enumerate() {
            if random::uniform(generator) >= rate {
                continue;
            }
            weights[place] = 1.0;
            match random::uniform(generator) {
                u if u < 0.8 => *id = self.added.mask.unwrap_or(*id),
                u if u < 0.9 => *id = random::below(generator, ordinary) as u32,
                _ => {}
            }
        }
        if !ids.is_empty() && weights.iter().all(|&weight| weight == 0.0) {
            let place = random::below(generator, ids.len());
            (hidden[place], weights[place]) = (self.added.mask.unwrap_or(ids[place]), 1.0);
        }
        (hidden, weights)
    }

    /// The value of its fields in a row, or in one step of it.
    ///
    /// # Errors
    /// If `get` fails, or the values of several fields are no numbers.
    pub(crate) fn value<E: From<TokenizeError>>(
        fields: &[String],
        get: &dyn Fn(&str) -> Result<Value, E>,
    ) -> Result<Value, E> {
        match fields {
            [one] => get(one),
            several => {
                let values = several.iter().map(|field| get(field)).collect::<Result<Vec<_>, E>>()?;
                Ok(joined(values)?)
            }
        }
    }
}

/// The ids of a value that is not missing, under a tokenizer whose tokens are ids of one vocabulary.
pub(super) fn ids(tokenizer: &dyn AnyTokenizer, value: Value) -> Result<Vec<u32>, TokenizeError> {
    let group = tokenizer.encode_value(value, None)?.groups.into_iter().next();
    match group.map(|group| group.content) {
        Some(Content::Ids(ids)) => Ok(ids),
        Some(Content::Features { .. }) => Err(TokenizeError::Input("expected ids; found features".into())),
        None => Ok(vec![]),
    }
}

/// The numbers of several fields one after another; a missing one among them is not a number (NaN). Of series, in each step.
pub(super) fn joined(values: Vec<Value>) -> Result<Value, TokenizeError> {
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
        joined(values.iter().map(at).collect())
    };
    (0..steps).map(step).collect::<Result<Vec<_>, _>>().map(Value::Series)
}

/// The positions of place number `place` in a sequence that runs along these axes, the last fastest. A sequence is one
/// segment.
pub(super) fn unravel(place: usize, axes: &[Axis]) -> Vec<u32> {
    let mut left = place;
    let mut positions = vec![0; axes.len()];
    for (axis, position) in axes.iter().zip(&mut positions).rev().filter(|(axis, _)| axis.name != SEGMENT) {
        *position = (left % axis.size.max(1)) as u32;
        left /= axis.size.max(1);
    }
    if let Some(first) = positions.first_mut() {
        *first += (left * axes[0].size) as u32; // beyond the axis: the check of the kind names it
    }
    positions
}

/// The axis of a text's segments.
const SEGMENT: &str = "segment";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_several_fields_are_one_vector() {
        let number = Value::Number;
        assert_eq!(
            joined(vec![number(1.0), Value::vector([2.0, 3.0])]).unwrap(),
            Value::vector([1.0, 2.0, 3.0])
        );
        assert_eq!(joined(vec![Value::Missing, Value::Missing]).unwrap(), Value::Missing);
        let Value::Array(array) = joined(vec![Value::Missing, number(2.0)]).unwrap() else {
            panic!("a vector")
        };
        assert!(array.to_f32()[0].is_nan());
        let series = |numbers: &[f64]| Value::Series(numbers.iter().map(|&x| number(x)).collect());
        assert_eq!(
            joined(vec![series(&[1.0, 2.0]), number(5.0)]).unwrap(),
            Value::Series(vec![Value::vector([1.0, 5.0]), Value::vector([2.0, 5.0])])
        );
        assert!(joined(vec![Value::Text("a".into()), number(1.0)]).is_err());
    }
}
