//! Matrices, a coloured cell for each number.

use super::colour::{Colour, of_share, range, share};
use super::font::{self, visible};
use super::scene::{Align, LABEL, MARGIN, Raster, SMALL, Scene};
use crate::report::chart::{Chart, Matrices};

/// Side of a cell of a matrix with texts, and of one in a grid of matrices.
const CELL: f32 = 18.0;
const SMALL_CELL: f32 = 9.0;
/// Space between matrices, and below the title.
const GAP: f32 = 6.0;
/// Most matrices, rows and columns that are drawn.
const MOST: usize = 1024;

/// The matrices in a grid, each cell coloured by its share of the range of all numbers, dark for the least.
pub fn matrices(chart: &Chart, shown: &Matrices) -> Scene {
    let mut scene = Scene::new();
    let [rows, columns] = shown.shape.map(|n| n.min(MOST));
    let cell = if shown.matrices.len() > 1 { SMALL_CELL } else { CELL };
    let texts = |texts: &[String], most: usize| -> Vec<String> {
        texts.iter().take(most).map(|text| visible(text)).collect()
    };
    let (beside, above) = (texts(&shown.rows, rows), texts(&shown.columns, columns));
    let widest = beside.iter().map(|text| font::width(text, LABEL)).fold(0.0, f32::max);
    let left = MARGIN + if beside.is_empty() { 0.0 } else { widest + 8.0 };
    let top = scene.title(&chart.title) + if above.is_empty() { 0.0 } else { LABEL + 4.0 };
    for (row, text) in beside.into_iter().enumerate() {
        let middle = top + (row as f32 + 0.5) * cell;
        scene.text(text, [left - 8.0, middle], LABEL, Align::End, Colour::INK);
    }
    for (column, text) in above.into_iter().enumerate() {
        let middle = left + (column as f32 + 0.5) * cell;
        scene.text(text, [middle, top - LABEL / 2.0 - 2.0], LABEL, Align::Middle, Colour::INK);
    }
    let drawn = || shown.matrices.iter().take(if rows * columns == 0 { 0 } else { MOST });
    let [low, high] = range(drawn().flatten().copied().filter(|x| x.is_finite()));
    let size = [columns as f32 * cell, rows as f32 * cell];
    let mut below = top;
    for (number, matrix) in drawn().enumerate() {
        let (down, across) = (number / shown.across.max(1), number % shown.across.max(1));
        let at = [left + across as f32 * (size[0] + GAP), top + down as f32 * (size[1] + GAP)];
        let value = |row: usize, column: usize| matrix.get(row * shown.shape[1] + column).copied();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let rgb =
            cells.flat_map(|(row, column)| of_share(share(value(row, column).unwrap_or(low), [low, high])));
        scene.pixels(Raster { width: columns, height: rows, rgb: rgb.collect() }, at, size);
        below = below.max(at[1] + size[1]);
        scene.reach([at[0] + size[0], below]);
    }
    let caption = format!("{} ({low:.2} dark, {high:.2} bright)", shown.caption);
    scene.reach([MARGIN + font::width(&caption, SMALL), below + GAP + 2.0 * SMALL]);
    scene.text(caption, [MARGIN, below + GAP + SMALL], SMALL, Align::Start, Colour::GREY);
    scene
}

#[cfg(test)]
mod tests {
    use super::super::testing::texts;
    use super::*;
    use crate::report::figure::Format;

    #[test]
    fn a_matrix_has_the_texts_of_its_rows_and_columns() {
        let shown = Matrices {
            caption: "weights".into(),
            rows: vec!["0".into(), "5".into()],
            columns: ["m", "a", " "].map(String::from).into(),
            shape: [2, 3],
            matrices: vec![vec![0.0, 0.5, 1.0, 0.25, 0.0, 0.0]],
            across: 1,
        };
        let scene = matrices(&Chart { title: "Dates".into(), ..Chart::default() }, &shown);
        let texts = texts(&scene);
        assert_eq!(texts, ["Dates", "0", "5", "m", "a", "␣", "weights (0.00 dark, 1.00 bright)"]);
        assert!(scene.encode(Format::Png).is_ok());
    }

    #[test]
    fn many_matrices_are_a_grid_and_none_is_a_figure_too() {
        let maps = |n: usize| Matrices {
            shape: [2, 2],
            matrices: vec![vec![1.0, f32::NAN, 0.0, -1.0]; n],
            across: 2,
            ..Matrices::default()
        };
        let (four, six) = (matrices(&Chart::default(), &maps(4)), matrices(&Chart::default(), &maps(6)));
        assert_eq!(four.width(), six.width());
        assert!(four.height() < six.height());
        for n in [0, 6] {
            assert!(matrices(&Chart::default(), &maps(n)).encode(Format::Svg).unwrap().starts_with(b"<svg"));
        }
        let short = Matrices { shape: [3, 3], matrices: vec![vec![1.0]], ..Matrices::default() };
        assert!(matrices(&Chart::default(), &short).encode(Format::Png).is_ok());
    }
}
