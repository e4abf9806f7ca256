//! The tokens of one input as a figure: the patch grid on the image, the slice grid on the spectrogram, characters in
//! boxes, a trajectory in lanes; for a modality of your own, a box for each token. Attention rules, curves of a run
//! and measured numbers are figures too.
//!
//! ```
//! use smalti::report::figure::{self, Format};
//! use smalti_contract::{Content, ContentSpec, Group, KindSpec, TokenSpec, Tokens};
//!
//! let note = KindSpec {
//!     name: "note".into(),
//!     content: ContentSpec::Ids { vocabulary: 128 },
//!     axes: vec![],
//!     time_steps: None,
//! };
//! let group = Group { positions: vec![], ..Group::sequence(Content::Ids(vec![60, 64, 67])) };
//! let scene = figure::boxes(&TokenSpec::single(note), &Tokens::new(vec![group]), &|_| None);
//! assert!(scene.encode(Format::Svg)?.starts_with(b"<svg"));
//! # Ok::<(), smalti::report::DrawError>(())
//! ```

mod axis;
mod bars;
mod boxes;
mod colour;
mod curves;
mod font;
#[cfg(feature = "image")]
mod heat;
mod lanes;
mod lines;
mod matrices;
#[cfg(feature = "image")]
mod patches;
mod png;
mod rules;
mod scatter;
mod scene;
#[cfg(feature = "audio")]
mod slices;
mod svg;
#[cfg(test)]
mod testing;

pub use bars::bars;
pub use boxes::boxes;
pub use curves::curves;
pub(super) use font::visible;
#[cfg(feature = "image")]
pub use heat::image;
pub use lanes::lanes;
pub use lines::lines;
pub use matrices::matrices;
pub use rules::rules;
pub use scatter::scatter;
pub use scene::Scene;

use crate::report::{DrawError, tokens::text_of_id};
use smalti_contract::{AnyTokenizer, Tokens};
use std::path::Path;

/// The file format of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pixels.
    Png,
    /// Shapes and text.
    Svg,
}

impl Format {
    /// The format of a file by its name; `None` for an extension other than `.png` and `.svg`.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "png" => Some(Self::Png),
            "svg" => Some(Self::Svg),
            _ => None,
        }
    }
}

impl Scene {
    /// The bytes of a file of this format.
    ///
    /// # Errors
    /// [`DrawError`] if the scene has no area or is too large for the memory.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>, DrawError> {
        match format {
            Format::Png => png::encode(self),
            Format::Svg => svg::encode(self),
        }
    }
}

/// The figure of tokens of this tokenizer.
///
/// Patches are drawn on the image that they decode to, slices on their spectrogram. Kinds that are interleaved in time are
/// lanes; all other kinds are boxes in the order of the sequence, with the text of an id if it has one.
pub fn of(tokenizer: &dyn AnyTokenizer, tokens: &Tokens) -> Scene {
    #[cfg(feature = "image")]
    if let Some(scene) = patches::of(tokenizer, tokens) {
        return scene;
    }
    #[cfg(feature = "audio")]
    if let Some(scene) = slices::of(tokenizer, tokens) {
        return scene;
    }
    let spec = tokenizer.spec();
    match spec.kinds.len() > 1 && spec.kinds.iter().all(|kind| kind.time_steps.is_some()) {
        true => lanes(spec, tokens),
        false => boxes(spec, tokens, &|id| text_of_id(tokenizer, id)),
    }
}

/// No image: this build has no modality of images.
#[cfg(not(feature = "image"))]
pub fn image(_: &dyn AnyTokenizer, _: &Tokens, _: f32, _: Option<&[f32]>) -> Option<Scene> {
    None
}

/// A number with its noun: `1 token`, `2,048 patches`.
fn counted(n: usize, thing: &str) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let ending = match n {
        1 => "",
        _ if thing.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{grouped} {thing}{ending}")
}

/// The number of things, and how many of them are drawn: `64 tokens`, `the first 600 of 10,234 tokens`.
fn first_of(shown: usize, all: usize, thing: &str) -> String {
    match shown < all {
        true => format!("the first {shown} of {}", counted(all, thing)),
        false => counted(all, thing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_format() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!((of("a.png"), of("dir.svg/b.SVG")), (Some(Format::Png), Some(Format::Svg)));
        assert_eq!((of("a.gif"), of("png"), of("")), (None, None, None));
    }

    #[test]
    fn counts_have_separators_and_plurals() {
        assert_eq!(counted(1, "token"), "1 token");
        assert_eq!(counted(12_345_678, "patch"), "12,345,678 patches");
        assert_eq!(first_of(600, 1000, "token"), "the first 600 of 1,000 tokens");
        assert_eq!(first_of(7, 7, "token"), "7 tokens");
    }
}
