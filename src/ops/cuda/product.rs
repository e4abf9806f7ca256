//! Matrix products, by cuBLAS.

use super::launch::{address, empty};
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::cuda_backend::{WrapErr, gemm_reduced_precision_f32};
use candle_core::{DType, Result, Tensor, bail};

/// A·B, where A is `a` or, if `a_turned`, its transpose, and B likewise; of one type, accumulated in `f32`, the
/// result rounded to `dtype`.
pub(super) fn product(
    a: &Tensor,
    a_turned: bool,
    b: &Tensor,
    b_turned: bool,
    dtype: DType,
) -> Result<Tensor> {
    let turned = |(rows, columns), turned| if turned { (columns, rows) } else { (rows, columns) };
    let ((m, k), (b_k, n)) = (turned(a.dims2()?, a_turned), turned(b.dims2()?, b_turned));
    if k != b_k || a.dtype() != b.dtype() {
        bail!("product: {:?} {:?} does not fit {:?} {:?}", a.dims(), a.dtype(), b.dims(), b.dtype())
    }
    if m * n * k == 0 {
        return Tensor::zeros((m, n), dtype, a.device());
    }
    let c = empty(a, (m, n), dtype)?;
    let (one, zero) = (1.0_f32, 0.0_f32);
    let operation = |turned| match turned {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    };
    let compute = match a.dtype() == DType::F32 && gemm_reduced_precision_f32() {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let (at_a, at_b, at_c) = (address(a)?, address(b)?, address(&c)?);
    let blas = a.device().as_cuda_device()?.cublas_handle();
    // cuBLAS counts columns first, so it is asked for Cᵀ = Bᵀ·Aᵀ.
    // SAFETY: the addresses are those of matrices of these sizes and types, on the stream that cuBLAS works on.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            operation(b_turned),
            operation(a_turned),
            n as i32,
            m as i32,
            k as i32,
            std::ptr::from_ref(&one).cast(),
            at_b as *const _,
            kind(b.dtype())?,
            b.dim(1)? as i32,
            at_a as *const _,
            kind(a.dtype())?,
            a.dim(1)? as i32,
            std::ptr::from_ref(&zero).cast(),
            at_c as *mut _,
            kind(dtype)?,
            n as i32,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()?;
    Ok(c)
}

/// cuBLAS's name of a type.
fn kind(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("product: expected f32 or bf16, found {other:?}"),
    }
}
