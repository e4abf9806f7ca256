//! Pages of Ogg files, written independently of the crate.

/// The checksum, bit by bit: a CRC with the polynomial 0x04c11db7.
fn checksum(page: &[u8]) -> u32 {
    let shift = |crc: u32| crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
    page.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| shift(crc)))
}

/// A page with these segments, of the stream and the time of another page.
pub fn page(other: &[u8], flags: u8, number: u32, sizes: &[u8], segments: &[u8]) -> Vec<u8> {
    let mut page = [&other[..26], &[sizes.len() as u8], sizes, segments].concat();
    page[5] = flags;
    page[18..22].copy_from_slice(&number.to_le_bytes());
    page[22..26].fill(0);
    let checksum = checksum(&page);
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// A file in which every whole page has its right checksum, so that damage reaches the decoder.
pub fn with_checksums(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for at in (0..file.len()).filter(|&at| file[at..].starts_with(b"OggS")).collect::<Vec<_>>() {
        let size = |page: &[u8]| {
            let sizes = page.get(27..27 + usize::from(*page.get(26)?))?;
            Some(27 + sizes.len() + sizes.iter().map(|&size| usize::from(size)).sum::<usize>())
        };
        if let Some(page) = size(&file[at..]).and_then(|size| file.get_mut(at..at + size)) {
            page[22..26].fill(0);
            let checksum = checksum(page);
            page[22..26].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    file
}

/// A file of which the third and last page has all packets of sound: its two pages of headers, and these packets in two
/// pages. The first ends at sample `granule`, the second has `flags`.
pub fn pages(file: &[u8], granule: u64, flags: u8) -> [Vec<u8>; 3] {
    let (headers, last) = file.split_at(file.windows(4).rposition(|name| name == b"OggS").unwrap());
    let sizes = &last[27..27 + usize::from(last[26])];
    let segments = &last[27 + sizes.len()..];
    assert_eq!(page(last, last[5], 2, sizes, segments), last, "the page is written as it is");
    let half = sizes.len() / 2;
    let (first, second) = segments.split_at(sizes[..half].iter().map(|&size| usize::from(size)).sum());
    let mut earlier = last.to_vec();
    earlier[6..14].copy_from_slice(&granule.to_le_bytes());
    let first = page(&earlier, 0, 2, &sizes[..half], first);
    [headers.to_vec(), first, page(last, flags, 3, &sizes[half..], second)]
}
