//! An unfinished document: the tokens of one stream of a sample.

use crate::data::Stream;
use smalti_contract::{Content, ContentSpec, Group, KindSpec, Tokens};
use std::ops::Range;

/// The tokens of one stream of a sample so far.
pub(super) struct Document {
    stream: Stream,
    groups: Vec<Group>,
    len: u32,
}

impl Document {
    /// An empty document of these kinds of token.
    pub(super) fn new(stream: Stream, kinds: &[KindSpec]) -> Self {
        let empty = |kind: &KindSpec| Group {
            content: match kind.content {
                ContentSpec::Ids { .. } => Content::Ids(vec![]),
                ContentSpec::Features { dim } => Content::Features { values: vec![], dim },
            },
            positions: vec![],
            order: vec![],
            time: vec![],
        };
        Self { stream, groups: kinds.iter().map(empty).collect(), len: 0 }
    }

    /// The number of tokens so far, which is the place of the next token.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The tokens of kind number `kind` so far.
    pub(super) fn group(&self, kind: usize) -> &Group {
        &self.groups[kind]
    }

    /// Appends tokens of the kinds from number `first` on, with the time step `time` for a series; returns their places.
    pub(super) fn append(&mut self, first: usize, tokens: Tokens, time: Option<u32>) -> Range<u32> {
        let (start, n) = (self.len, tokens.len() as u32);
        for (group, to) in tokens.groups.into_iter().zip(&mut self.groups[first..]) {
            to.order.extend(group.order.iter().map(|order| start + order));
            to.positions.extend(group.positions);
            match time {
                Some(time) => to.time.extend(std::iter::repeat_n(time, group.order.len())),
                None => to.time.extend(group.time),
            }
            match (&mut to.content, group.content) {
                (Content::Ids(all), Content::Ids(ids)) => all.extend(ids),
                (Content::Features { values, .. }, Content::Features { values: more, .. }) => {
                    values.extend(more)
                }
                // Collate checks each group's content and reports the error.
                (content, other) => *content = other,
            }
        }
        self.len += n;
        start..start + n
    }

    /// The stream and its tokens.
    pub(super) fn finish(self) -> (Stream, Tokens) {
        (self.stream, Tokens::new(self.groups))
    }
}
