//! IDX, the file format of MNIST: many images, or their labels, in one file.
//!
//! A file is `00 00 08` (unsigned bytes), the number of axes, the size of each axis as a big-endian `u32`, and the
//! bytes. MNIST is published gzip-compressed; these functions take the decompressed bytes.

use crate::image::Image;
use smalti_contract::{RawInputs, TokenizeError};

const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Whether the bytes begin with the header of an IDX file of images.
pub fn is_images(bytes: &[u8]) -> bool {
    bytes.starts_with(&IMAGES)
}

/// Read the grey images of an IDX file with axes `[n, height, width]`.
///
/// The iterator gives a single [`TokenizeError::Format`] if the header is another one, does not match the file's
/// length, or has a side of 0.
pub fn images(bytes: &[u8]) -> RawInputs<'_, Image> {
    let sized = axes(bytes, IMAGES).and_then(|([_, height, width], pixels)| {
        if height == 0 || width == 0 {
            return Err(unreadable(format!(
                "images of {height}×{width} pixels; both sides must be at least 1"
            )));
        }
        Ok((height as usize, width as usize, pixels))
    });
    match sized {
        Ok((height, width, pixels)) => Box::new(
            pixels.chunks_exact(height * width).map(move |one| Image::new(width, height, 1, one.to_vec())),
        ),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// Read the labels of an IDX file with one axis.
///
/// # Errors
/// [`TokenizeError::Format`] if the header is another one or does not match the file's length.
pub fn labels(bytes: &[u8]) -> Result<Vec<u8>, TokenizeError> {
    axes::<1>(bytes, LABELS).map(|(_, labels)| labels.to_vec())
}

/// The sizes of the axes, and the bytes after the header, whose number is the product of the sizes.
fn axes<const N: usize>(bytes: &[u8], magic: [u8; 4]) -> Result<([u32; N], &[u8]), TokenizeError> {
    let cut = || unreadable(format!("{} bytes; the header alone has {}", bytes.len(), 4 + 4 * N));
    let (found, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    if *found != magic {
        return Err(unreadable(format!("begins with {found:02x?}; expected {magic:02x?}")));
    }
    let (header, rest) = rest.split_at_checked(4 * N).ok_or_else(cut)?;
    let mut sizes = [0; N];
    for (size, field) in sizes.iter_mut().zip(header.as_chunks::<4>().0) {
        *size = u32::from_be_bytes(*field);
    }
    // At most 96 bits.
    let expected: u128 = sizes.iter().map(|&size| u128::from(size)).product();
    if expected != rest.len() as u128 {
        let sizes = sizes.map(|size| size.to_string()).join("×");
        return Err(unreadable(format!(
            "the header has {sizes} = {expected} bytes; {} follow it",
            rest.len()
        )));
    }
    Ok((sizes, rest))
}

fn unreadable(problem: String) -> TokenizeError {
    TokenizeError::Format { format: "IDX", problem }
}
