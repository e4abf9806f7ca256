//! Conversion between pixels and features of mean 0 and deviation 1.

/// The normalisation of each channel, `(pixel / 255 - mean) / std`, and its inverse.
pub(crate) struct Normaliser {
    channels: Vec<Channel>,
}

struct Channel {
    mean: f32,
    std: f32,
    /// The feature of each of the 256 pixel values.
    features: [f32; 256],
}

impl Channel {
    fn of(&self, pixel: u8) -> f32 {
        self.features[usize::from(pixel)]
    }
}

impl Normaliser {
    pub(crate) fn new(mean: &[f32], std: &[f32]) -> Self {
        let channel = |(&mean, &std): (&f32, &f32)| {
            let features = std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
            Channel { mean, std, features }
        };
        Self { channels: mean.iter().zip(std).map(channel).collect() }
    }

    /// Write the features of whole pixels, `[n, channels]`.
    pub(crate) fn write(&self, pixels: &[u8], features: &mut [f32]) {
        match self.channels.as_slice() {
            // Most images have three channels; a fixed number makes the loop faster.
            [red, green, blue] => {
                let colours = features.as_chunks_mut::<3>().0.iter_mut().zip(pixels.as_chunks::<3>().0);
                for (to, &[r, g, b]) in colours {
                    *to = [red.of(r), green.of(g), blue.of(b)];
                }
            }
            channels => {
                let all = pixels.iter().zip(channels.iter().cycle());
                features.iter_mut().zip(all).for_each(|(to, (&pixel, channel))| *to = channel.of(pixel));
            }
        }
    }

    /// The pixels nearest to features `[n, channels]`, clipped to black and white.
    pub(crate) fn pixels<'a>(&'a self, features: &'a [f32]) -> impl Iterator<Item = u8> + 'a {
        features.chunks_exact(self.channels.len()).flat_map(|pixel| {
            pixel.iter().zip(&self.channels).map(|(&f, c)| ((f * c.std + c.mean) * 255.0).round() as u8)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_survives_a_round_trip() {
        let pixels: Vec<u8> = (0..=255).flat_map(|p| [p; 3]).collect();
        let normaliser = Normaliser::new(&[0.0, 0.485, 1.0], &[1e-6, 0.229, 1.0]);
        let mut features = vec![0.0; pixels.len()];
        normaliser.write(&pixels, &mut features);
        assert_eq!(normaliser.pixels(&features).collect::<Vec<_>>(), pixels);
    }

    #[test]
    fn features_beyond_the_pixel_range_are_clipped() {
        let normaliser = Normaliser::new(&[0.5], &[0.5]);
        let mut features = [0.0; 2];
        normaliser.write(&[0, 255], &mut features);
        assert_eq!(features, [-1.0, 1.0]);
        assert_eq!(normaliser.pixels(&[-1.5, 0.0, 7.0]).collect::<Vec<_>>(), [0, 128, 255]);
    }
}
