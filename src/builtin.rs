//! The built-in modalities.

use crate::codes::CodesTokenizer;
use crate::registry::Modalities;

impl Modalities {
    /// The modalities that this build has: `text`, `image`, `audio` and `numbers`, each by its feature, and `codes`.
    /// Audio also needs `text`, for transcripts, and trajectories `image`, for what cameras show.
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
    fn a_name_that_is_taken_is_an_error_and_changes_nothing() {
        let builtin = Modalities::builtin();
        let twice = builtin.clone().with::<smalti_text::TextTokenizer>();
        assert_eq!(twice.check(), Err(RegistrationError::Modality("text")));
        assert!(twice.tokenizers().names().eq(builtin.tokenizers().names()));
    }
}
