//! `[card]`: what only the user knows of a model, for its card.

use serde::{Deserialize, Serialize};

/// `[card]`: what only the user knows of a model, for its card (README.md). Each is one line of plain text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CardSettings {
    /// Licence of the weights, by its identifier on the Hugging Face Hub: `apache-2.0`, `mit`, `cc-by-4.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Licence of the training data, in words or by its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_license: Option<String>,
    /// Language of the data, by its code: `en`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Purpose of the model, and who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Authors of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// Repository on the Hub of the weights that it started from: `google/vit-base-patch16-224`. An import of `hf:OWNER/NAME`
    /// sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
}

/// The most characters of a text.
const MOST: usize = 2000;

impl CardSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The problem of the first text that is not one line; `None` if all are.
    pub(super) fn problem(&self) -> Option<String> {
        let texts = [
            ("license", &self.license),
            ("data_license", &self.data_license),
            ("language", &self.language),
            ("description", &self.description),
            ("authors", &self.authors),
            ("base_model", &self.base_model),
        ];
        texts.into_iter().find_map(|(key, text)| {
            let text = text.as_deref()?;
            let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            let found = match (text.chars().find(|c| is_break(*c)), text.chars().count()) {
                (Some(c), _) => format!("the character {c:?}"),
                (None, 0) => "an empty text".into(),
                (None, length) if length > MOST => format!("{length} characters"),
                _ => return None,
            };
            Some(format!("card.{key}: expected one line of 1 to {MOST} characters; found {found}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line() {
        let card = |license: &str| CardSettings { license: Some(license.into()), ..CardSettings::default() };
        assert_eq!(card("a: \"b\" # c").problem(), None);
        assert_eq!(CardSettings::default().problem(), None);
        for (text, found) in
            [("a\nb", "the character '\\n'"), ("", "an empty text"), (&"a".repeat(2001), "2001 characters")]
        {
            let problem = card(text).problem().unwrap();
            assert!(
                problem.starts_with("card.license: expected one line") && problem.ends_with(found),
                "{problem}"
            );
        }
    }
}
