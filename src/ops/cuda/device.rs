//! Opening a GPU, set as the kernels want it.

use super::driver;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::{Device, Result, bail};

/// A GPU that is open.
pub struct Gpu {
    /// For the tensor library.
    pub device: Device,
    /// What its maker calls it.
    pub name: String,
    /// Bytes of its memory.
    pub memory: usize,
}

/// The oldest compute capability whose matrix units know `bf16`.
const OLDEST: (i32, i32) = (8, 0);

/// How many GPUs the driver finds.
///
/// # Errors
/// Where there is no driver, or it does not answer.
pub fn count() -> Result<usize> {
    if let Err(reason) = driver::load() {
        bail!("there is no NVIDIA driver: {reason}")
    }
    match CudaContext::device_count() {
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        gpus => Ok(gpus.w()? as usize),
    }
}

/// What the driver calls a GPU, as no other in the world.
///
/// # Errors
/// Where the device is none.
pub fn identity(device: &Device) -> Result<String> {
    let uuid = device.as_cuda_device()?.cuda_stream().context().uuid().w()?;
    Ok(uuid.bytes.iter().fold("GPU-".to_string(), |name, byte| name + &format!("{byte:02x}")))
}

/// Opens GPU number `ordinal`.
///
/// # Errors
/// Where there is no driver, no such GPU, one that is too old for `bf16`, or a driver that is too old for CUDA's
/// libraries.
pub fn open(ordinal: usize) -> Result<Gpu> {
    match count()? {
        0 => bail!("the NVIDIA driver finds no GPU"),
        gpus if ordinal >= gpus => {
            bail!("there is no GPU {ordinal}: the NVIDIA driver finds {gpus}, from 0 on")
        }
        _ => fits_libraries()?,
    }
    // The per-thread stream that candle takes by default would be another one on each of our threads.
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
    // SAFETY: everything runs on the one stream, in the order in which it is asked for.
    unsafe { context.disable_event_tracking() };
    keep_memory(context.cu_device()).w()?;
    Ok(Gpu { memory: context.total_mem().w()?, device, name })
}

/// Refuses a driver that is older than the major version of CUDA whose libraries run here: they would do nothing with it.
fn fits_libraries() -> Result<()> {
    let (mut driver, mut major, mut minor) = (0, 0, 0);
    // SAFETY: both write numbers that are there.
    let _ = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    unsafe { sys::cuDriverGetVersion(&mut driver) }.result().w()?;
    if driver / 1000 < major {
        let (old, older) = (driver / 1000, driver % 1000 / 10);
        bail!("the NVIDIA driver is for CUDA {old}.{older}; the libraries here are of CUDA {major}.{minor}")
    }
    Ok(())
}

/// Has the pool of memory keep what is freed; by default each wait for the GPU gives it back to the system.
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
    fn what_is_missing_is_said() {
        let error = open(9999).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = match (driver::load(), count()) {
            (Err(_), _) => "no NVIDIA driver",
            (_, Ok(0)) => "finds no GPU",
            _ => "there is no GPU 9999",
        };
        assert!(error.contains(expected), "{error}");
    }
}
