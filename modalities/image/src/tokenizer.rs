//! The image tokenizer.

use crate::config::ImageConfig;
use crate::image::Image;
use crate::normalise::Normaliser;
use crate::read::{read_over, read_value};
use crate::resize::{Side, resize};
use crate::write::write_png;
use crate::{Augment, ImageSettings, Resize, idx, patches};
use smalti_contract::{
    Axis, ContentSpec, File, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};
use std::borrow::Cow;

/// Turns images into patches: tokens of kind `patch`, row by row, with axes `row` and `column`.
///
/// A patch's `patch * patch * channels` features are its pixels by row, column and channel, each
/// `(pixel / 255 - mean) / std`.
///
/// [`decode`](Tokenizer::decode) gives back the image as it was after conversion to the configured channels
/// and size, to the pixel; features between two pixel values are rounded, beyond black and white cut. Where the middle
/// of a resized image was cut out ([`Resize::Crop`]), what lay around it is the mean. Of an image of its own size
/// whose sides are no multiples of [`ImageConfig::stride`], some of the border comes along.
pub struct ImageTokenizer {
    config: ImageConfig,
    normaliser: Normaliser,
    /// The pixel nearest to the mean.
    mean: Vec<u8>,
    spec: TokenSpec,
}

impl ImageTokenizer {
    /// The image as patches are cut from it: in the configured channels, resized and cropped.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an image that is none ([`Image::new`]) or would become too large.
    pub fn prepare<'a>(&self, raw: &'a Image) -> Result<Cow<'a, Image>, TokenizeError> {
        raw.check()?;
        let sides = self.config.sides([raw.height, raw.width]);
        match raw.to_channels(self.config.channels) {
            Cow::Borrowed(image) => resize(image, sides, self.config.filter),
            Cow::Owned(image) => {
                resize(&image, sides, self.config.filter).map(|it| Cow::Owned(it.into_owned()))
            }
        }
    }

    /// A [prepared](Self::prepare) image, varied within [`ImageConfig::augment`].
    ///
    /// # Errors
    /// As of [`prepare`](Self::prepare).
    pub fn vary(&self, raw: &Image, seed: u64) -> Result<Image, TokenizeError> {
        raw.check()?;
        let augment = &self.config.augment;
        let image = match (augment.part(raw, seed), self.config.size) {
            // A random part is all there is to see: nothing more is cropped away around it.
            (Some(part), Some(size)) => {
                let part = part.to_channels(self.config.channels);
                resize(&part, size.map(Side::all), self.config.filter)?.into_owned()
            }
            (Some(part), None) => self.prepare(&part)?.into_owned(),
            (None, _) => self.prepare(raw)?.into_owned(),
        };
        Ok(augment.vary(image, &self.mean, seed))
    }

    /// The patches of an image that is already [prepared](Self::prepare).
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a side that is 0, no multiple of the patch size where patches lie edge to edge,
    /// or more than [`ImageConfig::max_patches`].
    pub fn cut(&self, prepared: &Image) -> Result<Tokens, TokenizeError> {
        prepared.check()?;
        self.config.grid([prepared.height, prepared.width]).map_err(TokenizeError::Input)?;
        Ok(Tokens::new(vec![patches::cut(prepared, self.config.tiling(), &self.normaliser)]))
    }

    /// An image from which [`prepare`](Self::prepare) makes this one. A crop cuts out the middle: it is put into the
    /// middle of a square of the mean.
    fn unprepare(&self, prepared: Image) -> Result<Image, TokenizeError> {
        let Resize::Crop { shortest_edge: side } = self.config.resize else { return Ok(prepared) };
        let [down, across] = self.config.sides([side, side]).map(|side| side.kept);
        let size = [down.len(), across.len()];
        if size != [prepared.height, prepared.width] || size == [side, side] {
            return Ok(prepared);
        }
        let mut framed = Image::new(side, side, prepared.channels, self.mean.repeat(side * side))?;
        framed.place(&prepared, [down.start, across.start]);
        Ok(framed)
    }
}

impl Tokenizer for ImageTokenizer {
    const NAME: &'static str = "image";
    type Settings = ImageSettings;
    type Config = ImageConfig;
    type Raw = Image;

    /// What the settings leave out is that of their preset or, without one, of the configuration `before`. What is left
    /// out there too is found in at most 5,000 images, spread evenly: the channels of the first, the mean and the
    /// deviation of all, the most rows and columns of patches.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work together, and for settings left out without an image to
    /// find them in; as of [`read`](Tokenizer::read) for a value that is no image.
    fn fit(
        settings: ImageSettings,
        before: Option<ImageConfig>,
        values: &dyn Values,
    ) -> Result<ImageConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn new(config: ImageConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(|problem| TokenizeError::Config { tokenizer: Self::NAME, problem })?;
        let [rows, columns] = config.max_patches;
        let spec = TokenSpec::single(KindSpec {
            name: "patch".into(),
            content: ContentSpec::Features { dim: config.patch * config.patch * config.channels },
            axes: vec![Axis::new("row", rows), Axis::new("column", columns)],
            time_steps: None,
        });
        let normaliser = Normaliser::new(&config.mean, &config.std);
        let mean = normaliser.pixels(&vec![0.0; config.channels]).collect();
        Ok(Self { config, normaliser, mean, spec })
    }

    fn config(&self) -> &ImageConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// An encoded image, or an array of pixels `[height, width]` or `[height, width, channels]` in 0..=255.
    fn read(&self, value: Value) -> Result<Image, TokenizeError> {
        read_value(value, self.config.background)
    }

    /// A PNG file.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an image of other than 1 or 3 channels.
    fn write(&self, raw: Image) -> Result<Value, TokenizeError> {
        let bytes = write_png(&raw)?;
        Ok(Value::File(File { name: "image.png".into(), bytes }))
    }

    /// The images of an [IDX](idx::images) file, or the one image of any other that
    /// [`read_over`] knows.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Image> {
        if idx::is_images(bytes) {
            return idx::images(bytes);
        }
        Box::new(std::iter::once_with(|| read_over(bytes, self.config.background)))
    }

    /// An image that [`prepare`](Self::prepare) makes what [`vary`](Self::vary) made of `raw`. One that cannot be
    /// tokenized is left as it is, for [`encode`](Tokenizer::encode) to refuse.
    fn augment(&self, raw: Image, seed: u64) -> Image {
        if self.config.augment == Augment::default() {
            return raw;
        }
        self.vary(&raw, seed).and_then(|varied| self.unprepare(varied)).unwrap_or(raw)
    }

    fn varies(&self) -> bool {
        self.config.augment != Augment::default() || !self.config.blend.is_off()
    }

    fn blends(&self, seed: u64) -> bool {
        self.config.blend.draw(seed).is_some()
    }

    /// # Errors
    /// As of [`prepare`](Self::prepare), and [`TokenizeError::Input`] for images of different sizes.
    fn blend(&self, raw: Image, other: Image, seed: u64) -> Result<(Image, f32), TokenizeError> {
        let Some(blending) = self.config.blend.draw(seed) else { return Ok((raw, 1.0)) };
        let (blended, share) = blending.apply(self.prepare(&raw)?.into_owned(), &*self.prepare(&other)?)?;
        Ok((self.unprepare(blended)?, share))
    }

    /// # Errors
    /// As of [`prepare`](Self::prepare) and [`cut`](Self::cut).
    fn encode(&self, raw: &Image) -> Result<Tokens, TokenizeError> {
        self.cut(&*self.prepare(raw)?)
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
        self.unprepare(patches::join(values, positions, tiling, shape, &self.normaliser)?)
    }
}
