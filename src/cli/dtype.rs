//! The choice of the type of weights.

use super::device::DeviceChoice;
use crate::ops::QuantizedType;
use anyhow::{Result, bail};
use candle_core::Device;
use clap::{Args, ValueEnum};

// The options of commands that load weights for inference. A doc comment would replace the help of the command.
#[derive(Args, Clone, Copy)]
pub struct LoadArgs {
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Type of the weights; int8 and int4 are smaller and faster, and for the CPU.
    ///
    /// The weights of blocks are rounded as they are read; heads are int8 in both. Embeddings, norms and biases stay f32.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
}

/// The value of `--dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 8 bits, with a scale for each output.
    Int8,
    /// 4 bits, with a scale for each output and 32 inputs.
    Int4,
}

impl Dtype {
    fn quantized(self) -> Option<QuantizedType> {
        match self {
            Self::F32 => None,
            Self::Int8 => Some(QuantizedType::Int8),
            Self::Int4 => Some(QuantizedType::Int4),
        }
    }
}

impl LoadArgs {
    /// The device, and the type of rounded weights. `auto` is the CPU for them.
    pub fn open(self) -> Result<(Device, Option<QuantizedType>)> {
        match (self.dtype.quantized(), self.device) {
            (None, device) => Ok((device.open()?, None)),
            (Some(dtype), DeviceChoice::Auto | DeviceChoice::Cpu) => Ok((Device::Cpu, Some(dtype))),
            (Some(dtype), gpu) => {
                bail!("--dtype {dtype}: expected --device cpu, which computes with it; found --device {gpu}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_weights_are_for_the_cpu() {
        let open = |dtype, device| LoadArgs { dtype, device }.open();
        for device in [DeviceChoice::Auto, DeviceChoice::Cpu] {
            let (opened, dtype) = open(Dtype::Int4, device).unwrap();
            assert!(opened.is_cpu() && dtype == Some(QuantizedType::Int4));
        }
        let message = open(Dtype::Int8, DeviceChoice::Cuda(Some(1))).unwrap_err().to_string();
        assert!(
            message.contains("--dtype int8: expected --device cpu") && message.contains("cuda:1"),
            "{message}"
        );
    }
}
