//! Opening a GPU, configured for the kernels.

use super::driver;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::{Device, Result, bail};

/// An open GPU.
pub struct Gpu {
    /// The candle device.
    pub device: Device,
    /// The name of the model, as NVIDIA states it.
    pub name: String,
    /// Bytes of its memory.
    pub memory: usize,
}

/// The oldest compute capability whose matrix units support `bf16`.
const OLDEST: (i32, i32) = (8, 0);

/// The number of GPUs.
///
/// # Errors
/// If there is no driver, or the driver fails.
pub fn count() -> Result<usize> {
    if let Err(reason) = driver::load() {
        bail!("there is no NVIDIA driver: {reason}")
    }
    match CudaContext::device_count() {
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        gpus => Ok(gpus.w()? as usize),
    }
}

/// The UUID of a GPU.
///
/// # Errors
/// If the device is no GPU.
pub fn identity(device: &Device) -> Result<String> {
    let uuid = device.as_cuda_device()?.cuda_stream().context().uuid().w()?;
    Ok(uuid.bytes.iter().fold("GPU-".to_string(), |name, byte| name + &format!("{byte:02x}")))
}

/// Opens GPU number `ordinal`.
///
/// # Errors
/// If there is no driver or no such GPU, the GPU is too old for `bf16`, or the driver is too old for the CUDA libraries.
pub fn open(ordinal: usize) -> Result<Gpu> {
    match count()? {
        0 => bail!("the NVIDIA driver finds no GPU"),
        gpus if ordinal >= gpus => {
            bail!("there is no GPU {ordinal}; expected 0 to {}", gpus - 1)
        }
        _ => fits_libraries()?,
    }
    // candle's default, the per-thread stream, would be another stream on each thread.
    let device = Device::new_cuda_with_stream(ordinal)?;
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    let capability = context.compute_capability().w()?;
    let name = context.name().w()?;
    if capability < OLDEST {
        bail!(
            "GPU {ordinal} ({name}) has compute capability {}.{}; expected {}.{} or newer",
            capability.0,
            capability.1,
            OLDEST.0,
            OLDEST.1
        )
    }
    // SAFETY: everything runs on one stream, in launch order.
    unsafe { context.disable_event_tracking() };
    keep_memory(context.cu_device()).w()?;
    Ok(Gpu { memory: context.total_mem().w()?, device, name })
}

/// Fails if the driver is older than the major version of the CUDA libraries, which would not work with it.
fn fits_libraries() -> Result<()> {
    let (mut driver, mut major, mut minor) = (0, 0, 0);
    // SAFETY: both functions write to local variables.
    let _ = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    unsafe { sys::cuDriverGetVersion(&mut driver) }.result().w()?;
    if driver / 1000 < major {
        let (driver_major, driver_minor) = (driver / 1000, driver % 1000 / 10);
        bail!(
            "NVIDIA driver: expected one for CUDA {major}.{minor}, the version of the libraries; found one for CUDA \
             {driver_major}.{driver_minor}"
        )
    }
    Ok(())
}

/// Makes the memory pool keep freed memory; by default each synchronisation returns it to the system.
fn keep_memory(device: sys::CUdevice) -> std::result::Result<(), result::DriverError> {
    let mut all = u64::MAX;
    // SAFETY: the device is open, and the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(device)?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, std::ptr::from_mut(&mut all).cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_missing_driver_or_gpu() {
        let error = open(9999).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = match (driver::load(), count()) {
            (Err(_), _) => "no NVIDIA driver",
            (_, Ok(0)) => "finds no GPU",
            _ => "there is no GPU 9999",
        };
        assert!(error.contains(expected), "{error}");
    }
}
