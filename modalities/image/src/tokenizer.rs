//! The image tokenizer.

use crate::config::{Augment, ImageConfig};
use crate::normalise::Normaliser;
use crate::picture::Image;
use crate::{idx, patches, read::read, resize::resize, warp};
use smalti_contract::{Axis, ContentSpec, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens};
use std::borrow::Cow;

/// Turns pictures into patches: tokens of kind `patch`, row by row, with axes `row` and `column`.
///
/// A patch's `patch * patch * channels` features are its pixels by row, column and channel, each
/// `(pixel / 255 - mean) / std`.
///
/// [`decode`](Tokenizer::decode) gives back the picture as it was after conversion to the configured channels
/// and size, to the pixel; features between two pixel values are rounded, beyond black and white cut. Of a picture
/// of its own size whose sides are no multiples of [`ImageConfig::stride`], some of the border comes along.
pub struct ImageTokenizer {
    config: ImageConfig,
    normaliser: Normaliser,
    spec: TokenSpec,
}

impl ImageTokenizer {
    /// The picture in the configured channels and size.
    fn prepare<'a>(&self, raw: &'a Image) -> Result<Cow<'a, Image>, TokenizeError> {
        raw.check()?;
        let image = raw.to_channels(self.config.channels);
        match self.config.size {
            Some(size) if size != [image.height, image.width] => Ok(Cow::Owned(resize(&image, size)?)),
            _ => Ok(image),
        }
    }
}

impl Tokenizer for ImageTokenizer {
    const NAME: &'static str = "image";
    type Config = ImageConfig;
    type Raw = Image;

    fn new(config: ImageConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(|problem| TokenizeError::Config { tokenizer: Self::NAME, problem })?;
        let [rows, columns] = config.max_patches;
        let spec = TokenSpec::single(KindSpec {
            name: "patch".into(),
            content: ContentSpec::Features { dim: config.patch * config.patch * config.channels },
            axes: vec![Axis::new("row", rows), Axis::new("column", columns)],
            time_steps: None,
        });
        Ok(Self { normaliser: Normaliser::new(&config.mean, &config.std), config, spec })
    }

    fn config(&self) -> &ImageConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// The pictures of an [IDX](idx::images) file, or the one picture of any other that [`read`] knows.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Image> {
        if idx::is_images(bytes) { idx::images(bytes) } else { Box::new(std::iter::once(read(bytes))) }
    }

    /// A picture in the configured channels and size, varied within [`ImageConfig::augment`]. One that cannot be
    /// tokenized is left as it is, for [`encode`](Tokenizer::encode) to refuse.
    fn augment(&self, raw: Image, seed: u64) -> Image {
        if self.config.augment == Augment::default() {
            return raw;
        }
        match self.prepare(&raw) {
            Ok(image) => warp::vary(&image, &self.config.augment, seed),
            Err(_) => raw,
        }
    }

    /// # Errors
    /// [`TokenizeError::Input`] for a side that is 0, no multiple of the patch size where patches lie edge to edge,
    /// or more than [`ImageConfig::max_patches`].
    fn encode(&self, raw: &Image) -> Result<Tokens, TokenizeError> {
        let image = self.prepare(raw)?;
        self.config.grid([image.height, image.width]).map_err(TokenizeError::Input)?;
        Ok(Tokens::new(vec![patches::cut(&image, self.config.tiling(), &self.normaliser)]))
    }

    /// # Errors
    /// [`TokenizeError::Spec`] for tokens of another kind; [`TokenizeError::Input`] where their positions are not
    /// every place of a grid, each once.
    fn decode(&self, tokens: &Tokens) -> Result<Image, TokenizeError> {
        self.spec.check(tokens)?;
        let group = tokens.groups.first();
        let (values, positions) = group
            .and_then(|group| Some((group.content.features()?, group.positions.as_slice())))
            .unwrap_or_default();
        let (tiling, shape) = (self.config.tiling(), (self.config.size, self.config.channels));
        patches::join(values, positions, tiling, shape, &self.normaliser)
    }
}
