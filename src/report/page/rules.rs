//! The attention rules of a model, drawn on an example document.

use super::super::html::Html;
use crate::model::Model;
use crate::report::{figure, rules};

/// A figure for each attention.
pub(super) fn body(model: &Model) -> Result<Html, String> {
    let mut body = Html::new();
    let text = "An example of a few tokens of each kind. A cell is filled if its row's token attends to its column's.";
    body.element("p", "", text);
    let figures = rules::figures(model);
    if figures.is_empty() {
        return Err("the model has no attention".into());
    }
    for one in figures {
        let scene = figure::rules(std::slice::from_ref(&one));
        body.figure(&scene, "", "").map_err(|error| error.to_string())?;
    }
    Ok(body)
}
