//! A prompt for a run, and the output that completes it.

use super::{Continuation, Generation, PredictError, Unmask, Unmasking, generate};
use crate::model::Model;
use crate::notice::{Notice, notify};
use crate::sample::{Composition, Part, Purpose, Role};
use smalti_contract::Value;

/// The output of a run that a prompt is for.
#[derive(Clone, Copy)]
pub struct Prompted<'a> {
    /// The task's number among the model's.
    number: usize,
    task: &'a Composition,
    output: usize,
    method: Method<'a>,
}

/// How a prompt is completed.
#[derive(Clone, Copy)]
enum Method<'a> {
    /// An output trained on windows continues it.
    Continue,
    /// It is the value of this part, from which the output is generated.
    Answer(&'a Part),
    /// Masked tokens after it are filled.
    Fill,
}

/// A value generated for a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The value, without the prompt if it follows it.
    pub value: Value,
    /// Number of generated tokens.
    pub n_tokens: usize,
    /// Whether the value follows the prompt.
    pub follows_prompt: bool,
}

impl<'a> Prompted<'a> {
    /// The output that [`of`](Self::of) finds, as a phrase of an error.
    pub const EXPECTED: &'static str = "an output that continues texts (windows = true), is generated from a single text input, or \
                                   has masked tokens (head = \"masked\")";
    /// The output that [`masked`](Self::masked) finds, as a phrase of an error.
    pub const EXPECTED_MASKED: &'static str = "an output of masked tokens (head = \"masked\")";

    /// The first task with an output that continues texts, or else with one that is generated from a single text input, or
    /// else with one of masked tokens.
    pub fn of(tasks: &[&'a Composition]) -> Option<Self> {
        let answers =
            |task: &'a Composition| Some((generated(task, false)?, Method::Answer(text_input(task)?)));
        Self::first(tasks, |task| Some((generated(task, true)?, Method::Continue)))
            .or_else(|| Self::first(tasks, answers))
            .or_else(|| Self::masked(tasks))
    }

    /// The first task with an output of masked tokens.
    pub fn masked(tasks: &[&'a Composition]) -> Option<Self> {
        let masked = |part: &Part| if let Role::Masked(output) = part.role { Some(output) } else { None };
        Self::first(tasks, |task| Some((task.parts().iter().find_map(masked)?, Method::Fill)))
    }

    fn first(
        tasks: &[&'a Composition],
        find: impl Fn(&'a Composition) -> Option<(usize, Method<'a>)>,
    ) -> Option<Self> {
        let of = |(number, task): (usize, &&'a Composition)| {
            find(task).map(|(output, method)| Self { number, task, output, method })
        };
        tasks.iter().enumerate().find_map(of)
    }

    /// Complete a prompt. `keep_generating` is called before each token of a continuation, which ends when it returns false.
    ///
    /// # Errors
    /// If a sampling setting is out of range, the prompt cannot be tokenized or has no token, or an operation fails.
    pub fn complete(
        &self,
        model: &'a Model,
        prompt: Value,
        generation: &Generation,
        keep_generating: impl FnMut() -> bool,
    ) -> Result<Completion, PredictError> {
        generation.sampling.check()?;
        match self.method {
            Method::Continue => self.continued(model, prompt, generation, keep_generating),
            Method::Answer(input) => self.answer(model, input, &prompt, generation),
            Method::Fill => {
                let unmasking = Unmasking { sampling: generation.sampling, ..Unmasking::default() };
                self.fill(model, &prompt.into_text()?, generation.max_new_tokens, &unmasking)
            }
        }
    }

    fn continued(
        &self,
        model: &'a Model,
        prompt: Value,
        generation: &Generation,
        keep_generating: impl FnMut() -> bool,
    ) -> Result<Completion, PredictError> {
        let Self { number, task, output, .. } = *self;
        let mut continuation = Continuation::new(model, number, task, output, prompt, generation.sampling)?;
        let (given, context) = (continuation.prompt_len(), continuation.context());
        if given > context {
            note(&format!("the prompt has {given} tokens; the model reads the last {context}"));
        }
        let value =
            continuation.value_while(generation.max_new_tokens.unwrap_or(context), keep_generating)?;
        let n_tokens = continuation.n_generated();
        let all = given + n_tokens;
        if all > context {
            note(&format!(
                "the text has {all} tokens, more than the model's context of {context}: each time the context is full, the \
                 model resumes from its second half, which it reads from position 0 again; other programs differ there"
            ));
        }
        Ok(Completion { value, n_tokens, follows_prompt: true })
    }

    fn answer(
        &self,
        model: &Model,
        input: &Part,
        prompt: &Value,
        generation: &Generation,
    ) -> Result<Completion, PredictError> {
        let get = |field: &str| {
            let is_read = input.fields.iter().any(|known| known == field);
            Ok(if is_read { prompt.clone() } else { Value::Missing })
        };
        let sample = self
            .task
            .sample(&get, 0..0, Purpose::Predict, 0)
            .map_err(|e| PredictError::Option { option: "prompt", problem: e.to_string() })?;
        let ids = generate(model, self.number, self.task, self.output, &sample, generation)?;
        let value = self.task.decode(self.output, &ids)?;
        Ok(Completion { value, n_tokens: ids.len(), follows_prompt: false })
    }

    /// Fill `n` masked tokens after a prompt, or as many as the model has positions for.
    ///
    /// # Errors
    /// If the output has no masked tokens, and as of [`complete`](Self::complete).
    pub fn fill(
        &self,
        model: &'a Model,
        prompt: &str,
        n: Option<usize>,
        unmasking: &Unmasking,
    ) -> Result<Completion, PredictError> {
        let unmask = self.unmask(model)?;
        let ids = unmask.continued(prompt, n.unwrap_or(usize::MAX))?;
        let n_tokens = ids.iter().filter(|id| id.is_none()).count();
        if n.is_some_and(|n| n_tokens < n) {
            note(&format!("the model has {} positions: {n_tokens} tokens follow the prompt", ids.len()));
        }
        let text = unmask.text(&unmask.fill(&|_| Ok(Value::Missing), &ids, unmasking)?)?;
        let new = text.strip_prefix(prompt).map(String::from);
        let follows_prompt = new.is_some();
        Ok(Completion { value: Value::Text(new.unwrap_or(text)), n_tokens, follows_prompt })
    }

    /// Fill the gaps of a text, in which each `gap` is a masked token. The completion is the whole text.
    ///
    /// # Errors
    /// If the output has no masked tokens, if the text has no gap or more tokens than the model has positions for, and as of
    /// [`complete`](Self::complete).
    pub fn infill(
        &self,
        model: &'a Model,
        text: &str,
        gap: char,
        unmasking: &Unmasking,
    ) -> Result<Completion, PredictError> {
        let unmask = self.unmask(model)?;
        let ids = unmask.with_gaps(text, gap)?;
        let n_tokens = ids.iter().filter(|id| id.is_none()).count();
        let text = unmask.text(&unmask.fill(&|_| Ok(Value::Missing), &ids, unmasking)?)?;
        Ok(Completion { value: Value::Text(text), n_tokens, follows_prompt: false })
    }

    fn unmask(&self, model: &'a Model) -> Result<Unmask<'a>, PredictError> {
        Unmask::new(model, self.number, self.task, self.output)
    }
}

/// The first generated output that is trained on windows, or the first that is not.
fn generated(task: &Composition, windows: bool) -> Option<usize> {
    task.parts().iter().find_map(|part| match part.role {
        Role::Generated(output) if part.windows == windows => Some(output),
        _ => None,
    })
}

/// The only input that is text.
fn text_input(task: &Composition) -> Option<&Part> {
    let is_text = |part: &&Part| part.role == Role::Input && part.tokenizer.name() == "text";
    let mut texts = task.parts().iter().filter(is_text);
    texts.next().filter(|_| texts.next().is_none())
}

fn note(text: &str) {
    notify(Notice::Note(text));
}
