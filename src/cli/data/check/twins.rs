//! Content that is there more than once.

use super::part::{Named, Part};
use serde::Serialize;

/// Samples with the same content.
#[derive(Debug, PartialEq, Serialize)]
pub struct Twins {
    /// Who they are.
    pub samples: Vec<Named>,
    /// Not all have the same label: one at least is wrong.
    pub labels_differ: bool,
    /// They are in more than one split: what is tested on was trained on.
    pub across_splits: bool,
}

/// The samples of all parts whose content is not theirs alone, by the first of each. Takes the digests out of the
/// parts.
pub fn find(parts: &mut [Part]) -> Vec<Twins> {
    let mut places = Vec::new();
    for (p, part) in parts.iter_mut().enumerate() {
        places.extend(
            std::mem::take(&mut part.contents).into_iter().map(|(content, number)| (content, p, number)),
        );
    }
    places.sort_unstable();
    let mut groups: Vec<_> =
        places.chunk_by(|one, next| one.0 == next.0).filter(|group| group.len() > 1).collect();
    groups.sort_unstable_by_key(|group| (group[0].1, group[0].2));
    groups.into_iter().map(|group| twins(parts, group.iter().map(|(_, p, number)| (*p, *number)))).collect()
}

fn twins(parts: &[Part], places: impl Iterator<Item = (usize, u32)>) -> Twins {
    let named = places.map(|(p, number)| {
        let part = &parts[p];
        let named = (part.named)(number as usize);
        Named { split: named.split.or(part.split.clone()), ..named }
    });
    let samples: Vec<Named> = named.collect();
    let differ = |of: fn(&Named) -> &Option<String>| samples.iter().any(|one| of(one) != of(&samples[0]));
    let (labels_differ, across_splits) = (differ(|named| &named.label), differ(|named| &named.split));
    Twins { samples, labels_differ, across_splits }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::*;

    fn part(split: &str, samples: &'static [(&str, &str)]) -> Part {
        let contents = samples.iter().map(|(content, _)| Digest::of_bytes(&[], content.as_bytes())).zip(0..);
        let named = |number: usize| Named {
            name: number.to_string(),
            split: None,
            label: Some(samples[number].1.to_string()),
        };
        Part {
            split: Some(split.into()),
            contents: contents.collect(),
            named: Box::new(named),
            ..Part::new("samples")
        }
    }

    #[test]
    fn twins_know_their_labels_and_splits() {
        let train: &[_] = &[("a", "cat"), ("b", "cat"), ("c", "dog"), ("b", "dog"), ("a", "cat")];
        let found = find(&mut [part("train", train), part("test", &[("d", "cat"), ("c", "dog")])]);
        let summary: Vec<_> = found
            .iter()
            .map(|twins| {
                let names = twins.samples.iter().map(|named| {
                    let split = named.split.as_deref().unwrap_or("none");
                    format!("{split} {}", named.name)
                });
                (names.collect::<Vec<_>>().join(", "), twins.labels_differ, twins.across_splits)
            })
            .collect();
        let expected = [
            ("train 0, train 4", false, false),
            ("train 1, train 3", true, false),
            ("train 2, test 1", false, true),
        ];
        assert_eq!(summary, expected.map(|(names, labels, splits)| (names.to_string(), labels, splits)));
    }
}
