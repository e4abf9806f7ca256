//! Brightness, contrast, saturation, hue, and other changes of colour.

use super::within;
use crate::image::Image;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Random changes of colour in random order (Krizhevsky et al. 2012): the `ColorJitter` of torchvision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Jitter {
    /// Multiply brightness by a factor from 1 minus to 1 plus this.
    pub brightness: f32,
    /// Multiply contrast, the distance from the mean grey, by a factor from 1 minus to 1 plus this.
    pub contrast: f32,
    /// Multiply saturation, the distance from grey, by a factor from 1 minus to 1 plus this. Grey images stay the same.
    pub saturation: f32,
    /// Rotate hue by up to this share of the colour circle either way. Grey images stay the same.
    pub hue: f32,
}

impl Jitter {
    pub(super) fn check(self) -> Result<(), String> {
        let strengths =
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)];
        for (name, value) in strengths {
            within(&format!("jitter.{name}"), value, 0.0..=1.0)?;
        }
        within("jitter.hue", self.hue, 0.0..=0.5)
    }

    pub(super) fn apply(self, image: &mut Image, random: &mut impl Rng) {
        let mut order = [0, 1, 2, 3];
        (1..order.len()).for_each(|i| order.swap(i, random.random_range(0..=i)));
        let mut about = |centre: f32, by: f32| centre + by * random.random_range(-1.0..=1.0_f32);
        let brightness = about(1.0, self.brightness);
        let contrast = about(1.0, self.contrast);
        let saturation = about(1.0, self.saturation);
        let hue = about(0.0, self.hue);
        for change in order {
            match change {
                0 if self.brightness > 0.0 => adjust_brightness(image, brightness),
                1 if self.contrast > 0.0 => adjust_contrast(image, contrast),
                2 if self.saturation > 0.0 => adjust_saturation(image, saturation),
                3 if self.hue > 0.0 => rotate_hue(image, hue),
                _ => {}
            }
        }
    }
}

/// `from + factor * (value - from)`; a factor above 1 moves the value away from `from`.
fn away(value: u8, from: f32, factor: f32) -> u8 {
    (from + factor * (f32::from(value) - from)).round() as u8
}

/// Map each value of each pixel through a table.
pub(super) fn map(image: &mut Image, of: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|value| of(value as u8));
    image.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

pub(super) fn adjust_brightness(image: &mut Image, factor: f32) {
    map(image, |value| away(value, 0.0, factor));
}

pub(super) fn adjust_contrast(image: &mut Image, factor: f32) {
    let grey = image.to_channels(1);
    let total: u64 = grey.pixels.iter().map(|&value| u64::from(value)).sum();
    let mean = (total as f64 / grey.pixels.len() as f64).round() as f32;
    map(image, |value| away(value, mean, factor));
}

pub(super) fn adjust_saturation(image: &mut Image, factor: f32) {
    if image.channels == 1 {
        return;
    }
    let grey = image.to_channels(1).into_owned();
    for (pixel, &grey) in image.pixels.chunks_exact_mut(3).zip(&grey.pixels) {
        pixel.iter_mut().for_each(|value| *value = away(*value, f32::from(grey), factor));
    }
}

/// Rotate every hue by a share of the colour circle, in the hue, saturation and value of A. R. Smith (1978).
fn rotate_hue(image: &mut Image, by: f32) {
    if image.channels == 1 {
        return;
    }
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        let [r, g, b] = pixel.map(f32::from);
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let chroma = most - least;
        if chroma == 0.0 {
            continue;
        }
        let sixth = if most == r {
            (g - b) / chroma
        } else if most == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        };
        let hue = (sixth + 6.0 * by).rem_euclid(6.0);
        // How far each channel falls below the highest: a trapezium over the circle, shifted by thirds.
        let channel = |shift: f32| {
            let k = (shift + hue).rem_euclid(6.0);
            (most - chroma * k.min(4.0 - k).clamp(0.0, 1.0)).round() as u8
        };
        *pixel = [channel(5.0), channel(3.0), channel(1.0)];
    }
}

/// Keep the upper `bits` of each value; the others become 0.
pub(super) fn posterize(image: &mut Image, bits: u32) {
    let mask = (0xff00_u16 >> bits.min(8)) as u8;
    map(image, |value| value & mask);
}

/// Invert values from the threshold on.
pub(super) fn solarize(image: &mut Image, threshold: f32) {
    map(image, |value| if f32::from(value) >= threshold { 255 - value } else { value });
}

/// Map each channel through its own table, computed from the channel's histogram.
fn map_channels(image: &mut Image, table: impl Fn(&[usize; 256]) -> [u8; 256]) {
    let channels = image.channels;
    let mut counts = vec![[0; 256]; channels];
    for pixel in image.pixels.chunks_exact(channels) {
        pixel.iter().zip(&mut counts).for_each(|(&value, counts)| counts[usize::from(value)] += 1);
    }
    let tables: Vec<[u8; 256]> = counts.iter().map(table).collect();
    for pixel in image.pixels.chunks_exact_mut(channels) {
        pixel.iter_mut().zip(&tables).for_each(|(value, table)| *value = table[usize::from(*value)]);
    }
}

/// Stretch each channel linearly, so that its darkest value becomes 0 and its brightest 255.
pub(super) fn auto_contrast(image: &mut Image) {
    map_channels(image, |counts| {
        let least = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let most = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        std::array::from_fn(|value| match most > least {
            true => ((value.clamp(least, most) - least) as f32 * 255.0 / (most - least) as f32).round() as u8,
            false => value as u8,
        })
    });
}

/// Equalize each channel's histogram: `ImageOps.equalize` of Pillow.
pub(super) fn equalize(image: &mut Image) {
    map_channels(image, |counts| {
        let total: usize = counts.iter().sum();
        let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        let mut before = step / 2;
        std::array::from_fn(|value| {
            if step == 0 {
                return value as u8;
            }
            let to = (before / step).min(255) as u8;
            before += counts[value];
            to
        })
    });
}

/// Move each value away from a blurred image (the mean of 3×3, the centre counting five times):
/// `ImageEnhance.Sharpness` of Pillow.
pub(super) fn sharpen(image: &mut Image, factor: f32) {
    let &mut Image { width, height, channels, .. } = image;
    if width < 3 || height < 3 {
        return;
    }
    let (line, old) = (width * channels, image.pixels.clone());
    for y in 1..height - 1 {
        for i in channels..line - channels {
            let at = y * line + i;
            let around = [at - line, at, at + line].into_iter();
            let sum: u32 =
                around.flat_map(|at| [at - channels, at, at + channels]).map(|at| u32::from(old[at])).sum();
            let blurred = ((sum + 4 * u32::from(old[at])) as f32 / 13.0).round();
            image.pixels[at] = away(old[at], blurred, factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, generator};
    use super::*;

    fn colours() -> Image {
        Image::new(2, 2, 3, vec![255, 0, 0, 10, 200, 90, 7, 7, 7, 0, 0, 255]).unwrap()
    }

    fn after(change: impl Fn(&mut Image)) -> Vec<u8> {
        let mut image = colours();
        change(&mut image);
        image.pixels
    }

    #[test]
    fn a_factor_of_one_and_a_rotation_of_zero_change_nothing() {
        assert_eq!(after(|image| adjust_brightness(image, 1.0)), colours().pixels);
        assert_eq!(after(|image| adjust_contrast(image, 1.0)), colours().pixels);
        assert_eq!(after(|image| adjust_saturation(image, 1.0)), colours().pixels);
        assert_eq!(after(|image| rotate_hue(image, 0.0)), colours().pixels);
        assert_eq!(after(|image| rotate_hue(image, 1.0)), colours().pixels);
        assert_eq!(after(|image| posterize(image, 8)), colours().pixels);
        assert_eq!(after(|image| solarize(image, 256.0)), colours().pixels);
        assert_eq!(after(|image| sharpen(image, 2.0)), colours().pixels, "too small");
    }

    #[test]
    fn a_factor_of_zero_gives_black_the_mean_or_grey() {
        assert_eq!(after(|image| adjust_brightness(image, 0.0)), [0; 12]);
        // Grey of the four: 76, 131, 7 and 29; their mean is 60.75.
        assert_eq!(after(|image| adjust_contrast(image, 0.0)), [61; 12]);
        assert_eq!(
            after(|image| adjust_saturation(image, 0.0)),
            [76, 76, 76, 131, 131, 131, 7, 7, 7, 29, 29, 29]
        );
    }

    #[test]
    fn a_rotation_by_a_third_of_the_circle_makes_red_green() {
        let rotated = after(|image| rotate_hue(image, 1.0 / 3.0));
        assert_eq!(rotated, [0, 255, 0, 90, 10, 200, 7, 7, 7, 255, 0, 0]);
    }

    #[test]
    fn values_are_posterized_inverted_stretched_and_equalized() {
        assert_eq!(after(|image| posterize(image, 1)), [128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 128]);
        assert_eq!(after(|image| solarize(image, 128.0)), [0, 0, 0, 10, 55, 90, 7, 7, 7, 0, 0, 0]);
        let mut grey = Image::new(4, 1, 1, vec![50, 100, 100, 150]).unwrap();
        auto_contrast(&mut grey);
        assert_eq!(grey.pixels, [0, 128, 128, 255]);
        let mut flat = Image::new(2, 1, 1, vec![9, 9]).unwrap();
        auto_contrast(&mut flat);
        equalize(&mut flat);
        assert_eq!(flat.pixels, [9, 9]);
    }

    #[test]
    fn equalize_matches_pillow() {
        // ImageOps.equalize of 0 to 63 over 1024 pixels: step (1024 - 16) // 255 = 3, look-up (3 // 2 + 16 value) // 3.
        let mut image = Image::new(64, 16, 1, (0..64).collect::<Vec<u8>>().repeat(16)).unwrap();
        equalize(&mut image);
        let expected: Vec<u8> = (0..64).map(|value| ((1 + 16 * value) / 3).min(255) as u8).collect();
        assert_eq!(image.pixels[..64], expected);
    }

    #[test]
    fn sharpening_moves_values_away_from_the_blurred_ones() {
        let mut image = Image::new(3, 3, 1, vec![0, 0, 0, 0, 130, 0, 0, 0, 0]).unwrap();
        sharpen(&mut image, 0.0);
        assert_eq!(image.pixels[4], 50, "130 · 5 / 13");
        let mut image = Image::new(3, 3, 1, vec![100, 100, 100, 100, 113, 100, 100, 100, 100]).unwrap();
        sharpen(&mut image, 2.0);
        assert_eq!(image.pixels[4], 121, "twice as far from 105");
    }

    #[test]
    fn settings_of_zero_change_nothing() {
        for seed in 0..50 {
            let vary = |jitter: Jitter| {
                let mut image = colours();
                jitter.apply(&mut image, &mut generator(seed, Purpose::Jitter));
                image.pixels
            };
            assert_eq!(vary(Jitter::default()), colours().pixels);
            let varied = vary(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 });
            assert_ne!(varied, colours().pixels);
            assert_eq!(varied, vary(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }));
        }
    }
}
