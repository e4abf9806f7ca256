//! The figures of a report.

use super::forms::{FigureKind, FigureSpec};
use super::points::MeasureId;
use super::report::{Report, Stat};
use crate::report::chart::{Bar, Chart, Point, Series};
use crate::report::figure::{self, Scene};

impl Report {
    /// The figures with at least one measured value, in the order of the experiment.
    pub fn figures(&self) -> Vec<Scene> {
        self.specs.iter().filter_map(|spec| self.figure(spec)).collect()
    }

    /// A figure; `None` if none of its measures was measured.
    fn figure(&self, spec: &FigureSpec) -> Option<Scene> {
        self.measured(&spec.measures).next()?;
        let chart = Chart { title: self.title.clone(), x: spec.x.clone(), y: spec.y.clone(), log: spec.log };
        Some(match spec.kind {
            FigureKind::Bars => figure::bars(&chart, &self.bars(&spec.measures)),
            FigureKind::Lines => figure::lines(&chart, &self.lines(&spec.measures)),
            FigureKind::Matrix => {
                let mut measured = self.measured(&spec.measures);
                figure::matrices(&chart, measured.find_map(|(id, _)| self.views.get(&id.to_string()))?)
            }
        })
    }

    /// The values of the measures, as far as they were measured.
    fn measured<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = (&'a MeasureId, &'a Stat)> {
        names.iter().flat_map(|name| self.named(name))
    }

    fn bars(&self, measures: &[String]) -> Vec<Bar> {
        let bar = |name: String, value, deviation| {
            let reference = self.references.get(&name).copied();
            Bar { name, value, deviation, reference }
        };
        let ours = self.measured(measures).map(|(id, stat)| bar(id.to_string(), stat.mean, stat.deviation));
        let is_drawn = |of: &str| self.measured(measures).any(|(id, _)| id.is(of));
        let others = self.baselines.iter().filter(|(_, baseline)| is_drawn(&baseline.of));
        let others = others.map(|(name, baseline)| bar(name.clone(), baseline.value, 0.0));
        ours.chain(others).collect()
    }

    fn lines(&self, measures: &[String]) -> Vec<Series> {
        let series = |name: &String| {
            let points = self.named(name).enumerate().map(|(place, (id, stat))| {
                let label = id.swept().unwrap_or_default().to_string();
                let x = label.parse().unwrap_or(place as f64);
                Point { label, x, value: stat.mean, deviation: stat.deviation }
            });
            Series { name: name.clone(), points: points.collect() }
        };
        measures.iter().map(series).collect()
    }
}
