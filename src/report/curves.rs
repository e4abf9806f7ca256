//! The curves of a run: loss and validation metrics over steps, from the lines of `metrics.jsonl`.

use super::plot::Plot;
use crate::train::{Metrics, is_count};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// Curves with common axes: an output's loss in training and validation, or another metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// The output's name, prefixed by its task's name.
    pub task: String,
    /// The metric's name: `loss`, `accuracy`, `wer`.
    pub metric: String,
    /// The curves; each has at least one point.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// `train` or `validation`.
    pub name: &'static str,
    /// Steps and values, in the order of steps.
    pub points: Vec<(u64, f64)>,
}

/// One evaluation of all tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The number of steps before it.
    pub step: u64,
    /// The metrics of each output, by name.
    pub metrics: BTreeMap<String, Metrics>,
}

/// The evaluation in a line of [`log::lines`](crate::train::log::lines); `None` for another line. Numbers that are not finite,
/// which are `null` in JSON, are left out.
pub fn evaluation(line: &Value) -> Option<Evaluation> {
    let tasks = line["eval"].as_object()?.iter().map(|(task, metrics)| {
        let metrics = metrics.as_object().into_iter().flatten();
        (task.clone(), metrics.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
    });
    Some(Evaluation { step: line["step"].as_u64()?, metrics: tasks.collect() })
}

/// The sum of the losses of an evaluation, each with the weight of its output; infinite without a loss.
pub fn weighted_loss(evaluation: &Evaluation, loss_weights: &BTreeMap<String, f64>) -> f64 {
    let weighted = evaluation.metrics.iter().map(|(output, metrics)| {
        (loss_weights.get(output).unwrap_or(&1.0), metrics.get("loss").unwrap_or(&f64::INFINITY))
    });
    weighted.filter(|(weight, _)| **weight > 0.0).map(|(weight, loss)| weight * loss).sum()
}

/// The panels of a run: for each task its loss, then its other metrics by name.
pub fn panels(lines: &[Value]) -> Vec<Panel> {
    let mut panels = Panels::default();
    lines.iter().for_each(|line| panels.add(line));
    panels.finish()
}

/// The most points of a curve; of more, every second, fourth, … and the last are kept.
const MOST_POINTS: usize = 16_384;

/// Numbers of a training step other than losses: their names in the log, and as metrics of [`Panels::with_training`].
const OF_TRAINING: [(&str, &str); 3] =
    [("learning_rate", "learning rate"), ("grad_norm", "gradient norm"), ("tokens_per_s", "tokens/s")];

/// The panels of the lines so far.
#[derive(Default)]
pub struct Panels {
    /// Whether the learning rate, the gradient norm and the speed have panels.
    with_training: bool,
    /// The curves by task, whether the metric is not the loss, metric, and name.
    curves: BTreeMap<(String, bool, String, &'static str), Thinned>,
}

/// The points of a curve, one of every `stride`.
struct Thinned {
    points: Vec<(u64, f64)>,
    stride: usize,
    seen: usize,
    last: (u64, f64),
}

impl Panels {
    /// Panels with the learning rate, the gradient norm and the speed too, as metrics of a task without a name.
    pub fn with_training() -> Self {
        Self { with_training: true, ..Self::default() }
    }

    /// Add a line of [`log::lines`](crate::train::log::lines).
    pub fn add(&mut self, line: &Value) {
        for (task, loss) in line["losses"].as_object().into_iter().flatten() {
            if let (Some(step), Some(loss)) = (line["step"].as_u64(), loss.as_f64()) {
                self.point(task, "loss", "train", (step, loss));
            }
        }
        let of_training: &[(&str, &str)] = if self.with_training { &OF_TRAINING } else { &[] };
        for (key, metric) in of_training {
            if let (Some(step), Some(value)) = (line["step"].as_u64(), line[*key].as_f64()) {
                self.point("", metric, "train", (step, value));
            }
        }
        let Some(Evaluation { step, metrics }) = evaluation(line) else { return };
        for (task, metrics) in metrics {
            let measured = metrics.iter().filter(|(metric, _)| !is_count(metric));
            measured.for_each(|(metric, value)| self.point(&task, metric, "validation", (step, *value)));
        }
    }

    fn point(&mut self, task: &str, metric: &str, name: &'static str, point: (u64, f64)) {
        let key = (task.to_string(), metric != "loss", metric.to_string(), name);
        let new = || Thinned { points: vec![], stride: 1, seen: 0, last: point };
        let curve = self.curves.entry(key).or_insert_with(new);
        if curve.seen.is_multiple_of(curve.stride) {
            curve.points.push(point);
        }
        curve.seen += 1;
        curve.last = point;
        if curve.points.len() > MOST_POINTS {
            curve.points = curve.points.iter().copied().step_by(2).collect();
            curve.stride *= 2;
        }
    }

    /// The panels.
    pub fn finish(self) -> Vec<Panel> {
        let mut panels: Vec<Panel> = vec![];
        for ((task, _, metric, name), Thinned { mut points, last, .. }) in self.curves {
            if points.last() != Some(&last) {
                points.push(last);
            }
            let curve = Curve { name, points };
            match panels.last_mut().filter(|panel| panel.task == task && panel.metric == metric) {
                Some(panel) => panel.curves.push(curve),
                None => panels.push(Panel { task, metric, curves: vec![curve] }),
            }
        }
        panels
    }
}

impl Curve {
    /// The curve with about `most` points at most: the first, of each stretch of steps the least and the largest value, and the
    /// last.
    pub fn thinned(&self, most: usize) -> Self {
        let points = &self.points;
        if points.len() <= most.max(2) {
            return self.clone();
        }
        let stretch = points.len().div_ceil((most / 2).max(1));
        let mut kept: Vec<(u64, f64)> = points.first().copied().into_iter().collect();
        for chunk in points.chunks(stretch) {
            let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
            let mut ends: Vec<_> = [chunk.iter().min_by(by_value), chunk.iter().max_by(by_value)]
                .into_iter()
                .flatten()
                .collect();
            ends.sort_by_key(|(step, _)| *step);
            kept.extend(ends);
        }
        kept.extend(points.last());
        kept.dedup();
        Self { name: self.name, points: kept }
    }

    fn last(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |(_, value)| *value)
    }
}

impl Panel {
    /// Task, metric, and the last value of each curve.
    pub fn title(&self) -> String {
        let ends = self.curves.iter().map(|curve| format!("{} {:.4}", curve.name, curve.last()));
        format!("{} {}: {}", self.task, self.metric, ends.collect::<Vec<_>>().join(", "))
    }

    fn points(&self) -> impl Iterator<Item = &(u64, f64)> {
        self.curves.iter().flat_map(|curve| &curve.points)
    }

    pub(super) fn steps(&self) -> Range<u64> {
        let steps = || self.points().map(|(step, _)| *step);
        steps().min().unwrap_or(0)..steps().max().unwrap_or(0)
    }

    /// The least and the largest value, a little apart if they are equal.
    pub(super) fn values(&self) -> Range<f64> {
        let (low, high) = self
            .points()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
        match low {
            _ if low < high => low..high,
            0.0 => 0.0..1.0,
            one => one - 0.1 * one.abs()..one + 0.1 * one.abs(),
        }
    }

    /// The panel as text of `columns` × `rows` characters besides the labels: `.` for training, `o` for validation. A
    /// character is the mean of the steps of its column.
    pub fn plot(&self, columns: usize, rows: usize) -> String {
        let steps = self.steps();
        let mut plot = Plot::new(columns, rows, self.values());
        for curve in &self.curves {
            let mut sums = vec![(0.0, 0); plot.columns()];
            for (step, value) in &curve.points {
                let share = (step - steps.start) as f64 / (steps.end - steps.start).max(1) as f64;
                let (sum, n) = &mut sums[plot.column(share)];
                *sum += value;
                *n += 1;
            }
            for (column, (sum, n)) in sums.into_iter().enumerate().filter(|(_, (_, n))| *n > 0) {
                plot.mark(column, sum / f64::from(n), if curve.name == "train" { '.' } else { 'o' });
            }
        }
        let (from, to) = (steps.start.to_string(), format!("step {}", steps.end));
        let rest = plot.columns().saturating_sub(from.len());
        format!("{}\n{}{:>12}{from}{to:>rest$}\n", self.title(), plot.lines(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines() -> Vec<Value> {
        let mut lines: Vec<Value> = (1..=10_u32)
            .map(|i| json!({ "step": i, "loss": 1.0, "losses": { "a": 10 - i, "b": 5 } }))
            .collect();
        lines.push(
            json!({ "step": 5, "eval": { "a": { "loss": 4.0, "accuracy": 0.5 }, "b": { "loss": 2.0 } } }),
        );
        lines.push(
            json!({ "step": 10, "eval": { "a": { "loss": 3.0, "accuracy": 0.75 }, "b": { "loss": 2.5 } } }),
        );
        lines.push(json!({ "step": 11, "eval": { "a": { "loss": null }, "b": { "loss": 2.5 } } }));
        lines
    }

    #[test]
    fn a_tasks_loss_comes_first() {
        let panels = panels(&lines());
        let titles: Vec<_> = panels.iter().map(Panel::title).collect();
        assert_eq!(
            titles,
            [
                "a loss: train 0.0000, validation 3.0000",
                "a accuracy: validation 0.7500",
                "b loss: train 5.0000, validation 2.5000"
            ]
        );
        assert_eq!(panels[0].curves[0].points.len(), 10);
        assert_eq!(panels[0].curves[1].points, [(5, 4.0), (10, 3.0)], "null is left out");
    }

    #[test]
    fn long_curves_are_thinned_evenly() {
        let mut panels = Panels::default();
        for step in 1..=100_000 {
            panels.add(&json!({ "step": step, "losses": { "t": step as f64 } }));
        }
        let panels = panels.finish();
        let points = &panels[0].curves[0].points;
        assert!(points.len() > MOST_POINTS / 2 && points.len() <= MOST_POINTS + 1, "{}", points.len());
        assert_eq!((points[0], points[1].0, points.last()), ((1, 1.0), 9, Some(&(100_000, 100_000.0))));
    }

    #[test]
    fn a_thinned_curve_keeps_peaks_and_ends() {
        let value = |step: u64| if step == 5_001 { 9.0 } else { 1.0 + step as f64 * 1e-6 };
        let curve = Curve { name: "train", points: (1..=10_000).map(|step| (step, value(step))).collect() };
        let thinned = curve.thinned(100);
        assert!(thinned.points.len() <= 102, "{}", thinned.points.len());
        assert!(thinned.points.is_sorted_by(|a, b| a.0 < b.0) && thinned.points.contains(&(5_001, 9.0)));
        assert_eq!((thinned.points[0].0, thinned.points.last().unwrap().0), (1, 10_000));
        assert_eq!(curve.thinned(10_000), curve);
    }

    #[test]
    fn the_numbers_of_training_have_panels_on_request() {
        let line = json!({ "step": 3, "losses": { "t": 2.0 }, "learning_rate": 0.5, "grad_norm": null });
        let titles = |mut panels: Panels| {
            panels.add(&line);
            panels.finish().iter().map(|panel| panel.metric.clone()).collect::<Vec<_>>()
        };
        assert_eq!(titles(Panels::default()), ["loss"]);
        assert_eq!(titles(Panels::with_training()), ["learning rate", "loss"]);
    }

    #[test]
    fn a_plot_marks_training_and_validation() {
        let train = Curve { name: "train", points: (0..=8).map(|i| (i, 8.0 - i as f64)).collect() };
        let validation = Curve { name: "validation", points: vec![(4, 6.0), (8, 4.0)] };
        let panel = Panel { task: "t".into(), metric: "loss".into(), curves: vec![train, validation] };
        let expected = "\
t loss: train 0.0000, validation 4.0000
    8.0000 |.
           | .. o
           |   ..   o
           |     ..
    0.0000 |       ..
           +---------
            0  step 8
";
        assert_eq!(panel.plot(9, 5), expected);
    }

    #[test]
    fn one_point_is_drawn() {
        let point = Curve { name: "validation", points: vec![(7, 2.0)] };
        let panel = Panel { task: "t".into(), metric: "wer".into(), curves: vec![point] };
        let plot = panel.plot(12, 3);
        assert_eq!(
            plot.lines()
                .map(|line| line.split_once('|').map_or(0, |(_, row)| row.matches('o').count()))
                .sum::<usize>(),
            1,
            "{plot}"
        );
        assert!(plot.contains("    2.2000 |") && plot.contains("    1.8000 |"), "{plot}");
        let none = Curve { name: "validation", points: vec![(7, 0.0)] };
        let panel = Panel { curves: vec![none], ..panel };
        assert_eq!(panel.values(), 0.0..1.0, "an accuracy is not below 0");
    }
}
