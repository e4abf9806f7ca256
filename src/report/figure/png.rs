//! A scene as PNG.

use super::colour::Colour;
use super::font;
use super::scene::{Align, Point, Raster, Scene, Shape};
use crate::report::DrawError;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use tiny_skia::{Color, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// The scene as a PNG of RGB.
pub(super) fn encode(scene: &Scene) -> Result<Vec<u8>, DrawError> {
    let Scene { width, height, .. } = *scene;
    let mut canvas = Pixmap::new(width, height).ok_or_else(|| {
        DrawError::new(format!("{width}×{height} pixels: no area, or too large for the memory"))
    })?;
    canvas.fill(Color::WHITE);
    for shape in &scene.shapes {
        draw(shape, &mut canvas);
    }
    // The background is white, so that no pixel is transparent.
    let rgb: Vec<u8> = canvas.data().chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied().collect();
    let mut file = Vec::new();
    let encoder = PngEncoder::new(&mut file);
    encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8).map_err(DrawError::new)?;
    Ok(file)
}

fn draw(shape: &Shape, canvas: &mut Pixmap) {
    match shape {
        Shape::Rect { at, size, colour } => rect(canvas, *at, *size, &paint(*colour)),
        Shape::Line { points, width, colour } => line(canvas, points, *width, &paint(*colour)),
        Shape::Text { text, at: [x, y], size, align, colour } => {
            let left = match align {
                Align::Start => *x,
                Align::Middle => x - font::width(text, *size) / 2.0,
                Align::End => x - font::width(text, *size),
            };
            write(canvas, text, [left, y + font::baseline(*size)], *size, *colour);
        }
        Shape::Pixels { raster, at, size } => {
            let cell = [size[0] / raster.width as f32, size[1] / raster.height as f32];
            pixels(canvas, raster, *at, cell);
        }
    }
}

fn paint(colour: Colour) -> Paint<'static> {
    let [red, green, blue, alpha] = colour.0;
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, alpha);
    paint
}

fn rect(canvas: &mut Pixmap, [x, y]: Point, [width, height]: Point, paint: &Paint) {
    // `None` for a rectangle without area.
    if let Some(rect) = Rect::from_xywh(x, y, width, height) {
        canvas.fill_rect(rect, paint, Transform::identity(), None);
    }
}

fn line(canvas: &mut Pixmap, points: &[Point], width: f32, paint: &Paint) {
    let mut path = PathBuilder::new();
    for (i, [x, y]) in points.iter().enumerate() {
        if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
    }
    let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
    // `None` for a single point.
    if let Some(path) = path.finish() {
        canvas.stroke_path(&path, paint, &stroke, Transform::identity(), None);
    }
}

fn write(canvas: &mut Pixmap, text: &str, at: Point, size: f32, colour: Colour) {
    let (width, height) = (canvas.width() as i32, canvas.height() as i32);
    for glyph in font::outlines(text, at, size) {
        let corner = glyph.px_bounds().min;
        glyph.draw(|x, y, covered| {
            let (x, y) = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
            if (0..width).contains(&x) && (0..height).contains(&y) {
                blend(canvas, (y * width + x) as usize, colour, covered);
            }
        });
    }
}

/// Blends a colour over an opaque pixel.
fn blend(canvas: &mut Pixmap, pixel: usize, colour: Colour, covered: f32) {
    let [red, green, blue, alpha] = colour.0;
    let share = (covered * f32::from(alpha) / 255.0).clamp(0.0, 1.0);
    let under = &mut canvas.data_mut()[pixel * 4..][..3];
    for (under, over) in under.iter_mut().zip([red, green, blue]) {
        *under = (f32::from(*under) + (f32::from(over) - f32::from(*under)) * share).round() as u8;
    }
}

/// Fills rows of the canvas from the raster; a rectangle for each pixel would be slow.
fn pixels(canvas: &mut Pixmap, raster: &Raster, at: Point, cell: Point) {
    let [left, top] = at.map(|x| x.round() as usize);
    let end = |at: f32, cell: f32, cells: usize| (at + cell * cells as f32).round() as usize;
    let right = end(at[0], cell[0], raster.width).min(canvas.width() as usize);
    let bottom = end(at[1], cell[1], raster.height).min(canvas.height() as usize);
    let width = canvas.width() as usize;
    let data = canvas.data_mut();
    // The column (row) of the raster under the middle of a column (row) of the canvas.
    let under = |pixel: usize, at: f32, cell: f32, cells: usize| {
        (((pixel as f32 + 0.5 - at) / cell) as usize).min(cells.saturating_sub(1))
    };
    for y in top..bottom {
        let row = under(y, at[1], cell[1], raster.height) * raster.width;
        for x in left..right {
            let from = (row + under(x, at[0], cell[0], raster.width)) * 3;
            data[(y * width + x) * 4..][..3].copy_from_slice(&raster.rgb[from..from + 3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    #[test]
    fn shapes_are_drawn_at_their_positions() {
        let mut scene = Scene { width: 40, height: 30, shapes: vec![] };
        scene.rect([2.0, 3.0], [10.0, 5.0], Colour::rgb(255, 0, 0));
        scene.rect([2.0, 3.0], [1.0, 5.0], Colour::rgb(0, 0, 255).alpha(128));
        scene.line(vec![[20.0, 0.0], [20.0, 30.0]], 4.0, Colour::rgb(0, 255, 0));
        let raster = Raster { width: 2, height: 1, rgb: vec![10, 20, 30, 40, 50, 60] };
        scene.pixels(raster, [30.0, 10.0], [8.0, 4.0]);
        let figure = read(&encode(&scene).unwrap());
        assert_eq!((figure.width, figure.height), (40, 30));
        assert_eq!((figure.at(1, 3), figure.at(11, 7), figure.at(12, 7)), ([255; 3], [255, 0, 0], [255; 3]));
        assert_eq!(figure.at(2, 5), [127, 0, 128]);
        assert_eq!((figure.at(20, 15), figure.at(24, 15)), ([0, 255, 0], [255; 3]));
        assert_eq!(
            (figure.at(30, 10), figure.at(33, 13), figure.at(34, 10)),
            ([10, 20, 30], [10, 20, 30], [40, 50, 60])
        );
        assert_eq!(figure.at(38, 10), [255; 3]);
    }

    #[test]
    fn text_is_drawn_around_its_point() {
        let mut scene = Scene { width: 60, height: 20, shapes: vec![] };
        scene.text("HHH", [30.0, 10.0], 16.0, Align::Middle, Colour::INK);
        scene.text("far outside", [55.0, 10.0], 16.0, Align::Start, Colour::WHITE);
        let figure = read(&encode(&scene).unwrap());
        let dark = |x: usize| (0..20).any(|y| figure.at(x, y)[0] < 128);
        let (first, last) = ((0..60).find(|x| dark(*x)).unwrap(), (0..60).rfind(|x| dark(*x)).unwrap());
        assert!((15..=17).contains(&first) && (42..=44).contains(&last), "{first} {last}");
        let rows: Vec<usize> = (0..20).filter(|y| (0..60).any(|x| figure.at(x, *y)[0] < 128)).collect();
        assert!((rows[0] + rows[rows.len() - 1]).abs_diff(19) <= 1, "{rows:?}");
    }

    #[test]
    fn a_scene_without_area_fails() {
        assert!(encode(&Scene { width: 0, height: 5, shapes: vec![] }).is_err());
    }
}
