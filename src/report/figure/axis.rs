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

/// Round numbers within `low..high`, about `most` of them, with as many decimals as they need.
pub(super) fn ticks(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let least = (high - low) / most as f64;
    let power = 10_f64.powf(least.log10().floor());
    let Some(step) = [1.0, 2.0, 5.0, 10.0].map(|round| round * power).into_iter().find(|step| *step >= least)
    else {
        return vec![]; // no range of numbers
    };
    let digits = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    let first = (low / step).ceil();
    let ticks = (0..=most).map(|i| (first + i as f64) * step).take_while(|tick| *tick <= high);
    ticks.map(|tick| (tick, format!("{tick:.digits$}"))).collect()
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
    fn ticks_are_round_and_within_the_range() {
        let labels =
            |low, high, most| ticks(low, high, most).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(0.07, 1.0, 5), ["0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(1.0, 1000.0, 6), ["200", "400", "600", "800", "1000"]);
        assert_eq!(labels(-0.021, 0.021, 4), ["-0.02", "0.00", "0.02"]);
        assert!(labels(1.0, 1.0, 4).is_empty() && labels(f64::NAN, 1.0, 4).is_empty());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.123, -4.56, 7.0, 1234.5].map(number), ["0", "0.12", "-4.6", "7", "1234"]);
    }
}
