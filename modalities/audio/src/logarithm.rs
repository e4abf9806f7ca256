//! Logarithms of many bands at once.

use std::f32::consts::{LOG10_2, SQRT_2};

/// log10 of a normal positive number, with an absolute error of 2e-7 if the result is between -1 and 1 and a relative
/// one of 2e-7 otherwise. Arithmetic without branches, which the compiler vectorises.
///
/// x = m·2ᵉ with m between √½ and √2, and ln m = 2·artanh((m − 1)/(m + 1)), whose series has an error below 1e-9 after
/// five terms.
#[inline(always)]
pub(crate) fn log10(x: f32) -> f32 {
    // Adding the distance between the bit patterns of √½ and 1 makes the exponent change at √½.
    const SHIFT: u32 = 1.0_f32.to_bits() - (0.5 * SQRT_2).to_bits();
    const TWO_OVER_LN_10: f32 = 2.0 * std::f32::consts::LOG10_E;
    let shifted = x.to_bits().wrapping_add(SHIFT);
    let exponent = (shifted >> 23) as i32 - 127;
    let m = f32::from_bits((shifted & 0x007f_ffff) + (0.5 * SQRT_2).to_bits());
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    let series = 1.0 + t2 * (1.0 / 3.0 + t2 * (1.0 / 5.0 + t2 * (1.0 / 7.0 + t2 * (1.0 / 9.0))));
    exponent as f32 * LOG10_2 + TWO_OVER_LN_10 * t * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log10_keeps_its_error_bound() {
        let mut worst = 0.0_f64;
        // Every 1,009th normal positive number, and those around powers of two and of ten.
        let around = |x: f32| (x.to_bits() - 4)..=(x.to_bits() + 4);
        let powers = (-37..=38).map(|e| 10.0_f32.powi(e)).chain((-120..=127).map(|e| 2.0_f32.powi(e)));
        let bits = (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(1009);
        for x in bits.chain(powers.flat_map(around)).map(f32::from_bits) {
            let exact = f64::from(x).log10();
            let error = (f64::from(log10(x)) - exact).abs() / exact.abs().max(1.0);
            worst = worst.max(error);
        }
        println!("{worst:e}");
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn powers_of_two_are_accurate() {
        assert_eq!(log10(1.0), 0.0);
        assert_eq!(log10(2.0), LOG10_2);
        assert_eq!(log10(0.5), -LOG10_2);
    }
}
