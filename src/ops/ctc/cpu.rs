//! The CPU kernel: documents in parallel.

use super::alignment::Alignment;
use super::{Document, States};
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::map;
use crate::ops::cpu::storage::{Elements, gradient};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

pub(super) fn ctc(logits: &Value, documents: Vec<Document>, blank: u32) -> Result<Value> {
    let (input, v) = (logits.tensor().clone(), logits.dims()[1]);
    let values = Elements::of(&input)?;
    let values = &*values;
    // Forward also computes the gradient.
    let mut dx = vec![0.0; values.len()];
    let losses: Vec<f64> = split(&documents, &mut dx, v)
        .into_par_iter()
        .map(|(document, dx)| {
            let logits = &values[document.frames.start * v..document.frames.end * v];
            let states = States::new(&document.labels, blank);
            let loss = Alignment::new(logits, v, &states).loss(dx, document.weight);
            f64::from(document.weight) * loss
        })
        .collect();
    let loss = Tensor::new(losses.iter().sum::<f64>() as f32, input.device())?;
    let like = input.clone();
    Ok(with_rule(loss, &[logits], move |dy| {
        let dy = dy.to_scalar::<f32>()?;
        Ok(vec![gradient(map(&dx, |g| g * dy), &like)?])
    }))
}

/// Each document with its own rows of the gradient.
fn split<'a>(
    documents: &'a [Document],
    mut gradient: &'a mut [f32],
    v: usize,
) -> Vec<(&'a Document, &'a mut [f32])> {
    let mut at = 0;
    documents
        .iter()
        .map(|document| {
            let (rows, rest) = std::mem::take(&mut gradient)[(document.frames.start - at) * v..]
                .split_at_mut(document.frames.len() * v);
            gradient = rest;
            at = document.frames.end;
            (document, rows)
        })
        .collect()
}
