//! The text of a window in stretches, by the times in it (transformers' `_retrieve_segment`, after the published
//! `whisper/transcribe.py`).

/// A stretch of a clip, and the ids of its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    /// In slices from the start of the window.
    pub start: usize,
    /// In slices from the start of the window.
    pub end: usize,
    /// With the times.
    pub ids: Vec<u32>,
}

/// The stretches of a text that has no end id, and how many slices of the window are done with where it is not all.
/// `first` is the first id that is a time, `length` the window's in slices.
pub(super) fn stretches(ids: &[u32], first: Option<u32>, length: usize) -> (Vec<Stretch>, Option<usize>) {
    let time = |id: &u32| first.and_then(|first| id.checked_sub(first)).map(|slices| slices as usize);
    let times: Vec<Option<usize>> = ids.iter().map(time).collect();
    let pairs = (1..ids.len()).filter(|&i| times[i - 1].is_some() && times[i].is_some());
    let mut cuts: Vec<usize> = pairs.collect();
    let Some(last) = cuts.last_mut() else {
        // No timestamp tells where a stretch ends: the whole window is one.
        let end = times.iter().flatten().last().copied().filter(|end| *end > 0).unwrap_or(length);
        return (vec![Stretch { start: 0, end, ids: ids.to_vec() }], None);
    };
    let ends_with_one = matches!(times[..], [.., None, Some(_)]);
    // The pair that nothing follows stays together, and what follows it is decoded again in the next window.
    let unfinished = *last;
    if ends_with_one {
        cuts.push(ids.len());
    } else {
        *last += 1;
    }
    let mut stretches = Vec::new();
    let mut from = 0;
    for (number, &to) in cuts.iter().enumerate() {
        let end_at = if number + 1 < cuts.len() || ends_with_one { to - 1 } else { to - 2 };
        let place = |at: usize| times.get(at).copied().flatten().unwrap_or_default();
        stretches.push(Stretch {
            start: place(from),
            end: place(end_at.max(from)),
            ids: ids[from..to].to_vec(),
        });
        from = to;
    }
    let done = times[unfinished - 1].filter(|_| !ends_with_one);
    // From a pair at 0 on, the same would be decoded again for ever.
    (stretches, done.filter(|done| *done > 0))
}

/// The ids of a stretch that the next window is read with: a pair of times at its end counts once.
pub(super) fn carried(ids: &[u32], first: Option<u32>) -> &[u32] {
    match ids {
        [rest @ .., time, _] if ids.len() > 2 && first.is_some_and(|first| *time >= first) => {
            &ids[..rest.len() + 1]
        }
        _ => ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, end and ids.
    type Cut = (usize, usize, Vec<u32>);

    /// Ids from 100 on are times.
    fn cut(ids: &[u32]) -> (Vec<Cut>, Option<usize>) {
        let (stretches, done) = stretches(ids, Some(100), 50);
        (stretches.into_iter().map(|s| (s.start, s.end, s.ids)).collect(), done)
    }

    #[test]
    fn texts_are_cut_between_times() {
        assert_eq!(cut(&[1, 2]), (vec![(0, 50, vec![1, 2])], None));
        assert_eq!(cut(&[100, 1, 110]), (vec![(0, 10, vec![100, 1, 110])], None));
        let two = vec![(0, 10, vec![100, 1, 110]), (12, 20, vec![112, 2, 120])];
        assert_eq!(cut(&[100, 1, 110, 112, 2, 120]), (two, None));
        // What was begun after the last pair is decoded again from there.
        assert_eq!(cut(&[100, 1, 110, 110, 2]), (vec![(0, 10, vec![100, 1, 110, 110])], Some(10)));
        assert_eq!(cut(&[100, 1, 110, 111]), (vec![(0, 10, vec![100, 1, 110, 111])], Some(10)));
        assert_eq!(cut(&[100, 100, 1]).1, None, "a pair at 0 does not stand still");
        assert_eq!(cut(&[]), (vec![(0, 50, vec![])], None));
    }

    #[test]
    fn a_pair_is_carried_once() {
        assert_eq!(carried(&[100, 1, 110, 110], Some(100)), [100, 1, 110]);
        assert_eq!(carried(&[100, 1, 110], Some(100)), [100, 1, 110]);
        assert_eq!(carried(&[110, 110], Some(100)), [110, 110]);
        assert_eq!(carried(&[100, 1, 110, 110], None), [100, 1, 110, 110]);
    }
}
