//! Measured numbers as bars, as curves over a setting, each with its standard deviation, or as matrices.

use serde::{Deserialize, Serialize};

/// What bars or curves have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// The label of the horizontal axis of curves.
    pub x: String,
    /// The label of the values.
    pub y: String,
    /// Whether the axes of curves are logarithmic: `[x, y]`. Values that have no logarithm are left out.
    pub log: [bool; 2],
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The standard deviation of the value.
    pub deviation: f64,
    /// A published value.
    pub reference: Option<f64>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points from left to right.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The text below the axis.
    pub label: String,
    /// The place on the horizontal axis.
    pub x: f64,
    /// The value.
    pub value: f64,
    /// The standard deviation of the value.
    pub deviation: f64,
}

/// A point of a scatter.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// Its name.
    pub label: String,
    /// Its place.
    pub at: [f32; 2],
    /// Its colour as a share of the range of colours, such as its place in a sequence; `None` for one colour.
    pub shade: Option<f32>,
}

/// Matrices of one shape, whose cells are numbers of one range: the weights of attention, or a map for each place of a grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrices {
    /// What the numbers are.
    pub caption: String,
    /// The texts beside the rows; empty for matrices without texts.
    pub rows: Vec<String>,
    /// The texts above the columns; empty for matrices without texts.
    pub columns: Vec<String>,
    /// `[rows, columns]` of each matrix.
    pub shape: [usize; 2],
    /// Each matrix in row-major order.
    pub matrices: Vec<Vec<f32>>,
    /// How many are beside each other.
    pub across: usize,
}

impl Matrices {
    /// The cosine similarity of each vector with all, as a map for each: the vectors are the places of a grid with this many
    /// columns, row by row.
    pub fn similarities(vectors: &[Vec<f32>], columns: usize) -> Self {
        let product =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let lengths: Vec<f64> = vectors.iter().map(|a| product(a, a).sqrt().max(1e-12)).collect();
        let row = |(a, length): (&Vec<f32>, &f64)| {
            let others = vectors.iter().zip(&lengths);
            others.map(|(b, other)| (product(a, b) / (length * other)) as f32).collect()
        };
        Self {
            caption: "cosine similarity of each place's position with those of all places".into(),
            shape: [vectors.len() / columns.max(1), columns],
            matrices: vectors.iter().zip(&lengths).map(row).collect(),
            across: columns,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_one_direction_are_similar() {
        // A row of three places, of which the first two have one direction.
        let maps = Matrices::similarities(&[vec![1.0, 0.0], vec![2.0, 0.0], vec![0.0, 3.0]], 3);
        assert_eq!(maps.matrices, [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert_eq!(maps.shape, [1, 3]);
        let zeros = Matrices::similarities(&[vec![0.0]], 1);
        assert_eq!(zeros.matrices, [[0.0]], "a vector of zeros is like none");
    }
}
