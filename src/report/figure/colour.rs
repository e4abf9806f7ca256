//! Colours of kinds, of neighbouring tokens and of values.

/// Red, green, blue, alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub [u8; 4]);

impl Colour {
    #[cfg(any(feature = "image", feature = "audio", test))]
    pub const WHITE: Self = Self::rgb(255, 255, 255);
    /// Text.
    pub const INK: Self = Self::rgb(32, 32, 36);
    /// Numbers on axes.
    pub const GREY: Self = Self::rgb(110, 110, 118);
    /// Frames and ticks.
    pub const EDGE: Self = Self::rgb(176, 176, 184);
    /// A cell of a mask without attention, and grid lines.
    pub const EMPTY: Self = Self::rgb(232, 232, 232);
    /// The background of a lane.
    pub const GROUND: Self = Self::rgb(243, 243, 246);

    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue, 255])
    }

    #[cfg(any(feature = "image", feature = "audio", test))]
    pub fn alpha(self, alpha: u8) -> Self {
        let [red, green, blue, _] = self.0;
        Self([red, green, blue, alpha])
    }

    /// The colour mixed with this share of white.
    pub fn lighter(self, share: f32) -> Self {
        let [red, green, blue, alpha] = self.0;
        let lighter = |c: u8| (f32::from(c) + (255.0 - f32::from(c)) * share).round() as u8;
        Self([lighter(red), lighter(green), lighter(blue), alpha])
    }
}

/// Colours that most people can distinguish (M. Okabe and K. Ito, "Color universal design", 2008), without black, and without
/// yellow, which is hard to see on white.
const KINDS: [Colour; 6] = [
    Colour::rgb(0, 114, 178),
    Colour::rgb(213, 94, 0),
    Colour::rgb(0, 158, 115),
    Colour::rgb(204, 121, 167),
    Colour::rgb(86, 180, 233),
    Colour::rgb(230, 159, 0),
];

/// The colour of the `n`-th kind; they repeat.
pub(super) const fn of_kind(n: usize) -> Colour {
    KINDS[n % KINDS.len()]
}

/// A light colour for the `n`-th token, different from its neighbours' colours.
pub(super) fn of_neighbour(n: usize) -> Colour {
    of_kind(n % 5).lighter(0.78)
}

/// The colour of a value by its share of the range: viridis, whose lightness grows evenly (S. van der Walt and N. Smith,
/// 2015).
pub(super) fn of_share(share: f32) -> [u8; 3] {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    colorous::VIRIDIS.eval_continuous(share.into()).into_array()
}

/// A value's share of the way from `low` to `high`; 0.5 if they are equal.
pub(super) fn share(value: f32, [low, high]: [f32; 2]) -> f32 {
    if low < high { (value - low) / (high - low) } else { 0.5 }
}

/// The least and the largest of some values; 0 and 0 without a value.
pub(super) fn range(values: impl IntoIterator<Item = f32>) -> [f32; 2] {
    let none = [f32::INFINITY, f32::NEG_INFINITY];
    let [low, high] = values.into_iter().fold(none, |[low, high], value| [low.min(value), high.max(value)]);
    if low <= high { [low, high] } else { [0.0, 0.0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_values_are_lighter() {
        let light =
            |share| of_share(share).map(u32::from).iter().zip([2, 5, 1]).map(|(c, w)| c * w).sum::<u32>();
        let steps: Vec<u32> = (0..=10).map(|i| light(i as f32 / 10.0)).collect();
        assert!(steps.is_sorted(), "{steps:?}");
        assert_eq!(of_share(f32::NAN), of_share(0.0));
    }

    #[test]
    fn a_share_is_relative_to_its_range() {
        assert_eq!(range([3.0, -1.0, 2.0]), [-1.0, 3.0]);
        assert_eq!(range([]), [0.0, 0.0]);
        assert_eq!((share(2.0, [-1.0, 3.0]), share(5.0, [5.0, 5.0])), (0.75, 0.5));
    }
}
