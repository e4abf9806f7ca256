//! The GPU's kernels, with the nonlinearities of `activation`.

use crate::cuda::{Launch, Source, empty, whole};
use crate::ops::activation::Activation;
use crate::ops::activation::cuda::constants;
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::Result;

pub(in crate::ops) const SOURCE: Source = Source {
    name: "gate.cu",
    text: concat!(include_str!("../activation/functions.cuh"), include_str!("gate.cu")),
};

/// The activation of each element of `a` times the element of `b`, of one shape and type.
pub(super) fn gate(a: &Value, b: &Value, activation: Activation) -> Result<Value> {
    let inputs = [a, b];
    let (a, b) = (whole(a.tensor())?, whole(b.tensor())?);
    let (constants, v) = constants(activation, a.dtype(), a.elem_count().max(1));
    let (y, vectors) = (empty(&a, a.shape(), a.dtype())?, a.elem_count() / v);
    let launch = Launch::of(&a, &SOURCE, "forward", &constants)?.each(vectors);
    launch.tensor(&y)?.tensor(&a)?.tensor(&b)?.int(vectors)?.run()?;
    Ok(with_rule(y, &inputs, move |dy| {
        let (da, db) = (empty(&a, a.shape(), a.dtype())?, empty(&b, b.shape(), b.dtype())?);
        let launch = Launch::of(&a, &SOURCE, "backward", &constants)?.each(vectors);
        let launch = launch.tensor(&da)?.tensor(&db)?.tensor(&a)?.tensor(&b)?.tensor(&whole(dy)?)?;
        launch.int(vectors)?.run()?;
        Ok(vec![Some(Gradient::own(da)), Some(Gradient::own(db))])
    }))
}
