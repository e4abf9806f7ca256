//! Parquet's footer and the headers of its pages, checked before they are decoded.
//!
//! The crate `parquet` decodes files, but it recurses as deeply as a schema says, allocates the size that a page's header
//! declares, and does not let a caller read these alone. A corrupt or hostile file must do neither.
//!
//! ```
//! let truncated = b"PAR1 and no more";
//! let error = smalti_parquet::footer(truncated).unwrap_err();
//! assert_eq!(error, "it does not end in PAR1: it is truncated or of another format");
//! ```

mod compact;
mod footer;
mod page;

pub use footer::{TAIL, footer, footer_length, metadata};
pub use page::{PageHeader, pages};
