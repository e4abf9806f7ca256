//! The ids that a text begins with: start, language, task, and whether there are timestamps.

use super::options::{Options, refuse};
use crate::inference::PredictError;
use crate::sample::Decoding;

/// The ids that a text begins with, as far as they are known before the language is detected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    start: u32,
    /// The language, if it is known.
    language: Option<u32>,
    /// Whether it is to be detected.
    pub detects: bool,
    then: Vec<u32>,
}

impl Prefix {
    /// The ids, in the order of Whisper's `generate`: options take precedence over the model's settings, and a language
    /// that neither names is detected if the model knows languages. `begin` is the start and whatever the run's
    /// settings put after it.
    pub fn new(
        begin: &[u32],
        decoding: &Decoding,
        options: &Options,
        timestamps: bool,
    ) -> Result<Self, PredictError> {
        let asked = (options.language.is_some(), options.task.is_some());
        if decoding.one_language && asked != (false, false) {
            let option = if asked.0 { "language" } else { "task" };
            return refuse(option, "the model has one language and one task");
        }
        let language = options.language.as_ref().or(decoding.language.as_ref());
        let task = options.task.as_ref().or(decoding.task.as_ref());
        let (start, after) = (begin.first().copied().unwrap_or_default(), begin.get(1..));
        let detects = !decoding.languages.is_empty();
        let mut prefix = match (language, task, after.unwrap_or_default()) {
            (None, None, []) => Self {
                start,
                language: decoding.first,
                detects: detects && decoding.first.is_none(),
                then: decoding.then.clone(),
            },
            (None, None, after) => Self { start, language: None, detects: false, then: after.to_vec() },
            (language, task, _) => {
                let code = language.map(|code| code.to_lowercase());
                let code = code.as_ref().map(|code| code.trim_start_matches("<|").trim_end_matches("|>"));
                let language = code.map(|code| known(&decoding.languages, "language", code)).transpose()?;
                let task = match task {
                    Some(task) => Some(known(&decoding.tasks, "task", task)?),
                    None => decoding.tasks.get("transcribe").copied(),
                };
                let detects = detects && language.is_none();
                Self { start, language, detects, then: task.into_iter().collect() }
            }
        };
        if let Some(none) = decoding.no_timestamps {
            let has_none = prefix.then.last().or(prefix.language.as_ref()) == Some(&none);
            match (timestamps, has_none) {
                (false, false) => prefix.then.push(none),
                (true, true) if prefix.then.pop().is_none() => prefix.language = None,
                _ => {}
            }
        }
        Ok(prefix)
    }

    /// The first id of all.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Sets the language that was detected.
    pub fn set_language(&mut self, language: u32) {
        (self.language, self.detects) = (Some(language), false);
    }

    /// The id after the start.
    pub fn language(&self) -> Option<u32> {
        self.language
    }

    /// All of it.
    pub fn ids(&self) -> Vec<u32> {
        [self.start].into_iter().chain(self.language).chain(self.then.iter().copied()).collect()
    }
}

fn known(
    ids: &std::collections::BTreeMap<String, u32>,
    option: &'static str,
    name: &str,
) -> Result<u32, PredictError> {
    match ids.get(name) {
        Some(id) => Ok(*id),
        None if ids.is_empty() => refuse(option, format!("{name:?}: the model knows none")),
        None => {
            let names: Vec<&str> = ids.keys().map(String::as_str).collect();
            refuse(option, format!("{name:?} is none of {}", names.join(", ")))
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
        if prefix.detects {
            prefix.set_language(99);
        }
        prefix.ids()
    }

    #[test]
    fn options_take_precedence() {
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
    fn what_a_model_does_not_know_is_refused() {
        let refused = |decoding: &Decoding, options: Options| {
            Prefix::new(&[1], decoding, &options, false).unwrap_err().to_string()
        };
        let french = Options { language: Some("fr".into()), ..Options::default() };
        assert_eq!(refused(&decoding(), french.clone()), "--language: \"fr\" is none of de, en");
        assert_eq!(refused(&Decoding::default(), french.clone()), "--language: \"fr\": the model knows none");
        let one = Decoding { one_language: true, ..decoding() };
        assert_eq!(refused(&one, french), "--language: the model has one language and one task");
    }
}
