//! The modality crates, for tokenizers without a model.

#[cfg(feature = "audio")]
pub use smalti_audio as audio;
#[cfg(any(feature = "image", feature = "trajectory"))]
pub use smalti_image as image;
#[cfg(feature = "numbers")]
pub use smalti_numbers as numbers;
#[cfg(any(feature = "text", feature = "audio"))]
pub use smalti_text as text;
#[cfg(feature = "trajectory")]
pub use smalti_trajectory as trajectory;
