//! CTC on a GPU: its recursions are short and follow each other, so they run on the CPU, and logits and gradient
//! travel.

use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{CustomOp1, DType, Device, Error, Result};

/// The loss that `op` computes on the CPU, and its gradient.
pub(crate) fn ctc(logits: &Value, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Value> {
    let (device, dtype) = (logits.tensor().device().clone(), logits.tensor().dtype());
    let x = logits.tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let loss = x.apply_op1_no_bwd(&op)?;
    let y = loss.to_device(&device)?;
    Ok(with_rule(y, &[logits], move |dy| {
        let dy = dy.to_device(&Device::Cpu)?;
        let dx = op.bwd(&x, &loss, &dy)?;
        Ok(vec![
            dx.map(|dx| Ok::<_, Error>(Gradient::own(dx.to_device(&device)?.to_dtype(dtype)?)))
                .transpose()?,
        ])
    }))
}
