//! The tokenizer that a file is shown with: its settings from the command line, its fitted state from the file.

use super::Modality;
use anyhow::{Result, bail};
use clap::Args;
use smalti_contract::AnyTokenizer;

/// How a file is cut into tokens.
#[derive(Args)]
pub struct Shape {
    #[command(flatten)]
    cut: Cut,
    /// Images: the settings of a published model: vit, clip, imagenet, cifar or mnist. Audio: whisper, whisper128, ast or
    /// librosa. They say all that the other options of their modality say.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["channels", "sample_rate", "n_mels", "patch", "size", "frames_per_slice", "slice_hop"]
    )]
    preset: Option<String>,
    /// Text: tokens are the subwords of a published vocabulary: tokenizer.json, GPT-2's encoder.json beside vocab.bpe,
    /// BERT's vocab.txt, or a folder with one of these.
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    vocabulary: Option<String>,
    /// Images, and pictures of trajectories: 1 for grey, 3 for RGB [default: those of the first picture].
    #[arg(long)]
    channels: Option<usize>,
    /// Audio: resamples to this rate in Hz; a frame is 25 ms, every 10 ms [default: 16000].
    #[arg(long)]
    sample_rate: Option<u32>,
    /// Audio: mel bands of a frame [default: 80].
    #[arg(long)]
    n_mels: Option<usize>,
    /// Trajectories: time steps in a record [default: 20].
    #[arg(long)]
    context: Option<usize>,
}

/// What decides how many tokens a sample becomes.
#[derive(Args)]
pub struct Cut {
    /// Text: a token is a byte; without it, a character of the file.
    #[arg(long)]
    bytes: bool,
    /// Images, and pictures of trajectories: the side of a square patch in pixels [default: 4; of trajectories 16].
    #[arg(long)]
    patch: Option<usize>,
    /// Images, and pictures of trajectories: resizes to this height and width in pixels, such as 224x224 [default: each
    /// keeps its own].
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<[usize; 2]>,
    /// Audio: frames in a token [default: 4].
    #[arg(long)]
    frames_per_slice: Option<usize>,
    /// Audio: frames from the start of a token to that of the next [default: frames of a token].
    #[arg(long)]
    slice_hop: Option<usize>,
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.ok_or_else(|| format!("expected HEIGHTxWIDTH in pixels, such as 224x224; found {text:?}"))
}

impl Shape {
    /// The tokenizer for a file of this modality, fitted to it.
    ///
    /// # Errors
    /// Options of another modality, a modality that is not built in, and what the tokenizer refuses.
    #[cfg_attr(
        not(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory")),
        allow(unused_variables)
    )]
    pub fn fit(&self, modality: Modality, bytes: &[u8]) -> Result<Box<dyn AnyTokenizer>> {
        self.only(modality)?;
        match modality {
            #[cfg(feature = "text")]
            Modality::Text => self.text(bytes),
            #[cfg(feature = "image")]
            Modality::Image => self.image(bytes),
            #[cfg(feature = "audio")]
            Modality::Audio => self.audio(bytes),
            #[cfg(feature = "trajectory")]
            Modality::Trajectory => self.trajectory(bytes),
            #[allow(unreachable_patterns)] // where all modalities are built in
            other => bail!("this smalti is built without the feature `{}`", other.name()),
        }
    }

    /// Refuses options that say nothing about this modality: they would be ignored silently.
    fn only(&self, modality: Modality) -> Result<()> {
        let given = [
            ("--vocabulary", &[Modality::Text][..], self.vocabulary.is_some()),
            ("--channels", &SEEN, self.channels.is_some()),
            ("--sample-rate", &[Modality::Audio], self.sample_rate.is_some()),
            ("--n-mels", &[Modality::Audio], self.n_mels.is_some()),
            ("--context", &[Modality::Trajectory], self.context.is_some()),
        ];
        refuse_stray(given, modality)?;
        if self.preset.is_some() && !matches!(modality, Modality::Image | Modality::Audio) {
            let read_as = modality.name();
            bail!("--preset is for image and audio; this file is read as {read_as} (--as says another)");
        }
        self.cut.only(modality)
    }

    #[cfg(feature = "text")]
    fn text(&self, bytes: &[u8]) -> Result<Box<dyn AnyTokenizer>> {
        use crate::tasks::modalities::text::{TextConfig, TextTokenizer, Vocabulary, fit};
        use smalti_contract::Tokenizer;

        // No text has more characters or bytes than the file has bytes.
        let (specials, context) = (vec![], bytes.len());
        if let Some(location) = &self.vocabulary {
            // A vocabulary may add tokens of its own at the ends, so the file's length is no bound.
            return Ok(Box::new(crate::tasks::text::published(location, u32::MAX as usize)?));
        }
        let raw = TextConfig { vocabulary: Vocabulary::Bytes, specials, context, segments: 0 };
        let config = match self.cut.bytes {
            true => raw,
            false => {
                let texts = TextTokenizer::new(raw)?.records(bytes).collect::<Result<Vec<_>, _>>()?;
                fit::characters(texts.iter().map(String::as_str), vec![], context)?
            }
        };
        Ok(Box::new(TextTokenizer::new(config)?))
    }

    #[cfg(feature = "image")]
    fn image(&self, bytes: &[u8]) -> Result<Box<dyn AnyTokenizer>> {
        use crate::tasks::modalities::image::{Image, ImageConfig, ImageTokenizer, Preset, fit};
        use anyhow::Context;
        use smalti_contract::Tokenizer;

        if let Some(name) = &self.preset {
            let preset: Preset = serde_json::from_value(name.as_str().into()).context("--preset")?;
            return Ok(Box::new(ImageTokenizer::new(preset.config())?));
        }
        let patch = self.cut.patch();
        let reader = ImageTokenizer::new(ImageConfig::vit(1, 1, [1, 1]))?;
        let images = reader.records(bytes).collect::<Result<Vec<Image>, _>>()?;
        let channels = self.channels.or(images.first().map(|first| first.channels)).unwrap_or(1);
        let (mean, std) = fit::normalisation(&images, channels)?;
        let sides = images.iter().map(|image| self.cut.size.unwrap_or([image.height, image.width]));
        let most = sides.fold([1, 1], |[h, w], [height, width]| [h.max(height), w.max(width)]);
        let config = ImageConfig {
            size: self.cut.size,
            max_patches: most.map(|side| side.div_ceil(patch.max(1))),
            mean,
            std,
            ..ImageConfig::vit(channels, patch, most)
        };
        Ok(Box::new(ImageTokenizer::new(config)?))
    }

    #[cfg(feature = "audio")]
    fn audio(&self, bytes: &[u8]) -> Result<Box<dyn AnyTokenizer>> {
        use crate::tasks::modalities::audio::{AudioConfig, AudioTokenizer, MelConfig};
        use anyhow::Context;
        use smalti_contract::Tokenizer;

        if let Some(name) = &self.preset {
            return Ok(Box::new(AudioTokenizer::new(AudioConfig::preset(name).context("--preset")?)?));
        }
        let default = AudioConfig::default();
        let sample_rate = self.sample_rate.unwrap_or(default.sample_rate);
        let mel = MelConfig {
            n_fft: sample_rate as usize / 40,
            hop_length: sample_rate as usize / 100,
            n_mels: self.n_mels.unwrap_or(default.mel.n_mels),
            ..default.mel
        };
        let config = AudioConfig {
            sample_rate,
            mel,
            frames_per_slice: self.cut.frames_per_slice.unwrap_or(default.frames_per_slice),
            slice_hop: self.cut.slice_hop,
            // As many as any file of this length can hold: a rate is at least 1 Hz.
            max_slices: bytes.len().saturating_mul(sample_rate as usize).max(1),
            ..default
        };
        Ok(Box::new(AudioTokenizer::new(config)?))
    }

    #[cfg(feature = "trajectory")]
    fn trajectory(&self, bytes: &[u8]) -> Result<Box<dyn AnyTokenizer>> {
        use crate::tasks::modalities::trajectory::{Episode, FitOptions, TrajectoryTokenizer, episodes, fit};
        use crate::tasks::trajectory::{Logged, PictureConfig, PicturedConfig, PicturedTokenizer};
        use anyhow::ensure;
        use smalti_contract::Tokenizer;

        let episodes = episodes(bytes).collect::<Result<Vec<Episode>, _>>()?;
        let max_steps = episodes.iter().map(Episode::len).max().unwrap_or(0);
        let context = self.context.unwrap_or(FitOptions::default().context);
        let options = FitOptions { context, max_steps: max_steps.max(context), ..FitOptions::default() };
        let trajectory = fit(&episodes, options)?;
        if episodes.iter().all(|episode| episode.pictures.is_empty()) {
            let stray = self.cut.patch.is_some() || self.cut.size.is_some() || self.channels.is_some();
            ensure!(
                !stray,
                "--patch, --size and --channels are for pictures; there is none in these episodes"
            );
            return Ok(Box::new(TrajectoryTokenizer::new(trajectory)?));
        }
        let logged = |(number, episode)| Logged { file: "the log".into(), number, episode };
        let logged: Vec<Logged> = episodes.into_iter().enumerate().map(logged).collect();
        let pictures = PictureConfig { channels: self.channels, ..self.cut.in_episodes() };
        let cameras = pictures.fit(&logged, None, &[])?;
        Ok(Box::new(PicturedTokenizer::new(PicturedConfig { trajectory, cameras })?))
    }
}

impl Cut {
    /// Refuses options that say nothing about this modality.
    ///
    /// # Errors
    /// Names the first, and its modality.
    pub fn only(&self, modality: Modality) -> Result<()> {
        let given = [
            ("--bytes", &[Modality::Text][..], self.bytes),
            ("--patch", &SEEN, self.patch.is_some()),
            ("--size", &SEEN, self.size.is_some()),
            ("--frames-per-slice", &[Modality::Audio], self.frames_per_slice.is_some()),
            ("--slice-hop", &[Modality::Audio], self.slice_hop.is_some()),
        ];
        refuse_stray(given, modality)
    }

    #[cfg(feature = "image")]
    fn patch(&self) -> usize {
        self.patch.unwrap_or(4)
    }

    /// How the pictures of episodes become tokens.
    #[cfg(feature = "trajectory")]
    pub fn in_episodes(&self) -> crate::tasks::trajectory::PictureConfig {
        let default = crate::tasks::trajectory::PictureConfig::default();
        let patch = self.patch.unwrap_or(default.patch);
        crate::tasks::trajectory::PictureConfig { patch, size: self.size, ..default }
    }

    /// Whether a text's tokens are its bytes.
    pub fn bytes(&self) -> bool {
        self.bytes
    }

    /// A tokenizer that gives pictures of any size their number of tokens; what it is fitted to does not count.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    #[cfg(feature = "image")]
    pub fn of_pictures(&self) -> Result<crate::tasks::modalities::image::ImageTokenizer> {
        use crate::tasks::modalities::image::{ImageConfig, ImageTokenizer};
        use smalti_contract::Tokenizer;

        let any = ImageConfig::vit(3, self.patch(), [1, 1]);
        let max_patches = [u32::MAX as usize; 2];
        Ok(ImageTokenizer::new(ImageConfig { size: self.size, max_patches, ..any })?)
    }

    /// A tokenizer that gives clips of any length their number of tokens.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    #[cfg(feature = "audio")]
    pub fn of_clips(&self) -> Result<crate::tasks::modalities::audio::AudioTokenizer> {
        use crate::tasks::modalities::audio::{AudioConfig, AudioTokenizer};
        use smalti_contract::Tokenizer;

        let default = AudioConfig::default();
        let frames_per_slice = self.frames_per_slice.unwrap_or(default.frames_per_slice);
        let (slice_hop, max_slices) = (self.slice_hop, u32::MAX as usize);
        Ok(AudioTokenizer::new(AudioConfig { frames_per_slice, slice_hop, max_slices, ..default })?)
    }
}

/// The modalities in which there are pictures.
const SEEN: [Modality; 2] = [Modality::Image, Modality::Trajectory];

/// Refuses the first of the options that is given and of other modalities.
fn refuse_stray<const N: usize>(given: [(&str, &[Modality], bool); N], modality: Modality) -> Result<()> {
    if let Some((option, of, _)) = given.into_iter().find(|(_, of, given)| *given && !of.contains(&modality))
    {
        let of: Vec<&str> = of.iter().map(|modality| modality.name()).collect();
        let (of, read_as) = (of.join(" and "), modality.name());
        bail!("{option} is for {of}; this file is read as {read_as} (--as says another)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_height_and_width() {
        assert_eq!(size("8x16"), Ok([8, 16]));
        for text in ["", "8", "8x", "x8", "8x8x8", "-8x8", "8 x 8"] {
            assert!(size(text).unwrap_err().contains("224x224"), "{text}");
        }
    }
}
