//! The curve of a learning-rate range test: a plot in characters, and a figure.

use super::chart::{Chart, Point, Series};
use super::figure::{self, Scene};
use super::plot::Plot;
use crate::train::{RangePoint, RangeTest};

/// The plot of the smoothed loss over the logarithm of the learning rate, in `columns` × `rows` characters besides the labels:
/// `o` for the smoothed loss, also for one above the first row, `^` below the steepest descent.
pub fn plot(test: &RangeTest, columns: usize, rows: usize) -> String {
    let (Some(first), Some(last)) = (test.points.first(), test.points.last()) else { return String::new() };
    let (left, right) = (first.learning_rate.ln(), last.learning_rate.ln());
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let range =
        |(low, high): (f64, f64), point: &RangePoint| (low.min(point.smoothed), high.max(point.smoothed));
    let (low, high) = test.points.iter().fold(none, range);
    // A loss that blows up would leave the rest one line.
    let high = high.min(first.smoothed + (first.smoothed - low).max(0.1 * first.smoothed.abs()));
    let mut plot = Plot::new(columns, rows, low..high);
    let share = |rate: f64| (rate.ln() - left) / (right - left).max(f64::MIN_POSITIVE);
    for point in &test.points {
        plot.mark(plot.column(share(point.learning_rate)), point.smoothed, 'o');
    }
    let mut text = format!("smoothed loss\n{}", plot.lines());
    if let Some(steepest) = test.steepest {
        text += &format!("{:>12}{:>width$}\n", "", "^", width = plot.column(share(steepest)) + 1);
    }
    let (from, to) =
        (format!("{:.0e}", first.learning_rate), format!("learning rate {:.0e}", last.learning_rate));
    text + &format!("{:>12}{from}{to:>rest$}\n", "", rest = plot.columns().saturating_sub(from.len()))
}

/// The figure: the loss and the smoothed loss over the learning rate.
pub fn figure(test: &RangeTest) -> Scene {
    let title = match test.steepest {
        Some(rate) => format!("Learning-rate range test: steepest descent at {rate:.1e}"),
        None => "Learning-rate range test".into(),
    };
    let chart = Chart { title, x: "learning rate".into(), y: "loss".into(), log: [true, false] };
    let series = |name: &str, value: fn(&RangePoint) -> f64| {
        let point = |point: &RangePoint| Point {
            label: format!("{:.0e}", point.learning_rate),
            x: point.learning_rate,
            value: value(point),
            deviation: 0.0,
        };
        Series { name: name.into(), points: test.points.iter().map(point).collect() }
    };
    figure::lines(&chart, &[series("loss", |point| point.loss), series("smoothed", |point| point.smoothed)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::Format;

    fn test(losses: &[f64], steepest: Option<f64>) -> RangeTest {
        let point = |(i, loss): (usize, &f64)| RangePoint {
            learning_rate: 10_f64.powi(i as i32 - 5),
            loss: *loss,
            smoothed: *loss,
        };
        let points = losses.iter().enumerate().map(point).collect();
        RangeTest { points, blew_up: false, steepest, tenth_of_lowest: None }
    }

    #[test]
    fn a_plot_marks_the_steepest_descent() {
        let expected = "\
smoothed loss
    4.0000 |oo
           |  o o
    0.0000 |   o
           +-----
              ^
            1e-5learning rate 1e-1
";
        assert_eq!(plot(&test(&[4.0, 4.0, 2.0, 0.0, 2.0], Some(1e-3)), 5, 3), expected);
        assert_eq!(plot(&test(&[], None), 5, 3), "");
    }

    #[test]
    fn a_figure_is_drawn_also_of_no_steps() {
        for losses in [&[][..], &[2.0], &[2.0, 1.0]] {
            assert!(figure(&test(losses, None)).encode(Format::Svg).unwrap().starts_with(b"<svg"));
        }
    }
}
