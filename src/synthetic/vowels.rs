//! Lines of a text without their vowels, to be restored.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::table::SPLITS;
use super::{Sizes, SyntheticError, lines};
use serde::Deserialize;
use smalti_contract::Value;

/// Lines of a text that have vowels (a, e, i, o, u), each with and without them. To restore them is to know the words. Each
/// split has a stretch of the text of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Vowels {
    /// Location of the text.
    text: String,
    /// Fewest characters of a line; shorter ones are left out.
    #[schemars(range(min = 1, max = 1000))]
    min_length: usize,
    /// Most characters of a line; longer ones are left out.
    #[schemars(range(min = 1, max = 10_000))]
    max_length: usize,
}

impl Default for Vowels {
    fn default() -> Self {
        Self { text: "builtin:text/smalti.txt".into(), min_length: 8, max_length: 120 }
    }
}

impl Kind for Vowels {
    const NAME: &'static str = "vowels";
    const ABOUT: &'static str = "lines of a text without their vowels, to be restored";
    const PAPER: &'static str = "for pretraining by span corruption, Raffel et al. 2020";
    const FIELDS: &'static [&'static str] = &["consonants", "line", "number"];

    fn open(self, sizes: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        let mut all = lines::of_text(Self::NAME, &self.text, self.min_length, self.max_length)?;
        all.retain(|line| line.contains(is_vowel));
        let stretches = lines::stretches(&all, sizes).map(<[String]>::to_vec);
        lines::check(&self.text, sizes, "line of such a length with a vowel", |split| {
            stretches[split].is_empty()
        })?;
        Ok(Box::new(Stretches(stretches)))
    }
}

fn is_vowel(c: char) -> bool {
    "aeiou".contains(c.to_ascii_lowercase())
}

/// The lines of each split.
struct Stretches([Vec<String>; SPLITS.len()]);

impl Rows for Stretches {
    fn distinct(&self) -> Distinct {
        Distinct::ByDraw
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let line = draw.pick(&self.0[draw.split]).clone();
        let consonants = line.replace(is_vowel, "");
        Some(vec![Value::Text(consonants), Value::Text(line), Value::Number(draw.number as f64)])
    }
}
