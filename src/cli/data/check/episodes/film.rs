//! What the cameras of episodes saw.

use super::super::digest::Digest;
use super::super::part::Part;
use crate::cli::tokenize::Cut;
use crate::data::Files;
use crate::tasks::modalities::image::ImageConfig;
use crate::tasks::modalities::trajectory::{Episode, Picture, TrajectoryConfig};
use crate::tasks::trajectory::{Logged, Pictured, PicturedConfig, PicturedTokenizer, read_picture};
use smalti_contract::Tokenizer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By camera, how many pictures there are of each size.
#[derive(Default)]
pub struct Film(BTreeMap<String, BTreeMap<[usize; 3], usize>>);

/// The first good episode, by which others are measured.
pub struct First {
    logged: Logged,
    files: Option<Arc<Files>>,
    /// How each camera's pictures become tokens, or why they do not.
    cameras: Result<BTreeMap<String, ImageConfig>, String>,
}

/// What tells an episode from others, its pictures among it.
pub fn digest(episode: &mut Episode) -> Digest {
    let pictures = std::mem::take(&mut episode.pictures);
    let shots = pictures.values().flat_map(|all| (0..all.len()).filter_map(|step| all.get(step)));
    let content = shots.clone().map(|shot| match shot {
        Picture::Frame { pixels, .. } => pixels,
        Picture::Encoded(file) => file,
        Picture::File(path) => path.as_bytes(),
    });
    let size = |shot: Picture| match shot {
        Picture::Frame { height, width, channels, .. } => [height, width, channels],
        Picture::Encoded(file) => [file.len(), 0, 0],
        Picture::File(path) => [path.len(), 0, 0],
    };
    let sizes: Vec<[usize; 3]> = shots.clone().map(size).collect();
    let cameras: Vec<&String> = pictures.keys().collect();
    let digest = Digest::of_value(&(&*episode, cameras, sizes), content);
    episode.pictures = pictures;
    digest
}

impl First {
    pub fn new(file: String, number: usize, episode: Episode, files: Option<Arc<Files>>, cut: &Cut) -> Self {
        let logged = Logged { file, number, episode };
        let fitted = cut.in_episodes().fit(std::slice::from_ref(&logged), files.as_deref(), &[]);
        Self { cameras: fitted.map_err(|e| e.to_string()), logged, files }
    }

    pub fn episode(&self) -> &Episode {
        &self.logged.episode
    }

    /// The sizes of an episode's pictures, all of which are read.
    ///
    /// # Errors
    /// The first that cannot be read, with its camera and step.
    pub fn film(&self, episode: &Episode) -> Result<Film, String> {
        let mut film = Film::default();
        for (camera, pictures) in &episode.pictures {
            let sizes = film.0.entry(camera.clone()).or_default();
            for step in 0..pictures.len() {
                let Some(picture) = pictures.get(step) else { continue };
                let image = read_picture(picture, self.files.as_deref())
                    .map_err(|e| format!("picture of camera {camera:?} at step {step}: {e}"))?;
                *sizes.entry([image.height, image.width, image.channels]).or_default() += 1;
            }
        }
        Ok(film)
    }

    /// How many tokens an episode becomes, or why it does not with these options.
    ///
    /// # Errors
    /// A picture that is not like those of the first episode.
    pub fn tokens(
        &self,
        episode: &Episode,
        trajectory: TrajectoryConfig,
    ) -> Result<Result<usize, String>, String> {
        let cameras = match &self.cameras {
            Ok(cameras) => cameras.clone(),
            Err(problem) => return Ok(Err(problem.clone())),
        };
        let tokenizer = match PicturedTokenizer::new(PicturedConfig { trajectory, cameras }) {
            Ok(tokenizer) => tokenizer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let window = episode.window(0, episode.len(), &episode.returns_to_go(1.0));
        let read = |picture: Picture<'_>| read_picture(picture, self.files.as_deref());
        let pictures = tokenizer.seen(episode, 0..episode.len(), &read).map_err(|e| e.to_string())?;
        let encoded = tokenizer.encode(&Pictured { window, pictures });
        match encoded {
            Ok(tokens) => Ok(Ok(tokens.len())),
            Err(error) if episode.pictures.is_empty() => Ok(Err(error.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Film {
    pub fn add(&mut self, other: Film) {
        for (camera, sizes) in other.0 {
            let of_camera = self.0.entry(camera).or_default();
            sizes.into_iter().for_each(|(size, n)| *of_camera.entry(size).or_default() += n);
        }
    }

    /// Puts the counts into what was found, where there are pictures.
    pub fn find(&self, part: &mut Part) {
        if self.0.is_empty() {
            return;
        }
        let sized = |sizes: &BTreeMap<[usize; 3], usize>| -> BTreeMap<String, usize> {
            let named = |([height, width, channels], n): (&[usize; 3], &usize)| {
                (format!("{height}×{width}×{channels}"), *n)
            };
            sizes.iter().map(named).collect()
        };
        let name =
            |camera: &str| if camera.is_empty() { "observation".to_string() } else { camera.to_string() };
        let pictures = self.0.iter().map(|(camera, sizes)| (name(camera), sized(sizes)));
        part.find("pictures", pictures.collect::<BTreeMap<_, _>>());
    }
}
