//! An image, dark where the weights of its patches are low.

use super::patches::{grid_of, image_of, raster};
use super::scene::{Raster, Scene};
use smalti_contract::{AnyTokenizer, Tokens};

/// The brightness that a patch of weight 0 keeps.
const DARKEST: f32 = 0.15;

/// The image of an image tokenizer's tokens, about `side` pixels wide or high, without margins; with weights, one for each patch,
/// it is dark where they are low. `None` for other tokens, and for weights of patches that fill no grid.
pub fn image(
    tokenizer: &dyn AnyTokenizer,
    tokens: &Tokens,
    side: f32,
    weights: Option<&[f32]>,
) -> Option<Scene> {
    let pixels = image_of(tokenizer, tokens)?;
    let longest = pixels.height.max(pixels.width) as f32;
    // Whole pixels, if the image is enlarged.
    let scale = if side >= longest { (side / longest).floor() } else { side / longest };
    let size = [pixels.width, pixels.height].map(|side| (side as f32 * scale).round().max(1.0));
    let mut raster = raster(&pixels, size);
    if let Some(weights) = weights {
        let grid = grid_of(tokenizer, tokens)?;
        darken(&mut raster, &by_cell(tokens, weights, grid)?, grid);
    }
    let mut scene = Scene::new();
    (scene.width, scene.height) = (size[0] as u32, size[1] as u32);
    scene.pixels(raster, [0.0, 0.0], size);
    Some(scene)
}

/// The weights in the order of the grid; `None` if there is not one for each cell.
fn by_cell(tokens: &Tokens, weights: &[f32], [rows, columns]: [usize; 2]) -> Option<Vec<f32>> {
    let group = tokens.groups.first()?;
    if weights.len() != rows * columns || group.positions.len() != 2 * weights.len() {
        return None;
    }
    let mut cells = vec![0.0; weights.len()];
    for (weight, at) in weights.iter().zip(group.positions.chunks_exact(2)) {
        *cells.get_mut(at[0] as usize * columns + at[1] as usize)? = *weight;
    }
    Some(cells)
}

/// Multiplies each pixel by the share of its patch in the largest weight.
fn darken(raster: &mut Raster, cells: &[f32], [rows, columns]: [usize; 2]) {
    let most = cells.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let (width, height) = (raster.width, raster.height);
    for (place, pixel) in raster.rgb.chunks_exact_mut(3).enumerate() {
        let (row, column) = (place / width * rows / height, place % width * columns / width);
        let bright = DARKEST + (1.0 - DARKEST) * cells[row * columns + column] / most;
        pixel.iter_mut().for_each(|value| *value = (f32::from(*value) * bright).round() as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::modalities::image::{Image, ImageConfig, ImageTokenizer};
    use crate::report::figure::Format;
    use smalti_contract::Tokenizer;

    #[test]
    fn a_patch_of_a_low_weight_is_dark() {
        let tokenizer = ImageTokenizer::new(ImageConfig::vit(3, 4, [8, 8])).unwrap();
        let tokens = tokenizer.encode(&Image::new(8, 8, 3, vec![200; 192]).unwrap()).unwrap();
        let plain = image(&tokenizer, &tokens, 33.0, None).unwrap();
        assert_eq!((plain.width(), plain.height()), (32, 32), "whole pixels");
        let scene = image(&tokenizer, &tokens, 32.0, Some(&[1.0, 0.0, 0.5, 0.0])).unwrap();
        let png = read(&scene.encode(Format::Png).unwrap());
        assert_eq!([png.at(0, 0)[0], png.at(31, 0)[0], png.at(0, 31)[0]], [200, 30, 115]);
        assert!(image(&tokenizer, &tokens, 32.0, Some(&[1.0])).is_none(), "weights of other tokens");
    }
}
