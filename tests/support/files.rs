//! Small files of every kind, valid and damaged, byte by byte.

use flate2::{Compression, write::ZlibEncoder};
use std::io::{Cursor, Write};
use zip::{ZipWriter, write::SimpleFileOptions};

/// A WAV file of `samples` zeros, with this codec's tag.
pub fn wav(sample_rate: u32, samples: usize, codec: u16, bits: u16) -> Vec<u8> {
    let frame = bits / 8;
    let data = vec![0; samples * usize::from(frame)];
    let size = data.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + size).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend([codec, 1].map(u16::to_le_bytes).as_flattened());
    file.extend([sample_rate, sample_rate * u32::from(frame)].map(u32::to_le_bytes).as_flattened());
    file.extend([frame, bits].map(u16::to_le_bytes).as_flattened());
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    file.extend(data);
    file
}

/// A grey PNG in two shades.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in 0..height {
        rows.write_all(&[0]).unwrap(); // no filter
        rows.write_all(&vec![if row % 2 == 0 { 40 } else { 200 }; width as usize]).unwrap();
    }
    let mut header = [width, height].map(u32::to_be_bytes).as_flattened().to_vec();
    header.extend([8, 0, 0, 0, 0]); // 8 bits, grey
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", rows.finish().unwrap()), (b"IEND", vec![])] {
        file.extend((data.len() as u32).to_be_bytes());
        let chunk = [&name[..], &data].concat();
        file.extend(&chunk);
        file.extend(crc32fast::hash(&chunk).to_be_bytes());
    }
    file
}

/// An IDX file: this magic number and these sizes, then `bytes` bytes.
pub fn idx(magic: u32, sizes: &[u32], bytes: usize) -> Vec<u8> {
    let header = [&[magic], sizes].concat().into_iter().flat_map(u32::to_be_bytes);
    header.chain((0..bytes).map(|i| (i % 2) as u8)).collect()
}

/// One array of an npz archive: name, element type, shape, bytes.
pub type Array = (&'static str, &'static str, String, Vec<u8>);

/// An npz archive.
pub fn npz(arrays: &[Array]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    for (name, element, shape, bytes) in arrays {
        let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}");
        let padded = format!("{header:<117}\n");
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(b"\x93NUMPY\x01\0").unwrap();
        archive.write_all(&(padded.len() as u16).to_le_bytes()).unwrap();
        archive.write_all(padded.as_bytes()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The steps of [`log`].
pub const STEPS: usize = 24;

/// The arrays of four episodes of six steps: states of 2 numbers, 2 actions, a reward of 1 a step.
pub fn log() -> Vec<Array> {
    let floats = |n: usize| (0..n).flat_map(|i| (i as f32 / 10.0).to_le_bytes()).collect::<Vec<u8>>();
    vec![
        ("obs", "<f4", format!("({STEPS}, 2)"), floats(2 * STEPS)),
        actions(|step| step % 2),
        ("rewards", "<f4", format!("({STEPS},)"), 1f32.to_le_bytes().repeat(STEPS)),
        ("episode_starts", "|b1", format!("({STEPS},)"), (0..STEPS).map(|i| u8::from(i % 6 == 0)).collect()),
    ]
}

/// A log of 40 episodes of four steps. The action is the lit half of an image of 4×4 pixels: left (0) or right (1).
#[allow(dead_code, reason = "not every test has images")]
pub fn image_log() -> Vec<u8> {
    let sides: Vec<u8> = (0..160_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 31) as u8).collect();
    let pixels =
        sides.iter().flat_map(|&side| (0..16).map(move |i| if i % 4 / 2 == side { 200 } else { 20 }));
    npz(&[
        ("obs.front", "|u1", "(160, 4, 4)".into(), pixels.collect()),
        ("actions", "|u1", "(160,)".into(), sides.clone()),
        ("rewards", "<f4", "(160,)".into(), 1f32.to_le_bytes().repeat(160)),
        ("episode_starts", "|b1", "(160,)".into(), (0..160).map(|i| u8::from(i % 4 == 0)).collect()),
    ])
}

/// The actions of a log.
pub fn actions(of: fn(i64) -> i64) -> Array {
    ("actions", "<i8", format!("({STEPS},)"), (0..STEPS as i64).flat_map(|i| of(i).to_le_bytes()).collect())
}

/// [`log`] with one array in place of the one of the same name.
pub fn log_with(array: Array) -> Vec<u8> {
    npz(&log().into_iter().map(|one| if one.0 == array.0 { array.clone() } else { one }).collect::<Vec<_>>())
}
