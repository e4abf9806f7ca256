//! Points in a plane with their names.

use super::colour::{Colour, of_kind, of_share, range};
use super::font::{self, visible};
use super::scene::{Align, MARGIN, SMALL, Scene};
use crate::report::chart::{Chart, Spot};

/// Width and height of the plane, side of a point.
const SIZE: [f32; 2] = [560.0, 420.0];
const POINT: f32 = 4.0;
/// The most names, and the most characters of a name.
const NAMES: usize = 120;
const LONGEST: usize = 14;
/// The share of the colours that are dark enough on white.
const DARK: f32 = 0.85;

/// A point for each spot, on axes of one scale; of more than 120 spots, as many are named, evenly spaced in their order.
pub fn scatter(chart: &Chart, spots: &[Spot]) -> Scene {
    let mut scene = Scene::new();
    let top = scene.title(&chart.title);
    let corner = [MARGIN, top];
    scene.framed(corner, SIZE, Colour::EDGE, Colour::GROUND);
    let axis = |axis: usize| range(spots.iter().map(|spot| spot.at[axis]).filter(|x| x.is_finite()));
    let ranges = [axis(0), axis(1)];
    // Room for the points at the edges, and on the right for their names.
    let inner = [SIZE[0] - 90.0, SIZE[1] - 24.0];
    let each = |axis: usize| inner[axis] / (ranges[axis][1] - ranges[axis][0]).max(f32::MIN_POSITIVE);
    let scale = each(0).min(each(1)).min(1e30);
    let place = |spot: &Spot| {
        let along = |axis: usize| 12.0 + (spot.at[axis] - ranges[axis][0]) * scale;
        // Tenths of a pixel, so that a figure of many points is small.
        [corner[0] + along(0), corner[1] + SIZE[1] - along(1)].map(|x| (10.0 * x).round() / 10.0)
    };
    let every = spots.len().div_ceil(NAMES).max(1);
    let drawn = spots.iter().enumerate().filter(|(_, spot)| spot.at.iter().all(|x| x.is_finite()));
    for (number, spot) in drawn {
        let ([x, y], colour) = (place(spot), colour(spot));
        scene.rect([x - POINT / 2.0, y - POINT / 2.0], [POINT, POINT], colour);
        if number % every == 0 {
            let name: String = visible(&spot.label).chars().take(LONGEST).collect();
            scene.text(name, [x + POINT, y], SMALL, Align::Start, Colour::INK);
        }
    }
    let below = top + SIZE[1] + SMALL;
    let axes = format!("{} across, {} up", chart.x, chart.y);
    scene.reach([MARGIN + SIZE[0].max(font::width(&axes, SMALL)), below + SMALL]);
    scene.text(axes, [MARGIN, below], SMALL, Align::Start, Colour::GREY);
    scene
}

fn colour(spot: &Spot) -> Colour {
    let Some(shade) = spot.shade else { return of_kind(0) };
    let [red, green, blue] = of_share(shade * DARK);
    Colour::rgb(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::super::scene::Shape;
    use super::super::testing::texts;
    use super::*;
    use crate::report::figure::Format;

    fn spots(n: usize) -> Vec<Spot> {
        (0..n).map(|i| Spot { label: format!("t {i}"), at: [i as f32, -(i as f32)], shade: None }).collect()
    }

    #[test]
    fn points_have_names_and_lie_within_the_plane() {
        let chart =
            Chart { title: "Tokens".into(), x: "first".into(), y: "second".into(), ..Chart::default() };
        let scene = scatter(&chart, &spots(3));
        assert_eq!(texts(&scene), ["Tokens", "t␣0", "t␣1", "t␣2", "first across, second up"]);
        let points = scene.shapes.iter().filter_map(|shape| match shape {
            Shape::Rect { at, size, .. } if size[0] == POINT => Some(*at),
            _ => None,
        });
        let points: Vec<[f32; 2]> = points.collect();
        assert!(points[0][0] < points[2][0] && points[0][1] < points[2][1], "{points:?}");
        assert!(points.iter().all(|at| at[0] < MARGIN + SIZE[0] && at[1] > MARGIN));
    }

    #[test]
    fn of_many_points_some_are_named_and_numbers_that_are_not_finite_are_left_out() {
        let scene = scatter(&Chart::default(), &spots(500));
        assert!(texts(&scene).len() <= NAMES + 2);
        let nowhere = Spot { at: [f32::NAN, 0.0], label: "x".into(), shade: Some(1.0) };
        for few in [vec![], vec![nowhere.clone()], vec![nowhere, spots(1).remove(0)]] {
            assert!(scatter(&Chart::default(), &few).encode(Format::Svg).is_ok());
        }
    }
}
