//! Slices: a few consecutive frames, which may overlap with the next slice.

/// The arrangement of frames in slices, and of a slice's bands in tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slicing {
    /// The number of features of a frame.
    pub n_mels: usize,
    /// The number of frames in a slice.
    pub frames: usize,
    /// Frames from the start of a slice to the start of the next, at most [`frames`](Self::frames).
    pub hop: usize,
    /// The number of bands in a token.
    pub bands: usize,
    /// Bands from the start of a token to the start of the next, at most [`bands`](Self::bands).
    pub band_hop: usize,
}

impl Slicing {
    /// The number of features of a token.
    pub fn dim(&self) -> usize {
        self.bands * self.frames
    }

    /// The number of tokens of a slice.
    pub fn tokens_per_slice(&self) -> usize {
        1 + (self.n_mels - self.bands) / self.band_hop
    }

    /// The same arrangement of the bands that are in a token.
    pub fn covered(self) -> Self {
        Self { n_mels: (self.tokens_per_slice() - 1) * self.band_hop + self.bands, ..self }
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

    /// Cut frames into whole slices: `[frames, n_mels]` become `[slices, frames · n_mels]`, or of tokens of some of the
    /// bands, `[slices, tokens, bands · frames]`.
    pub fn cut(&self, frames: Vec<f32>) -> Vec<f32> {
        let dim = self.n_mels * self.frames;
        let slices = if self.hop == self.frames {
            let mut whole = frames;
            whole.truncate(whole.len() / dim * dim);
            whole
        } else {
            let hop = self.hop * self.n_mels;
            let starts = (0..).map(|slice| slice * hop);
            starts.map_while(|start| frames.get(start..start + dim)).flatten().copied().collect()
        };
        if self.bands == self.n_mels {
            return slices;
        }
        let mut tokens = Vec::with_capacity(slices.len() / dim * self.tokens_per_slice() * self.dim());
        for slice in slices.chunks_exact(dim) {
            self.each_of_tokens(|place| tokens.push(slice[place]));
        }
        tokens
    }

    /// Call `with` for each feature of a slice's tokens, with its place in the slice `[frames, n_mels]`.
    fn each_of_tokens(&self, mut with: impl FnMut(usize)) {
        for first in (0..self.tokens_per_slice()).map(|token| token * self.band_hop) {
            for band in first..first + self.bands {
                (0..self.frames).for_each(|frame| with(frame * self.n_mels + band));
            }
        }
    }

    /// The inverse of [`cut`](Self::cut); of bands in no token, if there are some, it gives zeros.
    pub fn join(&self, tokens: &[f32]) -> Vec<f32> {
        if self.bands == self.n_mels {
            return self.join_slices(tokens);
        }
        let mut slices = vec![];
        for of_slice in tokens.chunks_exact(self.tokens_per_slice() * self.dim()) {
            let (mut slice, mut values) = (vec![0.0; self.n_mels * self.frames], of_slice.iter());
            self.each_of_tokens(|place| slice[place] = values.next().copied().unwrap_or_default());
            slices.extend(slice);
        }
        self.join_slices(&slices)
    }

    /// `[slices, frames · n_mels]` become `[frames, n_mels]`.
    fn join_slices(&self, slices: &[f32]) -> Vec<f32> {
        let dim = self.n_mels * self.frames;
        let last = slices.len().saturating_sub(dim);
        let before_last = slices[..last].chunks_exact(dim).flat_map(|slice| &slice[..self.hop * self.n_mels]);
        before_last.chain(&slices[last..]).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_frames() {
        let slicing = Slicing { n_mels: 1, frames: 3, hop: 2, bands: 1, band_hop: 1 };
        let frames: Vec<f32> = (0..7).map(|f| f as f32).collect();
        let slices = slicing.cut(frames.clone());
        assert_eq!(slices, [0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0]);
        assert_eq!(slicing.join(&slices), frames);
        assert_eq!([1, 3, 4, 5, 6].map(|frames| slicing.whole(frames)), [3, 3, 5, 5, 7]);
        assert_eq!((slicing.frames_of(3), slicing.frames_of(1), slicing.frames_of(0)), (7, 3, 0));
    }

    #[test]
    fn slices_without_overlap_are_the_frames() {
        let slicing = Slicing { n_mels: 2, frames: 2, hop: 2, bands: 2, band_hop: 2 };
        let frames: Vec<f32> = (0..8).map(|f| f as f32).collect();
        assert_eq!(slicing.cut(frames.clone()), frames);
        assert_eq!(slicing.join(&frames), frames);
        assert_eq!(slicing.join(&[]), [0.0; 0]);
        assert_eq!(slicing.cut(frames[..6].to_vec()), frames[..4], "an incomplete slice is dropped");
    }

    #[test]
    fn tokens_of_some_bands_share_bands_and_are_band_by_band() {
        let slicing = Slicing { n_mels: 6, frames: 2, hop: 1, bands: 3, band_hop: 2 };
        assert_eq!((slicing.tokens_per_slice(), slicing.dim(), slicing.covered().n_mels), (2, 6, 5));
        // Frame t has the values 10·t + band.
        let frames: Vec<f32> = (0..3).flat_map(|t| (0..6).map(move |band| (10 * t + band) as f32)).collect();
        let tokens = slicing.cut(frames);
        assert_eq!(tokens[..12], [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 2.0, 12.0, 3.0, 13.0, 4.0, 14.0]);
        assert_eq!(tokens[12..15], [10.0, 20.0, 11.0], "the second slice begins a frame later");
        let joined: Vec<f32> = (0..3).flat_map(|t| (0..5).map(move |band| (10 * t + band) as f32)).collect();
        assert_eq!(slicing.covered().join(&tokens), joined);
        assert_eq!(slicing.covered().cut(joined), tokens);
    }
}
