//! The tokenizer of a text task: of the text itself, or of a published vocabulary.

use super::TextTaskConfig;
use crate::data::{DataError, open_text, read_if_found};
use crate::tasks::TaskError;
use smalti_contract::Tokenizer;
use smalti_text::{TextConfig, TextError, TextTokenizer, TextUnit, Vocabulary, fit};

/// What is wrong with the text at `location`.
pub(super) fn refused(location: &str, error: TextError) -> DataError {
    match error {
        TextError::Read(error) => DataError::io(location, "a file", error),
        error => DataError::tokenize(location, error),
    }
}

/// The tokenizer that a task's settings ask for, fitted to its text, with the special tokens that it needs.
pub(super) fn fitted(config: &TextTaskConfig, specials: &[&str]) -> Result<TextTokenizer, TaskError> {
    let (context, segments) = (config.context, config.segments);
    let text = || open_text(&config.path);
    let fitted = match &config.vocabulary {
        TextUnit::Characters => fit::characters_of(text()?, vec![], context),
        TextUnit::Words => fit::words(text()?, 1, vec![], context),
        TextUnit::Bytes => Ok(TextConfig::new(Vocabulary::Bytes, context)),
        TextUnit::Numbers(count) => Ok(TextConfig::new(Vocabulary::Numbers { count: *count }, context)),
        TextUnit::Bpe(size @ ..=256) => {
            let problem = format!("bpe must be at least 257, for 256 are the single bytes; found {size}");
            return Err(TaskError::Setting { setting: "vocabulary", problem });
        }
        TextUnit::Bpe(size) => fit::bpe(text()?, *size, vec![], context),
        TextUnit::File(location) => Ok(published(location, context)?.config().clone()),
    };
    let config = TextConfig { segments, ..fitted.map_err(|e| refused(&config.path, e))? };
    Ok(TextTokenizer::new(config)?.with_specials(specials.iter().copied())?)
}

/// The tokenizer of a published vocabulary, as it is ([`smalti_text::published::open_with`]); `context` is the most
/// tokens of a text.
///
/// # Errors
/// A path without a vocabulary, and one that cannot be read.
pub fn published(location: &str, context: usize) -> Result<TextTokenizer, TaskError> {
    Ok(smalti_text::published::open_with(location, context, &|file| Ok(read_if_found(file)?))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_of_bytes_and_a_pair_at_least() {
        let config = TextTaskConfig { vocabulary: TextUnit::Bpe(256), ..TextTaskConfig::default() };
        assert_eq!(
            fitted(&config, &[]).err().unwrap().to_string(),
            "data.vocabulary: bpe must be at least 257, for 256 are the single bytes; found 256"
        );
    }
}
