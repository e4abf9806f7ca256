use super::*;
use crate::ops::cpu::bf16::{rounded, widened};

/// Numbers in ±1 that differ from each other.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n as u32).map(number).collect()
}

/// a·b of rounded factors, in `f64`.
fn expected(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) -> Vec<f64> {
    let (a, b) = (widened(&rounded(a)), widened(&rounded(b)));
    let sum = |i, j| (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
    (0..m * n).map(|place| sum(place / n, place % n)).collect()
}

fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|place| x[place % rows * cols + place / rows]).collect()
}

fn assert_close(actual: &[f32], expected: &[f64], k: usize, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(expected) {
        let error = (f64::from(*actual) - expected).abs();
        assert!(error <= 1e-6 * (k as f64 + 1.0), "{what}: {actual} instead of {expected}");
    }
}

/// Every tail of rows, columns and k, and several blocks of each.
const SHAPES: [(usize, usize, usize); 14] = [
    (1, 1, 1),
    (1, 1, 2),
    (3, 5, 7),
    (4, 16, 8),
    (6, 16, 2),
    (12, 32, 64),
    (13, 33, 65),
    (5, 47, 31),
    (24, 64, 384),
    (25, 65, 385),
    (97, 17, 3),
    (200, 40, 33),
    (11, 31, 800),
    (2, 100, 769),
];

#[test]
fn every_kernel_of_this_processor_multiplies_rounded_factors() {
    for kernel in Kernel::available() {
        println!("tested: {}", kernel.name()); // shown by `cargo test -- --nocapture`
        let shapes = if cfg!(miri) { &SHAPES[..8] } else { &SHAPES };
        for &shape in shapes {
            let (m, n, k) = shape;
            let (a, b, what) = (numbers(m * k, 1), numbers(k * n, 2), format!("{} {shape:?}", kernel.name()));
            let expected = expected(&a, &b, shape);
            let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
            // x·Wᵀ, dy·W and dyᵀ·x have each factor once by rows and once by columns.
            for a in [Matrix::new(&a, m, k), Matrix::new(&at, k, m).t()] {
                for b in [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).t()] {
                    let packed = Packed::for_kernel(kernel, b);
                    assert_close(&packed.product(a, None), &expected, k, &what);
                }
            }
            let (a, b) = (rounded(&a), rounded(&b));
            let packed = Packed::for_kernel(kernel, Matrix::new(&b, k, n));
            assert_close(&packed.product(Matrix::new(&a, m, k), None), &expected, k, &what);
        }
    }
}

#[test]
fn kernels_multiply_strided_matrices_and_add_to_the_bias() {
    let (m, n, k) = (14, 35, 9);
    let (wide_a, wide_b, bias) = (numbers(m * (k + 3), 3), numbers(k * (n + 2), 4), numbers(n, 5));
    let a: Vec<f32> = wide_a.chunks(k + 3).flat_map(|row| &row[..k]).copied().collect();
    let b: Vec<f32> = wide_b.chunks(n + 2).flat_map(|row| &row[..n]).copied().collect();
    let plain = expected(&a, &b, (m, n, k));
    let with_bias: Vec<f64> = plain.iter().enumerate().map(|(i, x)| x + f64::from(bias[i % n])).collect();
    for kernel in Kernel::available() {
        let packed = Packed::for_kernel(kernel, Matrix::strided(&wide_b, k, n, n + 2));
        let a = Matrix::strided(&wide_a, m, k, k + 3);
        let sums = packed.product(a, Some(&bias));
        assert_close(&sums, &with_bias, k, kernel.name());
        assert_eq!(packed.rounded_product(a, Some(&bias)), rounded(&sums));
    }
}

#[test]
fn an_infinite_number_stays_in_its_row() {
    // Three blocks, of 151, 151 and 149 pairs: the infinite pair is the last of the second, beyond the end of the third.
    let (m, n, k) = (33, 34, 901);
    let mut a = numbers(m * k, 1);
    a[5 * k + 603] = f32::INFINITY;
    for kernel in Kernel::available() {
        let c = Packed::for_kernel(kernel, Matrix::new(&vec![1.0; k * n], k, n))
            .product(Matrix::new(&a, m, k), None);
        for (row, c) in c.chunks(n).enumerate() {
            let is_right = |c: &f32| if row == 5 { *c == f32::INFINITY } else { c.is_finite() };
            assert!(c.iter().all(is_right), "{}, row {row}: {c:?}", kernel.name());
        }
    }
}

#[test]
fn empty_factors_leave_the_bias() {
    for kernel in Kernel::available() {
        let product = |m, n, k, bias: Option<&[f32]>| {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            Packed::for_kernel(kernel, Matrix::new(&b, k, n)).product(Matrix::new(&a, m, k), bias)
        };
        assert_eq!(product(2, 3, 0, Some(&[1.0, 2.0, 3.0])), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        assert_eq!(product(2, 2, 0, None), [0.0; 4]);
        assert!(product(0, 3, 4, None).is_empty());
        assert!(product(3, 0, 4, None).is_empty());
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_number_of_threads_does_not_change_bits() {
    let (m, n, k) = (300, 70, 500);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let product = || Packed::new(Matrix::new(&b, k, n)).product(Matrix::new(&a, m, k), None);
        pool.install(product).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(1), bits(5));
}

#[test]
#[should_panic(expected = "do not fit")]
fn factors_of_unequal_k_panic() {
    Packed::new(Matrix::new(&[0.0; 6], 3, 2)).product(Matrix::new(&[0.0; 8], 2, 4), None);
}
