//! Slices, drawn on the spectrogram that they are cut from.

use super::axis::{number, round_step, seconds_step, with_room};
use super::colour::{self, Colour};
use super::first_of;
use super::font;
use super::scene::{Align, MARGIN, Raster, SMALL, Scene};
use crate::modalities::audio::{AudioConfig, AudioTokenizer};
use smalti_contract::{AnyTokenizer, Tokenizer, Tokens};

/// Largest width of a drawn spectrogram, and largest side of its cells, in pixels.
const WIDEST: usize = 1400;
const CELL: usize = 8;
/// Approximate height of a spectrogram, in pixels.
const HEIGHT: usize = 400;
/// Least distance of grid lines, in pixels.
const CLOSEST: f32 = 4.0;
/// Width of the numbers of bands, and of the colour scale.
const BANDS: f32 = 44.0;
const SCALE: f32 = 12.0;
/// Height of a row of slices below the spectrogram.
const ROW: f32 = 14.0;

/// A spectrogram cut into slices that may overlap.
struct Sliced<'a> {
    /// `[slices, frames, bands]`.
    values: &'a [f32],
    slices: usize,
    frames: usize,
    bands: usize,
    /// Frames from the start of one slice to the start of the next.
    hop: usize,
    /// Seconds from one frame to the next.
    seconds: f32,
}

/// The figure of an audio tokenizer's tokens; `None` for another tokenizer.
pub(super) fn of(tokenizer: &dyn AnyTokenizer, tokens: &Tokens) -> Option<Scene> {
    if tokenizer.name() != AudioTokenizer::NAME {
        return None;
    }
    let config: AudioConfig = serde_json::from_value(tokenizer.config_json().ok()?).ok()?;
    if config.bands_per_slice.is_some() {
        return None;
    }
    let values = tokens.groups.first()?.content.features()?;
    let (frames, bands) = (config.frames_per_slice, config.mel.n_mels);
    let sliced = Sliced {
        values,
        slices: values.len().checked_div(frames * bands)?,
        frames,
        bands,
        hop: config.slice_hop.unwrap_or(frames),
        seconds: config.mel.hop_length as f32 / config.sampling_rate as f32,
    };
    (sliced.slices > 0).then(|| sliced.draw())
}

impl Sliced<'_> {
    /// The number of frames of the first `slices`.
    fn reach(&self, slices: usize) -> usize {
        slices.saturating_sub(1) * self.hop + self.frames
    }

    /// The value of a band of a frame, from the last slice that begins at or before the frame.
    fn value(&self, frame: usize, band: usize, slices: usize) -> f32 {
        let slice = (frame / self.hop).min(slices - 1);
        self.values[(slice * self.frames + frame - slice * self.hop) * self.bands + band]
    }

    fn draw(&self) -> Scene {
        // The slices of a long clip that fit.
        let fits = WIDEST.saturating_sub(self.frames) / self.hop + 1;
        let slices = self.slices.min(fits);
        let frames = self.reach(slices);
        let each = (WIDEST / frames).clamp(1, CELL) as f32;
        let band = (HEIGHT / self.bands).clamp(1, CELL) as f32;
        let size = [frames as f32 * each, self.bands as f32 * band];
        let mut scene = Scene::new();
        let shape = format!("{} frames of {} bands", self.frames, self.bands);
        let top = scene.title(&format!("{} of {shape}", first_of(slices, self.slices, "slice")));
        let at = [MARGIN + BANDS, top];

        let range = colour::range(self.values.iter().copied());
        scene.pixels(self.raster(frames, slices, range), at, size);
        self.grid(slices, each, at, size[1], &mut scene);
        self.bands(band, at, &mut scene);
        scale(range, [at[0] + size[0] + 14.0, top], size[1], &mut scene);
        let below = self.extents(slices, each, [at[0], top + size[1] + 4.0], &mut scene);
        self.time_axis(size[0], each, [at[0], below], &mut scene);
        scene
    }

    /// A column for each frame, the lowest band at the bottom.
    fn raster(&self, frames: usize, slices: usize, range: [f32; 2]) -> Raster {
        let cells = (0..self.bands).rev().flat_map(|band| (0..frames).map(move |frame| (frame, band)));
        let rgb = cells.flat_map(|(frame, band)| {
            colour::of_share(colour::share(self.value(frame, band, slices), range))
        });
        Raster { width: frames, height: self.bands, rgb: rgb.collect() }
    }

    /// A vertical line at the start of each slice, and one at the end of the last.
    fn grid(&self, slices: usize, each: f32, at: [f32; 2], height: f32, scene: &mut Scene) {
        let every = round_step(CLOSEST / (each * self.hop as f32));
        // Close lines are thin, so that the spectrogram stays visible.
        let alpha = if each * self.hop as f32 >= 2.0 * CLOSEST { 110 } else { 50 };
        let begins = (0..slices).step_by(every).map(|slice| slice * self.hop);
        for frame in begins.chain([self.reach(slices)]) {
            let x = at[0] + frame as f32 * each;
            scene.rect([x, at[1]], [1.0, height], Colour::WHITE.alpha(alpha));
        }
    }

    fn bands(&self, each: f32, at: [f32; 2], scene: &mut Scene) {
        for band in with_room(self.bands, each, 40.0) {
            let y = at[1] + (self.bands as f32 - band as f32 - 0.5) * each;
            scene.rect([at[0] - 4.0, y.floor()], [4.0, 1.0], Colour::EDGE);
            scene.text(band.to_string(), [at[0] - 7.0, y], SMALL, Align::End, Colour::GREY);
        }
        scene.text("band", [MARGIN, at[1] + 5.0], SMALL, Align::Start, Colour::GREY);
    }

    /// The extents of the slices with their numbers, in one row for each overlapping slice. Gives the height below them.
    fn extents(&self, slices: usize, each: f32, at: [f32; 2], scene: &mut Scene) -> f32 {
        let rows = self.frames.div_ceil(self.hop);
        let width = self.frames as f32 * each;
        let hop = self.hop as f32 * each;
        let digits = font::width(&slices.to_string(), SMALL) + 4.0;
        // With many rows, or slices too narrow for a box, only the numbers are drawn.
        let boxes = rows <= 4 && width >= CLOSEST;
        let numbered = round_step(digits / (hop * rows as f32).max(hop));
        for slice in 0..slices {
            let row = if boxes { slice % rows } else { 0 };
            let left = at[0] + slice as f32 * hop;
            let y = at[1] + row as f32 * ROW;
            if boxes {
                let fill = colour::of_neighbour(slice / rows + row);
                scene.framed([left, y], [width, ROW - 2.0], Colour::EDGE, fill);
            }
            // In the box if the number fits, else every few slices, from the left edge of the slice.
            let fits = boxes && width >= digits;
            if fits || slice % (numbered * rows) == 0 {
                let (x, align) =
                    if fits { (left + width / 2.0, Align::Middle) } else { (left, Align::Start) };
                let middle =
                    if fits { y + (ROW - 2.0) / 2.0 } else { at[1] + rows.min(4) as f32 * ROW + 5.0 };
                scene.text(slice.to_string(), [x, middle], SMALL, align, Colour::INK);
            }
        }
        let label = [MARGIN, at[1] + (ROW - 2.0) / 2.0];
        scene.text("slice", label, SMALL, Align::Start, Colour::GREY);
        at[1] + rows.min(4) as f32 * ROW + if width >= digits && boxes { 4.0 } else { 16.0 }
    }

    fn time_axis(&self, width: f32, each: f32, at: [f32; 2], scene: &mut Scene) {
        let per_second = each / self.seconds;
        let step = seconds_step(per_second, 60.0);
        let milliseconds = (step * 1000.0).round() as u32;
        let middle = at[1] + 11.0;
        scene.rect(at, [width, 1.0], Colour::EDGE);
        for i in (0..).take_while(|i| *i as f32 * step * per_second <= width) {
            let (x, tick) = (at[0] + i as f32 * step * per_second, f64::from(i * milliseconds) / 1000.0);
            scene.rect([x.floor(), at[1]], [1.0, 4.0], Colour::GREY);
            scene.text(format!("{tick} s"), [x, middle], SMALL, Align::Middle, Colour::GREY);
        }
        scene.text("time", [MARGIN, middle], SMALL, Align::Start, Colour::GREY);
        scene.reach([at[0] + width, middle + SMALL / 2.0]);
    }
}

/// The colours of values, the largest at the top.
fn scale(range: [f32; 2], at: [f32; 2], height: f32, scene: &mut Scene) {
    let rgb = (0..256).rev().flat_map(|i| colour::of_share(i as f32 / 255.0)).collect();
    scene.pixels(Raster { width: 1, height: 256, rgb }, at, [SCALE, height]);
    for (value, y) in range.iter().zip([at[1] + height - 5.0, at[1] + 5.0]) {
        let (text, x) = (number(*value), at[0] + SCALE + 5.0);
        scene.reach([x + font::width(&text, SMALL), y]);
        scene.text(text, [x, y], SMALL, Align::Start, Colour::GREY);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, texts, vertical_lines};
    use super::*;
    use crate::modalities::audio::Waveform;
    use crate::modalities::text::{TextTokenizer, fit};
    use crate::report::figure::Format;

    fn clip(seconds: f32, hop: Option<usize>) -> Scene {
        let config = AudioConfig { slice_hop: hop, max_slices: 1 << 16, ..AudioConfig::default() };
        let tokenizer = AudioTokenizer::new(config).unwrap();
        let tokens = tokenizer.encode(&Waveform::silence(16_000, seconds)).unwrap();
        of(&tokenizer, &tokens).unwrap()
    }

    #[test]
    fn grid_lines_are_at_the_starts_of_slices() {
        let scene = clip(1.0, None); // 100 frames, 25 slices
        let texts = texts(&scene);
        assert_eq!(texts[0], "25 slices of 4 frames of 80 bands");
        for text in ["0 s", "0.5 s", "0", "24", "band", "slice"] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        let lines = vertical_lines(&scene, 1.0);
        let expected: Vec<f32> = (0..=25).map(|slice| lines[0] + (slice * 4 * CELL) as f32).collect();
        assert_eq!(lines[..26], expected);
    }

    #[test]
    fn overlapping_slices_have_lines_one_hop_apart() {
        let scene = clip(0.2, Some(2)); // 20 frames, 10 slices, the last reaching 2 frames beyond
        assert_eq!(texts(&scene)[0], "10 slices of 4 frames of 80 bands");
        let lines = vertical_lines(&scene, 1.0);
        assert_eq!(lines[1] - lines[0], (2 * CELL) as f32);
        assert_eq!(lines[10] - lines[9], (4 * CELL) as f32);
    }

    #[test]
    fn frames_are_columns_and_low_bands_are_below() {
        let values: Vec<f32> = (0..4 * 2).map(|i| i as f32).collect(); // 2 slices of 2 frames of 2 bands
        let sliced = Sliced { values: &values, slices: 2, frames: 2, bands: 2, hop: 2, seconds: 0.01 };
        let raster = sliced.raster(4, 2, [0.0, 7.0]);
        let at = |x: usize, y: usize| &raster.rgb[(y * 4 + x) * 3..][..3];
        assert_eq!(at(0, 1), colour::of_share(0.0), "frame 0, band 0");
        assert_eq!(at(0, 0), colour::of_share(1.0 / 7.0), "frame 0, band 1");
        assert_eq!(at(3, 0), colour::of_share(1.0), "frame 3, band 1");
    }

    #[test]
    fn a_long_clip_is_shortened_and_the_title_says_so() {
        let scene = clip(60.0, None);
        assert_eq!(texts(&scene)[0], "the first 350 of 1,500 slices of 4 frames of 80 bands");
        let png = read(&scene.encode(Format::Png).unwrap());
        assert!(png.width < 1600 && png.height < 700, "{}×{}", png.width, png.height);
    }

    #[test]
    fn other_tokenizers_have_no_spectrogram() {
        let config = fit::characters(["abc"], vec![], 8).unwrap();
        let text = TextTokenizer::new(config).unwrap();
        let tokens = text.encode(&"cab".to_string()).unwrap();
        assert!(of(&text, &tokens).is_none());
    }
}
