//! Elementary functions and reductions that the compiler turns into vector code.
//!
//! The binary is built for any x86-64, so a loop uses AVX2 or AVX-512 only inside [`vectorize`], and only if
//! everything in it is inlined: hence `#[inline(always)]` on each function here, and straight-line arithmetic
//! with selections for branches. Multiplications and additions are kept apart (no fused multiply-add) and
//! reductions run in a fixed number of lanes, so results are the same on every machine.
//!
//! The polynomials are minimax fits made for this file; the bounds are on the absolute or relative error of the
//! `f32` result and are tested.

use super::blank;

/// Runs `f` with the widest vector instructions that the processor has.
///
/// Mark the closure `#[inline(always)]`, so that its loops are compiled for those instructions.
#[inline(always)]
pub(crate) fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// eˣ to a relative 2e-7; 0 below −87.33 (where the result would be subnormal), ∞ above 88.37.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.37;
    /// 1.5·2²³: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few enough bits that its product with the exponent is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Written as comparisons so that NaN falls through both.
    let bounded = if x < LOWEST { LOWEST } else { x };
    let bounded = if bounded > HIGHEST { HIGHEST } else { bounded };
    // x = exponent·ln 2 + r with |r| ≤ ln 2 / 2.
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let exponent = rounded - ROUND;
    let r = bounded - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    let tail = polynomial(r, [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_454]);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    let y = (tail * (r * r) + r + 1.0) * power;
    let y = if x < LOWEST { 0.0 } else { y };
    if x > HIGHEST { f32::INFINITY } else { y }
}

/// The logistic function 1/(1 + e⁻ˣ), to an absolute 2e-7.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal distribution function Φ(x) = (1 + erf(x/√2))/2, to an absolute 2e-7.
///
/// The fit is to −ln Φ(−|x|), which is nearly a parabola, so one polynomial serves the whole line.
#[inline(always)]
pub(crate) fn normal_cdf(x: f32) -> f32 {
    let tail = exp(-polynomial(
        x.abs(),
        [
            std::f32::consts::LN_2,
            0.797_886_55,
            0.318_288_4,
            0.036_422_413,
            -0.004_950_999_7,
            0.000_140_348_27,
            0.000_109_017_12,
            -2.285_164_4e-5,
            1.577_510_6e-6,
        ],
    ));
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Σ cᵢ·xⁱ by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for c in coefficients.iter().rev().skip(1) {
        sum = sum * x + c;
    }
    sum
}

/// Independent accumulators of a reduction: enough to keep two AVX-512 adders busy.
const LANES: usize = 64;

/// Σ f(xᵢ).
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    fold(lanes, |a, b| a + b)
}

/// Σ f(xᵢ, yᵢ) over two slices of one length.
#[inline(always)]
pub(crate) fn sum_by2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    let (y_blocks, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += f(x, y);
    }
    fold(lanes, |a, b| a + b)
}

/// Σ xᵢ.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_by(x, |x| x)
}

/// Σ xᵢ·yᵢ.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    sum_by2(x, y, |x, y| x * y)
}

/// The greatest element, −∞ for none. NaN elements may be ignored.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = greater(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = greater(*lane, x);
    }
    fold(lanes, greater)
}

/// log Σ eˣ.
#[inline(always)]
pub(crate) fn log_sum_exp(x: &[f32]) -> f32 {
    let greatest = max(x);
    let sum = sum_by(
        x,
        #[inline(always)]
        |x| exp(x - greatest),
    );
    greatest + sum.ln()
}

/// Folds the lanes in halves, an order that vector code keeps.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, &high) in low.iter_mut().zip(high.iter()) {
            *low = f(*low, high);
        }
        width /= 2;
    }
    lanes[0]
}

/// x ← x + y.
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Elements of one task of an elementwise operation: some microseconds of work, far more than the cost of a task.
pub(crate) const BLOCK: usize = 16 * 1024;

/// `f` of each element, in parallel.
pub(crate) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    blank::by_blocks(x.len(), BLOCK, |block, result| {
        let x = &x[block * BLOCK..][..result.len()];
        vectorize(
            #[inline(always)]
            || blank::map(result, x, &f),
        )
    })
}

/// `f` of each pair of elements of two slices of one length, in parallel.
pub(crate) fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    blank::by_blocks(x.len(), BLOCK, |block, result| {
        let part = block * BLOCK..block * BLOCK + result.len();
        let (x, y) = (&x[part.clone()], &y[part]);
        vectorize(
            #[inline(always)]
            || blank::map2(result, x, y, &f),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spaced points of `low..=high`.
    fn points(low: f32, high: f32) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| low + (high - low) * i as f32 / 200_000.0)
    }

    #[test]
    fn exp_is_within_two_ten_millionths() {
        for x in points(-87.3, 88.3) {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn vector_and_scalar_code_give_the_same_bits() {
        let x: Vec<f32> = points(-90.0, 90.0).collect();
        let plain: Vec<f32> = x.iter().map(|&x| exp(x)).collect();
        assert_eq!(map(&x, exp), plain);
        assert_eq!(vectorize(|| sum(&plain[..999])), sum(&plain[..999]));
    }

    #[test]
    fn exp_at_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(1e30), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_normal_cdf_are_within_two_ten_millionths() {
        for x in points(-12.0, 12.0) {
            let exact = 1.0 / (1.0 + f64::from(-x).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 2e-7, "sigmoid({x})");
            let exact = 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            assert!((f64::from(normal_cdf(x)) - exact).abs() < 2e-7, "normal_cdf({x})");
        }
        assert_eq!((normal_cdf(-1e30), normal_cdf(1e30)), (0.0, 1.0));
        assert!(normal_cdf(f32::NAN).is_nan());
    }

    #[test]
    fn reductions_agree_with_plain_loops_at_every_length() {
        for n in [0, 1, 2, 31, 63, 64, 65, 128, 200, 1000] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect();
            let y: Vec<f32> = (0..n).map(|i| ((i * 53 + 5) % 97) as f32 - 48.0).collect();
            // Small integers, so sums are exact in any order.
            assert_eq!(sum(&x), x.iter().sum::<f32>());
            assert_eq!(dot(&x, &y), x.iter().zip(&y).map(|(x, y)| x * y).sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
