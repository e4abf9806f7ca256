//! The layouts of published tensors, and their conversion to the layout of parameters and back.

use crate::pretrained::interpolate::Grid;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// The layout of a published tensor; the parameter's is `[outputs, inputs]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// The same layout.
    Same,
    /// `[inputs, outputs]`: GPT-2's linear layers.
    Transposed,
    /// `[outputs, channels, width]` for `[outputs, width·channels]`.
    Conv1d {
        /// Width of the kernel, in frames.
        width: usize,
    },
    /// `[outputs, channels, height, width]` for `[outputs, height·width·channels]`.
    Conv2d {
        /// Channels of an image.
        channels: usize,
        /// Height and width of a patch.
        patch: [usize; 2],
    },
    /// Weights of which 1 is subtracted: Gemma's norms.
    MinusOne,
    /// Rows of queries, keys and values by head, `[heads, 3, d_head]`, for `[3, heads, d_head]`: GPT-NeoX.
    ByHead {
        /// Number of heads.
        heads: usize,
    },
    /// `[n, d]`, of which only the first row is read, as `[d]`.
    FirstRow,
    /// `[of, d]`, of which only `n` rows are read.
    Rows {
        /// The first row that is read.
        from: usize,
        /// Rows that are read.
        n: usize,
        /// Rows of the published table.
        of: usize,
    },
    /// `[n, 2·d]`, of which the first half is read and the second is zeros.
    FirstHalf,
    /// `[1, n, d]`, a table of positions that is interpolated to another grid. It is written as interpolated.
    Grid(Grid),
    /// `[n, d]`, such a table of positions.
    FlatGrid(Grid),
    /// `[d]` for `[1, d]`.
    Vector,
    /// `[1, …, 1, n, d]` for `[n, d]`, with `dims` dimensions in all.
    Boxed {
        /// Number of dimensions of the published tensor.
        dims: usize,
    },
}

impl Layout {
    /// A published tensor in the layout of a parameter.
    pub(super) fn to_ours(self, x: &Tensor) -> Result<Tensor> {
        match (self, x.rank()) {
            (Layout::Same, _) => Ok(x.clone()),
            (Layout::Transposed, 2) => x.t()?.contiguous(),
            (Layout::MinusOne, _) => x + 1.0,
            (Layout::ByHead { heads }, 1 | 2) => swapped(x, heads, 3),
            (Layout::Conv1d { .. }, 3) => {
                let (outputs, channels, width) = x.dims3()?;
                x.transpose(1, 2)?.contiguous()?.reshape((outputs, width * channels))
            }
            (Layout::Conv2d { .. }, 4) => {
                let (outputs, channels, height, width) = x.dims4()?;
                x.permute((0, 2, 3, 1))?.contiguous()?.reshape((outputs, height * width * channels))
            }
            (Layout::FirstRow, 2) => x.get(0),
            (Layout::Rows { from, n, of }, 2) if x.dim(0)? == of => x.narrow(0, from, n),
            (Layout::FirstHalf, 2) if x.dim(1)? % 2 == 0 => {
                let half = x.dim(1)? / 2;
                if x.narrow(1, half, half)?.abs()?.sum_all()?.to_scalar::<f32>()? != 0.0 {
                    candle_core::bail!("expected zeros in the second half of each row; found other numbers");
                }
                x.narrow(1, 0, half)?.contiguous()
            }
            (Layout::Grid(grid), 3) => grid.resize(&x.flatten_to(1)?),
            (Layout::FlatGrid(grid), 2) => grid.resize(x),
            (Layout::Vector, 1) => x.unsqueeze(0),
            (Layout::Boxed { dims }, rank) if dims == rank => {
                x.reshape((x.elem_count() / x.dim(rank - 1)?.max(1), x.dim(rank - 1)?))
            }
            _ => candle_core::bail!("expected a shape of layout {self:?}; found {:?}", x.dims()),
        }
    }

    /// A parameter in the layout of the published tensor.
    pub(super) fn to_theirs(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Layout::Same | Layout::Rows { .. } | Layout::FlatGrid(_) => Ok(x.clone()),
            Layout::Vector => x.squeeze(0),
            Layout::FirstRow => x.unsqueeze(0),
            Layout::Transposed => x.t()?.contiguous(),
            Layout::MinusOne => x - 1.0,
            Layout::ByHead { heads } => swapped(x, 3, heads),
            Layout::Conv1d { width } => {
                let (outputs, inputs) = x.dims2()?;
                x.reshape((outputs, width, inputs / width))?.transpose(1, 2)?.contiguous()
            }
            Layout::Conv2d { channels, patch: [height, width] } => {
                x.reshape((x.dim(0)?, height, width, channels))?.permute((0, 3, 1, 2))?.contiguous()
            }
            Layout::FirstHalf => Tensor::cat(&[x, &x.zeros_like()?], 1),
            Layout::Grid(_) => x.unsqueeze(0),
            Layout::Boxed { dims } => {
                let (n, d) = x.dims2()?;
                x.reshape([vec![1; dims - 2], vec![n, d]].concat())
            }
        }
    }

    /// The rows that are read; `None` for all.
    pub(super) fn rows_read(self) -> Option<Range<usize>> {
        match self {
            Layout::FirstRow => Some(0..1),
            Layout::Rows { from, n, .. } => Some(from..from + n),
            _ => None,
        }
    }

    /// The published shape of a parameter with shape `ours`.
    pub(super) fn theirs_of(self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Layout::Transposed, [outputs, inputs]) => vec![*inputs, *outputs],
            (Layout::Conv1d { width }, [outputs, inputs]) => vec![*outputs, inputs / width, width],
            (Layout::Conv2d { channels, patch: [height, width] }, [outputs, _]) => {
                vec![*outputs, channels, height, width]
            }
            (Layout::Boxed { dims }, [n, d]) => [vec![1; dims - 2], vec![*n, *d]].concat(),
            (Layout::Grid(grid), [_, d]) => vec![1, grid.before + grid.from.iter().product::<usize>(), *d],
            (Layout::Rows { of, .. }, [_, d]) => vec![of, *d],
            (Layout::FirstHalf, [n, d]) => vec![*n, 2 * d],
            (Layout::FlatGrid(grid), [_, d]) => vec![grid.before + grid.from.iter().product::<usize>(), *d],
            (Layout::Vector, [_, d]) => vec![*d],
            _ => ours.to_vec(),
        }
    }
}

/// Rows `[outer, inner, n]` as `[inner, outer, n]`.
fn swapped(x: &Tensor, outer: usize, inner: usize) -> Result<Tensor> {
    let rest = x.elem_count() / (outer * inner).max(1);
    x.reshape((outer, inner, rest))?.transpose(0, 1)?.contiguous()?.reshape(x.dims())
}
