//! The CPU kernel: tasks in parallel, each of which scans some columns of one document, side by side in vectors.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::vectorize;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of one task.
const LANES: usize = 16;

/// Tokens between two states that backward keeps.
const CHUNK: usize = 64;

/// One number for each column of a task; 0 for columns beyond the last.
type Lanes = [f32; LANES];

pub(super) fn state_space(inputs: [&Value; 3], documents: &[Range<usize>], reverse: bool) -> Result<Value> {
    let (tensors, documents) = (inputs.map(|input| input.tensor().clone()), documents.to_vec());
    let y = on(&tensors, reverse, |scan| scan.forward(&documents))?;
    Ok(with_rule(tensor(y, &tensors[0])?, &inputs, move |dy| {
        let dy = dy.contiguous()?;
        let dy = Elements::of(&dy)?;
        let gradients = on(&tensors, reverse, |scan| scan.backward(&documents, &dy))?;
        gradients.into_iter().zip(&tensors).map(|(values, like)| gradient(values, like)).collect()
    }))
}

/// The result of the next tokens of each document, and the states after them.
pub(super) fn step(
    x: &Tensor,
    exponents: &Tensor,
    weights: &Tensor,
    documents: &[Range<usize>],
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let ((parts, d), size) = (exponents.dims2()?, exponents.elem_count());
    let mut states = match states {
        Some(states) => states.flatten_all()?.to_vec1::<f32>()?,
        None => vec![0.0; documents.len() * size],
    };
    let y = on(&[x.clone(), exponents.clone(), weights.clone()], false, |scan| {
        let mut y = vec![0.0; scan.x.len()];
        for first in (0..d).step_by(LANES) {
            let filter = scan.filter(first);
            for (rows, states) in documents.iter().zip(states.chunks_exact_mut(size.max(1))) {
                let mut state = State::of(states, d, first);
                let part: Vec<Lanes> =
                    scan.lanes(scan.x, rows, first).iter().map(|x| filter.step(&mut state, x)).collect();
                scan.write(&mut y, rows, first, &part);
                write_columns(states, d, first, state.0.iter().chain(&state.1));
            }
        }
        y
    })?;
    Ok((tensor(y, x)?, Tensor::from_vec(states, (documents.len(), parts, d), exponents.device())?))
}

fn on<T>([x, exponents, weights]: &[Tensor; 3], reverse: bool, compute: impl FnOnce(Scan) -> T) -> Result<T> {
    let d = x.dim(1)?;
    let (x, exponents, weights) = (Elements::of(x)?, Elements::of(exponents)?, Elements::of(weights)?);
    Ok(compute(Scan { x: &x, exponents: &exponents, weights: &weights, d, reverse }))
}

/// The inputs of one call.
#[derive(Clone, Copy)]
struct Scan<'a> {
    /// `[n, d]`.
    x: &'a [f32],
    /// `[2·n_states, d]`.
    exponents: &'a [f32],
    /// `[2·n_states, d]`.
    weights: &'a [f32],
    d: usize,
    reverse: bool,
}

impl Scan<'_> {
    fn forward(&self, documents: &[Range<usize>]) -> Vec<f32> {
        let tasks = self.tasks(documents);
        let forward = |(rows, first): &(&Range<usize>, usize)| {
            let (filter, x) = (self.filter(*first), self.lanes(self.x, rows, *first));
            let mut state = State::zeros(filter.n_states());
            x.iter().map(|x| filter.step(&mut state, x)).collect::<Vec<Lanes>>()
        };
        let results: Vec<Vec<Lanes>> = tasks.par_iter().map(forward).collect();
        let mut y = vec![0.0; self.x.len()];
        for ((rows, first), part) in tasks.into_iter().zip(&results) {
            self.write(&mut y, rows, first, part);
        }
        y
    }

    /// The gradients of x, exponents and weights.
    fn backward(&self, documents: &[Range<usize>], dy: &[f32]) -> Vec<Vec<f32>> {
        let tasks = self.tasks(documents);
        let backward = |(rows, first): &(&Range<usize>, usize)| {
            let (x, dy) = (self.lanes(self.x, rows, *first), self.lanes(dy, rows, *first));
            self.filter(*first).backward(&x, &dy)
        };
        let results: Vec<(Vec<Lanes>, Slopes)> = tasks.par_iter().map(backward).collect();
        let mut dx = vec![0.0; self.x.len()];
        let mut sums: Vec<Option<Slopes>> = (0..self.d.div_ceil(LANES)).map(|_| None).collect();
        for ((rows, first), (part, slopes)) in tasks.into_iter().zip(results) {
            self.write(&mut dx, rows, first, &part);
            // Documents are added in their order, so that the sum has the same bits each time.
            match &mut sums[first / LANES] {
                Some(sum) => sum.add(&slopes),
                empty => *empty = Some(slopes),
            }
        }
        let (mut d_exponents, mut d_weights) =
            (vec![0.0; self.exponents.len()], vec![0.0; self.weights.len()]);
        for (first, slopes) in (0..self.d).step_by(LANES).zip(sums) {
            let Some(Slopes { bases: [real, imaginary], weights: [w_real, w_imaginary] }) = slopes else {
                continue;
            };
            let mut exponents = [vec![], vec![]];
            for ((a, b), (da, db)) in self.filter(first).bases().zip(real.iter().zip(&imaginary)) {
                // d exp(e) = exp(e)·de.
                exponents[0].push(std::array::from_fn(|h| a[h] * da[h] + b[h] * db[h]));
                exponents[1].push(std::array::from_fn(|h| a[h] * db[h] - b[h] * da[h]));
            }
            write_columns(&mut d_exponents, self.d, first, exponents.iter().flatten());
            write_columns(&mut d_weights, self.d, first, w_real.iter().chain(&w_imaginary));
        }
        vec![dx, d_exponents, d_weights]
    }

    /// Each document with the first of each task's columns.
    fn tasks<'a>(&self, documents: &'a [Range<usize>]) -> Vec<(&'a Range<usize>, usize)> {
        let firsts = || (0..self.d).step_by(LANES);
        documents.iter().flat_map(|rows| firsts().map(move |first| (rows, first))).collect()
    }

    /// The filter of the columns from `first` on.
    fn filter(&self, first: usize) -> Filter {
        let parts = |x: &[f32]| {
            let mut all = columns(x, self.d, first);
            let imaginary = all.split_off(all.len() / 2);
            [all, imaginary]
        };
        let [sizes, angles] = parts(self.exponents);
        let base = |part: fn(f64) -> f64| {
            let of = |(size, angle): (&Lanes, &Lanes)| -> Lanes {
                std::array::from_fn(|h| (f64::from(size[h]).exp() * part(f64::from(angle[h]))) as f32)
            };
            sizes.iter().zip(&angles).map(of).collect::<Vec<Lanes>>()
        };
        Filter { bases: [base(f64::cos), base(f64::sin)], weights: parts(self.weights) }
    }

    /// Some columns of a document's rows, in the order in which they are read.
    fn lanes(&self, x: &[f32], rows: &Range<usize>, first: usize) -> Vec<Lanes> {
        let mut lanes = columns(&x[rows.start * self.d..rows.end * self.d], self.d, first);
        if self.reverse {
            lanes.reverse();
        }
        lanes
    }

    /// Writes what [`lanes`](Self::lanes) reads.
    fn write(&self, all: &mut [f32], rows: &Range<usize>, first: usize, part: &[Lanes]) {
        let all = &mut all[rows.start * self.d..rows.end * self.d];
        match self.reverse {
            false => write_columns(all, self.d, first, part.iter()),
            true => write_columns(all, self.d, first, part.iter().rev()),
        }
    }
}

/// The columns from `first` on of a matrix of `d` columns.
fn columns(x: &[f32], d: usize, first: usize) -> Vec<Lanes> {
    let width = LANES.min(d - first);
    let row = |row: &[f32]| {
        let mut lanes = [0.0; LANES];
        lanes[..width].copy_from_slice(&row[first..first + width]);
        lanes
    };
    x.chunks_exact(d).map(row).collect()
}

/// Writes what [`columns`] reads.
fn write_columns<'a>(all: &mut [f32], d: usize, first: usize, part: impl Iterator<Item = &'a Lanes>) {
    let width = LANES.min(d - first);
    for (row, lanes) in all.chunks_exact_mut(d).zip(part) {
        row[first..first + width].copy_from_slice(&lanes[..width]);
    }
}

/// The real and the imaginary parts of some states.
#[derive(Clone)]
struct State(Vec<Lanes>, Vec<Lanes>);

impl State {
    fn zeros(n: usize) -> Self {
        Self(vec![[0.0; LANES]; n], vec![[0.0; LANES]; n])
    }

    /// Columns of `[2·n_states, d]`.
    fn of(states: &[f32], d: usize, first: usize) -> Self {
        let mut real = columns(states, d, first);
        let imaginary = real.split_off(real.len() / 2);
        Self(real, imaginary)
    }
}

/// exp(e) and w of some columns, as real and imaginary parts.
struct Filter {
    bases: [Vec<Lanes>; 2],
    weights: [Vec<Lanes>; 2],
}

/// The gradients of a filter.
struct Slopes {
    bases: [Vec<Lanes>; 2],
    weights: [Vec<Lanes>; 2],
}

impl Slopes {
    fn add(&mut self, other: &Self) {
        let ours = self.bases.iter_mut().chain(&mut self.weights).flatten().flatten();
        let theirs = other.bases.iter().chain(&other.weights).flatten().flatten();
        ours.zip(theirs).for_each(|(sum, x)| *sum += x);
    }
}

impl Filter {
    fn n_states(&self) -> usize {
        self.bases[0].len()
    }

    #[inline(always)]
    fn bases(&self) -> impl Iterator<Item = (&Lanes, &Lanes)> {
        self.bases[0].iter().zip(&self.bases[1])
    }

    /// Moves the states by one token, and returns its result.
    fn step(&self, state: &mut State, x: &Lanes) -> Lanes {
        vectorize(
            #[inline(always)]
            || {
                let mut y = [0.0; LANES];
                let states = state.0.iter_mut().zip(&mut state.1);
                let weights = self.weights[0].iter().zip(&self.weights[1]);
                for (((real, imaginary), (a, b)), (wr, wi)) in states.zip(self.bases()).zip(weights) {
                    for h in 0..LANES {
                        let (r, i) = (real[h], imaginary[h]);
                        real[h] = a[h] * r - b[h] * i + x[h];
                        imaginary[h] = b[h] * r + a[h] * i;
                        y[h] += wr[h] * real[h] - wi[h] * imaginary[h];
                    }
                }
                y
            },
        )
    }

    /// The gradients of x and of the filter.
    fn backward(&self, x: &[Lanes], dy: &[Lanes]) -> (Vec<Lanes>, Slopes) {
        let n = self.n_states();
        let zeros = || [vec![[0.0; LANES]; n], vec![[0.0; LANES]; n]];
        let mut slopes = Slopes { bases: zeros(), weights: zeros() };
        let mut state = State::zeros(n);
        let kept: Vec<State> = x
            .chunks(CHUNK)
            .map(|x| {
                let before = state.clone();
                x.iter().for_each(|x| _ = self.step(&mut state, x));
                before
            })
            .collect();
        // The gradient of the states of the token after.
        let mut later = State::zeros(n);
        let mut dx = vec![[0.0; LANES]; x.len()];
        for (chunk, before) in kept.into_iter().enumerate().rev() {
            let start = chunk * CHUNK;
            let end = (start + CHUNK).min(x.len());
            let mut states = vec![before];
            for x in &x[start..end] {
                let mut next = states[states.len() - 1].clone();
                self.step(&mut next, x);
                states.push(next);
            }
            for t in (start..end).rev() {
                let (before, after) = (&states[t - start], &states[t - start + 1]);
                dx[t] = self.step_back(&dy[t], before, after, &mut later, &mut slopes);
            }
        }
        (dx, slopes)
    }

    /// Moves the gradient of the states back by one token, adds to the filter's gradients, and returns that of x.
    fn step_back(
        &self,
        dy: &Lanes,
        before: &State,
        after: &State,
        later: &mut State,
        slopes: &mut Slopes,
    ) -> Lanes {
        vectorize(
            #[inline(always)]
            || {
                let mut dx = [0.0; LANES];
                for s in 0..self.n_states() {
                    let (a, b) = (&self.bases[0][s], &self.bases[1][s]);
                    let (wr, wi) = (&self.weights[0][s], &self.weights[1][s]);
                    let (dr, di) = (&mut later.0[s], &mut later.1[s]);
                    let (r0, i0, r1, i1) = (&before.0[s], &before.1[s], &after.0[s], &after.1[s]);
                    let [da, db] = &mut slopes.bases;
                    let [dwr, dwi] = &mut slopes.weights;
                    let (da, db, dwr, dwi) = (&mut da[s], &mut db[s], &mut dwr[s], &mut dwi[s]);
                    for h in 0..LANES {
                        let r = wr[h] * dy[h] + a[h] * dr[h] + b[h] * di[h];
                        let i = a[h] * di[h] - b[h] * dr[h] - wi[h] * dy[h];
                        (dr[h], di[h]) = (r, i);
                        dx[h] += r;
                        da[h] += r * r0[h] + i * i0[h];
                        db[h] += i * r0[h] - r * i0[h];
                        dwr[h] += dy[h] * r1[h];
                        dwi[h] -= dy[h] * i1[h];
                    }
                }
                dx
            },
        )
    }
}
