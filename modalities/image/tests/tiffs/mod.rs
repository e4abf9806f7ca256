//! TIFF files, written tag by tag.

use std::collections::BTreeMap;

pub const BITS_PER_SAMPLE: u16 = 258;
pub const COMPRESSION: u16 = 259;
pub const PHOTOMETRIC_INTERPRETATION: u16 = 262;
pub const SAMPLES_PER_PIXEL: u16 = 277;
pub const COLOR_MAP: u16 = 320;
pub const EXTRA_SAMPLES: u16 = 338;
pub const SAMPLE_FORMAT: u16 = 339;

/// A file in either byte order: an image of `[height, width]` in these strips, with these entries of 16-bit numbers.
/// Strips are as high as the image, one for each plane.
pub fn tiff(
    little_endian: bool,
    [height, width]: [u16; 2],
    entries: &[(u16, &[u16])],
    strips: &[&[u8]],
) -> Vec<u8> {
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let short = |number: u16| if little_endian { number.to_le_bytes() } else { number.to_be_bytes() };
    let long = |number: usize| {
        let number = number as u32;
        if little_endian { number.to_le_bytes() } else { number.to_be_bytes() }
    };
    let mut file = [if little_endian { b"II" } else { b"MM" }, &short(42)[..], &[0; 4]].concat();
    let (mut places, mut sizes) = (vec![], vec![]);
    for strip in strips {
        places.extend(long(file.len()));
        sizes.extend(long(strip.len()));
        file.extend(*strip);
    }
    let size: [(u16, &[u16]); 4] = [(256, &[width]), (257, &[height]), (COMPRESSION, &[1]), (278, &[height])];
    let shorts = |numbers: &[u16]| numbers.iter().flat_map(|number| short(*number)).collect::<Vec<u8>>();
    let shorts = size.iter().chain(entries).map(|(tag, it)| (*tag, (SHORT, it.len(), shorts(it))));
    let mut directory: BTreeMap<u16, _> = shorts.collect();
    directory.insert(273, (LONG, strips.len(), places));
    directory.insert(279, (LONG, strips.len(), sizes));

    let start = file.len();
    file[4..8].copy_from_slice(&long(start));
    file.extend(short(directory.len() as u16));
    let mut long_values: Vec<u8> = vec![];
    for (tag, (kind, count, value)) in &directory {
        file.extend([short(*tag), short(*kind)].as_flattened());
        file.extend(long(*count));
        if value.len() <= 4 {
            file.extend(value.iter().chain(&[0; 4]).take(4));
        } else {
            file.extend(long(start + 2 + 12 * directory.len() + 4 + long_values.len()));
            long_values.extend(value);
        }
    }
    file.extend(long(0));
    file.extend(long_values);
    file
}
