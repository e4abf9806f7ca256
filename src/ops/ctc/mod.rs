//! Connectionist temporal classification (Graves et al. 2006): the loss of a label sequence without an alignment.
//!
//! A document of t frames and l labels costs about 2·t·(2l + 1) log-additions of three terms, in `f64` and in log
//! space, so no length underflows. Forward also computes the gradient and saves it (4 bytes a logit); documents run in
//! parallel.

mod alignment;
mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use alignment::States;
use candle_core::{D, Result, Tensor, bail};
use std::ops::Range;

/// Σ_d w_d·(−log p(labels_d | frames_d)), a scalar.
///
/// `logits` is `[n, v]` for all frames of the batch. `documents` holds the frames of each document, ascending and disjoint;
/// other frames have no gradient. `labels` and `weights` have one entry for each document; documents of weight 0 are not
/// read.
///
/// # Errors
/// If lengths or ranges do not fit, a label is `blank` or not below v, or a document has too few frames for its labels
/// ([`fits`]).
pub fn ctc(
    logits: &Value,
    documents: &[Range<usize>],
    labels: &[Vec<u32>],
    weights: &[f32],
    blank: u32,
) -> Result<Value> {
    let documents = check(logits.tensor(), documents, labels, weights, blank)?;
    dispatch!(logits.tensor();
        cuda => cuda::ctc(logits, &documents, blank),
        cpu => cpu::ctc(logits, documents, blank),
        reference => from_candle(&[logits], |t| reference::ctc(&t[0], &documents, blank)))
}

/// Whether `frames` are enough for `labels`: a frame for each label, and a blank between equal neighbours.
pub fn fits(frames: usize, labels: &[u32]) -> bool {
    let repeats = labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
    frames >= labels.len() + repeats
}

/// The labels of the most probable path through `logits` `[frames, v]`: the best label of each frame, with repeats merged
/// and blanks removed.
pub fn best_path(logits: &Tensor, blank: u32) -> Result<Vec<u32>> {
    if logits.dim(0)? == 0 {
        return Ok(Vec::new());
    }
    let mut best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    best.dedup();
    best.retain(|&label| label != blank);
    Ok(best)
}

/// One document's frames, labels and weight.
pub(super) struct Document {
    frames: Range<usize>,
    labels: Vec<u32>,
    weight: f32,
}

/// The documents with a weight; fails if an argument does not fit.
pub(super) fn check(
    logits: &Tensor,
    documents: &[Range<usize>],
    labels: &[Vec<u32>],
    weights: &[f32],
    blank: u32,
) -> Result<Vec<Document>> {
    let (n, v) = logits.dims2()?;
    if labels.len() != documents.len() || weights.len() != documents.len() {
        let (documents, labels, weights) = (documents.len(), labels.len(), weights.len());
        bail!(
            "ctc: expected one label list and weight each for {documents} documents, found {labels} and {weights}"
        )
    }
    if blank as usize >= v {
        bail!("ctc: the blank {blank} is not below the {v} classes")
    }
    let mut end = 0;
    let mut checked = Vec::with_capacity(documents.len());
    for (i, ((frames, labels), &weight)) in documents.iter().zip(labels).zip(weights).enumerate() {
        if frames.start < end || frames.end < frames.start || frames.end > n {
            bail!("ctc: document {i} has frames {frames:?}; expected a range between {end} and {n}")
        }
        end = frames.end;
        if weight == 0.0 {
            continue;
        }
        if let Some(label) = labels.iter().find(|label| **label == blank || **label as usize >= v) {
            bail!("ctc: label {label} of document {i} is the blank {blank} or not below the {v} classes")
        }
        if !fits(frames.len(), labels) {
            bail!("ctc: document {i} has {} frames, too few for its {} labels", frames.len(), labels.len())
        }
        checked.push(Document { frames: frames.clone(), labels: labels.clone(), weight });
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cross_entropy::reference::log_softmax;
    use crate::ops::testing::{input, random};
    use candle_core::{DType, Device, Var};

    /// The loss of one document.
    fn single(
        logits: &Tensor,
        frames: Range<usize>,
        labels: &[u32],
        weight: f32,
        blank: u32,
    ) -> Result<Tensor> {
        Ok(traced(&input(logits), frames, labels, weight, blank)?.into_tensor())
    }

    fn traced(
        logits: &Value,
        frames: Range<usize>,
        labels: &[u32],
        weight: f32,
        blank: u32,
    ) -> Result<Value> {
        ctc(logits, std::slice::from_ref(&frames), &[labels.to_vec()], &[weight], blank)
    }

    /// The probability of `labels` as the sum over all v^frames paths that collapse to them.
    fn enumerate(p: &[Vec<f32>], labels: &[u32]) -> f64 {
        let v = p[0].len();
        (0..v.pow(p.len() as u32))
            .map(|code| (0..p.len() as u32).map(|t| (code / v.pow(t) % v) as u32).collect::<Vec<_>>())
            .filter(|path| {
                let mut merged = path.clone();
                merged.dedup();
                merged.retain(|&symbol| symbol != 0);
                merged == labels
            })
            .map(|path| path.iter().zip(p).map(|(&symbol, p)| f64::from(p[symbol as usize])).product::<f64>())
            .sum()
    }

    #[test]
    fn loss_is_the_sum_over_all_paths() -> Result<()> {
        let logits = random(&[5, 3], 4)?;
        let p = log_softmax(&logits)?.exp()?.to_vec2::<f32>()?;
        for labels in [vec![], vec![1], vec![2, 1], vec![1, 1], vec![1, 2, 1], vec![2, 2, 2]] {
            let loss = single(&logits, 0..5, &labels, 1.0, 0)?.to_scalar::<f32>()?;
            let expected = -enumerate(&p, &labels).ln();
            assert!((f64::from(loss) - expected).abs() < 1e-5, "{labels:?}: {loss} for {expected}");
        }
        Ok(())
    }

    #[test]
    fn long_documents_do_not_underflow() -> Result<()> {
        let logits = Var::from_tensor(&(random(&[600, 4], 1)? * 20.0)?)?;
        let labels: Vec<u32> = (0..200).map(|i| 1 + i % 3).collect();
        let loss = traced(&Value::parameter(&logits, 0), 0..600, &labels, 1.0, 0)?;
        let exact = single(&logits.to_dtype(DType::F64)?.detach(), 0..600, &labels, 1.0, 0)?;
        let exact = exact.to_scalar::<f64>()?;
        assert!(exact > 1000.0, "expected a large loss; found {exact}");
        assert!((f64::from(loss.tensor().to_scalar::<f32>()?) - exact).abs() < 1e-6 * exact);
        // Softmax and posterior both sum to 1 in every frame.
        let gradients = crate::ops::backward(vec![(loss, 1.0)])?;
        let sums = gradients.get(0).unwrap().sum(1)?.abs()?.max(0)?.to_scalar::<f32>()?;
        assert!(sums < 1e-4, "a frame's gradient sums to {sums}");
        Ok(())
    }

    #[test]
    fn invalid_labels_and_ranges_are_errors() -> Result<()> {
        assert!(fits(3, &[1, 1]) && !fits(2, &[1, 1]) && fits(2, &[1, 2]) && fits(0, &[]));
        let logits = random(&[4, 3], 1)?;
        let error = |frames, labels: &[u32], blank| {
            single(&logits, frames, labels, 1.0, blank).unwrap_err().to_string()
        };
        assert!(error(0..2, &[1, 1], 0).contains("too few for its 2 labels"));
        assert!(error(0..4, &[0], 0).contains("label 0 of document 0"));
        assert!(error(0..4, &[3], 0).contains("label 3"));
        assert!(error(0..5, &[1], 0).contains("frames 0..5"));
        assert!(error(0..4, &[1], 3).contains("blank 3"));
        let two = [vec![1], vec![1]];
        assert!(ctc(&input(&logits), &[2..4, 1..2], &two, &[1.0, 1.0], 0).is_err());
        assert!(ctc(&input(&logits), &[0..2, 2..4], &two, &[1.0], 0).is_err());
        assert!(ctc(&input(&logits), &[0..2, 2..4], &two[..1], &[1.0, 1.0], 0).is_err());
        assert!(single(&logits, 0..2, &[1, 1], 0.0, 0).is_ok());
        Ok(())
    }

    #[test]
    fn best_path_merges_repeats_and_drops_blanks() -> Result<()> {
        let path = [0_usize, 2, 2, 0, 2, 1, 1, 0];
        let logits: Vec<f32> =
            path.iter().flat_map(|&best| (0..3).map(move |v| f32::from(v == best))).collect();
        assert_eq!(best_path(&Tensor::from_vec(logits, (8, 3), &Device::Cpu)?, 0)?, [2, 2, 1]);
        assert!(best_path(&random(&[0, 3], 1)?, 0)?.is_empty());
        Ok(())
    }
}
