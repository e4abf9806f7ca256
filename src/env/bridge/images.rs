//! The images of an observation in the protocol.

use super::message::MessageError;
use crate::env::Image;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::Error};
use smalti_contract::listed;
use std::collections::{BTreeMap, BTreeSet};

/// An image in one of its two forms.
#[derive(Deserialize)]
#[serde(try_from = "Fields")]
pub(super) struct Form(Image);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    encoded: Option<Base64>,
    height: Option<usize>,
    width: Option<usize>,
    channels: Option<usize>,
    pixels: Option<Base64>,
}

/// Bytes in base64.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|e| D::Error::custom(format!("not base64: {e}")))
    }
}

impl TryFrom<Fields> for Form {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match fields {
            Fields {
                encoded: Some(Base64(file)),
                height: None,
                width: None,
                channels: None,
                pixels: None,
            } => Ok(Self(Image::Encoded(file))),
            Fields {
                encoded: None,
                height: Some(height),
                width: Some(width),
                channels: Some(channels),
                pixels: Some(Base64(pixels)),
            } => Ok(Self(Image::Pixels { height, width, channels, pixels })),
            _ => Err(r#"expected an image as {"height", "width", "channels", "pixels"} or {"encoded"}"#),
        }
    }
}

/// The images of an observation, which must be those of `cameras`.
pub(super) fn images(
    forms: BTreeMap<String, Form>,
    cameras: &BTreeSet<String>,
) -> Result<BTreeMap<String, Image>, MessageError> {
    let fail = |problem| Err(MessageError::Value { field: "images", problem });
    if !forms.keys().eq(cameras) {
        let named = |names: String| if names.is_empty() { "none".into() } else { names };
        let (expected, found) = (named(listed(cameras, ", ")), named(listed(forms.keys(), ", ")));
        return fail(format!("expected those of {expected}, as in the greeting; found {found}"));
    }
    let mut images = BTreeMap::new();
    for (camera, Form(image)) in forms {
        if let Image::Pixels { height, width, channels, pixels } = &image {
            let sides = [*height, *width, *channels];
            let expected = sides.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
            if expected != Some(pixels.len()) {
                let (found, shape) = (pixels.len(), sides.map(|side| side.to_string()).join("×"));
                return fail(format!("expected {shape} bytes for {camera}; found {found}"));
            }
        }
        images.insert(camera, image);
    }
    Ok(images)
}
