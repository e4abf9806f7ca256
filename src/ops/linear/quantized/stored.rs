//! Integers and scales row by row, as files have them.

use super::{BAND, GROUP, Integers, QuantizedType, QuantizedWeight, cpu};

impl QuantizedWeight {
    /// The bytes of the integers, row by row, and the scales of each row: one for int8, one for each 32 inputs for int4, which
    /// has whole groups of inputs then. A byte of int8 is an integer; bytes of int4 are those of a block in memory.
    pub(crate) fn to_rows(&self) -> (Vec<u8>, Vec<f32>) {
        let (groups, mut bytes, mut scales) = (self.groups(), vec![], vec![]);
        for row in 0..self.outputs {
            let (band, column) = (row / BAND, row % BAND);
            let of_row = band * groups..(band + 1) * groups;
            match &self.integers {
                Integers::Int8 { blocks, scales: of_bands } => {
                    scales.push(of_bands[band][column]);
                    let integers = blocks[of_row].iter().flat_map(|block| block[column]);
                    bytes.extend(integers.take(self.inputs).map(i8::cast_unsigned));
                }
                Integers::Int4(blocks) => {
                    scales.extend(blocks[of_row.clone()].iter().map(|block| block.scales[column]));
                    bytes.extend(blocks[of_row].iter().flat_map(|block| block.bytes[column]));
                }
            }
        }
        (bytes, scales)
    }

    /// Writes the values of rows of `inputs` integers, as [`to_rows`](Self::to_rows) returns them, in `f32`.
    pub(crate) fn values_of_rows(
        dtype: QuantizedType,
        inputs: usize,
        bytes: &[u8],
        scales: &[f32],
        values: &mut [f32],
    ) {
        match dtype {
            QuantizedType::Int8 => {
                let rows = values.chunks_exact_mut(inputs.max(1)).zip(bytes.chunks_exact(inputs.max(1)));
                for ((values, bytes), scale) in rows.zip(scales) {
                    for (value, byte) in values.iter_mut().zip(bytes) {
                        *value = f32::from(byte.cast_signed()) * scale;
                    }
                }
            }
            QuantizedType::Int4 => {
                let groups = values.as_chunks_mut::<GROUP>().0.iter_mut();
                for ((values, bytes), &scale) in groups.zip(bytes.as_chunks().0).zip(scales) {
                    *values = cpu::group(bytes, scale);
                }
            }
        }
    }
}
