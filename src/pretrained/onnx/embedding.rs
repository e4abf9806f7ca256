//! From the tokens of one part to the input of the first block, as [`Embedder`](crate::model::Embedder) computes it.

use super::builder::{Builder, Name};
use super::proto::{Attribute, Dim, FLOAT, INT64, ValueInfo};
use super::{Refused, block};
use crate::model::{Model, ModelConfig};
use crate::sample::{Composition, Part};
use candle_core::{DType, Device, Result, Tensor};
use smalti_contract::{ContentSpec, KindSpec};

/// The tokens of a document: those of one part, and after them the learned ones of outputs.
pub struct Tokens<'a> {
    pub part: &'a Part,
    /// The number of the part's kind.
    kind: usize,
    /// The kinds of learned tokens: their numbers, and the number of tokens of each.
    pub learned: Vec<(usize, usize)>,
    /// The number of tokens of the part, if it is fixed.
    fixed: Option<usize>,
    /// The most tokens of the part.
    most: usize,
}

/// The embedded tokens.
pub struct Embedded {
    /// `[n, d_model]`.
    pub x: Name,
    /// `[n]`.
    pub places: Name,
}

impl<'a> Tokens<'a> {
    /// The tokens of a task with one part of one kind.
    ///
    /// # Errors
    /// If the part is of another form.
    pub fn of(model: &Model, task: &'a Composition) -> std::result::Result<Self, Refused> {
        let [part] = task.parts() else {
            return Err(Refused::new(
                "inputs",
                format!("expected one input or text; found {}", task.listed()),
            ));
        };
        let table = format!("inputs.{}", part.name);
        if part.series {
            return Err(Refused::new(&table, "expected no series of time steps; found one"));
        }
        let [KindSpec { name, .. }] = &part.kinds[..] else {
            return Err(Refused::new(
                &table,
                format!("expected one kind of token; found {}", part.kinds.len()),
            ));
        };
        let number = |name: &str| model.kinds().iter().position(|kind| kind.name == name);
        let kind =
            number(name).ok_or_else(|| Refused::new(&table, "expected tokens of the main transformer"))?;
        let spec = &model.kinds()[kind];
        // Patches fill their grid; a text or a clip may be shorter than the most.
        let bound = match (&spec.axes[..], spec.time_steps) {
            ([], None) => None,
            ([], Some(steps)) => Some(steps),
            ([axis], _) => Some(axis.size),
            ([axis, second], _) if second.name == "segment" => Some(axis.size),
            (axes, _) => Some(axes.iter().map(|axis| axis.size).product()),
        };
        let is_grid = matches!(&spec.axes[..], [_, second, ..] if second.name != "segment");
        if is_grid && !fills_grid(part, spec) {
            let problem =
                "expected a height and a width that fill the positions of its patches; found other sizes";
            return Err(Refused::new(&format!("{table}.image_size"), problem));
        }
        let learned = task.outputs().iter().flat_map(|output| {
            let class = output.site.class_token().map(|_| (number(&format!("{}.class", output.name)), 1));
            let registers = (number(&format!("{}.register", output.name)), output.registers);
            class.into_iter().chain((output.registers > 0).then_some(registers))
        });
        let learned: Vec<(usize, usize)> = learned.filter_map(|(kind, n)| Some((kind?, n))).collect();
        let most = bound.or(part.capacity()).unwrap_or(UNBOUNDED);
        Ok(Self { part, kind, learned, fixed: is_grid.then_some(most), most })
    }

    /// The number of learned tokens.
    pub fn n_learned(&self) -> usize {
        self.learned.iter().map(|(_, n)| n).sum()
    }

    /// The most tokens of a document.
    pub fn most(&self) -> usize {
        self.most + self.n_learned()
    }

    /// The numbers of all kinds of token.
    pub fn kinds(&self) -> Vec<usize> {
        std::iter::once(self.kind).chain(self.learned.iter().map(|(kind, _)| *kind)).collect()
    }

    /// The number of input tokens, as a dimension.
    fn dim(&self) -> Dim {
        self.fixed.map_or(Dim::named(TOKENS), Dim::fixed)
    }

    /// The number of rows of an output that has one for each of the part's tokens.
    pub fn rows(&self) -> Dim {
        self.dim()
    }

    /// The graph's input and its embedding.
    ///
    /// # Errors
    /// If the model lacks a parameter.
    pub fn embed(&self, graph: &mut Builder, model: &Model) -> Result<Embedded> {
        let (config, spec) = (model.config(), &model.kinds()[self.kind]);
        let input = &self.part.name;
        let mut x = match spec.content {
            ContentSpec::Ids { .. } => {
                graph.graph.input.push(ValueInfo::new(input, INT64, vec![self.dim()]));
                let table = graph.required(&format!("embed.{}.table", spec.name))?;
                let rows = graph.with("Gather", &[&table, input], &[Attribute::int("axis", 0)]);
                config.embedding.scale.map_or(rows.clone(), |factor| graph.scaled(&rows, factor))
            }
            ContentSpec::Features { dim } => {
                let shape = vec![self.dim(), Dim::fixed(dim)];
                graph.graph.input.push(ValueInfo::new(input, FLOAT, shape));
                graph.linear(input, &format!("embed.{}.map", spec.name))?
            }
        };
        let places = self.places(graph, &x);
        x = self.positioned(graph, model, x, &places)?;
        let types = graph.take("embed.types");
        if let Some(types) = &types {
            let row = graph.tensor(&types.narrow(0, self.kind, 1)?)?;
            x = graph.node("Add", &[&x, &row]);
        }
        let mut places = places;
        if !self.learned.is_empty() {
            let rows = self.learned.iter().map(|&(kind, n)| learned(graph, model, types.as_ref(), kind, n));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            let rows = graph.tensor(&Tensor::cat(&rows, 0)?)?;
            x = graph.concat(&[&x, &rows], 0);
            places = self.places(graph, &x);
        }
        if config.embedding.norm {
            x = block::norm(graph, config, &x, "embed.norm")?;
        }
        if let Some(offset) = graph.parameter("embed.offset")? {
            x = graph.node("Add", &[&x, &offset]);
        }
        Ok(Embedded { x, places })
    }

    /// The numbers of the rows of `x`.
    fn places(&self, graph: &mut Builder, x: &str) -> Name {
        let shape = graph.node("Shape", &[x]);
        let (zero, one) = (graph.int(0), graph.int(1));
        let n = graph.with("Gather", &[&shape, &zero], &[Attribute::int("axis", 0)]);
        graph.node("Range", &[&zero, &n, &one])
    }

    /// Tokens with their positions and their time.
    fn positioned(&self, graph: &mut Builder, model: &Model, x: Name, places: &str) -> Result<Name> {
        let spec = &model.kinds()[self.kind];
        let mut x = x;
        let mut tables: Vec<Tensor> = positions(graph, model, self.kind)?.into_iter().collect();
        if let (Some(table), [_, segment]) = (tables.first_mut(), &spec.axes[..])
            && segment.name == "segment"
        {
            // All tokens are in the first segment.
            let rows: Vec<u32> = (0..self.most).map(|place| (place * segment.size) as u32).collect();
            *table = table.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        }
        if spec.time_steps.is_some() {
            let own = graph.take(&format!("embed.{}.time", spec.name));
            tables.extend(own.or_else(|| graph.take("embed.time")));
        }
        for table in tables {
            let table = graph.tensor(&table)?;
            let rows = match self.fixed {
                Some(_) => table,
                None => graph.with("Gather", &[&table, places], &[Attribute::int("axis", 0)]),
            };
            x = graph.node("Add", &[&x, &rows]);
        }
        Ok(x)
    }
}

/// The name of the number of tokens.
const TOKENS: &str = "tokens";
/// The most tokens of a part without a bound.
const UNBOUNDED: usize = 4096;

/// Whether all of a grid's positions are those of a patch, in their order.
fn fills_grid(part: &Part, spec: &KindSpec) -> bool {
    let Ok(config) = part.tokenizer.config_json() else { return false };
    let number = |value: &serde_json::Value| value.as_u64().map(|n| n as usize);
    let patch = config.get("patch_size").and_then(number);
    let size = config.get("image_size").and_then(|size| size.as_array());
    let (Some(patch), Some(size)) = (patch, size) else { return false };
    let sides: Vec<Option<usize>> = size.iter().map(|side| Some(number(side)? / patch)).collect();
    spec.axes.iter().map(|axis| Some(axis.size)).eq(sides)
}

/// The learned vector of each place of a kind, `[places, d_model]`.
fn positions(graph: &mut Builder, model: &Model, kind: usize) -> Result<Option<Tensor>> {
    let Some(table) = model.positions(kind)? else { return Ok(None) };
    let spec = &model.kinds()[kind];
    for axis in spec.axes.iter().map(|axis| axis.name.as_str()).chain(["grid"]) {
        graph.take(&format!("embed.{}.{axis}", spec.name));
    }
    Ok(Some(table.to_dtype(DType::F32)?))
}

/// The embedding of `n` learned tokens of a kind, before the norm.
fn learned(
    graph: &mut Builder,
    model: &Model,
    types: Option<&Tensor>,
    kind: usize,
    n: usize,
) -> Result<Tensor> {
    let ModelConfig { embedding, .. } = model.config();
    let name = format!("embed.{}.table", model.kinds()[kind].name);
    let Some(mut rows) = graph.take(&name) else { candle_core::bail!("the model has no {name}") };
    if let Some(factor) = embedding.scale {
        rows = (rows * factor)?;
    }
    if let Some(table) = positions(graph, model, kind)? {
        rows = (rows + table.narrow(0, 0, n)?)?;
    }
    match types {
        Some(types) => rows.broadcast_add(&types.narrow(0, kind, 1)?),
        None => Ok(rows),
    }
}
