//! A page about runs: one HTML document that needs no other file, and the skeleton that all pages have.
//!
//! [`of_runs`] opens the data of a run and loads its weights. A section that cannot be made states the reason, such as missing
//! data or weights, so that there is a page of every run.

mod curves;
mod data;
mod examples;
mod history;
mod rules;
mod settings;
mod size;
mod summary;

pub use size::MOST_BYTES;

use super::compare::{ComparedRun, compare};
use super::html::{Html, Section, escaped};
use super::inside;
use crate::run::{Run, Weights};
use crate::train::End;
use candle_core::Device;
use history::History;
use std::path::Path;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Bytes for the titles of the sections and the links to them.
const ROOM: usize = 4_000;

/// A finished page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The document.
    pub html: String,
    /// The ids of its sections, in their order.
    pub sections: Vec<String>,
}

/// The page of a run: its curves, settings, data, tokens of examples and attention rules, and the inside of its model, which
/// predicts at most `samples` validation rows of each task for confusions (0 for all). The curves and settings of `others` are
/// beside its own. The page has at most [`MOST_BYTES`]: the largest figures are left out of a larger one.
pub fn of_runs(run: &Run, others: &[Run], device: &Device, samples: usize) -> Page {
    let runs: Vec<&Run> = std::iter::once(run).chain(others).collect();
    let names = names(&runs.iter().map(|run| run.folder()).collect::<Vec<_>>());
    let histories: Vec<_> = runs.iter().map(|run| History::of(run)).collect();
    let comparison = compare(&runs, None);
    let tasks = run.splits(run.config());
    let opened = tasks.as_deref().unwrap_or_default();
    let mut sections = vec![];
    let first = comparison.iter().flat_map(|all| &all.runs).find(|compared| compared.run == run.folder());
    if let Some(first) = first {
        let not_used =
            histories.first().and_then(|first| first.as_ref().ok()).map_or(0, |first| first.not_used);
        let body = summary::body(run, first, not_used, opened);
        sections.push(Section::new("summary", "Summary", Ok::<_, String>(body)));
    }
    sections.push(Section::new("curves", "Curves", curves::body(&names, &histories)));
    sections.push(Section::new("settings", "Settings", settings::body(&runs, &names, &comparison)));
    match &tasks {
        Ok(tasks) => {
            sections.push(Section::new("data", "Data", data::body(tasks)));
            sections.push(Section::new("examples", "Tokens of examples", examples::body(tasks)));
        }
        Err(error) => sections.push(Section::new("data", "Data", Err(error))),
    }
    match run.load(Weights::Best, device) {
        Ok((model, _)) => {
            sections.push(Section::new("rules", "Attention rules", rules::body(&model)));
            sections.extend(inside::sections(&model, opened, samples));
        }
        Err(error) => sections.push(Section::new("rules", "Attention rules", Err(error))),
    }
    let title = match &names[..] {
        [name] => format!("Run {name}"),
        names => format!("Runs {}", names.join(", ")),
    };
    let mut lead = Html::new();
    lead.element("p", "class=\"note\"", &lead_text(&names));
    let around = document(&title, &lead, &[]).len() + ROOM;
    size::limit(&mut sections, MOST_BYTES.saturating_sub(around));
    Page {
        html: document(&title, &lead, &sections),
        sections: sections.into_iter().map(|section| section.id).collect(),
    }
}

fn lead_text(names: &[String]) -> String {
    let by = format!("Written by smalti {}.", env!("CARGO_PKG_VERSION"));
    match names {
        [_] => by,
        [first, ..] => {
            format!("{by} Curves and settings show all runs; the other sections show {first} only.")
        }
        [] => by,
    }
}

/// The state of a training.
fn end(run: &ComparedRun) -> &'static str {
    match run.end {
        Some(End::Finished) => "finished",
        Some(End::Patience) => "stopped early, because the validation loss fell no further (train.patience)",
        Some(End::Stopped) => "stopped by a signal",
        None if run.step == 0 => "not begun",
        None => "unfinished: it still runs, or was killed",
    }
}

/// A document of sections under one title, with links to them; light or dark as the reader's system is, and printable.
pub fn document(title: &str, lead: &Html, sections: &[Section]) -> String {
    let mut page = Html::new();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.element("title", "", title);
    page.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<header>"));
    page.element("h1", "", title);
    page.append(lead);
    page.raw("<nav aria-label=\"Sections\"><ul>");
    for Section { id, title, .. } in sections {
        page.raw(&format!("<li><a href=\"#{}\">{}</a></li>", escaped(id), escaped(title)));
    }
    page.raw("</ul></nav>\n</header>\n<main>");
    for Section { id, title, body } in sections {
        page.raw(&format!("<section aria-labelledby=\"{}\">", escaped(id)));
        page.element("h2", &format!("id=\"{}\"", escaped(id)), title);
        page.append(body);
        page.raw("</section>");
    }
    page.raw(&format!("</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>"));
    page.into_string()
}

/// A name for each folder: its last part, or the whole path if two have the same.
fn names(folders: &[&Path]) -> Vec<String> {
    let last = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = |folder: &&Path| {
        let shared = folders.iter().filter(|other| last(other) == last(folder)).count() > 1;
        last(folder).filter(|_| !shared).unwrap_or_else(|| folder.display().to_string())
    };
    folders.iter().map(name).collect()
}

/// A title below that of a section, unless it is empty: the name of a task of a mix.
fn task_title(name: &str, body: &mut Html) {
    if !name.is_empty() {
        body.element("h3", "", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_one_title_and_a_link_to_each_section() {
        let mut body = Html::new();
        body.element("p", "", "text");
        let good = Section::new("a", "A < B", Ok::<_, String>(body));
        let bad = Section::new("b", "B", Err("no <file>"));
        let page = document("Run <x>", &Html::new(), &[good, bad]);
        assert_eq!(page.matches("<h1").count(), 1);
        for part in [
            "<html lang=\"en\">",
            "<title>Run &lt;x&gt;</title>",
            "<li><a href=\"#a\">A &lt; B</a></li>",
            "<section aria-labelledby=\"a\">\n<h2 id=\"a\">A &lt; B</h2>\n<p>text</p>\n</section>",
            "<p class=\"note\">Not shown: no &lt;file&gt;</p>",
            "prefers-color-scheme: dark",
            "@media print",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
    }

    /// The contrast of two colours `#rrggbb` (WCAG 2.2, "contrast ratio").
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| {
            let channel = |i: usize| f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
            let [red, green, blue] = [1, 3, 5].map(|i| linear(channel(i)));
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let (a, b) = (luminance(one), luminance(other));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn colours_have_contrast_in_light_in_dark_and_on_paper() {
        let themes: Vec<&str> = STYLE.split(":root {").skip(1).collect();
        assert_eq!(themes.len(), 3);
        for theme in themes {
            let theme = theme.split_once('}').unwrap().0;
            let colour = |name: &str| theme.split_once(&format!("--{name}: ")).map(|(_, rest)| &rest[..7]);
            let ground = colour("ground").unwrap();
            for text in ["ink", "soft", "link", "passed", "missed"] {
                // Paper has no links.
                let Some(found) = colour(text) else { continue };
                assert!(contrast(found, ground) >= 4.5, "{text} {found} on {ground}");
            }
            let shade = contrast(colour("ink").unwrap(), colour("shade").unwrap());
            assert!(shade >= 4.5, "text on the darkest cell: {shade}");
            for line in 0..6 {
                let found = colour(&format!("c{line}")).unwrap();
                assert!(contrast(found, ground) >= 3.0, "c{line} {found} on {ground}");
            }
        }
    }

    #[test]
    fn runs_of_one_name_are_named_by_their_paths() {
        let name = |folders: &[&str]| names(&folders.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(name(&["runs/a", "runs/b/"]), ["a", "b"]);
        assert_eq!(name(&["x/a", "y/a", "b"]), ["x/a", "y/a", "b"]);
        assert_eq!(name(&[".."]), [".."]);
    }
}
