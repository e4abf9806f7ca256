//! Splitting the text of a window at its timestamps, as transformers' `_retrieve_segment` and the published
//! `whisper/transcribe.py` do.

/// The ids between two timestamps of a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimedIds {
    /// In slices from the start of the window.
    pub start: usize,
    /// In slices from the start of the window.
    pub end: usize,
    /// With the timestamps.
    pub ids: Vec<u32>,
}

/// Split a text without its end id at pairs of timestamps. Also the number of slices that are decoded, if it is not the whole
/// window. `first` is the first timestamp id, `length` the window's length in slices.
pub(super) fn split_at_timestamps(
    ids: &[u32],
    first: Option<u32>,
    length: usize,
) -> (Vec<TimedIds>, Option<usize>) {
    let timestamp = |id: &u32| first.and_then(|first| id.checked_sub(first)).map(|slices| slices as usize);
    let timestamps: Vec<Option<usize>> = ids.iter().map(timestamp).collect();
    let pairs = (1..ids.len()).filter(|&i| timestamps[i - 1].is_some() && timestamps[i].is_some());
    let mut cuts: Vec<usize> = pairs.collect();
    let Some(last) = cuts.last_mut() else {
        // Without a pair of timestamps, the whole window is one piece.
        let end = timestamps.iter().flatten().last().copied().filter(|end| *end > 0).unwrap_or(length);
        return (vec![TimedIds { start: 0, end, ids: ids.to_vec() }], None);
    };
    let ends_with_single = matches!(timestamps[..], [.., None, Some(_)]);
    // The ids after the last pair are decoded again in the next window.
    let last_pair = *last;
    if ends_with_single {
        cuts.push(ids.len());
    } else {
        *last += 1;
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    for (number, &to) in cuts.iter().enumerate() {
        let end_at = if number + 1 < cuts.len() || ends_with_single { to - 1 } else { to - 2 };
        let slices = |at: usize| timestamps.get(at).copied().flatten().unwrap_or_default();
        pieces.push(TimedIds {
            start: slices(from),
            end: slices(end_at.max(from)),
            ids: ids[from..to].to_vec(),
        });
        from = to;
    }
    let decoded = timestamps[last_pair - 1].filter(|_| !ends_with_single);
    // After a pair at 0, the next window would be this one again, without end.
    (pieces, decoded.filter(|decoded| *decoded > 0))
}

/// The ids of a segment that condition the next window: of a pair of timestamps at the end, only the first.
pub(super) fn conditioning_ids(ids: &[u32], first: Option<u32>) -> &[u32] {
    match ids {
        [rest @ .., timestamp, _] if ids.len() > 2 && first.is_some_and(|first| *timestamp >= first) => {
            &ids[..rest.len() + 1]
        }
        _ => ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, end and ids.
    type Piece = (usize, usize, Vec<u32>);

    /// Split ids of which those from 100 on are timestamps.
    fn split(ids: &[u32]) -> (Vec<Piece>, Option<usize>) {
        let (pieces, decoded) = split_at_timestamps(ids, Some(100), 50);
        (pieces.into_iter().map(|piece| (piece.start, piece.end, piece.ids)).collect(), decoded)
    }

    #[test]
    fn texts_are_split_between_pairs_of_timestamps() {
        assert_eq!(split(&[1, 2]), (vec![(0, 50, vec![1, 2])], None));
        assert_eq!(split(&[100, 1, 110]), (vec![(0, 10, vec![100, 1, 110])], None));
        let two = vec![(0, 10, vec![100, 1, 110]), (12, 20, vec![112, 2, 120])];
        assert_eq!(split(&[100, 1, 110, 112, 2, 120]), (two, None));
        // The ids after the last pair are decoded again.
        assert_eq!(split(&[100, 1, 110, 110, 2]), (vec![(0, 10, vec![100, 1, 110, 110])], Some(10)));
        assert_eq!(split(&[100, 1, 110, 111]), (vec![(0, 10, vec![100, 1, 110, 111])], Some(10)));
        assert_eq!(split(&[100, 100, 1]).1, None, "a pair at 0 does not repeat the window");
        assert_eq!(split(&[]), (vec![(0, 50, vec![])], None));
    }

    #[test]
    fn one_timestamp_of_a_final_pair_conditions_the_next_window() {
        assert_eq!(conditioning_ids(&[100, 1, 110, 110], Some(100)), [100, 1, 110]);
        assert_eq!(conditioning_ids(&[100, 1, 110], Some(100)), [100, 1, 110]);
        assert_eq!(conditioning_ids(&[110, 110], Some(100)), [110, 110]);
        assert_eq!(conditioning_ids(&[100, 1, 110, 110], None), [100, 1, 110, 110]);
    }
}
