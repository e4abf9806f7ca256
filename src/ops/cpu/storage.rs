//! CPU tensors as plain slices, for the kernels.

use crate::ops::autograd::Gradient;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, bail};
use std::ops::{Deref, Range};
use std::sync::Mutex;

/// A tensor of the shape of `like`.
pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.dims(), like.device())
}

/// The gradient of `like`.
pub(crate) fn gradient(values: Vec<f32>, like: &Tensor) -> Result<Option<Gradient>> {
    Ok(Some(Gradient::own(tensor(values, like)?)))
}

/// The elements of a storage, row-major.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (Some((start, end)), CpuStorage::F32(values)) = (layout.contiguous_offsets(), storage) else {
        bail!("expected contiguous f32 elements, found {:?} with {layout:?}", storage.dtype())
    };
    match values.get(start..end) {
        Some(values) => Ok(values),
        None => bail!("layout {layout:?} reaches beyond a storage of {} elements", values.len()),
    }
}

/// A contiguous CPU `f32` tensor, locked for reading.
pub(crate) struct Elements<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    /// Locks `tensor`; fails if it is not contiguous, not `f32` or not on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(elements) = &*storage else { bail!("expected a CPU tensor") };
        slice(elements, layout)?;
        let start = layout.start_offset();
        Ok(Self { range: start..start + layout.shape().elem_count(), storage })
    }
}

impl Deref for Elements<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[], // `of` accepts f32 on the CPU alone
        }
    }
}

/// Runs `change` on the elements of a contiguous CPU `f32` tensor, in place.
///
/// candle lends one storage at a time for writing; a kernel that changes several nests the calls.
pub(crate) fn update<R: Send>(tensor: &Tensor, change: impl FnOnce(&mut [f32]) -> R + Send) -> Result<R> {
    let update = Update(Mutex::new(Progress::Before(change)));
    tensor.inplace_op1(&update)?;
    match update.0.into_inner() {
        Ok(Progress::After(result)) => Ok(result),
        _ => bail!("an in-place update did not run"),
    }
}

struct Update<F, R>(Mutex<Progress<F, R>>);

enum Progress<F, R> {
    Before(F),
    During,
    After(R),
}

impl<F: FnOnce(&mut [f32]) -> R, R> InplaceOp1 for Update<F, R> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        slice(storage, layout)?;
        let CpuStorage::F32(values) = storage else { bail!("expected f32") };
        let (Ok(mut progress), Some((start, end))) = (self.0.lock(), layout.contiguous_offsets()) else {
            bail!("an earlier in-place update panicked")
        };
        if let Progress::Before(change) = std::mem::replace(&mut *progress, Progress::During) {
            *progress = Progress::After(change(&mut values[start..end]));
        }
        Ok(())
    }
}
