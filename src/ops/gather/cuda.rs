//! The GPU's kernels. Backward sorts places by row, so that each sum has a fixed order.

use crate::cuda::{Constant, Launch, Source, element, empty, upload, vector, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "gather.cu", text: include_str!("gather.cu") };

/// The most places of one part of a row's sum: a row of many tokens has many parts.
const PART: usize = 64;

/// The rows of `table` `[v, d]` at `rows`, which are below v.
pub(super) fn gather_rows(table: &Value, rows: &[u32]) -> Result<Value> {
    let source = whole(table.tensor())?;
    let (v, d) = source.dims2()?;
    let y = empty(&source, (rows.len(), d), source.dtype())?;
    if rows.is_empty() || d == 0 {
        return Ok(with_rule(y, &[table], move |_| Ok(vec![Some(Gradient::own(source.zeros_like()?))])));
    }
    let (vector, width) = vector(source.dtype(), d);
    let constants = [element(source.dtype()), vector];
    let vectors = rows.len() * d / width;
    let launch = Launch::of(&source, &SOURCE, "forward", &constants)?.each(vectors);
    let launch = launch.tensor(&y)?.tensor(&source)?.tensor(&upload(&source, rows)?)?;
    launch.int(vectors)?.int(d)?.run()?;
    if !table.has_gradient() {
        return Ok(Value::constant(y));
    }
    let sorted = Sorted::new(rows, v).upload(&source)?;
    Ok(with_rule(y, &[table], move |dy| {
        let gradient = sorted.scatter(&whole(dy)?, v, &constants)?;
        Ok(vec![Some(Gradient::own(gradient))])
    }))
}

/// Places sorted by their row, in parts.
struct Sorted {
    /// Places in order of row, then of place.
    places: Vec<u32>,
    /// The offset of each part in `places`, and the end.
    starts: Vec<u32>,
    /// The first part of each row, and the end.
    firsts: Vec<u32>,
}

impl Sorted {
    fn new(rows: &[u32], v: usize) -> Self {
        let mut ends = vec![0_usize; v + 1];
        rows.iter().for_each(|&row| ends[row as usize + 1] += 1);
        (0..v).for_each(|row| ends[row + 1] += ends[row]);
        let (mut starts, mut firsts) = (Vec::new(), vec![0]);
        for row in 0..v {
            starts.extend((ends[row]..ends[row + 1]).step_by(PART).map(|start| start as u32));
            firsts.push(starts.len() as u32);
        }
        starts.push(rows.len() as u32);
        let mut places = vec![0; rows.len()];
        for (place, &row) in (0..).zip(rows) {
            places[ends[row as usize]] = place;
            ends[row as usize] += 1;
        }
        Self { places, starts, firsts }
    }

    /// Copies to the GPU during forward: an upload during backward would wait for the GPU.
    fn upload(&self, like: &Tensor) -> Result<Uploaded> {
        Ok(Uploaded {
            places: upload(like, &self.places)?,
            starts: upload(like, &self.starts)?,
            firsts: upload(like, &self.firsts)?,
            parts: self.starts.len() - 1,
        })
    }
}

struct Uploaded {
    places: Tensor,
    starts: Tensor,
    firsts: Tensor,
    parts: usize,
}

impl Uploaded {
    /// The sum of the rows of dy for each row of the table.
    fn scatter(&self, dy: &Tensor, v: usize, constants: &[Constant]) -> Result<Tensor> {
        let d = dy.dim(1)?;
        let sums = empty(dy, (self.parts, d), DType::F32)?;
        let launch = Launch::of(dy, &SOURCE, "parts", constants)?.blocks(self.parts, 128);
        launch.tensor(&sums)?.tensor(dy)?.tensor(&self.places)?.tensor(&self.starts)?.int(d)?.run()?;
        let gradient = empty(dy, (v, d), dy.dtype())?;
        let vectors = v * d / vector(dy.dtype(), d).1;
        let launch = Launch::of(dy, &SOURCE, "rows", constants)?.each(vectors);
        launch.tensor(&gradient)?.tensor(&sums)?.tensor(&self.firsts)?.int(vectors)?.int(d)?.run()?;
        Ok(gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernels' loops, on the CPU.
    #[test]
    fn every_place_is_added_to_its_row() {
        let rows: Vec<u32> = (0..1000_u32).map(|i| if i % 3 == 0 { 4 } else { i * i % 7 }).collect();
        let Sorted { places, starts, firsts } = Sorted::new(&rows, 9);
        let mut counts = vec![0; rows.len()];
        for row in 0..9 {
            for part in firsts[row] as usize..firsts[row + 1] as usize {
                assert!(starts[part + 1] - starts[part] <= PART as u32);
                for &place in &places[starts[part] as usize..starts[part + 1] as usize] {
                    assert_eq!(rows[place as usize], row as u32);
                    counts[place as usize] += 1;
                }
            }
        }
        assert_eq!((firsts.len(), starts.len() - 1), (10, firsts[9] as usize));
        assert!(counts.iter().all(|&count| count == 1));
    }
}
