//! Interpolation of a grid of position embeddings to another grid, as in PyTorch's `interpolate(mode="bicubic")`.

use candle_core::{Result, Tensor};

/// A grid of positions after a few rows that stay, such as those of the class token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Rows before the grid.
    pub before: usize,
    /// `[rows, columns]` of the published grid.
    pub from: [usize; 2],
    /// `[rows, columns]` of the model's grid.
    pub to: [usize; 2],
    /// Whether the filter widens where the grid shrinks (`antialias=True`).
    pub antialias: bool,
}

impl Grid {
    /// Interpolate a table `[before + from, d]` to `[before + to, d]`.
    pub(super) fn resize(&self, table: &Tensor) -> Result<Tensor> {
        let Self { before, from: [rows, columns], to: [new_rows, new_columns], antialias } = *self;
        let (n, d) = table.dims2()?;
        if n != before + rows * columns {
            candle_core::bail!("expected {} rows; found {n}", before + rows * columns);
        }
        if self.from == self.to {
            return Ok(table.clone());
        }
        let values = table.to_vec2::<f32>()?;
        let (down, across) = (taps(rows, new_rows, antialias), taps(columns, new_columns, antialias));
        let mut resized: Vec<Vec<f32>> = values[..before].to_vec();
        for row in &down {
            for column in &across {
                let mut sum = vec![0.0; d];
                for &(from_row, vertical) in row {
                    for &(from_column, horizontal) in column {
                        let source = &values[before + from_row * columns + from_column];
                        sum.iter_mut().zip(source).for_each(|(sum, x)| *sum += vertical * horizontal * x);
                    }
                }
                resized.push(sum);
            }
        }
        Tensor::from_vec(resized.concat(), (before + new_rows * new_columns, d), table.device())
    }
}

/// For each place of a side of `to` places, the places among `from` that it is made of, and their weights.
fn taps(from: usize, to: usize, antialias: bool) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    (0..to).map(|place| if antialias { wide(from, scale, place) } else { four(from, scale, place) }).collect()
}

/// The four nearest places; beyond the border, the last one repeats (`align_corners=False`).
fn four(from: usize, scale: f64, place: usize) -> Vec<(usize, f32)> {
    let centre = (place as f64 + 0.5) * scale - 0.5;
    let first = centre.floor();
    let tap = |offset: i32| {
        let at = first + f64::from(offset);
        (at.clamp(0.0, (from - 1) as f64) as usize, cubic(centre - at, -0.75) as f32)
    };
    (-1..=2).map(tap).collect()
}

/// All places under a filter that is as wide as the places that become one.
fn wide(from: usize, scale: f64, place: usize) -> Vec<(usize, f32)> {
    let (width, centre) = (scale.max(1.0), (place as f64 + 0.5) * scale);
    let first = (centre - 2.0 * width + 0.5).max(0.0) as usize;
    let last = ((centre + 2.0 * width + 0.5) as usize).min(from);
    let weight = |at: usize| cubic((at as f64 - centre + 0.5) / width, -0.5);
    let total: f64 = (first..last).map(weight).sum();
    (first..last).map(|at| (at, (weight(at) / total) as f32)).collect()
}

/// The cubic convolution kernel (Keys 1981); PyTorch's `a` is -0.75, with antialiasing Pillow's -0.5.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn resized(values: &[f32], grid: Grid) -> Vec<f32> {
        let table = Tensor::from_vec(values.to_vec(), (values.len(), 1), &Device::Cpu).unwrap();
        grid.resize(&table).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, {expected:?}");
    }

    /// By hand from the kernel with a = -0.75: half-way between places, the weights are -3, 19, 19, -3 of 32.
    #[test]
    fn half_the_places_are_half_way_between_those_of_before() {
        let line = Grid { before: 1, from: [1, 4], to: [1, 2], antialias: false };
        let [a, b, c, d] = [1.0, 2.0, 4.0, 8.0];
        let between = |w: f32, x: f32, y: f32, z: f32| (-3.0 * w + 19.0 * x + 19.0 * y - 3.0 * z) / 32.0;
        assert_close(&resized(&[7.0, a, b, c, d], line), &[7.0, between(a, a, b, c), between(b, c, d, d)]);
        let column = Grid { from: [4, 1], to: [2, 1], ..line };
        assert_close(&resized(&[7.0, a, b, c, d], column), &[7.0, between(a, a, b, c), between(b, c, d, d)]);
    }

    /// At quarters, the weights with a = -0.75 are (-13.5, 112.5, 33.5, -4.5)/128 and their mirror.
    #[test]
    fn twice_the_places_are_at_quarters() {
        let line = Grid { before: 0, from: [1, 2], to: [1, 4], antialias: false };
        let quarter = |w: f32, x: f32, y: f32, z: f32| (-13.5 * w + 112.5 * x + 33.5 * y - 4.5 * z) / 128.0;
        let (a, b) = (1.0, 3.0);
        assert_close(
            &resized(&[a, b], line),
            &[quarter(b, a, a, a), quarter(a, a, b, b), quarter(b, b, a, a), quarter(a, b, b, b)],
        );
    }

    #[test]
    fn a_constant_stays_and_a_wide_filter_averages() {
        for antialias in [false, true] {
            let grid = Grid { before: 2, from: [5, 7], to: [3, 9], antialias };
            assert_close(&resized(&[0.5; 37], grid), &[0.5; 29]);
        }
        // The kernel with a = -0.5 and twice the width, at distances ¼, ¾, 5/4 of its width, and at 7/4 on one side.
        let grid = Grid { before: 0, from: [1, 8], to: [1, 4], antialias: true };
        let mut step = [0.0; 8];
        step[3] = 1.0;
        let weights = [0.25_f64, 0.75, 1.25, 1.75].map(|x| cubic(x, -0.5));
        let total = 2.0 * weights[..3].iter().sum::<f64>() + weights[3];
        assert!((resized(&step, grid)[1] - (weights[0] / total) as f32).abs() < 1e-6);
    }

    #[test]
    fn a_table_of_another_length_is_an_error() {
        let table = Tensor::zeros((5, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(Grid { before: 0, from: [2, 2], to: [1, 1], antialias: false }.resize(&table).is_err());
    }
}
