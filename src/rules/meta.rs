//! Token metadata that attention rules compare: document, kind, place, time and positions.

use std::ops::Range;

/// Position axes that rules can compare; a kind may have more.
pub const MAX_AXES: usize = 2;

/// The metadata of a flat list of tokens, `[n]` each; a document's tokens are contiguous and in `order`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenMeta {
    /// The token's document; attention never crosses documents.
    pub document: Vec<u32>,
    /// The kind, by its number in the model.
    pub kind: Vec<u32>,
    /// Place in the document's sequence, ascending in a document.
    pub order: Vec<u32>,
    /// Time step.
    pub time: Vec<u32>,
    /// The first [`MAX_AXES`] positions, 0 if a kind has fewer axes.
    pub positions: Vec<[u32; MAX_AXES]>,
    /// The rows of each document; a document without a token has an empty range.
    pub documents: Vec<Range<usize>>,
}

impl TokenMeta {
    /// One document of tokens of these kinds, in order; time and first position count from 0.
    pub fn document(kinds: &[u32]) -> Self {
        let n = kinds.len();
        let places: Vec<u32> = (0..n as u32).collect();
        Self {
            document: vec![0; n],
            kind: kinds.to_vec(),
            positions: places.iter().map(|&place| [place, 0]).collect(),
            time: places.clone(),
            order: places,
            documents: std::iter::once(0..n).collect(),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.kind.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    /// The rows of the documents that `wanted` accepts, and their metadata; other documents stay, without a token.
    pub fn select(&self, wanted: impl Fn(usize) -> bool) -> (Vec<u32>, Self) {
        let chosen = self.documents.iter().enumerate().filter(|(document, _)| wanted(*document));
        let rows: Vec<u32> = chosen.flat_map(|(_, range)| range.start as u32..range.end as u32).collect();
        let meta = self.take(&rows);
        (rows, meta)
    }

    /// The metadata of these rows, which must ascend; a document keeps its number, and may be left without a token.
    pub fn take(&self, rows: &[u32]) -> Self {
        let of = |numbers: &[u32]| rows.iter().map(|&row| numbers[row as usize]).collect();
        let before = |end: usize| rows.partition_point(|&row| (row as usize) < end);
        Self {
            document: of(&self.document),
            kind: of(&self.kind),
            order: of(&self.order),
            time: of(&self.time),
            positions: rows.iter().map(|&row| self.positions[row as usize]).collect(),
            documents: self.documents.iter().map(|range| before(range.start)..before(range.end)).collect(),
        }
    }

    /// A document for each of these ranges of rows, with room for `capacity` tokens: rows after its own are not in use.
    pub fn spaced(&self, rows: &[Range<usize>], capacity: usize) -> Self {
        let numbers = 0..rows.len() as u32;
        Self {
            document: numbers.flat_map(|number| std::iter::repeat_n(number, capacity)).collect(),
            kind: spaced(&self.kind, rows, capacity),
            order: spaced(&self.order, rows, capacity),
            time: spaced(&self.time, rows, capacity),
            positions: spaced(&self.positions, rows, capacity),
            documents: rows.iter().zip(0..).map(|(of, i)| i * capacity..i * capacity + of.len()).collect(),
        }
    }

    /// Appends to each document the tokens of the same document of `next`, in the room that [`spaced`](Self::spaced) leaves.
    pub fn append(&mut self, next: &TokenMeta) {
        for (rows, new) in self.documents.iter_mut().zip(&next.documents) {
            let target = rows.end..rows.end + new.len();
            rows.end = target.end;
            let columns = [&mut self.kind, &mut self.order, &mut self.time];
            for (column, new_column) in columns.into_iter().zip([&next.kind, &next.order, &next.time]) {
                column[target.clone()].copy_from_slice(&new_column[new.clone()]);
            }
            self.positions[target].copy_from_slice(&next.positions[new.clone()]);
        }
    }
}

/// Some rows of a column, each followed by defaults up to `capacity`.
fn spaced<T: Copy + Default>(column: &[T], rows: &[Range<usize>], capacity: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(rows.len() * capacity);
    for (place, rows) in rows.iter().enumerate() {
        all.extend_from_slice(&column[rows.clone()]);
        all.resize((place + 1) * capacity, T::default());
    }
    all
}
