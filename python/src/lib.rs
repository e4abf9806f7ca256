//! The Python module `smalti._smalti`: tokenizers, tables, batches and models as NumPy arrays.

mod array;
mod batch;
mod error;
mod json;
mod loader;
mod model;
mod table;
mod tokenizer;
mod tokens;
mod value;

use pyo3::prelude::*;
use smalti::data::Notice;

/// As in the program: tokenizers allocate and free many small blocks, for which it takes less time than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Passes a message to Python's logger "smalti".
fn log(level: &str, message: &str) {
    Python::attach(|py| {
        let logger = py.import("logging").and_then(|logging| logging.call_method1("getLogger", ("smalti",)));
        // A message that cannot be logged is no failure of the data that it is about.
        let _ = logger.and_then(|logger| logger.call_method1(level, ("%s", message)));
    });
}

/// Logs the notes about data.
fn log_note(notice: Notice<'_>) {
    if let Notice::Note(note) = notice {
        log("info", note);
    }
}

#[pymodule]
mod _smalti {
    #[pymodule_export]
    use crate::batch::{Batch, Content, Stream, Target};
    #[pymodule_export]
    use crate::loader::Loader;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::tokenizer::Tokenizer;
    #[pymodule_export]
    use crate::tokens::{Group, Tokens};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        smalti::data::on_notice(super::log_note);
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
