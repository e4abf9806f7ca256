//! Frames: overlapping ranges of a clip, padded beyond its ends.

use crate::Padding;

/// The samples of a clip, possibly without a beginning that is no longer needed.
#[derive(Clone, Copy)]
pub(crate) struct Clip<'a> {
    /// The samples from sample `first` of the clip on.
    pub samples: &'a [f32],
    /// The number of dropped samples before them.
    pub first: usize,
}

impl Clip<'_> {
    /// The number of samples of the whole clip.
    pub fn len(&self) -> usize {
        self.first + self.samples.len()
    }

    /// Copy the samples from `start` on, which may lie before the clip, into `frame`.
    #[inline(always)]
    pub fn cut(&self, start: isize, padding: Padding, frame: &mut [f64]) {
        let inside = usize::try_from(start).ok().and_then(|start| start.checked_sub(self.first));
        let inside = inside.and_then(|start| self.samples.get(start..start + frame.len()));
        match inside {
            Some(inside) => frame.iter_mut().zip(inside).for_each(|(to, &from)| *to = from.into()),
            None => self.cut_at_an_end(start, padding, frame),
        }
    }

    fn cut_at_an_end(&self, start: isize, padding: Padding, frame: &mut [f64]) {
        let n = self.len();
        for (i, to) in (start..).zip(frame) {
            let from = match padding {
                Padding::Reflect => Some(reflected(i, n)),
                Padding::Edge => Some(i.clamp(0, n.saturating_sub(1) as isize) as usize),
                Padding::Zero | Padding::None => usize::try_from(i).ok(),
            };
            let sample = from.and_then(|i| self.samples.get(i.checked_sub(self.first)?));
            *to = sample.copied().unwrap_or_default().into();
        }
    }
}

/// The index, in a clip of `n` samples, of the sample that reflection puts at `i`.
fn reflected(i: isize, n: usize) -> usize {
    let last = n.saturating_sub(1);
    if last == 0 {
        return 0;
    }
    let place = i.rem_euclid(2 * last as isize) as usize;
    place.min(2 * last - place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(padding: Padding, start: isize) -> [f64; 7] {
        let mut frame = [9.0; 7];
        Clip { samples: &[1.0, 2.0, 3.0], first: 0 }.cut(start, padding, &mut frame);
        frame
    }

    #[test]
    fn reflection_matches_numpy_pad() {
        // numpy.pad([0, 1, 2], 5, mode="reflect")
        let padded: Vec<usize> = (-5..8).map(|i| reflected(i, 3)).collect();
        assert_eq!(padded, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(reflected(-7, 1), 0);
    }

    #[test]
    fn each_padding_has_its_values() {
        assert_eq!(padded(Padding::Reflect, -2), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(padded(Padding::Zero, -2), [0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(padded(Padding::Edge, -2), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(padded(Padding::None, 0), [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_clip_without_its_beginning_gives_the_same_frames() {
        let samples: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let (whole, rest) = (Clip { samples: &samples, first: 0 }, Clip { samples: &samples[8..], first: 8 });
        for start in 8..18 {
            for padding in [Padding::Reflect, Padding::Zero, Padding::Edge] {
                let (mut a, mut b) = ([0.0; 6], [1.0; 6]);
                whole.cut(start, padding, &mut a);
                rest.cut(start, padding, &mut b);
                assert_eq!(a, b, "{padding:?} from {start}");
            }
        }
    }
}
