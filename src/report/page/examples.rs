//! A few validation samples, with the tokens of each part drawn.

use super::super::html::Html;
use super::task_title;
use crate::config::TaskEntry;
use crate::data::{DataError, Dataset, Stream};
use crate::report::DrawError;
use crate::report::figure::{self, Scene};
use crate::report::parts::{self, PartTokens, shortened};
use crate::sample::{Composition, Opened, Part, Samples};
use smalti_contract::{KindSpec, TokenSpec};

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

/// Some samples of each task's validation split.
pub(super) fn body(tasks: &[(TaskEntry, Opened)]) -> Result<Html, String> {
    let mut body = Html::new();
    for (entry, opened) in tasks {
        task_title(&entry.name, &mut body);
        let samples = opened.validation_rows.as_ref();
        for index in parts::examples(SAMPLES, samples.len()) {
            if let Err(error) = example(&opened.task, samples, index, &mut body) {
                let note = format!("Validation: {} is not shown: {error}", samples.location(index));
                body.element("p", "class=\"note\"", &note);
            }
        }
    }
    if body.is_empty() { Err("there are no validation samples".into()) } else { Ok(body) }
}

/// Draws the parts of a sample: each part without time steps alone, all series of a stream in lanes.
fn example(task: &Composition, samples: &Samples, index: usize, body: &mut Html) -> Result<(), ExampleError> {
    let sample = samples.sample(index, None)?;
    let of_parts = parts::of(task, &sample);
    let alone = of_parts.iter().filter(|part| !part.part.series);
    let figure =
        |part: &PartTokens| (part.part.name.clone(), figure::of(part.part.tokenizer.as_ref(), &part.tokens));
    let mut figures: Vec<(String, Scene)> = alone.map(figure).collect();
    for stream in [Stream::Encoder, Stream::Main] {
        let series: Vec<&Part> =
            task.parts().iter().filter(|part| part.series && part.stream == stream).collect();
        let groups = series.iter().flat_map(|part| parts::groups(task, &sample, part).iter().cloned());
        let tokens = parts::counted_from_0(groups.collect());
        let kinds: Vec<KindSpec> = series.iter().flat_map(|part| part.kinds.clone()).collect();
        if !tokens.is_empty() {
            let names: Vec<&str> = series.iter().map(|part| part.name.as_str()).collect();
            figures.push((names.join(", "), figure::lanes(&TokenSpec { kinds }, &tokens)));
        }
    }
    let (location, targets) = (samples.location(index), targets(task, samples, index));
    for (name, scene) in figures {
        body.figure(&scene, "", &format!("Validation: {location}, {name}{targets}"))?;
    }
    Ok(())
}

/// The labels of the outputs that have some: `; class: 3`.
fn targets(task: &Composition, samples: &Samples, index: usize) -> String {
    let (get, _, _) = samples.row(index);
    let target = |field: &String| {
        let label = get(field).ok()?.into_label().ok()?;
        Some(format!("; {field}: {}", shortened(&label, CHARACTERS)))
    };
    let is_drawn = |name: &str| task.parts().iter().any(|part| part.name == name);
    let outputs = task.outputs().iter().filter(|output| !is_drawn(&output.name));
    outputs.flat_map(|output| output.fields.iter().filter_map(target)).collect()
}
