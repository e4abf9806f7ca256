//! The fields of parts that name none: a layout names its fields in its own way, `jpg` and `cls` or `file` and `label`.

use super::settings::TaskSettings;
use crate::data::DataError;
use crate::table::{self, Table};
use smalti_contract::Value;
use std::sync::Arc;

/// What layouts call a class.
const LABELS: [&str; 3] = ["label", "class", "cls"];
/// What layouts call a text.
const TEXTS: [&str; 5] = ["text", "txt", "transcript", "sentence", "caption"];

/// The table with the names of parts for those fields that the parts read unless their settings name others: a part without
/// a field of its name reads the one field of files or, of a class or a text, the first field with a usual name.
///
/// # Errors
/// [`DataError`] if the table cannot be read.
pub fn aliased(table: Arc<dyn Table>, settings: &TaskSettings) -> Result<Arc<dyn Table>, DataError> {
    let known = |name: &str| table.fields().iter().any(|field| field == name);
    let usual = |names: &[&str]| names.iter().find(|name| known(name)).map(|name| name.to_string());
    let mut aliases = vec![];
    for (name, input) in settings.inputs.iter().filter(|(name, input)| input.field.is_none() && !known(name))
    {
        let field = if input.modality == "text" { usual(&TEXTS) } else { files(table.as_ref()) };
        aliases.extend(field.map(|field| (name.clone(), field)));
    }
    for (name, output) in
        settings.outputs.iter().filter(|(name, output)| output.field.is_none() && !known(name))
    {
        let field = match output.modality.as_deref() {
            Some("text") => usual(&TEXTS),
            // Of its own tokens: an image is generated, say.
            Some(_) if output.head == "generate" => files(table.as_ref()),
            _ => usual(&LABELS),
        };
        aliases.extend(field.map(|field| (name.clone(), field)));
    }
    table::alias(table, aliases)
}

/// The one field whose values are files, if there is one.
fn files(table: &dyn Table) -> Option<String> {
    // What cannot be read is a file too: whoever reads the row names it.
    let is_file = |field: &&String| matches!(table.value(0, field), Ok(Value::File(_)) | Err(_));
    let mut files = table.fields().iter().filter(is_file);
    let first = files.next()?;
    files.next().is_none().then(|| first.clone())
}
