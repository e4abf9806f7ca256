//! A fixed permutation of the patches of every image.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{Content, Group};

/// For each of `n` places, row by row, the patch that is put there: the order of a seed (Fisher and Yates).
fn order(seed: u64, n: usize) -> Vec<usize> {
    let mut generator = Pcg64Mcg::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, (generator.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

/// Moves the features of the patches; the positions stay and name the places.
pub(crate) fn permute(group: Group, seed: u64) -> Group {
    let Content::Features { values, dim } = &group.content else { return group };
    let order = order(seed, values.len() / (*dim).max(1));
    let values = order.iter().flat_map(|&patch| &values[patch * dim..(patch + 1) * dim]).copied().collect();
    Group { content: Content::Features { values, dim: *dim }, ..group }
}

/// The positions in the image of patches at these places of a full grid. Positions that fill no grid stay as they are.
pub(crate) fn places(positions: &[u32], seed: u64) -> Vec<u32> {
    let n = positions.len() / 2;
    let columns = positions.chunks_exact(2).map(|place| place[1] as usize + 1).max().unwrap_or(1);
    let order = order(seed, n);
    let patch = |place: &[u32]| order.get((place[0] as usize).checked_mul(columns)? + place[1] as usize);
    let moved = positions.chunks_exact(2).flat_map(|place| match patch(place) {
        Some(patch) => [(patch / columns) as u32, (patch % columns) as u32],
        None => [place[0], place[1]],
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_patch_has_one_place_and_is_found_there() {
        let positions: Vec<u32> = (0..6).flat_map(|i| [i / 3, i % 3]).collect();
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let content = Content::Features { values, dim: 2 };
        let group = Group { positions: positions.clone(), ..Group::sequence(content) };
        let permuted = permute(group.clone(), 7);
        let moved = permuted.content.features().unwrap();
        assert_ne!(permuted, group);
        assert_eq!(permuted.positions, positions);
        for (place, features) in places(&positions, 7).chunks_exact(2).zip(moved.chunks_exact(2)) {
            let patch = place[0] * 3 + place[1];
            assert_eq!(features, [2 * patch, 2 * patch + 1].map(|x| x as f32));
        }
        assert_eq!(permute(group, 7), permuted, "a seed gives one order");
    }

    #[test]
    fn positions_that_fill_no_grid_stay() {
        assert_eq!(places(&[u32::MAX, 1], 7), [u32::MAX, 1]);
        assert!(places(&[], 7).is_empty());
    }
}
