//! Seeds: everything random in a run is a pure function of `train.seed` and of what the number is for.

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// Mixes two numbers into one that looks like neither (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The seed of something that has a name, such as a parameter.
pub fn named(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed, name.len() as u64), |hash, byte| mix(hash, u64::from(byte)))
}

/// A generator for this seed; the same numbers on every machine.
pub fn generator(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

/// A number in `0..1` with 53 random bits.
pub fn uniform(generator: &mut Pcg64Mcg) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A whole number in `0..bound`; 0 where the bound is 0.
pub fn below(generator: &mut Pcg64Mcg, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}

/// `n` numbers from the standard normal distribution (Box and Muller 1958).
pub fn normal(generator: &mut Pcg64Mcg, n: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(n + 1);
    while numbers.len() < n {
        let radius = (-2.0 * libm::log(1.0 - uniform(generator))).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * uniform(generator));
        numbers.push((radius * cos) as f32);
        numbers.push((radius * sin) as f32);
    }
    numbers.truncate(n);
    numbers
}

/// The numbers `0..n` in random order (Fisher and Yates).
pub fn permutation(seed: u64, n: usize) -> Vec<u32> {
    let mut generator = generator(seed);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut generator, last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_number_once() {
        let mut order = permutation(3, 100);
        assert_ne!(order, permutation(4, 100));
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let numbers = normal(&mut generator(1), 10_001);
        let mean = numbers.iter().sum::<f32>() / 10_001.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 10_001.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
