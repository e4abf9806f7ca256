//! The font that ships: DejaVu Sans Mono, of which `data/fonts` holds Latin, Greek, Cyrillic and a few signs. Other
//! characters are drawn as a box.

use ab_glyph::{Font, FontRef, OutlinedGlyph, PxScale, point};
use std::sync::LazyLock;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    let file = include_bytes!("../../../data/fonts/DejaVuSansMono-part.ttf");
    FontRef::try_from_slice(file).expect("the font that ships is readable")
});

/// The advance of every character and the height of a capital, as shares of the size.
const ADVANCE: f32 = 1233.0 / 2048.0;
const CAPITAL: f32 = 1493.0 / 2048.0;

/// The width of a line of text of this size, in pixels.
pub(super) fn width(text: &str, size: f32) -> f32 {
    text.chars().count() as f32 * ADVANCE * size
}

/// The distance from the middle of the capitals down to the baseline, in pixels.
pub(super) fn baseline(size: f32) -> f32 {
    CAPITAL * size / 2.0
}

/// The outlines of a line of text whose baseline begins at `[x, y]`.
pub(super) fn outlines(text: &str, [x, y]: [f32; 2], size: f32) -> impl Iterator<Item = OutlinedGlyph> {
    // ab_glyph's scale is the height from the deepest descent to the highest ascent, not the size.
    let per_em = FONT.units_per_em().unwrap_or(2048.0);
    let scale = PxScale::from(size * FONT.height_unscaled() / per_em);
    text.chars().enumerate().filter_map(move |(i, character)| {
        let at = point(x + i as f32 * ADVANCE * size, y);
        FONT.outline_glyph(FONT.glyph_id(character).with_scale_and_position(scale, at))
    })
}

/// Text with visible white space: a space is `␣`, a line feed `⏎`, a tab `⇥`; other control characters are escaped as in
/// Rust.
pub(in crate::report) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' => visible.push('␣'),
            '\n' => visible.push('⏎'),
            '\t' => visible.push('⇥'),
            control if control.is_control() => visible.extend(control.escape_default()),
            other => visible.push(other),
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_every_sign_that_is_drawn() {
        let missing = |character: char| FONT.glyph_id(character).0 == 0;
        let ascii = (' '..='~').chain(('\0'..' ').map(|c| visible(&c.to_string()).chars().next().unwrap()));
        let absent: Vec<char> =
            ascii.chain("␣⏎⇥–—…×·µÄéßΩяЖ\u{fffd}".chars()).filter(|c| missing(*c)).collect();
        assert!(absent.is_empty(), "{absent:?}");
        assert!(missing('語'), "the font lacks this character");
    }

    #[test]
    fn widths_and_heights_match_the_constants() {
        let per_em = FONT.units_per_em().unwrap();
        for character in "iW…語".chars() {
            assert_eq!(FONT.h_advance_unscaled(FONT.glyph_id(character)) / per_em, ADVANCE, "{character}");
        }
        assert_eq!(outlines("a b", [0.0, 20.0], 16.0).count(), 2, "a space has no outline");
        let bounds = outlines("H", [0.0, 20.0], 16.0).next().unwrap().px_bounds();
        assert!((bounds.max.y - 20.0).abs() <= 1.0 && (bounds.height() - CAPITAL * 16.0).abs() < 2.0);
        assert!(outlines("語", [0.0, 20.0], 16.0).next().is_some(), "a box is drawn");
    }

    #[test]
    fn white_space_has_visible_signs() {
        assert_eq!(visible("a b\tc\r\n\x1b"), "a␣b⇥c\\r⏎\\u{1b}");
        assert_eq!(visible("häß"), "häß");
    }
}
