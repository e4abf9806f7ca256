//! Initialization of a new model from the weights of another, as far as they fit.

use super::{Run, RunError, Weights, specs};
use crate::config::RunConfig;
use crate::head::HeadSpec;
use crate::model::{Model, Params};
use crate::task::{TaskSpec, joined};
use crate::train::TrainTask;
use candle_core::{Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};
use smalti_contract::KindSpec;
use std::collections::{BTreeMap, BTreeSet};

/// Which weights a new model loaded from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Parameters loaded unchanged.
    pub loaded: Vec<String>,
    /// Position tables of another size, interpolated.
    pub interpolated: Vec<String>,
    /// Randomly initialized parameters: the other model has none of that name, or another shape.
    pub new: Vec<String>,
    /// Parameters of the other model that are not used; and that heads are no longer tied, if none is left that could be.
    pub skipped: Vec<String>,
}

/// What a start lists if it unties the heads.
pub(super) const UNTIED: &str = "model.head.tie_embeddings: no output predicts tokens of a vocabulary";

/// Unties the heads of a run that starts from one with tied heads, if it has no head that could be tied. Returns whether it did.
pub(super) fn untie(config: &mut RunConfig, tasks: &[TrainTask], before: &RunConfig) -> bool {
    let mut heads = tasks.iter().flat_map(|task| &task.task.spec().heads);
    let is_idle = !heads.any(|head| head.head.is_vocabulary());
    let unties = is_idle && config.model.head.tie_embeddings && before.model.head.tie_embeddings;
    config.model.head.tie_embeddings &= !unties;
    unties
}

/// The parameters of a run that starts from another, of which those that are loaded are not drawn, and the other run's model.
pub(super) fn params(
    config: &RunConfig,
    tasks: &[TrainTask],
    device: &Device,
    other: &Run,
) -> std::result::Result<(Params, Model), RunError> {
    // Zeros take no memory until they are written to.
    let shape = Model::with_params(&config.model, &specs(tasks), Params::blank(&Device::Cpu))?;
    let (before, _) = other.load(Weights::Best, device)?;
    let loaded = unchanged(&shape, &before);
    Ok((Params::new(config.train.seed, device).set_later(loaded), before))
}

/// The names of the parameters of `model` that [`start`] sets to those of `other`, unchanged.
pub(super) fn unchanged(model: &Model, other: &Model) -> BTreeSet<String> {
    let (before, changed_labels) = (other.params().tensors(), changed_labels(model, other));
    let is_unchanged = |(name, var): &(&str, &Var)| {
        *name != TYPES
            && !changed_labels.iter().any(|head| name.starts_with(head))
            && before.get(&name_before(name, model, other)).is_some_and(|old| old.dims() == var.dims())
    };
    model.params().iter().filter(is_unchanged).map(|(name, _)| name.to_string()).collect()
}

/// Sets the parameters of `model` from those of `other`, by name.
///
/// A position table of another size is interpolated: bicubically over the rows and columns of an image, as usual for vision
/// transformers; linearly along an index or time that is longer. A shorter one is truncated.
///
/// The parameters of a run of one task have no task prefix, so those of a task of a mix are looked up without it.
pub(super) fn start(model: &Model, other: &Model) -> Result<Start> {
    let before = other.params().tensors();
    let mut report = Start::default();
    let (changed_labels, unchanged) = (changed_labels(model, other), unchanged(model, other));
    let mut used = BTreeSet::new();
    for (name, var) in model.params().iter() {
        let known = name_before(name, model, other);
        used.insert(known.clone());
        let Some(old) = before.get(&known) else {
            report.new.push(name.into());
            continue;
        };
        if changed_labels.iter().any(|head| name.starts_with(head)) {
            report.new.push(name.into());
            report.skipped.push(format!("{name}: its head has other labels in the new model"));
            continue;
        }
        if name == TYPES {
            load_types(var, old, [other, model], &mut report)?;
        } else if unchanged.contains(name) {
            var.set(old)?;
            report.loaded.push(name.into());
        } else if let Some(resized) = resized([&known, name], old, [other.kinds(), model.kinds()])?
            && resized.dims() == var.dims()
        {
            var.set(&resized.to_device(var.device())?)?;
            report.interpolated.push(format!("{name} {:?} → {:?}", old.dims(), var.dims()));
        } else {
            report.new.push(name.into());
            report.skipped.push(format!("{name} {:?}, in the new model {:?}", old.dims(), var.dims()));
        }
    }
    report.skipped.extend(before.keys().filter(|name| !used.contains(*name)).cloned());
    Ok(report)
}

/// The name of a parameter or token kind in the other model.
fn name_before(name: &str, model: &Model, other: &Model) -> String {
    let of_one_task = other.tasks().iter().all(|task| task.name.is_empty());
    let tasks = model.tasks().iter().filter(|task| of_one_task && !task.name.is_empty());
    for task in tasks {
        for place in ["embed.", "head.", ""] {
            let rest = name.strip_prefix(place).and_then(|rest| rest.strip_prefix(task.name.as_str()));
            if let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) {
                return format!("{place}{rest}");
            }
        }
    }
    name.into()
}

/// The parameter prefixes of heads whose labels differ from the other model's; their rows stand for other classes.
fn changed_labels(model: &Model, other: &Model) -> Vec<String> {
    let labels = |model: &Model| -> BTreeMap<String, Vec<String>> {
        let of_task = |task: &TaskSpec| {
            let of_head = |head: &HeadSpec| {
                (joined(&["head", &task.name, &head.name]) + ".", head.head.labels().to_vec())
            };
            task.heads.iter().map(of_head).collect::<Vec<_>>()
        };
        model.tasks().iter().flat_map(of_task).collect()
    };
    let before = labels(other);
    let changed = |(head, labels): &(String, Vec<String>)| {
        before.get(&name_before(head, model, other)).is_some_and(|known| known != labels)
    };
    labels(model).into_iter().filter(changed).map(|(head, _)| head).collect()
}

/// The type embeddings, one row per token kind.
const TYPES: &str = "embed.types";

/// Loads the type embedding of each token kind from the kind of the same name.
fn load_types(var: &Var, old: &Tensor, [other, model]: [&Model; 2], report: &mut Start) -> Result<()> {
    let (Ok((_, width)), Ok((_, d))) = (old.dims2(), var.dims2()) else { return Ok(()) };
    let place = |name: &str| {
        let name = name_before(name, model, other);
        other.kinds().iter().position(|known| known.name == name).filter(|_| width == d)
    };
    let mut rows = Vec::with_capacity(model.kinds().len());
    for (number, kind) in model.kinds().iter().enumerate() {
        let row = match place(&kind.name) {
            Some(known) => old.narrow(0, known, 1)?.to_device(var.device())?,
            None => var.as_tensor().narrow(0, number, 1)?,
        };
        let list = if place(&kind.name).is_some() { &mut report.loaded } else { &mut report.new };
        list.push(format!("{TYPES} of {}", kind.name));
        rows.push(row);
    }
    var.set(&Tensor::cat(&rows, 0)?)
}

/// A position table interpolated to the sizes of its kind in the new model; `None` for other parameters.
fn resized([before, name]: [&str; 2], old: &Tensor, [then, now]: [&[KindSpec]; 2]) -> Result<Option<Tensor>> {
    fn split(name: &str) -> Option<(&str, &str)> {
        name.strip_prefix("embed.")?.rsplit_once('.')
    }
    let (Some((known, _)), Some((kind, table))) = (split(before), split(name)) else { return Ok(None) };
    let find = |kinds: &[KindSpec], kind: &str| kinds.iter().find(|spec| spec.name == kind).cloned();
    let (Some(then), Some(now), &[_, d]) = (find(then, known), find(now, kind), old.dims()) else {
        return Ok(None);
    };
    let axis = |spec: &KindSpec| match table {
        "time" => spec.time_steps,
        axis => spec.axes.iter().find(|known| known.name == axis).map(|known| known.size),
    };
    let values = old.flatten_all()?.to_vec1::<f32>()?;
    let sizes = |spec: &KindSpec| -> Option<[usize; 2]> {
        match &spec.axes[..] {
            [one] => Some([1, one.size]),
            [rows, columns] => Some([rows.size, columns.size]),
            _ => None,
        }
    };
    let (new, n) = match (table, axis(&then).zip(axis(&now)), sizes(&then).zip(sizes(&now))) {
        ("grid", _, Some((from, to))) => (bicubic(&values, from, to, d), to[0] * to[1]),
        ("row" | "column", Some((from, to)), _) => (bicubic(&values, [1, from], [1, to], d), to),
        (_, Some((from, to)), _) if to <= from => (values[..to * d].to_vec(), to),
        (_, Some((from, to)), _) => (linear(&values, from, to, d), to),
        _ => return Ok(None),
    };
    Ok(Some(Tensor::from_vec(new, (n, d), &Device::Cpu)?))
}

/// The position in the old table for position `i` of the new one, with aligned cell centres.
fn old_position(i: usize, from: usize, to: usize) -> f64 {
    (i as f64 + 0.5) * from as f64 / to as f64 - 0.5
}

/// `[from, d]` → `[to, d]`.
fn linear(values: &[f32], from: usize, to: usize, d: usize) -> Vec<f32> {
    let mut new = Vec::with_capacity(to * d);
    for i in 0..to {
        let at = old_position(i, from, to).clamp(0.0, (from - 1) as f64);
        let (low, share) = (at as usize, (at - at.floor()) as f32);
        let high = (low + 1).min(from - 1);
        new.extend((0..d).map(|j| (1.0 - share) * values[low * d + j] + share * values[high * d + j]));
    }
    new
}

/// `[rows·columns, d]` of one grid → another, as PyTorch's bicubic interpolation without `align_corners` (Keys 1981, with a
/// slope of −0.75).
fn bicubic(values: &[f32], from: [usize; 2], to: [usize; 2], d: usize) -> Vec<f32> {
    let weights = |i: usize, from: usize, to: usize| -> [(usize, f64); 4] {
        let at = old_position(i, from, to);
        let (low, t) = (at.floor() as i64, at - at.floor());
        let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
        let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
        let weight = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        [0, 1, 2, 3].map(|k| ((low - 1 + k as i64).clamp(0, from as i64 - 1) as usize, weight[k]))
    };
    const A: f64 = -0.75;
    let mut new = vec![0.0; to[0] * to[1] * d];
    for (cell, vector) in new.chunks_exact_mut(d.max(1)).enumerate() {
        for (row, y) in weights(cell / to[1], from[0], to[0]) {
            for (column, x) in weights(cell % to[1], from[1], to[1]) {
                let old = &values[(row * from[1] + column) * d..][..d];
                vector.iter_mut().zip(old).for_each(|(new, old)| *new += (y * x) as f32 * old);
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_interpolated_as_by_pytorch() {
        // torch.nn.functional.interpolate(torch.arange(4.).view(1, 1, 2, 2), size=(3, 3), mode="bicubic")
        let resized = bicubic(&[0.0, 1.0, 2.0, 3.0], [2, 2], [3, 3], 1);
        let expected =
            [-0.260417, 0.326389, 0.913194, 0.913195, 1.5, 2.086806, 2.086806, 2.673611, 3.260_417];
        assert!(resized.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{resized:?}");
        let same: Vec<f32> = (0..12).map(|x| x as f32).collect();
        assert_eq!(bicubic(&same, [2, 3], [2, 3], 2), same);
    }

    #[test]
    fn lines_are_interpolated_linearly() {
        assert_eq!(linear(&[0.0, 4.0], 2, 4, 1), [0.0, 1.0, 3.0, 4.0]);
    }
}
