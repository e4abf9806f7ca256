//! Analysis of frames: from samples to the logarithms of mel bands.

use crate::filterbank::Filterbank;
use crate::frame::Clip;
use crate::logarithm;
use crate::{Log, MelConfig, Padding, Spectrum};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Precomputed window, Fourier plan and filters.
///
/// Everything up to the logarithm is in double precision: a transform in `f32` has an error of an epsilon of a frame's
/// loudest bin in all bins, which 80 dB below it is half of the tolerance of the published front ends.
pub(crate) struct Analysis {
    hop_length: usize,
    lead: usize,
    padding: Padding,
    remove_dc: bool,
    preemphasis: f64,
    /// `[frame_length]`.
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    spectrum: Spectrum,
    filterbank: Filterbank,
    log: Log,
    floor: f32,
}

/// Buffers that are reused for each frame.
struct Buffers {
    /// A frame, padded with zeros; `[n_fft]`.
    frame: Vec<f64>,
    bins: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// Magnitudes or their squares, `[n_fft / 2 + 1]`.
    heights: Vec<f64>,
}

impl Analysis {
    /// Precompute window and filters for checked settings.
    ///
    /// # Errors
    /// If a band falls between two bins of the transform.
    pub fn new(config: &MelConfig, sampling_rate: u32) -> Result<Self, String> {
        let fmax = config.fmax.map_or(f64::from(sampling_rate) / 2.0, f64::from);
        let filterbank = Filterbank::new(
            (config.n_fft, sampling_rate),
            config.n_mels,
            (f64::from(config.fmin), fmax),
            config.scale,
            config.norm,
        )?;
        let frame_length = config.frame_length();
        let win_length = config.win_length.unwrap_or(frame_length);
        let mut window = vec![0.0; frame_length];
        let weights = config.window.weights(win_length, config.periodic);
        let start = (frame_length - win_length) / 2;
        window[start..].iter_mut().zip(weights).for_each(|(to, weight)| *to = weight);
        Ok(Self {
            hop_length: config.hop_length,
            lead: config.lead(),
            padding: config.padding,
            remove_dc: config.remove_dc,
            preemphasis: config.preemphasis.into(),
            window,
            fft: RealFftPlanner::new().plan_fft_forward(config.n_fft),
            spectrum: config.spectrum,
            filterbank,
            log: config.log,
            floor: config.floor,
        })
    }

    /// The first sample of frame `t`, which may lie before the clip.
    pub fn start(&self, t: usize) -> isize {
        (t * self.hop_length) as isize - self.lead as isize
    }

    /// Compute the bands of the frames of a clip from `first` on into `mel`, `[frames, n_mels]`, with their logarithm
    /// if `log`.
    pub fn run(&self, clip: Clip, first: usize, log: bool, mel: &mut [f32]) {
        let mut buffers = Buffers {
            frame: self.fft.make_input_vec(),
            bins: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
            heights: vec![0.0; self.fft.complex_len()],
        };
        // Everything except the transform itself is compiled for the processor's widest vectors.
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (t, bands) in (first..).zip(mel.chunks_exact_mut(self.filterbank.len())) {
                    self.frame(clip, t, &mut buffers, bands);
                    if log {
                        self.logarithms(bands);
                    }
                }
            },
        );
    }

    /// Compute the bands of frame `t`.
    #[inline(always)]
    fn frame(&self, clip: Clip, t: usize, buffers: &mut Buffers, bands: &mut [f32]) {
        let Buffers { frame, bins, scratch, heights } = buffers;
        let (frame, beyond) = frame.split_at_mut(self.window.len());
        clip.cut(self.start(t), self.padding, frame);
        // Most of a short clip padded to 30 seconds is silence.
        if frame.iter().all(|sample| *sample == 0.0) {
            bands.fill(0.0);
            return;
        }
        self.condition(frame);
        frame.iter_mut().zip(&self.window).for_each(|(sample, weight)| *sample *= *weight);
        beyond.fill(0.0);
        let transformed = self.fft.process_with_scratch(&mut buffers.frame, bins, scratch);
        transformed.expect("the plan made these buffers");
        for (height, bin) in heights.iter_mut().zip(bins) {
            *height = bin.norm_sqr();
        }
        if self.spectrum == Spectrum::Magnitude {
            heights.iter_mut().for_each(|height| *height = height.sqrt());
        }
        self.filterbank.apply(heights, bands);
    }

    /// Subtract the mean of a frame and apply pre-emphasis.
    #[inline(always)]
    fn condition(&self, frame: &mut [f64]) {
        if self.remove_dc {
            let mean = frame.iter().sum::<f64>() / frame.len() as f64;
            frame.iter_mut().for_each(|sample| *sample -= mean);
        }
        if self.preemphasis > 0.0 {
            let mut before = frame[0];
            for sample in frame {
                (before, *sample) = (*sample, *sample - self.preemphasis * before);
            }
        }
    }

    #[inline(always)]
    fn logarithms(&self, bands: &mut [f32]) {
        if self.log == Log::None {
            return;
        }
        for band in &mut *bands {
            *band = if *band > self.floor { *band } else { self.floor };
        }
        bands.iter_mut().for_each(|band| *band = self.logarithm(*band));
    }

    /// The logarithm of a nonzero band.
    #[inline(always)]
    pub fn logarithm(&self, band: f32) -> f32 {
        let factor = match (self.log, self.spectrum) {
            (Log::Ln, _) => std::f32::consts::LN_10,
            (Log::Db, Spectrum::Power) => 10.0,
            (Log::Db, Spectrum::Magnitude) => 20.0,
            _ => 1.0,
        };
        factor * logarithm::log10(band)
    }
}
