//! What one modality brings to a model: kinds of token, rules between them, a head, and what it calls success.

use crate::data::Stream;
use crate::head::HeadSpec;
use crate::rules::Rule;
use smalti_contract::{AnyTokenizer, Axis, Content, ContentSpec, Group, KindSpec, Tokens};

/// The model's side of a task: everything that shapes parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// Unique among a model's tasks. The model calls the task's kinds `name.kind`.
    pub name: String,
    /// For each input of a sample, its stream and the kinds of its groups.
    pub inputs: Vec<(Stream, Vec<KindSpec>)>,
    /// (query kind, key kind, rule); pairs that are left out never see each other.
    pub rules: Vec<(String, String, Rule)>,
    /// What is read, and what it says.
    pub head: HeadSpec,
    /// Weight of the task's mean loss in the sum over tasks.
    pub loss_weight: f64,
    /// (kind, other kind): the first is embedded by the tables of the second, and has nothing of its own but its type.
    pub shares: Vec<(String, String)>,
    /// Further heads, by name: predicted where they are asked for, never trained.
    pub auxiliary: Vec<(String, HeadSpec)>,
}

/// One task of a model.
pub trait Task: Send + Sync {
    /// The model's side.
    fn spec(&self) -> &TaskSpec;

    /// The tokenizers and what each is for; saved with the run.
    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)>;

    /// Lists of names that were fitted to the data, and what each is for; saved with the run.
    fn names(&self) -> Vec<(&'static str, &[String])> {
        Vec::new()
    }

    /// Files of its source that are not used, each with the reason.
    fn skipped(&self) -> &[(String, &'static str)] {
        &[]
    }

    /// What labels or ids read as, where they are a text; word and character error rates count in it.
    fn transcript(&self, _labels: &[u32]) -> Option<String> {
        None
    }

    /// How many bytes of text the ids of next tokens stand for, where they stand for all of it: so models with
    /// other vocabularies compare, by bits per byte.
    fn text_bytes(&self, _ids: &[u32]) -> Option<usize> {
        None
    }
}

/// The kind of `n` readout tokens: learned vectors that a head reads and that hold no input.
pub fn readout_kind(n: usize) -> KindSpec {
    KindSpec {
        name: READOUT.into(),
        content: ContentSpec::Ids { vocabulary: n },
        axes: Vec::new(),
        time_steps: None,
    }
}

/// `n` readout tokens, to be merged behind an input.
pub fn readout_tokens(n: usize) -> Tokens {
    let mut group = Group::sequence(Content::Ids((0..n as u32).collect()));
    group.positions.clear();
    Tokens::new(vec![group])
}

/// A kind of `n` learned tokens, each of which may have a learned position too, as ViT's class token.
pub fn learned_kind(name: &str, n: usize, positions: bool) -> KindSpec {
    let axes = if positions { vec![Axis::new("index", n)] } else { vec![] };
    KindSpec { name: name.into(), axes, ..readout_kind(n) }
}

/// The tokens of a [`learned_kind`].
pub fn learned_tokens(n: usize, positions: bool) -> Tokens {
    match positions {
        true => Tokens::new(vec![Group::sequence(Content::Ids((0..n as u32).collect()))]),
        false => readout_tokens(n),
    }
}

/// The name of the readout kind in a task.
pub const READOUT: &str = "readout";
