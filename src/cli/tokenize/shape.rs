//! The tokenizer that a file is shown with: its settings from the command line, its fitted state from the file.

use crate::inspect::Slicing;
use crate::registry::Modalities;
use crate::table::Modality;
use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::{Map, json};
use smalti_contract::{AnyTokenizer, File, Value};
#[cfg(feature = "image")]
use smalti_contract::{Array, Numbers};

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
    /// Images, also of episodes: 1 for grey, 3 for RGB [default: those of the first image].
    #[arg(long)]
    channels: Option<usize>,
    /// Audio: resamples to this rate in Hz; a frame is 25 ms, every 10 ms [default: 16000].
    #[arg(long)]
    sample_rate: Option<u32>,
    /// Audio: mel bands of a frame [default: 80].
    #[arg(long)]
    n_mels: Option<usize>,
    /// Episodes: time steps in a record [default: 20].
    #[arg(long)]
    context: Option<usize>,
}

/// What decides how many tokens a sample becomes.
#[derive(Args)]
pub struct Cut {
    /// Text: a token is a byte; without it, a character of the file.
    #[arg(long)]
    bytes: bool,
    /// Images, also of episodes: the side of a square patch in pixels [default: 4].
    #[arg(long)]
    patch: Option<usize>,
    /// Images, also of episodes: resizes to this height and width in pixels, such as 224x224 [default: each keeps its
    /// own].
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
    pub fn fit(
        &self,
        modality: Modality,
        file: &File,
        modalities: &Modalities,
    ) -> Result<Box<dyn AnyTokenizer>> {
        let settings = match modality {
            Modality::Text => self.text(file.bytes.len()),
            Modality::Image => self.image(),
            Modality::Audio => self.audio(file.bytes.len()),
            Modality::Trajectory => bail!("this smalti is built without the feature `trajectory`"),
        };
        let settings = serde_json::Value::Object(settings);
        Ok(modalities.tokenizers().fit(modality.name(), settings, None, &values(modality, file)?)?)
    }

    /// Refuses options that say nothing about this modality: they would be ignored silently.
    ///
    /// # Errors
    /// Names the first, and its modality.
    pub fn only(&self, modality: Modality) -> Result<()> {
        let of = |modalities: &[Modality]| modalities.contains(&modality);
        let options = self.options().into_iter().chain(self.cut.options());
        if let Some((option, modalities, _)) =
            options.into_iter().find(|(_, modalities, given)| *given && !of(modalities))
        {
            let names: Vec<&str> = modalities.iter().map(|modality| modality.name()).collect();
            let (names, read_as) = (names.join(" and "), modality.name());
            bail!("{option} is for {names}; this file is read as {read_as} (--as says another)");
        }
        Ok(())
    }

    fn options(&self) -> [Given; 6] {
        [
            ("--preset", &[Modality::Image, Modality::Audio][..], self.preset.is_some()),
            ("--vocabulary", &[Modality::Text], self.vocabulary.is_some()),
            ("--channels", &SEEN, self.channels.is_some()),
            ("--sample-rate", &[Modality::Audio], self.sample_rate.is_some()),
            ("--n-mels", &[Modality::Audio], self.n_mels.is_some()),
            ("--context", &[Modality::Trajectory], self.context.is_some()),
        ]
    }

    /// Time steps in a record of episodes.
    #[cfg(feature = "trajectory")]
    pub fn context(&self) -> usize {
        self.context.unwrap_or(CONTEXT)
    }

    fn text(&self, bytes: usize) -> Map<String, serde_json::Value> {
        // No text has more characters or bytes than the file has bytes; a published vocabulary may add ids at the ends.
        let (vocabulary, context) = match &self.vocabulary {
            Some(file) => (json!({ "file": file }), u32::MAX as usize),
            None if self.cut.bytes => (json!("bytes"), bytes),
            None => (json!("characters"), bytes),
        };
        given([("vocabulary", Some(vocabulary)), ("context", Some(json!(context)))])
    }

    /// The settings of images, in files or in episodes.
    pub fn image(&self) -> Map<String, serde_json::Value> {
        given([
            ("preset", self.preset.as_ref().map(|name| json!(name))),
            ("channels", self.channels.map(|n| json!(n))),
            ("patch_size", self.cut.patch.map(|n| json!(n))),
            ("image_size", self.cut.size.map(|size| json!(size))),
        ])
    }

    /// Whether some option is of images.
    #[cfg(feature = "trajectory")]
    pub fn is_of_images(&self) -> bool {
        !self.image().is_empty()
    }

    fn audio(&self, bytes: usize) -> Map<String, serde_json::Value> {
        if let Some(name) = &self.preset {
            return given([("preset", Some(json!(name))), ("normalize", Some(json!(false)))]);
        }
        let rate = self.sample_rate.unwrap_or(SAMPLE_RATE);
        let mel = given([
            ("n_fft", Some(json!(rate / 40))),
            ("hop_length", Some(json!(rate / 100))),
            ("n_mels", self.n_mels.map(|n| json!(n))),
        ]);
        // As many as any file of this length can hold: a rate is at least 1 Hz.
        let max_slices = bytes.saturating_mul(rate as usize).max(1);
        given([
            ("normalize", Some(json!(false))),
            ("sample_rate", Some(json!(rate))),
            ("mel", Some(json!(mel))),
            ("frames_per_slice", self.cut.frames_per_slice.map(|n| json!(n))),
            ("slice_hop", self.cut.slice_hop.map(|n| json!(n))),
            ("max_slices", Some(json!(max_slices))),
        ])
    }
}

/// The settings that are given.
fn given<const N: usize>(settings: [(&str, Option<serde_json::Value>); N]) -> Map<String, serde_json::Value> {
    settings.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

/// The values in a file: one, or the images of an IDX file.
fn values(modality: Modality, file: &File) -> Result<Vec<Value>> {
    #[cfg(feature = "image")]
    if modality == Modality::Image && crate::modalities::image::idx::is_images(&file.bytes) {
        let array = |image: crate::modalities::image::Image| {
            let shape = vec![image.height, image.width];
            Value::Array(Array { shape, numbers: Numbers::U8(image.pixels) })
        };
        return Ok(crate::modalities::image::idx::images(&file.bytes)
            .map(|image| image.map(array))
            .collect::<Result<_, _>>()?);
    }
    let _ = modality;
    Ok(vec![Value::File(file.clone())])
}

impl Cut {
    /// How values are cut, to count their tokens.
    pub fn slicing(&self) -> Slicing {
        let Self { bytes, patch, size, frames_per_slice, slice_hop } = self;
        Slicing {
            bytes: *bytes,
            patch_size: *patch,
            image_size: *size,
            frames_per_slice: *frames_per_slice,
            slice_hop: *slice_hop,
        }
    }

    /// Refuses options that say nothing about any of some fields, by what they hold.
    ///
    /// # Errors
    /// Names the first, and its modality.
    pub fn only_fields(&self, holds: &[&str]) -> Result<()> {
        for (option, modalities, given) in self.options() {
            let name = modalities[0].name();
            ensure!(
                !given || holds.iter().any(|holds| holds.ends_with(name)),
                "{option} is for {name}; no field holds one"
            );
        }
        Ok(())
    }

    fn options(&self) -> [Given; 5] {
        [
            ("--bytes", &[Modality::Text][..], self.bytes),
            ("--patch", &SEEN, self.patch.is_some()),
            ("--size", &SEEN, self.size.is_some()),
            ("--frames-per-slice", &[Modality::Audio], self.frames_per_slice.is_some()),
            ("--slice-hop", &[Modality::Audio], self.slice_hop.is_some()),
        ]
    }
}

/// An option, the modalities that it is for, and whether it is given.
type Given = (&'static str, &'static [Modality], bool);

/// Time steps in a record of episodes unless they are set.
#[cfg(feature = "trajectory")]
const CONTEXT: usize = 20;
/// The rate that audio is resampled to unless it is set, in Hz.
const SAMPLE_RATE: u32 = 16_000;
/// The modalities in which there are images.
const SEEN: [Modality; 2] = [Modality::Image, Modality::Trajectory];

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
