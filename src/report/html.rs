//! HTML as text: every value is escaped, figures are drawn in place.

use super::DrawError;
use super::figure::{Format, Scene};
use std::fmt::{Display, Write};

/// A piece of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Html(String);

impl Html {
    /// An empty piece.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of the piece.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The text of the piece so far.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Add an element with a text: `element("p", "", text)`; attributes as in HTML: `class="note"`.
    pub fn element(&mut self, name: &str, attributes: &str, text: &str) {
        let space = if attributes.is_empty() { "" } else { " " };
        let _ = writeln!(self.0, "<{name}{space}{attributes}>{}</{name}>", escaped(text));
    }

    /// Add an element around a piece.
    pub fn nested(&mut self, name: &str, attributes: &str, inner: &Self) {
        let space = if attributes.is_empty() { "" } else { " " };
        let _ = writeln!(self.0, "<{name}{space}{attributes}>\n{}</{name}>", inner.0);
    }

    /// Add another piece.
    pub fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    /// Add HTML as it is.
    pub fn raw(&mut self, html: &str) {
        self.0.push_str(html);
        self.0.push('\n');
    }

    /// Add a figure as SVG, with a caption unless it is empty. `label` is read to those who do not see the figure; without one,
    /// its first line of text is.
    ///
    /// # Errors
    /// [`DrawError`] if the figure has no area or is too large.
    pub fn figure(&mut self, scene: &Scene, label: &str, caption: &str) -> Result<(), DrawError> {
        let svg = scene.encode(Format::Svg)?;
        let labels = [Some(label), scene.first_text()];
        let label = labels.into_iter().flatten().find(|label| !label.is_empty()).unwrap_or("figure");
        let named = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(label));
        let mut inner = Self::new();
        inner.raw(&String::from_utf8_lossy(&svg).replacen("<svg ", &named, 1));
        if !caption.is_empty() {
            inner.element("figcaption", "", caption);
        }
        self.nested("figure", "", &inner);
        Ok(())
    }

    /// Add a table, if it has rows, with a caption unless it is empty.
    pub fn table<C: Into<Cell>>(
        &mut self,
        caption: &str,
        header: &[&str],
        rows: impl IntoIterator<Item = Vec<C>>,
    ) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        let name = |cell: &&str| match cell.is_empty() {
            true => "<td></td>".to_string(),
            false => format!("<th scope=\"col\">{}</th>", escaped(cell)),
        };
        self.raw("<div class=\"scroll\"><table>");
        if !caption.is_empty() {
            self.element("caption", "", caption);
        }
        self.raw(&format!("<tr>{}</tr>", header.iter().map(name).collect::<String>()));
        for row in rows {
            let cells: String = row.into_iter().map(|cell| cell.into().html()).collect();
            self.raw(&format!("<tr>{cells}</tr>"));
        }
        self.raw("</table></div>");
    }
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// The name of a row.
    Name(String),
    /// A verdict, in the colour of success if it is true, else in that of failure.
    Verdict(bool, String),
    /// A number, on a darker ground for a larger share of the largest, 0 to 1.
    Shaded(f32, String),
    /// A number after a bar, whose length is its share of the largest, 0 to 1.
    Bar(f32, String),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Cell {
    fn html(self) -> String {
        let cell = |attributes: String, text: &str| format!("<td {attributes}>{}</td>", escaped(text));
        match self {
            Self::Text(text) => format!("<td>{}</td>", escaped(&text)),
            Self::Name(text) => format!("<th scope=\"row\">{}</th>", escaped(&text)),
            Self::Verdict(passed, text) => cell(format!("class=\"{}\"", verdict_class(passed)), &text),
            Self::Shaded(share, text) => cell(shade(share), &text),
            Self::Bar(share, text) => cell(of_share("bar", share), &text),
        }
    }
}

/// The class of an element for what is right, or wrong.
pub(super) fn verdict_class(passed: bool) -> &'static str {
    if passed { "passed" } else { "missed" }
}

/// The attributes of an element on a darker ground for a larger share of 0 to 1.
pub(super) fn shade(share: f32) -> String {
    of_share("shaded", share)
}

fn of_share(class: &str, share: f32) -> String {
    let percent = if share.is_finite() { 100.0 * share.clamp(0.0, 1.0) } else { 0.0 };
    format!("class=\"{class}\" style=\"--share:{percent:.1}%\"")
}

/// A part of a page, under its own title.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The anchor of links to it, such as `curves`.
    pub id: String,
    /// The title.
    pub title: String,
    /// The content below the title.
    pub body: Html,
}

impl Section {
    /// A section; if its content could not be made, the reason is its text.
    pub fn new(id: &str, title: &str, body: Result<Html, impl Display>) -> Self {
        let body = body.unwrap_or_else(|error| {
            let mut body = Html::new();
            body.element("p", "class=\"note\"", &format!("Not shown: {error}"));
            body
        });
        Self { id: id.into(), title: title.into(), body }
    }
}

/// A text with HTML's special characters replaced, for content and for attributes in double quotes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Bar, Chart};
    use super::super::figure::bars;
    use super::*;

    #[test]
    fn values_are_escaped() {
        let mut html = Html::new();
        html.element("p", "class=\"note\"", "a < b & \"c\"");
        html.table("", &["<i>"], [vec!["passed".to_string()], vec!["<script>".into()]]);
        html.table("", &["none"], [] as [Vec<Cell>; 0]);
        let expected = "<p class=\"note\">a &lt; b &amp; &quot;c&quot;</p>\n\
             <div class=\"scroll\"><table>\n<tr><th scope=\"col\">&lt;i&gt;</th></tr>\n<tr><td>passed</td></tr>\n\
             <tr><td>&lt;script&gt;</td></tr>\n</table></div>\n";
        assert_eq!(html.into_string(), expected);
    }

    #[test]
    fn a_cell_has_the_style_of_its_kind() {
        let mut html = Html::new();
        let cells = [
            Cell::Name("<b>".into()),
            Cell::Verdict(false, "missed".into()),
            Cell::Shaded(0.25, "1".into()),
            Cell::Bar(f32::NAN, "0".into()),
        ];
        html.table("counts", &["", "a"], [cells.to_vec()]);
        let html = html.into_string();
        for part in [
            "<caption>counts</caption>\n<tr><td></td><th scope=\"col\">a</th></tr>",
            "<th scope=\"row\">&lt;b&gt;</th><td class=\"missed\">missed</td>",
            "<td class=\"shaded\" style=\"--share:25.0%\">1</td>",
            "<td class=\"bar\" style=\"--share:0.0%\">0</td>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_figure_has_a_name_and_a_caption() {
        let chart = Chart { title: "a < b".into(), x: "x".into(), y: "y".into(), log: [false; 2] };
        let bar = Bar { name: "one".into(), value: 1.0, deviation: 0.0, reference: None };
        let scene = bars(&chart, &[bar]);
        let mut html = Html::new();
        html.figure(&scene, "", "\"quoted\"").unwrap();
        let html = html.into_string();
        assert!(html.contains("<svg role=\"img\" aria-label=\"a &lt; b\" xmlns"), "{html}");
        assert!(html.contains("<figcaption>&quot;quoted&quot;</figcaption>\n</figure>"), "{html}");
    }
}
