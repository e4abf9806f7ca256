//! Rotary positions in published settings.

use super::PretrainedError;
use super::settings::Settings;
use crate::model::Rotary;
use crate::ops::RotaryScaling;
use serde_json::Value;

/// The type of layers without a window, in settings by type.
const GLOBAL: &str = "full_attention";

/// Read the base, the share of a head of `d_head` that is rotated, and the scaling: in `rope_parameters`, of layers without a
/// window if it has several, or in older files in the settings `base` and `share`, which have defaults, and in `rope_scaling`.
///
/// # Errors
/// [`PretrainedError::Setting`] if the scaling is of another kind than [`RotaryScaling`], or the share is not one.
pub(super) fn read(
    settings: &Settings,
    d_head: usize,
    base: (&str, f64),
    (share, default): (&str, f64),
) -> Result<Rotary, PretrainedError> {
    let (base_key, base) = (base.0, settings.number(base.0, base.1)?);
    let share_of = settings.number(share, default)?;
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(value) = settings.get(key) else { continue };
        let value = value.get(GLOBAL).unwrap_or(value);
        let (found, scaling) = scaling(settings, key, value)?;
        // The first of the two counts. Read the other too, so that `finish` does not reject it.
        _ = settings.get("rope_scaling");
        let share_of = optional(settings, key, value, "partial_rotary_factor")?.unwrap_or(share_of);
        let width = width(settings, share, share_of, d_head)?;
        let rotary = Rotary { base: found.unwrap_or(base), width, scaling };
        return checked(settings, if found.is_some() { key } else { base_key }, key, rotary);
    }
    let rotary = Rotary { base, width: width(settings, share, share_of, d_head)?, scaling: None };
    of_base(settings, base_key, rotary)
}

/// The same rotary positions, whose base is the setting `key`.
///
/// # Errors
/// [`PretrainedError::Setting`] if the base gives no angles.
pub(super) fn of_base(settings: &Settings, key: &str, rotary: Rotary) -> Result<Rotary, PretrainedError> {
    checked(settings, key, "rope_scaling", rotary)
}

/// The same rotary positions if they have angles. The base is the setting `base` or in it, the scaling is the object `scaling`.
fn checked(
    settings: &Settings,
    base: &str,
    scaling: &str,
    rotary: Rotary,
) -> Result<Rotary, PretrainedError> {
    let (key, problem) = match rotary.check() {
        Ok(()) => return Ok(rotary),
        Err(("base", problem)) if base == scaling => (base, format!("rope_theta: {problem}")),
        Err(("base", problem)) => (base, problem),
        Err(("original_context", problem)) => {
            (scaling, format!("original_max_position_embeddings: {problem}"))
        }
        Err((name, problem)) => (scaling, format!("{name}: {problem}")),
    };
    Err(settings.refuse(key, problem))
}

/// The rotary positions of layers with a window, if `rope_parameters` has them by the type of layers.
///
/// # Errors
/// As of [`read`].
pub(super) fn of_windows(settings: &Settings) -> Result<Option<Rotary>, PretrainedError> {
    const KEY: &str = "rope_parameters";
    let Some(value) = settings.get(KEY).and_then(|types| types.get("sliding_attention")) else {
        return Ok(None);
    };
    if value.get("partial_rotary_factor").is_some_and(|share| share.as_f64() != Some(1.0)) {
        return Err(settings.refuse(KEY, format!("expected partial_rotary_factor = 1; found {value}")));
    }
    let (base, scaling) = scaling(settings, KEY, value)?;
    checked(settings, KEY, KEY, Rotary { base: base.unwrap_or(1e4), width: 0, scaling }).map(Some)
}

/// The number of rotated features; 0 for all.
fn width(settings: &Settings, key: &str, share: f64, d_head: usize) -> Result<usize, PretrainedError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(settings.refuse(key, format!("expected more than 0 and at most 1; found {share}")));
    }
    match (share * d_head as f64) as usize {
        0 => Err(settings.refuse(key, format!("expected a share of {d_head} features; found {share}"))),
        width if width == d_head => Ok(0),
        width => Ok(width),
    }
}

/// The base, if it is in there, and the scaling of the object `value`.
fn scaling(
    settings: &Settings,
    key: &str,
    value: &Value,
) -> Result<(Option<f64>, Option<RotaryScaling>), PretrainedError> {
    let refuse = |problem: String| settings.refuse(key, problem);
    let Value::Object(values) = value else {
        return Err(refuse(format!("expected an object; found {value}")));
    };
    let text = |key: &str| values.get(key).and_then(Value::as_str);
    let number = |key: &str| {
        let found = values.get(key).and_then(Value::as_f64);
        found.ok_or_else(|| refuse(format!("expected a number for {key}; found {value}")))
    };
    let (mut known, scaling) = match text("rope_type").or(text("type")).unwrap_or("default") {
        "default" => (vec![], None),
        "linear" => (vec!["factor"], Some(RotaryScaling::Linear { factor: number("factor")? })),
        "llama3" => (
            vec!["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
            Some(RotaryScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")? as usize,
            }),
        ),
        other => return Err(refuse(format!("expected default, linear or llama3; found {other:?}"))),
    };
    known.extend(["rope_type", "type", "rope_theta", "partial_rotary_factor"]);
    if let Some(unknown) = values.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(refuse(format!("expected {}; found {unknown}", known.join(", "))));
    }
    Ok((optional(settings, key, value, "rope_theta")?, scaling))
}

/// The number `name` of the object `value`, which is the setting `key`; `None` if it is missing or null.
fn optional(
    settings: &Settings,
    key: &str,
    value: &Value,
    name: &str,
) -> Result<Option<f64>, PretrainedError> {
    let found = value.get(name).filter(|number| !number.is_null());
    let read = |number: &Value| {
        let problem = || format!("expected a number for {name}; found {number}");
        number.as_f64().ok_or_else(|| settings.refuse(key, problem()))
    };
    found.map(read).transpose()
}
