//! The most bytes of a page.

use super::super::html::Section;
use std::ops::Range;

/// The most bytes of a page: 10 MB.
pub const MOST_BYTES: usize = 10_000_000;

/// Replaces the largest figures by a sentence until the sections have at most `most` bytes.
pub(super) fn limit(sections: &mut [Section], most: usize) {
    let mut total: usize = sections.iter().map(|section| section.body.as_str().len()).sum();
    while total > most {
        let places = sections.iter().enumerate().flat_map(|(number, section)| {
            figures(section.body.as_str()).into_iter().map(move |place| (number, place))
        });
        let Some((number, place)) = places.max_by_key(|(_, place)| place.len()) else { return };
        let left_out = format!(
            "<p class=\"note\">A figure of {:.1} MB is left out, because a page has at most {} MB.</p>",
            place.len() as f64 / 1e6,
            MOST_BYTES / 1_000_000
        );
        if left_out.len() >= place.len() {
            return;
        }
        total -= place.len() - left_out.len();
        let mut text = std::mem::take(&mut sections[number].body).into_string();
        text.replace_range(place, &left_out);
        sections[number].body.raw(text.trim_end());
    }
}

/// The places of the figures in a text. Only elements begin with `<`, because text is escaped.
fn figures(text: &str) -> Vec<Range<usize>> {
    const END: &str = "</figure>";
    let place = |(start, _): (usize, &str)| {
        let length = text[start..].find(END)? + END.len();
        Some(start..start + length)
    };
    text.match_indices("<figure").filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::html::Html;
    use super::*;

    #[test]
    fn the_largest_figures_are_left_out() {
        let figure = |n: usize| {
            let mut body = Html::new();
            body.raw(&format!("<figure>{}</figure>", "x".repeat(n)));
            Section { id: "a".into(), title: "A".into(), body }
        };
        let mut sections = [figure(1_000), figure(400_000), figure(2_000_000)];
        limit(&mut sections, 500_000);
        let texts = sections.map(|section| section.body.into_string());
        assert!(texts[0].len() > 1_000 && texts[1].len() > 400_000, "the smaller ones stay");
        assert!(texts[2].contains("A figure of 2.0 MB is left out"), "{}", texts[2]);
    }

    #[test]
    fn a_page_without_figures_stays_as_it_is() {
        let mut body = Html::new();
        body.element("p", "", "<figure>");
        let mut sections = [Section { id: "a".into(), title: "A".into(), body }];
        let before = sections.clone();
        limit(&mut sections, 1);
        assert_eq!(sections, before);
    }
}
