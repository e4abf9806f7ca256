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
    let mut output = Vec::with_capacity(resampled_len(samples.len(), from, to));
    let mut stream = ResampleStream::new(from, to);
    stream.push(samples, &mut output);
    stream.finish(&mut output);
    output
}

/// Resamples what comes in pieces; however it is cut, the same comes out, to the last bit.
pub(crate) struct ResampleStream {
    from: u32,
    to: u32,
    /// `None` where the rates are the same.
    filter: Option<Filter>,
    /// Samples that came in.
    taken: usize,
    /// Samples that went out.
    given: usize,
}

struct Filter {
    fft: Fft<f32>,
    /// What does not fill a block yet.
    block: Vec<f32>,
    /// Samples that still are delay rather than sound.
    delay: usize,
    output: Vec<f32>,
}

impl ResampleStream {
    /// Samples at `from` a second become samples at `to` a second, both at least 1.
    pub fn new(from: u32, to: u32) -> Self {
        Self { from, to, filter: (from != to).then(|| Filter::new(from, to)), taken: 0, given: 0 }
    }

    /// Takes samples and appends what they decide to `output`.
    pub fn push(&mut self, samples: &[f32], output: &mut Vec<f32>) {
        self.taken += samples.len();
        let before = output.len();
        match &mut self.filter {
            None => output.extend_from_slice(samples),
            Some(filter) => filter.push(samples, output),
        }
        self.given += output.len() - before;
    }

    /// Appends what is left when no more samples come: beyond its end a clip counts as silent.
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
        // An even number of steps: the filter's centre then falls on a sample at both rates, and its delay,
        // half a block, can be taken off exactly.
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

    /// Fills the block up with silence.
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
