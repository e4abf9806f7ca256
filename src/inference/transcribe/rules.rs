//! Which ids may come next.
//!
//! The order and the rules are those of transformers' `WhisperGenerationMixin`: what no text begins with, what is never
//! written, and `WhisperTimeStampLogitsProcessor`, which follows `ApplyTimestampRules` of the published `whisper`.

/// The rules by which scores are struck out.
pub(super) struct Rules {
    pub begin_suppress: Vec<u32>,
    pub suppress: Vec<u32>,
    /// If timestamps are predicted.
    pub times: Option<Times>,
}

/// The rules of times: they come in pairs, never go back, and are written wherever they are together likelier than any
/// other id.
pub(super) struct Times {
    /// The id that says that there are none.
    pub none: u32,
    /// The id after a text; neither it nor the ids above it are text.
    pub end: u32,
    /// The latest that a text may begin with, in slices.
    pub max_initial: Option<u32>,
}

impl Rules {
    /// Sets the scores of what may not come after `written` to -∞. Scores are logits or log-probabilities, one for each
    /// id.
    pub fn apply(&self, written: &[u32], scores: &mut [f32]) {
        let mut strike = |ids: &[u32]| {
            for &id in ids {
                if let Some(score) = scores.get_mut(id as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
        };
        if written.is_empty() {
            strike(&self.begin_suppress);
        }
        strike(&self.suppress);
        if let Some(times) = &self.times {
            times.apply(written, scores);
        }
    }
}

impl Times {
    fn apply(&self, written: &[u32], scores: &mut [f32]) {
        let first = self.none as usize + 1;
        if first >= scores.len() {
            return;
        }
        scores[self.none as usize] = f32::NEG_INFINITY;
        let is_time = |id: u32| id as usize >= first;
        let last = written.last().is_some_and(|&id| is_time(id));
        let before = written.len() < 2 || is_time(written[written.len() - 2]);
        if last {
            let text = if before { first..scores.len() } else { 0..scores.len().min(self.end as usize) };
            scores[text].fill(f32::NEG_INFINITY);
        }
        if let Some(&latest) = written.iter().rev().find(|id| is_time(**id)) {
            // The second of a pair may repeat the first; a new pair may not begin at 0 again.
            let earliest = latest as usize + usize::from(!last || before);
            let earliest = earliest.min(scores.len());
            scores[first..earliest].fill(f32::NEG_INFINITY);
        }
        if written.is_empty() {
            scores[..first].fill(f32::NEG_INFINITY);
            let allowed = self.max_initial.map_or(scores.len(), |most| first + most as usize + 1);
            if allowed < scores.len() {
                scores[allowed..].fill(f32::NEG_INFINITY);
            }
        }
        let likeliest = scores[..first].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if log_sum_exp(&scores[first..]) > likeliest {
            scores[..first].fill(f32::NEG_INFINITY);
        }
    }
}

/// The logarithm of the sum of exponentials; -∞ of nothing.
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

    /// Ids 0 to 2 are text, 3 the end, 4 means that there are no timestamps, 5 to 9 are times.
    fn allowed(written: &[u32], scores: [f32; 10]) -> Vec<usize> {
        let times = Times { none: 4, end: 3, max_initial: Some(1) };
        let rules = Rules { begin_suppress: vec![5], suppress: vec![2], times: Some(times) };
        let mut scores = scores;
        rules.apply(written, &mut scores);
        (0..10).filter(|&id| scores[id].is_finite()).collect()
    }

    #[test]
    fn times_come_in_pairs_and_never_go_back() {
        let mut likely_text = [0.0; 10];
        likely_text[..4].fill(9.0);
        assert_eq!(allowed(&[], likely_text), [6], "a text begins with a time, here not 0, and not late");
        assert_eq!(allowed(&[6], likely_text), [0, 1, 3], "after the first, text");
        assert_eq!(allowed(&[6, 0], likely_text), [0, 1, 3, 7, 8, 9], "no earlier time");
        assert_eq!(allowed(&[6, 0, 8], likely_text), [3, 8, 9], "an end is followed by a beginning");
        assert_eq!(allowed(&[6, 0, 8, 8], likely_text), [0, 1, 3]);
        assert_eq!(allowed(&[6, 0, 8, 8, 1], likely_text), [0, 1, 3, 9]);
    }

    #[test]
    fn likely_times_are_written() {
        // Three of 0 are together likelier than one of 1.
        let mut scores = [0.0; 10];
        scores[0] = 1.0;
        assert_eq!(allowed(&[6, 0], scores), [7, 8, 9]);
        scores[0] = 1.1;
        assert_eq!(allowed(&[6, 0], scores), [0, 1, 3, 7, 8, 9]);
    }

    #[test]
    fn without_times_only_what_is_named_is_struck_out() {
        let rules = Rules { begin_suppress: vec![0, 99], suppress: vec![1], times: None };
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
