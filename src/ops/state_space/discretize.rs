//! From continuous time to steps, by zero-order hold: small products of parameters, in candle's own operations.

use crate::ops::autograd::Value;
use crate::ops::from_candle::from_candle;
use candle_core::{Result, Tensor, bail};

/// The exponents and the weights of [`state_space`](super::state_space()) for s′ = A·s + B·x and y = Re C·s, if x holds its value
/// for a step Δ: the exponents are Δ·A, the weights C·B·(exp(ΔA) − 1)/A.
///
/// `step` is ln Δ, `[d]`; `decay` is ln(−Re A) and `frequency` Im A, `[n_states, d]`; `input` B and `output` C are
/// `[2·n_states, d]`, real parts above imaginary ones.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn discretize(
    step: &Value,
    decay: &Value,
    frequency: &Value,
    input: &Value,
    output: &Value,
) -> Result<[Value; 2]> {
    let (states, d) = decay.dims2()?;
    let both = [2 * states, d];
    if step.dims() != [d] || frequency.dims() != decay.dims() || input.dims() != both || output.dims() != both
    {
        bail!(
            "discretize: expected step [d], decay and frequency [n_states, d], input and output [2·n_states, d]; found {:?}, \
             {:?}, {:?}, {:?} and {:?}",
            step.dims(),
            decay.dims(),
            frequency.dims(),
            input.dims(),
            output.dims()
        )
    }
    Ok([
        from_candle(&[step, decay, frequency], exponents)?,
        from_candle(&[step, decay, frequency, input, output], weights)?,
    ])
}

/// Δ·A, of step, decay and frequency.
pub(in crate::ops) fn exponents(t: &[Tensor]) -> Result<Tensor> {
    Tensor::cat(&[t[1].exp()?.neg()?, t[2].clone()], 0)?.broadcast_mul(&t[0].exp()?.unsqueeze(0)?)
}

/// C·B·(exp(ΔA) − 1)/A, of step, decay, frequency, input and output.
pub(in crate::ops) fn weights(t: &[Tensor]) -> Result<Tensor> {
    let states = t[1].dim(0)?;
    let parts =
        |x: &Tensor| -> Result<[Tensor; 2]> { Ok([x.narrow(0, 0, states)?, x.narrow(0, states, states)?]) };
    let product = |[a, b]: &[Tensor; 2], [c, d]: &[Tensor; 2]| -> Result<[Tensor; 2]> {
        Ok([((a * c)? - (b * d)?)?, ((a * d)? + (b * c)?)?])
    };
    let [size, angle] = parts(&exponents(t)?)?;
    let size = size.exp()?;
    let grown = [((&size * angle.cos()?)? - 1.0)?, (size * angle.sin()?)?]; // exp(ΔA) − 1
    let a = [t[1].exp()?.neg()?, t[2].clone()];
    let square = (a[0].sqr()? + a[1].sqr()?)?;
    let inverse = [(&a[0] / &square)?, (&a[1] / &square)?.neg()?];
    let through = product(&parts(&t[3])?, &parts(&t[4])?)?;
    Tensor::cat(&product(&through, &product(&grown, &inverse)?)?, 0)
}
