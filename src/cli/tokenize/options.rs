//! The tokenizer of `smalti tokenize`: its settings from the command line, its fitted state from the file.

use crate::cli::count::{MANY, up_to};
use crate::inspect::Slicing;
use crate::registry::Modalities;
use crate::table::Modality;
use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::{Map, json};
use smalti_contract::{AnyTokenizer, File, Value};
#[cfg(feature = "image")]
use smalti_contract::{Array, Numbers};

/// Options of the tokenizer.
#[derive(Args)]
pub struct TokenizerOptions {
    #[command(flatten)]
    slicing: SlicingOptions,
    /// Images, audio: settings of a published model, in place of the other options.
    ///
    /// Images: vit, clip, imagenet, cifar or mnist. Audio: whisper, whisper128, ast or librosa.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = [
            "num_channels",
            "sampling_rate",
            "n_mels",
            "patch_size",
            "image_size",
            "frames_per_slice",
            "slice_hop",
        ]
    )]
    preset: Option<String>,
    /// Text: file or folder of a published vocabulary; tokens are its subwords.
    ///
    /// The file is a tokenizer.json, GPT-2's encoder.json beside vocab.bpe, or BERT's vocab.txt.
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    vocabulary: Option<String>,
    /// Images, also of episodes: 1 for grey, 3 for RGB [default: 3 if an image has colours].
    #[arg(long, value_parser = up_to::<MANY>)]
    num_channels: Option<usize>,
    /// Audio: sampling rate to resample to, in Hz [default: 16000].
    ///
    /// A frame is 25 ms long, and frames are 10 ms apart.
    #[arg(long)]
    sampling_rate: Option<u32>,
    /// Audio: mel bands of a frame [default: 80].
    #[arg(long, value_parser = up_to::<MANY>)]
    n_mels: Option<usize>,
    /// Episodes: time steps in a row [default: 20].
    #[arg(long, value_parser = up_to::<MANY>)]
    context: Option<usize>,
}

/// Options that decide how many tokens a value has.
#[derive(Args)]
pub struct SlicingOptions {
    /// Text: a token is a byte [default: a character].
    #[arg(long)]
    bytes: bool,
    /// Images, also of episodes: side of a square patch, in pixels [default: 4].
    #[arg(long, value_parser = up_to::<MANY>)]
    patch_size: Option<usize>,
    /// Images, also of episodes: height and width to resize to, in pixels [default: no resizing].
    ///
    /// An example is 224x224.
    #[arg(long, value_name = "HxW", value_parser = height_and_width)]
    image_size: Option<[usize; 2]>,
    /// Audio: frames in a token [default: 4].
    #[arg(long, value_parser = up_to::<MANY>)]
    frames_per_slice: Option<usize>,
    /// Audio: frames from the start of one token to the start of the next [default: frames in a token].
    #[arg(long, value_parser = up_to::<MANY>)]
    slice_hop: Option<usize>,
}

fn height_and_width(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.ok_or_else(|| format!("expected HEIGHTxWIDTH in pixels, such as 224x224; found {text:?}"))
}

impl TokenizerOptions {
    /// The tokenizer for a file of this modality, fitted to it.
    ///
    /// # Errors
    /// If options contradict each other, or the modality is not built in.
    pub fn fit(
        &self,
        modality: Modality,
        file: &File,
        modalities: &Modalities,
    ) -> Result<Box<dyn AnyTokenizer>> {
        let settings = match modality {
            Modality::Text => self.text(file.bytes.len()),
            Modality::Image => self.image_settings(),
            Modality::Audio => self.audio(file.bytes.len()),
            Modality::Trajectory => bail!("this smalti is built without the feature `trajectory`"),
        };
        let settings = serde_json::Value::Object(settings);
        Ok(modalities.tokenizers().fit(modality.name(), &settings, None, &values(modality, file)?)?)
    }

    /// Fails for an option of another modality, which would be ignored silently.
    ///
    /// # Errors
    /// With the first such option and its modalities.
    pub fn check(&self, modality: Modality) -> Result<()> {
        let of = |modalities: &[Modality]| modalities.contains(&modality);
        let options = self.options().into_iter().chain(self.slicing.options());
        if let Some((option, modalities, _)) =
            options.into_iter().find(|(_, modalities, given)| *given && !of(modalities))
        {
            let names: Vec<&str> = modalities.iter().map(|modality| modality.name()).collect();
            let (names, read_as) = (names.join(" and "), modality.name());
            bail!("{option} is for {names}; this file is read as {read_as} (--as sets another modality)");
        }
        Ok(())
    }

    fn options(&self) -> [Given; 6] {
        [
            ("--preset", &[Modality::Image, Modality::Audio][..], self.preset.is_some()),
            ("--vocabulary", &[Modality::Text], self.vocabulary.is_some()),
            ("--num-channels", &WITH_IMAGES, self.num_channels.is_some()),
            ("--sampling-rate", &[Modality::Audio], self.sampling_rate.is_some()),
            ("--n-mels", &[Modality::Audio], self.n_mels.is_some()),
            ("--context", &[Modality::Trajectory], self.context.is_some()),
        ]
    }

    /// Time steps in a row of episodes.
    #[cfg(feature = "trajectory")]
    pub fn context(&self) -> usize {
        self.context.unwrap_or(CONTEXT)
    }

    fn text(&self, bytes: usize) -> Map<String, serde_json::Value> {
        // No text has more characters or bytes than the file has bytes; a published vocabulary may add ids at the ends.
        let (vocabulary, context) = match &self.vocabulary {
            Some(file) => (json!({ "file": file }), u32::MAX as usize),
            None if self.slicing.bytes => (json!("bytes"), bytes),
            None => (json!("characters"), bytes),
        };
        given([("vocabulary", Some(vocabulary)), ("context", Some(json!(context)))])
    }

    /// The options of images, in files or in episodes, that are given.
    fn image(&self) -> Map<String, serde_json::Value> {
        given([
            ("preset", self.preset.as_ref().map(|name| json!(name))),
            ("num_channels", self.num_channels.map(|n| json!(n))),
            ("patch_size", self.slicing.patch_size.map(|n| json!(n))),
            ("image_size", self.slicing.image_size.map(|size| json!(size))),
        ])
    }

    /// The settings of images, in files or in episodes, which keep their size unless an option resizes them.
    pub fn image_settings(&self) -> Map<String, serde_json::Value> {
        let mut settings = self.image();
        if self.preset.is_none() {
            settings.entry("patch_size").or_insert(json!(PATCH_SIZE));
        }
        settings
    }

    /// Whether an option of images is given.
    #[cfg(feature = "trajectory")]
    pub fn has_image_options(&self) -> bool {
        !self.image().is_empty()
    }

    fn audio(&self, bytes: usize) -> Map<String, serde_json::Value> {
        if let Some(name) = &self.preset {
            return given([("preset", Some(json!(name))), ("normalize", Some(json!(false)))]);
        }
        let rate = self.sampling_rate.unwrap_or(SAMPLING_RATE);
        let mel = given([
            ("n_fft", Some(json!(rate / 40))),
            ("hop_length", Some(json!(rate / 100))),
            ("n_mels", self.n_mels.map(|n| json!(n))),
        ]);
        // A bound for any file of this length: a sampling rate is at least 1 Hz.
        let max_slices = bytes.saturating_mul(rate as usize).max(1);
        given([
            ("normalize", Some(json!(false))),
            ("sampling_rate", Some(json!(rate))),
            ("mel", Some(json!(mel))),
            ("frames_per_slice", self.slicing.frames_per_slice.map(|n| json!(n))),
            ("slice_hop", self.slicing.slice_hop.map(|n| json!(n))),
            ("max_slices", Some(json!(max_slices))),
        ])
    }
}

/// Those of these settings that have a value.
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

impl SlicingOptions {
    /// How `data check` counts tokens.
    pub fn slicing(&self) -> Slicing {
        let Self { bytes, patch_size, image_size, frames_per_slice, slice_hop } = *self;
        Slicing { bytes, patch_size, image_size, frames_per_slice, slice_hop }
    }

    /// Fails for an option of a modality that no field has; `holds` are the types of the fields' values.
    ///
    /// # Errors
    /// With the first such option and its modality.
    pub fn check_fields(&self, holds: &[&str]) -> Result<()> {
        for (option, modalities, given) in self.options() {
            let name = modalities[0].name();
            ensure!(
                !given || holds.iter().any(|holds| holds.ends_with(name)),
                "{option} is for {name}; no field has this modality"
            );
        }
        Ok(())
    }

    fn options(&self) -> [Given; 5] {
        [
            ("--bytes", &[Modality::Text][..], self.bytes),
            ("--patch-size", &WITH_IMAGES, self.patch_size.is_some()),
            ("--image-size", &WITH_IMAGES, self.image_size.is_some()),
            ("--frames-per-slice", &[Modality::Audio], self.frames_per_slice.is_some()),
            ("--slice-hop", &[Modality::Audio], self.slice_hop.is_some()),
        ]
    }
}

/// An option, its modalities, and whether it is given.
type Given = (&'static str, &'static [Modality], bool);

/// Default number of time steps in a row of episodes.
#[cfg(feature = "trajectory")]
const CONTEXT: usize = 20;
/// Default side of a patch, in pixels.
const PATCH_SIZE: usize = 4;
/// Default sampling rate, in Hz.
const SAMPLING_RATE: u32 = 16_000;
/// The modalities that contain images.
const WITH_IMAGES: [Modality; 2] = [Modality::Image, Modality::Trajectory];

#[cfg(test)]
mod tests {
    use super::height_and_width;

    #[test]
    fn a_size_is_height_and_width() {
        assert_eq!(height_and_width("8x16"), Ok([8, 16]));
        for text in ["", "8", "8x", "x8", "8x8x8", "-8x8", "8 x 8"] {
            assert!(height_and_width(text).unwrap_err().contains("224x224"), "{text}");
        }
    }
}
