//! One camera's pictures as tokens.

use smalti_contract::{Content, Group, KindSpec, TokenizeError, Tokenizer, Tokens};
use smalti_image::{Image, ImageConfig, ImageTokenizer};
use std::borrow::Cow;

/// What makes tokens of one camera's pictures, and where these stand.
pub(super) struct Camera {
    pub(super) name: String,
    tokenizer: ImageTokenizer,
    /// Tokens of a step's picture.
    pub(super) tokens: usize,
    /// Tokens of a step that come before.
    first: usize,
    /// Tokens of a step, of all kinds.
    stride: usize,
}

/// Tokens of a picture that is cut as `config` says.
pub(super) fn tokens(config: &ImageConfig) -> usize {
    config.max_patches.iter().fold(1, |n: usize, &side| n.saturating_mul(side))
}

impl Camera {
    /// One whose patches stand behind `first` others in a step of `stride` tokens.
    ///
    /// # Errors
    /// Where pictures are not all of one size, patches edge to edge.
    pub(super) fn new(
        name: &str,
        config: &ImageConfig,
        first: usize,
        stride: usize,
    ) -> Result<Self, TokenizeError> {
        let tokenizer = ImageTokenizer::new(config.clone())?;
        let camera = Self { name: name.into(), tokenizer, tokens: tokens(config), first, stride };
        if config.stride.is_some() || config.size.is_some_and(|size| size != camera.size()) {
            let size = camera.size();
            let problem = format!("camera {name:?}: pictures must be {size:?} pixels, edge to edge");
            return Err(TokenizeError::Config { tokenizer: super::PicturedTokenizer::NAME, problem });
        }
        Ok(camera)
    }

    /// The kind of its patches, which have the time of their step.
    pub(super) fn kind(&self, max_steps: usize) -> Option<KindSpec> {
        let kind = Tokenizer::spec(&self.tokenizer).kinds.first()?.clone();
        let name = if self.name.is_empty() { kind.name } else { format!("{}.{}", kind.name, self.name) };
        Some(KindSpec { name, time_steps: Some(max_steps), ..kind })
    }

    /// `[height, width]` that a picture must be cut from.
    fn size(&self) -> [usize; 2] {
        let ImageConfig { max_patches, patch, .. } = self.tokenizer.config();
        max_patches.map(|patches| patches.saturating_mul(*patch))
    }

    /// The picture as its patches are cut from it.
    pub(super) fn prepare<'a>(&self, picture: &'a Image) -> Result<Cow<'a, Image>, TokenizeError> {
        let ([height, width], found) = (self.size(), [picture.height, picture.width]);
        if self.tokenizer.config().size.is_none() && found != [height, width] {
            return Err(TokenizeError::Input(format!(
                "{}×{} pixels; expected {height}×{width}, as others are (data.pictures.size resizes)",
                found[0], found[1]
            )));
        }
        self.tokenizer.prepare(picture)
    }

    /// The place of its token `i`.
    fn order(&self, i: usize) -> u32 {
        (i / self.tokens * self.stride + self.first + i % self.tokens) as u32
    }

    /// The tokens of its pictures, the first of time step `start`.
    pub(super) fn encode(&self, pictures: &[Image], start: usize) -> Result<Group, TokenizeError> {
        let ImageConfig { patch, channels, .. } = *self.tokenizer.config();
        let (mut values, mut positions) = (Vec::new(), Vec::new());
        for (step, picture) in pictures.iter().enumerate() {
            let refuse = |e: TokenizeError| self.in_step(start + step, e);
            let cut = self.prepare(picture).and_then(|picture| self.tokenizer.cut(&picture));
            for group in cut.map_err(refuse)?.groups {
                values.extend_from_slice(group.content.features().unwrap_or_default());
                positions.extend(group.positions);
            }
        }
        let tokens = 0..pictures.len() * self.tokens;
        Ok(Group {
            content: Content::Features { values, dim: patch * patch * channels },
            positions,
            order: tokens.clone().map(|i| self.order(i)).collect(),
            time: tokens.map(|i| (start + i / self.tokens) as u32).collect(),
        })
    }

    /// The inverse of [`encode`](Self::encode).
    pub(super) fn decode(&self, group: &Group, start: usize) -> Result<Vec<Image>, TokenizeError> {
        let misplaced = (0..group.len())
            .find(|&i| group.order[i] != self.order(i) || group.time[i] as usize != start + i / self.tokens);
        if let Some(token) = misplaced {
            let name = &self.name;
            return Err(TokenizeError::Input(format!(
                "patch token {token} of camera {name:?} is not at the place that encoding gives it"
            )));
        }
        let Content::Features { values, dim } = &group.content else { return Ok(vec![]) };
        let steps = values.chunks(self.tokens * dim).zip(group.positions.chunks(self.tokens * 2));
        let picture = |(values, positions): (&[f32], &[u32])| {
            let content = Content::Features { values: values.to_vec(), dim: *dim };
            let alone = Group { positions: positions.to_vec(), ..Group::sequence(content) };
            self.tokenizer.decode(&Tokens::new(vec![alone]))
        };
        steps.map(picture).collect()
    }

    /// What is wrong with its picture at a step.
    pub(super) fn in_step(&self, step: usize, error: TokenizeError) -> TokenizeError {
        let camera = match self.name.as_str() {
            "" => String::new(),
            name => format!(" of camera {name:?}"),
        };
        TokenizeError::Input(format!("picture{camera} at step {step}: {error}"))
    }
}
