//! Labels of an axis, as many as there is room for.

/// The least of 1, 2, 5, 10, 20, 50, … that is at least `at_least`.
pub(super) fn round_step(at_least: f32) -> usize {
    let mut step = 1_usize;
    loop {
        for round in [step, step.saturating_mul(2), step.saturating_mul(5)] {
            if round as f32 >= at_least || round > usize::MAX / 100 {
                return round;
            }
        }
        step *= 10;
    }
}

/// The numbers below `n` to label, if a label needs `needed` pixels and a number has `each` pixels.
pub(super) fn with_room(n: usize, each: f32, needed: f32) -> impl Iterator<Item = usize> {
    (0..n).step_by(round_step(needed / each.max(f32::MIN_POSITIVE)))
}

/// A number with few decimals.
pub(super) fn number(value: f32) -> String {
    let digits = match value.abs() {
        a if a >= 100.0 || value.fract() == 0.0 => 0,
        a if a >= 1.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Seconds between the ticks of a time axis with `per_second` pixels per second, if a tick needs `needed` pixels.
#[cfg(any(feature = "audio", test))]
pub(super) fn seconds_step(per_second: f32, needed: f32) -> f32 {
    // In milliseconds, so that the round numbers are whole.
    round_step(needed / per_second * 1000.0) as f32 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let steps = [0.1, 1.0, 1.5, 3.0, 7.0, 11.0, 201.0].map(round_step);
        assert_eq!(steps, [1, 1, 2, 5, 10, 20, 500]);
        assert!(round_step(f32::INFINITY) > 1_000_000);
        assert_eq!(with_room(11, 8.0, 30.0).collect::<Vec<_>>(), [0, 5, 10]);
        assert_eq!(seconds_step(400.0, 60.0), 0.2);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.123, -4.56, 7.0, 1234.5].map(number), ["0", "0.12", "-4.6", "7", "1234"]);
    }
}
