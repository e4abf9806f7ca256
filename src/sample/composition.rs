//! A task's parts and outputs, fitted to its training rows.

use super::part::{Part, Role, SpecialIds};
use super::spans::SpanCorruption;
use super::{Decoding, named};
use crate::data::{Pooling, Stream};
use crate::head::{Head, Masking};
use crate::table::Derivation;
use crate::task::{SavedTask, Task, TaskSpec};
use indexmap::IndexMap;
use smalti_contract::{AnyTokenizer, Content, Group, KindSpec, TokenizeError, Tokens, Value};
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
    pub(super) derived: IndexMap<String, Derivation>,
    pub(super) saved: SavedTask,
}

/// An output: its head, and the tokens that the head reads.
pub struct OutputPart {
    /// The output's name.
    pub name: String,
    /// The fields of a row that are predicted; of a preference, those of the chosen and of the rejected completion.
    pub fields: Vec<String>,
    /// The field of the value that both completions of a preference continue.
    pub prompt: Option<String>,
    /// Whether the targets are pairs of completions.
    pub is_preference: bool,
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
    /// The ids of the token that the head reads, if it reads the last one.
    pub end: Vec<u32>,
    /// The spans of an input that the output predicts.
    pub spans: Option<SpanCorruption>,
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
    /// A class token of the output, and the mean of all inputs' tokens.
    ClassTokenAndMean {
        /// The number of the class token's kind in the main stream.
        kind: usize,
    },
    /// A class token of the output, and the mean of its registers.
    ClassTokenAndRegisters {
        /// The number of the class token's kind in the main stream.
        kind: usize,
    },
    /// The mean of a class token of the output and its registers.
    LearnedMean {
        /// The number of the class token's kind in the main stream.
        kind: usize,
    },
    /// The mean of all inputs' tokens.
    Mean,
    /// All inputs' tokens, by attention of a learned query.
    Attention,
    /// The first token of the inputs.
    FirstToken,
    /// The first token of the inputs with an id of the output's `end`, else the last token.
    LastToken,
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

impl ReadSite {
    /// The number of the class token's kind in the main stream; `None` for a site without a class token.
    pub fn class_token(self) -> Option<usize> {
        match self {
            ReadSite::ClassToken { kind }
            | ReadSite::ClassTokenAndMean { kind }
            | ReadSite::ClassTokenAndRegisters { kind }
            | ReadSite::LearnedMean { kind } => Some(kind),
            _ => None,
        }
    }

    /// Whether the site is one of the whole sample, with one output row.
    pub fn is_whole(self) -> bool {
        self.class_token().is_some()
            || matches!(
                self,
                ReadSite::Mean | ReadSite::Attention | ReadSite::FirstToken | ReadSite::LastToken
            )
    }

    /// How a head reads the site's tokens.
    pub(super) fn pooling(self) -> Pooling {
        match self {
            ReadSite::Mean | ReadSite::LearnedMean { .. } => Pooling::Mean,
            ReadSite::ClassTokenAndMean { .. } | ReadSite::ClassTokenAndRegisters { .. } => {
                Pooling::FirstAndMean
            }
            ReadSite::Attention => Pooling::Attention,
            _ => Pooling::None,
        }
    }
}

impl Composition {
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
                let is_special = |id: &u32| begin.iter().chain(end).chain(mask).any(|special| special == id);
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

impl OutputPart {
    /// The `order` of the token among `groups` that a head reads that reads the last one; `None` without tokens.
    pub(crate) fn last<'a>(&self, groups: impl Iterator<Item = &'a Group> + Clone) -> Option<u32> {
        let ended = groups.clone().flat_map(|group| {
            let ids = group.content.ids().unwrap_or_default();
            let with_order = ids.iter().zip(&group.order);
            with_order.filter(|(id, _)| self.end.contains(id)).map(|(_, order)| *order)
        });
        ended.min().or_else(|| groups.flat_map(|group| group.order.iter().copied()).max())
    }
}

impl Task for Composition {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn transcript(&self, head: usize, ids: &[u32]) -> Option<String> {
        self.decode(head, ids).ok()?.into_text().ok()
    }

    fn text_bytes(&self, head: usize, ids: &[u32]) -> Option<usize> {
        // Tokens of a fixed masked share are predicted from both sides: their bits do not add up to the bits of the text.
        let adds_up = |part: &&Part| match part.role {
            Role::Generated(output) => output == head && part.windows,
            Role::Masked(output) => {
                output == head && matches!(self.outputs[head].head.masking(), Some(Masking::Diffusion { .. }))
            }
            Role::Input | Role::Series(_) => false,
        };
        let part = self.parts.iter().find(adds_up)?;
        part.tokenizer.utf8_len(ids)
    }
}
