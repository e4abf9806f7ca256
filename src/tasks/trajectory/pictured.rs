//! The tokenizer of trajectories in which there is something to see.

#[cfg(test)]
mod tests;

use super::read_picture;
use serde::{Deserialize, Serialize};
use smalti_contract::{Content, Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens};
use smalti_image::{Image, ImageConfig, ImageTokenizer};
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

/// One camera's pictures as tokens.
struct Camera {
    name: String,
    tokenizer: ImageTokenizer,
    /// Tokens of a step's picture, and of those of the cameras before it.
    tokens: usize,
    before: usize,
}

impl Camera {
    /// `[height, width]` that a picture must be cut from.
    fn size(&self) -> [usize; 2] {
        let ImageConfig { max_patches, patch, .. } = self.tokenizer.config();
        max_patches.map(|patches| patches * patch)
    }

    fn prepare<'a>(&self, picture: &'a Image) -> Result<Cow<'a, Image>, TokenizeError> {
        let ([height, width], found) = (self.size(), [picture.height, picture.width]);
        if self.tokenizer.config().size.is_none() && found != [height, width] {
            return Err(TokenizeError::Input(format!(
                "{}×{} pixels; expected {height}×{width}, as others are (data.pictures.size resizes)",
                found[0], found[1]
            )));
        }
        self.tokenizer.prepare(picture)
    }
}

/// Tokens of a return-to-go, which come before pictures.
const RETURN: usize = 1;

impl PicturedTokenizer {
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

    /// Tokens of all cameras in a step.
    fn room(&self) -> usize {
        self.cameras.iter().map(|camera| camera.tokens).sum()
    }

    /// The place of token `i` of those of a camera.
    fn order(&self, camera: &Camera, i: usize) -> u32 {
        let step = Tokenizer::config(&self.trajectory).tokens_per_step() + self.room();
        (i / camera.tokens * step + RETURN + camera.before + i % camera.tokens) as u32
    }

    /// Moves tokens from where they stand without pictures to where they stand with them.
    fn make_room(&self, order: &mut [u32]) {
        let (own, room) = (Tokenizer::config(&self.trajectory).tokens_per_step(), self.room());
        for order in order {
            let (step, place) = (*order as usize / own, *order as usize % own);
            let before = if place < RETURN { step } else { step + 1 };
            *order += (before * room) as u32;
        }
    }

    /// Moves them back; `None` where they do not stand so.
    fn take_room(&self, order: &[u32]) -> Option<Vec<u32>> {
        let (own, room) = (Tokenizer::config(&self.trajectory).tokens_per_step(), self.room());
        let moved = order.iter().map(|&order| {
            let (step, place) = (order as usize / (own + room), order as usize % (own + room));
            let place =
                if place < RETURN { Some(place) } else { place.checked_sub(room).filter(|&p| p >= RETURN) };
            Some((step * own + place?) as u32)
        });
        moved.collect()
    }

    /// The tokens of a camera's pictures, the first of time step `start`.
    fn patches(&self, camera: &Camera, pictures: &[Image], start: usize) -> Result<Group, TokenizeError> {
        let (mut values, mut positions, mut width) = (Vec::new(), Vec::new(), 0);
        for (step, picture) in pictures.iter().enumerate() {
            let refuse = |e: TokenizeError| in_step(&camera.name, start + step, e);
            let tokens = camera.prepare(picture).and_then(|it| camera.tokenizer.cut(&it)).map_err(refuse)?;
            for group in tokens.groups {
                if let Content::Features { values: patches, dim } = group.content {
                    values.extend(patches);
                    width = dim;
                }
                positions.extend(group.positions);
            }
        }
        let tokens = 0..pictures.len() * camera.tokens;
        Ok(Group {
            content: Content::Features { values, dim: width },
            positions,
            order: tokens.clone().map(|i| self.order(camera, i)).collect(),
            time: tokens.map(|i| (start + i / camera.tokens) as u32).collect(),
        })
    }

    /// The inverse of [`patches`](Self::patches).
    fn pictures(&self, camera: &Camera, group: &Group, start: usize) -> Result<Vec<Image>, TokenizeError> {
        let misplaced = (0..group.len()).find(|&i| {
            group.order[i] != self.order(camera, i) || group.time[i] as usize != start + i / camera.tokens
        });
        if let Some(token) = misplaced {
            return Err(TokenizeError::Input(format!(
                "patch token {token} of camera {:?} is not at the place that encoding gives it",
                camera.name
            )));
        }
        let (values, dim) = match &group.content {
            Content::Features { values, dim } => (values.as_slice(), *dim),
            Content::Ids(_) => (&[][..], 0),
        };
        let steps =
            values.chunks((camera.tokens * dim).max(1)).zip(group.positions.chunks(2 * camera.tokens));
        let picture = |(values, positions): (&[f32], &[u32])| {
            let content = Content::Features { values: values.to_vec(), dim };
            let alone = Group { positions: positions.to_vec(), ..Group::sequence(content) };
            camera.tokenizer.decode(&Tokens::new(vec![alone]))
        };
        steps.map(picture).collect()
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
        for name in self.cameras() {
            let missing = |step: usize| in_step(name, step, TokenizeError::Input("it is not there".into()));
            let pictures = episode.pictures.get(name).ok_or_else(|| missing(steps.start))?;
            let one = |step: usize| {
                let picture = pictures.get(step).ok_or_else(|| missing(step))?;
                read(picture).map_err(|e| in_step(name, step, e))
            };
            seen.insert(name.to_string(), steps.clone().map(one).collect::<Result<_, _>>()?);
        }
        Ok(seen)
    }
}

/// What is wrong with a picture, with its camera and step.
fn in_step(camera: &str, step: usize, error: TokenizeError) -> TokenizeError {
    let camera = if camera.is_empty() { String::new() } else { format!(" of camera {camera:?}") };
    TokenizeError::Input(format!("picture{camera} at step {step}: {error}"))
}

impl Tokenizer for PicturedTokenizer {
    const NAME: &'static str = "pictured_trajectory";
    type Config = PicturedConfig;
    type Raw = Pictured;

    fn new(config: PicturedConfig) -> Result<Self, TokenizeError> {
        let trajectory = TrajectoryTokenizer::new(config.trajectory.clone())?;
        let max_steps = config.trajectory.max_steps;
        let (mut cameras, mut patches, mut before) = (Vec::new(), Vec::new(), 0);
        for (name, image) in &config.cameras {
            let tokenizer = ImageTokenizer::new(image.clone())?;
            let camera = Camera {
                name: name.clone(),
                tokenizer,
                tokens: image.max_patches.iter().fold(1, |n: usize, &side| n.saturating_mul(side)),
                before,
            };
            if image.stride.is_some() || image.size.is_some_and(|size| size != camera.size()) {
                let problem =
                    format!("camera {name:?}: pictures must be {:?} pixels, edge to edge", camera.size());
                return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
            }
            for kind in &Tokenizer::spec(&camera.tokenizer).kinds {
                let name = if name.is_empty() { kind.name.clone() } else { format!("{}.{name}", kind.name) };
                patches.push(KindSpec { name, time_steps: Some(max_steps), ..kind.clone() });
            }
            before = camera.tokens.saturating_add(before);
            cameras.push(camera);
        }
        let TrajectoryConfig { context, .. } = config.trajectory;
        let tokens = config.trajectory.tokens_per_step().saturating_add(before).saturating_mul(context);
        if tokens > u32::MAX as usize {
            let problem = format!("{context} steps have {tokens} tokens; order may not exceed {}", u32::MAX);
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        let mut kinds = Tokenizer::spec(&trajectory).kinds.clone();
        kinds.splice(RETURN..RETURN, patches);
        Ok(Self { config, trajectory, cameras, spec: TokenSpec { kinds } })
    }

    fn config(&self) -> &PicturedConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
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
            self.patches(camera, pictures, window.start)
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
        let pictures =
            self.cameras.iter().zip(&patches).map(|(camera, group)| {
                Ok((camera.name.clone(), self.pictures(camera, group, window.start)?))
            });
        let pictures = pictures.collect::<Result<_, TokenizeError>>()?;
        Ok(Pictured { window, pictures })
    }
}
