//! A plot in characters.

use std::ops::Range;

/// A plot without points: cells beside an axis of values.
pub(super) struct Plot {
    cells: Vec<Vec<char>>,
    values: Range<f64>,
}

impl Plot {
    /// An empty plot of `columns` × `rows` characters besides the labels, at least 2 × 2, over these values.
    pub(super) fn new(columns: usize, rows: usize, values: Range<f64>) -> Self {
        Self { cells: vec![vec![' '; columns.max(2)]; rows.max(2)], values }
    }

    /// The number of columns.
    pub(super) fn columns(&self) -> usize {
        self.cells[0].len()
    }

    /// The column at a share of the width.
    pub(super) fn column(&self, share: f64) -> usize {
        place(share, self.columns())
    }

    /// Marks a value in a column; one out of range is marked at the edge.
    pub(super) fn mark(&mut self, column: usize, value: f64, mark: char) {
        let Range { start, end } = self.values;
        let row = place((end - value) / (end - start).max(f64::MIN_POSITIVE), self.cells.len());
        self.cells[row][column] = mark;
    }

    /// The rows, with the largest and the least value as labels, and the line below them.
    pub(super) fn lines(&self) -> String {
        let mut plot = String::new();
        for (row, cells) in self.cells.iter().enumerate() {
            let label = match row {
                0 => format!("{:.4}", self.values.end),
                last if last == self.cells.len() - 1 => format!("{:.4}", self.values.start),
                _ => String::new(),
            };
            plot += format!("{label:>10} |{}", cells.iter().collect::<String>()).trim_end();
            plot.push('\n');
        }
        plot + &format!("{:>10} +{}\n", "", "-".repeat(self.columns()))
    }
}

/// The cell at a share of a row or column of cells.
fn place(share: f64, cells: usize) -> usize {
    (share.clamp(0.0, 1.0) * (cells - 1) as f64).round() as usize
}
