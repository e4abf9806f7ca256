//! Matrix products by cuBLASLt, with a bias and a residual stream added before rounding.

use super::launch::{address, empty};
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::{WrapErr, gemm_reduced_precision_f32};
use candle_core::{DType, Error, Result, Tensor, bail};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// A matrix, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    matrix: &'a Tensor,
    transposed: bool,
}

/// The matrix itself.
pub(crate) fn plain(matrix: &Tensor) -> Factor<'_> {
    Factor { matrix, transposed: false }
}

/// The transpose of the matrix.
pub(crate) fn transposed(matrix: &Tensor) -> Factor<'_> {
    Factor { matrix, transposed: true }
}

/// A bias and a residual stream to add to a product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BiasAndResidual<'a> {
    /// `[n]`, in the result's type, for each row.
    pub(crate) bias: Option<&'a Tensor>,
    /// `[m, n]`, in the result's type.
    pub(crate) residual: Option<&'a Tensor>,
}

/// A·B `[m, n]`, both of one type, accumulated in `f32` and rounded to `dtype`.
pub(crate) fn product(a: Factor, b: Factor, dtype: DType) -> Result<Tensor> {
    product_bias_residual(a, b, dtype, BiasAndResidual::default())
}

/// A·B + bias + residual `[m, n]`, accumulated in `f32` and rounded to `dtype` once.
pub(crate) fn product_bias_residual(
    a: Factor,
    b: Factor,
    dtype: DType,
    extra: BiasAndResidual,
) -> Result<Tensor> {
    let BiasAndResidual { bias, residual } = extra;
    let ((m, k), (b_k, n)) = (a.dims()?, b.dims()?);
    if k != b_k || a.matrix.dtype() != b.matrix.dtype() {
        let dims = |factor: Factor| (factor.matrix.dims().to_vec(), factor.matrix.dtype());
        bail!("product: expected matrices that fit each other; found {:?} and {:?}", dims(a), dims(b))
    }
    let fits = |tensor: Option<&Tensor>, dims: &[usize]| {
        tensor.is_none_or(|tensor| tensor.dims() == dims && tensor.dtype() == dtype)
    };
    if !fits(bias, &[n]) || !fits(residual, &[m, n]) || k == 0 && bias.or(residual).is_some() {
        bail!(
            "product [{m}, {k}]·[{k}, {n}]: expected a bias [{n}] and a residual [{m}, {n}]; found {extra:?}"
        )
    }
    if m * n * k == 0 {
        return Tensor::zeros((m, n), dtype, a.matrix.device());
    }
    let d = empty(a.matrix, (m, n), dtype)?;
    let at = |tensor: Option<&Tensor>| tensor.map_or(Ok(0), address);
    let places = Places {
        a: address(a.matrix)?,
        b: address(b.matrix)?,
        bias: at(bias)?,
        residual: at(residual)?,
        d: address(&d)?,
    };
    let gpu = a.matrix.device().as_cuda_device()?.cuda_stream().context().ordinal();
    let kind = Kind {
        sizes: (m, n, k),
        transposed: (a.transposed, b.transposed),
        dtypes: (a.matrix.dtype(), dtype),
        bias: bias.is_some(),
        residual: residual.is_some(),
        reduced: gemm_reduced_precision_f32(),
        aligned: places.aligned(),
    };
    let Ok(mut libraries) = LIBRARIES.lock() else { bail!("another thread panicked while it multiplied") };
    let library = match libraries.entry(gpu) {
        std::collections::hash_map::Entry::Occupied(library) => library.into_mut(),
        std::collections::hash_map::Entry::Vacant(place) => place.insert(Library::new(a.matrix)?),
    };
    library.run(kind, &places, a.matrix)?;
    Ok(d)
}

impl Factor<'_> {
    fn dims(&self) -> Result<(usize, usize)> {
        let (rows, columns) = self.matrix.dims2()?;
        Ok(if self.transposed { (columns, rows) } else { (rows, columns) })
    }
}

/// Addresses; 0 if there is no such tensor.
struct Places {
    a: u64,
    b: u64,
    bias: u64,
    residual: u64,
    d: u64,
}

impl Places {
    /// Whether every address is a multiple of 256, cuBLASLt's default alignment; all are multiples of 16.
    fn aligned(&self) -> bool {
        (self.a | self.b | self.bias | self.residual | self.d).is_multiple_of(256)
    }
}

/// The properties of a product that decide its plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    sizes: (usize, usize, usize),
    transposed: (bool, bool),
    dtypes: (DType, DType),
    bias: bool,
    residual: bool,
    /// Whether products of `f32` have 10 bits of mantissa (TF32).
    reduced: bool,
    aligned: bool,
}

/// cuBLASLt of each GPU.
static LIBRARIES: LazyLock<Mutex<HashMap<usize, Library>>> = LazyLock::new(Mutex::default);

/// Bytes of workspace, as NVIDIA recommends for the newest GPUs.
const WORKSPACE: usize = 32 << 20;

struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: Tensor,
    plans: HashMap<Kind, Plan>,
}

// SAFETY: any thread may use cuBLASLt's handles and descriptors; a mutex lets one thread use them at a time.
unsafe impl Send for Library {}

/// The most cached plans. Documents of any length make batches of any size, each with plans of its own; the plans of
/// frequent sizes are soon created again.
const PLANS: usize = 4096;

/// cuBLASLt's descriptors and algorithm for products of one kind.
struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    a: sys::cublasLtMatrixLayout_t,
    b: sys::cublasLtMatrixLayout_t,
    d: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Library {
    fn new(like: &Tensor) -> Result<Self> {
        like.device().as_cuda_device()?.cuda_stream().context().bind_to_thread().w()?;
        let workspace = empty(like, WORKSPACE, DType::U8)?;
        Ok(Self { handle: result::create_handle().map_err(failed)?, workspace, plans: HashMap::new() })
    }

    fn run(&mut self, kind: Kind, places: &Places, like: &Tensor) -> Result<()> {
        let stream = like.device().as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        if self.plans.len() >= PLANS && !self.plans.contains_key(&kind) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(kind) {
            std::collections::hash_map::Entry::Occupied(plan) => plan.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Plan::new(self.handle, kind)?),
        };
        let (one, beta) = (1.0_f32, if kind.residual { 1.0_f32 } else { 0.0 });
        if kind.bias {
            plan.set(sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &places.bias)?;
        }
        let residual = if kind.residual { places.residual } else { places.d };
        // SAFETY: the addresses are of matrices of these sizes and types, on this stream; one product at a time uses the
        // workspace, because all products are on this stream.
        unsafe {
            result::matmul(
                self.handle,
                plan.operation,
                std::ptr::from_ref(&one).cast(),
                std::ptr::from_ref(&beta).cast(),
                places.b as *const _,
                plan.b,
                places.a as *const _,
                plan.a,
                residual as *const _,
                plan.d,
                places.d as *mut _,
                plan.d,
                &plan.algorithm,
                address(&self.workspace)? as *mut _,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .map_err(failed)
    }
}

impl Plan {
    /// cuBLASLt is column-major, so it computes Dᵀ = Bᵀ·Aᵀ, whose columns are the rows of D.
    fn new(handle: sys::cublasLtHandle_t, kind: Kind) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let (m, n, k) = kind.sizes;
        let layout = |(rows, columns), transposed, dtype| -> Result<_> {
            let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
            result::create_matrix_layout(name(dtype)?, columns as u64, rows as u64, columns as i64)
                .map_err(failed)
        };
        let compute = match kind.dtypes.0 == DType::F32 && kind.reduced {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let mut plan = Self {
            operation: result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F).map_err(failed)?,
            a: layout((m, k), kind.transposed.0, kind.dtypes.0)?,
            b: layout((k, n), kind.transposed.1, kind.dtypes.0)?,
            d: layout((m, n), false, kind.dtypes.1)?,
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        let operation = |transposed| match transposed {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        };
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &operation(kind.transposed.1))?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &operation(kind.transposed.0))?;
        if kind.bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        }
        plan.algorithm = plan.best(handle, kind.aligned)?;
        Ok(plan)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        // SAFETY: the operation exists, and each attribute gets a value of its type.
        unsafe {
            result::set_matmul_desc_attribute(
                self.operation,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        }
        .map_err(failed)
    }

    /// The algorithm that cuBLASLt's heuristic expects to be fastest.
    fn best(&self, handle: sys::cublasLtHandle_t, aligned: bool) -> Result<sys::cublasLtMatmulAlgo_t> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref().map_err(failed)?;
        let alignment: u32 = if aligned { 256 } else { 16 };
        let numbers = [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        let space = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: all handles were created above, and attributes get values of their types.
        unsafe {
            for attribute in numbers {
                result::set_matmul_pref_attribute(
                    preference,
                    attribute,
                    std::ptr::from_ref(&alignment).cast(),
                    4,
                )
                .map_err(failed)?;
            }
            result::set_matmul_pref_attribute(preference, space, std::ptr::from_ref(&WORKSPACE).cast(), 8)
                .map_err(failed)?;
            let found = result::get_matmul_algo_heuristic(
                handle,
                self.operation,
                self.b,
                self.a,
                self.d,
                self.d,
                preference,
            );
            result::destroy_matmul_pref(preference).map_err(failed)?;
            Ok(found.map_err(failed)?.algo)
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: created by `new`; products that were launched no longer need them.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in [self.a, self.b, self.d] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

fn failed(error: result::CublasError) -> Error {
    Error::Msg(format!("cuBLASLt failed to compute a product: {error}"))
}

/// cuBLASLt's name of a type.
fn name(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("product: expected f32 or bf16, found {other:?}"),
    }
}
