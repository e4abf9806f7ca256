//! What a tokenizer promises about its tokens: kinds, vocabularies, feature sizes and position axes.

use crate::tokens::{Content, Group, Tokens};
use serde::{Deserialize, Serialize};

/// The kinds of token that a tokenizer makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// One for each group of [`Tokens`], in the same order.
    pub kinds: Vec<KindSpec>,
}

/// One kind of token: a character, a patch, a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindSpec {
    /// The kind's name, unique in its spec: `patch`, `return`.
    pub name: String,
    /// What a token of this kind holds.
    pub content: ContentSpec,
    /// The axes of its positions, each with a learned table; none for a kind without positions.
    pub axes: Vec<Axis>,
    /// How many time steps there are, where the kind is embedded with its time; `None` where it is not.
    pub time_steps: Option<usize>,
}

/// What the tokens of one kind hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentSpec {
    /// Ids below `vocabulary`.
    Ids {
        /// How many ids there are.
        vocabulary: usize,
    },
    /// `dim` real numbers in a token.
    Features {
        /// Features in a token.
        dim: usize,
    },
}

/// One axis of a kind's positions: `row`, `column`, `index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// The axis's name.
    pub name: String,
    /// Positions on it are below this.
    pub size: usize,
}

impl Axis {
    /// An axis with positions `0..size`.
    pub fn new(name: impl Into<String>, size: usize) -> Self {
        Self { name: name.into(), size }
    }
}

/// Tokens that do not keep what their spec promises.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Another number of groups than the spec has kinds.
    #[error("tokens have {found} groups; their spec has {expected} kinds")]
    Groups {
        /// Kinds in the spec.
        expected: usize,
        /// Groups in the tokens.
        found: usize,
    },
    /// A field of a group has the wrong length, or content of the wrong sort.
    #[error("{kind}: {field} must be {expected}; found {found}")]
    Shape {
        /// The kind's name.
        kind: String,
        /// The field of the group.
        field: &'static str,
        /// What the spec asks for.
        expected: String,
        /// What the group has.
        found: String,
    },
    /// An id, position or time outside its bound.
    #[error("{kind}: {field} {found} at token {token} must be below {bound}")]
    Bound {
        /// The kind's name.
        kind: String,
        /// Which number: `id`, `time`, or an axis's name.
        field: String,
        /// The token's place in its group.
        token: usize,
        /// The exclusive bound.
        bound: usize,
        /// What was found.
        found: u32,
    },
    /// A feature that is infinite or not a number.
    #[error("{kind}: feature {feature} of token {token} is {found}; features must be finite")]
    NotFinite {
        /// The kind's name.
        kind: String,
        /// The token's place in its group.
        token: usize,
        /// Which of its features.
        feature: usize,
        /// What was found.
        found: f32,
    },
    /// The orders of all tokens are not the numbers `0..n`, each once.
    #[error("order must be a permutation of 0..{n}; {found} {problem}")]
    Order {
        /// Tokens in all.
        n: usize,
        /// The offending order.
        found: u32,
        /// `is repeated` or `is out of range`.
        problem: &'static str,
    },
}

impl TokenSpec {
    /// A spec with one kind.
    pub fn single(kind: KindSpec) -> Self {
        Self { kinds: vec![kind] }
    }

    /// Checks that `tokens` keep this spec: shapes, bounds of ids, positions and times, finite features,
    /// and that `order` over all groups is a permutation of `0..n`.
    ///
    /// # Errors
    /// The first [`SpecError`] found.
    pub fn check(&self, tokens: &Tokens) -> Result<(), SpecError> {
        if tokens.groups.len() != self.kinds.len() {
            return Err(SpecError::Groups { expected: self.kinds.len(), found: tokens.groups.len() });
        }
        for (kind, group) in self.kinds.iter().zip(&tokens.groups) {
            kind.check(group)?;
        }
        let n = tokens.len();
        let mut seen = vec![false; n];
        for &order in tokens.groups.iter().flat_map(|g| &g.order) {
            match seen.get_mut(order as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(SpecError::Order { n, found: order, problem: "is repeated" }),
                None => return Err(SpecError::Order { n, found: order, problem: "is out of range" }),
            }
        }
        Ok(())
    }
}

impl KindSpec {
    /// Checks the shapes, bounds and finiteness of one group; its `order` is the whole input's affair.
    ///
    /// # Errors
    /// The first [`SpecError`] found.
    pub fn check(&self, group: &Group) -> Result<(), SpecError> {
        let n = group.len();
        let length = |field, found: usize, expected: usize| {
            if found == expected {
                return Ok(());
            }
            let (expected, found) = (format!("{expected} long"), format!("{found}"));
            Err(SpecError::Shape { kind: self.name.clone(), field, expected, found })
        };
        match (&group.content, self.content) {
            (Content::Ids(ids), ContentSpec::Ids { vocabulary }) => {
                length("ids", ids.len(), n)?;
                self.bounded("id", ids, vocabulary)?;
            }
            (Content::Features { values, dim }, ContentSpec::Features { dim: expected }) => {
                length("features of a token", *dim, expected)?;
                length("features", values.len(), n * dim)?;
                if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                    let (kind, found) = (self.name.clone(), values[at]);
                    return Err(SpecError::NotFinite { kind, token: at / dim, feature: at % dim, found });
                }
            }
            (content, expected) => {
                let found = match content {
                    Content::Ids(_) => "ids",
                    Content::Features { .. } => "features",
                };
                return Err(SpecError::Shape {
                    kind: self.name.clone(),
                    field: "content",
                    expected: format!("{expected:?}"),
                    found: found.into(),
                });
            }
        }
        length("time", group.time.len(), n)?;
        length("positions", group.positions.len(), n * self.axes.len())?;
        for (a, axis) in self.axes.iter().enumerate() {
            let on_axis: Vec<u32> =
                group.positions.iter().skip(a).step_by(self.axes.len()).copied().collect();
            self.bounded(&axis.name, &on_axis, axis.size)?;
        }
        self.time_steps.map_or(Ok(()), |steps| self.bounded("time", &group.time, steps))
    }

    fn bounded(&self, field: &str, numbers: &[u32], bound: usize) -> Result<(), SpecError> {
        match numbers.iter().position(|&number| number as usize >= bound) {
            None => Ok(()),
            Some(token) => Err(SpecError::Bound {
                kind: self.name.clone(),
                field: field.into(),
                token,
                bound,
                found: numbers[token],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TokenSpec {
        TokenSpec::single(KindSpec {
            name: "character".into(),
            content: ContentSpec::Ids { vocabulary: 10 },
            axes: vec![Axis::new("index", 4)],
            time_steps: None,
        })
    }

    fn tokens(ids: &[u32]) -> Tokens {
        Tokens::new(vec![Group::sequence(Content::Ids(ids.to_vec()))])
    }

    #[test]
    fn accepts_what_it_promises() {
        assert_eq!(spec().check(&tokens(&[9, 0, 3])), Ok(()));
    }

    #[test]
    fn names_what_is_out_of_bounds() {
        let error = spec().check(&tokens(&[1, 10])).unwrap_err();
        assert_eq!(error.to_string(), "character: id 10 at token 1 must be below 10");
        let error = spec().check(&tokens(&[0; 5])).unwrap_err();
        assert_eq!(error.to_string(), "character: index 4 at token 4 must be below 4");
    }

    #[test]
    fn order_is_a_permutation() {
        let mut twice = tokens(&[1, 2]);
        twice.groups[0].order = vec![1, 1];
        assert!(matches!(spec().check(&twice), Err(SpecError::Order { found: 1, .. })));
    }

    #[test]
    fn features_are_finite_and_of_one_width() {
        let spec = TokenSpec::single(KindSpec {
            name: "state".into(),
            content: ContentSpec::Features { dim: 2 },
            axes: vec![],
            time_steps: Some(2),
        });
        let group = |values: Vec<f32>, dim| Group {
            content: Content::Features { values, dim },
            positions: vec![],
            order: vec![0, 1],
            time: vec![0, 1],
        };
        assert_eq!(spec.check(&Tokens::new(vec![group(vec![0.0; 4], 2)])), Ok(()));
        let bad = spec.check(&Tokens::new(vec![group(vec![0.0, 1.0, 2.0, f32::NAN], 2)]));
        assert!(matches!(bad, Err(SpecError::NotFinite { token: 1, feature: 1, .. })));
        let narrow = spec.check(&Tokens::new(vec![group(vec![0.0; 2], 1)]));
        assert!(matches!(narrow, Err(SpecError::Shape { .. })));
    }
}
