//! Patches, drawn on the image that they decode to.

use super::axis::{round_step, with_room};
use super::colour::Colour;
use super::counted;
use super::font;
use super::scene::{Align, MARGIN, Raster, SMALL, Scene};
use crate::modalities::image::Image;
use image::{RgbImage, imageops};
use smalti_contract::{AnyTokenizer, Tokens};

/// The longest side of a drawn image: for a large image, and for an enlarged one.
const LARGEST: f32 = 960.0;
const ENLARGED: f32 = 640.0;
/// The largest side of an enlarged patch.
const WIDEST_PATCH: f32 = 96.0;
/// The least distance of grid lines.
const CLOSEST: f32 = 5.0;

/// The figure of an image tokenizer's tokens; `None` for another tokenizer, and for patches that fill no grid.
pub(super) fn of(tokenizer: &dyn AnyTokenizer, tokens: &Tokens) -> Option<Scene> {
    Some(draw(&image_of(tokenizer, tokens)?, grid_of(tokenizer, tokens)?))
}

/// The image that tokens decode to.
pub(super) fn image_of(tokenizer: &dyn AnyTokenizer, tokens: &Tokens) -> Option<Image> {
    tokenizer.decode_any(tokens).ok()?.downcast::<Image>().ok().map(|image| *image)
}

/// The `[rows, columns]` of the grid of patches.
pub(super) fn grid_of(tokenizer: &dyn AnyTokenizer, tokens: &Tokens) -> Option<[usize; 2]> {
    let (kind, group) = (tokenizer.spec().kinds.first()?, tokens.groups.first()?);
    let axis = |name: &str| kind.axes.iter().position(|axis| axis.name == name);
    let count = |axis: usize| {
        let on_axis = group.positions.iter().skip(axis).step_by(kind.axes.len());
        on_axis.max().map(|last| *last as usize + 1)
    };
    Some([count(axis("row")?)?, count(axis("column")?)?])
}

/// An image with its grid of `[rows, columns]` patches.
fn draw(image: &Image, [rows, columns]: [usize; 2]) -> Scene {
    let (height, width) = (image.height, image.width);
    let patch = [height as f32 / rows as f32, width as f32 / columns as f32];
    let scale = scale(height.max(width) as f32, patch[0].max(patch[1]));
    let drawn = [patch[0] * scale, patch[1] * scale];
    let size = [drawn[1] * columns as f32, drawn[0] * rows as f32].map(f32::round);
    let every = drawn.map(|side| round_step(CLOSEST / side));

    let mut scene = Scene::new();
    let apart = match every.iter().max() {
        Some(1) | None => String::new(),
        Some(every) => format!(", a line every {every}"),
    };
    let top = scene.title(&format!(
        "{height}×{width} pixels, {rows}×{columns} = {} of {}×{}{apart}",
        counted(rows * columns, "patch"),
        patch[0],
        patch[1]
    ));
    let numbers = font::width(&rows.to_string(), SMALL).ceil() + 6.0;
    let at = [MARGIN + numbers, top + SMALL + 4.0];
    scene.pixels(raster(image, size), at, size);
    // Dark under light is visible on any image. For small patches the lines are thin, so that the image stays visible.
    let (dark, light) = match drawn[0].min(drawn[1]) >= 12.0 {
        true => (Some(Colour::rgb(0, 0, 0).alpha(90)), Colour::WHITE.alpha(220)),
        false => (None, Colour::WHITE.alpha(130)),
    };
    let strokes = dark.map(|dark| (3.0, dark)).into_iter().chain([(1.0, light)]);
    for (width, colour) in strokes {
        for row in (0..=rows).step_by(every[0]) {
            let y = at[1] + line(row, drawn[0], size[1]) - (width - 1.0) / 2.0;
            scene.rect([at[0], y], [size[0], width], colour);
        }
        for column in (0..=columns).step_by(every[1]) {
            let x = at[0] + line(column, drawn[1], size[0]) - (width - 1.0) / 2.0;
            scene.rect([x, at[1]], [width, size[1]], colour);
        }
    }
    for row in with_room(rows, drawn[0], SMALL + 3.0) {
        let y = at[1] + (row as f32 + 0.5) * drawn[0];
        scene.text(row.to_string(), [at[0] - 5.0, y], SMALL, Align::End, Colour::GREY);
    }
    for column in with_room(columns, drawn[1], font::width(&columns.to_string(), SMALL) + 5.0) {
        let x = at[0] + (column as f32 + 0.5) * drawn[1];
        scene.text(column.to_string(), [x, at[1] - SMALL], SMALL, Align::Middle, Colour::GREY);
    }
    scene.reach([at[0] + size[0], at[1] + size[1]]);
    scene
}

/// The side of a drawn pixel of the image: a whole number if the image is enlarged.
fn scale(longest: f32, patch: f32) -> f32 {
    let enlarged = (ENLARGED / longest).min(WIDEST_PATCH / patch).floor();
    if enlarged >= 1.0 { enlarged } else { (LARGEST / longest).min(1.0) }
}

/// The position of the `n`-th grid line; the last is inside the image.
fn line(n: usize, each: f32, size: f32) -> f32 {
    (n as f32 * each).round().min(size - 1.0)
}

/// The image in RGB, resized with smoothing if it is drawn smaller than it is.
pub(super) fn raster(image: &Image, size: [f32; 2]) -> Raster {
    let colour = image.to_channels(3);
    let whole = || Raster { width: image.width, height: image.height, rgb: colour.pixels.clone() };
    let [width, height] = size.map(|side| (side as u32).max(1));
    if width as usize >= image.width && height as usize >= image.height {
        return whole();
    }
    match RgbImage::from_raw(image.width as u32, image.height as u32, colour.pixels.clone()) {
        Some(large) => {
            let small = imageops::resize(&large, width, height, imageops::FilterType::Triangle);
            Raster { width: width as usize, height: height as usize, rgb: small.into_raw() }
        }
        None => whole(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, texts, vertical_lines};
    use super::*;
    use crate::modalities::image::{ImageConfig, ImageTokenizer};
    use crate::report::figure::Format;
    use smalti_contract::Tokenizer;

    fn figure(height: usize, width: usize, patch: usize) -> Scene {
        let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, patch, [height, width])).unwrap();
        let image = Image::new(width, height, 3, vec![200; height * width * 3]).unwrap();
        let tokens = tokenizer.encode(&image).unwrap();
        of(&tokenizer, &tokens).unwrap()
    }

    #[test]
    fn grid_lines_are_between_the_patches() {
        let scene = figure(8, 12, 4);
        assert_eq!(texts(&scene), ["8×12 pixels, 2×3 = 6 patches of 4×4", "0", "1", "0", "1", "2"]);
        let [left, ..] = vertical_lines(&scene, 1.0)[..] else { panic!("there are lines") };
        assert_eq!(vertical_lines(&scene, 1.0), [0.0, 96.0, 192.0, 287.0].map(|x| left + x));

        let png = read(&scene.encode(Format::Png).unwrap());
        let (x, y) = (left as usize, png.height - MARGIN as usize - 20);
        let row: Vec<bool> = (0..288).map(|i| png.at(x + i, y)[0] > 220).collect();
        let light: Vec<usize> = (0..288).filter(|i| row[*i]).collect();
        assert_eq!(light, [0, 96, 192, 287]);
        assert_eq!(png.at(x + 48, y), [200; 3], "the image is visible between them");
    }

    #[test]
    fn a_large_image_is_shrunk_and_its_grid_thinned() {
        let scene = figure(1200, 2000, 4);
        assert_eq!(texts(&scene)[0], "1200×2000 pixels, 300×500 = 150,000 patches of 4×4, a line every 5");
        assert!(scene.width() < 1100 && scene.height() < 700, "{}×{}", scene.width(), scene.height());
        let lines = vertical_lines(&scene, 1.0);
        assert_eq!(lines.len(), 101);
        assert!((lines[1] - lines[0] - 5.0 * 4.0 * 960.0 / 2000.0).abs() <= 1.0);
    }

    #[test]
    fn one_patch_is_singular() {
        assert!(texts(&figure(4, 4, 4))[0].ends_with("1×1 = 1 patch of 4×4"));
    }
}
