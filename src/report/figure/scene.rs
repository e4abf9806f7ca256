//! A figure as a list of shapes, of which PNG and SVG are drawn alike.

use super::{colour::Colour, font};

/// A drawing: shapes on white, each over those before it. Places and sizes are pixels from the upper left.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) shapes: Vec<Shape>,
}

/// One thing that is drawn.
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

/// Where text lies about its point; its height is always centred on it.
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
/// Sizes of text: titles, what is in boxes, numbers.
pub(super) const TITLE: f32 = 15.0;
pub(super) const LABEL: f32 = 14.0;
pub(super) const SMALL: f32 = 10.0;

impl Scene {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { width: 1, height: 1, shapes: Vec::new() }
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Makes room up to a point, and for the margin beyond.
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

    /// The title, for which room is made; gives the height at which the drawing begins.
    pub(super) fn title(&mut self, title: &str) -> f32 {
        let middle = MARGIN + TITLE / 2.0;
        self.text(title, [MARGIN, middle], TITLE, Align::Start, Colour::INK);
        let below = MARGIN + TITLE;
        self.reach([MARGIN + font::width(title, TITLE), below]);
        below + 16.0
    }
}
