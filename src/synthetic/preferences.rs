//! Pairs of lines of a text: one follows a wish that can be measured, the other does not.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::table::SPLITS;
use super::{Sizes, SyntheticError, lines, setting};
use serde::Deserialize;
use smalti_contract::Value;

/// Pairs of lines of a text after a prompt, another line: the chosen line follows a wish, the rejected one does not. Each split
/// has a stretch of the text of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Preferences {
    /// Location of the text.
    text: String,
    /// The wish.
    wish: Wish,
    /// The letter that is avoided, in either case; for `without_letter`.
    letter: String,
    /// Fewest characters of a line; shorter ones are left out.
    #[schemars(range(min = 1, max = 1000))]
    min_length: usize,
    /// Most characters of a line; longer ones are left out.
    #[schemars(range(min = 1, max = 10_000))]
    max_length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Wish {
    /// The chosen line has at most half the characters of the rejected one.
    #[default]
    Shorter,
    /// The chosen line does not have `letter`. Of some such lines, it is the one whose length is the nearest.
    WithoutLetter,
}

impl Default for Preferences {
    fn default() -> Self {
        let (text, letter) = ("builtin:text/smalti.txt".into(), "e".into());
        Self { text, wish: Wish::Shorter, letter, min_length: 8, max_length: 120 }
    }
}

impl Kind for Preferences {
    const NAME: &'static str = "preferences";
    const ABOUT: &'static str =
        "pairs of lines of a text, chosen and rejected by a wish that can be measured";
    const PAPER: &'static str = "for direct preference optimization, Rafailov et al. 2023";
    const FIELDS: &'static [&'static str] = &["prompt", "chosen", "rejected"];

    fn open(self, sizes: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        let mut letters = self.letter.chars().flat_map(char::to_lowercase);
        let (Some(letter), None) = (letters.next(), letters.next()) else {
            return Err(setting(Self::NAME, "letter", "one character", format!("{:?}", self.letter)));
        };
        let all = lines::of_text(Self::NAME, &self.text, self.min_length, self.max_length)?;
        let pools = lines::stretches(&all, sizes).map(|lines| Pool::new(lines, self.wish, letter));
        lines::check(&self.text, sizes, "pair of the wish", |split| pools[split].is_empty())?;
        Ok(Box::new(Pairs { pools, wish: self.wish }))
    }
}

/// The rows of [`Preferences`].
struct Pairs {
    pools: [Pool; SPLITS.len()],
    wish: Wish,
}

/// The lines of a split, with their lengths in characters.
struct Pool {
    /// All lines.
    prompts: Vec<String>,
    /// Lines that can be chosen, from the shortest.
    chosen: Vec<(usize, String)>,
    /// Lines that can be rejected.
    rejected: Vec<(usize, String)>,
}

impl Pool {
    fn new(lines: &[String], wish: Wish, letter: char) -> Self {
        let with_length = |line: &String| (line.chars().count(), line.clone());
        let mut all: Vec<(usize, String)> = lines.iter().map(with_length).collect();
        all.sort();
        let has_letter = |line: &str| line.chars().flat_map(char::to_lowercase).any(|one| one == letter);
        let (chosen, rejected) = match wish {
            Wish::Shorter => {
                let least = all.first().map_or(0, |(length, _)| 2 * length);
                (all.clone(), all.into_iter().filter(|(length, _)| *length >= least).collect())
            }
            Wish::WithoutLetter => all.into_iter().partition(|(_, line)| !has_letter(line)),
        };
        Self { prompts: lines.to_vec(), chosen, rejected }
    }

    fn is_empty(&self) -> bool {
        self.chosen.is_empty() || self.rejected.is_empty()
    }
}

/// Lines from which that of the nearest length is chosen.
const CANDIDATES: usize = 8;

impl Rows for Pairs {
    fn distinct(&self) -> Distinct {
        Distinct::ByDraw
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let pool = &self.pools[draw.split];
        let prompt = draw.pick(&pool.prompts);
        let (length, rejected) = draw.pick(&pool.rejected);
        let chosen = match self.wish {
            Wish::Shorter => {
                let shorter = pool.chosen.partition_point(|(chosen, _)| 2 * chosen <= *length);
                draw.pick(&pool.chosen[..shorter])
            }
            Wish::WithoutLetter => {
                let candidates = (0..CANDIDATES).map(|_| draw.pick(&pool.chosen));
                candidates.min_by_key(|(chosen, _)| chosen.abs_diff(*length))?
            }
        };
        Some([prompt, &chosen.1, rejected].map(|line| Value::Text(line.clone())).into())
    }
}
