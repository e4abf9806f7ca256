//! CPU tensors as plain slices, for the kernels.
//!
//! Kernels compute in `f32`. They read a `bf16` tensor widened, and their results are rounded to the type of the tensor that
//! they are like.

use super::bf16::{rounded, widened};
use crate::ops::autograd::Gradient;
use candle_core::backend::BackendStorage;
use candle_core::shape::ShapeWithOneHole;
use candle_core::{
    CpuStorage, DType, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, WithDType, bail,
};
use half::bf16;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Mutex;

/// Whether kernels accept the tensor.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && is_read(tensor.dtype())
}

/// Whether kernels read tensors of this type.
pub(crate) fn is_read(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16)
}

/// A tensor of the shape and type of `like`.
pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    shaped(values, like.dims(), like)
}

/// A tensor of the type of `like`.
pub(crate) fn shaped<S: ShapeWithOneHole>(values: Vec<f32>, shape: S, like: &Tensor) -> Result<Tensor> {
    match like.dtype() {
        DType::BF16 => Tensor::from_vec(rounded(&values), shape, like.device()),
        _ => Tensor::from_vec(values, shape, like.device()),
    }
}

/// The gradient of `like`.
pub(crate) fn gradient(values: Vec<f32>, like: &Tensor) -> Result<Option<Gradient>> {
    Ok(Some(Gradient::own(tensor(values, like)?)))
}

/// `x` in `dtype`; both types are [read](is_read).
pub(crate) fn converted(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let elements = Elements::of(&x)?;
    match dtype {
        DType::BF16 => Tensor::from_vec(rounded(&elements), x.dims(), x.device()),
        _ => Tensor::from_vec(elements.into_vec(), x.dims(), x.device()),
    }
}

/// The range of contiguous elements in a storage of `len`.
fn range(layout: &Layout, len: usize) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end <= len => Ok(start..end),
        Some(_) => bail!("layout {layout:?} reaches beyond a storage of {len} elements"),
        None => bail!("expected contiguous elements, found {layout:?}"),
    }
}

/// A contiguous CPU tensor of numbers `T`, locked for reading.
pub(crate) struct Locked<'a, T> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    numbers: PhantomData<T>,
}

impl<'a, T: WithDType> Locked<'a, T> {
    /// Locks `tensor`; fails if it is not contiguous, of another type or not on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(elements) = &*storage else { bail!("expected a CPU tensor") };
        let range = range(layout, T::cpu_storage_as_slice(elements)?.len())?;
        Ok(Self { storage, range, numbers: PhantomData })
    }
}

impl<T: WithDType> Deref for Locked<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(elements) => {
                T::cpu_storage_as_slice(elements).map_or(&[], |numbers| &numbers[self.range.clone()])
            }
            _ => &[], // `of` accepts CPU tensors alone
        }
    }
}

/// The elements of a contiguous CPU tensor in `f32`.
pub(crate) enum Elements<'a> {
    F32(Locked<'a, f32>),
    /// A copy of a `bf16` tensor.
    Widened(Vec<f32>),
}

impl<'a> Elements<'a> {
    /// Locks or widens `tensor`; fails if it is not contiguous, neither `f32` nor `bf16`, or not on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::BF16 => Self::Widened(widened(&Locked::of(tensor)?)),
            _ => Self::F32(Locked::of(tensor)?),
        })
    }

    fn into_vec(self) -> Vec<f32> {
        match self {
            Self::F32(numbers) => numbers.to_vec(),
            Self::Widened(numbers) => numbers,
        }
    }
}

impl Deref for Elements<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::F32(numbers) => numbers,
            Self::Widened(numbers) => numbers,
        }
    }
}

/// A number of tensors that kernels change in place.
pub(crate) trait Stored: WithDType {
    /// The elements of a storage of this type.
    fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Stored for f32 {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        if let CpuStorage::F32(elements) = storage { Some(elements) } else { None }
    }
}

impl Stored for bf16 {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [bf16]> {
        if let CpuStorage::BF16(elements) = storage { Some(elements) } else { None }
    }
}

/// Runs `change` on the elements of a contiguous CPU tensor, in place.
///
/// candle lends one storage at a time for writing; a kernel that changes several nests the calls.
pub(crate) fn update<T: Stored, R: Send>(
    tensor: &Tensor,
    change: impl FnOnce(&mut [T]) -> R + Send,
) -> Result<R> {
    let update = Update(Mutex::new(Progress::Before(change)), PhantomData);
    tensor.inplace_op1(&update)?;
    match update.0.into_inner() {
        Ok(Progress::After(result)) => Ok(result),
        _ => bail!("an in-place update did not run"),
    }
}

struct Update<F, R, T>(Mutex<Progress<F, R>>, PhantomData<T>);

enum Progress<F, R> {
    Before(F),
    During,
    After(R),
}

impl<F: FnOnce(&mut [T]) -> R, R, T: Stored> InplaceOp1 for Update<F, R, T> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let found = storage.dtype();
        let Some(elements) = T::elements(storage) else { bail!("expected {:?}, found {found:?}", T::DTYPE) };
        let range = range(layout, elements.len())?;
        let Ok(mut progress) = self.0.lock() else { bail!("an earlier in-place update panicked") };
        if let Progress::Before(change) = std::mem::replace(&mut *progress, Progress::During) {
            *progress = Progress::After(change(&mut elements[range]));
        }
        Ok(())
    }
}
