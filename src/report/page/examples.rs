//! A few validation samples, with the tokens of each part drawn.

use super::super::html::Html;
use super::task_title;
use crate::config::TaskEntry;
use crate::data::{DataError, Dataset, Sample, Stream};
use crate::report::DrawError;
use crate::report::figure::{self, Scene};
use crate::sample::{Composition, Opened, Part, Samples};
use smalti_contract::{Group, KindSpec, TokenSpec, Tokens};

/// The number of samples of a task.
const SAMPLES: usize = 3;
/// The most characters of a target.
const CHARACTERS: usize = 200;

/// Why an example is not drawn.
#[derive(Debug, thiserror::Error)]
enum ExampleError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Draw(#[from] DrawError),
}

/// Evenly spaced samples of each task's validation split.
pub(super) fn body(tasks: &[(TaskEntry, Opened)]) -> Result<Html, String> {
    let mut body = Html::new();
    for (entry, opened) in tasks {
        task_title(&entry.name, &mut body);
        let samples = opened.validation_rows.as_ref();
        let shown = samples.len().min(SAMPLES);
        for index in (0..shown).map(|i| i * samples.len() / shown) {
            if let Err(error) = example(&opened.task, samples, index, &mut body) {
                let note = format!("Validation sample {index} is not shown: {error}");
                body.element("p", "class=\"note\"", &note);
            }
        }
    }
    if body.is_empty() { Err("there are no validation samples".into()) } else { Ok(body) }
}

/// Draws the parts of a sample: each part without time steps alone, all series of a stream in lanes.
fn example(task: &Composition, samples: &Samples, index: usize, body: &mut Html) -> Result<(), ExampleError> {
    let sample = samples.sample(index, None)?;
    let mut figures: Vec<(String, Scene)> = vec![];
    for part in task.parts().iter().filter(|part| !part.series) {
        let kinds = task.first_kind(part)..task.first_kind(part) + part.kinds.len();
        let tokens = of_kinds(&sample, part.stream, kinds);
        if !tokens.is_empty() {
            figures.push((part.name.clone(), figure::of(part.tokenizer.as_ref(), &tokens)));
        }
    }
    for stream in [Stream::Encoder, Stream::Main] {
        let series: Vec<&Part> =
            task.parts().iter().filter(|part| part.series && part.stream == stream).collect();
        let numbers = |part: &&Part| task.first_kind(part)..task.first_kind(part) + part.kinds.len();
        let tokens = of_kinds(&sample, stream, series.iter().flat_map(numbers));
        let kinds: Vec<KindSpec> = series.iter().flat_map(|part| part.kinds.clone()).collect();
        if !tokens.is_empty() {
            let names: Vec<&str> = series.iter().map(|part| part.name.as_str()).collect();
            figures.push((names.join(", "), figure::lanes(&TokenSpec { kinds }, &tokens)));
        }
    }
    let targets = targets(task, samples, index);
    for (name, scene) in figures {
        body.figure(&scene, "", &format!("Validation sample {index}, {name}{targets}"))?;
    }
    Ok(())
}

/// The tokens of some kinds of a stream's first document, numbered anew from 0.
fn of_kinds(sample: &Sample, stream: Stream, kinds: impl IntoIterator<Item = usize>) -> Tokens {
    let document = sample.inputs.iter().find(|(of, _)| *of == stream);
    let Some((_, tokens)) = document else { return Tokens::default() };
    let mut groups: Vec<Group> =
        kinds.into_iter().filter_map(|kind| tokens.groups.get(kind).cloned()).collect();
    let mut orders: Vec<u32> = groups.iter().flat_map(|group| group.order.iter().copied()).collect();
    orders.sort_unstable();
    for order in groups.iter_mut().flat_map(|group| &mut group.order) {
        *order = orders.partition_point(|other| other < order) as u32;
    }
    Tokens::new(groups)
}

/// The labels of the outputs that have some: `; class: 3`.
fn targets(task: &Composition, samples: &Samples, index: usize) -> String {
    let (get, _, _) = samples.row(index);
    let target = |field: &String| {
        let label = get(field).ok()?.into_label().ok()?;
        let short: String = label.chars().take(CHARACTERS).collect();
        let ellipsis = if short.len() < label.len() { "…" } else { "" };
        Some(format!("; {field}: {short}{ellipsis}"))
    };
    let is_drawn = |name: &str| task.parts().iter().any(|part| part.name == name);
    let outputs = task.outputs().iter().filter(|output| !is_drawn(&output.name));
    outputs.flat_map(|output| output.fields.iter().filter_map(target)).collect()
}
