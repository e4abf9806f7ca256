//! The driver's functions, loaded at the first use of a GPU.
//!
//! candle links to the driver's `libcuda.so.1`, and without a driver the system would not start the program. So this
//! module defines the functions, each as a jump through a table that the first call, to `cuInit`, fills. Linkers then drop
//! the library, because no symbol of it is used (`readelf -d` does not list it); a call of a function that is not in the
//! table would link it again.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use table::load;

/// On other systems the driver is linked, so that a running program has one.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn load() -> std::result::Result<(), String> {
    Ok(())
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[allow(non_camel_case_types, non_snake_case)]
mod table {
    use std::arch::naked_asm;
    use std::ffi::{CStr, c_void};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// `CUDA_ERROR_NO_DEVICE`.
    const NO_DEVICE: u32 = 100;

    /// Stands for a function that has not been found.
    extern "C" fn absent() -> u32 {
        NO_DEVICE
    }

    macro_rules! functions {
        ($($name:ident)*) => {
            enum Place { $($name),* }

            const NAMES: &[&str] = &[$(concat!(stringify!($name), "\0")),*];

            static TABLE: [AtomicPtr<c_void>; NAMES.len()] =
                [const { AtomicPtr::new(absent as *mut c_void) }; NAMES.len()];

            $(
                // A jump leaves the arguments and the return address unchanged.
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name() {
                    #[cfg(target_arch = "x86_64")]
                    naked_asm!(
                        "jmp qword ptr [rip + {table} + {place}]",
                        table = sym TABLE,
                        place = const 8 * Place::$name as usize,
                    );
                    #[cfg(target_arch = "aarch64")]
                    naked_asm!(
                        "adrp x16, {table}",
                        "add x16, x16, :lo12:{table}",
                        "ldr x16, [x16, {place}]",
                        "br x16",
                        table = sym TABLE,
                        place = const 8 * Place::$name as usize,
                    );
                }
            )*
        };
    }

    // All functions that candle's bindings call, for every CUDA version that they support, and those of this crate.
    functions! {
        cuCtxCreate_v3 cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCacheConfig cuCtxGetCurrent cuCtxGetLimit
        cuCtxGetStreamPriorityRange cuCtxSetCacheConfig cuCtxSetCurrent cuCtxSetFlags cuCtxSetLimit
        cuCtxSynchronize cuDestroyExternalMemory cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
        cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceGetName cuDeviceGetUuid cuDeviceGetUuid_v2
        cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDeviceSetMemPool cuDeviceTotalMem_v2
        cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventElapsedTime cuEventElapsedTime_v2
        cuEventQuery cuEventRecord cuEventSynchronize cuExternalMemoryGetMappedBuffer cuFuncGetAttribute
        cuFuncSetAttribute cuFuncSetCacheConfig cuGetErrorName cuGetErrorString cuGraphDestroy
        cuGraphExecDestroy cuGraphInstantiateWithFlags cuGraphLaunch cuGraphUpload cuImportExternalMemory
        cuLaunchCooperativeKernel cuLaunchHostFunc cuLaunchKernel cuMemAdvise_v2 cuMemAllocAsync
        cuMemAllocFromPoolAsync cuMemAllocManaged cuMemAlloc_v2 cuMemFreeAsync cuMemFreeHost cuMemFree_v2
        cuMemGetInfo_v2 cuMemHostAlloc cuMemPoolCreate cuMemPoolDestroy cuMemPoolGetAttribute
        cuMemPoolSetAttribute cuMemPoolTrimTo cuMemPrefetchAsync_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoD_v2
        cuMemcpyDtoHAsync_v2 cuMemcpyDtoH_v2 cuMemcpyHtoDAsync_v2 cuMemcpyHtoD_v2 cuMemcpyPeerAsync
        cuMemsetD8Async cuMemsetD8_v2 cuModuleGetFunction cuModuleGetGlobal_v2 cuModuleLoad cuModuleLoadData
        cuModuleUnload cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveBlocksPerMultiprocessor
        cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyMaxActiveClusters
        cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
        cuOccupancyMaxPotentialClusterSize cuProfilerStart cuProfilerStop cuStreamAttachMemAsync
        cuStreamBeginCapture_v2 cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2
        cuStreamEndCapture cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
    }

    #[unsafe(no_mangle)]
    extern "C" fn cuInit(flags: u32) -> u32 {
        match found() {
            Ok(init) => init(flags),
            Err(_) => NO_DEVICE,
        }
    }

    /// Loads the driver.
    ///
    /// # Errors
    /// If there is no driver, with the reason.
    pub(crate) fn load() -> Result<(), String> {
        found().as_ref().map(|_| ()).map_err(String::clone)
    }

    type Init = extern "C" fn(u32) -> u32;

    /// Fills the table, once; returns the driver's `cuInit`.
    fn found() -> &'static Result<Init, String> {
        static FOUND: OnceLock<Result<Init, String>> = OnceLock::new();
        FOUND.get_or_init(|| {
            // SAFETY: the name ends in 0. The library is never closed.
            let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
            if library.is_null() {
                return Err(reason());
            }
            // SAFETY: the library is open, and the name ends in 0.
            let init = unsafe { libc::dlsym(library, c"cuInit".as_ptr()) };
            if init.is_null() {
                return Err(reason());
            }
            for (name, place) in NAMES.iter().zip(&TABLE) {
                // SAFETY: as above.
                let function = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
                // No driver has all functions: some exist only in older or newer versions.
                if !function.is_null() {
                    place.store(function, Ordering::Release);
                }
            }
            // SAFETY: `CUresult cuInit(unsigned int)` of the driver's interface.
            Ok(unsafe { std::mem::transmute::<*mut c_void, Init>(init) })
        })
    }

    /// The system's message about a library or function that it did not find.
    fn reason() -> String {
        // SAFETY: `dlerror` has no preconditions; it returns null or a text.
        let message = unsafe { libc::dlerror() };
        match message.is_null() {
            true => "libcuda.so.1 cannot be opened".into(),
            // SAFETY: the text is valid until this thread's next call.
            false => unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned(),
        }
    }
}
