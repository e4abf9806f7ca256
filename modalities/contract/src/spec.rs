//! The spec of a tokenizer's tokens: kinds, vocabularies, feature sizes and position axes.

use crate::tokens::{Content, Group, Tokens};
use serde::{Deserialize, Serialize};

/// The kinds of a tokenizer's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// One kind for each group of [`Tokens`], in the same order.
    pub kinds: Vec<KindSpec>,
}

/// One kind of token: a character, a patch, a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindSpec {
    /// The kind's name, unique in its spec, such as `patch` or `return`.
    pub name: String,
    /// The content of a token of this kind.
    pub content: ContentSpec,
    /// The axes of its positions, each with a learned table; none for a kind without positions.
    pub axes: Vec<Axis>,
    /// The number of time steps, if the kind is embedded with its time step; otherwise `None`.
    pub time_steps: Option<usize>,
}

/// The content of the tokens of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentSpec {
    /// Ids below `vocabulary`.
    Ids {
        /// The number of ids.
        vocabulary: usize,
    },
    /// `dim` real numbers for each token.
    Features {
        /// Features of a token.
        dim: usize,
    },
}

/// One axis of a kind's positions: `row`, `column`, `index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// The axis's name.
    pub name: String,
    /// The exclusive bound of positions on this axis.
    pub size: usize,
}

impl Axis {
    /// An axis with positions `0..size`.
    pub fn new(name: impl Into<String>, size: usize) -> Self {
        Self { name: name.into(), size }
    }
}

/// Tokens that do not match their spec.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The number of groups differs from the spec's number of kinds.
    #[error("tokens have {found} groups; their spec has {expected} kinds")]
    Groups {
        /// Kinds in the spec.
        expected: usize,
        /// Groups in the tokens.
        found: usize,
    },
    /// A field of a group has the wrong length, or content of the wrong type.
    #[error("{kind}: {field} must be {expected}; found {found}")]
    Shape {
        /// The kind's name.
        kind: String,
        /// The field of the group.
        field: &'static str,
        /// The value that the spec requires.
        expected: String,
        /// The group's value.
        found: String,
    },
    /// An id, position or time outside its bound.
    #[error("{kind}: {field} {found} at token {token} must be below {bound}")]
    Bound {
        /// The kind's name.
        kind: String,
        /// The number's name: `id`, `time`, or an axis.
        field: String,
        /// The token's index in its group.
        token: usize,
        /// The exclusive bound.
        bound: usize,
        /// The value found.
        found: u32,
    },
    /// A feature that is infinite or not a number.
    #[error("{kind}: feature {feature} of token {token} is {found}; features must be finite")]
    NotFinite {
        /// The kind's name.
        kind: String,
        /// The token's index in its group.
        token: usize,
        /// The feature's index in the token.
        feature: usize,
        /// The value found.
        found: f32,
    },
    /// The `order` of all tokens is not a permutation of `0..n`.
    #[error("order must be a permutation of 0..{n}; {found} {problem}")]
    Order {
        /// The number of tokens.
        n: usize,
        /// The repeated or out-of-range number.
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

    /// Check that `tokens` match this spec: shapes, bounds of ids, positions and time steps, finite features, and that
    /// `order` over all groups is a permutation of `0..n`.
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
    /// Check the shapes, bounds and finiteness of one group. [`TokenSpec::check`] checks `order`, over all groups.
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
    fn tokens_that_match_the_spec_pass() {
        assert_eq!(spec().check(&tokens(&[9, 0, 3])), Ok(()));
    }

    #[test]
    fn an_error_names_the_value_out_of_bounds() {
        let error = spec().check(&tokens(&[1, 10])).unwrap_err();
        assert_eq!(error.to_string(), "character: id 10 at token 1 must be below 10");
        let error = spec().check(&tokens(&[0; 5])).unwrap_err();
        assert_eq!(error.to_string(), "character: index 4 at token 4 must be below 4");
    }

    #[test]
    fn order_is_a_permutation() {
        let mut repeated = tokens(&[1, 2]);
        repeated.groups[0].order = vec![1, 1];
        assert!(matches!(spec().check(&repeated), Err(SpecError::Order { found: 1, .. })));
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
        let not_finite = spec.check(&Tokens::new(vec![group(vec![0.0, 1.0, 2.0, f32::NAN], 2)]));
        assert!(matches!(not_finite, Err(SpecError::NotFinite { token: 1, feature: 1, .. })));
        let narrow = spec.check(&Tokens::new(vec![group(vec![0.0; 2], 1)]));
        assert!(matches!(narrow, Err(SpecError::Shape { .. })));
    }
}
