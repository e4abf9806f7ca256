//! Numbers that come back from the device while it goes on computing.

use candle_core::{DType, Result, Tensor};

/// Scalars on their way here. To ask for them waits for nothing; to read them waits for what computes them, and for nothing
/// that the device was asked for later.
pub struct Readback(Way);

enum Way {
    /// Of a processor, or of a device that copies only when it is waited for.
    Tensors(Vec<Tensor>),
    #[cfg(feature = "cuda")]
    Copied(crate::ops::cuda::Copied),
}

impl Readback {
    /// Asks for scalars. Those of a GPU are rounded to `f32` where they are not; where not all are of a GPU, the values are
    /// read, and so waited for, one by one.
    ///
    /// # Errors
    /// Where one is no scalar, or the tensor library refuses.
    pub fn of(scalars: &[Tensor]) -> Result<Self> {
        scalars.iter().try_for_each(|scalar| scalar.shape().dims0())?;
        #[cfg(feature = "cuda")]
        if scalars.iter().all(|scalar| scalar.device().is_cuda()) && !scalars.is_empty() {
            let scalars = scalars.iter().map(|scalar| scalar.to_dtype(DType::F32));
            let scalars = scalars.collect::<Result<Vec<_>>>()?;
            return Ok(Self(Way::Copied(crate::ops::cuda::Copied::of(&scalars)?)));
        }
        Ok(Self(Way::Tensors(scalars.iter().map(Tensor::detach).collect())))
    }

    /// Their values, in the order in which they were asked for.
    ///
    /// # Errors
    /// Where the device has failed.
    pub fn values(self) -> Result<Vec<f64>> {
        match self.0 {
            Way::Tensors(scalars) => {
                scalars.iter().map(|scalar| scalar.to_dtype(DType::F64)?.to_scalar()).collect()
            }
            #[cfg(feature = "cuda")]
            Way::Copied(copied) => Ok(copied.values()?.into_iter().map(f64::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn scalars_come_in_their_order() {
        let scalars =
            [Tensor::new(2.5f32, &Device::Cpu), Tensor::new(-1.0f64, &Device::Cpu)].map(Result::unwrap);
        assert_eq!(Readback::of(&scalars).unwrap().values().unwrap(), [2.5, -1.0]);
        assert_eq!(Readback::of(&[]).unwrap().values().unwrap(), [0.0; 0]);
        assert!(Readback::of(&[Tensor::new(&[1.0f32], &Device::Cpu).unwrap()]).is_err());
    }
}
