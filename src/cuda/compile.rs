//! Kernels from source, compiled at run time and cached.

use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{DType, Result, bail};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};

/// The source of one operation's kernels.
pub(crate) struct Source {
    /// The file's name.
    pub(crate) name: &'static str,
    /// Its text, without [`PRELUDE`].
    pub(crate) text: &'static str,
}

/// A constant of a source, as a line of code.
pub(crate) type Constant = String;

/// Types, conversions and reductions, prepended to every source.
const PRELUDE: &str = concat!(include_str!("instructions.cuh"), include_str!("prelude.cuh"));

/// Loaded kernels by GPU, source, constants and name.
static LOADED: LazyLock<RwLock<HashMap<(usize, String), CudaFunction>>> = LazyLock::new(RwLock::default);

/// `T`: the type of activations.
pub(crate) fn element(dtype: DType) -> Constant {
    format!("typedef {} T;", if dtype == DType::BF16 { "bf16" } else { "float" })
}

/// `V`: elements that a thread moves at a time: 16 bytes if a row of `width` elements is a multiple of them, else one.
pub(crate) fn vector(dtype: DType, width: usize) -> (Constant, usize) {
    let most = 16 / dtype.size_in_bytes();
    let v = if width.is_multiple_of(most) { most } else { 1 };
    (number("V", v), v)
}

/// A number, as a constant.
pub(crate) fn number(name: &str, value: usize) -> Constant {
    format!("constexpr int {name} = {value};")
}

impl Source {
    /// A kernel by its name, with these constants.
    pub(crate) fn load(
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
    pub(crate) fn kernels(&self) -> impl Iterator<Item = &'static str> {
        let heads = self.text.split("\nKERNEL").skip(1).filter_map(|rest| match rest.strip_prefix("_OF(") {
            None => Some(rest),
            Some(bounds) => bounds.split_once(")\n").map(|(_, rest)| rest),
        });
        heads.filter_map(|rest| rest.trim_start().split('(').next())
    }

    /// The source compiled for an architecture, such as `compute_90`; needs no GPU.
    pub(crate) fn compile(&self, architecture: &str, constants: &str) -> Result<Ptx> {
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
