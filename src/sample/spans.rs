//! Span corruption: spans of an input are removed, a sentinel in the place of each, and an output generates them (T5; Raffel et
//! al. 2020).

use super::plan::Plan;
use super::settings::{OneOrMany, TaskSettings};
use super::{Composition, OpenError};
use crate::random::{self, mix};
use serde::{Deserialize, Serialize};

/// The most sentinels of a vocabulary.
const MOST_SENTINELS: usize = 1 << 12;
/// Mixed into a sample's seed for the lengths of removed spans and of what is between them.
const REMOVED: u64 = 1;
const KEPT: u64 = 2;

/// `outputs.NAME.spans`: the spans that are removed from an input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spans {
    /// Share of the tokens that are removed, above 0 and below 1.
    pub share: f64,
    /// Mean length of a span in tokens, 1 or more.
    pub mean_length: f64,
    /// Number of sentinels in the vocabulary, the most spans of a sample: a text that would have more has longer ones.
    pub sentinels: usize,
}

impl Default for Spans {
    fn default() -> Self {
        Self { share: 0.15, mean_length: 3.0, sentinels: 100 }
    }
}

impl Spans {
    /// Fails with the key of an invalid setting, and the expected and the actual value.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { share, mean_length, sentinels } = *self;
        if !(share > 0.0 && share < 1.0) {
            return Err(("share", format!("expected a share above 0 and below 1; found {share}")));
        }
        if !(mean_length >= 1.0 && mean_length.is_finite()) {
            return Err(("mean_length", format!("expected 1 token or more; found {mean_length}")));
        }
        match sentinels {
            1..=MOST_SENTINELS => Ok(()),
            _ => Err(("sentinels", format!("expected 1 to {MOST_SENTINELS}; found {sentinels}"))),
        }
    }
}

/// The name of a sentinel in vocabularies of texts.
pub(super) fn sentinel(number: usize) -> String {
    format!("<extra_id_{number}>")
}

/// The span corruption of an input, whose removed spans an output predicts.
pub struct SpanCorruption {
    /// The input's number among the parts.
    pub input: usize,
    /// Share and length of the spans.
    pub spans: Spans,
    /// The ids of the sentinels, in the order of the spans.
    pub sentinels: Vec<u32>,
    /// The ids that end the output; at the end of the input they are never removed.
    pub end: Vec<u32>,
}

impl SpanCorruption {
    /// The ids with a sentinel in place of each span, and the removed ids, each span after its sentinel.
    ///
    /// The number of removed ids and of spans follow from the number of ids, as in T5; their lengths, and those of what is
    /// between them, are random.
    pub(super) fn draw(&self, ids: &[u32], seed: u64) -> (Vec<u32>, Vec<u32>) {
        let n = ids.len();
        if n == 0 {
            return (vec![], vec![]);
        }
        let n_removed = ((n as f64 * self.spans.share).round() as usize).clamp(1, (n - 1).max(1));
        // Two spans have at least one id between them.
        let most = n_removed.min(n - n_removed + 1).min(self.sentinels.len());
        let n_spans = ((n_removed as f64 / self.spans.mean_length).round() as usize).clamp(1, most.max(1));
        let removed_lengths = composition(n_removed, n_spans, mix(seed, REMOVED));
        // The first and the last stretch may be empty: each is drawn with one id more than it has.
        let mut kept_lengths = composition(n - n_removed + 2, n_spans + 1, mix(seed, KEPT));
        kept_lengths[0] -= 1;
        kept_lengths[n_spans] -= 1;
        let (mut kept, mut removed, mut rest) = (vec![], vec![], ids);
        for ((before, length), &sentinel) in
            kept_lengths.into_iter().zip(removed_lengths).zip(&self.sentinels)
        {
            let (stretch, after) = rest.split_at(before);
            let (span, after) = after.split_at(length);
            kept.extend(stretch.iter().chain([&sentinel]));
            removed.extend([&sentinel].into_iter().chain(span));
            rest = after;
        }
        kept.extend(rest);
        (kept, removed)
    }
}

/// `total` as a sum of `n` numbers of 1 or more, in order; each such sum is equally probable.
fn composition(total: usize, n: usize, seed: u64) -> Vec<usize> {
    let mut ends: Vec<usize> =
        random::permutation(seed, total - 1).into_iter().map(|end| end as usize + 1).collect();
    ends.truncate(n - 1);
    ends.sort_unstable();
    ends.push(total);
    let mut start = 0;
    ends.into_iter().map(|end| end - std::mem::replace(&mut start, end)).collect()
}

impl TaskSettings {
    /// The settings in which each output of spans has the field and the vocabulary of the input that it reads.
    pub(super) fn with_spans(&self) -> Result<Self, OpenError> {
        let mut settings = self.clone();
        for (name, output) in settings.outputs.iter_mut().filter(|(_, output)| output.spans.is_some()) {
            let input = match &output.reads {
                Some(wanted) => self.inputs.get_key_value(wanted),
                None => self.inputs.first(),
            };
            let Some((input, of_input)) = input else {
                let inputs = self.inputs.keys().cloned().collect::<Vec<_>>().join(", ");
                let problem = format!(
                    "expected an input with a text in each row, the first or that of `reads`; the inputs are {}",
                    if inputs.is_empty() { "none: add a table [inputs.NAME]" } else { &inputs }
                );
                return Err(OpenError::Setting { setting: format!("outputs.{name}.spans"), problem });
            };
            if output.field.is_some() {
                let problem =
                    format!("an output of spans has the field of inputs.{input}; remove this setting");
                return Err(OpenError::Setting { setting: format!("outputs.{name}.field"), problem });
            }
            output.field = Some(of_input.field.clone().unwrap_or_else(|| OneOrMany::One(input.clone())));
            let owner = of_input.share.clone().unwrap_or_else(|| input.clone());
            output.share.get_or_insert(owner);
        }
        Ok(settings)
    }
}

impl Plan {
    /// Gives the vocabularies of outputs of spans their sentinels.
    pub(super) fn add_sentinels(&mut self, settings: &TaskSettings) -> Result<(), OpenError> {
        let mut corrupted = vec![];
        for (number, (name, output)) in settings.outputs.iter().enumerate() {
            let (Some(spans), Some(own)) = (output.spans, self.own(number)) else { continue };
            let refuse = |problem: String| {
                Err(OpenError::Setting { setting: format!("outputs.{name}.spans"), problem })
            };
            let input = self.outputs[number].input;
            let of_input = &self.parts[input];
            if of_input.series {
                let name = &of_input.name;
                return refuse(format!(
                    "expected a text in each row; the field of inputs.{name} is a series"
                ));
            }
            if corrupted.contains(&input) {
                return refuse(format!(
                    "another output has the spans of inputs.{}; remove one",
                    of_input.name
                ));
            }
            let other = |part: usize| self.parts[part].other_task_part.as_ref().map(|part| &part.name);
            if self.owner(own) != self.owner(input) && (other(own).is_none() || other(own) != other(input)) {
                return refuse(format!("expected share = {:?}, the input that it reads", of_input.name));
            }
            corrupted.push(input);
            let owner = self.owner(own);
            self.parts[owner].sentinels = self.parts[owner].sentinels.max(spans.sentinels);
        }
        Ok(())
    }
}

impl Composition {
    /// Sets the corruption of inputs whose spans an output predicts.
    pub(super) fn set_spans(&mut self, settings: &TaskSettings, plan: &Plan) -> Result<(), OpenError> {
        for (number, (name, output)) in settings.outputs.iter().enumerate() {
            let (Some(spans), Some(own)) = (output.spans, plan.own(number)) else { continue };
            let input = plan.outputs[number].input;
            let tokenizer = &self.parts[input].tokenizer;
            let mut sentinels = tokenizer.sentinels();
            sentinels.truncate(spans.sentinels);
            if sentinels.is_empty() {
                let (token, found) = (sentinel(0), tokenizer.name());
                let problem =
                    format!("expected a vocabulary of texts with {token}; found modality {found} without it");
                return Err(OpenError::Setting { setting: format!("outputs.{name}.spans"), problem });
            }
            let end = self.parts[own].special_ids.end.clone();
            self.outputs[number].spans = Some(SpanCorruption { input, spans, sentinels, end });
        }
        Ok(())
    }

    /// The output that predicts the removed spans of a part.
    pub(super) fn spans_of(&self, part: usize) -> Option<usize> {
        self.outputs.iter().position(|output| output.spans.as_ref().is_some_and(|spans| spans.input == part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corruption(share: f64, mean_length: f64, sentinels: u32) -> SpanCorruption {
        let spans = Spans { share, mean_length, sentinels: sentinels as usize };
        // Sentinels count down from the end of the vocabulary.
        let sentinels = (0..sentinels).map(|number| 999 - number).collect();
        SpanCorruption { input: 0, spans, sentinels, end: vec![] }
    }

    #[test]
    fn sentinels_stand_for_spans_and_both_give_the_text() {
        for (n, share, mean, sentinels) in [
            (1, 0.15, 3.0, 5),
            (2, 0.9, 1.0, 5),
            (7, 0.5, 1.0, 100),
            (40, 0.15, 3.0, 100),
            (300, 0.5, 2.0, 10),
        ] {
            for seed in 0..50 {
                let (ids, of) = ((0..n).collect::<Vec<u32>>(), corruption(share, mean, sentinels));
                let (kept, removed) = of.draw(&ids, seed);
                assert!(kept.len() <= ids.len(), "a sentinel is no longer than its span");
                let is_sentinel = |id: &&u32| **id > 900;
                let order = |ids: &[u32]| ids.iter().filter(is_sentinel).copied().collect::<Vec<_>>();
                assert_eq!(order(&kept), order(&removed));
                let span_of = |sentinel: u32| {
                    let start = removed.iter().position(|&id| id == sentinel).unwrap() + 1;
                    removed[start..].iter().take_while(|id| !is_sentinel(id)).copied().collect::<Vec<_>>()
                };
                let whole = kept.iter().flat_map(|&id| if id > 900 { span_of(id) } else { vec![id] });
                assert_eq!(whole.collect::<Vec<_>>(), ids);
            }
        }
        assert_eq!(corruption(0.15, 3.0, 5).draw(&[], 1), (vec![], vec![]));
    }

    #[test]
    fn the_share_and_the_mean_length_are_those_of_the_settings() {
        let ids: Vec<u32> = (0..200).collect();
        let of = corruption(0.15, 3.0, 100);
        let (kept, removed) = of.draw(&ids, 3);
        assert_eq!((kept.len(), removed.len()), (200 - 30 + 10, 30 + 10), "30 of 200 tokens in 10 spans");
        assert_eq!(of.draw(&ids, 3), (kept.clone(), removed));
        assert_ne!(of.draw(&ids, 4).0, kept, "another seed has other spans");
    }

    #[test]
    fn spans_begin_and_end_anywhere() {
        let draws: Vec<Vec<u32>> =
            (0..400).map(|seed| corruption(0.25, 2.0, 9).draw(&[0, 1, 2, 3, 4, 5, 6, 7], seed).0).collect();
        assert!(draws.iter().any(|kept| kept[0] == 999) && draws.iter().any(|kept| kept[0] != 999));
        assert!(draws.iter().any(|kept| kept.last() == Some(&999)));
        assert!(draws.iter().any(|kept| kept.last() != Some(&999)));
    }
}
