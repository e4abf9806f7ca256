//! The texts that runs write, which a page shows.

use super::ReproduceError;
use super::lab::{Session, failed};
use super::measuring::OpenRun;
use super::store;
use crate::inference::{Generation, PredictError, Prompted, Sampling, Unmasking, UnmaskingOrder};
use crate::model::Model;
use crate::run::Weights;
use crate::sample::Composition;
use serde::{Deserialize, Serialize};
use serde_json::json;
use smalti_contract::Value;

/// A text that a run writes, with the best weights of the first seed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The prompt: a text to continue, or the value of the run's text input.
    pub prompt: Option<String>,
    /// A text in which each `_` is a token to fill, for an output of masked tokens.
    pub infill: Option<String>,
    /// The order in which the gaps of `infill` are filled; random if left out.
    pub order: Option<UnmaskingOrder>,
    /// Maximum number of tokens after a prompt; 200 if left out.
    pub max_new_tokens: Option<usize>,
    /// Sampling temperature; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
}

/// The character that stands for a token to fill.
const GAP: char = '_';
const DEFAULT_MAX_NEW_TOKENS: usize = 200;

/// A text that a run wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenText {
    /// The run.
    pub run: String,
    /// The prompt, or the text with gaps.
    pub given: String,
    /// The generated text, after its prompt if it continues one.
    pub text: String,
}

impl TextSpec {
    /// The problem of a specification, if it has one.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.prompt, &self.infill) {
            (Some(_), None) if self.order.is_some() => return Err("order: expected infill".into()),
            (None, Some(_)) if self.max_new_tokens.is_some() => {
                return Err("max_new_tokens: expected prompt".into());
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err("expected either prompt or infill".into()),
        }
        self.sampling().check().map_err(|error| format!("temperature: {}", error.problem))
    }

    /// At most `most` tokens after a prompt.
    pub(super) fn shorten(&mut self, most: usize) {
        if self.prompt.is_some() {
            self.max_new_tokens = Some(self.max_new_tokens().min(most));
        }
    }

    fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.unwrap_or(DEFAULT_MAX_NEW_TOKENS)
    }

    fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, ..Sampling::default() }
    }

    /// The prompt, or the text with gaps.
    fn given(&self) -> &str {
        self.prompt.as_ref().or(self.infill.as_ref()).map_or("", String::as_str)
    }
}

impl Session<'_, '_> {
    /// The texts of a trained run.
    pub(super) fn texts(
        &self,
        specs: &[TextSpec],
        trained: &OpenRun,
    ) -> Result<Vec<WrittenText>, ReproduceError> {
        if specs.is_empty() {
            return Ok(vec![]);
        }
        let key = store::key(&json!([trained.key, format!("{specs:?}")]));
        let texts: Vec<String> = self.kept("texts", &key, |session| session.write_texts(specs, trained))?;
        let written = |(spec, text): (&TextSpec, String)| WrittenText {
            run: trained.name.clone(),
            given: spec.given().into(),
            text,
        };
        Ok(specs.iter().zip(texts).map(written).collect())
    }

    fn write_texts(&self, specs: &[TextSpec], trained: &OpenRun) -> Result<Vec<String>, ReproduceError> {
        let loaded = trained.run.load(Weights::Best, &self.lab.device);
        let (model, tasks) = loaded.map_err(|problem| failed(&trained.name, problem))?;
        let tasks: Vec<_> = tasks.iter().map(|task| task.task.as_ref()).collect();
        specs.iter().map(|spec| write_text(spec, &model, &tasks, &trained.name)).collect()
    }
}

fn write_text(
    spec: &TextSpec,
    model: &Model,
    tasks: &[&Composition],
    run: &str,
) -> Result<String, ReproduceError> {
    let expects = |expected| ReproduceError::NoText { run: run.into(), expected };
    let (given, sampling) = (spec.given(), spec.sampling());
    let completion = match spec.infill {
        Some(_) => {
            let prompted = Prompted::masked(tasks).ok_or_else(|| expects(Prompted::EXPECTED_MASKED))?;
            let unmasking =
                Unmasking { order: spec.order.unwrap_or_default(), sampling, ..Unmasking::default() };
            prompted.infill(model, given, GAP, &unmasking)?
        }
        None => {
            let prompted = Prompted::of(tasks).ok_or_else(|| expects(Prompted::EXPECTED))?;
            let generation = Generation { max_new_tokens: Some(spec.max_new_tokens()), sampling };
            prompted.complete(model, Value::Text(given.into()), &generation, || true)?
        }
    };
    let before = if completion.follows_prompt { given } else { "" };
    Ok(format!("{before}{}", completion.value.into_text().map_err(PredictError::from)?))
}
