//! The tokenizer of trajectories in which there is something to see.

mod camera;
#[cfg(test)]
mod tests;

use self::camera::Camera;
use super::read_picture;
use serde::{Deserialize, Serialize};
use smalti_contract::{Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values};
use smalti_image::{Image, ImageConfig};
use smalti_trajectory::{Episode, Format, Picture, TrajectoryConfig, TrajectoryTokenizer, Window, episodes};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// A trajectory tokenizer and an image tokenizer for each camera, whose patches come into each time step.
///
/// | kind | holds | order in step `t` of the window, of `3 + n` tokens |
/// | --- | --- | --- |
/// | `return` | as of [`TrajectoryTokenizer`] | `(3 + n) t` |
/// | `patch.CAMERA` | the patches of the step's picture, `n` of all cameras | `(3 + n) t + 1` to `(3 + n) t + n` |
/// | `state` | as of [`TrajectoryTokenizer`], where there is one | `(3 + n) t + 1 + n` |
/// | `action` | as of [`TrajectoryTokenizer`] | `(3 + n) t + 2 + n` |
///
/// Patches have the axes `row` and `column`, and the time of their step. Pictures come before the state, so that
/// whoever is asked for an action at the last token before it has seen them all. The kind of a camera without a name
/// is `patch`.
///
/// [`decode`](Tokenizer::decode) loses what either tokenizer does.
pub struct PicturedTokenizer {
    config: PicturedConfig,
    trajectory: TrajectoryTokenizer,
    cameras: Vec<Camera>,
    /// Tokens of all cameras in a step.
    room: usize,
    spec: TokenSpec,
}

/// Settings and fitted state of a [`PicturedTokenizer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PicturedConfig {
    /// Returns, states and actions.
    pub trajectory: TrajectoryConfig,
    /// By camera, its pictures: all of `max_patches` patches edge to edge, brought to `size`, or already of that size
    /// where there is none.
    pub cameras: BTreeMap<String, ImageConfig>,
}

/// A window, and what was seen in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictured {
    /// Returns, states and actions of `n` steps.
    pub window: Window,
    /// By camera, `[n]`.
    pub pictures: BTreeMap<String, Vec<Image>>,
}

/// Tokens of a return-to-go, which come before pictures.
const RETURN: usize = 1;

impl PicturedTokenizer {
    /// One without cameras, whose tokens are those of this tokenizer.
    pub fn blind(trajectory: TrajectoryTokenizer) -> Self {
        let config = Tokenizer::config(&trajectory).clone();
        let spec = Tokenizer::spec(&trajectory).clone();
        let config = PicturedConfig { trajectory: config, cameras: BTreeMap::new() };
        Self { config, trajectory, cameras: vec![], room: 0, spec }
    }

    /// What makes tokens of returns, states and actions.
    pub fn trajectory(&self) -> &TrajectoryTokenizer {
        &self.trajectory
    }

    /// The names of the cameras.
    pub fn cameras(&self) -> impl Iterator<Item = &str> {
        self.cameras.iter().map(|camera| camera.name.as_str())
    }

    /// The kinds that cameras' patches are of.
    pub fn patch_kinds(&self) -> &[KindSpec] {
        &self.spec.kinds[RETURN..RETURN + self.cameras.len()]
    }

    /// The kind of the last token before an action, and how many there are of it in a step.
    pub fn asked(&self) -> (&KindSpec, usize) {
        let state_tokens = Tokenizer::config(&self.trajectory).state_tokens();
        match (state_tokens, self.cameras.last()) {
            (0, Some(camera)) => (&self.spec.kinds[self.cameras.len()], camera.tokens),
            (0, None) => (&self.spec.kinds[0], RETURN),
            (tokens, _) => (&self.spec.kinds[RETURN + self.cameras.len()], tokens),
        }
    }

    /// A camera's picture as its patches are cut from it. One that is, stays as it is.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] where there is no such camera, or its pictures are of another size.
    pub fn prepare(&self, camera: &str, picture: Image) -> Result<Image, TokenizeError> {
        let unknown = || TokenizeError::Input(format!("no camera is called {camera:?}"));
        let camera = self.cameras.iter().find(|known| known.name == camera).ok_or_else(unknown)?;
        Ok(match camera.prepare(&picture)? {
            Cow::Borrowed(_) => picture,
            Cow::Owned(prepared) => prepared,
        })
    }

    /// Moves tokens from where they stand without pictures to where they stand with them.
    fn make_room(&self, order: &mut [u32]) {
        let (own, room) = (Tokenizer::config(&self.trajectory).tokens_per_step(), self.room);
        for order in order {
            let (step, place) = (*order as usize / own, *order as usize % own);
            let before = if place < RETURN { step } else { step + 1 };
            *order += (before * room) as u32;
        }
    }

    /// Moves them back; `None` where they do not stand so.
    fn take_room(&self, order: &[u32]) -> Option<Vec<u32>> {
        let (own, room) = (Tokenizer::config(&self.trajectory).tokens_per_step(), self.room);
        let moved = order.iter().map(|&order| {
            let (step, place) = (order as usize / (own + room), order as usize % (own + room));
            let place =
                if place < RETURN { Some(place) } else { place.checked_sub(room).filter(|&p| p >= RETURN) };
            Some((step * own + place?) as u32)
        });
        moved.collect()
    }

    /// A window of an episode with its pictures, which the episode itself holds.
    fn look(
        &self,
        episode: &Episode,
        start: usize,
        returns_to_go: &[f32],
    ) -> Result<Pictured, TokenizeError> {
        let window = episode.window(start, self.config.trajectory.context, returns_to_go);
        let steps = start..start + window.returns_to_go.len();
        let pictures = self.seen(episode, steps, &|picture| read_picture(picture, None))?;
        Ok(Pictured { window, pictures })
    }

    /// What the cameras saw at these steps of an episode, as `read` reads it.
    ///
    /// # Errors
    /// Where a camera is missing or a picture cannot be read, with its step.
    pub fn seen(
        &self,
        episode: &Episode,
        steps: Range<usize>,
        read: &dyn Fn(Picture) -> Result<Image, TokenizeError>,
    ) -> Result<BTreeMap<String, Vec<Image>>, TokenizeError> {
        let mut seen = BTreeMap::new();
        for camera in &self.cameras {
            let missing = |step| camera.in_step(step, TokenizeError::Input("it is not there".into()));
            let pictures = episode.pictures.get(&camera.name).ok_or_else(|| missing(steps.start))?;
            let one = |step: usize| {
                let picture = pictures.get(step).ok_or_else(|| missing(step))?;
                read(picture).map_err(|e| camera.in_step(step, e))
            };
            seen.insert(camera.name.clone(), steps.clone().map(one).collect::<Result<_, _>>()?);
        }
        Ok(seen)
    }
}

impl Tokenizer for PicturedTokenizer {
    const NAME: &'static str = "pictured_trajectory";
    type Settings = PicturedConfig;
    type Config = PicturedConfig;
    type Raw = Pictured;

    fn fit(
        settings: PicturedConfig,
        _before: Option<PicturedConfig>,
        _values: &dyn Values,
    ) -> Result<PicturedConfig, TokenizeError> {
        Ok(settings)
    }

    fn new(config: PicturedConfig) -> Result<Self, TokenizeError> {
        let trajectory = TrajectoryTokenizer::new(config.trajectory.clone())?;
        let TrajectoryConfig { context, max_steps, .. } = config.trajectory;
        let of_cameras = config.cameras.values().map(camera::tokens);
        let room = of_cameras.fold(0, |n: usize, tokens| n.saturating_add(tokens));
        let stride = config.trajectory.tokens_per_step().saturating_add(room);
        if stride.saturating_mul(context) > u32::MAX as usize {
            let problem = format!("{context} steps of {stride} tokens; order may not exceed {}", u32::MAX);
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        let (mut cameras, mut first) = (Vec::new(), RETURN);
        for (name, image) in &config.cameras {
            let camera = Camera::new(name, image, first, stride)?;
            first += camera.tokens;
            cameras.push(camera);
        }
        let mut kinds = Tokenizer::spec(&trajectory).kinds.clone();
        kinds.splice(RETURN..RETURN, cameras.iter().filter_map(|camera| camera.kind(max_steps)));
        Ok(Self { config, trajectory, cameras, room, spec: TokenSpec { kinds } })
    }

    fn config(&self) -> &PicturedConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// # Errors
    /// Always: a window is several fields of a row.
    fn read(&self, value: Value) -> Result<Pictured, TokenizeError> {
        Err(value.unexpected("a window of an episode"))
    }

    /// The episodes of a file, each cut into consecutive windows of `context` steps, with the pictures that are in the
    /// file.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Pictured> {
        let format = Format::of(bytes).unwrap_or(Format::JsonLines).name();
        let TrajectoryConfig { context, discount, .. } = self.config.trajectory;
        Box::new(episodes(bytes).flat_map(move |episode| -> Records<'a, Pictured> {
            match episode {
                Ok(episode) => {
                    let returns_to_go = episode.returns_to_go(discount);
                    let starts = episode.window_starts(context);
                    Box::new(starts.map(move |start| self.look(&episode, start, &returns_to_go)))
                }
                Err(error) => {
                    let problem = error.to_string();
                    Box::new(std::iter::once(Err(TokenizeError::Format { format, problem })))
                }
            }
        }))
    }

    fn encode(&self, raw: &Pictured) -> Result<Tokens, TokenizeError> {
        let Pictured { window, pictures } = raw;
        let mut tokens = self.trajectory.encode(window)?;
        tokens.groups.iter_mut().for_each(|group| self.make_room(&mut group.order));
        let steps = window.returns_to_go.len();
        let patches = self.cameras.iter().map(|camera| {
            let pictures = pictures.get(&camera.name).map_or(&[][..], Vec::as_slice);
            if pictures.len() != steps {
                let (name, found) = (&camera.name, pictures.len());
                let problem = format!("camera {name:?} has {found} pictures; the window has {steps} steps");
                return Err(TokenizeError::Input(problem));
            }
            camera.encode(pictures, window.start)
        });
        let patches = patches.collect::<Result<Vec<_>, _>>()?;
        tokens.groups.splice(RETURN..RETURN, patches);
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Pictured, TokenizeError> {
        self.spec.check(tokens)?;
        let mut groups = tokens.groups.clone();
        let patches: Vec<Group> = groups.splice(RETURN..RETURN + self.cameras.len(), []).collect();
        for group in &mut groups {
            let among = || TokenizeError::Input("tokens stand in the room of pictures".into());
            group.order = self.take_room(&group.order).ok_or_else(among)?;
        }
        let window = self.trajectory.decode(&Tokens::new(groups))?;
        let pictures = self
            .cameras
            .iter()
            .zip(&patches)
            .map(|(camera, group)| Ok((camera.name.clone(), camera.decode(group, window.start)?)));
        let pictures = pictures.collect::<Result<_, TokenizeError>>()?;
        Ok(Pictured { window, pictures })
    }
}
