//! The gate of a gated MLP: f(a)·b (Shazeer 2020).
//!
//! Forward moves 12 bytes an element, backward 20; see [`activation`](super::activation()) for its arithmetic.

use super::activation::{self, Activation};
use super::autograd::{Value, apply2};
use super::from_candle::from_candle;
use super::math::BLOCK;
use super::storage::{Elements, has_kernel, slice};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// f(`a`)·`b` element by element, with f the activation; both of one shape.
///
/// # Errors
/// If the shapes differ.
pub fn gate(a: &Value, b: &Value, activation: Activation) -> Result<Value> {
    if a.dims() != b.dims() {
        bail!("gate: shapes {:?} and {:?} differ", a.dims(), b.dims())
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(a.tensor()) && a.tensor().dtype() == b.tensor().dtype() {
        return super::cuda::gate(a, b, activation);
    }
    match has_kernel(a.tensor()) {
        true => apply2(a, b, Gate(activation)),
        false => from_candle(&[a, b], |t| reference(&t[0], &t[1], activation)),
    }
}

/// [`gate`] in candle's own operations.
pub(crate) fn reference(a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
    activation::reference(a, activation)? * b
}

struct Gate(Activation);

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (slice(a, la)?, slice(b, lb)?);
        let mut y = vec![0.0; a.len()];
        let blocks = y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
        blocks.for_each(|((y, a), b)| {
            self.0.forward(a, y);
            y.iter_mut().zip(b).for_each(|(y, b)| *y *= b);
        });
        Ok((CpuStorage::F32(y), la.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (a_values, b_values, dy) = (Elements::of(a)?, Elements::of(b)?, Elements::of(&dy)?);
        let (mut da, mut db) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
        let blocks = da.par_chunks_mut(BLOCK).zip(db.par_chunks_mut(BLOCK));
        let inputs = a_values.par_chunks(BLOCK).zip(b_values.par_chunks(BLOCK)).zip(dy.par_chunks(BLOCK));
        blocks.zip(inputs).for_each(|((da, db), ((a, b), dy))| {
            da.iter_mut().zip(b).zip(dy).for_each(|((da, b), dy)| *da = b * dy);
            self.0.forward_and_backward(a, db, da); // db ← f(a), da ← b·dy·f′(a)
            db.iter_mut().zip(dy).for_each(|(db, dy)| *db *= dy);
        });
        Ok((
            Some(Tensor::from_vec(da, a.dims(), a.device())?),
            Some(Tensor::from_vec(db, b.dims(), b.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, random};

    #[test]
    fn kernel_matches_the_reference_and_its_gradients() -> Result<()> {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let inputs = |n, d| -> Result<Vec<Tensor>> { Ok(vec![random(&[n, d], 1)?, random(&[n, d], 2)?]) };
            check_gradients(|t| reference(&t[0], &t[1], activation), &inputs(3, 4)?)?;
            for (n, d) in [(0, 3), (1, 1), (5, 7), (300, 130)] {
                let of = |t: &[Value]| gate(&t[0], &t[1], activation);
                check_kernel(of, |t| reference(&t[0], &t[1], activation), &inputs(n, d)?)?;
            }
        }
        Ok(())
    }

    #[test]
    fn unequal_shapes_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        assert!(gate(&value(&[2, 3])?, &value(&[3, 2])?, Activation::Silu).is_err());
        Ok(())
    }
}
