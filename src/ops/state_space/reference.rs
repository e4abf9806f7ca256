//! In candle's own operations, chunk by chunk: within a chunk a convolution, before it a state.

use candle_core::{Result, Tensor};
use std::ops::Range;

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// [`state_space`](super::state_space()). `t` holds x, exponents and weights.
pub(crate) fn state_space(t: &[Tensor], documents: &[Range<usize>], reverse: bool) -> Result<Tensor> {
    let (n, d) = t[0].dims2()?;
    let zeros = |rows: usize| Tensor::zeros((rows, d), t[0].dtype(), t[0].device());
    // Rows of no document, of which there may be none: each input still gets a gradient.
    let mut parts: Vec<Tensor> = t.iter().map(|x| x.narrow(0, 0, 0)).collect::<Result<_>>()?;
    let longest = documents.iter().map(Range::len).max().unwrap_or(0);
    let table = Table::new(&t[1], &t[2], longest)?;
    let mut end = 0;
    for rows in documents.iter().filter(|rows| !rows.is_empty()) {
        parts.push(zeros(rows.start - end)?);
        let x = t[0].narrow(0, rows.start, rows.len())?;
        parts.push(match reverse {
            false => table.document(&x, None)?.0,
            true => reversed(&table.document(&reversed(&x)?, None)?.0)?,
        });
        end = rows.end;
    }
    parts.push(zeros(n - end)?);
    Tensor::cat(&parts, 0)
}

/// [`state_space_step`](super::state_space_step()). `t` holds x, exponents and weights.
pub(super) fn step(
    t: &[Tensor; 3],
    documents: &[Range<usize>],
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let longest = documents.iter().map(Range::len).max().unwrap_or(0);
    let table = Table::new(&t[1], &t[2], longest)?;
    let (mut y, mut after) = (vec![t[0].narrow(0, 0, 0)?], vec![]);
    for (place, rows) in documents.iter().enumerate() {
        let state = states.map(|states| states.get(place)).transpose()?;
        let (of_rows, state) = table.document(&t[0].narrow(0, rows.start, rows.len())?, state.as_ref())?;
        y.push(of_rows);
        after.push(state);
    }
    Ok((Tensor::cat(&y, 0)?, Tensor::stack(&after, 0)?))
}

/// The rows from the last to the first.
fn reversed(x: &Tensor) -> Result<Tensor> {
    let rows: Vec<u32> = (0..x.dim(0)? as u32).rev().collect();
    x.contiguous()?.index_select(&Tensor::new(rows, x.device())?, 0)
}

/// Powers of exp(e), as real and imaginary parts `[powers, n_states, d]`.
pub(super) struct Table {
    /// exp(e)ˡ for each l from 0 to the length of a chunk.
    powers: [Tensor; 2],
    /// w·exp(e)ˡ.
    weighted: [Tensor; 2],
    chunk: usize,
}

impl Table {
    /// The table for documents of `n` tokens or fewer.
    pub(super) fn new(exponents: &Tensor, weights: &Tensor, n: usize) -> Result<Self> {
        let (states, chunk) = (exponents.dim(0)? / 2, n.clamp(1, CHUNK));
        let part = |x: &Tensor, from: usize| x.narrow(0, from, states)?.unsqueeze(0); // [1, n_states, d]
        let l = Tensor::arange(0_f32, chunk as f32 + 1.0, exponents.device())?;
        let l = l.to_dtype(exponents.dtype())?.reshape((chunk + 1, 1, 1))?;
        let size = l.broadcast_mul(&part(exponents, 0)?)?.exp()?; // [chunk + 1, n_states, d]
        let angle = l.broadcast_mul(&part(exponents, states)?)?;
        let powers = [(&size * angle.cos()?)?, (&size * angle.sin()?)?];
        let weights = [part(weights, 0)?, part(weights, states)?];
        let times = |i: usize, j: usize| powers[i].broadcast_mul(&weights[j]);
        let weighted = [(times(0, 0)? - times(1, 1)?)?, (times(0, 1)? + times(1, 0)?)?];
        Ok(Self { powers, weighted, chunk })
    }

    /// The result of one document, `[n, d]`, and its states at the end, `[2·n_states, d]`; `state` are those before.
    pub(super) fn document(&self, x: &Tensor, state: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (n, d) = x.dims2()?;
        let states = self.powers[0].dim(1)?;
        let zeros = Tensor::zeros((2 * states, d), x.dtype(), x.device())?;
        let state = state.unwrap_or(&zeros);
        let mut s = [state.narrow(0, 0, states)?, state.narrow(0, states, states)?];
        let mut y = vec![x.narrow(0, 0, 0)?];
        for start in (0..n).step_by(self.chunk) {
            let x = x.narrow(0, start, self.chunk.min(n - start))?;
            y.push((self.within(&x)? + self.of_earlier(&s, x.dim(0)?)?)?);
            s = self.after(&x, &s)?;
        }
        Ok((Tensor::cat(&y, 0)?, Tensor::cat(&s, 0)?))
    }

    /// The result of a chunk from its own tokens: a convolution of each column.
    fn within(&self, x: &Tensor) -> Result<Tensor> {
        let (n, d) = x.dims2()?;
        let kernel = self.weighted[0].narrow(0, 0, n)?.sum(1)?; // [n, d]
        let kernel = Tensor::cat(&[&kernel, &kernel.narrow(0, 0, 1)?.zeros_like()?], 0)?;
        let lag = |t: usize, j: usize| if j <= t { t - j } else { n } as u32;
        let lags: Vec<u32> = (0..n * n).map(|i| lag(i / n, i % n)).collect();
        let kernel = kernel.index_select(&Tensor::new(lags, x.device())?, 0)?.reshape((n, n, d))?;
        kernel.broadcast_mul(&x.unsqueeze(0)?)?.sum(1)
    }

    /// The result of a chunk of `n` tokens from the states before it.
    fn of_earlier(&self, [real, imaginary]: &[Tensor; 2], n: usize) -> Result<Tensor> {
        let of = |i: usize, s: &Tensor| self.weighted[i].narrow(0, 1, n)?.broadcast_mul(&s.unsqueeze(0)?);
        (of(0, real)? - of(1, imaginary)?)?.sum(1)
    }

    /// The states after a chunk.
    fn after(&self, x: &Tensor, [real, imaginary]: &[Tensor; 2]) -> Result<[Tensor; 2]> {
        let n = x.dim(0)?;
        let last = |i: usize| self.powers[i].narrow(0, n, 1)?.squeeze(0); // [n_states, d]
        let x = reversed(x)?.unsqueeze(1)?; // [n, 1, d]
        let own = |i: usize| self.powers[i].narrow(0, 0, n)?.broadcast_mul(&x)?.sum(0);
        Ok([
            (((last(0)? * real)? - (last(1)? * imaginary)?)? + own(0)?)?,
            (((last(0)? * imaginary)? + (last(1)? * real)?)? + own(1)?)?,
        ])
    }
}
