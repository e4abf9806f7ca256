//! Curves of a run: a panel for each metric.

use super::axis::ticks;
use super::colour::{Colour, of_kind};
use super::font;
use super::scene::{Align, LABEL, MARGIN, Point, SMALL, Scene, TITLE};
use crate::report::curves::{Curve, Panel};

/// Size of the area of a panel's curves, the space above it for the title and the names of the curves, the space at its left
/// for values, and below it for steps.
const SIZE: Point = [544.0, 200.0];
const ABOVE: f32 = 44.0;
const LEFT: f32 = 56.0;
const BELOW: f32 = 40.0;

/// The panels, from top to bottom.
pub fn curves(panels: &[Panel]) -> Scene {
    let mut scene = Scene::new();
    for (i, panel) in panels.iter().enumerate() {
        let top = MARGIN + i as f32 * (ABOVE + SIZE[1] + BELOW);
        draw(panel, [MARGIN + LEFT, top + ABOVE], &mut scene);
    }
    scene
}

/// Draws one panel, whose curves have `[left, top]` as their upper left corner.
fn draw(panel: &Panel, [left, top]: Point, scene: &mut Scene) {
    let (steps, values) = (panel.steps(), panel.values());
    let last = steps.end.max(steps.start + 1);
    let bottom = top + SIZE[1];
    let x = |step: f64| left + SIZE[0] * ((step - steps.start as f64) / (last - steps.start) as f64) as f32;
    let y = |value: f64| bottom - SIZE[1] * ((value - values.start) / (values.end - values.start)) as f32;
    let title = panel.title();
    scene.reach([MARGIN + font::width(&title, TITLE), bottom + BELOW - MARGIN]);
    scene.text(title, [MARGIN, top - ABOVE + TITLE / 2.0], TITLE, Align::Start, Colour::INK);
    for (value, label) in ticks(values.start, values.end, 5) {
        scene.rect([left, y(value).round()], [SIZE[0], 1.0], Colour::EMPTY);
        scene.text(label, [left - 8.0, y(value)], SMALL, Align::End, Colour::GREY);
    }
    for (step, _) in ticks(steps.start as f64, last as f64, 6).iter().filter(|(step, _)| step.fract() == 0.0)
    {
        scene.rect([x(*step).round(), bottom], [1.0, 4.0], Colour::EDGE);
        scene.text(step.to_string(), [x(*step), bottom + 12.0], SMALL, Align::Middle, Colour::GREY);
    }
    scene.rect([left, bottom], [SIZE[0], 1.0], Colour::EDGE);
    scene.text("step", [MARGIN, bottom + 12.0], SMALL, Align::Start, Colour::GREY);
    scene.reach([left + SIZE[0], bottom + 12.0]);
    let mut right = left + SIZE[0];
    for Curve { name, points } in &panel.curves {
        let places: Vec<Point> = points.iter().map(|(step, value)| [x(*step as f64), y(*value)]).collect();
        let colour = if *name == "train" { Colour::EDGE } else { of_kind(0) };
        if *name != "train" {
            places.iter().for_each(|[x, y]| scene.rect([x - 2.5, y - 2.5], [5.0; 2], colour));
        }
        scene.line(places, 2.0, colour);
        scene.text(*name, [right, top - 14.0], LABEL, Align::End, colour);
        right -= font::width(name, LABEL) + 16.0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::texts;
    use super::*;
    use crate::report::figure::Format;

    fn panel(metric: &str, points: &[(u64, f64)]) -> Panel {
        let curve = |name| Curve { name, points: points.to_vec() };
        Panel { task: "t".into(), metric: metric.into(), curves: vec![curve("train"), curve("validation")] }
    }

    #[test]
    fn every_panel_has_its_title_curves_and_ticks() {
        let panels = [panel("loss", &[(0, 2.0), (50, 1.0), (100, 0.5)]), panel("wer", &[(7, 2.0)])];
        let scene = curves(&panels);
        let texts = texts(&scene);
        for text in [&panels[0].title(), &panels[1].title(), "train", "validation", "step", "100", "1.0", "8"]
        {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        let svg = String::from_utf8(scene.encode(Format::Svg).unwrap()).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 4);
    }

    #[test]
    fn a_run_without_steps_has_an_empty_figure() {
        assert!(curves(&[]).encode(Format::Svg).unwrap().starts_with(b"<svg"));
    }
}
