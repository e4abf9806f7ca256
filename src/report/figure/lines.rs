//! Curves of measured numbers over a setting.

use super::axis::ticks;
use super::bars::shown;
use super::colour::{Colour, of_kind};
use super::font;
use super::scene::{Align, LABEL, MARGIN, Point as Place, SMALL, Scene};
use crate::report::chart::{Chart, Point, Series};

/// Size of the area of the curves, and the space for values at its left and for numbers below it.
const SIZE: Place = [520.0, 280.0];
const LEFT: f32 = 64.0;
const BELOW: f32 = 36.0;
/// Height of a line of the legend.
const LINE: f32 = 18.0;

/// An axis: the range of what it shows, logarithms if it is logarithmic.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// The axis that shows these numbers.
    fn of(numbers: impl Iterator<Item = f64>, log: bool) -> Self {
        let scaled = numbers.map(|x| if log { x.ln() } else { x }).filter(|x| x.is_finite());
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = scaled.fold(none, |(low, high), x| (low.min(x), high.max(x)));
        if low < high {
            Self { low, high, log }
        } else if low.is_finite() {
            Self { low: low - 0.5, high: low + 0.5, log }
        } else {
            Self { low: 0.0, high: 1.0, log }
        }
    }

    /// The share of the way along the axis; `None` for what it cannot show.
    fn share(&self, x: f64) -> Option<f32> {
        let x = if self.log { x.ln() } else { x };
        x.is_finite().then(|| ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0) as f32)
    }

    /// Numbers to label.
    fn ticks(&self) -> Vec<(f64, String)> {
        if !self.log {
            return ticks(self.low, self.high, 6);
        }
        let even = (0..=4).map(|i| (self.low + (self.high - self.low) * f64::from(i) / 4.0).exp());
        even.map(|x| (x, shown(x))).collect()
    }
}

/// The curves, each point with its standard deviation, and their names.
pub fn lines(chart: &Chart, series: &[Series]) -> Scene {
    let mut scene = Scene::new();
    let legend = scene.title(&chart.title);
    let (left, top) = (MARGIN + LEFT, legend + LINE * series.len() as f32 + 8.0);
    let bottom = top + SIZE[1];
    let points = || series.iter().flat_map(|series| &series.points);
    let x_axis = Axis::of(points().map(|point| point.x), chart.log[0]);
    let spread = |point: &Point| [point.value - point.deviation, point.value, point.value + point.deviation];
    let y_axis = Axis::of(points().flat_map(spread), chart.log[1]);
    let x = |value: f64| Some(left + SIZE[0] * x_axis.share(value)?);
    let y = |value: f64| Some(bottom - SIZE[1] * y_axis.share(value)?);
    for (value, label) in y_axis.ticks() {
        let Some(y) = y(value) else { continue };
        scene.rect([left, y.round()], [SIZE[0], 1.0], Colour::EMPTY);
        scene.text(label, [left - 8.0, y], SMALL, Align::End, Colour::GREY);
    }
    scene.rect([left, bottom], [SIZE[0], 1.0], Colour::EDGE);
    let mut right = f32::NEG_INFINITY;
    let mut labels: Vec<&Point> = points().collect();
    labels.sort_by(|a, b| a.x.total_cmp(&b.x));
    for point in labels {
        let Some(at) = x(point.x) else { continue };
        let half = font::width(&point.label, SMALL) / 2.0;
        if at - half > right + 6.0 {
            scene.text(point.label.as_str(), [at, bottom + 12.0], SMALL, Align::Middle, Colour::GREY);
            right = at + half;
        }
    }
    scene.text(chart.x.as_str(), [left + SIZE[0] / 2.0, bottom + 28.0], SMALL, Align::Middle, Colour::GREY);
    scene.text(chart.y.as_str(), [MARGIN, top - 12.0], SMALL, Align::Start, Colour::GREY);
    scene.reach([left + SIZE[0] + 16.0, bottom + BELOW]);
    for (number, Series { name, points }) in series.iter().enumerate() {
        let colour = of_kind(number);
        for point in points {
            let [low, value, high] = spread(point).map(y);
            let (Some(x), Some(value)) = (x(point.x), value) else { continue };
            scene.rect([x - 3.0, value - 3.0], [6.0; 2], colour);
            if let (Some(low), Some(high), true) = (low, high, point.deviation > 0.0) {
                scene.line(vec![[x, low], [x, high]], 1.0, colour);
            }
        }
        let places: Vec<Place> =
            points.iter().filter_map(|point| Some([x(point.x)?, y(point.value)?])).collect();
        if places.len() > 1 {
            scene.line(places, 2.0, colour);
        }
        let at = legend + LINE * number as f32;
        scene.text(name.as_str(), [left + SIZE[0], at], LABEL, Align::End, colour);
    }
    scene
}

#[cfg(test)]
mod tests {
    use super::super::testing::texts;
    use super::*;
    use crate::report::figure::Format;

    fn series(points: &[(f64, f64)]) -> Series {
        let point = |&(x, value): &(f64, f64)| Point { label: x.to_string(), x, value, deviation: 0.1 };
        Series { name: "rotary".into(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn curves_have_names_labels_and_axes() {
        let chart =
            Chart { title: "Lengths".into(), x: "context".into(), y: "loss".into(), log: [true, false] };
        let scene = lines(&chart, &[series(&[(64.0, 1.5), (128.0, 1.7), (320.0, 2.5)])]);
        let texts = texts(&scene);
        for text in ["Lengths", "rotary", "context", "loss", "64", "128", "320"] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
    }

    #[test]
    fn points_without_a_place_are_left_out() {
        let chart = Chart { log: [true, true], ..Chart::default() };
        for points in [&[][..], &[(0.0, 1.0)], &[(1.0, f64::NAN), (2.0, -1.0)], &[(3.0, 3.0)]] {
            let scene = lines(&chart, &[series(points)]);
            assert!(scene.encode(Format::Svg).unwrap().starts_with(b"<svg"), "{points:?}");
        }
    }
}
