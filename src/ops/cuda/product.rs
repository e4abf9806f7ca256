//! Matrix products, by cuBLASLt, with what is added to them before they are rounded.

use super::launch::{address, empty};
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::{WrapErr, gemm_reduced_precision_f32};
use candle_core::{DType, Error, Result, Tensor, bail};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// A matrix, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    matrix: &'a Tensor,
    turned: bool,
}

/// The matrix itself.
pub(super) fn plain(matrix: &Tensor) -> Factor<'_> {
    Factor { matrix, turned: false }
}

/// Its transpose.
pub(super) fn turned(matrix: &Tensor) -> Factor<'_> {
    Factor { matrix, turned: true }
}

/// What is added to a product.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Added<'a> {
    /// `[n]` and of the result's type, to each row.
    pub(super) bias: Option<&'a Tensor>,
    /// `[m, n]` and of the result's type.
    pub(super) residual: Option<&'a Tensor>,
}

/// A·B `[m, n]`, both of one type, accumulated in `f32` and rounded to `dtype`.
pub(super) fn product(a: Factor, b: Factor, dtype: DType) -> Result<Tensor> {
    product_added(a, b, dtype, Added::default())
}

/// A·B with a bias and another matrix added, accumulated in `f32` and rounded to `dtype` once.
pub(super) fn product_added(a: Factor, b: Factor, dtype: DType, added: Added) -> Result<Tensor> {
    let ((m, k), (b_k, n)) = (a.dims()?, b.dims()?);
    if k != b_k || a.matrix.dtype() != b.matrix.dtype() {
        let dims = |factor: Factor| (factor.matrix.dims().to_vec(), factor.matrix.dtype());
        bail!("product: {:?} does not fit {:?}", dims(a), dims(b))
    }
    let fits = |added: Option<&Tensor>, dims: &[usize]| {
        added.is_none_or(|added| added.dims() == dims && added.dtype() == dtype)
    };
    if !fits(added.bias, &[n])
        || !fits(added.residual, &[m, n])
        || k == 0 && added.bias.or(added.residual).is_some()
    {
        bail!("product [{m}, {k}]·[{k}, {n}]: what is added does not fit: {added:?}")
    }
    if m * n * k == 0 {
        return Tensor::zeros((m, n), dtype, a.matrix.device());
    }
    let d = empty(a.matrix, (m, n), dtype)?;
    let at = |tensor: Option<&Tensor>| tensor.map_or(Ok(0), address);
    let places = Places {
        a: address(a.matrix)?,
        b: address(b.matrix)?,
        bias: at(added.bias)?,
        residual: at(added.residual)?,
        d: address(&d)?,
    };
    let gpu = a.matrix.device().as_cuda_device()?.cuda_stream().context().ordinal();
    let kind = Kind {
        sizes: (m, n, k),
        turned: (a.turned, b.turned),
        dtypes: (a.matrix.dtype(), dtype),
        added: (added.bias.is_some(), added.residual.is_some()),
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
        Ok(if self.turned { (columns, rows) } else { (rows, columns) })
    }
}

/// Where everything lies; 0 for what there is not.
struct Places {
    a: u64,
    b: u64,
    bias: u64,
    residual: u64,
    d: u64,
}

impl Places {
    /// Whether every address is a multiple of 256, as cuBLASLt supposes; of 16 they all are.
    fn aligned(&self) -> bool {
        (self.a | self.b | self.bias | self.residual | self.d).is_multiple_of(256)
    }
}

/// What tells one product's plan from another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    sizes: (usize, usize, usize),
    turned: (bool, bool),
    dtypes: (DType, DType),
    added: (bool, bool),
    /// Products of `f32` with 10 bits of mantissa.
    reduced: bool,
    aligned: bool,
}

/// cuBLASLt of each GPU.
static LIBRARIES: LazyLock<Mutex<HashMap<usize, Library>>> = LazyLock::new(Mutex::default);

/// Bytes for parts of sums, as NVIDIA advises for the newest GPUs.
const WORKSPACE: usize = 32 << 20;

struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: Tensor,
    plans: HashMap<Kind, Plan>,
}

// SAFETY: cuBLASLt's handles and descriptors may go from thread to thread; a mutex lets one use them at a time.
unsafe impl Send for Library {}

/// Plans that are kept at most: documents of any length make batches of any size, and each size has plans of its own. Those
/// of sizes that come again are soon made again.
const PLANS: usize = 4096;

/// How products of one kind are made.
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
        Ok(Self { handle: result::create_handle().map_err(refused)?, workspace, plans: HashMap::new() })
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
        let (one, beta) = (1.0_f32, if kind.added.1 { 1.0_f32 } else { 0.0 });
        if kind.added.0 {
            plan.set(sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &places.bias)?;
        }
        let residual = if kind.added.1 { places.residual } else { places.d };
        // SAFETY: the addresses are those of matrices of these sizes and types, on the stream that is worked on; the
        // workspace is used by one product at a time, as all are on that stream.
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
        .map_err(refused)
    }
}

impl Plan {
    /// cuBLASLt counts columns first, so it is asked for Dᵀ = Bᵀ·Aᵀ, whose columns are our rows.
    fn new(handle: sys::cublasLtHandle_t, kind: Kind) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let (m, n, k) = kind.sizes;
        let layout = |(rows, columns), turned, dtype| -> Result<_> {
            let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
            result::create_matrix_layout(name(dtype)?, columns as u64, rows as u64, columns as i64)
                .map_err(refused)
        };
        let compute = match kind.dtypes.0 == DType::F32 && kind.reduced {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let mut plan = Self {
            operation: result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F).map_err(refused)?,
            a: layout((m, k), kind.turned.0, kind.dtypes.0)?,
            b: layout((k, n), kind.turned.1, kind.dtypes.0)?,
            d: layout((m, n), false, kind.dtypes.1)?,
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        let operation = |turned| match turned {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        };
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &operation(kind.turned.1))?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &operation(kind.turned.0))?;
        if kind.added.0 {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        }
        plan.algorithm = plan.best(handle, kind.aligned)?;
        Ok(plan)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        // SAFETY: the operation is there, and each attribute is set with a value of its type.
        unsafe {
            result::set_matmul_desc_attribute(
                self.operation,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        }
        .map_err(refused)
    }

    /// What cuBLASLt holds for the fastest way.
    fn best(&self, handle: sys::cublasLtHandle_t, aligned: bool) -> Result<sys::cublasLtMatmulAlgo_t> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let wish = result::create_matmul_pref().map_err(refused)?;
        let alignment: u32 = if aligned { 256 } else { 16 };
        let numbers = [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        let space = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: everything has been made above, and attributes are set with values of their types.
        unsafe {
            for attribute in numbers {
                result::set_matmul_pref_attribute(wish, attribute, std::ptr::from_ref(&alignment).cast(), 4)
                    .map_err(refused)?;
            }
            result::set_matmul_pref_attribute(wish, space, std::ptr::from_ref(&WORKSPACE).cast(), 8)
                .map_err(refused)?;
            let found = result::get_matmul_algo_heuristic(
                handle,
                self.operation,
                self.b,
                self.a,
                self.d,
                self.d,
                wish,
            );
            result::destroy_matmul_pref(wish).map_err(refused)?;
            Ok(found.map_err(refused)?.algo)
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and of no use to products that have been asked for.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in [self.a, self.b, self.d] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

fn refused(error: result::CublasError) -> Error {
    Error::Msg(format!("cuBLASLt refuses a product: {error}"))
}

/// cuBLASLt's name of a type.
fn name(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("product: expected f32 or bf16, found {other:?}"),
    }
}
