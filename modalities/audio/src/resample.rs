//! Sample rate conversion.

use crate::waveform::wrong_rate;
use crate::{SAMPLE_RATES, Waveform};
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use smalti_contract::TokenizeError;

/// Taps of the interpolation filter, at least, at the lower of the two rates.
///
/// With a squared Blackman-Harris window this passes 97% of the band, over 100 dB above its error, and
/// leaves as little of what would be aliased.
const FILTER_TAPS: usize = 1024;

impl Waveform {
    /// The same sound at another rate, `round(n · to / from)` samples long, and at least one.
    ///
    /// A windowed sinc (1,024 taps or more, squared Blackman-Harris window) at the exact ratio of the rates,
    /// without delay: it passes what lies below 97% of the lower Nyquist frequency and removes what lies
    /// above it. Beyond its ends the clip counts as silent.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] where either rate is outside of [`SAMPLE_RATES`], and for a clip that is
    /// empty or has a sample that is not finite.
    pub fn resample(&self, sample_rate: u32) -> Result<Waveform, TokenizeError> {
        self.check().map_err(TokenizeError::Input)?;
        if !SAMPLE_RATES.contains(&sample_rate) {
            return Err(TokenizeError::Input(wrong_rate(sample_rate)));
        }
        Ok(Waveform { sample_rate, samples: resample(&self.samples, self.sample_rate, sample_rate) })
    }
}

/// How long a clip of `n` samples is after resampling.
pub(crate) fn resampled_len(n: usize, from: u32, to: u32) -> usize {
    let (n, from, to) = (n as u128, u128::from(from), u128::from(to));
    // Rounding down must not make a clip vanish.
    (((2 * n * to + from) / (2 * from)) as usize).max(usize::from(n > 0))
}

/// `samples` taken at `from` a second as they would be at `to` a second, both at least 1.
///
/// The samples have passed [`Waveform::check`]: rubato panics where its transform meets infinity.
pub(crate) fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to {
        return samples.to_vec();
    }
    let divisor = greatest_common_divisor(from, to);
    let (step_in, step_out) = ((from / divisor) as usize, (to / divisor) as usize);
    // An even number of steps: the filter's centre then falls on a sample at both rates, and its delay,
    // half a block, can be taken off exactly.
    let steps = FILTER_TAPS.div_ceil(step_in.min(step_out)).next_multiple_of(2);
    let mut resampler = Fft::<f32>::new_custom(
        step_in,
        step_out,
        steps * step_in,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .expect("neither rate is zero");
    let input = SequentialSlice::new(samples, 1, samples.len()).expect("one channel of this length");
    let output = resampler.process_all(&input, samples.len(), None).expect("rubato sizes its own output");
    let mut output = output.take_data();
    output.truncate(resampled_len(samples.len(), from, to));
    output
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
