//! Slices: a few consecutive frames, which may overlap with the next slice.

/// The arrangement of frames in slices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slicing {
    /// The number of features of a frame.
    pub n_mels: usize,
    /// The number of frames in a slice.
    pub frames: usize,
    /// Frames from the start of a slice to the start of the next, at most [`frames`](Self::frames).
    pub hop: usize,
}

impl Slicing {
    /// The number of features of a slice.
    pub fn dim(&self) -> usize {
        self.n_mels * self.frames
    }

    /// The number of frames that `slices` cover.
    pub fn frames_of(&self, slices: usize) -> usize {
        if slices == 0 { 0 } else { (slices - 1) * self.hop + self.frames }
    }

    /// Round a number of frames up to whole slices.
    pub fn whole(&self, frames: usize) -> usize {
        let slices = 1 + frames.saturating_sub(self.frames).div_ceil(self.hop);
        self.frames_of(slices)
    }

    /// Cut frames into whole slices: `[frames, n_mels]` become `[slices, frames · n_mels]`.
    pub fn cut(&self, frames: Vec<f32>) -> Vec<f32> {
        if self.hop == self.frames {
            let mut whole = frames;
            whole.truncate(whole.len() / self.dim() * self.dim());
            return whole;
        }
        let hop = self.hop * self.n_mels;
        let starts = (0..).map(|slice| slice * hop);
        let slices = starts.map_while(|start| frames.get(start..start + self.dim()));
        slices.flatten().copied().collect()
    }

    /// The inverse of [`cut`](Self::cut): `[slices, frames · n_mels]` become `[frames, n_mels]`.
    pub fn join(&self, slices: &[f32]) -> Vec<f32> {
        let last = slices.len().saturating_sub(self.dim());
        let before_last =
            slices[..last].chunks_exact(self.dim()).flat_map(|slice| &slice[..self.hop * self.n_mels]);
        before_last.chain(&slices[last..]).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_frames() {
        let slicing = Slicing { n_mels: 1, frames: 3, hop: 2 };
        let frames: Vec<f32> = (0..7).map(|f| f as f32).collect();
        let slices = slicing.cut(frames.clone());
        assert_eq!(slices, [0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0]);
        assert_eq!(slicing.join(&slices), frames);
        assert_eq!([1, 3, 4, 5, 6].map(|frames| slicing.whole(frames)), [3, 3, 5, 5, 7]);
        assert_eq!((slicing.frames_of(3), slicing.frames_of(1), slicing.frames_of(0)), (7, 3, 0));
    }

    #[test]
    fn slices_without_overlap_are_the_frames() {
        let slicing = Slicing { n_mels: 2, frames: 2, hop: 2 };
        let frames: Vec<f32> = (0..8).map(|f| f as f32).collect();
        assert_eq!(slicing.cut(frames.clone()), frames);
        assert_eq!(slicing.join(&frames), frames);
        assert_eq!(slicing.join(&[]), [0.0; 0]);
        assert_eq!(slicing.cut(frames[..6].to_vec()), frames[..4], "an incomplete slice is dropped");
    }
}
