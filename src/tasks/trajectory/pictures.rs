//! The pictures of a log: which of them become tokens, and of what size.

use super::Logged;
use crate::data::{DataError, Files};
use crate::tasks::TaskError;
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;
use smalti_image::{Image, ImageConfig, fit};
use smalti_trajectory::Picture;
use std::collections::BTreeMap;

/// `[data.pictures]` of a trajectory task: how pictures that are a part of what was seen become tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PictureConfig {
    /// The cameras whose pictures are looked at; left out, all of the log. `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cameras: Option<Vec<String>>,
    /// Side of a square patch in pixels.
    pub patch: usize,
    /// [height, width] that every picture is brought to; left out, all of a camera are of one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// 1 for grey, 3 for RGB; left out, as many as a camera's first picture has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
}

impl Default for PictureConfig {
    fn default() -> Self {
        Self { cameras: None, patch: 16, size: None, channels: None }
    }
}

/// The most pictures of a camera that mean and deviation are taken from.
const FIT_ON: usize = 1_000;

impl PictureConfig {
    /// The cameras that are looked at, of those that there are.
    fn chosen(&self, episode: &Logged, skipped: &[(String, &'static str)]) -> Result<Vec<String>, TaskError> {
        let known = &episode.episode.pictures;
        let chosen = self.cameras.clone().unwrap_or_else(|| known.keys().cloned().collect());
        if let Some(unknown) = chosen.iter().find(|camera| !known.contains_key(*camera)) {
            let known = known.keys().map(|camera| format!("{camera:?}")).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "no pictures".into() } else { format!("pictures of {known}") };
            let why = skipped.iter().find(|(name, _)| name.ends_with(unknown.as_str()));
            let why = why.map_or(String::new(), |(name, why)| format!("; {name}: {why}"));
            return Err(refuse(format!("cameras has {unknown:?}; the log has {known}{why}")));
        }
        if chosen.is_empty() && episode.episode.state_dim == 0 {
            return Err(refuse("cameras leaves nothing to see: all that the log holds are pictures".into()));
        }
        Ok(chosen)
    }

    /// The settings of each camera's tokenizer, its mean and deviation taken from pictures of these episodes.
    ///
    /// # Errors
    /// A camera that is not there, a picture that cannot be read, and one that does not fit `size` and `patch`.
    pub fn fit(
        &self,
        episodes: &[Logged],
        files: Option<&Files>,
        skipped: &[(String, &'static str)],
    ) -> Result<BTreeMap<String, ImageConfig>, TaskError> {
        let Some(first) = episodes.first() else { return Ok(BTreeMap::new()) };
        let chosen = self.chosen(first, skipped)?;
        chosen
            .into_iter()
            .map(|camera| Ok((camera.clone(), self.fit_one(&camera, episodes, files)?)))
            .collect()
    }

    fn fit_one(
        &self,
        camera: &str,
        episodes: &[Logged],
        files: Option<&Files>,
    ) -> Result<ImageConfig, TaskError> {
        let steps: usize = episodes.iter().map(|logged| logged.episode.len()).sum();
        let every = steps.div_ceil(FIT_ON).max(1);
        let all =
            episodes.iter().flat_map(|logged| (0..logged.episode.len()).map(move |step| (logged, step)));
        let mut some = Vec::new();
        for (logged, step) in all.step_by(every) {
            let picture = logged.episode.pictures.get(camera).and_then(|pictures| pictures.get(step));
            let Some(picture) = picture else { continue };
            let located = |e| {
                let place = format!("episode {}: picture {camera:?} at step {step}", logged.number);
                DataError::tokenize(&logged.file, format!("{place}: {e}"))
            };
            some.push(read_picture(picture, files).map_err(located)?);
        }
        let Some(first) = some.first() else { return Err(refuse(format!("camera {camera:?} has none"))) };
        let channels = self.channels.unwrap_or(first.channels);
        let [height, width] = self.size.unwrap_or([first.height, first.width]);
        for (side, name) in [(height, "height"), (width, "width")] {
            if self.patch == 0 || side == 0 || side % self.patch != 0 {
                return Err(refuse(format!(
                    "pictures of camera {camera:?} are {height}×{width} pixels; {name} must be a multiple of patch = \
                     {} (data.pictures.patch, data.pictures.size)",
                    self.patch
                )));
            }
        }
        let (mean, std) = fit::normalisation(&some, channels)?;
        let max_patches = [height, width].map(|side| side / self.patch);
        let config = ImageConfig::vit(channels, self.patch, [height, width]);
        Ok(ImageConfig { size: self.size, max_patches, mean, std, ..config })
    }
}

fn refuse(problem: String) -> TaskError {
    TaskError::Setting { setting: "pictures", problem }
}

/// The pixels of a picture, whose file is among `files` where it has one of its own.
///
/// # Errors
/// Where there is no such file, or it is no picture.
pub fn read_picture(picture: Picture, files: Option<&Files>) -> Result<Image, TokenizeError> {
    match picture {
        Picture::Frame { height, width, channels, pixels } => {
            Image::new(width, height, channels, pixels.to_vec())
        }
        Picture::Encoded(bytes) => smalti_image::read(bytes),
        Picture::File(path) => {
            let Some(files) = files else {
                return Err(TokenizeError::Input(format!(
                    "it lies in {path:?}, which is not read from here"
                )));
            };
            let bytes = files.read(path).map_err(|e| TokenizeError::Input(e.to_string()))?;
            smalti_image::read(&bytes)
                .map_err(|e| TokenizeError::Input(format!("{}: {e}", files.location(path))))
        }
    }
}
