//! Bars, from left to right, one below another.

use super::colour::{Colour, of_kind};
use super::font;
use super::scene::{Align, LABEL, MARGIN, SMALL, Scene};
use crate::report::chart::{Bar, Chart};

/// Length of the longest bar, height of a bar and of a row, in pixels.
const LONGEST: f32 = 360.0;
const HEIGHT: f32 = 18.0;
const ROW: f32 = 30.0;

/// A bar for each number, with its standard deviation; a tick where a published number is.
pub fn bars(chart: &Chart, bars: &[Bar]) -> Scene {
    let mut scene = Scene::new();
    let mut top = scene.title(&chart.title);
    let left = MARGIN + bars.iter().map(|bar| font::width(&bar.name, LABEL)).fold(0.0, f32::max) + 12.0;
    let of_bar = |bar: &Bar| [Some(bar.value.abs() + bar.deviation), bar.reference.map(f64::abs)];
    let longest = bars.iter().flat_map(of_bar).flatten().filter(|x| x.is_finite()).fold(0.0, f64::max);
    let length = |value: f64| match longest > 0.0 && value.is_finite() {
        true => (value.abs() / longest) as f32 * LONGEST,
        false => 0.0,
    };
    for bar in bars {
        let middle = top + HEIGHT / 2.0;
        let end = left + length(bar.value);
        scene.text(bar.name.as_str(), [left - 12.0, middle], LABEL, Align::End, Colour::INK);
        scene.rect([left, top], [length(bar.value).max(1.0), HEIGHT], of_kind(0).lighter(0.35));
        if bar.deviation > 0.0 {
            let reach = length(bar.deviation);
            scene.line(vec![[end - reach, middle], [end + reach, middle]], 2.0, Colour::INK);
        }
        let mut text = shown(bar.value);
        if bar.deviation > 0.0 {
            text += &format!(" ± {}", shown(bar.deviation));
        }
        let mut right = end + length(bar.deviation);
        if let Some(reference) = bar.reference {
            let at = left + length(reference);
            scene.rect([at - 1.0, top - 4.0], [2.0, HEIGHT + 8.0], of_kind(1));
            text += &format!(" (reference {})", shown(reference));
            right = right.max(at);
        }
        let text_at = right + 10.0;
        scene.reach([text_at + font::width(&text, LABEL), top + ROW]);
        scene.text(text, [text_at, middle], LABEL, Align::Start, Colour::GREY);
        top += ROW;
    }
    scene.text(chart.y.as_str(), [left, top + 4.0], SMALL, Align::Start, Colour::GREY);
    scene.reach([left + font::width(&chart.y, SMALL), top + 8.0]);
    scene
}

/// A number in about four digits.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        a if a >= 1000.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 0.001 || a == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::texts;
    use super::*;
    use crate::report::figure::Format;

    #[test]
    fn a_bar_has_its_name_value_deviation_and_reference() {
        let bar = Bar { name: "cpu.loss".into(), value: 1.77, deviation: 0.01, reference: Some(1.88) };
        let chart = Chart { title: "Letters".into(), y: "nats".into(), ..Chart::default() };
        let scene = bars(&chart, &[bar]);
        let texts = texts(&scene);
        for text in ["Letters", "cpu.loss", "1.770 ± 0.010 (reference 1.880)", "nats"] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_drawn() {
        let bar = |value| Bar { name: "a".into(), value, deviation: 0.0, reference: None };
        let scene = bars(&Chart::default(), &[bar(f64::NAN), bar(f64::INFINITY), bar(0.0)]);
        assert!(scene.encode(Format::Svg).unwrap().starts_with(b"<svg"));
        assert!(scene.encode(Format::Png).is_ok());
    }
}
