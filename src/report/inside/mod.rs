//! What a trained model does with its validation rows: predictions, attention, confusions, errors and embeddings, as sections
//! of a page.
//!
//! Everything is bounded, and the same for the same run: rows are chosen by their numbers, not at random.

mod attention;
mod confusion;
mod embeddings;
mod predictions;
mod reduce;
mod rollout;
mod values;

use super::html::{Cell, Html, Section};
use super::{DrawError, parts};
use crate::config::TaskEntry;
use crate::data::{DataError, Dataset, OnCorruptSample, Sample};
use crate::inference::PredictError;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Opened, Samples};
use smalti_contract::TokenizeError;

/// Why a section cannot show a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsideError {
    /// A row cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A value cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// A row cannot be predicted.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A figure cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Sections about a model: for each task predictions and attention of a few validation rows, and confusion with the worst errors
/// of at most `samples` (0 for all); and the embeddings of the model. A section that cannot be made states the reason.
pub fn sections(model: &Model, tasks: &[(TaskEntry, Opened)], samples: usize) -> Vec<Section> {
    let mut sections = vec![];
    for (number, (entry, opened)) in tasks.iter().enumerate() {
        let rows = Rows::new(model, (number, &entry.name), opened, samples);
        sections.extend(rows.shown("predictions", "Predictions", predictions::body(&rows)));
        sections.extend(rows.shown("attention", "Attention", attention::body(&rows)));
        match confusion::bodies(&rows) {
            Ok(bodies) => sections.extend(bodies.into_iter().flat_map(|(output, body)| {
                rows.shown(
                    &format!("confusion-{}", anchor(&output)),
                    &format!("Confusion of {output}"),
                    Ok(body),
                )
            })),
            Err(error) => sections.extend(rows.shown("confusion", "Confusion", Err(error))),
        }
    }
    let compositions: Vec<&Composition> = tasks.iter().map(|(_, opened)| opened.task.as_ref()).collect();
    sections.extend(shown("embeddings", "Embeddings", embeddings::body(model, &compositions)));
    sections
}

/// A section, unless it is empty.
fn shown(id: &str, title: &str, body: Result<Html, InsideError>) -> Option<Section> {
    let is_empty = body.as_ref().is_ok_and(Html::is_empty);
    (!is_empty).then(|| Section::new(id, title, body))
}

/// The validation rows of a task, and the model that predicts them.
struct Rows<'a> {
    model: &'a Model,
    /// The task's number in the model.
    number: usize,
    name: &'a str,
    task: &'a Composition,
    rows: &'a Samples,
    dataset: &'a dyn Dataset,
    /// The most samples of a confusion.
    most: usize,
}

impl<'a> Rows<'a> {
    fn new(model: &'a Model, (number, name): (usize, &'a str), opened: &'a Opened, samples: usize) -> Self {
        let dataset = opened.validation.as_ref();
        let most = if samples == 0 { dataset.len() } else { samples.min(dataset.len()) };
        Self { model, number, name, task: &opened.task, rows: &opened.validation_rows, dataset, most }
    }

    /// The numbers of at most `most` samples that sections have in common.
    fn examples(&self, most: usize) -> impl Iterator<Item = usize> {
        parts::examples(most, self.dataset.len())
    }

    /// The numbers of the samples of a confusion, spread over all.
    fn spread(&self) -> impl Iterator<Item = usize> {
        let (most, n) = (self.most, self.dataset.len());
        (0..most).map(move |i| random::spread(i, most, n))
    }

    /// A sample with its targets; `None` for a corrupt one that the task skips.
    fn sample(&self, index: usize) -> Result<Option<Sample>, InsideError> {
        match (self.dataset.sample(index, None), self.dataset.on_corrupt()) {
            (Ok(sample), _) => Ok(Some(sample)),
            (Err(_), OnCorruptSample::Skip) => Ok(None),
            (Err(error), OnCorruptSample::Fail) => Err(error.into()),
        }
    }

    /// Whether its samples are windows of the tokens of all rows.
    fn has_windows(&self) -> bool {
        self.task.parts().iter().any(|part| part.windows)
    }

    /// A section about this task, unless it is empty.
    fn shown(&self, id: &str, title: &str, body: Result<Html, InsideError>) -> Option<Section> {
        match self.name {
            "" => shown(id, title, body),
            name => shown(&format!("{id}-{}", anchor(name)), &format!("{title}: {name}"), body),
        }
    }
}

/// A name as a part of an anchor.
fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

/// Adds a table of numbers of 0 or more, shaded by their share of the largest.
fn add_shaded(
    html: &mut Html,
    caption: &str,
    [rows, columns]: [&[String]; 2],
    shown: impl Fn(usize, usize) -> (f32, String),
) {
    let cells = || (0..rows.len()).flat_map(|row| (0..columns.len()).map(move |column| (row, column)));
    let most = cells().map(|(row, column)| shown(row, column).0).fold(f32::MIN_POSITIVE, f32::max);
    let cell = |row: usize, column: usize| {
        let (value, text) = shown(row, column);
        Cell::Shaded(value / most, text)
    };
    let row = |(number, name): (usize, &String)| -> Vec<Cell> {
        let cells = (0..columns.len()).map(|column| cell(number, column));
        std::iter::once(Cell::Name(name.clone())).chain(cells).collect()
    };
    let header: Vec<&str> = std::iter::once("").chain(columns.iter().map(String::as_str)).collect();
    html.table(caption, &header, rows.iter().enumerate().map(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shaded_table_has_its_names_and_the_largest_number_is_darkest() {
        let mut html = Html::new();
        let names = ["a".to_string(), "<b>".into()];
        let value = |row: usize, column: usize| ((row * column) as f32, format!("{row}{column}"));
        add_shaded(&mut html, "counts", [&names, &names], value);
        let html = html.into_string();
        assert!(
            html.contains("<th scope=\"row\">&lt;b&gt;</th>") && html.contains("<caption>counts</caption>")
        );
        assert!(html.contains("<td class=\"shaded\" style=\"--share:100.0%\">11</td>"), "{html}");
        assert!(html.contains("<td class=\"shaded\" style=\"--share:0.0%\">00</td>"));
    }

    #[test]
    fn names_become_anchors() {
        assert_eq!(anchor("a b/c"), "a-b-c");
    }
}
