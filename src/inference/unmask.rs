//! Filling masked tokens in any order: texts of masked diffusion, and gaps anywhere in a text.

use super::PredictError;
use super::continuation::prompt_ids;
use super::sampling::{Sampling, draw};
use crate::data::collate;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, GetField, Part, Role, of_output};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;
use smalti_contract::Value;

/// The settings of filling masked tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unmasking {
    /// Number of passes of the model, each of which fills an equal number of tokens; 0 for one pass a token.
    pub steps: usize,
    /// The tokens that a pass fills.
    pub order: UnmaskingOrder,
    /// The sampling of each token.
    pub sampling: Sampling,
}

/// The order in which masked tokens are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnmaskingOrder {
    /// Random, as in training (Sahoo et al. 2024).
    #[default]
    Random,
    /// The tokens whose draws are the most probable first (Chang et al. 2022: MaskGIT).
    Confidence,
}

impl std::str::FromStr for UnmaskingOrder {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "random" => Ok(Self::Random),
            "confidence" => Ok(Self::Confidence),
            _ => Err(format!("expected random or confidence; found {name:?}")),
        }
    }
}

/// Fills the masked tokens of a masked output of one task.
#[derive(Clone, Copy)]
pub struct Unmask<'a> {
    model: &'a Model,
    /// The task's number among the model's.
    number: usize,
    task: &'a Composition,
    part: &'a Part,
    output: usize,
    mask: u32,
}

impl<'a> Unmask<'a> {
    /// Output number `output` of task number `number` of the model.
    ///
    /// # Errors
    /// If the output is not masked.
    pub fn new(
        model: &'a Model,
        number: usize,
        task: &'a Composition,
        output: usize,
    ) -> Result<Self, PredictError> {
        let part = task.parts().iter().find(|part| part.role == Role::Masked(output));
        match part.and_then(|part| Some((part, part.special_ids.mask?))) {
            Some((part, mask)) => Ok(Self { model, number, task, part, output, mask }),
            None => Err(PredictError::Masked { output: task.outputs()[output].name.clone() }),
        }
    }

    /// The ids of a text, and after them `n` masked tokens, or as many as the model has positions for.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or leaves no position.
    pub fn continued(&self, prompt: &str, n: usize) -> Result<Vec<Option<u32>>, PredictError> {
        let [mut ids, end] = self.around("prompt", prompt)?;
        ids.extend(self.ids("prompt", prompt)?);
        let most = self.part.capacity().unwrap_or(usize::MAX).saturating_sub(end.len());
        if ids.len() >= most {
            return Err(too_long("prompt", &format!("fewer than {most} tokens"), ids.len()));
        }
        ids.resize(ids.len().saturating_add(n).min(most), None);
        ids.extend(end);
        Ok(ids)
    }

    /// The ids of a text, in which each `gap` is a masked token.
    ///
    /// # Errors
    /// If the text has no gap, cannot be tokenized, or has more tokens than the model has positions for.
    pub fn with_gaps(&self, text: &str, gap: char) -> Result<Vec<Option<u32>>, PredictError> {
        let [mut ids, end] = self.around("infill", &text.replace(gap, ""))?;
        for (number, piece) in text.split(gap).enumerate() {
            if number > 0 {
                ids.push(None);
            }
            ids.extend(self.ids("infill", piece)?);
        }
        ids.extend(end);
        if ids.iter().all(Option::is_some) {
            let problem = format!("expected {gap} in the text for each token to fill; found {text:?}");
            return Err(PredictError::Option { option: "infill", problem });
        }
        match self.part.capacity() {
            Some(most) if ids.len() > most => {
                Err(too_long("infill", &format!("at most {most} tokens"), ids.len()))
            }
            _ => Ok(ids),
        }
    }

    /// The ids that the tokenizer puts before and after a text that is a sample of its own, such as BERT's `[CLS]` and `[SEP]`.
    fn around(&self, option: &'static str, text: &str) -> Result<[Vec<Option<u32>>; 2], PredictError> {
        if self.part.windows || text.is_empty() {
            return Ok([vec![], vec![]]);
        }
        let alone = self.ids(option, text)?;
        // The caller reports a text that is too long.
        let whole = self.part.ids(Value::Text(text.into())).ok().flatten().unwrap_or_default();
        let whole: Vec<Option<u32>> = whole.into_iter().map(Some).collect();
        let n = alone.len();
        let start = (0..=whole.len().saturating_sub(n)).find(|&start| whole[start..].starts_with(&alone));
        Ok(start
            .map_or_else(|| [vec![], vec![]], |start| [whole[..start].to_vec(), whole[start + n..].to_vec()]))
    }

    fn ids(&self, option: &'static str, text: &str) -> Result<Vec<Option<u32>>, PredictError> {
        let ids = prompt_ids(self.part, Value::Text(text.into()))
            .map_err(|e| PredictError::Option { option, problem: of_output(self.part, &e) })?;
        Ok(ids.into_iter().map(Some).collect())
    }

    /// Fill each `None` with an id. `get` has the fields of the inputs of a task that has some.
    ///
    /// # Errors
    /// If a sampling setting is out of range, an input cannot be read, there are more ids than positions, or an operation fails.
    pub fn fill(
        &self,
        get: GetField,
        ids: &[Option<u32>],
        unmasking: &Unmasking,
    ) -> Result<Vec<u32>, PredictError> {
        unmasking.sampling.check()?;
        let random = &mut random::generator(unmasking.sampling.seed);
        let mut filled: Vec<u32> = ids.iter().map(|id| id.unwrap_or(self.mask)).collect();
        let mut gaps: Vec<usize> = (0..ids.len()).filter(|&place| ids[place].is_none()).collect();
        shuffle(&mut gaps, random);
        let n_gaps = gaps.len();
        let steps = if unmasking.steps == 0 { n_gaps } else { unmasking.steps.min(n_gaps) };
        for step in 1..=steps {
            let left = (n_gaps as u128 * (steps - step) as u128 / steps as u128) as usize;
            let logits = self.logits(get, &filled)?;
            let mut drawn = match unmasking.order {
                UnmaskingOrder::Random => gaps.split_off(left),
                UnmaskingOrder::Confidence => std::mem::take(&mut gaps),
            };
            let mut draws: Vec<(f64, usize, u32)> = Vec::with_capacity(drawn.len());
            for place in drawn.drain(..) {
                let id = draw(&logits[place], &unmasking.sampling, random);
                draws.push((probability(&logits[place], id), place, id));
            }
            if unmasking.order == UnmaskingOrder::Confidence {
                draws.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
                gaps.extend(draws.drain(..left).map(|(_, place, _)| place));
            }
            draws.into_iter().for_each(|(_, place, id)| filled[place] = id);
        }
        Ok(filled)
    }

    /// The logits of each token, without those of ids that no text has.
    fn logits(&self, get: GetField, ids: &[u32]) -> Result<Vec<Vec<f32>>, PredictError> {
        let sample = self.task.sample_of_ids(get, self.output, ids.to_vec())?;
        let batch = collate(self.model.layouts(), &[(self.number, sample)])?;
        let mut logits = self.model.outputs(&batch)?.remove(0).to_vec2::<f32>()?;
        for row in &mut logits {
            let first_added = self.part.base_vocabulary.min(row.len());
            row[first_added..].fill(f32::NEG_INFINITY);
            if let Some(mask) = row.get_mut(self.mask as usize) {
                *mask = f32::NEG_INFINITY;
            }
        }
        Ok(logits)
    }

    /// The text of filled ids.
    ///
    /// # Errors
    /// If the ids are not text.
    pub fn text(&self, ids: &[u32]) -> Result<String, PredictError> {
        Ok(self.task.decode(self.output, ids)?.into_text()?)
    }
}

fn too_long(option: &'static str, expected: &str, found: usize) -> PredictError {
    PredictError::Option { option, problem: format!("expected {expected}; found {found}") }
}

/// The probability of an id.
fn probability(logits: &[f32], id: u32) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - highest).exp();
    weight(logits[id as usize]) / logits.iter().map(|&logit| weight(logit)).sum::<f64>()
}

fn shuffle(places: &mut [usize], random: &mut Pcg64Mcg) {
    for last in (1..places.len()).rev() {
        places.swap(last, random::below(random, last + 1));
    }
}
