//! Container formats: tags, the beginning of an MP3, the end of an Ogg stream, the edit list of an M4A.

use crate::Waveform;
use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// The maximal number of bytes before the first frame of an MP3.
const MOST_JUNK: usize = 1 << 16;

/// A file without the ID3 tags before and after its sound.
pub(crate) fn without_tags(bytes: &[u8]) -> &[u8] {
    let mut sound = bytes;
    // A version 2 tag: its name, version and flags, and its size in four times seven bits.
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, rest @ ..] = sound {
        let size = [a, b, c, d].into_iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        sound = rest.get(size + footer..).unwrap_or_default();
    }
    // A version 1 tag is the last 128 bytes.
    match sound.len().checked_sub(128) {
        Some(end) if sound[end..].starts_with(b"TAG") => &sound[..end],
        _ => sound,
    }
}

/// The MP3 stream after bytes of no meaning: padding, the rest of a tag whose size is wrong, the rest of a cut frame. It
/// begins with two frames of one kind; a single header may be a coincidence.
pub(crate) fn mp3_after_junk(bytes: &[u8]) -> Option<&[u8]> {
    (1..bytes.len().min(MOST_JUNK)).map(|at| &bytes[at..]).find(|sound| {
        let frame = mp3_frame(sound);
        let next = frame.and_then(|(size, _)| mp3_frame(sound.get(size..)?));
        next.is_some_and(|(_, kind)| frame.is_some_and(|(_, first)| first == kind))
    })
}

/// The size in bytes of the layer III frame at the beginning, and the part of its header that all frames share: version
/// and sampling rate.
fn mp3_frame(bytes: &[u8]) -> Option<(usize, [u8; 2])> {
    // In kbit/s: of MPEG 1, then of MPEG 2 and 2.5. The first and the last of 16 codes are not in use.
    const RATES: [[usize; 14]; 2] = [
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let &[0xff, second, third, _, ..] = bytes else { return None };
    // Eleven bits of sync, two of version, layer III.
    let halved = match second & 0xfe | 1 {
        0xfb => 0, // MPEG 1
        0xf3 => 1, // MPEG 2
        0xe3 => 2, // MPEG 2.5
        _ => return None,
    };
    let rate = RATES[halved.min(1)].get(usize::from(third >> 4).checked_sub(1)?)?;
    let sampling_rate = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))? >> halved;
    let samples = if halved == 0 { 1152 } else { 576 };
    let padding = usize::from(third >> 1 & 1);
    Some((samples / 8 * rate * 1000 / sampling_rate + padding, [second & 0xfe, third >> 2 & 3]))
}

/// Check that an Ogg stream is complete; returns whether its last page is marked as the last.
///
/// The mark is missing if a recording was stopped, or a stream was cut between two pages: what is there is read, as by
/// ffmpeg, if each page and the last packet are whole. Opus, which is not supported, gets its own message.
pub(crate) fn check_ogg(bytes: &[u8]) -> Result<bool, String> {
    if bytes.windows(8).take(64).any(|name| name == b"OpusHead") {
        return Err("it is encoded as Opus; only Vorbis and FLAC are supported".into());
    }
    // A page begins with its name, version 0 and three flags.
    let begins = |page: &[u8]| matches!(page, [b'O', b'g', b'g', b'S', 0, ..=7, ..]);
    let last = bytes.windows(6).rposition(begins).ok_or("it has no complete page")?;
    let (page, segments) =
        ogg_page(&bytes[last..]).ok_or("the file is truncated: its last page is incomplete")?;
    if page[5] & 4 != 0 {
        return Ok(true);
    }
    if segments.last() == Some(&255) {
        return Err("the file is truncated: its last packet is incomplete".into());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let page = ogg_page(rest).map(|(page, _)| page).filter(|page| begins(page) && is_intact(page));
        let page = page.ok_or_else(|| format!("its page at byte {} is corrupt", bytes.len() - rest.len()))?;
        rest = &rest[page.len()..];
    }
    Ok(false)
}

/// The complete page at the beginning, and the sizes of its segments; a packet ends with one of less than 255 bytes.
fn ogg_page(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // After 26 bytes of header: the number of segments, the size of each, the segments.
    let sizes = bytes.get(27..27 + usize::from(*bytes.get(26)?))?;
    let size = 27 + sizes.len() + sizes.iter().map(|&size| usize::from(size)).sum::<usize>();
    Some((bytes.get(..size)?, sizes))
}

/// Whether a page has its checksum, which is computed with zeros in its own place.
fn is_intact(page: &[u8]) -> bool {
    let mut checksum = Crc32::new(0);
    [&page[..22], &[0; 4], &page[26..]].into_iter().for_each(|part| checksum.process_buf_bytes(part));
    page[22..26] == checksum.crc().to_le_bytes()
}

/// Check that an M4A has its table of contents, which usually comes last.
pub(crate) fn check_mp4(bytes: &[u8]) -> Result<(), String> {
    let problem = "the file is truncated: its table of contents, the box moov, is missing or incomplete";
    find(bytes, &[b"moov"]).map(drop).ok_or(problem.into())
}

/// The complete boxes of an MP4 file or of a box: names and contents.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (header, after) = bytes.split_first_chunk::<8>()?;
        let (size, name) = header.split_first_chunk::<4>()?;
        let (content, rest) = match u32::from_be_bytes(*size) {
            0 => (after, &[][..]), // up to the end
            1 => {
                let (size, after) = after.split_first_chunk::<8>()?;
                after.split_at_checked(usize::try_from(u64::from_be_bytes(*size)).ok()?.checked_sub(16)?)?
            }
            size => after.split_at_checked((size as usize).checked_sub(8)?)?,
        };
        let name = &bytes[4..4 + name.len()];
        bytes = rest;
        Some((name, content))
    })
}

fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter()
        .try_fold(bytes, |bytes, name| boxes(bytes).find(|(n, _)| n == *name).map(|(_, content)| content))
}

/// A big-endian number of four or eight bytes.
fn number(bytes: &[u8], at: usize, long: bool) -> Option<u64> {
    match long {
        false => bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b).into()),
        true => bytes.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b)),
    }
}

/// Cut from a clip the samples that the edit list of track `id` excludes: an AAC encoder's delay, and the padding of
/// its last block. Files without an edit list keep both.
pub(crate) fn edit_mp4(bytes: &[u8], id: u32, clip: &mut Waveform) {
    let Some((start, length)) = edit(bytes, id) else { return };
    let samples = |seconds: f64| (seconds * f64::from(clip.sampling_rate)).round() as usize;
    let (start, length) = (samples(start), samples(length));
    clip.samples.drain(..start.min(clip.samples.len()));
    if length > 0 {
        clip.samples.truncate(length);
    }
}

/// The start and length, in seconds, of the first edit of track `id` that is not empty; a length of 0 is the rest of
/// the clip.
fn edit(bytes: &[u8], id: u32) -> Option<(f64, f64)> {
    let moov = find(bytes, &[b"moov"])?;
    // Headers have a version, flags, and two dates before the time scale; in version 1, times have eight bytes.
    let scale = |header: &[u8]| number(header, if header.first() == Some(&1) { 20 } else { 12 }, false);
    let movie_scale = scale(find(moov, &[b"mvhd"])?)?;
    let of_track = |trak: &&[u8]| {
        let header = find(trak, &[b"tkhd"])?;
        number(header, if header.first() == Some(&1) { 20 } else { 12 }, false)
    };
    let mut traks = boxes(moov).filter(|(name, _)| name == b"trak").map(|(_, content)| content);
    let trak = traks.find(|trak| of_track(trak) == Some(id.into()))?;
    let media_scale = scale(find(trak, &[b"mdia", b"mdhd"])?)?;
    let list = find(trak, &[b"edts", b"elst"])?;
    let long = list.first() == Some(&1);
    let width = if long { 8 } else { 4 };
    // Each entry: its length on the movie's clock, its start on the media's (all ones: an empty edit), its rate.
    let entries = (0..number(list, 4, false)?).map_while(|i| {
        let at = 8 + usize::try_from(i).ok()? * (2 * width + 4);
        Some((number(list, at, long)?, number(list, at + width, long)?))
    });
    let nowhere = if long { u64::MAX } else { u32::MAX.into() };
    let (length, start) = entries.into_iter().find(|(_, start)| *start != nowhere)?;
    let seconds = |time: u64, scale: u64| (scale > 0).then(|| time as f64 / scale as f64);
    Some((seconds(start, media_scale)?, seconds(length, movie_scale)?))
}
