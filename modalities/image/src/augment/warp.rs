//! Random affine maps of an image.

use super::Augment;
use crate::image::Image;
use rand::{Rng, RngExt};

/// The map from a pixel of the new image to its source in the old one: `[x, y]` relative to the centre.
///
/// `source = [[xx, xy], [yx, yy]] · (target - shift)`
pub(super) struct Affine {
    pub(super) xx: f32,
    pub(super) xy: f32,
    pub(super) yx: f32,
    pub(super) yy: f32,
    pub(super) shift: [f32; 2],
}

impl Affine {
    /// The identity.
    pub(super) const IDENTITY: Self = Self { xx: 1.0, xy: 0.0, yx: 0.0, yy: 1.0, shift: [0.0; 2] };

    /// A clockwise rotation.
    pub(super) fn rotation(radians: f32) -> Self {
        let (sin, cos) = radians.sin_cos();
        Self { xx: cos, xy: sin, yx: -sin, yy: cos, ..Self::IDENTITY }
    }
}

/// Shift, rotate, scale and mirror an image at random within `augment`.
pub(super) fn vary(image: Image, augment: &Augment, random: &mut impl Rng) -> Image {
    let map = draw(augment, random);
    match (shifts_whole_pixels(augment), map.shift, map.xx < 0.0) {
        (true, [0.0, 0.0], false) => image,
        (true, shift, mirror) => slide(&image, shift.map(|by| by as isize), mirror),
        (false, ..) => warp(&image, &map),
    }
}

/// Whether every shift is by whole pixels, so that pixels are copied without interpolation.
fn shifts_whole_pixels(augment: &Augment) -> bool {
    augment.rotate == 0.0 && augment.scale == 0.0 && augment.shift.fract() == 0.0
}

/// Draw every number regardless of the settings, so that one setting does not change the draws of another.
fn draw(augment: &Augment, random: &mut impl Rng) -> Affine {
    let mut within = |most: f32| most * random.random_range(-1.0..=1.0_f32);
    let shift = [within(1.0), within(1.0)].map(|share| match shifts_whole_pixels(augment) {
        // All of -shift..=shift are equally likely.
        true => ((share + 1.0) * (augment.shift + 0.5)).floor().min(2.0 * augment.shift) - augment.shift,
        false => share * augment.shift,
    });
    let (sin, cos) = within(augment.rotate).to_radians().sin_cos();
    let scale = 1.0 + within(augment.scale);
    let mirror = if random.random::<bool>() && augment.flip { -1.0 } else { 1.0 };
    Affine { xx: mirror * cos / scale, xy: mirror * sin / scale, yx: -sin / scale, yy: cos / scale, shift }
}

/// Shift an image by whole pixels, mirrored or not; the result is that of [`warp`].
fn slide(image: &Image, [right, down]: [isize; 2], mirror: bool) -> Image {
    let &Image { width, height, channels, .. } = image;
    let (to_row, from_row, rows) = overlap(down, height);
    let (to, from, n) = overlap(right, width);
    let mut pixels = vec![0; image.pixels.len()];
    let lines = image.pixels.chunks_exact(width * channels).skip(from_row).take(rows);
    for (target, source) in pixels.chunks_exact_mut(width * channels).skip(to_row).zip(lines) {
        let target = &mut target[to * channels..][..n * channels];
        if mirror {
            let source = source[(width - from - n) * channels..][..n * channels].chunks_exact(channels).rev();
            target.chunks_exact_mut(channels).zip(source).for_each(|(to, from)| to.copy_from_slice(from));
        } else {
            target.copy_from_slice(&source[from * channels..][..n * channels]);
        }
    }
    Image { pixels, ..*image }
}

/// Where shifted pixels begin along a side, where their sources begin, and the number of pixels that stay inside.
fn overlap(shift: isize, side: usize) -> (usize, usize, usize) {
    let by = shift.unsigned_abs().min(side);
    if shift < 0 { (0, by, side - by) } else { (by, 0, side - by) }
}

/// Apply a map to an image, sampled bilinearly.
pub(super) fn warp(image: &Image, map: &Affine) -> Image {
    let &Image { width, height, channels, .. } = image;
    let centre = [(width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0];
    let mut pixels = vec![0; image.pixels.len()];
    for (y, line) in pixels.chunks_exact_mut(width * channels).enumerate() {
        let dy = y as f32 - centre[1] - map.shift[1];
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            let dx = x as f32 - centre[0] - map.shift[0];
            let from = [centre[0] + map.xx * dx + map.xy * dy, centre[1] + map.yx * dx + map.yy * dy];
            sample(image, from, pixel);
        }
    }
    Image { pixels, ..*image }
}

/// Interpolate the pixel at `(x, y)` from the four around it; those outside the image are black.
fn sample(image: &Image, [x, y]: [f32; 2], pixel: &mut [u8]) {
    let (left, top) = (x.floor(), y.floor());
    let inside = |place: f32, side: usize| (-1.0..side as f32).contains(&place);
    if !inside(left, image.width) || !inside(top, image.height) {
        return; // all four are outside, and the new image is initially black
    }
    let (right_share, lower_share) = (x - left, y - top);
    let (left, top) = (left as isize, top as isize);
    for (channel, value) in pixel.iter_mut().enumerate() {
        let at = |x: isize, y: isize| {
            let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
            let known = x < image.width && y < image.height;
            known.then(|| image.pixels[(y * image.width + x) * image.channels + channel] as f32)
        };
        let tap = |x, y| at(x, y).unwrap_or(0.0);
        let across = |y| tap(left, y) * (1.0 - right_share) + tap(left + 1, y) * right_share;
        *value = (across(top) * (1.0 - lower_share) + across(top + 1) * lower_share).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, generator};
    use super::*;

    fn vary(image: &Image, augment: &Augment, seed: u64) -> Image {
        super::vary(image.clone(), augment, &mut generator(seed, Purpose::Warp))
    }

    fn image() -> Image {
        Image::new(5, 3, 1, (1..=15).map(|i| i * 10).collect()).unwrap()
    }

    fn rotation(degrees: f32, scale: f32, shift: [f32; 2]) -> Affine {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Affine { xx: cos / scale, xy: sin / scale, yx: -sin / scale, yy: cos / scale, shift }
    }

    #[test]
    fn default_settings_change_nothing() {
        assert_eq!(vary(&image(), &Augment::default(), 3), image());
    }

    #[test]
    fn shifts_by_whole_pixels_are_exact_and_fill_with_black() {
        let moved = warp(&image(), &rotation(0.0, 1.0, [1.0, -1.0]));
        assert_eq!(moved.pixels, [0, 60, 70, 80, 90, 0, 110, 120, 130, 140, 0, 0, 0, 0, 0]);
        let half = warp(&image(), &rotation(0.0, 1.0, [0.5, 0.0]));
        assert_eq!(half.pixels[..5], [5, 15, 25, 35, 45]);
    }

    #[test]
    fn a_slide_equals_a_warp_by_whole_pixels() {
        for mirror in [false, true] {
            for shift in [[0, 0], [1, -1], [-2, 0], [4, 2], [-5, 1], [3, 9], [-1_000_000, 0]] {
                let map = Affine {
                    xx: if mirror { -1.0 } else { 1.0 },
                    ..rotation(0.0, 1.0, shift.map(|by| by as f32))
                };
                assert_eq!(slide(&image(), shift, mirror), warp(&image(), &map), "{shift:?} {mirror}");
            }
        }
    }

    #[test]
    fn whole_pixel_shifts_are_equally_likely() {
        let crop = Augment { shift: 2.0, ..Augment::default() };
        let mut counts = [0; 5];
        (0..1000).for_each(|seed| {
            counts[(draw(&crop, &mut generator(seed, Purpose::Warp)).shift[0] + 2.0) as usize] += 1
        });
        assert!(counts.iter().all(|n| (150..250).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_rotation_by_180_degrees_reverses_the_pixels() {
        let rotated = warp(&image(), &rotation(180.0, 1.0, [0.0; 2]));
        assert_eq!(rotated.pixels, image().pixels.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_rotation_by_90_degrees_is_clockwise() {
        // y points down, so the top middle goes to the right middle.
        let mut dot = Image::new(3, 3, 1, vec![0; 9]).unwrap();
        dot.pixels[1] = 200;
        assert_eq!(warp(&dot, &rotation(90.0, 1.0, [0.0; 2])).pixels, [0, 0, 0, 0, 0, 200, 0, 0, 0]);
    }

    #[test]
    fn scaling_is_about_the_centre() {
        let mut dot = Image::new(5, 1, 3, vec![0; 15]).unwrap();
        dot.pixels[6..9].copy_from_slice(&[200, 100, 50]);
        let grown = warp(&dot, &rotation(0.0, 2.0, [0.0; 2]));
        assert_eq!(grown.pixels, [0, 0, 0, 100, 50, 25, 200, 100, 50, 100, 50, 25, 0, 0, 0]);
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let flip = Augment { flip: true, ..Augment::default() };
        let mirrored: Vec<u8> = image().pixels.chunks(5).flat_map(|r| r.iter().rev().copied()).collect();
        let all: Vec<Image> = (0..200).map(|seed| vary(&image(), &flip, seed)).collect();
        let count = all.iter().filter(|image| image.pixels == mirrored).count();
        assert!((70..130).contains(&count), "{count} of 200 mirrored");
        assert!(all.iter().all(|drawn| drawn.pixels == mirrored || *drawn == image()));
    }

    #[test]
    fn the_seed_determines_the_warp_and_extreme_settings_work() {
        let some = Augment { shift: 1.0, rotate: 15.0, scale: 0.2, flip: true, ..Augment::default() };
        assert_eq!(vary(&image(), &some, 1), vary(&image(), &some, 1));
        assert_ne!(vary(&image(), &some, 1), vary(&image(), &some, 2));
        let far = Augment { shift: 1e6, rotate: 180.0, scale: 0.9, flip: true, ..Augment::default() };
        (0..100).for_each(|seed| assert_eq!(vary(&image(), &far, seed).pixels.len(), 15));
    }
}
