//! The image tokenizer.

use crate::config::ImageConfig;
use crate::image::Image;
use crate::normalise::Normaliser;
use crate::read::{read_over, read_value};
use crate::resize::{Side, resize};
use crate::write::write_png;
use crate::{Augment, ImageSettings, Resize, idx, patches, permute};
use smalti_contract::{
    Axis, ContentSpec, File, KindSpec, RawInputs, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};
use std::borrow::Cow;

/// The image tokenizer: tokens of kind `patch`, row by row, with axes `row` and `column`.
///
/// A patch's `patch_size * patch_size * num_channels` features are its pixels by row, column and channel, each
/// `(pixel / 255 - mean) / std`. With [`ImageConfig::permute`], row and column name the place to which a patch was moved.
///
/// [`decode`](Tokenizer::decode) returns the image after conversion to the configured channels and size, exactly;
/// features between two pixel values are rounded, those beyond black and white clipped. After a centre crop
/// ([`Resize::Crop`]), the removed border is the mean. If an image keeps its size and its sides are not multiples of
/// [`ImageConfig::stride`], the result includes some of the padding.
pub struct ImageTokenizer {
    config: ImageConfig,
    normaliser: Normaliser,
    /// The pixel nearest to the mean.
    mean: Vec<u8>,
    spec: TokenSpec,
}

impl ImageTokenizer {
    /// Convert an image to the configured channels, resize and crop it.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an invalid image ([`Image::new`]) or one that would become too large.
    pub fn prepare<'a>(&self, raw: &'a Image) -> Result<Cow<'a, Image>, TokenizeError> {
        raw.check()?;
        let sides = self.config.sides([raw.height, raw.width]);
        match raw.to_channels(self.config.num_channels) {
            Cow::Borrowed(image) => resize(image, sides, self.config.filter),
            Cow::Owned(image) => {
                resize(&image, sides, self.config.filter).map(|it| Cow::Owned(it.into_owned()))
            }
        }
    }

    /// [Prepare](Self::prepare) an image and augment it by [`ImageConfig::augment`].
    ///
    /// # Errors
    /// As of [`prepare`](Self::prepare).
    pub fn vary(&self, raw: &Image, seed: u64) -> Result<Image, TokenizeError> {
        raw.check()?;
        let augment = &self.config.augment;
        let image = match (augment.random_crop(raw, seed), self.config.image_size) {
            // A random crop is resized as a whole, without a centre crop.
            (Some(crop), Some(size)) => {
                let crop = crop.to_channels(self.config.num_channels);
                resize(&crop, size.map(Side::all), self.config.filter)?.into_owned()
            }
            (Some(crop), None) => self.prepare(&crop)?.into_owned(),
            (None, _) => self.prepare(raw)?.into_owned(),
        };
        Ok(augment.vary(image, &self.mean, seed))
    }

    /// Cut a [prepared](Self::prepare) image into patches.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a side that is 0, for a side that is not a multiple of the patch size (without a
    /// stride), and for more than [`ImageConfig::max_patches`].
    pub fn cut(&self, prepared: &Image) -> Result<Tokens, TokenizeError> {
        prepared.check()?;
        self.config.grid([prepared.height, prepared.width]).map_err(TokenizeError::Input)?;
        let patches = patches::cut(prepared, self.config.tiling(), &self.normaliser);
        Ok(Tokens::new(vec![match self.config.permute {
            Some(seed) => permute::permute(patches, seed),
            None => patches,
        }]))
    }

    /// The inverse of [`prepare`](Self::prepare) for augmented images. For a crop, the image is put in its
    /// place in the resized image, the rest of which is the mean.
    fn unprepare(&self, prepared: Image) -> Result<Image, TokenizeError> {
        let [height, width] = match self.config.resize {
            Resize::Crop { shortest_edge } => [shortest_edge; 2],
            Resize::StretchCrop { size } | Resize::StretchTrim { size } => size,
            Resize::Stretch | Resize::Native { .. } => return Ok(prepared),
        };
        let [down, across] = self.config.sides([height, width]).map(|side| side.kept);
        let size = [down.len(), across.len()];
        if size != [prepared.height, prepared.width] || size == [height, width] {
            return Ok(prepared);
        }
        let mut framed = Image::new(width, height, prepared.channels, self.mean.repeat(height * width))?;
        framed.place(&prepared, [down.start, across.start]);
        Ok(framed)
    }
}

impl Tokenizer for ImageTokenizer {
    const NAME: &'static str = "image";
    type Settings = ImageSettings;
    type Config = ImageConfig;
    type Raw = Image;

    /// Settings that are left out come from the preset or, without one, from the configuration `before`. Without both,
    /// channels, size and patches are guessed from the headers of at most 200 images, spread evenly, and a
    /// [note](Values::note) says so; a `patch_size` or another setting of shapes keeps each image's size. The rest is
    /// fitted to at most 5,000 images: the mean and deviation of all, and the maximal rows and columns of patches.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for conflicting settings, and for missing settings without an image to fit them to; as
    /// of [`read`](Tokenizer::read) for a value that is not an image.
    fn fit(
        settings: ImageSettings,
        before: Option<ImageConfig>,
        values: &dyn Values,
    ) -> Result<ImageConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(ImageSettings).into()
    }

    fn new(config: ImageConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(|problem| TokenizeError::Config { tokenizer: Self::NAME, problem })?;
        let [rows, columns] = config.max_patches;
        let spec = TokenSpec::single(KindSpec {
            name: "patch".into(),
            content: ContentSpec::Features {
                dim: config.patch_size * config.patch_size * config.num_channels,
            },
            axes: vec![Axis::new("row", rows), Axis::new("column", columns)],
            time_steps: None,
        });
        let normaliser = Normaliser::new(&config.mean, &config.std);
        let mean = normaliser.pixels(&vec![0.0; config.num_channels]).collect();
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
    /// [`TokenizeError::Input`] for an image with neither 1 nor 3 channels.
    fn write(&self, raw: Image) -> Result<Value, TokenizeError> {
        let bytes = write_png(&raw)?;
        Ok(Value::File(File { name: "image.png".into(), bytes }))
    }

    /// The images of an [IDX](idx::images) file, or the one image of any file that [`read_over`] reads.
    fn raw_inputs<'a>(&'a self, bytes: &'a [u8]) -> RawInputs<'a, Image> {
        if idx::is_images(bytes) {
            return idx::images(bytes);
        }
        Box::new(std::iter::once_with(|| read_over(bytes, self.config.background)))
    }

    /// Augment with [`vary`](Self::vary), such that [`prepare`](Self::prepare) leaves the result unchanged. An invalid
    /// image is returned unchanged, so that [`encode`](Tokenizer::encode) gives the error.
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
    /// [`TokenizeError::Spec`] for tokens of another kind; [`TokenizeError::Input`] if their positions are not those of
    /// a full grid, each once.
    fn decode(&self, tokens: &Tokens) -> Result<Image, TokenizeError> {
        self.spec.check(tokens)?;
        let group = tokens.groups.first();
        let (values, positions) = group
            .and_then(|group| Some((group.content.features()?, group.positions.as_slice())))
            .unwrap_or_default();
        let (tiling, shape) = (self.config.tiling(), (self.config.image_size, self.config.num_channels));
        let positions = match self.config.permute {
            Some(seed) => Cow::Owned(permute::places(positions, seed)),
            None => Cow::Borrowed(positions),
        };
        self.unprepare(patches::join(values, &positions, tiling, shape, &self.normaliser)?)
    }
}
