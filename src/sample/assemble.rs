//! Assembles a composition of a plan, its tokenizers and its heads.

use super::OpenError;
use super::composition::{Composition, OutputPart, ReadSite};
use super::fit::Fitted;
use super::part::{Part, Role, SpecialIds};
use super::plan::{OtherTaskPart, Plan, PlannedOutput, PlannedPart, fields};
use super::rules::{TokenSource, rule};
use super::settings::{OutputSettings, Pool, TaskSettings};
use crate::data::Stream;
use crate::head::{Head, HeadInput, HeadSpec};
use crate::task::{TaskSpec, learned_kind};
use smalti_contract::{AnyTokenizer, ContentSpec, KindSpec};
use std::sync::Arc;

impl Composition {
    /// The composition of a plan with its fitted tokenizers and heads.
    pub(super) fn assemble(
        (name, loss_weight): (&str, f64),
        settings: &TaskSettings,
        plan: &Plan,
        Fitted { tokenizers, labels, heads, saved, .. }: Fitted,
    ) -> Result<Self, OpenError> {
        let mut parts = Vec::with_capacity(plan.parts.len());
        for ((number, planned), tokenizer) in plan.parts.iter().enumerate().zip(tokenizers) {
            let separated = saved.separated.contains(&planned.name);
            parts.push(part(planned, tokenizer, plan.n_special_ids(number), saved.max_steps, separated)?);
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
        composition.lay_out(settings, plan, labels, heads);
        composition.set_spans(settings, plan)?;
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
    ) {
        let (generated, other): (Vec<usize>, Vec<usize>) =
            (0..self.parts.len()).partition(|&number| matches!(self.parts[number].role, Role::Generated(_)));
        other.into_iter().for_each(|number| self.add_kinds(number));
        let sites: Vec<ReadSite> = settings
            .outputs
            .iter()
            .enumerate()
            .map(|(number, (name, output))| self.add_read_site(plan, number, name, output, &heads[number]))
            .collect();
        generated.into_iter().for_each(|number| self.add_kinds(number));
        for ((((name, output), head), planned), (site, labels)) in
            settings.outputs.iter().zip(heads).zip(&plan.outputs).zip(sites.into_iter().zip(labels))
        {
            self.spec.heads.push(HeadSpec {
                name: name.clone(),
                reads: self.kind_read_at(site),
                pool: site.pooling(),
                hidden: output.hidden,
                weight: output.weight,
                head: head.clone(),
            });
            self.outputs.push(OutputPart {
                name: name.clone(),
                fields: fields(name, &output.field),
                spans: None,
                prompt: output.prompt.clone(),
                is_preference: planned.is_preference(),
                head,
                site,
                labels,
                weight_field: output.weight_field.clone(),
                required: output.required,
                feedback: output.feedback,
                registers: output.register_tokens,
                end: output.end.as_ref().map_or(vec![], |ids| ids.as_slice().to_vec()),
                decoding: output.decoding.clone(),
            });
        }
        self.set_rules();
        if !self.encoder.is_empty() {
            self.spec.inputs.push((Stream::Encoder, self.encoder.clone()));
        }
        self.spec.inputs.push((Stream::Main, self.main.clone()));
    }

    /// The tokens that the head of an output reads; adds the kinds of its class token and registers, or of its codes.
    fn add_read_site(
        &mut self,
        plan: &Plan,
        number: usize,
        name: &str,
        output: &OutputSettings,
        head: &Arc<dyn Head>,
    ) -> ReadSite {
        let PlannedOutput { head_input, input, .. } = plan.outputs[number];
        if let Some(part) = plan.own(number) {
            return ReadSite::OwnTokens { part };
        }
        let kind = self.main.len();
        let pool = output.pool.unwrap_or(match head.width() {
            0 => Pool::Mean,
            _ => Pool::ClassToken,
        });
        match (head_input, pool) {
            (HeadInput::InputTokens, _) => ReadSite::InputTokens { part: input },
            (HeadInput::Codes, _) => {
                let vocabulary = head.codebook().map_or(0, |codebook| codebook.size);
                self.main.push(KindSpec {
                    name: format!("{name}.code"),
                    content: ContentSpec::Ids { vocabulary },
                    ..self.parts[input].kinds[0].clone()
                });
                ReadSite::Codes { part: input, kind }
            }
            (_, Pool::Mean) => ReadSite::Mean,
            (_, Pool::Attention) => ReadSite::Attention,
            (_, Pool::First) => ReadSite::FirstToken,
            (_, Pool::Last) => ReadSite::LastToken,
            (
                _,
                Pool::ClassToken | Pool::ClassTokenAndMean | Pool::ClassTokenAndRegisters | Pool::LearnedMean,
            ) => {
                let class = learned_kind(&format!("{name}.class"), 1, output.class_token_position);
                self.main.push(class);
                if output.register_tokens > 0 {
                    let (n, positions) = (output.register_tokens, output.register_positions);
                    self.main.push(learned_kind(&format!("{name}.register"), n, positions));
                }
                match pool {
                    Pool::LearnedMean => ReadSite::LearnedMean { kind },
                    Pool::ClassTokenAndMean => ReadSite::ClassTokenAndMean { kind },
                    Pool::ClassTokenAndRegisters => ReadSite::ClassTokenAndRegisters { kind },
                    _ => ReadSite::ClassToken { kind },
                }
            }
        }
    }

    /// The name of the kind of the main stream that a head reads.
    fn kind_read_at(&self, site: ReadSite) -> String {
        let is_in_main =
            |part: usize| self.parts[part].stream == Stream::Main && !self.parts[part].kinds.is_empty();
        if let Some(kind) = site.class_token() {
            return self.main[kind].name.clone();
        }
        match site {
            ReadSite::Codes { kind, .. } => self.main[kind].name.clone(),
            ReadSite::InputTokens { part } | ReadSite::OwnTokens { part } if is_in_main(part) => {
                self.parts[part].kinds[0].name.clone()
            }
            _ => self.main.first().map(|kind| kind.name.clone()).unwrap_or_default(),
        }
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

    /// Sets the attention rule of each pair of kinds.
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
}

/// The part of a plan, with its tokenizer; `separated` if its windows have an end token after each row.
fn part(
    planned: &PlannedPart,
    tokenizer: Arc<dyn AnyTokenizer>,
    n_special_ids: usize,
    max_steps: usize,
    separated: bool,
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
        append_eos: false,
    };
    let Some(vocabulary) = part.vocabulary() else { return Ok(part) };
    part.base_vocabulary = vocabulary - n_special_ids;
    let given = planned.begin.iter().chain(&planned.end).copied().chain(planned.mask_id);
    if let Some(id) = given.into_iter().find(|&id| id as usize >= part.base_vocabulary) {
        let size = part.base_vocabulary;
        return Err(refuse(format!("begin, end and mask_id: expected ids below {size}; found {id}")));
    }
    let ends = match planned.end.is_empty() && separated {
        true => part.tokenizer.end_of_text().into_iter().collect(),
        false => planned.end.clone(),
    };
    part.append_eos = separated && !ends.is_empty();
    if separated && ends.is_empty() && planned.append_eos == Some(true) {
        let problem =
            "append_eos: expected a vocabulary with a token such as <|endoftext|>, or `end`; found neither";
        return Err(refuse(problem.into()));
    }
    let mut new_ids = part.base_vocabulary as u32..;
    let mut next = || new_ids.next();
    part.special_ids = match part.role {
        Role::Generated(_) => {
            let mut given_or_new = |ids: &[u32]| match ids.is_empty() && !part.windows {
                true => next().into_iter().collect(),
                false => ids.to_vec(),
            };
            SpecialIds { begin: given_or_new(&planned.begin), end: given_or_new(&ends), mask: None }
        }
        Role::Masked(_) => {
            let end = if part.windows { ends } else { vec![] };
            SpecialIds { mask: planned.mask_id.or_else(next), end, ..SpecialIds::default() }
        }
        Role::Input | Role::Series(_) => SpecialIds::default(),
    };
    Ok(part)
}
