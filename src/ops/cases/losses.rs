//! Losses.

use super::{Case, each, matrix, numbers};
use crate::ops::preference::Pair;
use crate::ops::{binary_cross_entropy, cross_entropy, ctc, preference, squared_error};
use candle_core::Result;
use std::ops::Range;

pub(super) fn cases() -> Result<Vec<Case>> {
    Ok([of_classes()?, of_numbers()?, of_sequences()?, of_pairs()?].into_iter().flatten().collect())
}

fn of_classes() -> Result<Vec<Case>> {
    let small = [(1, 2), (3, 5), (5, 6), (6, 65)];
    each(&small, &[(70, 10), (70, 65), (100, 300), (70, 5003), (70, 5008)], |(n, v)| {
        let logits = (matrix(n, v, 1)? * 3.0)?;
        let weights: Vec<f32> = (1..=n).map(|i| (i % 4) as f32 * 0.6).collect();
        // Targets of rows without weight are not read.
        let target =
            |(i, weight): (u32, &f32)| if *weight == 0.0 { u32::MAX } else { (i * 7 + 1) % v as u32 };
        let targets: Vec<u32> = (0..).zip(&weights).map(target).collect();
        let case = |smoothing: f32| {
            Case::new(
                format!("cross_entropy {n}x{v}, smoothing {smoothing}"),
                [logits.clone()],
                (targets.clone(), weights.clone()),
                move |(targets, weights), x| cross_entropy(&x[0], targets, weights, smoothing),
                move |(targets, weights), t| {
                    cross_entropy::reference::cross_entropy(&t[0], targets, weights, smoothing)
                },
            )
        };
        Ok([0.0, 0.1, 1.0].into_iter().map(case).collect())
    })
}

fn of_numbers() -> Result<Vec<Case>> {
    let others = [(1, 1), (40, 3), (70, 130), (300, 80), (300, 768)];
    each(&[(2, 1), (4, 3), (5, 7)], &others, |(n, d)| {
        let weights: Vec<f32> = (1..=n).map(|i| (i % 3) as f32 * 0.7).collect();
        let labels: Vec<f32> = (0..n * d).map(|i| [0.0, 1.0, 0.3][i % 3]).collect();
        Ok(vec![
            Case::new(
                format!("squared_error {n}x{d}"),
                [matrix(n, d, 1)?],
                (numbers(n * d, 2), weights.clone()),
                |(targets, weights), x| squared_error(&x[0], targets, weights),
                |(targets, weights), t| squared_error::reference::squared_error(&t[0], targets, weights),
            ),
            Case::new(
                format!("binary_cross_entropy {n}x{d}"),
                [(matrix(n, d, 1)? * 3.0)?],
                (labels, weights),
                |(labels, weights), x| binary_cross_entropy(&x[0], labels, weights),
                |(labels, weights), t| {
                    binary_cross_entropy::reference::binary_cross_entropy(&t[0], labels, weights)
                },
            ),
        ])
    })
}

/// The documents of a batch: their frames, labels and weights.
type Documents<'a> = &'a [(Range<usize>, &'a [u32], f32)];

fn of_sequences() -> Result<Vec<Case>> {
    // Frames, classes, and the blank.
    let small: [(_, _, _, Documents); 4] = [
        (9, 3, 0, &[(0..5, &[1, 1, 2], 1.0), (5..7, &[], 0.5), (8..9, &[2], 2.0)]),
        (1, 2, 0, &[(0..1, &[1], 1.0)]),
        (3, 2, 0, &[(0..3, &[1, 1], 1.0)]),
        (4, 5, 0, &[(0..4, &[], 0.3)]),
    ];
    let others: [(_, _, _, Documents); 3] = [
        (30, 6, 0, &[(0..12, &[1, 2, 2, 5], 1.0), (14..30, &[3, 3, 3], 0.25)]),
        (40, 65, 0, &[(0..0, &[], 1.0), (0..20, &[7; 9], 0.0), (20..40, &[64, 1], 2.0)]),
        (40, 6, 5, &[(0..20, &[1, 2, 2, 3], 1.0), (20..31, &[0], 0.5), (33..40, &[], 1.0)]),
    ];
    let mut cases =
        each(&small, &others, |(n, v, blank, documents)| Ok(vec![sequences(n, v, blank, documents)?]))?;
    // More states than a block of the GPU has threads; labels that repeat; frames of no document before them.
    let labels: Vec<u32> = (0..600).map(|i| 1 + i * i % 29).collect();
    let long = sequences(1400, 30, 0, &[(3..1303, &labels, 0.01), (1303..1400, &[3; 40], 0.1)])?;
    cases.push(Case { reference: None, ..long });
    Ok(cases)
}

fn sequences(n: usize, v: usize, blank: u32, documents: Documents) -> Result<Case> {
    let frames: Vec<_> = documents.iter().map(|document| document.0.clone()).collect();
    let labels: Vec<_> = documents.iter().map(|document| document.1.to_vec()).collect();
    let weights: Vec<_> = documents.iter().map(|document| document.2).collect();
    Ok(Case::new(
        format!("ctc {n}x{v}, {} documents", documents.len()),
        [matrix(n, v, 1)?],
        (frames, labels, weights),
        move |(frames, labels, weights), x| ctc(&x[0], frames, labels, weights, blank),
        move |(frames, labels, weights), t| {
            ctc::reference::ctc(&t[0], &ctc::check(&t[0], frames, labels, weights, blank)?, blank)
        },
    ))
}

fn of_pairs() -> Result<Vec<Case>> {
    each(&[(4, 3, 1), (9, 5, 2)], &[(60, 65, 5), (64, 5003, 4)], |(n, v, n_pairs)| {
        let ids: Vec<u32> = (0..n as u32).map(|i| (i * 7 + 1) % v as u32).collect();
        let logits = matrix(n, v, 1)?;
        // The rows of a prompt have no weight.
        let weights: Vec<f32> = (0..n).map(|i| if i % 4 == 2 { 0.0 } else { 1.0 }).collect();
        let length = n / (2 * n_pairs);
        let pair = |number: usize| {
            let first = 2 * number * length;
            let (chosen, rejected) = (first..first + length, first + length..first + 2 * length);
            Pair { chosen, rejected, reference: [-1.0 - number as f64, -2.5] }
        };
        let pairs: Vec<Pair> = (0..n_pairs).map(pair).collect();
        let case = |beta: f64| {
            Case::new(
                format!("preference {n}x{v}, {n_pairs} pairs, beta {beta}"),
                [logits.clone()],
                (ids.clone(), weights.clone(), pairs.clone()),
                move |(ids, weights, pairs), x| preference(&x[0], ids, weights, pairs, beta),
                move |(ids, weights, pairs), t| {
                    preference::reference::preference(&t[0], ids, weights, pairs, beta)
                },
            )
        };
        Ok(vec![case(0.1), case(1.0)])
    })
}
