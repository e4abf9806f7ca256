//! Sampling rate conversion.

use crate::decode::fits;
use crate::waveform::wrong_rate;
use crate::{SAMPLING_RATES, Waveform};
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use smalti_contract::TokenizeError;

/// The minimal number of taps of the interpolation filter, at the lower of the two rates.
///
/// With a squared Blackman-Harris window, the filter passes 97% of the band with an error below -100 dB, and attenuates
/// aliases by the same amount.
const FILTER_TAPS: usize = 1024;

impl Waveform {
    /// Resample to another rate; the result has `round(n · to / from)` samples, at least one.
    ///
    /// A windowed sinc (1,024 taps or more, squared Blackman-Harris window) at the exact ratio of the rates, without
    /// delay: it passes frequencies below 97% of the lower Nyquist frequency and removes those above it. Beyond its
    /// ends the clip is silent.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] if either rate is outside of [`SAMPLING_RATES`], and for a clip that is
    /// empty, has a sample that is not finite, or becomes too long for the memory.
    pub fn resample(&self, sampling_rate: u32) -> Result<Waveform, TokenizeError> {
        self.check().map_err(TokenizeError::Input)?;
        if !SAMPLING_RATES.contains(&sampling_rate) {
            return Err(TokenizeError::Input(wrong_rate(sampling_rate)));
        }
        check_len(self.samples.len(), self.sampling_rate, sampling_rate)?;
        Ok(Waveform { sampling_rate, samples: resample(&self.samples, self.sampling_rate, sampling_rate) })
    }
}

/// The length of a clip of `n` samples after resampling.
pub(crate) fn resampled_len(n: usize, from: u32, to: u32) -> usize {
    let (n, from, to) = (n as u128, u128::from(from), u128::from(to));
    // At least one sample: a short clip must not become empty.
    (((2 * n * to + from) / (2 * from)) as usize).max(usize::from(n > 0))
}

/// Check that a clip of `n` samples fits into memory after resampling: from 1 to 16 kHz, it grows by a factor of 16.
///
/// # Errors
/// [`TokenizeError::Input`] if its samples take more than [`memory::unpack_limit`](smalti_contract::memory::unpack_limit).
pub(crate) fn check_len(n: usize, from: u32, to: u32) -> Result<(), TokenizeError> {
    let resampled = resampled_len(n, from, to);
    fits(resampled).map_err(|e| {
        TokenizeError::Input(format!("{n} samples at {from} Hz are {resampled} at {to} Hz: {e}"))
    })
}

/// Resample from `from` Hz to `to` Hz, both at least 1.
///
/// The samples must have passed [`Waveform::check`], because rubato panics on infinities.
pub(crate) fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut output = Vec::with_capacity(resampled_len(samples.len(), from, to));
    let mut stream = ResampleStream::new(from, to);
    stream.push(samples, &mut output);
    stream.finish(&mut output);
    output
}

/// A resampler of streams. The output does not depend on how the input is split, to the last bit.
pub(crate) struct ResampleStream {
    from: u32,
    to: u32,
    /// `None` if the rates are equal.
    filter: Option<Filter>,
    /// The number of input samples.
    taken: usize,
    /// The number of output samples.
    given: usize,
}

struct Filter {
    fft: Fft<f32>,
    /// Samples of an incomplete block.
    block: Vec<f32>,
    /// The remaining samples of delay to drop.
    delay: usize,
    output: Vec<f32>,
}

impl ResampleStream {
    /// Resample from `from` Hz to `to` Hz, both at least 1.
    pub fn new(from: u32, to: u32) -> Self {
        Self { from, to, filter: (from != to).then(|| Filter::new(from, to)), taken: 0, given: 0 }
    }

    /// Push samples, and append the resulting samples to `output`.
    pub fn push(&mut self, samples: &[f32], output: &mut Vec<f32>) {
        self.taken += samples.len();
        let before = output.len();
        match &mut self.filter {
            None => output.extend_from_slice(samples),
            Some(filter) => filter.push(samples, output),
        }
        self.given += output.len() - before;
    }

    /// Append the rest after the last sample; beyond its end a clip is silent.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        let Some(filter) = &mut self.filter else { return };
        let mut missing = resampled_len(self.taken, self.from, self.to) - self.given;
        while missing > 0 {
            let before = output.len();
            filter.flush(output);
            output.truncate(before + missing);
            missing -= output.len() - before;
        }
    }
}

impl Filter {
    fn new(from: u32, to: u32) -> Self {
        let divisor = greatest_common_divisor(from, to);
        let (step_in, step_out) = ((from / divisor) as usize, (to / divisor) as usize);
        // An even number of steps: the filter's centre then falls on a sample at both rates, and its delay, half a
        // block, can be removed exactly.
        let steps = FILTER_TAPS.div_ceil(step_in.min(step_out)).next_multiple_of(2);
        let fft = Fft::new_custom(
            step_in,
            step_out,
            steps * step_in,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .expect("neither rate is zero");
        let (block, output) = (Vec::with_capacity(fft.fft_size_in()), vec![0.0; fft.fft_size_out()]);
        Self { delay: fft.output_delay(), fft, block, output }
    }

    fn push(&mut self, mut samples: &[f32], output: &mut Vec<f32>) {
        let size = self.fft.fft_size_in();
        while self.block.len() + samples.len() >= size {
            let (now, later) = samples.split_at(size - self.block.len());
            self.block.extend_from_slice(now);
            self.process(output);
            samples = later;
        }
        self.block.extend_from_slice(samples);
    }

    /// Pad the block with silence and process it.
    fn flush(&mut self, output: &mut Vec<f32>) {
        self.block.resize(self.fft.fft_size_in(), 0.0);
        self.process(output);
    }

    fn process(&mut self, output: &mut Vec<f32>) {
        const ONE_CHANNEL: &str = "one channel of this length";
        let (size_in, size_out) = (self.block.len(), self.output.len());
        let input = SequentialSlice::new(&self.block[..], 1, size_in).expect(ONE_CHANNEL);
        let mut block_out = SequentialSlice::new_mut(&mut self.output[..], 1, size_out).expect(ONE_CHANNEL);
        let processed = self.fft.process_into_buffer(&input, &mut block_out, None);
        processed.expect("a whole block goes in and out");
        let late = self.delay.min(size_out);
        self.delay -= late;
        output.extend_from_slice(&self.output[late..]);
        self.block.clear();
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
