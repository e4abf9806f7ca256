//! Which device to compute on.

use anyhow::Result;
#[cfg(not(feature = "cuda"))]
use anyhow::bail;
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
            Self::Auto => Ok(open_gpu(0).unwrap_or(Device::Cpu)),
            Self::Cuda(number) => open_gpu(number),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Device> {
    use anyhow::Context;
    let opened = smalti::ops::cuda::open(number);
    let gpu = opened.with_context(|| {
        format!(
            "GPU {number} cannot be opened (nvidia-smi lists those that there are); --device cpu needs none"
        )
    })?;
    eprintln!("computing on GPU {number}, {}, {:.0} GiB", gpu.name, gpu.memory as f64 / (1_u64 << 30) as f64);
    Ok(gpu.device)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_: usize) -> Result<Device> {
    bail!("this smalti is built without CUDA; build it with `--features cuda`, or use --device cpu")
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
