//! Rules that suppress the ids that may not come next.
//!
//! They are those of transformers' `WhisperGenerationMixin`, in its order: ids that no text begins with, ids that are never
//! generated, and `WhisperTimeStampLogitsProcessor`, which follows `ApplyTimestampRules` of the published `whisper`.

/// Rules that set the scores of ids to -∞.
pub(super) struct Rules {
    pub begin_suppress: Vec<u32>,
    pub suppress: Vec<u32>,
    /// If timestamps are predicted.
    pub timestamps: Option<TimestampRules>,
}

/// The rules of timestamps: they come in pairs, never decrease, and are forced if together they are more likely than any other
/// id.
pub(super) struct TimestampRules {
    /// The id for no timestamps; those after it are timestamps.
    pub no_timestamps: u32,
    /// The id that ends a text; the ids before it are text.
    pub end: u32,
    /// The latest timestamp that a text may begin with, in slices.
    pub max_initial: Option<u32>,
}

impl Rules {
    /// Set the scores of the ids that may not come after `ids` to -∞. Scores are logits or log-probabilities: `[vocabulary]`.
    pub fn apply(&self, ids: &[u32], scores: &mut [f32]) {
        let mut suppress = |suppressed: &[u32]| {
            for &id in suppressed {
                if let Some(score) = scores.get_mut(id as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
        };
        if ids.is_empty() {
            suppress(&self.begin_suppress);
        }
        suppress(&self.suppress);
        if let Some(timestamps) = &self.timestamps {
            timestamps.apply(ids, scores);
        }
    }
}

impl TimestampRules {
    fn apply(&self, ids: &[u32], scores: &mut [f32]) {
        let first = self.no_timestamps as usize + 1;
        if first >= scores.len() {
            return;
        }
        scores[self.no_timestamps as usize] = f32::NEG_INFINITY;
        let is_timestamp = |id: u32| id as usize >= first;
        let last = ids.last().is_some_and(|&id| is_timestamp(id));
        let second_last = ids.len() < 2 || is_timestamp(ids[ids.len() - 2]);
        if last {
            let suppressed =
                if second_last { first..scores.len() } else { 0..scores.len().min(self.end as usize) };
            scores[suppressed].fill(f32::NEG_INFINITY);
        }
        if let Some(&latest) = ids.iter().rev().find(|id| is_timestamp(**id)) {
            // The second of a pair may repeat the first; a new pair may not begin at 0 again.
            let earliest = latest as usize + usize::from(!last || second_last);
            let earliest = earliest.min(scores.len());
            scores[first..earliest].fill(f32::NEG_INFINITY);
        }
        if ids.is_empty() {
            scores[..first].fill(f32::NEG_INFINITY);
            let allowed = self.max_initial.map_or(scores.len(), |most| first + most as usize + 1);
            if allowed < scores.len() {
                scores[allowed..].fill(f32::NEG_INFINITY);
            }
        }
        let most_likely = scores[..first].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if log_sum_exp(&scores[first..]) > most_likely {
            scores[..first].fill(f32::NEG_INFINITY);
        }
    }
}

/// The logarithm of the sum of exponentials; -∞ without scores.
pub(super) fn log_sum_exp(scores: &[f32]) -> f32 {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest == f32::NEG_INFINITY {
        return highest;
    }
    let sum: f64 = scores.iter().map(|score| f64::from(score - highest).exp()).sum();
    highest + sum.ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids 0 to 2 are text, 3 ends it, 4 is the id for no timestamps, 5 to 9 are timestamps.
    fn allowed(ids: &[u32], scores: [f32; 10]) -> Vec<usize> {
        let timestamps = TimestampRules { no_timestamps: 4, end: 3, max_initial: Some(1) };
        let rules = Rules { begin_suppress: vec![5], suppress: vec![2], timestamps: Some(timestamps) };
        let mut scores = scores;
        rules.apply(ids, &mut scores);
        (0..10).filter(|&id| scores[id].is_finite()).collect()
    }

    #[test]
    fn timestamps_come_in_pairs_and_never_decrease() {
        let mut likely_text = [0.0; 10];
        likely_text[..4].fill(9.0);
        assert_eq!(allowed(&[], likely_text), [6], "a text begins with an early timestamp, here not 0");
        assert_eq!(allowed(&[6], likely_text), [0, 1, 3], "text after the first timestamp");
        assert_eq!(allowed(&[6, 0], likely_text), [0, 1, 3, 7, 8, 9], "no earlier timestamp");
        assert_eq!(allowed(&[6, 0, 8], likely_text), [3, 8, 9], "the second of a pair after the first");
        assert_eq!(allowed(&[6, 0, 8, 8], likely_text), [0, 1, 3]);
        assert_eq!(allowed(&[6, 0, 8, 8, 1], likely_text), [0, 1, 3, 9]);
    }

    #[test]
    fn likely_timestamps_are_forced() {
        // Together, three timestamps with logit 0 are more likely than one text id with logit 1.
        let mut scores = [0.0; 10];
        scores[0] = 1.0;
        assert_eq!(allowed(&[6, 0], scores), [7, 8, 9]);
        scores[0] = 1.1;
        assert_eq!(allowed(&[6, 0], scores), [0, 1, 3, 7, 8, 9]);
    }

    #[test]
    fn without_timestamps_only_the_listed_ids_are_suppressed() {
        let rules = Rules { begin_suppress: vec![0, 99], suppress: vec![1], timestamps: None };
        let mut scores = [0.0; 3];
        rules.apply(&[], &mut scores);
        assert_eq!(scores, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
        let mut scores = [0.0; 3];
        rules.apply(&[2], &mut scores);
        assert_eq!(scores, [0.0, f32::NEG_INFINITY, 0.0]);
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY]), f32::NEG_INFINITY);
        assert!((log_sum_exp(&[0.0, 0.0]) - 2_f32.ln()).abs() < 1e-6);
    }
}
