//! The result of an experiment.

use super::bounds::{Judged, Measured};
use super::experiment::Experiment;
use super::forms::FigureSpec;
use super::points::MeasureId;
use super::texts::WrittenText;
use crate::report::chart::Matrices;
use indexmap::IndexMap;
use serde::Serialize;

/// The values of measures by seed, in the order in which they are measured.
#[derive(Default)]
pub(super) struct Measurements {
    measures: Vec<(MeasureId, Vec<f64>)>,
    /// The matrices of measures of an alignment or of positions, with the first seed.
    views: IndexMap<String, Matrices>,
    /// Computed baselines.
    pub baselines: IndexMap<String, f64>,
    /// The texts of the first seed.
    pub texts: Vec<WrittenText>,
    /// The runs that are left out, with the reason.
    pub left_out: IndexMap<String, String>,
    /// Seconds of training, of all seeds, also of runs that others need.
    pub seconds: f64,
}

impl Measurements {
    /// Adds the value of a measure for a seed.
    pub fn add(&mut self, id: &MeasureId, seed: usize, value: f64) {
        match self.measures.iter_mut().find(|(known, _)| known == id) {
            Some((_, values)) => {
                values.resize(seed.max(values.len()), f64::NAN);
                values.push(value);
            }
            None => self.measures.push((id.clone(), vec![value])),
        }
    }

    /// Adds the matrices of a measure, if they are of the first seed.
    pub fn add_view(&mut self, id: &MeasureId, seed: u64, matrices: Matrices) {
        if seed == 0 {
            self.views.insert(id.to_string(), matrices);
        }
    }
}

/// The result of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The experiment's name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows.
    pub text: String,
    /// Its papers.
    pub papers: Vec<String>,
    /// Whether it was a quick check, which claims nothing.
    pub quick: bool,
    /// The number of seeds.
    pub seeds: usize,
    /// Seconds of training for each seed.
    pub seconds: f64,
    /// The runs that are left out, by name, with the reason.
    pub left_out: IndexMap<String, String>,
    /// The measures, by name.
    pub measures: IndexMap<String, Stat>,
    /// The published numbers, by the names of their measures or by names of their own.
    pub references: IndexMap<String, f64>,
    /// Where they are published; says so if they were not looked up there.
    pub source: String,
    /// The baselines, by name.
    pub baselines: IndexMap<String, BaselineValue>,
    /// The bounds.
    pub bounds: Vec<Judged>,
    /// Texts that the runs wrote.
    pub texts: Vec<WrittenText>,
    /// Whether all bounds hold; `None` for a quick check, and if those that were measured hold and others were not measured.
    pub passed: Option<bool>,
    #[serde(skip)]
    pub(super) specs: Vec<FigureSpec>,
    #[serde(skip)]
    pub(super) views: IndexMap<String, Matrices>,
    #[serde(skip)]
    pub(super) ids: Vec<MeasureId>,
}

/// A measure over several seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stat {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation; 0 for one seed.
    pub deviation: f64,
    /// Its value for each seed.
    pub values: Vec<f64>,
}

/// A number to compare a measure with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineValue {
    /// The measure.
    pub of: String,
    /// The number.
    pub value: f64,
    /// Where it is from.
    pub source: String,
}

impl Stat {
    /// The statistics of the values of some seeds.
    pub fn of(values: Vec<f64>) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        Self { mean, deviation, values }
    }
}

impl Report {
    pub(super) fn of(experiment: &Experiment, quick: bool, measured: Measurements) -> Self {
        let Measurements { measures, views, baselines: mut computed, texts, left_out, seconds } = measured;
        let ids = measures.iter().map(|(id, _)| id.clone()).collect();
        let measures = measures.into_iter().map(|(id, values)| (id.to_string(), Stat::of(values))).collect();
        let baselines = experiment.baselines.iter().filter_map(|(name, baseline)| {
            let unigram = || "the most frequent target, computed in the run".to_string();
            let value = baseline.value.or_else(|| computed.shift_remove(name))?;
            let source = baseline.source.clone().unwrap_or_else(unigram);
            Some((name.clone(), BaselineValue { of: baseline.of.clone(), value, source }))
        });
        let source = experiment.reference.as_ref().map(|reference| match reference.checked {
            true => reference.source.clone(),
            false => format!("{} (not checked)", reference.source),
        });
        let mut report = Self {
            name: experiment.name.clone(),
            title: experiment.title.clone(),
            text: experiment.text.trim().into(),
            papers: experiment.papers.clone(),
            quick,
            seeds: experiment.seeds,
            seconds: seconds / experiment.seeds.max(1) as f64,
            left_out,
            measures,
            references: experiment.reference.iter().flat_map(|reference| reference.values.clone()).collect(),
            source: source.unwrap_or_default(),
            baselines: baselines.collect(),
            bounds: vec![],
            texts,
            passed: None,
            specs: experiment.figures.clone(),
            views,
            ids,
        };
        report.bounds = experiment.bounds.iter().map(|bound| bound.judge(&report)).collect();
        match quick {
            true => report.bounds.iter_mut().for_each(|bound| bound.passed = None),
            false if report.bounds.iter().any(|bound| bound.passed == Some(false)) => {
                report.passed = Some(false)
            }
            false => report.passed = report.bounds.iter().all(|bound| bound.passed.is_some()).then_some(true),
        }
        report
    }

    /// The measures that a name stands for.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = (&MeasureId, &Stat)> {
        self.ids
            .iter()
            .filter(move |id| id.is(name))
            .filter_map(|id| Some((id, self.measures.get(&id.to_string())?)))
    }
}

impl Measured for Report {
    fn value(&self, name: &str, seed: Option<usize>) -> Option<f64> {
        let mut found = self.named(name).map(|(_, stat)| stat);
        let (stat, others) = (found.next()?, found.next());
        // A name that stands for several measures is no value.
        others.is_none().then(|| seed.map_or(Some(stat.mean), |seed| stat.values.get(seed).copied()))?
    }

    fn series(&self, name: &str, seed: Option<usize>) -> Vec<(f64, f64)> {
        let point = |(id, stat): (&MeasureId, &Stat)| {
            let y = seed.map_or(Some(stat.mean), |seed| stat.values.get(seed).copied())?;
            Some((id.swept()?.parse().ok()?, y))
        };
        self.named(name).filter_map(point).collect()
    }

    fn seeds(&self) -> usize {
        self.seeds
    }
}
