//! Layer normalisation, with or without its mean and bias.
//!
//! Forward reads and writes each row once (8 bytes an element, about 8 FLOP), backward reads two and writes one
//! (12 bytes, about 15 FLOP): memory bounds both. Forward saves a mean and a scale for each row. The gradients of weight
//! and bias are summed over blocks of rows whose size depends on the number of rows alone.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

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
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    dispatch!(x.tensor();
        cuda if x.dims()[1] <= cuda::WIDEST => cuda::norm(x, weight, bias, eps, centre),
        cpu => cpu::norm(&inputs, eps, centre),
        reference => from_candle(&inputs, |t| reference::norm(&t[0], &t[1], t.get(2), eps, centre)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, input, random};
    use candle_core::{Tensor, Var};

    const EPS: f64 = 1e-5;

    fn inputs(n: usize, d: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, d], 1)?, random(&[d], 2)?, random(&[d], 3)?])
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
