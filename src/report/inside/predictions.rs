//! Some rows with their inputs, targets and predictions.

use super::{InsideError, Rows, values};
use crate::data::Sample;
use crate::head::Prediction;
use crate::inference::{Continuation, Generation, Predicted, Sampling, predict, predict_samples};
use crate::report::chart::{Bar, Chart};
use crate::report::figure;
use crate::report::html::{Html, verdict_class};
use crate::report::parts::{self, shortened};
use crate::sample::{GetField, Part, Role};
use smalti_contract::Value;

/// Rows that are shown, the most probabilities of one, and the side of an image in pixels.
const ROWS: usize = 6;
const MOST_BARS: usize = 8;
const SIDE: f32 = 160.0;
/// The most tokens of a generated value, and of the beginning of a window that is continued.
const GENERATED: usize = 128;
const PROMPT: usize = 64;

/// Predictions of some rows; `None` for a task without predictions of single rows.
pub(super) fn body(rows: &Rows) -> Result<Html, InsideError> {
    if rows.task.outputs().iter().all(|output| output.head.is_representation() || output.is_preference) {
        return Ok(Html::new());
    }
    let (mut body, mut examples) = (Html::new(), Html::new());
    for index in rows.examples(ROWS) {
        let Some(sample) = rows.sample(index)? else { continue };
        let mut row = Html::new();
        row.element("h3", "", &format!("Validation: {}", rows.rows.location(index)));
        match rows.has_windows() {
            true => add_window(rows, &sample, &mut row)?,
            false => add_row(rows, index, &sample, &mut row)?,
        }
        examples.nested("article", "", &row);
    }
    if !examples.is_empty() {
        body.nested("div", "class=\"examples\"", &examples);
    }
    Ok(body)
}

/// Adds the inputs of a row, and each output's target and prediction.
fn add_row(rows: &Rows, index: usize, sample: &Sample, html: &mut Html) -> Result<(), InsideError> {
    for part in parts::of(rows.task, sample) {
        if matches!(part.part.role, Role::Input | Role::Series(_)) {
            part.draw(html, SIDE)?;
        }
    }
    let (get, steps, _) = rows.rows.row(index);
    let generation = Generation { max_new_tokens: Some(GENERATED), ..Generation::default() };
    let requests = [(&*get as GetField, steps)];
    let predicted = predict(rows.model, rows.number, rows.task, &requests, &generation)?;
    let predicted = predicted.into_iter().next().unwrap_or_default();
    for output in rows.task.outputs().iter().filter(|output| !output.is_preference) {
        let Some(prediction) = predicted.get(&output.name) else { continue };
        // A reconstruction and a representation have no field.
        let has_field = output.head.codebook().is_none() && !output.head.is_representation();
        let target = if has_field { Part::value(&output.fields, &*get)? } else { Value::Missing };
        add_prediction(html, &output.name, &target, prediction)?;
    }
    Ok(())
}

fn add_prediction(
    html: &mut Html,
    name: &str,
    target: &Value,
    prediction: &Prediction,
) -> Result<(), InsideError> {
    if !target.is_missing() {
        values::add(html, &format!("{name}, target"), target);
    }
    values::add(html, &format!("{name}, prediction"), &prediction.value);
    if prediction.probabilities.is_empty() {
        return Ok(());
    }
    if let Some(is_right) = is_right(target, prediction) {
        let mark = if is_right { "✓ right" } else { "✗ wrong" };
        html.element("p", &format!("class=\"{}\"", verdict_class(is_right)), mark);
    }
    let shown = &prediction.probabilities[..prediction.probabilities.len().min(MOST_BARS)];
    let bar = |(label, value): &(String, f64)| Bar {
        name: shortened(label, 24),
        value: *value,
        deviation: 0.0,
        reference: None,
    };
    let bars: Vec<Bar> = shown.iter().map(bar).collect();
    let chart = Chart { title: name.into(), y: "probability".into(), ..Chart::default() };
    let spoken = shown.iter().map(|(label, value)| format!("{label} {value:.3}")).collect::<Vec<_>>();
    let label = format!("probabilities of {name}: {}", spoken.join(", "));
    Ok(html.figure(&figure::bars(&chart, &bars), &label, "")?)
}

/// Whether a predicted label is the target; `None` for another prediction.
fn is_right(target: &Value, prediction: &Prediction) -> Option<bool> {
    let Value::Text(predicted) = &prediction.value else { return None };
    let label = target.clone().into_label().ok()?;
    let is_label = |wanted: &str| prediction.probabilities.iter().any(|(known, _)| known == wanted);
    (is_label(&label) && is_label(predicted)).then(|| label == *predicted)
}

/// Adds a window: its masked tokens as they are predicted, or its beginning and what follows it.
fn add_window(rows: &Rows, sample: &Sample, html: &mut Html) -> Result<(), InsideError> {
    let predicted = not_generated(rows, sample)?;
    for part in parts::of(rows.task, sample) {
        let output = match part.part.role {
            Role::Generated(output) if part.part.windows => output,
            Role::Masked(output) => {
                let name = &rows.task.outputs()[output].name;
                values::add(html, &format!("{name}, masked"), &Value::Text(part.labels(0).concat()));
                if let Some(prediction) = predicted.get(name) {
                    values::add(html, &format!("{name}, predicted at every place"), &prediction.value);
                }
                continue;
            }
            _ => {
                part.draw(html, SIDE)?;
                continue;
            }
        };
        let Some(ids) = part.tokens.groups.first().and_then(|group| group.content.ids()) else { continue };
        let (prompt, rest) = ids.split_at(PROMPT.min(ids.len() / 2));
        let rest = &rest[..rest.len().min(GENERATED)];
        let [Some(prompt), Some(rest)] = [prompt, rest].map(|ids| parts::text_of(part.part, ids)) else {
            part.draw(html, SIDE)?;
            continue;
        };
        if prompt.is_empty() {
            continue;
        }
        let (name, start) = (&rows.task.outputs()[output].name, Value::Text(prompt));
        values::add(html, &format!("{name}, beginning"), &start);
        values::add(html, &format!("{name}, continued in the data"), &Value::Text(rest));
        let (model, task) = (rows.model, rows.task);
        let mut next = Continuation::new(model, rows.number, task, output, start, Sampling::greedy())?;
        let value = next.value(GENERATED)?;
        values::add(html, &format!("{name}, continued by the model (greedy)"), &value);
    }
    Ok(())
}

/// The predictions of the outputs of a sample that are not generated.
fn not_generated(rows: &Rows, sample: &Sample) -> Result<Predicted, InsideError> {
    let mut sample = sample.clone();
    let is_generated =
        |output: usize| rows.task.parts().iter().any(|part| part.role == Role::Generated(output));
    sample.outputs.retain(|output| !is_generated(output.head));
    let predicted = predict_samples(rows.model, rows.task, &[(rows.number, sample)])?;
    Ok(predicted.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_its_target_and_its_highest_probabilities() {
        let probabilities = (0..20).map(|i| (format!("class {i}"), 1.0 / f64::from(i + 2))).collect();
        let prediction = Prediction { value: Value::Text("class 0".into()), probabilities };
        assert_eq!(is_right(&Value::Text("class 0".into()), &prediction), Some(true));
        assert_eq!(is_right(&Value::Text("class 0, class 1".into()), &prediction), None);
        let mut html = Html::new();
        add_prediction(&mut html, "digit", &Value::Text("class 3".into()), &prediction).unwrap();
        let html = html.into_string();
        for text in [
            "digit, target: class 3",
            "✗ wrong",
            "digit, prediction: class 0",
            "class 0 0.500",
            "class 7 0.111",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert!(!html.contains("class 8"), "the ninth");
    }
}
