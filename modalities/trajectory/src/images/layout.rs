//! The axes of arrays of images: channels first or last, and stacked frames.

/// The most channels of an image, with those of all its stacked frames.
pub(super) const MOST_CHANNELS: usize = 64;

/// The axes of an array of images.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Frames in an axis before the image.
    pub(super) stack: usize,
    /// Frames in the axis of the channels.
    pub(super) frames: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Of one frame: 1 or 3.
    pub(super) channels: usize,
    pub(super) channels_first: bool,
}

impl Layout {
    pub(super) fn of(shape: &[usize]) -> Option<Self> {
        let (stack, [a, b, c]) = match *shape {
            [_, height, width] => (1, [height, width, 1]),
            [_, a, b, c] => (1, [a, b, c]),
            [_, stack, a, b, c] => (stack, [a, b, c]),
            _ => return None,
        };
        let known = |side| side == 1 || side == 3;
        let channels_first = !known(c) && (known(a) || a < c);
        let (all, height, width) = if channels_first { (a, b, c) } else { (c, a, b) };
        let channels = if all.is_multiple_of(3) { 3 } else { 1 };
        let frames = all / channels;
        (all <= MOST_CHANNELS).then_some(Self { stack, frames, height, width, channels, channels_first })
    }

    /// Whether the array is one image for each step, with its channels last.
    pub(super) fn is_image(self) -> bool {
        self.stack * self.frames == 1 && (self.channels == 1 || !self.channels_first)
    }

    /// Move the channels last and the frames of a step side by side.
    pub(super) fn side_by_side(self, steps: usize, array: &[u8]) -> Vec<u8> {
        let Self { stack, frames, height, width, channels, channels_first } = self;
        let all = frames * channels;
        let at = |image: usize, y: usize, x: usize, channel: usize| match channels_first {
            true => ((image * all + channel) * height + y) * width + x,
            false => ((image * height + y) * width + x) * all + channel,
        };
        let mut pixels = Vec::with_capacity(array.len());
        for (step, y) in (0..steps).flat_map(|step| (0..height).map(move |y| (step, y))) {
            for (k, frame) in (0..stack).flat_map(|k| (0..frames).map(move |frame| (k, frame))) {
                for x in 0..width {
                    let channels = frame * channels..(frame + 1) * channels;
                    pixels.extend(channels.map(|channel| array[at(step * stack + k, y, x, channel)]));
                }
            }
        }
        pixels
    }
}
