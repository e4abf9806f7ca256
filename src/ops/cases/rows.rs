//! Rows that are gathered, pooled, dropped, rotated, added and rearranged; conversions.

use super::{Case, each, matrix};
use crate::ops::{Angles, Value, add, cast, concat_rows, dropout, gather, gather_rows, mean_rows, pool};
use crate::ops::{replace_rows, reshape, rotary, straight_through};
use candle_core::{DType, Result, Tensor};
use std::ops::Range;
use std::sync::Arc;

pub(super) fn cases() -> Result<Vec<Case>> {
    let all = [gathered()?, pooled()?, dropped()?, rotated()?, sums()?, rearranged()?];
    Ok(all.into_iter().flatten().collect())
}

fn gathered() -> Result<Vec<Case>> {
    let small = [(1, 1, 1), (50, 1, 3), (4, 5, 2), (4, 7, 5)];
    each(&small, &[(1000, 300, 33), (2000, 3, 64), (70, 5000, 128)], |(n, v, d)| {
        let rows: Vec<u32> = (0..n).map(|i| (i * i * 31 + 7) % v as u32).collect();
        Ok(vec![Case::new(
            format!("gather_rows {n} of {v}x{d}"),
            [matrix(v, d, 1)?],
            rows,
            |rows, x| gather_rows(&x[0], rows),
            |rows, t| gather::reference::gather_rows(&t[0], rows),
        )])
    })
}

fn pooled() -> Result<Vec<Case>> {
    /// Consecutive ranges of `each` rows, and others.
    fn ranges(n: usize, each: usize, others: &[Range<usize>]) -> Vec<Range<usize>> {
        (0..n / each).map(|i| i * each..(i + 1) * each).chain(others.iter().cloned()).collect()
    }
    let one = ranges(1, 1, &[]);
    let small = [
        (6, 3, &[0..2, 3..3, 1..5, 1..5][..]),
        (1, 1, &one),
        (7, 3, &[0..3, 3..7]),
        (9, 5, &[2..9, 0..4, 4..4, 0..4]),
    ];
    let (few, many) = (ranges(9, 3, &[1..4, 2..2]), ranges(3000, 50, &[]));
    let long = ranges(1000, 65, &[1..4, 2..2]);
    each(&small, &[(9, 5, &few), (3000, 33, &many), (1000, 384, &long)], |(n, d, ranges)| {
        Ok(vec![Case::new(
            format!("mean_rows {n}x{d}, {} ranges", ranges.len()),
            [matrix(n, d, 1)?],
            ranges.to_vec(),
            |ranges, x| mean_rows(&x[0], ranges),
            |ranges, t| pool::reference::mean_rows(&t[0], ranges),
        )])
    })
}

fn dropped() -> Result<Vec<Case>> {
    let small = [(0, 3), (1, 1), (3, 6), (1, 200), (5, 33)];
    each(&small, &[(100, 77), (130, 65)], |(n, d)| {
        let keys: Vec<u64> = (0..n as u64).map(|i| i * i + 3).collect();
        Ok(vec![Case::new(
            format!("dropout {n}x{d}"),
            [matrix(n, d, 1)?],
            keys,
            |keys, x| dropout(&x[0], 0.3, 7, keys),
            |keys, t| dropout::reference::dropout(&t[0], 0.3, 7, keys),
        )])
    })
}

fn rotated() -> Result<Vec<Case>> {
    let small = [(0, 4, 4, 1, 0), (1, 2, 2, 3, 0), (3, 4, 4, 2, 4), (5, 16, 16, 2, 32), (3, 4, 7, 2, 5)];
    let others = [(100, 32, 32, 3, 40), (300, 32, 32, 4, 128), (200, 24, 32, 4, 128)];
    each(&small, &others, |(n, rotated, d_head, heads, rest)| {
        let places: Vec<u32> = (0..n).map(|i| i * 7 % 90).collect();
        let angles = Angles::new(&places, rotated, 1e4, None).in_heads_of(d_head);
        let (angles, columns) = (Arc::new(angles), heads * d_head);
        Ok(vec![Case::new(
            format!("rotary {n}, {rotated} features of {heads} heads of {d_head}, {rest} other columns"),
            [matrix(n as usize, columns + rest, 1)?],
            (columns, angles),
            |(columns, angles), x| rotary(&x[0], *columns, angles),
            |(columns, angles), t| rotary::reference::rotary(&t[0], *columns, angles),
        )])
    })
}

fn sums() -> Result<Vec<Case>> {
    each(&[(0, 3), (1, 1), (5, 7)], &[(64, 64), (123, 457), (300, 130)], |(n, d)| {
        let (a, b) = (matrix(n, d, 1)?, matrix(n, d, 2)?);
        let two = |(): &(), x: &[Value]| add(&x[0], &x[1]);
        let three = |(): &(), x: &[Value]| add(&add(&x[0], &x[0])?, &x[0]);
        Ok(vec![
            Case::new(format!("add {n}x{d}"), [a.clone(), b], (), two, |(), t| &t[0] + &t[1]),
            Case::new(format!("add {n}x{d} to itself"), [a], (), three, |(), t| &t[0] * 3.0),
        ])
    })
}

/// Rows that are concatenated or replaced, and values that do not change.
fn rearranged() -> Result<Vec<Case>> {
    let mut cases = each(&[(0, 0, 3), (1, 1, 1), (5, 5, 7)], &[(9, 5, 31), (300, 300, 130)], |(n, m, d)| {
        let (name, inputs) = (format!("concat_rows {n} and {m}x{d}"), [matrix(n, d, 1)?, matrix(m, d, 2)?]);
        Ok(vec![Case::new(name, inputs, (), |(), x| concat_rows(x), |(), t| Tensor::cat(t, 0))])
    })?;
    cases.push(Case::new(
        "replace_rows".into(),
        [matrix(9, 16, 1)?, matrix(3, 16, 2)?],
        [10_u32, 1, 2, 9, 4, 5, 6, 11, 8],
        |_, x| replace_rows(&x[0], &[3, 0, 7], &x[1]),
        |sources, t| Tensor::cat(t, 0)?.index_select(&Tensor::new(sources, t[0].device())?, 0),
    ));
    let mut add = |name: &str, run: fn(&(), &[Value]) -> Result<Value>| -> Result<()> {
        let case = Case::new(name.into(), [matrix(7, 5, 1)?], (), run, |(), t| t[0].reshape((7, 5)));
        cases.push(Case { small: true, ..case });
        Ok(())
    };
    add("cast to f64 and back", |(), x| cast(&cast(&x[0], DType::F64)?, DType::F32))?;
    add("straight_through", |(), x| straight_through(&x[0], &x[0].tensor().copy()?))?;
    add("reshape twice", |(), x| reshape(&reshape(&x[0], &[5, 7])?, &[7, 5]))?;
    Ok(cases)
}
