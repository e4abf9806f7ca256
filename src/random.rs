//! Seeds and random numbers. Each random number of a run is a pure function of `train.seed` and its purpose.

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// Mixes two seeds into one (the finalizer of SplitMix64, Steele et al. 2014).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The seed for something with a name, such as a parameter.
pub fn named(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed, name.len() as u64), |hash, byte| mix(hash, u64::from(byte)))
}

/// A generator with this seed, which gives the same numbers on every machine.
pub fn generator(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

/// A number in `0..1` with 53 random bits.
pub fn uniform(generator: &mut Pcg64Mcg) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// An integer in `0..bound`; 0 if the bound is 0.
pub fn below(generator: &mut Pcg64Mcg, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}

/// `n` samples of the standard normal distribution (Box and Muller 1958).
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

/// The row of sample `i` of `samples` samples spread over `n` rows, `samples` ≤ `n`: a fixed random row of the i-th of
/// `samples` equal ranges. An even stride would select only one type of rows that repeat, such as three questions for each image.
pub fn spread(i: usize, samples: usize, n: usize) -> usize {
    let (start, end) = (i * n / samples, (i + 1) * n / samples);
    start + (mix(SPREAD, i as u64) % (end - start).max(1) as u64) as usize
}

/// Separates the random numbers of [`spread`] from others.
const SPREAD: u64 = 0x7370_7265;

/// The numbers `0..n` in random order (Fisher and Yates).
pub fn permutation(seed: u64, n: usize) -> Vec<u32> {
    let mut generator = generator(seed);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut generator, last + 1));
    }
    order
}

/// A random permutation of `0..n` in constant memory: each element is computed from its index in constant time.
///
/// A Feistel network permutes the smallest power of 4 that is at least `n`; results outside `0..n` pass through it again (cycle
/// walking: Black and Rogaway 2002), on average at most four times.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    keys: [u64; 6],
    n: u64,
    half: u32,
}

impl Permutation {
    /// The permutation of a seed.
    pub fn new(seed: u64, n: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let keys = std::array::from_fn(|round| mix(seed, round as u64));
        Self { keys, n, half: bits.div_ceil(2).max(1) }
    }

    /// The number at `index`, which must be below `n`.
    pub fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.n, "index {index} of {}", self.n);
        let mask = (1 << self.half) - 1;
        let mut number = index;
        loop {
            let (mut left, mut right) = (number >> self.half, number & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(key, right) & mask));
            }
            number = left << self.half | right;
            if number < self.n {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_samples_ascend_and_cover_every_type_of_repeating_rows() {
        let places: Vec<usize> = (0..200).map(|i| spread(i, 200, 600)).collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]) && places[199] < 600);
        for kind in 0..3 {
            let of_kind = places.iter().filter(|place| **place % 3 == kind).count();
            assert!((40..90).contains(&of_kind), "{of_kind} of type {kind}");
        }
        assert!((0..7).all(|i| spread(i, 7, 7) == i), "all rows, if all are requested");
    }

    #[test]
    fn a_computed_permutation_has_each_number_once_without_bias() {
        for n in [1, 2, 3, 10, 64, 65, 1000] {
            let mut order: Vec<u64> = (0..n).map(|place| Permutation::new(7, n).at(place)).collect();
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
        let mut first = [0_u32; 10];
        let mut followed = 0;
        for seed in 0..10_000 {
            let order = Permutation::new(seed, 10);
            first[order.at(3) as usize] += 1;
            followed += u32::from(order.at(4) == order.at(3) + 1);
        }
        // The standard deviation is 30 of 1,000; 9 of 90 pairs are consecutive.
        assert!(first.iter().all(|count| (850..1150).contains(count)), "{first:?}");
        assert!((850..1150).contains(&followed), "{followed}");
    }

    #[test]
    fn a_permutation_has_each_number_once() {
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
