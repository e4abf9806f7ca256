//! How the work of a call is cut into tasks.

use super::Inputs;
use rayon::prelude::*;
use std::ops::Range;

/// The work of one task: some key-value heads of one document, and the query heads that share them.
pub(super) struct Part {
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
    pub(super) kv_heads: Range<usize>,
    pub(super) heads: Range<usize>,
}

impl Inputs<'_> {
    /// The key-value heads of a part: all, so that a part is a whole document and its result needs no reordering; or one, if
    /// there are fewer documents than threads.
    pub(super) fn kv_heads_of_part(&self) -> usize {
        let busy = self.mask.documents().filter(|(queries, _)| !queries.is_empty()).count();
        if busy >= rayon::current_num_threads() { self.heads.n_kv_heads } else { 1 }
    }

    pub(super) fn parts(&self, kv_heads: usize) -> Vec<Part> {
        let group = self.heads.group();
        let parts = self.mask.documents().flat_map(|(queries, keys)| {
            (0..self.heads.n_kv_heads).step_by(kv_heads).map(move |first| Part {
                queries: queries.clone(),
                keys: keys.clone(),
                kv_heads: first..first + kv_heads,
                heads: first * group..(first + kv_heads) * group,
            })
        });
        parts.collect()
    }

    /// Reorders the results of parts, which follow each other as `[rows, sides·heads·d_head]`, to rows with all heads.
    /// `extent` gives a part's rows and heads.
    pub(super) fn by_rows(
        &self,
        written: Vec<f32>,
        parts: &[Part],
        sides: usize,
        extent: impl Fn(&Part) -> (&Range<usize>, usize),
    ) -> Vec<f32> {
        let parts_of_document = self.heads.n_kv_heads;
        if parts.iter().all(|part| part.kv_heads.len() == parts_of_document) {
            return written;
        }
        // A document's parts follow each other, and start at the offset of its rows.
        let d_head = self.d_head();
        let mut by_rows = vec![0.0; written.len()];
        let heads = parts.first().map_or(0, |part| extent(part).1); // of one part
        let all = parts_of_document * heads;
        let documents: Vec<&Range<usize>> =
            parts.iter().step_by(parts_of_document).map(|part| extent(part).0).collect();
        let width = sides * all * d_head;
        let counts = documents.iter().map(|rows| rows.len());
        for (place, target) in documents.iter().zip(cut(&mut by_rows, counts, width)) {
            let n = place.len();
            let written = &written[place.start * width..];
            target.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, target)| {
                for (column, target) in target.chunks_exact_mut(d_head).enumerate() {
                    let (side, head) = (column / all, column % all);
                    let (part, head) = (head / heads, head % heads);
                    let from = (((part * n + row) * sides + side) * heads + head) * d_head;
                    target.copy_from_slice(&written[from..][..d_head]);
                }
            });
        }
        by_rows
    }
}

/// Cuts consecutive ranges of rows, each `width` wide, out of one slice.
pub(super) fn cut(mut slice: &mut [f32], rows: impl Iterator<Item = usize>, width: usize) -> Vec<&mut [f32]> {
    let mut parts = Vec::new();
    for rows in rows {
        let (part, rest) = slice.split_at_mut(rows * width);
        parts.push(part);
        slice = rest;
    }
    parts
}
