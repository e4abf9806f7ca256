//! The presets.

/// The presets, by name.
pub const PRESETS: [(&str, &str); 5] = [
    ("text", include_str!("../../presets/text.toml")),
    ("image", include_str!("../../presets/image.toml")),
    ("audio", include_str!("../../presets/audio.toml")),
    ("trajectory", include_str!("../../presets/trajectory.toml")),
    ("mix", include_str!("../../presets/mix.toml")),
];

/// The TOML text of a preset; `None` for an unknown name.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}
