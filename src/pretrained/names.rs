//! Mapping published tensors to parameters and back.

use super::PretrainedError;
use candle_core::{DType, Result as TensorResult, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Published tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A map between the tensor names of a kind of checkpoint and parameter names.
#[derive(Default)]
pub struct NameMap {
    rules: Vec<Rule>,
    /// Published tensors that repeat another, such as the matrix of a tied head.
    repeats: Vec<(String, String)>,
    /// Suffixes of the names of published tensors that the model does not read.
    unread: Vec<&'static str>,
}

/// Equates the concatenated rows of parameters (`ours`) and of published tensors (`theirs`).
struct Rule {
    ours: Vec<String>,
    /// Several have the same number of rows each; `None` is zeros.
    theirs: Vec<Option<String>>,
    layout: Layout,
}

/// The layout of a published tensor; the parameter's is `[outputs, inputs]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// The same layout.
    Same,
    /// `[inputs, outputs]`: GPT-2's linear layers.
    Transposed,
    /// `[outputs, channels, width]` for `[outputs, width·channels]`.
    Conv1d {
        /// Width of the kernel, in frames.
        width: usize,
    },
    /// `[outputs, channels, height, width]` for `[outputs, height·width·channels]`.
    Conv2d {
        /// Channels of an image.
        channels: usize,
        /// Height and width of a patch.
        patch: [usize; 2],
    },
    /// `[n, d]`, of which only the first row is read, as `[d]`.
    FirstRow,
    /// `[of, d]`, of which only the first `n` rows are read.
    FirstRows {
        /// Rows that are read.
        n: usize,
        /// Rows of the published table.
        of: usize,
    },
    /// `[1, …, 1, n, d]` for `[n, d]`, with `dims` dimensions in all.
    Boxed {
        /// Number of dimensions of the published tensor.
        dims: usize,
    },
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
    /// Whether the checkpoint has no vocabulary: its texts are ids, separated by spaces.
    pub ids_as_text: bool,
}

impl Layout {
    fn to_ours(self, x: &Tensor) -> TensorResult<Tensor> {
        match (self, x.rank()) {
            (Layout::Same, _) => Ok(x.clone()),
            (Layout::Transposed, 2) => x.t()?.contiguous(),
            (Layout::Conv1d { .. }, 3) => {
                let (outputs, channels, width) = x.dims3()?;
                x.transpose(1, 2)?.contiguous()?.reshape((outputs, width * channels))
            }
            (Layout::Conv2d { .. }, 4) => {
                let (outputs, channels, height, width) = x.dims4()?;
                x.permute((0, 2, 3, 1))?.contiguous()?.reshape((outputs, height * width * channels))
            }
            (Layout::FirstRow, 2) => x.get(0),
            (Layout::FirstRows { n, of }, 2) if x.dim(0)? == of => x.narrow(0, 0, n),
            (Layout::Boxed { dims }, rank) if dims == rank => {
                x.reshape((x.elem_count() / x.dim(rank - 1)?.max(1), x.dim(rank - 1)?))
            }
            _ => candle_core::bail!("expected a shape of layout {self:?}; found {:?}", x.dims()),
        }
    }

    fn to_theirs(self, x: &Tensor) -> TensorResult<Tensor> {
        match self {
            Layout::Same | Layout::FirstRows { .. } => Ok(x.clone()),
            Layout::FirstRow => x.unsqueeze(0),
            Layout::Transposed => x.t()?.contiguous(),
            Layout::Conv1d { width } => {
                let (outputs, inputs) = x.dims2()?;
                x.reshape((outputs, width, inputs / width))?.transpose(1, 2)?.contiguous()
            }
            Layout::Conv2d { channels, patch: [height, width] } => {
                x.reshape((x.dim(0)?, height, width, channels))?.permute((0, 3, 1, 2))?.contiguous()
            }
            Layout::Boxed { dims } => {
                let (n, d) = x.dims2()?;
                x.reshape([vec![1; dims - 2], vec![n, d]].concat())
            }
        }
    }
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
    pub fn unread(&mut self, ends: &[&'static str]) {
        self.unread.extend(ends);
    }

    /// Convert published tensors to parameters of the `expected` shapes. Also the tensors that are not read, unchanged.
    ///
    /// # Errors
    /// [`PretrainedError::Tensors`], with every tensor that is missing, unknown or of another shape.
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
            used.extend(rule.theirs.iter().flatten().map(String::as_str));
        }
        let mut report = Report::default();
        for (name, other) in &self.repeats {
            let Some(tensor) = published.get(name) else { continue };
            used.insert(name);
            match published.get(other) {
                Some(first) if !same(tensor, first) => {
                    problems.push(format!("expected {name} to equal {other}; found other values"));
                }
                _ => report.repeated.push((name.clone(), other.clone())),
            }
        }
        let mut unread = Tensors::new();
        for rule in &self.rules {
            let Some(read) = rule.layout.rows_read() else { continue };
            let tables = rule.theirs.iter().flatten().filter_map(|name| published.get_key_value(name));
            let longer = tables.filter(|(_, table)| table.dims().first().is_some_and(|&rows| rows > read));
            unread.extend(longer.map(|(name, table)| (name.clone(), table.clone())));
        }
        for (name, tensor) in published.iter().filter(|(name, _)| !used.contains(name.as_str())) {
            match self.unread.iter().any(|end| name.ends_with(end)) {
                true => _ = unread.insert(name.clone(), tensor.clone()),
                false => problems.push(format!("{name} {:?} is not a tensor of this model", tensor.dims())),
            }
        }
        let unmapped = expected.keys().filter(|name| !ours.contains_key(*name));
        if problems.is_empty() {
            problems.extend(unmapped.map(|name| format!("no published tensor is mapped to {name}")));
        }
        if !problems.is_empty() {
            return Err(PretrainedError::Tensors { file: file.into(), problems: problems.join("; ") });
        }
        report.loaded = ours.len();
        report.numbers = ours.values().map(Tensor::elem_count).sum();
        report.unread = unread.keys().cloned().collect();
        Ok((ours, unread, report))
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
                return Tensor::zeros(&*wanted, DType::F32, &candle_core::Device::Cpu)
                    .map_err(|e| e.to_string());
            };
            let tensor = &published[name];
            let misfit = || {
                let expected = self.layout.theirs_of(&wanted);
                format!("{name} is {:?}, expected {expected:?}", tensor.dims())
            };
            let ours = self.layout.to_ours(tensor).map_err(|_| misfit())?;
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
        let parts = self.ours.iter().map(|name| {
            ours.get(name).cloned().ok_or_else(|| PretrainedError::Tensors {
                file: "the run".into(),
                problems: format!("{name} is missing"),
            })
        });
        let all = Tensor::cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)?;
        let rows = all.dim(0)? / self.theirs.len();
        for (i, name) in self.theirs.iter().enumerate() {
            if let Some(name) = name {
                let mut piece = self.layout.to_theirs(&all.narrow(0, i * rows, rows)?.contiguous()?)?;
                if let (Some(read), Some(table)) = (self.layout.rows_read(), published.get(name)) {
                    let rest = table.narrow(0, read, table.dim(0)? - read)?;
                    piece = Tensor::cat(&[piece, rest], 0)?;
                }
                published.insert(name.clone(), piece);
            }
        }
        Ok(())
    }
}

impl Layout {
    /// The number of rows that are read; `None` for all.
    fn rows_read(self) -> Option<usize> {
        match self {
            Layout::FirstRow => Some(1),
            Layout::FirstRows { n, .. } => Some(n),
            _ => None,
        }
    }

    /// The published shape of a parameter with shape `ours`.
    fn theirs_of(self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Layout::Transposed, [outputs, inputs]) => vec![*inputs, *outputs],
            (Layout::Conv1d { width }, [outputs, inputs]) => vec![*outputs, inputs / width, width],
            (Layout::Conv2d { channels, patch: [height, width] }, [outputs, _]) => {
                vec![*outputs, channels, height, width]
            }
            (Layout::Boxed { dims }, [n, d]) => [vec![1; dims - 2], vec![*n, *d]].concat(),
            (Layout::FirstRows { of, .. }, [_, d]) => vec![of, *d],
            _ => ours.to_vec(),
        }
    }
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let values = |x: &Tensor| x.flatten_all().and_then(|x| x.to_vec1::<f32>());
    a.dims() == b.dims() && matches!((values(a), values(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn numbers(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::arange(0.0, n as f32, &Device::Cpu).unwrap().reshape(shape).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn map() -> NameMap {
        let mut map = NameMap::default();
        map.rows(&["query.weight", "key_value.weight"], &["c_attn.weight"], Layout::Transposed);
        map.key_value_without_key_bias("cross", "k", "v");
        map.rows(&["patch.weight"], &["conv.weight"], Layout::Conv2d { channels: 3, patch: [2, 2] });
        map.rows(&["first.weight"], &["conv1.weight"], Layout::Conv1d { width: 3 });
        map.rows(&["class", "grid"], &["positions"], Layout::Boxed { dims: 3 });
        map.rows(&["index"], &["table"], Layout::FirstRows { n: 2, of: 5 });
        map.repeats("lm_head.weight", "conv1.weight");
        map.unread(&["pooler.weight"]);
        map
    }

    fn published() -> Tensors {
        [
            ("c_attn.weight", vec![2, 6]),
            ("k.weight", vec![2, 2]),
            ("v.weight", vec![2, 2]),
            ("v.bias", vec![2]),
            ("conv.weight", vec![5, 3, 2, 2]),
            ("conv1.weight", vec![4, 2, 3]),
            ("positions", vec![1, 5, 2]),
            ("table", vec![5, 3]),
            ("lm_head.weight", vec![4, 2, 3]),
            ("old.pooler.weight", vec![1]),
        ]
        .map(|(name, shape)| (name.to_string(), numbers(&shape)))
        .into()
    }

    fn expected() -> BTreeMap<String, Vec<usize>> {
        [
            ("query.weight", vec![2, 2]),
            ("key_value.weight", vec![4, 2]),
            ("cross.weight", vec![4, 2]),
            ("cross.bias", vec![4]),
            ("patch.weight", vec![5, 12]),
            ("first.weight", vec![4, 6]),
            ("class", vec![1, 2]),
            ("grid", vec![4, 2]),
            ("index", vec![2, 3]),
        ]
        .map(|(name, shape)| (name.to_string(), shape))
        .into()
    }

    #[test]
    fn export_inverts_import() {
        let (ours, unread, report) = map().import("file", &published(), &expected()).unwrap();
        assert_eq!(values(&ours["query.weight"]), [0.0, 6.0, 1.0, 7.0]);
        assert_eq!(values(&ours["cross.bias"]), [0.0, 0.0, 0.0, 1.0]);
        // The first patch's first pixel has channels 0, 4 and 8 of a kernel of 3·2·2.
        assert_eq!(values(&ours["patch.weight"])[..3], [0.0, 4.0, 8.0]);
        assert_eq!(values(&ours["first.weight"])[..4], [0.0, 3.0, 1.0, 4.0]);
        assert_eq!(values(&ours["class"]), [0.0, 1.0]);
        assert_eq!(values(&ours["index"]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(report.unread, ["old.pooler.weight", "table"]);
        assert_eq!(report.repeated, [("lm_head.weight".to_string(), "conv1.weight".to_string())]);
        assert_eq!(unread.len(), 2);
        let back = map().export(&ours, &unread).unwrap();
        for (name, tensor) in
            published().iter().filter(|(n, _)| !["lm_head.weight", "old.pooler.weight"].contains(&n.as_str()))
        {
            assert_eq!((back[name].dims(), values(&back[name])), (tensor.dims(), values(tensor)), "{name}");
        }
        assert_eq!(back.len(), 9);
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() {
        let error = |change: &dyn Fn(&mut Tensors)| {
            let mut tensors = published();
            change(&mut tensors);
            map().import("model.safetensors", &tensors, &expected()).unwrap_err().to_string()
        };
        let missing = error(&|t| _ = t.remove("v.bias"));
        assert_eq!(missing, "model.safetensors: v.bias is missing");
        let extra = error(&|t| _ = t.insert("alien".into(), numbers(&[7])));
        assert_eq!(extra, "model.safetensors: alien [7] is not a tensor of this model");
        let wrong = error(&|t| _ = t.insert("conv.weight".into(), numbers(&[5, 3, 2, 1])));
        assert_eq!(wrong, "model.safetensors: conv.weight is [5, 3, 2, 1], expected [5, 3, 2, 2]");
        let flat = error(&|t| _ = t.insert("c_attn.weight".into(), numbers(&[12])));
        assert_eq!(flat, "model.safetensors: c_attn.weight is [12], expected [2, 6]");
        let other = error(&|t| _ = t.insert("lm_head.weight".into(), numbers(&[4, 2, 4])));
        assert!(other.contains("expected lm_head.weight to equal conv1.weight"), "{other}");
    }
}
