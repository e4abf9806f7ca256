//! Hiding tokens for masked-token training.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Chooses tokens to be predicted and disturbs them, as BERT does (Devlin et al. 2019, section 3.1).
///
/// Each token is chosen with `probability`. Of the chosen ones 80% become `mask_id`, 10% a random id below
/// `vocabulary` and 10% stay, so that a model cannot trust what it sees. The result has the length of `ids`
/// twice: the disturbed ids, and the weight of each place in the loss, 1 where it was chosen and 0
/// elsewhere; the targets are `ids` themselves. A short text may have none chosen.
///
/// Ids from `vocabulary` on are never chosen nor drawn: give the number of ordinary ids
/// ([`ordinary_size`](crate::TextTokenizer::ordinary_size)), and special tokens stay what they are. A
/// probability of 0 or less (or NaN) chooses none, of 1 or more all. The same seed gives the same result.
pub fn mask(
    ids: &[u32],
    mask_id: u32,
    probability: f64,
    vocabulary: usize,
    seed: u64,
) -> (Vec<u32>, Vec<f32>) {
    let ordinary = u32::try_from(vocabulary).unwrap_or(u32::MAX);
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    ids.iter()
        .map(|&id| {
            let chosen = id < ordinary && rng.random::<f64>() < probability;
            if !chosen {
                return (id, 0.0);
            }
            let disturbed = match rng.random_range(0..10) {
                0..8 => mask_id,
                8 => rng.random_range(0..ordinary),
                _ => id,
            };
            (disturbed, 1.0)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: u32 = 100;

    #[test]
    fn chosen_tokens_are_masked_replaced_or_kept_8_to_1_to_1() {
        let ids: Vec<u32> = (0..100_000).map(|i| i % 100).collect();
        let (masked, weights) = mask(&ids, MASK, 0.15, 100, 7);
        let chosen = |test: fn(u32, u32) -> bool| {
            let places = ids.iter().zip(&masked).zip(&weights);
            places.filter(|((id, now), weight)| **weight == 1.0 && test(**id, **now)).count() as f64
        };
        let all = chosen(|_, _| true);
        assert!((all / 100_000.0 - 0.15).abs() < 0.005, "{all} of 100,000 chosen");
        assert!((chosen(|_, now| now == MASK) / all - 0.8).abs() < 0.02);
        assert!((chosen(|id, now| now != MASK && now != id) / all - 0.1 * 0.99).abs() < 0.01);
        assert!((chosen(|id, now| now == id) / all - 0.1 * 1.01).abs() < 0.01);
    }

    #[test]
    fn the_rest_is_untouched_and_weighs_nothing() {
        let ids: Vec<u32> = (0..1000).map(|i| i % 50).collect();
        let (masked, weights) = mask(&ids, MASK, 0.5, 50, 1);
        for ((id, now), weight) in ids.iter().zip(&masked).zip(&weights) {
            assert!(*weight == 1.0 || (*weight == 0.0 && id == now));
            assert!(*now == MASK || *now < 50);
        }
    }

    #[test]
    fn the_seed_decides() {
        let ids = vec![3; 200];
        assert_eq!(mask(&ids, MASK, 0.3, 10, 5), mask(&ids, MASK, 0.3, 10, 5));
        assert_ne!(mask(&ids, MASK, 0.3, 10, 5), mask(&ids, MASK, 0.3, 10, 6));
    }

    #[test]
    fn specials_are_never_chosen() {
        let ids = [10, 3, 11, 4];
        let (masked, weights) = mask(&ids, 11, 1.0, 10, 2);
        assert_eq!(weights, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!((masked[0], masked[2]), (10, 11));
    }

    #[test]
    fn extreme_arguments_choose_none_or_all() {
        for (probability, weight) in [(0.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (f64::NAN, 0.0)] {
            assert_eq!(mask(&[1, 2], MASK, probability, 10, 0).1, [weight; 2], "{probability}");
        }
        assert_eq!(mask(&[1, 2], MASK, 1.0, 0, 0), (vec![1, 2], vec![0.0; 2]), "no vocabulary");
        assert_eq!(mask(&[], MASK, 0.5, 10, 0), (vec![], vec![]));
    }
}
