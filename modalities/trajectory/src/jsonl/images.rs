//! The images of a camera in a line of JSON.

use crate::Images;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A camera's images in one of three forms.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    Files(Vec<String>),
    Encoded(Vec<Base64>),
    Frames(Frames),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frames {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Base64,
}

/// Bytes as base64.
pub(super) struct Base64(Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(|e| D::Error::custom(format!("not base64: {e}")))?;
        Ok(Self(bytes.into()))
    }
}

impl Form {
    pub(super) fn of(images: &Images) -> Self {
        match images.clone() {
            Images::Files(paths) => Self::Files(paths),
            Images::Encoded(files) => Self::Encoded(files.into_iter().map(Base64).collect()),
            Images::Frames { height, width, channels, pixels } => {
                Self::Frames(Frames { height, width, channels, pixels: Base64(pixels) })
            }
        }
    }

    /// Convert to images; checks the number of pixels.
    pub(super) fn images(self) -> Result<Images, String> {
        match self {
            Self::Files(paths) => Ok(Images::Files(paths)),
            Self::Encoded(files) => {
                Ok(Images::Encoded(files.into_iter().map(|Base64(bytes)| bytes).collect()))
            }
            Self::Frames(Frames { height, width, channels, pixels: Base64(pixels) }) => {
                let size = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
                match size.filter(|&size| size > 0 && pixels.len().is_multiple_of(size)) {
                    Some(_) => Ok(Images::Frames { height, width, channels, pixels }),
                    None => Err(format!(
                        "expected a multiple of {height}×{width}×{channels} bytes; found {}",
                        pixels.len()
                    )),
                }
            }
        }
    }
}
