//! The texts that runs write, which a page shows.

use super::ReproduceError;
use super::lab::{Session, failed};
use super::measuring::OpenRun;
use super::store;
use crate::inference::{Generation, PredictError, Prompted, Sampling, Unmasking, UnmaskingOrder};
use crate::run::Weights;
use serde::{Deserialize, Serialize};
use serde_json::json;
use smalti_contract::Value;

/// A text of `[runs.NAME] texts = […]`: what the best weights of the run, of the first seed, write.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The text before it, or the text input.
    pub prompt: Option<String>,
    /// A text in which each `_` is a token to fill, for an output of masked tokens.
    pub infill: Option<String>,
    /// The order in which the gaps of `infill` are filled; random if left out.
    pub order: Option<UnmaskingOrder>,
    /// Maximum number of tokens after a prompt.
    #[serde(default = "many")]
    pub max_new_tokens: usize,
    /// Sampling temperature; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
}

/// The character that stands for a token to fill.
const GAP: char = '_';

fn many() -> usize {
    200
}

/// A text that a run wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenText {
    /// The run.
    pub run: String,
    /// The prompt, or the text with gaps.
    pub given: String,
    /// The text, with its prompt if it continues it.
    pub text: String,
}

impl TextSpec {
    /// The problem of a specification, if it has one.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.prompt.is_some() == self.infill.is_some() {
            return Err("expected either prompt or infill".into());
        }
        if self.prompt.is_some() && self.order.is_some() {
            return Err("order: expected infill".into());
        }
        let sampling = self.sampling().check();
        sampling.map_err(|error| format!("temperature: {}", error.problem))
    }

    fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, ..Sampling::default() }
    }

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
        let written = |spec: &TextSpec| {
            let key = store::key(&json!([trained.key, format!("{spec:?}")]));
            let text = self.kept("texts", &key, |session| session.text(spec, trained))?;
            Ok(WrittenText { run: trained.name.clone(), given: spec.given().into(), text })
        };
        specs.iter().map(written).collect()
    }

    fn text(&self, spec: &TextSpec, trained: &OpenRun) -> Result<String, ReproduceError> {
        let (model, tasks) =
            trained.run.load(Weights::Best, &self.lab.device).map_err(|e| failed(&trained.name, e))?;
        let tasks: Vec<_> = tasks.iter().map(|task| task.task.as_ref()).collect();
        let expects = |expected| ReproduceError::NoText { run: trained.name.clone(), expected };
        let sampling = spec.sampling();
        let completion = match (&spec.infill, spec.given()) {
            (Some(text), _) => {
                let prompted = Prompted::masked(&tasks).ok_or_else(|| expects(Prompted::MASKED))?;
                let unmasking =
                    Unmasking { order: spec.order.unwrap_or_default(), sampling, ..Unmasking::default() };
                prompted.infill(&model, text, GAP, &unmasking)?
            }
            (None, prompt) => {
                let prompted = Prompted::of(&tasks).ok_or_else(|| expects(Prompted::ANY))?;
                let generation = Generation { max_new_tokens: Some(spec.max_new_tokens), sampling };
                prompted.complete(&model, Value::Text(prompt.into()), &generation, || true)?
            }
        };
        let before = if completion.follows_prompt { spec.given() } else { "" };
        Ok(format!("{before}{}", completion.value.into_text().map_err(PredictError::from)?))
    }
}
