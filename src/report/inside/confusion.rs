//! The confusion of each output with classes, with the rows behind each cell, and the worst errors.

use super::{InsideError, Rows, add_shaded, values};
use crate::data::{HeadBatch, Sample, Targets, collate};
use crate::head::Head;
use crate::metrics::Confusion;
use crate::report::html::{Html, escaped};
use crate::report::parts::{self, shortened};
use candle_core::Tensor;
use smalti_contract::Value;
use std::collections::BTreeMap;

/// Rows that are predicted together, rows behind each cell, and cells whose rows are shown.
const BATCH: usize = 32;
const BEHIND: usize = 6;
const CELLS: usize = 40;
/// Classes of a table; of more, those with the most errors are in it.
const CLASSES: usize = 30;
/// Errors that are shown, and the sides of the images of errors and of rows behind a cell, in pixels.
const WORST: usize = 12;
const LARGE: f32 = 96.0;
const SMALL: f32 = 40.0;

/// A prediction of a class, of a whole sample or of one of its steps or tokens.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    /// The sample.
    index: usize,
    /// The number of the step or of the token in a sample of several.
    place: Option<usize>,
    target: usize,
    predicted: usize,
    /// The probabilities of the target and of the prediction, for a whole sample.
    probabilities: Option<[f64; 2]>,
}

/// A section for each output with classes that single samples have.
pub(super) fn bodies(rows: &Rows) -> Result<Vec<(String, Html)>, InsideError> {
    let cases = cases(rows)?;
    let mut bodies = vec![];
    for (output, cases) in cases {
        let of = &rows.task.outputs()[output];
        let mut confusion = Confusion::new(of.head.labels().to_vec());
        cases.iter().for_each(|case| confusion.add(case.target, case.predicted));
        let mut body = Html::new();
        let accuracy = confusion.accuracy().unwrap_or_default();
        let n = confusion.total();
        body.element("p", "", &format!("{n} predictions of {}, {:.1}% correct.", of.name, 100.0 * accuracy));
        add_matrix(&mut body, &confusion);
        add_behind(&mut body, rows, &confusion, &cases)?;
        add_worst(&mut body, rows, confusion.labels(), &cases)?;
        bodies.push((of.name.clone(), body));
    }
    Ok(bodies)
}

/// The cases of each output with classes.
fn cases(rows: &Rows) -> Result<BTreeMap<usize, Vec<Case>>, InsideError> {
    let outputs = rows.task.outputs();
    let has_labels = |output: usize| !outputs[output].head.labels().is_empty();
    let mut all: BTreeMap<usize, Vec<Case>> = BTreeMap::new();
    if !(0..outputs.len()).any(has_labels) {
        return Ok(all);
    }
    let indices: Vec<usize> = rows.spread().collect();
    for indices in indices.chunks(BATCH) {
        let mut samples: Vec<(usize, Sample)> = vec![];
        let mut read = vec![];
        for &index in indices {
            let Some(mut sample) = rows.sample(index)? else { continue };
            sample.outputs.retain(|output| has_labels(output.head));
            read.push(index);
            samples.push((rows.number, sample));
        }
        if samples.iter().all(|(_, sample)| sample.outputs.is_empty()) {
            continue;
        }
        let batch = collate(rows.model.layouts(), &samples)?;
        for (of, output) in batch.heads.iter().zip(rows.model.outputs(&batch)?) {
            let found = of_output(&read, outputs[of.head].head.as_ref(), of, &output)?;
            all.entry(of.head).or_default().extend(found);
        }
    }
    all.retain(|_, cases| !cases.is_empty());
    Ok(all)
}

/// The cases of an output `[rows, width]` of samples with these numbers: one for each row. Targets of weight 0 are none.
fn of_output(
    indices: &[usize],
    head: &dyn Head,
    read: &HeadBatch,
    output: &Tensor,
) -> Result<Vec<Case>, InsideError> {
    let (Targets::Ids { ids, weights }, Some(classes)) = (&read.targets, head.classes(output)?) else {
        return Ok(vec![]);
    };
    let labels = head.labels();
    let mut cases = vec![];
    let predictions = head.predict(output, &read.documents)?;
    for ((rows, place), prediction) in read.documents.iter().zip(&read.places).zip(predictions) {
        let probability = |class: usize| {
            let known = prediction.probabilities.iter().find(|(label, _)| *label == labels[class]);
            known.map(|(_, probability)| *probability)
        };
        for row in rows.clone().filter(|row| weights[*row] > 0.0) {
            let [target, predicted] = [ids[row], classes[row]].map(|class| class as usize);
            cases.push(Case {
                index: indices[*place],
                place: (rows.len() > 1).then_some(row - rows.start),
                target,
                predicted,
                probabilities: probability(target).zip(probability(predicted)).map(|(a, b)| [a, b]),
            });
        }
    }
    Ok(cases)
}

/// The classes of the table: all, or those with the most errors.
fn shown_classes(confusion: &Confusion) -> Vec<usize> {
    let counts = confusion.counts();
    let errors = |class: usize| {
        let of = |other: usize| if other == class { 0 } else { counts[class][other] + counts[other][class] };
        (0..counts.len()).map(of).sum::<u64>()
    };
    let mut classes: Vec<usize> = (0..counts.len()).collect();
    classes.sort_by_key(|&class| std::cmp::Reverse(errors(class)));
    classes.truncate(CLASSES);
    classes.sort_unstable();
    classes
}

fn add_matrix(html: &mut Html, confusion: &Confusion) {
    let (classes, labels) = (shown_classes(confusion), confusion.labels());
    let names: Vec<String> = classes.iter().map(|&class| shortened(&labels[class], 24)).collect();
    let of_all = match classes.len() < labels.len() {
        true => format!(", the {} of {} classes with the most errors", classes.len(), labels.len()),
        false => String::new(),
    };
    let caption = format!("Number of predictions by target (down) and prediction (across){of_all}");
    let count = |row: usize, column: usize| {
        let n = confusion.counts()[classes[row]][classes[column]];
        (n as f32, if n == 0 { String::new() } else { n.to_string() })
    };
    add_shaded(html, &caption, [&names, &names], count);
}

/// Adds the rows behind the cells: errors first, then what is correct, each by its number.
fn add_behind(
    html: &mut Html,
    rows: &Rows,
    confusion: &Confusion,
    cases: &[Case],
) -> Result<(), InsideError> {
    let mut cells: BTreeMap<(usize, usize), Vec<&Case>> = BTreeMap::new();
    for case in cases {
        cells.entry((case.target, case.predicted)).or_default().push(case);
    }
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by_key(|((target, predicted), cases)| (target == predicted, std::cmp::Reverse(cases.len())));
    if cells.len() > CELLS {
        let n = cells.len();
        html.element("p", "", &format!("Rows behind {CELLS} of {n} cells, the most frequent errors first:"));
    }
    for ((target, predicted), cases) in cells.into_iter().take(CELLS) {
        let [target, predicted] = [target, predicted].map(|class| &confusion.labels()[class]);
        let mut inside = Html::new();
        let summary = match target == predicted {
            true => format!("{target}, correct: {}", cases.len()),
            false => format!("{target}, predicted as {predicted}: {}", cases.len()),
        };
        inside.element("summary", "", &summary);
        for case in cases.into_iter().take(BEHIND) {
            add_case(&mut inside, rows, case, SMALL, "")?;
        }
        html.nested("details", "", &inside);
    }
    Ok(())
}

/// Adds the wrong predictions with the highest loss.
fn add_worst(html: &mut Html, rows: &Rows, labels: &[String], cases: &[Case]) -> Result<(), InsideError> {
    let worst = worst(cases);
    if worst.is_empty() {
        return Ok(());
    }
    html.element("h3", "", "Worst errors");
    html.element("p", "", "Wrong predictions with the highest loss: the least probability for the target.");
    let mut list = Html::new();
    for (case, [of_target, of_predicted]) in worst {
        let [target, predicted] = [case.target, case.predicted].map(|class| &labels[class]);
        let text = format!(
            "{target} with {:.1}%, predicted as {predicted} with {:.1}%",
            100.0 * of_target,
            100.0 * of_predicted
        );
        add_case(&mut list, rows, case, LARGE, &text)?;
    }
    html.nested("div", "class=\"worst\"", &list);
    Ok(())
}

/// The wrong cases with the least probability of the target, with both probabilities.
fn worst(cases: &[Case]) -> Vec<(&Case, [f64; 2])> {
    let wrong = cases.iter().filter(|case| case.target != case.predicted);
    let mut wrong: Vec<_> = wrong.filter_map(|case| Some((case, case.probabilities?))).collect();
    wrong.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]).then(b.1[1].total_cmp(&a.1[1])));
    wrong.truncate(WORST);
    wrong
}

/// Adds the row of a case: its first image, else its first text, else its name alone.
fn add_case(html: &mut Html, rows: &Rows, case: &Case, side: f32, about: &str) -> Result<(), InsideError> {
    let Some(sample) = rows.sample(case.index)? else { return Ok(()) };
    let unit = if rows.task.has_series() { "step" } else { "token" };
    let place = case.place.map_or(String::new(), |place| format!(", {unit} {place}"));
    let name = format!("{}{place}", rows.rows.location(case.index));
    let title = [name.as_str(), about].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let title = title.join(": ");
    let mut inner = Html::new();
    let parts = parts::of(rows.task, &sample);
    let mut is_shown = false;
    for part in &parts {
        is_shown = is_shown || part.thumbnail(&mut inner, side, &title)?;
    }
    inner.element("span", "", &title);
    if let Some(text) = parts.iter().find_map(|part| part.text()).filter(|_| !is_shown) {
        inner.element("q", "", &values::text(&Value::Text(shortened(&text, 120))));
    }
    html.nested("div", &format!("class=\"case\" title=\"{}\"", escaped(&title)), &inner);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Classify, Tag};
    use candle_core::Device;

    /// The predictions of a head, of samples 4 and 7, from logits of three rows: one row and two.
    fn found(head: &dyn Head, weights: [f32; 3]) -> Vec<Case> {
        let read = HeadBatch {
            task: 0,
            head: 0,
            rows: vec![0, 1, 2],
            pools: None,
            documents: vec![0..1, 1..3],
            places: vec![0, 1],
            targets: Targets::Ids { ids: vec![0, 1, 0], weights: weights.into() },
        };
        let logits = [[0.0_f32, 2.0], [3.0, 0.0], [1.0, 0.0]];
        of_output(&[4, 7], head, &read, &Tensor::new(&logits, &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn each_row_with_a_target_is_a_case_of_labels_and_of_tags() {
        let labels = || ["cat", "dog"].map(String::from);
        let (classify, tag) = (Classify::new(labels()), Tag::new(labels()));
        for head in [&classify as &dyn Head, &tag] {
            let places: Vec<_> = found(head, [1.0, 0.0, 1.0])
                .iter()
                .map(|case| (case.index, case.place, case.target, case.predicted))
                .collect();
            assert_eq!(places, [(4, None, 0, 1), (7, Some(1), 0, 0)]);
        }
        assert!(found(&tag, [1.0; 3]).iter().all(|case| case.probabilities.is_none()));
        let [cat, dog] = found(&classify, [1.0; 3])[0].probabilities.unwrap();
        assert!((cat + dog - 1.0).abs() < 1e-6 && dog > 0.8, "{cat} {dog}");
    }

    #[test]
    fn the_worst_errors_are_wrong_and_give_the_target_the_least_probability() {
        let case = |index, predicted, p: f64| Case {
            index,
            place: None,
            target: 0,
            predicted,
            probabilities: Some([p, 1.0 - p]),
        };
        let cases = [case(0, 0, 0.9), case(1, 1, 0.3), case(2, 1, 0.1)];
        let found: Vec<usize> = worst(&cases).into_iter().map(|(case, _)| case.index).collect();
        assert_eq!(found, [2, 1]);
    }

    #[test]
    fn of_many_classes_those_with_the_most_errors_are_shown() {
        let mut confusion = Confusion::new((0..40).map(|class| class.to_string()).collect());
        confusion.add(39, 35);
        let shown = shown_classes(&confusion);
        assert!(shown.len() == CLASSES && shown.contains(&39) && shown.contains(&35));
        assert!(shown.is_sorted());
    }
}
