//! The curves of one or several runs: a panel for each metric, drawn by the page's script from numbers in the page.

use super::super::html::{Html, escaped};
use super::history::History;
use crate::inspect::rounded;
use crate::report::curves::Curve;
use crate::train::SaveError;
use serde::Serialize;
use std::collections::BTreeMap;

/// The most points of a curve, about, and of all curves.
const MOST_POINTS: usize = 2_000;
const ALL_POINTS: usize = 200_000;
/// The numbers of colours and of patterns of dashes of the style.
const COLOURS: usize = 6;
const DASHES: usize = 3;

/// A panel with the curves of all runs.
#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    title: String,
    curves: Vec<ShownCurve>,
}

/// A curve of a run.
#[derive(Serialize)]
struct ShownCurve {
    name: String,
    /// The classes of its style: colour, pattern of dashes, and split.
    class: String,
    steps: Vec<u64>,
    values: Vec<f64>,
}

/// The panels of these runs, whose logs that cannot be read are named.
pub(super) fn body(names: &[String], histories: &[Result<History, SaveError>]) -> Result<Html, &'static str> {
    let mut body = Html::new();
    for (name, history) in names.iter().zip(histories) {
        if let Err(error) = history {
            body.element("p", "class=\"note\"", &format!("Without the curves of {name}: {error}"));
        }
    }
    let panels = panels(names, histories);
    if panels.is_empty() && body.is_empty() {
        return Err("no step is in the log yet");
    }
    let mut figures = Html::new();
    for (number, panel) in panels.iter().enumerate() {
        figures.nested("figure", &format!("data-panel=\"{number}\""), &figure(panel));
    }
    body.raw("<noscript><p class=\"note\">A script in this page draws the curves.</p></noscript>");
    body.nested("div", "class=\"panels\"", &figures);
    // Within a script element, `<` could end it.
    let json = serde_json::json!({ "panels": panels }).to_string().replace('<', "\\u003c");
    body.raw(&format!("<script type=\"application/json\" id=\"curves-data\">{json}</script>"));
    Ok(body)
}

/// The panels of all runs: losses and metrics of each output, then the learning rate, the gradient norm and the speed.
fn panels(names: &[String], histories: &[Result<History, SaveError>]) -> Vec<Shown> {
    let found = histories.iter().flatten().flat_map(|history| &history.panels);
    let n_curves = found.map(|panel| panel.curves.len()).sum::<usize>().max(1);
    let most = MOST_POINTS.min(ALL_POINTS / n_curves);
    let mut panels: BTreeMap<_, Vec<ShownCurve>> = BTreeMap::new();
    for (number, (name, history)) in names.iter().zip(histories).enumerate() {
        for panel in history.iter().flat_map(|history| &history.panels) {
            let key = (panel.task.is_empty(), &panel.task, panel.metric != "loss", &panel.metric);
            for curve in &panel.curves {
                let (name, style) = match (names.len(), curve.name) {
                    (1, split) => (split.to_string(), usize::from(split != "train")),
                    (_, split) => (format!("{name} {split}"), number),
                };
                panels.entry(key).or_default().push(shown(curve, name, style, most));
            }
        }
    }
    let title = |task: &str, metric: &str| format!("{task} {metric}").trim_start().to_string();
    panels
        .into_iter()
        .map(|((_, task, _, metric), curves)| Shown { title: title(task, metric), curves })
        .collect()
}

/// The curve with style number `style`: the colours repeat with other dashes.
fn shown(curve: &Curve, name: String, style: usize, most: usize) -> ShownCurve {
    let (steps, values) =
        curve.thinned(most).points.into_iter().map(|(step, value)| (step, six_digits(value))).unzip();
    let class = format!("k{} d{} {}", style % COLOURS, style / COLOURS % DASHES, curve.name);
    ShownCurve { name, class, steps, values }
}

/// The value with six digits, as more are not visible.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The place of a panel's curves, and their names with the values at one step: at first the last.
fn figure(panel: &Shown) -> Html {
    let mut figure = Html::new();
    figure.element("figcaption", "", &panel.title);
    figure.raw(&format!("<div class=\"plot\" aria-label=\"{}\"></div>", escaped(&panel.title)));
    figure
        .raw("<p class=\"readout\">At <span class=\"step\">the last step</span>:</p>\n<ul class=\"legend\">");
    for curve in &panel.curves {
        let last = curve.values.last().map_or(String::new(), |value| rounded(*value));
        figure.raw(&format!(
            "<li><svg viewBox=\"0 0 36 4\" aria-hidden=\"true\"><path class=\"curve {}\" d=\"M0 2H36\"/></svg>{} \
             <span class=\"value\">{last}</span></li>",
            curve.class,
            escaped(&curve.name)
        ));
    }
    figure.raw("</ul>");
    figure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::curves::Panels;
    use serde_json::{Value, json};

    fn history(lines: &[Value]) -> Result<History, SaveError> {
        let mut panels = Panels::with_training();
        lines.iter().for_each(|line| panels.add(line));
        Ok(History { panels: panels.finish(), not_used: 0 })
    }

    fn line(step: u64) -> Value {
        let losses = json!({ "a</script>": 1.0 / 3.0 });
        json!({ "step": step, "losses": losses, "learning_rate": 1e-5, "tokens_per_s": 10 })
    }

    #[test]
    fn several_runs_share_panels() {
        let eval = json!({ "step": 2, "eval": { "a</script>": { "loss": 2.0 } } });
        let names = ["x".to_string(), "y".to_string()];
        let histories = [history(&[line(1), line(2), eval]), history(&[line(1)])];
        let panels = panels(&names, &histories);
        let titles: Vec<_> = panels.iter().map(|panel| panel.title.as_str()).collect();
        assert_eq!(titles, ["a</script> loss", "learning rate", "tokens/s"]);
        let curves: Vec<_> =
            panels[0].curves.iter().map(|curve| (curve.name.as_str(), curve.class.as_str())).collect();
        let classes =
            [("x train", "k0 d0 train"), ("x validation", "k0 d0 validation"), ("y train", "k1 d0 train")];
        assert_eq!(curves, classes);
        assert_eq!(panels[0].curves[0].values, [0.333333, 0.333333]);
        let html = body(&names, &histories).unwrap().into_string();
        assert!(html.contains("<figcaption>a&lt;/script&gt; loss</figcaption>"), "{html}");
        let (_, rest) = html.split_once("id=\"curves-data\">").unwrap();
        let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(data["panels"][0]["curves"][1]["steps"], json!([2]));
    }

    #[test]
    fn eighteen_runs_have_different_styles() {
        let names: Vec<String> = (0..18).map(|number| number.to_string()).collect();
        let histories: Vec<_> = names.iter().map(|_| history(&[line(1)])).collect();
        let panels = panels(&names, &histories);
        let classes: std::collections::BTreeSet<_> =
            panels[0].curves.iter().map(|curve| &curve.class).collect();
        assert_eq!(classes.len(), 18);
    }

    #[test]
    fn a_long_run_has_few_points() {
        let lines: Vec<_> = (1..=30_000).map(line).collect();
        let panels = panels(&["x".into()], &[history(&lines)]);
        let longest = panels.iter().flat_map(|panel| &panel.curves).map(|curve| curve.steps.len()).max();
        assert!(longest.is_some_and(|n| n <= MOST_POINTS + 2), "{longest:?}");
    }

    #[test]
    fn a_run_without_steps_says_so() {
        assert!(body(&["x".into()], &[history(&[])]).is_err());
    }
}
