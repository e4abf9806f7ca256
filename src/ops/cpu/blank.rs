//! Results in uninitialized memory, which a kernel fills.
//!
//! Zeroing a result costs as much as writing it, and on one thread. A function that fills blank elements returns them as
//! numbers, which proves that it has written all of them.

use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Uninitialized elements.
pub(crate) type Blank<T = f32> = [MaybeUninit<T>];

/// `n` elements in blocks of `block`, in parallel. `fill` takes a block's number and its elements, and returns them filled.
pub(crate) fn by_blocks<T: Send>(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut Blank<T>) -> &mut [T] + Sync,
) -> Vec<T> {
    by_blocks_with(n, block, |i, blank| (fill(i, blank), ())).0
}

/// `n` elements on this thread.
pub(crate) fn filled<T>(n: usize, fill: impl FnOnce(&mut Blank<T>) -> &mut [T]) -> Vec<T> {
    let mut result = Vec::with_capacity(n);
    check_filled(&mut result.spare_capacity_mut()[..n], |blank| (fill(blank), ()));
    // SAFETY: the first n elements were returned as numbers.
    unsafe { result.set_len(n) }
    result
}

/// Fills the elements.
///
/// # Panics
/// If `fill` returns other elements.
fn check_filled<T, R>(blank: &mut Blank<T>, fill: impl FnOnce(&mut Blank<T>) -> (&mut [T], R)) -> R {
    let expected = (blank.as_ptr().cast::<T>(), blank.len());
    let (written, other) = fill(blank);
    assert!((written.as_ptr(), written.len()) == expected, "a block was not filled");
    other
}

/// [`by_blocks`], and something else of each block.
pub(crate) fn by_blocks_with<T: Send, R: Send>(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut Blank<T>) -> (&mut [T], R) + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut result = Vec::with_capacity(n);
    let blanks = result.spare_capacity_mut()[..n].par_chunks_mut(block.max(1));
    let others = blanks.enumerate().map(|(i, blank)| check_filled(blank, |blank| fill(i, blank))).collect();
    // SAFETY: each of the first n elements was in one block, and each block was returned as numbers.
    unsafe { result.set_len(n) }
    (result, others)
}

/// [`by_blocks`] for two results at once, of `n` rows of widths `widths`, in blocks of `rows`.
pub(crate) fn two_by_blocks<T: Send>(
    n: usize,
    widths: [usize; 2],
    rows: usize,
    fill: impl for<'a> Fn(usize, &'a mut Blank<T>, &'a mut Blank<T>) -> (&'a mut [T], &'a mut [T]) + Sync,
) -> (Vec<T>, Vec<T>) {
    let [a, b] = widths.map(|width| n * width);
    let mut second = Vec::with_capacity(b);
    let seconds = second.spare_capacity_mut()[..b].par_chunks_mut((rows * widths[1]).max(1));
    let mut first = Vec::with_capacity(a);
    let firsts = first.spare_capacity_mut()[..a].par_chunks_mut((rows * widths[0]).max(1));
    firsts.zip(seconds).enumerate().for_each(|(i, (first, second))| {
        let expected = [(first.as_ptr().cast::<T>(), first.len()), (second.as_ptr().cast(), second.len())];
        let (first, second) = fill(i, first, second);
        let written = [(first.as_ptr(), first.len()), (second.as_ptr(), second.len())];
        assert!(written == expected, "a block was not filled");
    });
    assert!(a.div_ceil((rows * widths[0]).max(1)) == b.div_ceil((rows * widths[1]).max(1)), "unequal blocks");
    // SAFETY: both have equally many blocks, so that zipping has dropped none; each was returned as numbers.
    unsafe {
        first.set_len(a);
        second.set_len(b);
    }
    (first, second)
}

/// The elements as numbers.
///
/// # Safety
/// Each element must have been written.
pub(crate) unsafe fn written<T>(blank: &mut Blank<T>) -> &mut [T] {
    // SAFETY: `MaybeUninit<T>` lies in memory as `T` does, and the caller has written each.
    unsafe { &mut *(std::ptr::from_mut(blank) as *mut [T]) }
}

/// Fills the elements with zeros: of a block that stays in the cache, to be added to or overwritten.
pub(crate) fn zeroed<T: Copy + Default>(blank: &mut Blank<T>) -> &mut [T] {
    blank.fill(MaybeUninit::new(T::default()));
    // SAFETY: every element is written.
    unsafe { written(blank) }
}

/// `n` zeros, written in parallel.
pub(crate) fn zeros(n: usize) -> Vec<f32> {
    by_blocks(n, super::math::BLOCK, |_, blank| zeroed(blank))
}

/// Fills rows with copies of `row`.
pub(crate) fn repeat<'a>(blank: &'a mut Blank, row: &[f32]) -> &'a mut [f32] {
    let rows = blank.chunks_exact_mut(row.len().max(1));
    rows.for_each(|blank| blank.iter_mut().zip(row).for_each(|(blank, &x)| _ = blank.write(x)));
    assert!(blank.is_empty() || blank.len().is_multiple_of(row.len()), "expected whole rows");
    // SAFETY: the length is a multiple of the row's, so every element is written.
    unsafe { written(blank) }
}

/// Writes `f` of each element of `x`.
#[inline(always)]
pub(crate) fn map<'a, T: Copy, R>(blank: &'a mut Blank<R>, x: &[T], f: impl Fn(T) -> R) -> &'a mut [R] {
    assert_eq!(blank.len(), x.len());
    for (blank, &x) in blank.iter_mut().zip(x) {
        blank.write(f(x));
    }
    // SAFETY: the lengths are equal, so the loop has reached each.
    unsafe { written(blank) }
}

/// Writes `f` of each pair of elements of `x` and `y`.
#[inline(always)]
pub(crate) fn map2<'a, T: Copy, R>(
    blank: &'a mut Blank<R>,
    x: &[T],
    y: &[T],
    f: impl Fn(T, T) -> R,
) -> &'a mut [R] {
    assert!(blank.len() == x.len() && blank.len() == y.len());
    for ((blank, &x), &y) in blank.iter_mut().zip(x).zip(y) {
        blank.write(f(x, y));
    }
    // SAFETY: the lengths are equal, so the loop has reached each.
    unsafe { written(blank) }
}

/// Writes the first result of `f` of each pair of elements of `x` and `y`, and y ← the second.
#[inline(always)]
pub(crate) fn map_and_update<'a, T: Copy>(
    blank: &'a mut Blank<T>,
    x: &[T],
    y: &mut [T],
    f: impl Fn(T, T) -> (T, T),
) -> &'a mut [T] {
    assert!(blank.len() == x.len() && blank.len() == y.len());
    for ((blank, &x), y) in blank.iter_mut().zip(x).zip(y) {
        let (first, second) = f(x, *y);
        *y = second;
        blank.write(first);
    }
    // SAFETY: the lengths are equal, so the loop has reached each.
    unsafe { written(blank) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_filled_in_their_places() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        for block in [1, 7, 1000, 5000] {
            let doubled = by_blocks(1000, block, |i, blank| {
                let start = i * block;
                let end = start + blank.len();
                map(blank, &x[start..end], |x| 2.0 * x)
            });
            assert!(doubled.iter().enumerate().all(|(i, &y)| y == 2.0 * i as f32));
        }
        assert!(by_blocks(0, 3, |_, blank| map(blank, &[0.0; 0], |x| x)).is_empty());
    }

    #[test]
    fn two_results_are_filled_side_by_side() {
        let (a, b) = two_by_blocks(10, [2, 3], 4, |i, a, b| {
            let (ones, twos) = (vec![i as f32; a.len()], vec![-(i as f32); b.len()]);
            (map(a, &ones, |x| x), map2(b, &twos, &twos, |x, y| x + y))
        });
        assert_eq!((a.len(), b.len()), (20, 30));
        assert_eq!((a[7], a[8], a[19], b[11], b[12], b[29]), (0.0, 1.0, 2.0, 0.0, -2.0, -4.0));
    }

    #[test]
    #[should_panic(expected = "not filled")]
    fn an_unfilled_block_panics() {
        by_blocks(4, 2, |_, blank| map(&mut blank[..1], &[1.0], |x| x));
    }
}
