//! Clips that are parts of recordings.

use crate::data::DataError;
#[cfg(feature = "audio")]
use smalti_audio::{Waveform, write_wav};
use std::fmt;
#[cfg(feature = "audio")]
use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

/// A part of a recording, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// The start.
    pub offset: f64,
    /// The length; `None` up to the end of the recording.
    pub duration: Option<f64>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.duration {
            Some(duration) => write!(f, "from {} s to {} s", self.offset, self.offset + duration),
            None => write!(f, "from {} s on", self.offset),
        }
    }
}

impl Cut {
    /// Whether it begins at 0 or later and has a length.
    pub fn is_valid(&self) -> bool {
        let is_time = self.offset.is_finite() && self.offset >= 0.0;
        is_time && self.duration.is_none_or(|duration| duration.is_finite() && duration > 0.0)
    }
}

/// Cuts clips out of recordings, and keeps the last recording: the clips of a recording follow each other.
#[derive(Default)]
pub(super) struct Cutter {
    /// Its path and its samples.
    #[cfg(feature = "audio")]
    last: Mutex<Option<(String, Arc<Waveform>)>>,
}

#[cfg(feature = "audio")]
impl Cutter {
    /// A part of the recording at a path, whose file `read` returns, as a WAV file.
    ///
    /// # Errors
    /// [`DataError`] with the row if the recording cannot be read or decoded, or does not have this part.
    pub fn cut(
        &self,
        path: &str,
        cut: Cut,
        row: &str,
        read: impl FnOnce() -> Result<Vec<u8>, DataError>,
    ) -> Result<Vec<u8>, DataError> {
        let refuse = |problem: String| DataError::tokenize(row, format!("{path}: {problem}"));
        let recording = match self.kept(path)? {
            Some(recording) => recording,
            None => {
                let decoded = smalti_audio::read(&read()?).map_err(|e| refuse(e.to_string()))?;
                let decoded = Arc::new(decoded);
                *self.last.lock().map_err(|_| DataError::Worker)? = Some((path.into(), decoded.clone()));
                decoded
            }
        };
        let range = cut.samples(&recording).map_err(refuse)?;
        let samples = recording.samples[range].to_vec();
        let clip = Waveform { sampling_rate: recording.sampling_rate, samples };
        write_wav(&clip, BITS).map_err(|e| refuse(e.to_string()))
    }

    fn kept(&self, path: &str) -> Result<Option<Arc<Waveform>>, DataError> {
        let last = self.last.lock().map_err(|_| DataError::Worker)?;
        Ok(last.as_ref().filter(|(known, _)| known == path).map(|(_, recording)| recording.clone()))
    }
}

#[cfg(not(feature = "audio"))]
impl Cutter {
    /// Fails: a recording must be decoded to be cut.
    ///
    /// # Errors
    /// [`DataError`], always.
    pub fn cut(
        &self,
        path: &str,
        cut: Cut,
        row: &str,
        _: impl FnOnce() -> Result<Vec<u8>, DataError>,
    ) -> Result<Vec<u8>, DataError> {
        let problem =
            format!("{path} {cut}: this build cannot cut recordings; build with the feature `audio`");
        Err(DataError::tokenize(row, problem))
    }
}

/// Bits of a sample in the WAV file of a clip: enough for every recording.
#[cfg(feature = "audio")]
const BITS: u16 = 32;
/// Seconds by which a part may exceed its recording, whose length may have been rounded; Kaldi accepts the same.
#[cfg(feature = "audio")]
const EXCESS: f64 = 0.5;

#[cfg(feature = "audio")]
impl Cut {
    /// The samples of the part.
    fn samples(self, recording: &Waveform) -> Result<Range<usize>, String> {
        if !self.is_valid() {
            return Err(format!("expected a start of 0 s or more and a length above 0 s; found {self}"));
        }
        let (len, rate) = (recording.samples.len(), f64::from(recording.sampling_rate));
        let sample = |seconds: f64| (seconds * rate).round() as usize;
        let start = sample(self.offset);
        let end = self.duration.map_or(len, |duration| sample(self.offset + duration));
        if start >= len.min(end) || end > len + sample(EXCESS) {
            return Err(format!("expected a part of its {} s; found {self}", len as f64 / rate));
        }
        Ok(start..end.min(len))
    }
}

#[cfg(all(test, feature = "audio"))]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_a_range_of_samples() {
        let recording = Waveform { sampling_rate: 1000, samples: vec![0.0; 2000] };
        let samples = |offset, duration| Cut { offset, duration }.samples(&recording);
        assert_eq!(samples(0.5, Some(0.25)), Ok(500..750));
        assert_eq!(samples(1.5, None), Ok(1500..2000));
        assert_eq!(samples(1.5, Some(0.9)), Ok(1500..2000), "a rounded length");
        for (offset, duration) in [
            (1.5, Some(1.1)),
            (2.0, None),
            (f64::MAX, Some(f64::MAX)),
            (1.0, Some(1e-9)),
            (-1.0, None),
            (f64::NAN, None),
            (0.0, Some(0.0)),
            (0.0, Some(f64::INFINITY)),
        ] {
            assert!(samples(offset, duration).is_err(), "{offset} {duration:?}");
        }
        assert_eq!(samples(1.0, Some(3.0)).unwrap_err(), "expected a part of its 2 s; found from 1 s to 4 s");
    }

    #[test]
    fn a_clip_has_the_samples_of_its_recording_which_is_read_once() {
        let recording =
            Waveform { sampling_rate: 8000, samples: (0..8000).map(|i| (i % 199) as f32 / 256.0).collect() };
        let file = write_wav(&recording, 16).unwrap();
        let (cutter, cut) = (Cutter::default(), Cut { offset: 0.25, duration: Some(0.5) });
        let clip = cutter.cut("a.wav", cut, "row 1", || Ok(file)).unwrap();
        assert_eq!(smalti_audio::read(&clip).unwrap().samples, recording.samples[2000..6000]);
        let end = Cut { offset: 0.75, duration: None };
        let clip = cutter.cut("a.wav", end, "row 2", || panic!("it is kept")).unwrap();
        assert_eq!(smalti_audio::read(&clip).unwrap().samples, recording.samples[6000..]);
        let error = cutter.cut("b.wav", end, "row 3", || Ok(b"text".to_vec())).unwrap_err();
        assert!(error.to_string().starts_with("row 3: b.wav: not readable as audio"), "{error}");
    }
}
