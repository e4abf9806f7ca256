//! Measured numbers as bars, or as curves over a setting, each with its standard deviation.

/// What bars or curves have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// The label of the horizontal axis of curves.
    pub x: String,
    /// The label of the values.
    pub y: String,
    /// Whether the axes of curves are logarithmic: `[x, y]`. Values that have no logarithm are left out.
    pub log: [bool; 2],
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The standard deviation of the value.
    pub deviation: f64,
    /// A published value.
    pub reference: Option<f64>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points from left to right.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The text below the axis.
    pub label: String,
    /// The place on the horizontal axis.
    pub x: f64,
    /// The value.
    pub value: f64,
    /// The standard deviation of the value.
    pub deviation: f64,
}
