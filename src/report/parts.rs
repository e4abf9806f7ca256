//! Validation samples on a page: which are shown, the tokens of each part, and figures of them.

use super::DrawError;
use crate::data::Sample;
use crate::random;
use crate::report::figure::{self, Format};
use crate::report::html::Html;
use crate::report::tokens::text_of_id;
use crate::sample::{Composition, Part};
use smalti_contract::{Content, Group, Tokens};

/// The most bytes of the figure of one input, and the most characters of a text.
const MOST_BYTES: usize = 120_000;
const MOST_CHARACTERS: usize = 600;

/// Samples of which sections show all or some.
const SHOWN: usize = 6;

/// The numbers of at most `most` of the six samples that sections show, of `n` samples.
pub(super) fn examples(most: usize, n: usize) -> impl Iterator<Item = usize> {
    let all = SHOWN.min(n);
    let most = most.min(all);
    (0..most).map(move |i| random::spread(i * all / most, all, n))
}

/// The tokens of a part of a sample, as its tokenizer makes them.
pub(super) struct PartTokens<'a> {
    pub part: &'a Part,
    /// The number of the part's first kind among those of its stream.
    pub first_kind: usize,
    pub tokens: Tokens,
}

/// The tokens of each part that the sample has, in the order of the settings; of a pair, those of the first document.
pub(super) fn of<'a>(task: &'a Composition, sample: &Sample) -> Vec<PartTokens<'a>> {
    let of_part = |part: &'a Part| {
        let tokens = counted_from_0(groups(task, sample, part).to_vec());
        (!tokens.is_empty()).then_some(PartTokens { part, first_kind: task.first_kind(part), tokens })
    };
    task.parts().iter().filter_map(of_part).collect()
}

/// The tokens of a part of a sample by kind, in the order of its stream.
pub(super) fn groups<'a>(task: &Composition, sample: &'a Sample, part: &Part) -> &'a [Group] {
    let first = task.first_kind(part);
    let stream = sample.inputs.iter().find(|(stream, _)| *stream == part.stream);
    stream.and_then(|(_, all)| all.groups.get(first..first + part.kinds.len())).unwrap_or_default()
}

/// Tokens whose order counts from 0 without gaps.
pub(super) fn counted_from_0(mut groups: Vec<Group>) -> Tokens {
    let mut orders: Vec<u32> = groups.iter().flat_map(|group| group.order.iter().copied()).collect();
    orders.sort_unstable();
    for order in groups.iter_mut().flat_map(|group| &mut group.order) {
        *order = orders.partition_point(|other| other < order) as u32;
    }
    Tokens::new(groups)
}

/// The first `n` tokens.
fn first(tokens: &Tokens, n: usize) -> Tokens {
    let of_group = |group: &Group| {
        let axes = group.positions.len().checked_div(group.len()).unwrap_or(0);
        let kept: Vec<usize> = (0..group.len()).filter(|i| (group.order[*i] as usize) < n).collect();
        let content = match &group.content {
            Content::Ids(ids) => Content::Ids(kept.iter().map(|&i| ids[i]).collect()),
            Content::Features { values, dim } => {
                let values = kept.iter().flat_map(|i| values[i * dim..][..*dim].iter().copied()).collect();
                Content::Features { values, dim: *dim }
            }
        };
        Group {
            content,
            positions: kept
                .iter()
                .flat_map(|i| group.positions[i * axes..][..axes].iter().copied())
                .collect(),
            order: kept.iter().map(|&i| group.order[i]).collect(),
            time: kept.iter().map(|&i| group.time[i]).collect(),
        }
    };
    Tokens::new(tokens.groups.iter().map(of_group).collect())
}

impl PartTokens<'_> {
    /// The text of ids that are one; `None` for other tokens.
    pub(super) fn text(&self) -> Option<String> {
        text_of(self.part, self.tokens.groups.first()?.content.ids()?)
    }

    /// The text of each token of a kind, by its number among those of the part: that of its id, or its number.
    pub(super) fn labels(&self, kind: usize) -> Vec<String> {
        let Some(group) = self.tokens.groups.get(kind) else { return vec![] };
        match group.content.ids() {
            Some(ids) => ids.iter().map(|id| label_of(self.part, *id)).collect(),
            None => (0..group.len()).map(|place| place.to_string()).collect(),
        }
    }

    /// Adds a figure of the tokens, or their text. An image is about `side` pixels wide.
    pub(super) fn draw(&self, html: &mut Html, side: f32) -> Result<(), DrawError> {
        let (name, tokenizer) = (&self.part.name, self.part.tokenizer.as_ref());
        if let Some(scene) = figure::image(tokenizer, &self.tokens, side, None) {
            return html.figure(&scene, &format!("{name}: an image"), name);
        }
        if let Some(text) = self.text() {
            html.element("p", "class=\"value\"", &format!("{name}: {}", shortened(&text, MOST_CHARACTERS)));
            return Ok(());
        }
        let all = self.tokens.len();
        let mut shown = all;
        let scene = loop {
            let scene = figure::of(tokenizer, &first(&self.tokens, shown));
            if shown < 8 || scene.encode(Format::Svg)?.len() <= MOST_BYTES {
                break scene;
            }
            shown /= 2;
        };
        let of_all =
            if shown < all { format!(" (the first {shown} of {all} tokens)") } else { String::new() };
        html.figure(&scene, &format!("{name}: {shown} tokens"), &format!("{name}{of_all}"))
    }

    /// Adds the image that the tokens decode to, about `side` pixels wide, without a caption; returns whether they are one.
    pub(super) fn thumbnail(&self, html: &mut Html, side: f32, label: &str) -> Result<bool, DrawError> {
        let scene = figure::image(self.part.tokenizer.as_ref(), &self.tokens, side, None);
        scene.map_or(Ok(false), |scene| html.figure(&scene, label, "").map(|()| true))
    }
}

/// The text of the ids of a part, without special ids; `None` if they are no text.
pub(super) fn text_of(part: &Part, ids: &[u32]) -> Option<String> {
    let special = &part.special_ids;
    let is_special =
        |id: &u32| special.begin.iter().chain(&special.end).chain(&special.mask).any(|of| of == id);
    let known: Vec<u32> =
        ids.iter().copied().filter(|id| (*id as usize) < part.base_vocabulary && !is_special(id)).collect();
    let tokens = Tokens::new(vec![Group::sequence(Content::Ids(known))]);
    part.tokenizer.decode_any(&tokens).ok()?.downcast::<String>().ok().map(|text| *text)
}

/// The text of an id, or the name of a special id, or the id.
pub(super) fn label_of(part: &Part, id: u32) -> String {
    let special = &part.special_ids;
    let text =
        if (id as usize) < part.base_vocabulary { text_of_id(part.tokenizer.as_ref(), id) } else { None };
    match text {
        Some(text) => text,
        None if special.mask == Some(id) => "[mask]".into(),
        None if special.begin.contains(&id) => "[begin]".into(),
        None if special.end.contains(&id) => "[end]".into(),
        None => id.to_string(),
    }
}

/// A text of at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_with_fewer_examples_show_some_of_the_six() {
        let six: Vec<usize> = examples(6, 100).collect();
        assert!(six.len() == 6 && six.is_sorted());
        assert_eq!(examples(3, 100).collect::<Vec<_>>(), [six[0], six[2], six[4]]);
        assert_eq!(examples(3, 2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(examples(3, 0).count(), 0);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!((shortened("häß", 2), shortened("ab", 2)), ("hä…".into(), "ab".to_string()));
    }

    #[test]
    fn the_tokens_of_a_part_count_from_0_and_can_be_cut() {
        let group = |ids: &[u32], order: &[u32]| Group {
            content: Content::Ids(ids.to_vec()),
            positions: order.iter().flat_map(|&place| [place, 7]).collect(),
            order: order.to_vec(),
            time: vec![0; order.len()],
        };
        let tokens = counted_from_0(vec![group(&[1, 2], &[4, 9]), group(&[3], &[6])]);
        assert_eq!((&tokens.groups[0].order[..], &tokens.groups[1].order[..]), (&[0, 2][..], &[1][..]));
        let cut = first(&tokens, 2);
        assert_eq!((cut.len(), cut.groups[0].content.ids()), (2, Some(&[1][..])));
        assert_eq!(cut.groups[0].positions, [4, 7]);
    }
}
