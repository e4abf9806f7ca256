//! Kernels from source, compiled at run time and cached.

use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{DType, Result, bail};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};

/// The source of one operation's kernels.
pub(super) struct Source {
    /// The file's name.
    pub(super) name: &'static str,
    /// Its text, without [`PRELUDE`].
    pub(super) text: &'static str,
}

/// A constant of a source, as a line of code.
pub(super) type Constant = String;

/// Types, conversions and reductions, prepended to every source.
const PRELUDE: &str = concat!(include_str!("instructions.cuh"), include_str!("prelude.cuh"));

/// Loaded kernels by GPU, source, constants and name.
static LOADED: LazyLock<RwLock<HashMap<(usize, String), CudaFunction>>> = LazyLock::new(RwLock::default);

/// `T`: the type of activations.
pub(super) fn element(dtype: DType) -> Constant {
    format!("typedef {} T;", if dtype == DType::BF16 { "bf16" } else { "float" })
}

/// `V`: elements that a thread moves at a time: 16 bytes if a row of `width` elements is a multiple of them, else one.
pub(super) fn vector(dtype: DType, width: usize) -> (Constant, usize) {
    let most = 16 / dtype.size_in_bytes();
    let v = if width.is_multiple_of(most) { most } else { 1 };
    (number("V", v), v)
}

/// A number, as a constant.
pub(super) fn number(name: &str, value: usize) -> Constant {
    format!("constexpr int {name} = {value};")
}

impl Source {
    /// A kernel by its name, with these constants.
    pub(super) fn load(
        &self,
        device: &CudaDevice,
        kernel: &str,
        constants: &[Constant],
    ) -> Result<CudaFunction> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let constants = constants.join("\n");
        let module = format!("{} {constants}", self.name);
        let key = (context.ordinal(), format!("{module} {kernel}"));
        if let Some(function) = LOADED.read().ok().and_then(|loaded| loaded.get(&key).cloned()) {
            return Ok(function);
        }
        let (major, minor) = context.compute_capability().w()?;
        let ptx = self.compile(&format!("compute_{major}{minor}"), &constants)?;
        self.load_all(context, &ptx, &module)?;
        match LOADED.read().ok().and_then(|loaded| loaded.get(&key).cloned()) {
            Some(function) => Ok(function),
            None => bail!("{} has no kernel {kernel}", self.name),
        }
    }

    /// Loads every kernel of the module, because most callers use several.
    fn load_all(&self, context: &Arc<CudaContext>, ptx: &Ptx, module: &str) -> Result<()> {
        let loaded = context.load_module(ptx.clone()).w()?;
        let Ok(mut all) = LOADED.write() else { bail!("another thread panicked while it loaded kernels") };
        for kernel in self.kernels() {
            let function = loaded.load_function(kernel).w()?;
            all.insert((context.ordinal(), format!("{module} {kernel}")), function);
        }
        Ok(())
    }

    /// The names of the kernels in the source: the text between `KERNEL`, or `KERNEL_OF(…)`, and the arguments.
    fn kernels(&self) -> impl Iterator<Item = &'static str> {
        let heads = self.text.split("\nKERNEL").skip(1).filter_map(|rest| match rest.strip_prefix("_OF(") {
            None => Some(rest),
            Some(bounds) => bounds.split_once(")\n").map(|(_, rest)| rest),
        });
        heads.filter_map(|rest| rest.trim_start().split('(').next())
    }

    /// The source compiled for an architecture, such as `compute_90`; needs no GPU.
    pub(super) fn compile(&self, architecture: &str, constants: &str) -> Result<Ptx> {
        let source = format!("{PRELUDE}\n{constants}\n#line 1 \"{}\"\n{}", self.name, self.text);
        let options = vec![format!("--gpu-architecture={architecture}"), "--std=c++17".into()];
        let options = CompileOptions { options, name: Some(self.name.into()), ..Default::default() };
        compile_ptx_with_opts(source, options).map_err(|error| match error {
            CompileError::CompileError { log, .. } => {
                candle_core::Error::Msg(format!("cannot compile {}: {}", self.name, log.to_string_lossy()))
            }
            other => candle_core::Error::Msg(format!("cannot compile {}: {other}", self.name)),
        })
    }
}

#[cfg(test)]
mod tests {
    //! Compiles all kernels, for which no GPU is needed but CUDA's NVRTC is:
    //! `cargo test --release --features cuda --lib cuda::`.

    use super::*;
    use crate::ops::activation::Activation;
    use crate::ops::cuda::{
        activation, attention, cross_entropy, ctc, dropout, gather, norm, optimizer, rotary, scale,
        squared_error, sum,
    };
    use rayon::prelude::*;

    /// The oldest GPUs that are supported, and those that the kernels are tuned for.
    const ARCHITECTURES: [&str; 2] = ["compute_80", "compute_90"];

    /// A source, the text of the file that launches its kernels, and sets of constants.
    type Checked = (Source, &'static str, Vec<Vec<Constant>>);

    /// Each set for `f32` and `bf16`, with vectors for rows of each of these widths.
    fn sets(widths: &[usize], others: &dyn Fn(usize) -> Vec<Constant>) -> Vec<Vec<Constant>> {
        let dtypes = [DType::F32, DType::BF16];
        let of = |(dtype, &width): (DType, &usize)| {
            [element(dtype), vector(dtype, width).0].into_iter().chain(others(width)).collect()
        };
        dtypes.into_iter().flat_map(|dtype| widths.iter().map(move |width| of((dtype, width)))).collect()
    }

    fn all() -> Vec<Checked> {
        let none = |_: usize| vec![];
        let heads = |dtypes: &[DType], sizes: &[usize]| {
            let pairs = dtypes.iter().flat_map(|&dtype| sizes.iter().map(move |&d| (dtype, d)));
            pairs.map(|(dtype, d)| vec![element(dtype), number("D", d)]).collect()
        };
        vec![
            (activation::SOURCE, include_str!("activation.rs"), activations()),
            (
                attention::MATRIX,
                include_str!("attention.rs"),
                heads(&[DType::BF16], &[16, 32, 64, 80, 96, 128]),
            ),
            (
                attention::PLAIN,
                include_str!("attention.rs"),
                heads(&[DType::F32, DType::BF16], &[16, 24, 64, 128]),
            ),
            (cross_entropy::SOURCE, include_str!("cross_entropy.rs"), sets(&[64, 65], &none)),
            (ctc::SOURCE, include_str!("ctc.rs"), sets(&[64], &none)),
            (dropout::SOURCE, include_str!("dropout.rs"), sets(&[64], &none)),
            (gather::SOURCE, include_str!("gather.rs"), sets(&[64, 33], &none)),
            (norm::SOURCE, include_str!("norm.rs"), norms()),
            (optimizer::SOURCE, include_str!("optimizer.rs"), vec![vec![]]),
            (rotary::SOURCE, include_str!("rotary.rs"), sets(&[64], &none)),
            (scale::SOURCE, include_str!("scale.rs"), sets(&[64, 33], &none)),
            (squared_error::SOURCE, include_str!("squared_error.rs"), sets(&[64], &none)),
            (sum::SOURCE, include_str!("sum.rs"), sets(&[64, 33], &none)),
        ]
    }

    fn activations() -> Vec<Vec<Constant>> {
        let of = |activation| sets(&[64, 33], &|_| vec![activation::function(activation)]);
        let all = [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
            Activation::QuickGelu,
            Activation::Tanh,
        ];
        all.into_iter().flat_map(of).collect()
    }

    fn norms() -> Vec<Vec<Constant>> {
        let of =
            |centre| sets(&[1, 384, 768, norm::WIDEST], &|d| vec![number("D", d), number("CENTRE", centre)]);
        [0, 1].into_iter().flat_map(of).collect()
    }

    #[test]
    fn every_kernel_compiles() {
        let sources = all();
        let calls = sources.iter().flat_map(|(source, _, sets)| sets.iter().map(move |set| (source, set)));
        let calls: Vec<_> = calls.collect();
        calls.par_iter().for_each(|(source, set)| {
            for architecture in ARCHITECTURES {
                let ptx = source.compile(architecture, &set.join("\n")).unwrap().to_src();
                for kernel in source.kernels() {
                    assert!(
                        ptx.contains(&format!(".entry {kernel}(")),
                        "{} defines no {kernel}",
                        source.name
                    );
                }
            }
        });
    }

    #[test]
    fn every_launched_kernel_exists_and_every_kernel_is_launched() {
        for (source, text, _) in all() {
            let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
            let kernels: Vec<&str> = source.kernels().collect();
            for call in ["SOURCE, \"", "PLAIN, \"", "MATRIX, \"", ".launch(\""] {
                for launched in code.split(call).skip(1).filter_map(|rest| rest.split('"').next()) {
                    assert!(kernels.contains(&launched), "{} has no {launched}: {kernels:?}", source.name);
                }
            }
            for kernel in kernels {
                assert!(
                    code.contains(&format!("\"{kernel}\"")),
                    "{kernel} of {} is never launched",
                    source.name
                );
            }
        }
    }
}
