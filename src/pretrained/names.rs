//! Mapping published tensors to parameters and back.

mod layout;
mod mean;
mod numbers;

pub use layout::Layout;

use super::PretrainedError;
use candle_core::{DType, Result as TensorResult, Tensor};
use mean::Mean;
use std::collections::{BTreeMap, BTreeSet};

/// Published tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A map between the tensor names of a kind of checkpoint and parameter names.
#[derive(Default)]
pub struct NameMap {
    rules: Vec<Rule>,
    means: Vec<Mean>,
    /// Published tensors that repeat another, such as the matrix of a tied head.
    repeats: Vec<(String, String)>,
    /// Suffixes of the names of published tensors that the model does not read.
    unread: Vec<String>,
    /// Beginnings of such names.
    unread_under: Vec<&'static str>,
}

/// Equates the concatenated rows of parameters (`ours`) and of published tensors (`theirs`).
struct Rule {
    ours: Vec<String>,
    /// Several have the same number of rows each; `None` is zeros.
    theirs: Vec<Option<String>>,
    layout: Layout,
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Number of loaded parameter tensors.
    pub loaded: usize,
    /// Number of their elements.
    pub numbers: usize,
    /// Published tensors that repeat another, with the other's name.
    pub repeated: Vec<(String, String)>,
    /// Published tensors that the model does not read, kept for export.
    pub unread: Vec<String>,
    /// Settings that were ignored because the user said so.
    pub ignored: Vec<String>,
    /// Whether the checkpoint has no vocabulary: its texts are ids, separated by spaces.
    pub ids_as_text: bool,
}

impl NameMap {
    /// Equate the concatenated rows of `ours` and `theirs`, which have the same number of rows each.
    pub fn rows(&mut self, ours: &[&str], theirs: &[&str], layout: Layout) {
        let theirs = theirs.iter().map(|name| Some(name.to_string())).collect();
        self.rules.push(Rule { ours: ours.iter().map(|name| name.to_string()).collect(), theirs, layout });
    }

    /// Equate a parameter and a tensor of the same layout.
    pub fn one(&mut self, ours: &str, theirs: &str) {
        self.rows(&[ours], &[theirs], Layout::Same);
    }

    /// Equate the concatenated weights of linear layers, and their biases if `bias`.
    pub fn maps(&mut self, ours: &[&str], theirs: &[&str], bias: bool, layout: Layout) {
        let ends = |names: &[&str], end: &str| -> Vec<String> {
            names.iter().map(|n| format!("{n}.{end}")).collect()
        };
        let mut add = |end, layout| {
            let (ours, theirs) = (ends(ours, end), ends(theirs, end));
            let theirs = theirs.into_iter().map(Some).collect();
            self.rules.push(Rule { ours, theirs, layout });
        };
        add("weight", layout);
        if bias {
            add("bias", Layout::Same);
        }
    }

    /// Equate a linear layer or a norm.
    pub fn map(&mut self, ours: &str, theirs: &str, bias: bool) {
        self.maps(&[ours], &[theirs], bias, Layout::Same);
    }

    /// Equate a linear layer with the mean of several, of which each reads another part of the input.
    pub fn mean_of_maps(&mut self, ours: &str, theirs: &[&str]) {
        let theirs = theirs.iter().map(|name| name.to_string()).collect();
        self.means.push(Mean { ours: ours.into(), theirs });
    }

    /// Equate a parameter and the first row of a table. The whole table is kept for export.
    pub fn first_row(&mut self, ours: &str, theirs: &str) {
        self.rows(&[ours], &[theirs], Layout::FirstRow);
    }

    /// Equate a projection of keys and values, where only values have a bias: softmax cancels a bias of keys.
    pub fn key_value_without_key_bias(&mut self, ours: &str, key: &str, value: &str) {
        let theirs = vec![Some(format!("{key}.weight")), Some(format!("{value}.weight"))];
        self.rules.push(Rule { ours: vec![format!("{ours}.weight")], theirs, layout: Layout::Same });
        let theirs = vec![None, Some(format!("{value}.bias"))];
        self.rules.push(Rule { ours: vec![format!("{ours}.bias")], theirs, layout: Layout::Same });
    }

    /// Allow a tensor `name` that equals `other`.
    pub fn repeats(&mut self, name: &str, other: &str) {
        self.repeats.push((name.into(), other.into()));
    }

    /// Allow tensors with these suffixes, which are not read.
    pub fn unread(&mut self, ends: &[&str]) {
        self.unread.extend(ends.iter().map(|end| end.to_string()));
    }

    /// Allow tensors whose names begin with these, which are not read: those of another model in the same files.
    pub fn unread_under(&mut self, beginnings: &[&'static str]) {
        self.unread_under.extend(beginnings);
    }

    /// Convert published tensors to parameters of the `expected` shapes. Also the tensors that are not read, unchanged.
    ///
    /// # Errors
    /// [`PretrainedError::Tensors`], with the tensors that are missing, unknown or of another shape.
    pub fn import(
        &self,
        file: &str,
        published: &Tensors,
        expected: &BTreeMap<String, Vec<usize>>,
    ) -> Result<(Tensors, Tensors, Report), PretrainedError> {
        let (mut ours, mut problems, mut used) = (Tensors::new(), Vec::new(), BTreeSet::new());
        for rule in &self.rules {
            match rule.import(published, expected) {
                Ok(tensors) => ours.extend(tensors),
                Err(found) => problems.extend(found),
            }
            used.extend(rule.theirs.iter().flatten().cloned());
        }
        let mut unread = Tensors::new();
        for mean in &self.means {
            match mean.import(published, expected) {
                Ok(tensors) => ours.extend(tensors),
                Err(found) => problems.extend(found),
            }
            used.extend(mean.published());
            unread.extend(
                mean.biases().filter_map(|name| published.get(&name).map(|bias| (name, bias.clone()))),
            );
        }
        let mut report = Report { repeated: self.repeated(published, &mut problems), ..Report::default() };
        used.extend(self.repeats.iter().map(|(name, _)| name.clone()));
        unread.extend(self.read_in_part(published));
        for (name, tensor) in published.iter().filter(|(name, _)| !used.contains(*name)) {
            let is_known = self.unread.iter().any(|end| name.ends_with(end))
                || self.unread_under.iter().any(|beginning| name.starts_with(beginning));
            match is_known {
                true => _ = unread.insert(name.clone(), tensor.clone()),
                false => problems.push(format!("{name} {:?} is not a tensor of this model", tensor.dims())),
            }
        }
        let unmapped = expected.keys().filter(|name| !ours.contains_key(*name));
        if problems.is_empty() {
            problems.extend(unmapped.map(|name| format!("no published tensor is mapped to {name}")));
        }
        if !problems.is_empty() {
            return Err(PretrainedError::Tensors {
                file: file.into(),
                problems: smalti_contract::listed(problems, "; "),
            });
        }
        report.loaded = ours.len();
        report.numbers = ours.values().map(Tensor::elem_count).sum();
        report.unread = unread.keys().cloned().collect();
        Ok((ours, unread, report))
    }

    /// The published tensors that repeat another, with the other's name. Those with other values are added to `problems`.
    fn repeated(&self, published: &Tensors, problems: &mut Vec<String>) -> Vec<(String, String)> {
        let mut repeated = vec![];
        for (name, other) in &self.repeats {
            let Some(tensor) = published.get(name) else { continue };
            match published.get(other) {
                Some(first) if !same(tensor, first) => {
                    problems.push(format!("expected {name} to equal {other}; found other values"));
                }
                _ => repeated.push((name.clone(), other.clone())),
            }
        }
        repeated
    }

    /// The published tables of which only some rows are read.
    fn read_in_part(&self, published: &Tensors) -> Tensors {
        let mut tables = Tensors::new();
        for rule in &self.rules {
            let Some(read) = rule.layout.rows_read() else { continue };
            let found = rule.theirs.iter().flatten().filter_map(|name| published.get_key_value(name));
            let longer =
                found.filter(|(_, table)| table.dims().first().is_some_and(|&rows| rows > read.len()));
            tables.extend(longer.map(|(name, table)| (name.clone(), table.clone())));
        }
        tables
    }

    /// Convert parameters to published tensors, and add those that [`import`](Self::import) did not read.
    ///
    /// # Errors
    /// If a parameter is missing.
    pub fn export(&self, ours: &Tensors, unread: &Tensors) -> Result<Tensors, PretrainedError> {
        let mut published = unread.clone();
        for rule in &self.rules {
            rule.export(ours, &mut published)?;
        }
        for mean in &self.means {
            mean.export(ours, &mut published)?;
        }
        Ok(published)
    }
}

impl Rule {
    fn import(
        &self,
        published: &Tensors,
        expected: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<(String, Tensor)>, Vec<String>> {
        let names: Vec<&String> = self.theirs.iter().flatten().collect();
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !published.contains_key(**name))
            .map(|name| format!("{name} is missing"))
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let shape =
            |name: &String| expected.get(name).ok_or_else(|| vec![format!("the model has no {name}")]);
        let shapes = self.ours.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
        let rows = shapes.iter().map(|shape| shape[0]).sum::<usize>();
        let wanted = [vec![rows / self.theirs.len()], shapes[0][1..].to_vec()].concat();
        let read = |name: &Option<String>| -> Result<Tensor, String> {
            let Some(name) = name else {
                let zero = Tensor::zeros((), DType::F32, &candle_core::Device::Cpu);
                return zero.and_then(|zero| zero.broadcast_as(&*wanted)).map_err(|e| e.to_string());
            };
            let tensor = &published[name];
            let misfit = || {
                let expected = self.layout.theirs_of(&wanted);
                format!("{name} is {:?}, expected {expected:?}", tensor.dims())
            };
            let fits = tensor.dims() == self.layout.theirs_of(&wanted);
            let ours = self.layout.to_ours(tensor);
            let ours = ours.map_err(|e| if fits { format!("{name}: {e}") } else { misfit() })?;
            if ours.dims() == wanted { Ok(ours) } else { Err(misfit()) }
        };
        let (parts, problems): (Vec<_>, Vec<_>) = self.theirs.iter().map(read).partition(Result::is_ok);
        if !problems.is_empty() {
            return Err(problems.into_iter().filter_map(Result::err).collect());
        }
        let cut = || -> TensorResult<Vec<(String, Tensor)>> {
            let all = Tensor::cat(&parts.into_iter().flatten().collect::<Vec<_>>(), 0)?;
            let mut start = 0;
            let piece = |(name, shape): (&String, &&Vec<usize>)| {
                let piece = all.narrow(0, start, shape[0])?.contiguous()?;
                start += shape[0];
                Ok((name.clone(), piece))
            };
            self.ours.iter().zip(&shapes).map(piece).collect()
        };
        cut().map_err(|e| vec![e.to_string()])
    }

    fn export(&self, ours: &Tensors, published: &mut Tensors) -> Result<(), PretrainedError> {
        let parts = self.ours.iter().map(|name| ours.get(name).cloned().ok_or_else(|| missing(name)));
        let all = Tensor::cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)?;
        let rows = all.dim(0)? / self.theirs.len();
        for (i, name) in self.theirs.iter().enumerate() {
            if let Some(name) = name {
                let mut piece = self.layout.to_theirs(&all.narrow(0, i * rows, rows)?.contiguous()?)?;
                if let (Some(read), Some(table)) = (self.layout.rows_read(), published.get(name)) {
                    let before = table.narrow(0, 0, read.start)?;
                    let after = table.narrow(0, read.end, table.dim(0)? - read.end)?;
                    piece = Tensor::cat(&[before, piece, after], 0)?;
                }
                published.insert(name.clone(), piece);
            }
        }
        Ok(())
    }
}

fn missing(name: &str) -> PretrainedError {
    PretrainedError::Tensors { file: "the run".into(), problems: format!("{name} is missing") }
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let values = |x: &Tensor| x.flatten_all().and_then(|x| x.to_vec1::<f32>());
    a.dims() == b.dims() && matches!((values(a), values(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests;
