//! Windows of time steps, and windows of tokens.

use super::compose::Purpose;
use super::rows::Rows;
use super::{Composition, OpenError, Part, of_output};
use crate::data::{DataError, Sample};
use crate::random;
use crate::table::Table;
use smalti_contract::{Sequence, TokenizeError};
use std::ops::Range;
use std::sync::Arc;

/// Windows of the time steps of rows with series.
pub(super) struct StepWindows {
    /// For each row, the number of steps of all earlier rows; last, the number of all steps.
    starts: Vec<usize>,
    /// The windows of evaluation, without overlap: the place of the row, and the first step.
    windows: Vec<(u32, usize)>,
    /// For each source, its windows, its steps, and its sampling weight.
    sources: Vec<(Range<usize>, Range<usize>, f64)>,
    context: usize,
    /// Whether a training window may start at any step, because a series is predicted; otherwise it has `context` steps if the
    /// row has as many.
    any_start: bool,
}

impl StepWindows {
    pub(super) fn new(task: &Composition, rows: &Rows, context: usize) -> Result<Self, OpenError> {
        let refuse = |setting: &str, problem: String| OpenError::Setting { setting: setting.into(), problem };
        if context == 0 {
            return Err(refuse("data.context", "expected 1 or more steps; found 0".into()));
        }
        let (mut starts, mut windows) = (vec![0], vec![]);
        for (place, n) in rows.steps().enumerate() {
            windows.extend((0..n).step_by(context).map(|first| (place as u32, first)));
            starts.push(starts[place] + n);
        }
        if windows.is_empty() {
            return Err(refuse("data.source", "expected rows with time steps; found none".into()));
        }
        let (mut sources, mut first) = (vec![], 0);
        for &(n, weight) in &rows.sources {
            let place = |row: usize| windows.partition_point(|(place, _)| (*place as usize) < row);
            sources.push((place(first)..place(first + n), starts[first]..starts[first + n], weight));
            first += n;
        }
        sources.retain(|(windows, _, _)| !windows.is_empty());
        let any_start = task.outputs().iter().any(|output| output.is_series(task.parts()));
        Ok(Self { starts, windows, sources, context, any_start })
    }

    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The number of windows of each source, and its sampling weight.
    pub(super) fn sources(&self) -> Vec<(usize, f64)> {
        self.sources.iter().map(|(windows, _, weight)| (windows.len(), *weight)).collect()
    }

    /// The id of a window, unique in the data set.
    pub(super) fn id(&self, place: usize, steps: &Range<usize>) -> u64 {
        (self.starts[place] + steps.start) as u64
    }

    /// The row's place and the steps of window `index`; with a seed, of a random window of the same source.
    pub(super) fn find(&self, index: usize, seed: Option<u64>) -> (usize, Range<usize>) {
        let (place, first) = (self.windows[index].0 as usize, self.windows[index].1);
        let (place, first) = match seed.map(random::generator) {
            None => (place, first),
            Some(mut generator) if self.any_start => {
                let source = self.sources.iter().find(|(windows, _, _)| windows.contains(&index));
                let steps =
                    source.map_or(0..self.starts[self.starts.len() - 1], |(_, steps, _)| steps.clone());
                let step = steps.start + random::below(&mut generator, steps.len());
                let place = self.starts.partition_point(|&start| start <= step) - 1;
                (place, step - self.starts[place])
            }
            Some(mut generator) => {
                let n = self.starts[place + 1] - self.starts[place];
                (place, random::below(&mut generator, n.saturating_sub(self.context) + 1))
            }
        };
        (place, first..first + self.context)
    }
}

/// Windows of the concatenated tokens of all rows, separately for each source. With several rows, the end token follows each.
pub(super) struct TokenWindows {
    /// For each source, its tokens, the range of this split's tokens, and its sampling weight.
    sources: Vec<(Arc<dyn Sequence>, Range<usize>, f64)>,
    /// Number of tokens of a window that the model reads.
    context: usize,
    /// Number of tokens of a window, with the token after the last one read, which is its target.
    tokens: usize,
}

/// The tokens of each source, and its sampling weight.
pub(super) type Sequences = Vec<(Arc<dyn Sequence>, f64)>;

impl TokenWindows {
    /// The tokens of a split's rows.
    ///
    /// # Errors
    /// If a value cannot be read or tokenized.
    pub(super) fn sequences(task: &Composition, rows: &Rows) -> Result<Sequences, OpenError> {
        let part = &task.parts()[0];
        let (table, mut left) = (&rows.table, &rows.rows[..]);
        let mut sequences = vec![];
        for &(n, weight) in &rows.sources {
            let (here, rest) = left.split_at(n);
            left = rest;
            if let Some(&end) = part.special_ids.end.first().filter(|_| part.append_eos) {
                sequences.push((Arc::from(documents(part, table.as_ref(), here, end)?), weight));
                continue;
            }
            let mut bytes: Box<dyn std::io::Read + Send> = Box::new(std::io::empty());
            for &row in here {
                let next = table.stream(row as usize, &part.fields[0])?;
                bytes = Box::new(std::io::Read::chain(bytes, next));
            }
            let place = here.first().map_or_else(String::new, |&row| match n {
                1 => table.location(row as usize),
                _ => table.name().to_string(),
            });
            let sequence = part.tokenizer.sequence(bytes);
            let sequence = sequence.map_err(|e| DataError::tokenize(&place, of_output(part, &e)))?;
            sequences.push((Arc::from(sequence), weight));
        }
        Ok(sequences)
    }

    /// Windows of a share of each sequence: `0.0..0.9` for its first nine tenths.
    ///
    /// # Errors
    /// If a sequence has fewer tokens than a window.
    pub(super) fn new(
        task: &Composition,
        name: &str,
        sequences: &Sequences,
        share: Range<f64>,
    ) -> Result<Self, OpenError> {
        let part = &task.parts()[0];
        let context = part.kinds[0].axes.first().map_or(1, |axis| axis.size);
        let tokens = context + 1;
        let mut sources = vec![];
        for (sequence, weight) in sequences {
            let at = |share: f64| (sequence.len() as f64 * share) as usize;
            let places = at(share.start)..if share.end < 1.0 { at(share.end) } else { sequence.len() };
            if places.len() < tokens {
                let (found, setting) = (places.len(), format!("outputs.{}.context", part.name));
                let shorter = match found.saturating_sub(1) {
                    0 => String::new(),
                    context => format!(", or try --set {setting}={context}"),
                };
                let problem = format!(
                    "expected at least {tokens} tokens in each split of {name}; found {found}: add text{shorter}"
                );
                return Err(OpenError::Setting { setting, problem });
            }
            sources.push((sequence.clone(), places, *weight));
        }
        Ok(Self { sources, context, tokens })
    }

    pub(super) fn len(&self) -> usize {
        self.sources().iter().map(|(n, _)| n).sum()
    }

    /// The number of windows of each source, and its sampling weight.
    pub(super) fn sources(&self) -> Vec<(usize, f64)> {
        let windows = |places: &Range<usize>| (places.len() - 1) / self.context;
        self.sources.iter().map(|(_, places, weight)| (windows(places), *weight)).collect()
    }

    /// The sample of window `index`; in training, of a random window of the same source.
    pub(super) fn sample(
        &self,
        task: &Composition,
        index: usize,
        purpose: Purpose,
    ) -> Result<Sample, TokenizeError> {
        let (mut index, mut before) = (index, 0);
        for ((sequence, places, _), (windows, _)) in self.sources.iter().zip(self.sources()) {
            if index >= windows {
                (index, before) = (index - windows, before + sequence.len());
                continue;
            }
            let start = match purpose.seed() {
                Some(seed) => random::below(&mut random::generator(seed), places.len() - self.context),
                None => index * self.context,
            };
            let start = places.start + start;
            let ids = sequence.window(start..start + self.tokens)?;
            return task.window(ids, purpose, (before + start) as u64);
        }
        Err(TokenizeError::Input(format!(
            "expected a window number below {}; found {index} more",
            self.len()
        )))
    }
}

/// The ids of rows, each a document that the id `end` follows; rows without the value are left out.
fn documents(part: &Part, table: &dyn Table, rows: &[u32], end: u32) -> Result<Box<dyn Sequence>, DataError> {
    let field = &part.fields[0];
    let open = |number: usize| match table.stream(rows[number] as usize, field) {
        Err(_) if table.peek(rows[number] as usize, field).is_ok_and(|value| value.is_missing()) => Ok(None),
        opened => Ok(Some(opened.map_err(|e| TokenizeError::Input(e.to_string()))?)),
    };
    part.tokenizer.documents(rows.len(), &open, end).map_err(|(number, error)| {
        let location =
            rows.get(number).map_or_else(|| table.name().into(), |&row| table.location(row as usize));
        DataError::tokenize(&location, of_output(part, &error))
    })
}

#[cfg(all(test, feature = "text"))]
mod tests {
    use super::*;
    use crate::registry::Modalities;
    use crate::sample::{Opened, Start, TaskSettings};
    use crate::table::MemoryTable;
    use smalti_contract::{Row, Value};

    fn opened(texts: &[Value], settings: &str) -> Result<Opened, OpenError> {
        let rows = texts.iter().map(|text| Row::from([("story", text.clone())])).collect();
        let modalities = Modalities::builtin().with_table(MemoryTable::new("stories", rows));
        let settings: TaskSettings = toml::from_str(&format!(
            "[data]\nsource = \"memory:stories\"\nholdout = 0.5\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\n\
             windows = true\ncontext = 2\nvocabulary = \"bytes\"\n{settings}"
        ))
        .unwrap();
        Composition::open(("", 1.0), &settings, &modalities, Start::New)
    }

    /// All ids, and the id of the end token.
    fn ids(texts: &[Value], settings: &str) -> (Vec<u32>, Option<u32>) {
        let opened = opened(texts, settings).unwrap();
        let sequences = TokenWindows::sequences(&opened.task, opened.train_rows.rows()).unwrap();
        let ids = sequences[0].0.window(0..sequences[0].0.len()).unwrap();
        (ids, opened.task.parts()[0].special_ids.end.first().copied())
    }

    #[test]
    fn rows_are_documents_with_an_end_token_after_each() {
        let texts = ["ab", "c", "def"].map(Value::from);
        let rows = [texts[0].clone(), texts[1].clone(), Value::Missing, texts[2].clone()];
        assert_eq!(ids(&rows, ""), (vec![97, 98, 256, 99, 256, 100, 101, 102, 256], Some(256)));
        assert_eq!(ids(&rows, "end = 0"), (vec![97, 98, 0, 99, 0, 100, 101, 102, 0], Some(0)));
        assert_eq!(ids(&rows, "end = [1, 0]"), (vec![97, 98, 1, 99, 1, 100, 101, 102, 1], Some(1)));
        assert_eq!(ids(&texts, "append_eos = false"), (vec![97, 98, 99, 100, 101, 102], None));
        let specials = "specials = [\"<|endoftext|>\", \"x\"]";
        assert_eq!(ids(&rows, specials).1, Some(256));
    }

    #[test]
    fn one_text_has_no_end_token_unless_it_is_requested() {
        let text = [Value::from("abcdef")];
        assert_eq!(ids(&text, ""), (vec![97, 98, 99, 100, 101, 102], None));
        assert_eq!(ids(&text, "append_eos = true").0, [97, 98, 99, 100, 101, 102, 256]);
    }

    #[test]
    fn a_restored_task_has_the_same_end_token() {
        let texts = ["ab", "c", "def"].map(Value::from);
        let task = opened(&texts, "").unwrap().task;
        let settings: TaskSettings = toml::from_str(
            "[data]\nsource = \"none.jsonl\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\nwindows = true\n\
             context = 2\nvocabulary = \"bytes\"\n",
        )
        .unwrap();
        let restored =
            Composition::restore(("", 1.0), &settings, &Modalities::builtin(), task.saved()).unwrap();
        let part = &restored.parts()[0];
        assert_eq!(part.special_ids.end, [256]);
        assert_eq!((part.append_eos, part.vocabulary()), (true, Some(257)));
    }
}
