//! Which device to compute on.

use anyhow::{Context, Result};
use candle_core::Device;
use std::{fmt, str::FromStr};

/// The value of `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU where there is one.
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "0")) {
            ("auto", "0") if text == "auto" => Ok(Self::Auto),
            ("cpu", "0") if text == "cpu" => Ok(Self::Cpu),
            ("cuda", number) => {
                number.parse().map(Self::Cuda).map_err(|_| format!("{number:?} is no GPU number"))
            }
            _ => Err(format!("expected auto, cpu, cuda or cuda:N; found {text:?}")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceChoice {
    /// The device itself; says which GPU it is.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(open_gpu(0).unwrap_or_else(on_cpu)),
            Self::Cuda(number) => open_gpu(number).with_context(|| format!("{self} cannot be used")),
        }
    }
}

/// What is computed on where no GPU can be, and why not is said: whoever built with CUDA may wonder.
#[cfg(feature = "cuda")]
fn on_cpu(reason: anyhow::Error) -> Device {
    eprintln!("computing on the CPU: {}", super::message(&reason));
    Device::Cpu
}

#[cfg(not(feature = "cuda"))]
fn on_cpu(_: anyhow::Error) -> Device {
    Device::Cpu
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Device> {
    let gpu = smalti::ops::cuda::open(number)?;
    eprintln!("computing on GPU {number}, {}, {:.0} GiB", gpu.name, gpu.memory as f64 / (1_u64 << 30) as f64);
    Ok(gpu.device)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_: usize) -> Result<Device> {
    anyhow::bail!("this smalti is built without CUDA; build it with `--features cuda`, or use --device cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda:x", "cpu:1", "auto:0"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
