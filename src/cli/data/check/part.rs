//! What is found in data, sample by sample.

use super::digest::Digest;
use super::numbers::TokenCounts;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value, json};

/// What was found in some data, or in one split of them.
pub struct Part {
    /// The split's name, where there are splits.
    pub split: Option<String>,
    /// What the data are.
    pub what: &'static str,
    /// How many samples there are, bad ones included.
    pub samples: usize,
    /// Counts, sizes, lengths, by name.
    pub found: Map<String, Value>,
    /// How many tokens samples become.
    pub tokens: TokenCounts,
    /// The ids that a text becomes most often.
    pub frequent: Vec<Frequent>,
    /// The samples that cannot be used.
    pub bad: Vec<Bad>,
    /// Files that are no samples, and why.
    pub skipped: Vec<(String, &'static str)>,
    /// What is in each good sample, and its number.
    pub contents: Vec<(Digest, u32)>,
    /// Who a sample is, by its number.
    pub named: Box<dyn Fn(usize) -> Named>,
}

/// What a sample goes by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its file, or its place in one.
    pub name: String,
    /// Its split, where it has one.
    pub split: Option<String>,
    /// Its class or its text, where it has one.
    pub label: Option<String>,
}

/// A sample that cannot be used.
#[derive(Serialize)]
pub struct Bad {
    pub name: String,
    pub problem: String,
}

/// An id, what it reads as, and how often it comes.
#[derive(Serialize)]
pub struct Frequent {
    pub id: u32,
    pub reads: String,
    pub count: usize,
    /// Of all tokens.
    pub share: f64,
}

/// What is kept of a sample that was read.
#[cfg(any(feature = "image", feature = "audio", feature = "trajectory"))]
pub struct Seen<S> {
    /// What is in it.
    pub content: Digest,
    /// How many tokens it becomes, or why it does not.
    pub tokens: Result<usize, String>,
    /// How large it is.
    pub size: S,
}

impl Part {
    pub fn new(what: &'static str) -> Self {
        let named = |number| Named { name: format!("record {number}"), split: None, label: None };
        Self {
            split: None,
            what,
            samples: 0,
            found: Map::new(),
            tokens: TokenCounts::default(),
            frequent: vec![],
            bad: vec![],
            skipped: vec![],
            contents: vec![],
            named: Box::new(named),
        }
    }

    /// Counts a sample; gives its size, or notes by its name why it cannot be used.
    #[cfg(any(feature = "image", feature = "audio", feature = "trajectory"))]
    pub fn count<S>(&mut self, name: impl FnOnce() -> String, read: Result<Seen<S>, String>) -> Option<S> {
        let number = self.samples as u32;
        self.samples += 1;
        match read {
            Ok(Seen { content, tokens, size }) => {
                self.contents.push((content, number));
                self.tokens.add(tokens);
                Some(size)
            }
            Err(problem) => {
                self.bad.push(Bad { name: name(), problem });
                None
            }
        }
    }

    /// Notes something that was found.
    pub fn find(&mut self, name: &str, value: impl Serialize) {
        self.found.insert(name.into(), json!(value));
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut part = serializer.serialize_struct("Part", 9)?;
        part.serialize_field("split", &self.split)?;
        part.serialize_field("what", self.what)?;
        part.serialize_field("samples", &self.samples)?;
        part.serialize_field("found", &self.found)?;
        part.serialize_field("tokens", &self.tokens.report())?;
        part.serialize_field("not_tokenized", &self.tokens.refused())?;
        part.serialize_field("most_frequent", &self.frequent)?;
        part.serialize_field("bad", &self.bad)?;
        part.serialize_field("skipped", &self.skipped)?;
        part.end()
    }
}

/// Samples that are read side by side, before they are counted.
#[cfg(any(feature = "image", feature = "audio", feature = "trajectory"))]
const TOGETHER: usize = 256;

/// Looks at samples on all cores, with a bar, and gives what was seen of each in their order. No more than
/// [`TOGETHER`] are held at a time.
#[cfg(any(feature = "image", feature = "audio", feature = "trajectory"))]
pub fn each<T: Send, R: Send>(
    samples: impl Iterator<Item = T>,
    total: Option<usize>,
    look: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R),
) {
    use rayon::prelude::*;

    let mut bar = crate::cli::data::Bar::of_samples(total);
    let (mut samples, mut done) = (samples, 0);
    loop {
        let chunk: Vec<T> = samples.by_ref().take(TOGETHER).collect();
        if chunk.is_empty() {
            break;
        }
        done += chunk.len() as u64;
        chunk.into_par_iter().map(&look).collect::<Vec<R>>().into_iter().for_each(&mut take);
        bar.set(done);
    }
    bar.finish();
}
