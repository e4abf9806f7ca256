//! The choice of a device.

use anyhow::{Context, Result};
use candle_core::Device;
use std::{fmt, str::FromStr};

/// The value of `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number, or any.
    Cuda(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(None)),
            Some(("cuda", number)) => Ok(Self::Cuda(Some(gpu_number(number)?))),
            _ => Err(format!("expected auto, cpu, cuda or cuda:N; found {text:?}")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceChoice {
    /// The device; prints the name of a GPU.
    pub fn open(self) -> Result<Device> {
        self.open_for(0)
    }

    /// As [`open`](Self::open), for the process of this number on its host. Without a GPU's number, each process takes the
    /// next GPU.
    pub fn open_for(self, local: usize) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(open_gpu(local % gpus()).unwrap_or_else(on_cpu)),
            Self::Cuda(number) => {
                let number = number.unwrap_or_else(|| local % gpus());
                open_gpu(number).with_context(|| format!("{self} cannot be used"))
            }
        }
    }
}

/// The value of `--devices`: one GPU or several, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus(pub Vec<usize>);

impl FromStr for Gpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split(',').map(gpu_number).collect::<Result<Vec<_>, _>>()?;
        let again = numbers.iter().enumerate().find(|(i, number)| numbers[..*i].contains(number));
        match again {
            Some((_, number)) => Err(format!("GPU {number} is named twice; name each GPU once")),
            None => Ok(Self(numbers)),
        }
    }
}

fn gpu_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected the number of a GPU; found {text:?}"))
}

/// The number of GPUs; 1 if there is none, so that opening one gives the reason.
fn gpus() -> usize {
    #[cfg(feature = "cuda")]
    return crate::cuda::count().unwrap_or(1).max(1);
    #[cfg(not(feature = "cuda"))]
    1
}

/// The CPU. A build with CUDA also prints why it uses no GPU.
#[cfg(feature = "cuda")]
fn on_cpu(reason: anyhow::Error) -> Device {
    super::print::note(&format!("computing on the CPU: {}", super::print::message(&reason)));
    Device::Cpu
}

#[cfg(not(feature = "cuda"))]
fn on_cpu(_: anyhow::Error) -> Device {
    Device::Cpu
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Device> {
    let gpu = crate::cuda::open(number)?;
    let gib = gpu.memory as f64 / (1_u64 << 30) as f64;
    super::print::note(&format!("computing on GPU {number}, {}, {gib:.0} GiB", gpu.name));
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
    fn choices_are_parsed() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(None)),
            ("cuda:3", DeviceChoice::Cuda(Some(3))),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda:x", "cpu:1", "auto:0"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_gpu_is_named_once() {
        assert_eq!("2".parse(), Ok(Gpus(vec![2])));
        assert_eq!("0,3,1".parse(), Ok(Gpus(vec![0, 3, 1])));
        for (text, problem) in [
            ("0,1,0", "GPU 0 is named twice"),
            ("0,", "found \"\""),
            ("cuda:0", "expected the number of a GPU"),
        ] {
            let message = text.parse::<Gpus>().unwrap_err();
            assert!(message.contains(problem), "{message}");
        }
    }
}
