//! The built-in modalities.

use crate::codes::CodesTokenizer;
use crate::registry::Modalities;

impl Modalities {
    /// The modalities of this build: `codes`, and `text`, `image`, `audio` and `numbers` by their cargo features. The feature
    /// `audio` includes `text` for transcripts, and `trajectory` includes `image` for camera frames.
    pub fn builtin() -> Self {
        let modalities = Self::empty().with::<CodesTokenizer>();
        #[cfg(any(feature = "text", feature = "audio"))]
        let modalities = modalities.with::<smalti_text::TextTokenizer>();
        #[cfg(any(feature = "image", feature = "trajectory"))]
        let modalities = modalities.with::<smalti_image::ImageTokenizer>();
        #[cfg(feature = "audio")]
        let modalities = modalities.with::<smalti_audio::AudioTokenizer>();
        #[cfg(feature = "numbers")]
        let modalities = modalities.with::<smalti_numbers::NumbersTokenizer>();
        modalities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadRegistry;
    use crate::registry::RegistrationError;

    #[test]
    fn built_in_names_are_distinct() {
        assert_eq!(Modalities::builtin().check(), Ok(()));
        assert!(HeadRegistry::builtin().is_ok());
    }

    #[cfg(any(feature = "text", feature = "audio"))]
    #[test]
    fn a_taken_name_is_an_error_and_changes_nothing() {
        let builtin = Modalities::builtin();
        let twice = builtin.clone().with::<smalti_text::TextTokenizer>();
        assert_eq!(twice.check(), Err(RegistrationError::Modality("text")));
        assert!(twice.tokenizers().names().eq(builtin.tokenizers().names()));
    }
}
