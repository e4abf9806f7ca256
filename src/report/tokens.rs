//! Summaries of the tokens of one input: number, content and positions of each kind.

use safetensors::{Dtype, SafeTensorError, tensor::TensorView};
use serde::Serialize;
use smalti_contract::{AnyTokenizer, Content, ContentSpec, Group, TokenSpec, Tokens};
use std::collections::BTreeSet;
use std::fmt;

/// Summary of the tokens of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSummary {
    /// The kind's name.
    pub kind: String,
    /// The number of tokens.
    pub tokens: usize,
    /// The content of a token: an id of a vocabulary, or features.
    pub content: ContentSpec,
    /// The range of the content; `None` without a token.
    pub values: Option<Values>,
    /// The positions on each axis.
    pub axes: Vec<AxisSummary>,
    /// The time steps; `None` without a token.
    pub time: Option<Span>,
    /// The places in the sequence; `None` without a token.
    pub order: Option<Span>,
}

/// Summary of the content of the tokens of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// Ids.
    Ids {
        /// The least.
        least: u32,
        /// The largest.
        most: u32,
        /// The number of different ids.
        distinct: usize,
    },
    /// All features of all tokens.
    Features {
        /// The least.
        least: f32,
        /// The largest.
        most: f32,
        /// The mean.
        mean: f32,
        /// The standard deviation.
        std: f32,
    },
}

/// The positions on one axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AxisSummary {
    /// The axis's name: `row`, `column`, `index`.
    pub name: String,
    /// The range of the positions; `None` without a token.
    pub span: Option<Span>,
}

/// The least and the largest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The least.
    pub least: u32,
    /// The largest.
    pub most: u32,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Token {
    /// Its place in the sequence.
    pub order: u32,
    /// Its kind's name.
    pub kind: String,
    /// Its position on each axis.
    pub positions: Vec<u32>,
    /// Its time step.
    pub time: u32,
    /// Its content.
    #[serde(flatten)]
    pub content: TokenContent,
}

/// The content of one token.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenContent {
    /// An id.
    Id(u32),
    /// Its features.
    Features(Vec<f32>),
}

impl Span {
    fn of(numbers: impl Iterator<Item = u32> + Clone) -> Option<Self> {
        Some(Self { least: numbers.clone().min()?, most: numbers.max()? })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}–{}", self.least, self.most)
    }
}

impl Values {
    fn of(content: &Content) -> Option<Self> {
        match content {
            Content::Ids(ids) => {
                let distinct: BTreeSet<u32> = ids.iter().copied().collect();
                Some(Self::Ids {
                    least: *distinct.first()?,
                    most: *distinct.last()?,
                    distinct: distinct.len(),
                })
            }
            Content::Features { values, .. } => {
                let mean = |of: &dyn Fn(f64) -> f64| {
                    values.iter().map(|&value| of(f64::from(value))).sum::<f64>() / values.len() as f64
                };
                let centre = mean(&|value| value);
                let spread = mean(&|value| (value - centre).powi(2)).sqrt();
                let (least, most) =
                    (values.iter().copied().reduce(f32::min)?, values.iter().copied().reduce(f32::max)?);
                Some(Self::Features { least, most, mean: centre as f32, std: spread as f32 })
            }
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Ids { least, most, distinct } => write!(f, "{least}–{most}, {distinct} distinct"),
            Self::Features { least, most, mean, std } => {
                write!(f, "{least:.3} to {most:.3}, mean {mean:.3}, std {std:.3}")
            }
        }
    }
}

/// The summary of each group of `tokens`, which match `spec`.
pub fn summary(spec: &TokenSpec, tokens: &Tokens) -> Vec<GroupSummary> {
    let groups = spec.kinds.iter().zip(&tokens.groups).map(|(kind, group)| {
        let axes = kind.axes.iter().enumerate().map(|(a, axis)| AxisSummary {
            name: axis.name.clone(),
            span: Span::of(group.positions.iter().skip(a).step_by(kind.axes.len()).copied()),
        });
        GroupSummary {
            kind: kind.name.clone(),
            tokens: group.len(),
            content: kind.content,
            values: Values::of(&group.content),
            axes: axes.collect(),
            time: Span::of(group.time.iter().copied()),
            order: Span::of(group.order.iter().copied()),
        }
    });
    groups.collect()
}

/// The first `n` tokens of the sequence, of all kinds. The tokens match `spec`.
pub fn first(spec: &TokenSpec, tokens: &Tokens, n: usize) -> Vec<Token> {
    pick(spec, tokens, |order| (order as usize) < n)
}

/// The last token of the sequence; `None` if it is empty. The tokens match `spec`.
pub fn last(spec: &TokenSpec, tokens: &Tokens) -> Option<Token> {
    let last = tokens.len().checked_sub(1)? as u32;
    pick(spec, tokens, |order| order == last).pop()
}

/// The tokens whose places in the sequence are wanted, in the order of the sequence.
fn pick(spec: &TokenSpec, tokens: &Tokens, wanted: impl Fn(u32) -> bool) -> Vec<Token> {
    let mut picked = Vec::new();
    for (kind, group) in spec.kinds.iter().zip(&tokens.groups) {
        let places = group.order.iter().enumerate().filter(|(_, order)| wanted(**order));
        picked.extend(places.map(|(i, _)| token(&kind.name, kind.axes.len(), group, i)));
    }
    picked.sort_by_key(|token| token.order);
    picked
}

fn token(kind: &str, n_axes: usize, group: &Group, i: usize) -> Token {
    let content = match &group.content {
        Content::Ids(ids) => TokenContent::Id(ids[i]),
        Content::Features { values, dim } => TokenContent::Features(values[i * dim..][..*dim].to_vec()),
    };
    let positions = group.positions[i * n_axes..][..n_axes].to_vec();
    Token { order: group.order[i], kind: kind.into(), positions, time: group.time[i], content }
}

/// The text of an id; `None` for special tokens and for ids that are no text.
pub fn text_of_id(tokenizer: &dyn AnyTokenizer, id: u32) -> Option<String> {
    let one = Tokens::new(vec![Group::sequence(Content::Ids(vec![id]))]);
    let text = *tokenizer.decode_any(&one).ok()?.downcast::<String>().ok()?;
    (!text.is_empty()).then_some(text)
}

/// The tokens as a safetensors file: for each kind `KIND.content` (`[n]` ids in U32 or `[n, dim]` features in
/// F32), `KIND.positions` (`[n, axes]`), `KIND.order` and `KIND.time` (`[n]`, U32). The tokens match `spec`.
///
/// # Errors
/// If two kinds have one name.
pub fn to_safetensors(spec: &TokenSpec, tokens: &Tokens) -> Result<Vec<u8>, SafeTensorError> {
    let bytes = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let mut stored = Vec::new();
    for (kind, group) in spec.kinds.iter().zip(&tokens.groups) {
        let (n, mut add) = (group.len(), |name: &str, dtype, shape: Vec<usize>, bytes: Vec<u8>| {
            stored.push((format!("{}.{name}", kind.name), dtype, shape, bytes));
        });
        match &group.content {
            Content::Ids(ids) => add("content", Dtype::U32, vec![n], bytes(ids)),
            Content::Features { values, dim } => {
                let values = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                add("content", Dtype::F32, vec![n, *dim], values);
            }
        }
        add("positions", Dtype::U32, vec![n, kind.axes.len()], bytes(&group.positions));
        add("order", Dtype::U32, vec![n], bytes(&group.order));
        add("time", Dtype::U32, vec![n], bytes(&group.time));
    }
    let views = stored.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    safetensors::serialize(views.collect::<Result<Vec<_>, SafeTensorError>>()?, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use smalti_contract::{Axis, Group, KindSpec};

    /// Two patches, one above the other, and an id between them.
    fn mixed() -> (TokenSpec, Tokens) {
        let kind =
            |name: &str, content, axes| KindSpec { name: name.into(), content, axes, time_steps: None };
        let spec = TokenSpec {
            kinds: vec![
                kind(
                    "patch",
                    ContentSpec::Features { dim: 2 },
                    vec![Axis::new("row", 4), Axis::new("column", 4)],
                ),
                kind("mark", ContentSpec::Ids { vocabulary: 9 }, vec![]),
            ],
        };
        let patches = Group {
            content: Content::Features { values: vec![0.5, 1.0, 1.5, 2.0], dim: 2 },
            positions: vec![0, 3, 1, 3],
            order: vec![0, 2],
            time: vec![0, 1],
        };
        let marks =
            Group { content: Content::Ids(vec![7]), positions: vec![], order: vec![1], time: vec![5] };
        let tokens = Tokens::new(vec![patches, marks]);
        spec.check(&tokens).unwrap();
        (spec, tokens)
    }

    #[test]
    fn a_summary_has_counts_and_ranges() {
        let (spec, tokens) = mixed();
        let [patch, mark] = &summary(&spec, &tokens)[..] else { panic!("two kinds") };
        let rows = patch.axes.iter().map(|axis| (axis.name.as_str(), axis.span.unwrap().to_string()));
        assert_eq!(rows.collect::<Vec<_>>(), [("row", "0–1".to_string()), ("column", "3–3".to_string())]);
        assert_eq!((patch.tokens, patch.order), (2, Some(Span { least: 0, most: 2 })));
        let std = 0.3125_f32.sqrt();
        assert_eq!(patch.values, Some(Values::Features { least: 0.5, most: 2.0, mean: 1.25, std }));
        assert_eq!(patch.values.unwrap().to_string(), "0.500 to 2.000, mean 1.250, std 0.559");
        assert_eq!(mark.values, Some(Values::Ids { least: 7, most: 7, distinct: 1 }));
        assert_eq!(
            (mark.content, mark.time),
            (ContentSpec::Ids { vocabulary: 9 }, Some(Span { least: 5, most: 5 }))
        );
    }

    #[test]
    fn an_empty_group_has_no_range() {
        let (spec, mut tokens) = mixed();
        tokens.groups[1] =
            Group { content: Content::Ids(vec![]), positions: vec![], order: vec![], time: vec![] };
        let mark = &summary(&spec, &tokens)[1];
        assert_eq!((mark.order, mark.values), (None, None));
        assert!(first(&spec, &Tokens::default(), 3).is_empty());
        assert_eq!(last(&spec, &Tokens::default()), None);
    }

    #[test]
    fn the_first_tokens_come_in_their_order() {
        let (spec, tokens) = mixed();
        let json = serde_json::to_value(first(&spec, &tokens, 2)).unwrap();
        let expected = serde_json::json!([
            { "order": 0, "kind": "patch", "positions": [0, 3], "time": 0, "features": [0.5, 1.0] },
            { "order": 1, "kind": "mark", "positions": [], "time": 5, "id": 7 },
        ]);
        assert_eq!(json, expected);
        let last = last(&spec, &tokens).unwrap();
        assert_eq!((last.order, &last.positions[..], last.time), (2, &[1, 3][..], 1));
    }

    #[test]
    fn tensors_have_the_names_shapes_and_values_of_the_groups() {
        let (spec, tokens) = mixed();
        let bytes = to_safetensors(&spec, &tokens).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 8);
        let features = file.tensor("patch.content").unwrap();
        assert_eq!((features.dtype(), features.shape()), (Dtype::F32, &[2, 2][..]));
        assert_eq!(features.data(), [0.5_f32, 1.0, 1.5, 2.0].map(f32::to_le_bytes).as_flattened());
        let positions = file.tensor("patch.positions").unwrap();
        assert_eq!((positions.dtype(), positions.shape()), (Dtype::U32, &[2, 2][..]));
        assert_eq!(file.tensor("mark.positions").unwrap().shape(), [1, 0]);
        assert_eq!(file.tensor("mark.content").unwrap().data(), 7_u32.to_le_bytes());
    }
}
