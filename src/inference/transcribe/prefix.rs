//! The prefix of a text: ids for the start, the language, the task, and whether there are timestamps.

use super::options::{Options, refuse};
use crate::inference::PredictError;
use crate::sample::Decoding;

/// The ids that a text begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    start: u32,
    /// The id after the start: the language, if it is known.
    language: Option<u32>,
    /// Whether the language is to be detected.
    pub detects_language: bool,
    then: Vec<u32>,
}

impl Prefix {
    /// The prefix as in Whisper's `generate`: options take precedence over the model's settings; a language that neither sets
    /// is detected, if the model has languages. `begin` is the start and the ids that the run's settings add after it.
    pub fn new(
        begin: &[u32],
        decoding: &Decoding,
        options: &Options,
        timestamps: bool,
    ) -> Result<Self, PredictError> {
        let (has_language, has_task) = (options.language.is_some(), options.task.is_some());
        if decoding.one_language && (has_language || has_task) {
            let option = if has_language { "language" } else { "task" };
            return refuse(option, "the model has one language and one task; leave the option out");
        }
        let language = options.language.as_ref().or(decoding.language.as_ref());
        let task = options.task.as_ref().or(decoding.task.as_ref());
        let (start, after) = (begin.first().copied().unwrap_or_default(), begin.get(1..));
        let has_languages = !decoding.languages.is_empty();
        let mut prefix = match (language, task, after.unwrap_or_default()) {
            (None, None, []) => Self {
                start,
                language: decoding.first,
                detects_language: has_languages && decoding.first.is_none(),
                then: decoding.then.clone(),
            },
            (None, None, after) => {
                Self { start, language: None, detects_language: false, then: after.to_vec() }
            }
            (language, task, _) => {
                let code = language.map(|code| code.to_lowercase());
                let code = code.as_ref().map(|code| code.trim_start_matches("<|").trim_end_matches("|>"));
                let language = code.map(|code| id_of(&decoding.languages, "language", code)).transpose()?;
                let task = match task {
                    Some(task) => Some(id_of(&decoding.tasks, "task", task)?),
                    None => decoding.tasks.get("transcribe").copied(),
                };
                let detects_language = has_languages && language.is_none();
                Self { start, language, detects_language, then: task.into_iter().collect() }
            }
        };
        if let Some(no_timestamps) = decoding.no_timestamps {
            let ends_with_it = prefix.then.last().or(prefix.language.as_ref()) == Some(&no_timestamps);
            match (timestamps, ends_with_it) {
                (false, false) => prefix.then.push(no_timestamps),
                (true, true) if prefix.then.pop().is_none() => prefix.language = None,
                _ => {}
            }
        }
        Ok(prefix)
    }

    /// The first id.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Set the detected language.
    pub fn set_language(&mut self, language: u32) {
        (self.language, self.detects_language) = (Some(language), false);
    }

    /// The id after the start.
    pub fn language(&self) -> Option<u32> {
        self.language
    }

    /// All ids of the prefix.
    pub fn ids(&self) -> Vec<u32> {
        [self.start].into_iter().chain(self.language).chain(self.then.iter().copied()).collect()
    }
}

fn id_of(
    ids: &std::collections::BTreeMap<String, u32>,
    option: &'static str,
    name: &str,
) -> Result<u32, PredictError> {
    match ids.get(name) {
        Some(id) => Ok(*id),
        None if ids.is_empty() => {
            refuse(option, format!("the model has no {option}s; leave the option out; found {name:?}"))
        }
        None => {
            let names: Vec<&str> = ids.keys().map(String::as_str).collect();
            refuse(option, format!("expected one of {}; found {name:?}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoding() -> Decoding {
        Decoding {
            languages: [("en".to_string(), 10), ("de".to_string(), 11)].into(),
            tasks: [("translate".to_string(), 20), ("transcribe".to_string(), 21)].into(),
            no_timestamps: Some(30),
            ..Decoding::default()
        }
    }

    fn ids(decoding: &Decoding, language: Option<&str>, task: Option<&str>, timestamps: bool) -> Vec<u32> {
        let options = Options {
            language: language.map(String::from),
            task: task.map(String::from),
            ..Options::default()
        };
        let mut prefix = Prefix::new(&[1], decoding, &options, timestamps).unwrap();
        if prefix.detects_language {
            prefix.set_language(99);
        }
        prefix.ids()
    }

    #[test]
    fn options_take_precedence_over_the_models_settings() {
        let plain = decoding();
        assert_eq!(ids(&plain, None, None, false), [1, 99, 30]);
        assert_eq!(ids(&plain, None, None, true), [1, 99]);
        assert_eq!(ids(&plain, Some("DE"), None, false), [1, 11, 21, 30]);
        assert_eq!(ids(&plain, Some("<|en|>"), Some("translate"), true), [1, 10, 20]);
        assert_eq!(ids(&plain, None, Some("translate"), true), [1, 99, 20]);
        let forced = Decoding { first: Some(10), then: vec![20, 30], ..decoding() };
        assert_eq!(ids(&forced, None, None, false), [1, 10, 20, 30]);
        assert_eq!(ids(&forced, None, None, true), [1, 10, 20]);
        assert_eq!(ids(&forced, Some("de"), None, true), [1, 11, 21]);
        let english =
            Decoding { first: Some(30), one_language: true, no_timestamps: Some(30), ..Decoding::default() };
        assert_eq!(ids(&english, None, None, false), [1, 30]);
        assert_eq!(ids(&english, None, None, true), [1]);
        assert_eq!(ids(&Decoding::default(), None, None, false), [1]);
    }

    #[test]
    fn a_language_that_the_model_lacks_is_an_error() {
        let error = |decoding: &Decoding, options: Options| {
            Prefix::new(&[1], decoding, &options, false).unwrap_err().to_string()
        };
        let french = Options { language: Some("fr".into()), ..Options::default() };
        assert_eq!(error(&decoding(), french.clone()), "--language: expected one of de, en; found \"fr\"");
        let no_languages = error(&Decoding::default(), french.clone());
        assert_eq!(
            no_languages,
            "--language: the model has no languages; leave the option out; found \"fr\""
        );
        let one = Decoding { one_language: true, ..decoding() };
        assert_eq!(
            error(&one, french),
            "--language: the model has one language and one task; leave the option out"
        );
    }
}
