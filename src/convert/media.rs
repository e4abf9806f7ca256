//! Values of one type: classes by number, images resized and encoded, audio clips resampled.

use super::field::Field;
use super::kind::{Kind, is_whole};
use super::{ConvertError, Options};
use indexmap::IndexSet;
use serde::Serialize;
use smalti_contract::{Array, File, Numbers, Value};
use std::str::FromStr;

/// The size that images are resized to, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSize {
    /// The length of the shorter side; the aspect ratio stays.
    ShorterSide(usize),
    /// `[height, width]`.
    Exact([usize; 2]),
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side: &usize| (1..=65_500).contains(side));
        let size = match text.split_once('x') {
            Some((height, width)) => side(height).zip(side(width)).map(|(h, w)| Self::Exact([h, w])),
            None => side(text).map(Self::ShorterSide),
        };
        size.ok_or_else(|| {
            format!("expected a shorter side or HEIGHTxWIDTH of 1 to 65500 pixels, such as 224 or 224x224; found {text:?}")
        })
    }
}

/// The format of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// The format of the file; a resized image that was no JPEG, and an array, becomes a PNG.
    #[default]
    Keep,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
}

/// What happens to images and audio clips.
pub(super) struct Media {
    image_size: Option<ImageSize>,
    image_format: ImageFormat,
    #[cfg_attr(not(feature = "image"), expect(dead_code, reason = "no image is encoded"))]
    quality: u8,
    sampling_rate: Option<u32>,
}

impl Media {
    /// The settings of images and clips.
    ///
    /// # Errors
    /// [`ConvertError::Setting`] for a setting out of range, and for one that this build lacks.
    pub fn new(options: &Options) -> Result<Self, ConvertError> {
        let &Options { image_size, image_format, quality, sampling_rate, .. } = options;
        let media = Self { image_size, image_format, quality, sampling_rate };
        if !(1..=100).contains(&quality) {
            return Err(ConvertError::setting("quality", format!("expected 1 to 100; found {quality}")));
        }
        if let (Some(setting), false) = (media.image_setting(), cfg!(feature = "image")) {
            return Err(ConvertError::setting(setting, "this build has no feature `image`"));
        }
        if sampling_rate.is_some() && !cfg!(feature = "audio") {
            return Err(ConvertError::setting("sampling_rate", "this build has no feature `audio`"));
        }
        #[cfg(feature = "audio")]
        if let Some(rate) =
            sampling_rate.filter(|rate| !crate::modalities::audio::SAMPLING_RATES.contains(rate))
        {
            let rates = crate::modalities::audio::SAMPLING_RATES;
            let problem = format!("expected {} to {} Hz; found {rate}", rates.start(), rates.end());
            return Err(ConvertError::setting("sampling_rate", problem));
        }
        Ok(media)
    }

    /// The setting that changes images.
    fn image_setting(&self) -> Option<&'static str> {
        match (self.image_size, self.image_format) {
            (Some(_), _) => Some("image_size"),
            (None, ImageFormat::Keep) => None,
            (None, _) => Some("image_format"),
        }
    }

    /// Checks that each setting is that of a field.
    ///
    /// # Errors
    /// [`ConvertError::Setting`] for settings of images or clips in a table without them.
    pub fn check(&self, fields: &[Field]) -> Result<(), ConvertError> {
        let has = |kind: Kind| fields.iter().any(|field| *field.kind.step() == kind);
        match (self.image_setting(), self.sampling_rate) {
            (Some(setting), _) if !has(Kind::Image) => {
                Err(ConvertError::setting(setting, "no field holds images; leave it out"))
            }
            (_, Some(_)) if !has(Kind::Audio) => {
                Err(ConvertError::setting("sampling_rate", "no field holds audio clips; leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// The value as one of this type.
    ///
    /// # Errors
    /// If it has another type, or its image or clip cannot be decoded or encoded.
    pub fn fit(&self, value: Value, kind: &Kind) -> Result<Value, String> {
        let unexpected = |value: Value| {
            Err(value.unexpected(&format!("{}, as in other rows", kind.describe())).to_string())
        };
        match (kind, value) {
            (_, Value::Missing) => Ok(Value::Missing),
            (Kind::Class(names), value) => class(value, names),
            (Kind::Text, text @ Value::Text(_)) => Ok(text),
            (Kind::Text, number @ Value::Number(_)) => {
                number.into_label().map(Value::Text).map_err(|e| e.to_string())
            }
            (Kind::Integer | Kind::Number, Value::Number(number)) if number.is_nan() => Ok(Value::Missing),
            (Kind::Integer, Value::Number(number)) if !is_whole(number) => unexpected(Value::Number(number)),
            (Kind::Integer | Kind::Number, number @ Value::Number(_)) => Ok(number),
            (&Kind::Array { rank, bytes }, Value::Array(array)) if array.shape.len() == rank => {
                match array.numbers {
                    Numbers::F32(_) if bytes => unexpected(Value::Array(array)),
                    Numbers::U8(_) if !bytes => {
                        let numbers = Numbers::F32(array.to_f32());
                        Ok(Value::Array(Array { numbers, ..array }))
                    }
                    _ => Ok(Value::Array(array)),
                }
            }
            (Kind::Image, value @ (Value::File(_) | Value::Array(_))) => self.image(value).map(Value::File),
            (Kind::Audio, Value::File(file)) => self.audio(file).map(Value::File),
            (Kind::File, file @ Value::File(_)) => Ok(file),
            (Kind::Series(step), Value::Series(steps)) => {
                let fit = |(number, value)| self.fit(value, step).map_err(|e| format!("step {number}: {e}"));
                Ok(Value::Series(steps.into_iter().enumerate().map(fit).collect::<Result<_, String>>()?))
            }
            (_, value) => unexpected(value),
        }
    }

    /// The file of an image: its bytes, once they were decoded, or the resized image or the array in a new file.
    #[cfg(feature = "image")]
    fn image(&self, value: Value) -> Result<File, String> {
        use crate::modalities::image::{Filter, Image, read, write_jpeg, write_png};
        let is_jpeg = matches!(&value, Value::File(file) if file.bytes.starts_with(&[0xff, 0xd8, 0xff]));
        let is_png = matches!(&value, Value::File(file) if file.bytes.starts_with(b"\x89PNG"));
        let has_format = match self.image_format {
            ImageFormat::Keep => true,
            ImageFormat::Jpeg => is_jpeg,
            ImageFormat::Png => is_png,
        };
        let (name, decoded) = match value {
            Value::File(file) if has_format && self.image_size.is_none() => {
                // Its bytes stay, but a file that cannot be decoded is no image.
                return read(&file.bytes).map(|_| file).map_err(|e| e.to_string());
            }
            Value::File(file) => {
                let decoded = read(&file.bytes);
                (file.name, decoded)
            }
            Value::Array(Array { shape, numbers: Numbers::U8(pixels) }) => {
                let side = |axis: usize| shape.get(axis).copied().unwrap_or(1);
                (String::new(), Image::new(side(1), side(0), side(2), pixels))
            }
            other => return Err(other.unexpected("an image: a file, or an array of bytes").to_string()),
        };
        let mut image = decoded.map_err(|e| e.to_string())?;
        if let Some(size) = self.image_size {
            let size = size.of([image.height, image.width]);
            image = image.resize(size, Filter::Bilinear).map_err(|e| e.to_string())?;
        }
        let jpeg =
            self.image_format == ImageFormat::Jpeg || self.image_format == ImageFormat::Keep && is_jpeg;
        let (bytes, extension) = match jpeg {
            true => (write_jpeg(&image, self.quality), "jpg"),
            false => (write_png(&image), "png"),
        };
        Ok(File { name: renamed(&name, extension), bytes: bytes.map_err(|e| e.to_string())? })
    }

    #[cfg(not(feature = "image"))]
    fn image(&self, value: Value) -> Result<File, String> {
        match value {
            Value::File(file) => Ok(file),
            other => Err(other.unexpected("an image: a file").to_string()),
        }
    }

    /// The file of a clip: its bytes, once they were decoded, or the resampled clip in a new file.
    fn audio(&self, file: File) -> Result<File, String> {
        match self.sampling_rate {
            #[cfg(feature = "audio")]
            None => crate::modalities::audio::read(&file.bytes).map(|_| file).map_err(|e| e.to_string()),
            #[cfg(not(feature = "audio"))]
            None => Ok(file),
            #[cfg(feature = "audio")]
            Some(rate) => {
                use crate::modalities::audio::{read, write_wav};
                let clip = read(&file.bytes).and_then(|clip| clip.resample(rate));
                let bytes = clip.and_then(|clip| write_wav(&clip, 16)).map_err(|e| e.to_string())?;
                Ok(File { name: renamed(&file.name, "wav"), bytes })
            }
            #[cfg(not(feature = "audio"))]
            Some(_) => Err("this build has no feature `audio`".into()),
        }
    }
}

#[cfg(feature = "image")]
impl ImageSize {
    /// The `[height, width]` of an image of this size after it is resized.
    fn of(self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Exact(size) => size,
            Self::ShorterSide(side) => {
                let shorter = height.min(width).max(1);
                // The longer side is rounded down, as in torchvision.
                [height, width].map(|length| (length as u128 * side as u128 / shorter as u128) as usize)
            }
        }
    }
}

/// The number of a class.
fn class(value: Value, names: &IndexSet<String>) -> Result<Value, String> {
    let label = value.into_label().map_err(|e| e.to_string())?;
    names.get_index_of(&label).map(|number| Value::Number(number as f64)).ok_or_else(|| {
        let known = smalti_contract::listed(names, ", ");
        format!("expected a class, one of {known}; found {label:?}")
    })
}

/// The name of a file with another extension; no name stays none.
#[cfg(any(feature = "image", feature = "audio"))]
fn renamed(name: &str, extension: &str) -> String {
    match name.is_empty() {
        true => String::new(),
        false => std::path::Path::new(name).with_extension(extension).to_string_lossy().into_owned(),
    }
}
