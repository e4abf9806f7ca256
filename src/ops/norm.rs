//! Layer normalisation, with or without its mean and bias.
//!
//! Forward reads and writes each row once (8 bytes an element, about 8 FLOP), backward reads two and writes one
//! (12 bytes, about 15 FLOP): memory bounds both. Forward saves a mean and a scale for each row. The gradients of weight
//! and bias are summed over blocks of rows whose size depends on the number of rows alone.

use std::sync::OnceLock;

use super::autograd::{Value, apply2, apply3};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{add_in_order, rows_in_block, sum, sum_by, sum_by2, vectorize};
use super::storage::{Elements, has_kernel, slice};

/// (x − mean)/√(variance + `eps`)·`weight` + `bias` for each row of `x`.
///
/// `x` is `[n, d]`, `weight` and `bias` `[d]`; the variance is the biased one (Ba et al. 2016).
///
/// # Errors
/// If the shapes do not fit, or `d` is 0.
pub fn layer_norm(x: &Value, weight: &Value, bias: Option<&Value>, eps: f64) -> Result<Value> {
    norm(x, weight, bias, eps, true)
}

/// x/√(mean of x² + `eps`)·`weight` for each row of `x` (Zhang & Sennrich 2019).
///
/// `x` is `[n, d]`, `weight` `[d]`.
///
/// # Errors
/// If the shapes do not fit, or `d` is 0.
pub fn rms_norm(x: &Value, weight: &Value, eps: f64) -> Result<Value> {
    norm(x, weight, None, eps, false)
}

fn norm(x: &Value, weight: &Value, bias: Option<&Value>, eps: f64, centre: bool) -> Result<Value> {
    let fits = matches!(x.dims(), [_, d] if *d > 0 && weight.dims() == [*d])
        && bias.is_none_or(|bias| bias.dims() == weight.dims());
    if !fits {
        let (x, weight, bias) = (x.dims(), weight.dims(), bias.map(|bias| bias.dims()));
        bail!("norm: expected x [n, d], weight [d], bias [d]; found {x:?}, {weight:?}, {bias:?}")
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) && x.dims()[1] <= super::cuda::WIDEST_NORM {
        return super::cuda::norm(x, weight, bias, eps, centre);
    }
    if !has_kernel(x.tensor()) {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        return from_candle(&inputs, |t| reference(&t[0], &t[1], t.get(2), eps, centre));
    }
    let norm = Norm { eps: eps as f32, centre, rows: OnceLock::new() };
    match bias {
        Some(bias) => apply3(x, weight, bias, norm),
        None => apply2(x, weight, norm),
    }
}

/// [`layer_norm`] (`centre`) or [`rms_norm`] in candle's own operations.
pub(crate) fn reference(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    centre: bool,
) -> Result<Tensor> {
    let x = if centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?; // [n, 1]
    let y = x.broadcast_div(&scale)?.broadcast_mul(weight)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// The mean and scale of one row.
#[derive(Clone, Copy, Default)]
struct Row {
    mean: f32,
    /// 1/√(variance + eps).
    scale: f32,
}

struct Norm {
    eps: f32,
    centre: bool,
    rows: OnceLock<Vec<Row>>,
}

impl Norm {
    fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let d = weight.len();
        let block = rows_in_block(x.len() / d, d);
        let mut y = vec![0.0; x.len()];
        let mut rows = vec![Row::default(); x.len() / d];
        let blocks = y.par_chunks_mut(block * d).zip(rows.par_chunks_mut(block)).zip(x.par_chunks(block * d));
        blocks.for_each(|((y, rows), x)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((y, row), x) in y.chunks_exact_mut(d).zip(rows).zip(x.chunks_exact(d)) {
                        *row = self.measure(x);
                        normalize(y, x, *row, weight, bias);
                    }
                },
            )
        });
        let _ = self.rows.set(rows); // an instance serves one call
        y
    }

    /// The mean and scale of a row, in two passes: the row is in the cache, and no digits are lost to cancellation.
    #[inline(always)]
    fn measure(&self, x: &[f32]) -> Row {
        let d = x.len() as f32;
        let mean = if self.centre { sum(x) / d } else { 0.0 };
        let variance = sum_by(
            x,
            #[inline(always)]
            |x| (x - mean) * (x - mean),
        ) / d;
        Row { mean, scale: 1.0 / (variance + self.eps).sqrt() }
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Gradients> {
        let dy = dy.contiguous()?;
        let (x_values, weight, dy) = (Elements::of(x)?, Elements::of(weight)?, Elements::of(&dy)?);
        let weight = &*weight;
        let d = weight.len();
        let block = rows_in_block(x_values.len() / d, d);
        let Some(rows) = self.rows.get() else { bail!("norm: backward without a forward") };
        let mut dx = vec![0.0; x_values.len()];
        let inputs = x_values.par_chunks(block * d).zip(dy.par_chunks(block * d)).zip(rows.par_chunks(block));
        let (dw, db) = dx
            .par_chunks_mut(block * d)
            .zip(inputs)
            .map(|(dx, ((x, dy), rows))| {
                let (mut dw, mut db) = (vec![0.0; d], vec![0.0; d]);
                vectorize(
                    #[inline(always)]
                    || {
                        let inputs = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(rows);
                        for (dx, ((x, dy), row)) in dx.chunks_exact_mut(d).zip(inputs) {
                            self.backward_row(dx, x, dy, *row, weight);
                            add_parameter_gradients(&mut dw, &mut db, x, dy, *row);
                        }
                    },
                );
                (dw, db)
            })
            .collect::<(Vec<_>, Vec<_>)>();
        Ok(Gradients {
            dx: Tensor::from_vec(dx, x.dims(), x.device())?,
            dw: Tensor::from_vec(add_in_order(dw, d), d, x.device())?,
            db: Tensor::from_vec(add_in_order(db, d), d, x.device())?,
        })
    }

    /// dx = scale·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·weight and x̂ the normalised row; without centring
    /// there is no mean(g).
    #[inline(always)]
    fn backward_row(&self, dx: &mut [f32], x: &[f32], dy: &[f32], row: Row, weight: &[f32]) {
        let Row { mean, scale } = row;
        for ((g, &dy), &weight) in dx.iter_mut().zip(dy).zip(weight) {
            *g = dy * weight;
        }
        let d = x.len() as f32;
        let mean_g = if self.centre { sum(dx) / d } else { 0.0 };
        let mean_gx = sum_by2(
            dx,
            x,
            #[inline(always)]
            |g, x| g * (x - mean),
        ) * scale
            / d;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = scale * (*dx - mean_g - (x - mean) * scale * mean_gx);
        }
    }
}

/// y = (x − mean)·scale·weight + bias.
#[inline(always)]
fn normalize(y: &mut [f32], x: &[f32], row: Row, weight: &[f32], bias: Option<&[f32]>) {
    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
        *y = (x - row.mean) * row.scale * weight;
    }
    if let Some(bias) = bias {
        super::math::add(y, bias);
    }
}

/// dw += dy·x̂ and db += dy.
#[inline(always)]
fn add_parameter_gradients(dw: &mut [f32], db: &mut [f32], x: &[f32], dy: &[f32], row: Row) {
    for (((dw, db), &x), &dy) in dw.iter_mut().zip(db).zip(x).zip(dy) {
        *dw += dy * (x - row.mean) * row.scale;
        *db += dy;
    }
}

struct Gradients {
    dx: Tensor,
    dw: Tensor,
    db: Tensor,
}

impl CustomOp2 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(slice(x, lx)?, slice(w, lw)?, None);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Gradients { dx, dw, .. } = self.backward(x, weight, dy)?;
        Ok((Some(dx), Some(dw)))
    }
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(slice(x, lx)?, slice(w, lw)?, Some(slice(b, lb)?));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Gradients { dx, dw, db } = self.backward(x, weight, dy)?;
        Ok((Some(dx), Some(dw), Some(db)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, input, random};
    use candle_core::Var;

    const EPS: f64 = 1e-5;

    fn layer(t: &[Value]) -> Result<Value> {
        layer_norm(&t[0], &t[1], t.get(2), EPS)
    }

    fn layer_reference(t: &[Tensor]) -> Result<Tensor> {
        reference(&t[0], &t[1], t.get(2), EPS, true)
    }

    fn rms(t: &[Value]) -> Result<Value> {
        rms_norm(&t[0], &t[1], EPS)
    }

    fn rms_reference(t: &[Tensor]) -> Result<Tensor> {
        reference(&t[0], &t[1], None, EPS, false)
    }

    fn inputs(n: usize, d: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, d], 1)?, random(&[d], 2)?, random(&[d], 3)?])
    }

    #[test]
    fn references_have_the_right_gradients() -> Result<()> {
        let inputs = inputs(3, 6)?;
        check_gradients(layer_reference, &inputs)?;
        check_gradients(rms_reference, &inputs[..2])
    }

    #[test]
    fn kernels_match_their_references() -> Result<()> {
        for (n, d) in [(0, 4), (1, 3), (1, 64), (7, 3), (40, 65), (600, 129)] {
            let inputs = inputs(n, d)?;
            check_kernel(layer, layer_reference, &inputs)?;
            check_kernel(layer, layer_reference, &inputs[..2])?;
            check_kernel(rms, rms_reference, &inputs[..2])?;
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_results() -> Result<()> {
        let weight = Var::from_tensor(&random(&[33], 2)?)?;
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = rms_norm(&input(&random(&[5000, 33], 1)?), &Value::parameter(&weight, 0), EPS)?;
                let loss = crate::ops::squared_error(&y, &[0.0; 5000 * 33], &[1.0; 5000])?;
                crate::ops::backward(vec![(loss, 1.0)])?.get(0).unwrap().to_vec1::<f32>()
            })
        };
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }

    #[test]
    fn a_constant_row_becomes_the_bias() -> Result<()> {
        let inputs = inputs(1, 8)?;
        let x = (inputs[0].zeros_like()? + 1e4)?;
        let y = layer_norm(&input(&x), &input(&inputs[1]), Some(&input(&inputs[2])), EPS)?;
        assert_close("output", &y.tensor().squeeze(0)?, &inputs[2], 1e-6)
    }

    #[test]
    fn a_large_mean_loses_few_digits() -> Result<()> {
        let inputs = inputs(4, 64)?;
        // Multiples of 1/128 are exact at 4096 too, so the two rows differ by the mean alone.
        let x = ((&inputs[0] * 128.0)?.round()? / 128.0)?;
        let norm = |x: &Tensor| Ok(layer_norm(&input(x), &input(&inputs[1]), None, EPS)?.into_tensor());
        let far: Result<Tensor> = norm(&(&x + 4096.0)?);
        // The mean itself is rounded to 4096·2⁻²⁴ = 2e-4.
        assert_close("output", &far?, &norm(&x)?, 5e-4)
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let error =
            rms_norm(&input(&random(&[2, 3], 1)?), &input(&random(&[4], 2)?), EPS).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[4]"), "{error}");
        assert!(rms_norm(&input(&random(&[2, 0], 1)?), &input(&random(&[0], 2)?), EPS).is_err());
        assert!(
            layer_norm(
                &input(&random(&[2, 3], 1)?),
                &input(&random(&[3], 2)?),
                Some(&input(&random(&[2], 2)?)),
                EPS
            )
            .is_err()
        );
        Ok(())
    }
}
