//! A figure as a list of shapes, from which both PNG and SVG are drawn.

use super::{colour::Colour, font};

/// A figure: shapes on white, each over those before it. Positions and sizes are in pixels from the upper left.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) shapes: Vec<Shape>,
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A filled rectangle.
    Rect { at: Point, size: Point, colour: Colour },
    /// Straight lines from point to point.
    Line { points: Vec<Point>, width: f32, colour: Colour },
    /// A line of text.
    Text { text: String, at: Point, size: f32, align: Align, colour: Colour },
    /// A raster, stretched without smoothing to `size`.
    Pixels { raster: Raster, at: Point, size: Point },
}

/// `[x, y]`.
pub(super) type Point = [f32; 2];

/// Horizontal alignment of text to its point. Vertically, text is centred on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// RGB pixels, row-major `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raster {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// Space around everything.
pub(super) const MARGIN: f32 = 20.0;
/// Sizes of text: titles, labels in boxes, numbers.
pub(super) const TITLE: f32 = 15.0;
pub(super) const LABEL: f32 = 14.0;
pub(super) const SMALL: f32 = 10.0;

impl Scene {
    /// An empty figure.
    pub(super) fn new() -> Self {
        Self { width: 1, height: 1, shapes: Vec::new() }
    }

    /// The width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The first line of text, which is the title of most figures.
    pub fn first_text(&self) -> Option<&str> {
        self.shapes.iter().find_map(|shape| match shape {
            Shape::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
    }

    /// Extends the figure to a point and the margin beyond it.
    pub(super) fn reach(&mut self, [x, y]: Point) {
        self.width = self.width.max((x + MARGIN).ceil() as u32);
        self.height = self.height.max((y + MARGIN).ceil() as u32);
    }

    pub(super) fn rect(&mut self, at: Point, size: Point, colour: Colour) {
        self.shapes.push(Shape::Rect { at, size, colour });
    }

    /// A filled rectangle with an edge of one pixel inside.
    pub(super) fn framed(&mut self, at: Point, size: Point, edge: Colour, fill: Colour) {
        self.rect(at, size, edge);
        self.rect(at.map(|x| x + 1.0), size.map(|x| (x - 2.0).max(0.0)), fill);
    }

    pub(super) fn line(&mut self, points: Vec<Point>, width: f32, colour: Colour) {
        self.shapes.push(Shape::Line { points, width, colour });
    }

    pub(super) fn text(
        &mut self,
        text: impl Into<String>,
        at: Point,
        size: f32,
        align: Align,
        colour: Colour,
    ) {
        self.shapes.push(Shape::Text { text: text.into(), at, size, align, colour });
    }

    pub(super) fn pixels(&mut self, raster: Raster, at: Point, size: Point) {
        self.shapes.push(Shape::Pixels { raster, at, size });
    }

    /// Adds the title; gives the height at which the drawing begins.
    pub(super) fn title(&mut self, title: &str) -> f32 {
        let middle = MARGIN + TITLE / 2.0;
        self.text(title, [MARGIN, middle], TITLE, Align::Start, Colour::INK);
        let below = MARGIN + TITLE;
        self.reach([MARGIN + font::width(title, TITLE), below]);
        below + 16.0
    }
}
