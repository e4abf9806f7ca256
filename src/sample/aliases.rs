//! Default fields of parts: a data set may name its fields `jpg` and `cls`, or `file` and `label`.

use super::settings::TaskSettings;
use crate::data::DataError;
use crate::table::{self, Table};
use smalti_contract::Value;
use std::sync::Arc;

/// Usual names of a class field.
const LABEL_FIELDS: [&str; 3] = ["label", "class", "cls"];
/// Usual names of a text field.
const TEXT_FIELDS: [&str; 10] = [
    "text",
    "txt",
    "transcript",
    "sentence",
    "caption",
    "content",
    "document",
    "story",
    "article",
    "json.text",
];

/// The table with part names as aliases of their default fields.
///
/// A part without `field`, and without a field of its own name, reads the only field of files; a class or a text reads the
/// first field with a usual name.
///
/// # Errors
/// [`DataError`] if the table cannot be read.
pub fn aliased(table: Arc<dyn Table>, settings: &TaskSettings) -> Result<Arc<dyn Table>, DataError> {
    let known = |name: &str| table.fields().iter().any(|field| field == name);
    let usual = |names: &[&str]| names.iter().find(|name| known(name)).map(|name| name.to_string());
    let mut aliases = vec![];
    for (name, input) in settings.inputs.iter().filter(|(name, input)| input.field.is_none() && !known(name))
    {
        let field = if input.modality == "text" { usual(&TEXT_FIELDS) } else { file_field(table.as_ref()) };
        aliases.extend(field.map(|field| (name.clone(), field)));
    }
    for (name, output) in
        settings.outputs.iter().filter(|(name, output)| output.field.is_none() && !known(name))
    {
        let field = match output.modality.as_deref() {
            Some("text") => usual(&TEXT_FIELDS),
            // A generated image, for example, is a file.
            Some(_) if output.head == "generate" => file_field(table.as_ref()),
            _ => usual(&LABEL_FIELDS),
        };
        aliases.extend(field.map(|field| (name.clone(), field)));
    }
    table::alias(table, aliases)
}

/// The field whose values are files, if there is exactly one.
fn file_field(table: &dyn Table) -> Option<String> {
    // A file that cannot be read counts, too: reading the row reports its error.
    let is_file = |field: &&String| matches!(table.value(0, field), Ok(Value::File(_)) | Err(_));
    let mut files = table.fields().iter().filter(is_file);
    let first = files.next()?;
    files.next().is_none().then(|| first.clone())
}
