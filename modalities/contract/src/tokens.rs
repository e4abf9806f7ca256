//! The tokens of one input: groups of tokens, one group for each kind.

use serde::{Deserialize, Serialize};

/// One input's tokens before embedding: plain data, no tensors, no parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// One group for each kind, in the order of [`TokenSpec::kinds`](crate::TokenSpec::kinds).
    pub groups: Vec<Group>,
}

/// The tokens of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The content of the tokens: ids or features.
    pub content: Content,
    /// Row-major `[n, axes]`, for example a patch's (row, column).
    pub positions: Vec<u32>,
    /// `[n]`: index in the sequence, over all groups of the input; for example return 3t, state 3t+1, action 3t+2.
    pub order: Vec<u32>,
    /// `[n]`: time step, for rules that compare time and for the embedder's time axis.
    pub time: Vec<u32>,
}

/// The content of a group's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// `[n]` ids into a vocabulary.
    Ids(Vec<u32>),
    /// `[n, dim]` real features, row-major.
    Features {
        /// The features, row-major.
        values: Vec<f32>,
        /// Features of a token.
        dim: usize,
    },
}

impl Content {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Content::Ids(ids) => ids.len(),
            Content::Features { values, dim } => values.len().checked_div(*dim).unwrap_or(0),
        }
    }

    /// True when there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids, if the content is ids.
    pub fn ids(&self) -> Option<&[u32]> {
        match self {
            Content::Ids(ids) => Some(ids),
            Content::Features { .. } => None,
        }
    }

    /// The features, row-major, if the content is features.
    pub fn features(&self) -> Option<&[f32]> {
        match self {
            Content::Ids(_) => None,
            Content::Features { values, .. } => Some(values),
        }
    }
}

impl Group {
    /// A sequence: token `i` has order `i`, time `i` and position `i` on one axis.
    pub fn sequence(content: Content) -> Self {
        let places: Vec<u32> = (0..content.len() as u32).collect();
        Self { content, positions: places.clone(), order: places.clone(), time: places }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True when there is no token.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Tokens {
    /// Tokens of these groups.
    pub fn new(groups: Vec<Group>) -> Self {
        Self { groups }
    }

    /// The number of tokens over all groups.
    pub fn len(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// True when there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Append `next`: its groups follow these groups, and its `order` and `time` continue after theirs, so that an
    /// image and its caption become one document.
    pub fn merge(mut self, next: Tokens) -> Tokens {
        let past = |pick: fn(&Group) -> &Vec<u32>| {
            self.groups.iter().flat_map(pick).max().map_or(0, |last| last + 1)
        };
        let (order, time) = (past(|g| &g.order), past(|g| &g.time));
        self.groups.extend(next.groups.into_iter().map(|mut group| {
            group.order.iter_mut().for_each(|o| *o += order);
            group.time.iter_mut().for_each(|t| *t += time);
            group
        }));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_shifts_order_and_time() {
        let ids = |n: u32| Tokens::new(vec![Group::sequence(Content::Ids((0..n).collect()))]);
        let merged = ids(2).merge(ids(3));
        assert_eq!(merged.groups[1].order, [2, 3, 4]);
        assert_eq!(merged.groups[1].time, [2, 3, 4]);
        assert_eq!(merged.groups[1].positions, [0, 1, 2], "positions belong to their kind");
        assert_eq!(merged.len(), 5);
    }

    #[test]
    fn features_without_width_are_empty() {
        assert!(Content::Features { values: vec![], dim: 0 }.is_empty());
    }
}
