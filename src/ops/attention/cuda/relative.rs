//! Biases of scores by distance, for the kernels of `attention_plain.cu`.

use crate::cuda::{Launch, column_sums, convert, empty, upload, whole};
use crate::ops::attention::{Buckets, Distances, RelativeBias};
use candle_core::{DType, Result, Tensor};

/// The bias of one call on the GPU.
pub(super) struct Bias {
    /// `[buckets, heads]`, in `f32`.
    table: Tensor,
    /// The bucket of each distance −furthest..=furthest.
    bucket_of: Tensor,
}

/// The parts of the table's gradient, `[tiles of queries, buckets·heads]`.
pub(super) struct Parts<'a> {
    bias: &'a Bias,
    sums: Tensor,
}

impl Buckets {
    /// The bucket of each distance, on the GPU of `like`; they are copied once for all layers and steps.
    fn uploaded(&self, like: &Tensor) -> Result<Tensor> {
        let tensor = match self.on_device.get() {
            Some(tensor) => tensor.clone(),
            None => upload(like, &self.by_distance().iter().copied().map(u32::from).collect::<Vec<_>>())?,
        };
        Ok(self.on_device.get_or_init(|| tensor).clone())
    }
}

impl Bias {
    /// `None` for slopes, which have no kernel.
    pub(super) fn new(bias: RelativeBias) -> Result<Option<Self>> {
        let (Some(table), Distances::Buckets(buckets)) = (bias.table, bias.distances) else {
            return Ok(None);
        };
        let table = whole(&convert(table.tensor(), DType::F32)?)?;
        let bucket_of = buckets.uploaded(&table)?;
        Ok(Some(Self { table, bucket_of }))
    }

    /// Appends the kernels' arguments: table, bucket of each distance, largest distance; null and 0 without a bias.
    pub(super) fn arguments(bias: Option<&Self>, launch: Launch) -> Result<Launch> {
        let launch =
            launch.optional(bias.map(|bias| &bias.table))?.optional(bias.map(|bias| &bias.bucket_of))?;
        launch.int(bias.map_or(0, |bias| bias.bucket_of.elem_count() / 2))
    }

    /// Memory for the part of each tile of queries in the table's gradient.
    pub(super) fn parts(&self, tiles: usize) -> Result<Parts<'_>> {
        Ok(Parts { bias: self, sums: empty(&self.table, (tiles, self.table.elem_count()), DType::F32)? })
    }
}

impl Parts<'_> {
    /// Appends the arguments of the kernel that writes the parts; sets its shared memory, a row of sums for each warp.
    pub(super) fn arguments(parts: Option<&Self>, launch: Launch) -> Result<Launch> {
        const WARPS: usize = 8;
        let buckets = match parts {
            Some(parts) => parts.bias.table.dim(0)?,
            None => 0,
        };
        let launch = launch.shared(WARPS * buckets * size_of::<f32>())?;
        launch.optional(parts.map(|parts| &parts.sums))?.int(buckets)
    }

    /// The gradient of the table.
    pub(super) fn sum(self) -> Result<Tensor> {
        match self.sums.dim(0)? {
            0 => self.bias.table.zeros_like(),
            _ => column_sums(&self.sums)?.reshape(self.bias.table.shape()),
        }
    }
}
