//! A task's parts and outputs, fitted to its training rows.

use super::part::{Part, Role, SpecialIds};
use super::plan::{OtherTaskPart, Plan, PlannedPart};
use super::rules::{TokenSource, rule};
use super::settings::{Pool, TaskSettings};
use super::{Decoding, OpenError, named};
use crate::data::Stream;
use crate::head::{Head, HeadInput, HeadSpec};
use crate::table::Derivation;
use crate::task::{SavedTask, Task, TaskSpec, learned_kind};
use indexmap::IndexMap;
use smalti_contract::{AnyTokenizer, Content, ContentSpec, Group, KindSpec, TokenizeError, Tokens, Value};
use std::sync::Arc;

/// A task made of parts: how the fields of a row become tokens, and the outputs that are predicted from them.
pub struct Composition {
    pub(super) spec: TaskSpec,
    pub(super) parts: Vec<Part>,
    /// For each part, the number of its first kind among those of its stream.
    pub(super) first_kinds: Vec<usize>,
    pub(super) outputs: Vec<OutputPart>,
    /// The kinds of the main stream.
    pub(super) main: Vec<KindSpec>,
    /// The kinds of the encoder's stream; empty without an encoder.
    pub(super) encoder: Vec<KindSpec>,
    /// Maximum number of time steps in a sample.
    pub(super) context: usize,
    derived: IndexMap<String, Derivation>,
    saved: SavedTask,
}

/// An output: its head, and the tokens that the head reads.
pub struct OutputPart {
    /// The output's name.
    pub name: String,
    /// The fields of a row that are predicted.
    pub fields: Vec<String>,
    /// The head.
    pub head: Arc<dyn Head>,
    /// The tokens that the head reads.
    pub site: ReadSite,
    /// The tokenizer of targets that have no tokens in the sample (`ctc`).
    pub labels: Option<Arc<dyn AnyTokenizer>>,
    /// The field of the targets' weights.
    pub weight_field: Option<String>,
    /// Whether a row without the value is a corrupt sample.
    pub required: bool,
    /// Whether a predicted series is an input of its later steps.
    pub feedback: bool,
    /// Share of the tokens that are masked.
    pub mask: f64,
    /// Number of register tokens: learned tokens that no head reads (Darcet et al. 2024).
    pub registers: usize,
    /// Rules of text generation of a published model.
    pub decoding: Option<Box<Decoding>>,
}

/// The tokens that a head reads in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadSite {
    /// A class token of the output.
    ClassToken {
        /// The number of the class token's kind in the main stream.
        kind: usize,
    },
    /// The mean of all inputs' tokens.
    Mean,
    /// The first token of the inputs.
    FirstToken,
    /// Every token of one input.
    InputTokens {
        /// The input's number among the parts.
        part: usize,
    },
    /// The output's own tokens if it is generated or masked; the last token before each step if it is a series.
    OwnTokens {
        /// The output's number among the parts.
        part: usize,
    },
    /// The codes of one input's tokens.
    Codes {
        /// The input's number among the parts.
        part: usize,
        /// The number of the codes' kind in the main stream.
        kind: usize,
    },
}

impl Composition {
    /// The composition of a plan with its tokenizers, in the order of the plan's parts, and its heads, in the order of the
    /// settings' outputs.
    pub(super) fn assemble(
        (name, loss_weight): (&str, f64),
        settings: &TaskSettings,
        plan: &Plan,
        tokenizers: Vec<Arc<dyn AnyTokenizer>>,
        labels: Vec<Option<Arc<dyn AnyTokenizer>>>,
        heads: Vec<Arc<dyn Head>>,
        saved: SavedTask,
    ) -> Result<Self, OpenError> {
        let mut parts = Vec::with_capacity(plan.parts.len());
        for (number, planned) in plan.parts.iter().enumerate() {
            let tokenizer = tokenizers[number].clone();
            parts.push(part(planned, tokenizer, plan.n_special_ids(number), saved.max_steps)?);
        }
        let mut composition = Self {
            spec: TaskSpec {
                name: name.into(),
                inputs: vec![],
                rules: vec![],
                heads: vec![],
                loss_weight,
                shares: vec![],
            },
            first_kinds: vec![0; parts.len()],
            parts,
            outputs: vec![],
            main: vec![],
            encoder: vec![],
            context: settings.data.context,
            derived: settings.data.derived.clone(),
            saved,
        };
        composition.lay_out(settings, plan, labels, heads)?;
        composition.set_shares(plan);
        Ok(composition)
    }

    /// Numbers the kinds of all parts, and sets the attention rules and the tokens that each head reads.
    fn lay_out(
        &mut self,
        settings: &TaskSettings,
        plan: &Plan,
        labels: Vec<Option<Arc<dyn AnyTokenizer>>>,
        heads: Vec<Arc<dyn Head>>,
    ) -> Result<(), OpenError> {
        let is_generated = |part: &Part| matches!(part.role, Role::Generated(_));
        let numbers: Vec<usize> = (0..self.parts.len()).collect();
        let (last, first): (Vec<usize>, Vec<usize>) =
            numbers.into_iter().partition(|&i| is_generated(&self.parts[i]));
        for &number in &first {
            self.add_kinds(number);
        }
        let mut sites = Vec::with_capacity(heads.len());
        for (number, (output, set)) in settings.outputs.iter().enumerate() {
            let own = plan.own(number);
            let pool = set.pool.unwrap_or(match heads[number].width() {
                0 => Pool::Mean,
                _ => Pool::ClassToken,
            });
            sites.push(match (plan.outputs[number].head_input, own, pool) {
                (_, Some(part), _) => ReadSite::OwnTokens { part },
                (HeadInput::InputTokens, _, _) => ReadSite::InputTokens { part: plan.outputs[number].input },
                (HeadInput::Codes, _, _) => {
                    let part = plan.outputs[number].input;
                    let size = heads[number].codebook().map_or(0, |codebook| codebook.size);
                    let kind = self.main.len();
                    self.main.push(KindSpec {
                        name: format!("{output}.code"),
                        content: ContentSpec::Ids { vocabulary: size },
                        ..self.parts[part].kinds[0].clone()
                    });
                    ReadSite::Codes { part, kind }
                }
                (_, None, Pool::Mean) => ReadSite::Mean,
                (_, None, Pool::First) => ReadSite::FirstToken,
                (_, None, Pool::ClassToken) => {
                    let kind = self.main.len();
                    self.main.push(learned_kind(&format!("{output}.class"), 1, set.class_token_position));
                    if set.register_tokens > 0 {
                        let name = format!("{output}.register");
                        self.main.push(learned_kind(&name, set.register_tokens, set.register_positions));
                    }
                    ReadSite::ClassToken { kind }
                }
            });
        }
        for &number in &last {
            self.add_kinds(number);
        }
        for (((output, set), head), (site, labels)) in
            settings.outputs.iter().zip(heads).zip(sites.into_iter().zip(labels))
        {
            let reads = match site {
                ReadSite::ClassToken { kind } | ReadSite::Codes { kind, .. } => self.main[kind].name.clone(),
                ReadSite::InputTokens { part } | ReadSite::OwnTokens { part } if self.is_in_main(part) => {
                    self.parts[part].kinds[0].name.clone()
                }
                _ => self.main.first().map(|kind| kind.name.clone()).unwrap_or_default(),
            };
            let (name, pool, weight) = (output.clone(), site == ReadSite::Mean, set.weight);
            self.spec.heads.push(HeadSpec { name, reads, pool, weight, head: head.clone() });
            self.outputs.push(OutputPart {
                name: output.clone(),
                fields: super::plan::fields(output, &set.field),
                mask: head.mask_rate().unwrap_or_default(),
                head,
                site,
                labels,
                weight_field: set.weight_field.clone(),
                required: set.required,
                feedback: set.feedback,
                registers: set.register_tokens,
                decoding: set.decoding.clone(),
            });
        }
        self.set_rules();
        if !self.encoder.is_empty() {
            self.spec.inputs.push((Stream::Encoder, self.encoder.clone()));
        }
        self.spec.inputs.push((Stream::Main, self.main.clone()));
        Ok(())
    }

    /// Whether a part has tokens in the main stream.
    fn is_in_main(&self, number: usize) -> bool {
        self.parts[number].stream == Stream::Main && !self.parts[number].kinds.is_empty()
    }

    /// Appends a part's kinds to those of its stream.
    fn add_kinds(&mut self, number: usize) {
        let part = &self.parts[number];
        let kinds = match part.stream {
            Stream::Main => &mut self.main,
            Stream::Encoder => &mut self.encoder,
        };
        self.first_kinds[number] = kinds.len();
        kinds.extend(part.kinds.iter().cloned());
    }

    fn set_rules(&mut self) {
        let of_parts = self
            .parts
            .iter()
            .flat_map(|part| part.kinds.iter().map(move |kind| (TokenSource::Part(part), kind)));
        let learned = self
            .main
            .iter()
            .enumerate()
            .filter(|(_, kind)| !self.parts.iter().any(|part| part.kinds.contains(kind)));
        let is_code = |number: usize| {
            self.outputs
                .iter()
                .any(|output| matches!(output.site, ReadSite::Codes { kind, .. } if kind == number))
        };
        let learned = learned.map(|(number, kind)| {
            (if is_code(number) { TokenSource::Code } else { TokenSource::ClassToken }, kind)
        });
        let all: Vec<(TokenSource, &KindSpec)> = of_parts.chain(learned).collect();
        let has_series = self.has_series();
        let mut rules = vec![];
        for (query, q) in &all {
            for (key, k) in &all {
                rules.extend(
                    rule((query, q), (key, k), has_series).map(|rule| (q.name.clone(), k.name.clone(), rule)),
                );
            }
        }
        self.spec.rules = rules;
    }

    /// Lists the parts that share embedding tables, with the first part of the same vocabulary or with a part of another task.
    fn set_shares(&mut self, plan: &Plan) {
        let in_order: Vec<&KindSpec> = self.encoder.iter().chain(&self.main).collect();
        let place = |part: &Part| in_order.iter().position(|kind| **kind == part.kinds[0]);
        for group in plan.groups() {
            let mut members: Vec<&Part> = group.iter().map(|&number| &self.parts[number]).collect();
            members.sort_by_key(|part| place(part));
            let Some((first, rest)) = members.split_first() else { continue };
            for part in rest {
                for (kind, shared) in part.kinds.iter().zip(&first.kinds) {
                    self.spec.shares.push((kind.name.clone(), shared.name.clone()));
                }
            }
        }
        for (part, planned) in self.parts.iter().zip(&plan.parts) {
            let Some(OtherTaskPart { name, .. }) = &planned.other_task_part else { continue };
            for kind in &part.kinds {
                let of_part = kind.name.strip_prefix(&part.name).unwrap_or_default();
                self.spec.shares.push((kind.name.clone(), format!("{name}{of_part}")));
            }
        }
    }

    /// The fitted state that a run saves.
    pub fn saved(&self) -> &SavedTask {
        &self.saved
    }

    /// The names of inputs and outputs, for messages: `inputs image; outputs class`.
    pub(crate) fn listed(&self) -> String {
        let inputs = self.parts.iter().filter(|part| part.role == Role::Input).map(|part| part.name.as_str());
        let listed = |names: Vec<&str>| if names.is_empty() { "none".into() } else { names.join(", ") };
        let outputs = self.outputs.iter().map(|output| output.name.as_str());
        format!("inputs {}; outputs {}", listed(inputs.collect()), listed(outputs.collect()))
    }

    /// The parts with tokens, in the order of the settings: inputs, then outputs.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The outputs, in the order of the settings.
    pub fn outputs(&self) -> &[OutputPart] {
        &self.outputs
    }

    /// The fields of a row that parts and outputs read, without duplicates.
    pub fn fields(&self) -> Vec<String> {
        let has_field = |output: &&OutputPart| output.head.width() > 0 && output.head.codebook().is_none();
        let of_outputs = self.outputs.iter().filter(has_field);
        let outputs = of_outputs.flat_map(|output| output.fields.iter().chain(&output.weight_field));
        let mut fields: Vec<String> = vec![];
        for field in self.parts.iter().flat_map(|part| &part.fields).chain(outputs) {
            if !fields.contains(field) {
                fields.push(field.clone());
            }
        }
        fields
    }

    /// The kinds of token of a stream, in the order of a sample's groups.
    pub fn kinds(&self, stream: Stream) -> &[KindSpec] {
        if stream == Stream::Main { &self.main } else { &self.encoder }
    }

    /// The number of a part's first kind among the kinds of its stream.
    pub fn first_kind(&self, part: &Part) -> usize {
        let number = self.parts.iter().position(|known| known.name == part.name).unwrap_or_default();
        self.first_kinds[number]
    }

    /// A stream without tokens.
    pub(crate) fn empty(&self, stream: Stream) -> Tokens {
        super::document::Document::new(stream, self.kinds(stream)).finish().1
    }

    /// Maximum number of time steps in a sample.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Maximum number of time steps of a row, the size of the time embedding; 0 without series.
    pub fn max_steps(&self) -> usize {
        self.saved.max_steps
    }

    /// The fields that are computed over a whole row, before its windows, by name.
    pub fn derived(&self) -> &IndexMap<String, Derivation> {
        &self.derived
    }

    /// The largest magnitude of a discounted return-to-go over the training rows, if known.
    pub fn largest_return(&self, field: &str) -> Option<f64> {
        self.saved.largest_returns.get(field).copied()
    }

    /// Whether a part is a series.
    pub fn has_series(&self) -> bool {
        self.parts.iter().any(|part| part.series)
    }

    /// Decodes an output's ids to a value: a generated text, or the text of CTC labels.
    ///
    /// # Errors
    /// If the output has no ids, or its modality has no decoder.
    pub fn decode(&self, output: usize, ids: &[u32]) -> Result<Value, TokenizeError> {
        let of = &self.outputs[output];
        let part = self
            .parts
            .iter()
            .find(|part| matches!(part.role, Role::Generated(o) | Role::Masked(o) if o == output));
        let (tokenizer, ids) = match (&of.labels, part) {
            (Some(labels), _) => (labels.clone(), ids.to_vec()),
            (None, Some(part)) => {
                // Special ids of this part, and of parts that share its vocabulary, have no value.
                let SpecialIds { begin, end, mask } = &part.special_ids;
                let is_special = |id: &u32| begin.contains(id) || [*end, *mask].contains(&Some(*id));
                let own =
                    ids.iter().copied().filter(|id| (*id as usize) < part.base_vocabulary && !is_special(id));
                (part.tokenizer.clone(), own.collect())
            }
            (None, None) => {
                let problem = TokenizeError::Input("the output has no tokens to decode".into());
                return Err(named("outputs", &of.name, &of.fields, problem));
            }
        };
        let kind = &tokenizer.spec().kinds[0];
        let mut group = Group::sequence(Content::Ids(ids));
        // A text that was processed window by window may be longer than the context.
        let period = if let [axis] = &kind.axes[..] { axis.size.max(1) } else { usize::MAX };
        let place = |place: usize| super::part::unravel(place % period, &kind.axes);
        group.positions = (0..group.order.len()).flat_map(place).collect();
        tokenizer.decode_value(&Tokens::new(vec![group]))
    }
}

impl Composition {
    /// Decodes the features that an output has reconstructed to a value of its input; `main` has the positions of the codes.
    ///
    /// # Errors
    /// If the output has no codebook, or its input's modality has no decoder.
    pub(crate) fn decode_features(
        &self,
        output: usize,
        values: Vec<f32>,
        main: &Tokens,
    ) -> Result<Value, TokenizeError> {
        let ReadSite::Codes { part, kind } = self.outputs[output].site else {
            return Err(TokenizeError::Input(format!(
                "outputs.{} has no codebook",
                self.outputs[output].name
            )));
        };
        let dim = self.outputs[output].head.width();
        let group = Group { content: Content::Features { values, dim }, ..main.groups[kind].clone() };
        self.parts[part].tokenizer.decode_value(&Tokens::new(vec![group]))
    }
}

/// The part of a plan, with its tokenizer.
fn part(
    planned: &PlannedPart,
    tokenizer: Arc<dyn AnyTokenizer>,
    n_special_ids: usize,
    max_steps: usize,
) -> Result<Part, OpenError> {
    let refuse = |problem| OpenError::Setting { setting: planned.key(), problem };
    let spec = tokenizer.spec().kinds.clone();
    let steps = planned.series.then_some(max_steps);
    let mut kinds = match planned.feedback || !planned.series {
        true => Part::kinds_of(&planned.name, &spec, n_special_ids, steps).map_err(refuse)?,
        false => vec![],
    };
    if !planned.positions {
        kinds.iter_mut().for_each(|kind| kind.axes.clear());
    }
    let mut part = Part {
        name: planned.name.clone(),
        fields: planned.fields.clone(),
        tokenizer,
        kinds,
        series: planned.series,
        stream: planned.stream,
        role: planned.role,
        drop: planned.drop,
        positions: planned.positions,
        required: planned.required,
        special_ids: SpecialIds::default(),
        base_vocabulary: 0,
        windows: planned.windows,
    };
    let Some(vocabulary) = part.vocabulary() else { return Ok(part) };
    part.base_vocabulary = vocabulary - n_special_ids;
    let given = planned.begin.iter().copied().chain(planned.end).chain(planned.mask_id);
    if let Some(id) = given.into_iter().find(|&id| id as usize >= part.base_vocabulary) {
        let size = part.base_vocabulary;
        return Err(refuse(format!("begin, end and mask_id: expected ids below {size}; found {id}")));
    }
    let mut new_ids = part.base_vocabulary as u32..;
    let mut next = || new_ids.next();
    part.special_ids = match part.role {
        Role::Generated(_) if part.windows => SpecialIds { end: planned.end, ..SpecialIds::default() },
        Role::Generated(_) => {
            let begin = match planned.begin.is_empty() {
                true => next().into_iter().collect(),
                false => planned.begin.clone(),
            };
            SpecialIds { begin, end: planned.end.or_else(&mut next), mask: None }
        }
        Role::Masked(_) => SpecialIds { mask: planned.mask_id.or_else(next), ..SpecialIds::default() },
        Role::Input | Role::Series(_) => SpecialIds::default(),
    };
    Ok(part)
}

impl Task for Composition {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn transcript(&self, head: usize, ids: &[u32]) -> Option<String> {
        self.decode(head, ids).ok()?.into_text().ok()
    }

    fn text_bytes(&self, head: usize, ids: &[u32]) -> Option<usize> {
        // Masked tokens are predicted from both sides: their bits do not add up to the bits of the text.
        let part = self.parts.iter().find(|part| part.role == Role::Generated(head) && part.windows)?;
        part.tokenizer.utf8_len(ids)
    }
}
