//! Asynchronous reading of scalars from a device.

use candle_core::{DType, Result, Tensor};

/// Scalars that are copied from the device. The copy starts without waiting; [`values`](Self::values) waits for the
/// operations that compute the scalars, but not for operations that were launched later.
pub struct Readback(Source);

enum Source {
    /// Of the CPU, or of a device without asynchronous copies.
    Tensors(Vec<Tensor>),
    #[cfg(feature = "cuda")]
    Copies(crate::cuda::ScalarCopies),
}

impl Readback {
    /// Starts to copy scalars. Scalars of a GPU are converted to `f32`. If some are not on a GPU, [`values`](Self::values)
    /// reads them one by one.
    ///
    /// # Errors
    /// If a tensor is no scalar, or an operation fails.
    pub fn of(scalars: &[Tensor]) -> Result<Self> {
        scalars.iter().try_for_each(|scalar| scalar.shape().dims0())?;
        #[cfg(feature = "cuda")]
        if scalars.iter().all(|scalar| scalar.device().is_cuda()) && !scalars.is_empty() {
            let scalars = scalars.iter().map(|scalar| scalar.to_dtype(DType::F32));
            let scalars = scalars.collect::<Result<Vec<_>>>()?;
            return Ok(Self(Source::Copies(crate::cuda::ScalarCopies::of(&scalars)?)));
        }
        Ok(Self(Source::Tensors(scalars.iter().map(Tensor::detach).collect())))
    }

    /// Waits for the scalars; returns their values in order.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn values(self) -> Result<Vec<f64>> {
        match self.0 {
            Source::Tensors(scalars) => {
                scalars.iter().map(|scalar| scalar.to_dtype(DType::F64)?.to_scalar()).collect()
            }
            #[cfg(feature = "cuda")]
            Source::Copies(copies) => Ok(copies.values()?.into_iter().map(f64::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn values_have_the_order_of_the_scalars() {
        let scalars =
            [Tensor::new(2.5f32, &Device::Cpu), Tensor::new(-1.0f64, &Device::Cpu)].map(Result::unwrap);
        assert_eq!(Readback::of(&scalars).unwrap().values().unwrap(), [2.5, -1.0]);
        assert_eq!(Readback::of(&[]).unwrap().values().unwrap(), [0.0; 0]);
        assert!(Readback::of(&[Tensor::new(&[1.0f32], &Device::Cpu).unwrap()]).is_err());
    }
}
