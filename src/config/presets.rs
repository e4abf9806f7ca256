//! The settings that ship.

/// The presets that ship, by name.
pub const PRESETS: [(&str, &str); 5] = [
    ("text", include_str!("../../presets/text.toml")),
    ("image", include_str!("../../presets/image.toml")),
    ("audio", include_str!("../../presets/audio.toml")),
    ("trajectory", include_str!("../../presets/trajectory.toml")),
    ("mix", include_str!("../../presets/mix.toml")),
];

/// The text of a preset, by its name.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}
