//! Generated values, judged by another run.

use super::ReproduceError;
use super::evaluation::{ByOutput, generation};
use super::experiment::Measure;
use crate::config::TaskEntry;
use crate::data::{DataError, Dataset, Sample};
use crate::inference::{Generated, PredictError, generate_rows};
use crate::model::Model;
use crate::run::{NamedTask, Run, RunError, Weights};
use crate::sample::{Composition, Opened, Part, Purpose, Role, Samples};
use crate::task::joined;
use crate::train::evaluate;
use candle_core::Device;
use smalti_contract::{TokenizeError, Value};

/// A run that is evaluated on rows with generated values in place of their own.
pub(super) struct Judge {
    model: Model,
    tasks: Vec<NamedTask>,
}

impl Judge {
    /// The judge of a run, with its best weights.
    pub fn open(run: &Run, device: &Device) -> Result<Self, RunError> {
        let (model, tasks) = run.load(Weights::Best, device)?;
        Ok(Self { model, tasks })
    }

    /// The judge's metrics of the values that a model generates for an output.
    pub fn measure(
        &self,
        model: &Model,
        opened: &[(TaskEntry, Opened)],
        measure: &Measure,
        batch: usize,
    ) -> Result<ByOutput, ReproduceError> {
        let is_there = |value: &Value| !value.is_missing();
        let mut all = ByOutput::new();
        for (number, (entry, opened)) in opened.iter().enumerate() {
            let (task, rows) = (opened.task.as_ref(), opened.validation_rows.as_ref());
            let settings = generation(measure);
            let values = generate_rows(model, number, task, rows, measure.generate, &settings, &is_there)?;
            for part in task.parts() {
                let Role::Generated(output) = part.role else { continue };
                let name = joined(&[&entry.name, &task.outputs()[output].name]);
                if measure.output.as_ref().is_some_and(|chosen| *chosen != name) {
                    continue;
                }
                let own: Vec<&Generated> = values.iter().filter(|made| made.output == output).collect();
                if !own.is_empty() {
                    all.extend(self.of_values(part, rows, &own, batch)?);
                }
            }
        }
        Ok(all)
    }

    /// The metrics of rows with these values in place of a part's own.
    fn of_values(
        &self,
        part: &Part,
        rows: &Samples,
        values: &[&Generated],
        batch: usize,
    ) -> Result<ByOutput, ReproduceError> {
        let mut all = ByOutput::new();
        for (number, named) in self.tasks.iter().enumerate() {
            let sample = |made: &&Generated| judged(&named.task, part, rows, made);
            let samples = values.iter().map(sample).collect::<Result<_, _>>().map_err(PredictError::from)?;
            let task = named.task.as_ref();
            all.extend(
                evaluate(&self.model, number, task, &JudgedSamples(samples), 0, batch, &mut vec![])?
                    .metrics(),
            );
        }
        Ok(all)
    }
}

/// The judge's sample of a row with a generated value in place of a part's own.
fn judged(
    judge: &Composition,
    part: &Part,
    rows: &Samples,
    made: &Generated,
) -> Result<Sample, TokenizeError> {
    let (get, steps, id) = rows.row(made.sample);
    let replaced = |field: &str| match part.fields.iter().any(|own| own == field) {
        true => Ok(made.value.clone()),
        false => get(field),
    };
    judge.sample(&replaced, steps, Purpose::Evaluate(0), id)
}

/// The samples that are judged, as a data set.
struct JudgedSamples(Vec<Sample>);

impl Dataset for JudgedSamples {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
        Ok(self.0[index].clone())
    }
}
