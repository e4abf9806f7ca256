//! IDX, the file format of MNIST: many images, or their labels, in one file.
//!
//! A file is `00 00 08` (unsigned bytes), the number of axes, the size of each axis as a big-endian `u32`,
//! and the bytes. MNIST is published gzip-compressed; these functions take it unpacked.

use crate::image::Image;
use smalti_contract::{Records, TokenizeError};

const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Whether the bytes begin as an IDX file of images does.
pub fn is_images(bytes: &[u8]) -> bool {
    bytes.starts_with(&IMAGES)
}

/// The grey images in an IDX file of axes `[n, height, width]`.
///
/// The records are one [`TokenizeError::Format`] where the header is no such header, says another length than
/// the file has, or has a side of 0.
pub fn images(bytes: &[u8]) -> Records<'_, Image> {
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

/// The labels in an IDX file of one axis.
///
/// # Errors
/// [`TokenizeError::Format`] where the header is no such header or says another length than the file has.
pub fn labels(bytes: &[u8]) -> Result<Vec<u8>, TokenizeError> {
    axes::<1>(bytes, LABELS).map(|(_, labels)| labels.to_vec())
}

/// The sizes of the axes, and the bytes behind the header: as many as the sizes multiply to.
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
            "the header says {sizes} = {expected} bytes; {} follow it",
            rest.len()
        )));
    }
    Ok((sizes, rest))
}

fn unreadable(problem: String) -> TokenizeError {
    TokenizeError::Format { format: "IDX", problem }
}
