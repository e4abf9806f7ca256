//! A scene as SVG.

use super::colour::Colour;
use super::font;
use super::png;
use super::scene::{Align, Raster, Scene, Shape};
use crate::report::DrawError;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write;

/// The scene as SVG; rasters are embedded PNGs.
pub(super) fn encode(scene: &Scene) -> Result<Vec<u8>, DrawError> {
    let Scene { width, height, .. } = *scene;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for shape in &scene.shapes {
        draw(shape, &mut svg)?;
    }
    svg += "</svg>\n";
    Ok(svg.into_bytes())
}

fn draw(shape: &Shape, svg: &mut String) -> Result<(), DrawError> {
    match shape {
        Shape::Rect { at: [x, y], size: [width, height], colour } => {
            writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {}/>", paint("fill", *colour))
        }
        Shape::Line { points, width, colour } => {
            let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            let (points, stroke) = (points.join(" "), paint("stroke", *colour));
            writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke-width=\"{width}\" {stroke}/>")
        }
        Shape::Text { text, at: [x, y], size, align, colour } => {
            let anchor = match align {
                Align::Start => "start",
                Align::Middle => "middle",
                Align::End => "end",
            };
            let (y, fill) = (y + font::baseline(*size), paint("fill", *colour));
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" xml:space=\"preserve\" \
                 font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" {fill}>{}</text>",
                escaped(text)
            )
        }
        Shape::Pixels { raster, at: [x, y], size: [width, height] } => {
            let png = STANDARD.encode(png_of(raster)?);
            writeln!(
                svg,
                "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
                 style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{png}\"/>"
            )
        }
    }
    .map_err(DrawError::new)
}

/// The raster as a PNG of its own size.
fn png_of(raster: &Raster) -> Result<Vec<u8>, DrawError> {
    let mut alone = Scene { width: raster.width as u32, height: raster.height as u32, shapes: vec![] };
    alone.pixels(raster.clone(), [0.0, 0.0], [raster.width as f32, raster.height as f32]);
    png::encode(&alone)
}

fn paint(what: &str, colour: Colour) -> String {
    let [red, green, blue, alpha] = colour.0;
    let solid = format!("{what}=\"#{red:02x}{green:02x}{blue:02x}\"");
    match alpha {
        255 => solid,
        _ => format!("{solid} {what}-opacity=\"{:.2}\"", f32::from(alpha) / 255.0),
    }
}

/// Text escaped for XML; characters that XML cannot hold become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    #[test]
    fn shapes_are_written_with_their_positions() {
        let mut scene = Scene { width: 40, height: 30, shapes: vec![] };
        scene.rect([2.0, 3.5], [10.0, 5.0], Colour::rgb(255, 0, 16).alpha(128));
        scene.line(vec![[20.0, 0.0], [20.0, 30.0]], 2.0, Colour::INK);
        scene.text("a<b>&\u{1}", [3.0, 4.0], 16.0, Align::End, Colour::INK);
        let svg = String::from_utf8(encode(&scene).unwrap()).unwrap();
        for part in [
            "viewBox=\"0 0 40 30\"",
            "<rect x=\"2\" y=\"3.5\" width=\"10\" height=\"5\" fill=\"#ff0010\" fill-opacity=\"0.50\"/>",
            "points=\"20.0,0.0 20.0,30.0\"",
            "text-anchor=\"end\"",
            ">a&lt;b&gt;&amp;\u{fffd}</text>",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }

    #[test]
    fn a_raster_is_an_embedded_png() {
        let mut scene = Scene { width: 40, height: 30, shapes: vec![] };
        let raster = Raster { width: 2, height: 1, rgb: vec![10, 20, 30, 40, 50, 60] };
        scene.pixels(raster, [0.0, 0.0], [40.0, 30.0]);
        let svg = String::from_utf8(encode(&scene).unwrap()).unwrap();
        let (_, rest) = svg.split_once("base64,").unwrap();
        let figure = read(&STANDARD.decode(rest.split_once('"').unwrap().0).unwrap());
        assert_eq!((figure.width, figure.height, figure.at(1, 0)), (2, 1, [40, 50, 60]));
    }
}
