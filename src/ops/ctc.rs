//! Connectionist temporal classification (Graves et al. 2006): the loss of a label sequence without an alignment.
//!
//! A document of t frames and l labels costs about 2·t·(2l + 1) log-additions of three terms, in `f64` and in log
//! space, so no length underflows. Forward also computes the gradient and saves it (4 bytes a logit); documents run in
//! parallel.

mod alignment;

use std::ops::Range;
use std::sync::OnceLock;

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use alignment::Alignment;
pub(super) use alignment::States;

use super::cross_entropy::log_softmax;
use super::math::map;
use super::storage::{has_kernel, slice};

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
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(logits.tensor()) {
        return super::cuda::ctc(logits, &documents, blank);
    }
    match has_kernel(logits.tensor()) {
        true => apply1(logits, Ctc { documents, blank, gradient: OnceLock::new() }),
        false => from_candle(&[logits], |t| reference(&t[0], &documents, blank)),
    }
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
    pub(super) frames: Range<usize>,
    pub(super) labels: Vec<u32>,
    pub(super) weight: f32,
}

fn check(
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

/// [`ctc`] in candle's own operations: the forward recursion of Graves's equation 6.
fn reference(logits: &Tensor, documents: &[Document], blank: u32) -> Result<Tensor> {
    let mut loss = Tensor::zeros((), logits.dtype(), logits.device())?;
    for document in documents.iter().filter(|document| !document.frames.is_empty()) {
        let frames = logits.narrow(0, document.frames.start, document.frames.len())?;
        let log_p = reference_log_p(&log_softmax(&frames)?, &States::new(&document.labels, blank))?;
        loss = (loss - (log_p * f64::from(document.weight))?)?;
    }
    Ok(loss)
}

/// The log probability of all alignments; `log_probabilities` is `[frames, v]`.
fn reference_log_p(log_probabilities: &Tensor, states: &States) -> Result<Tensor> {
    /// Instead of log 0 = −∞, whose gradient would be NaN.
    const IMPOSSIBLE: f64 = -1e30;
    let (device, dtype) = (log_probabilities.device(), log_probabilities.dtype());
    let n_states = states.symbols.len();
    let penalty = |allowed: &dyn Fn(usize) -> bool| {
        let values = (0..n_states).map(|s| if allowed(s) { 0.0 } else { IMPOSSIBLE });
        Tensor::from_iter(values.collect::<Vec<f64>>(), device)?.to_dtype(dtype)
    };
    let (starts, skips) = (penalty(&|s| s < 2)?, penalty(&|s| states.skips[s])?);
    let nowhere = penalty(&|_| false)?;
    let later =
        |alpha: &Tensor, by: usize| Tensor::cat(&[&nowhere, alpha], 0)?.narrow(0, n_states - by, n_states);
    let symbols = Tensor::from_slice(&states.symbols, n_states, device)?;
    let emitted = log_probabilities.index_select(&symbols, 1)?; // [frames, n_states]
    let mut alpha = (emitted.get(0)? + starts)?; // [n_states]
    for t in 1..emitted.dim(0)? {
        let arrivals = match n_states {
            1 => vec![alpha.clone()],
            _ => vec![alpha.clone(), later(&alpha, 1)?, (later(&alpha, 2)? + &skips)?],
        };
        alpha = (reference_log_sum_exp(&Tensor::stack(&arrivals, 0)?)? + emitted.get(t)?)?;
    }
    let ends = n_states.min(2);
    reference_log_sum_exp(&alpha.narrow(0, n_states - ends, ends)?)
}

/// log Σ eˣ over the first dimension.
fn reference_log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let greatest = x.max(0)?.detach();
    x.broadcast_sub(&greatest)?.exp()?.sum(0)?.log()? + greatest
}

struct Ctc {
    documents: Vec<Document>,
    blank: u32,
    /// The gradient of the loss for the logits, `[n, v]`.
    gradient: OnceLock<Vec<f32>>,
}

impl CustomOp1 for Ctc {
    fn name(&self) -> &'static str {
        "ctc"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, v) = layout.shape().dims2()?;
        let logits = slice(logits, layout)?;
        let mut gradient = vec![0.0; logits.len()];
        let losses: Vec<f64> = split(&self.documents, &mut gradient, v)
            .into_par_iter()
            .map(|(document, gradient)| {
                let logits = &logits[document.frames.start * v..document.frames.end * v];
                let states = States::new(&document.labels, self.blank);
                let loss = Alignment::new(logits, v, &states).loss(gradient, document.weight);
                f64::from(document.weight) * loss
            })
            .collect();
        let _ = self.gradient.set(gradient); // an instance serves one call
        Ok((CpuStorage::F32(vec![losses.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.to_scalar::<f32>()?;
        let Some(gradient) = self.gradient.get() else { bail!("ctc: backward without a forward") };
        Ok(Some(Tensor::from_vec(map(gradient, |g| g * dy), logits.dims(), logits.device())?))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, input, random};
    use candle_core::{DType, Device, Var};

    fn reference_of(
        logits: &Tensor,
        frames: &[Range<usize>],
        labels: &[Vec<u32>],
        weights: &[f32],
    ) -> Result<Tensor> {
        reference(logits, &check(logits, frames, labels, weights, 0)?, 0)
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        let labels = [vec![1, 1, 2], vec![], vec![2]];
        check_gradients(
            |x| reference_of(&x[0], &[0..5, 5..7, 8..9], &labels, &[1.0, 0.5, 2.0]),
            &[random(&[9, 3], 1)?],
        )
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        // Frames and classes; then, for each document, its frames, labels and weight.
        type Case = (usize, usize, Vec<(Range<usize>, Vec<u32>, f32)>);
        let cases: [Case; 5] = [
            (1, 2, vec![(0..1, vec![1], 1.0)]),
            (3, 2, vec![(0..3, vec![1, 1], 1.0)]),
            (4, 5, vec![(0..4, vec![], 0.3)]),
            (30, 6, vec![(0..12, vec![1, 2, 2, 5], 1.0), (14..30, vec![3, 3, 3], 0.25)]),
            (40, 65, vec![(0..0, vec![], 1.0), (0..20, vec![7; 9], 0.0), (20..40, vec![64, 1], 2.0)]),
        ];
        for (n, v, documents) in cases {
            let frames: Vec<_> = documents.iter().map(|document| document.0.clone()).collect();
            let labels: Vec<_> = documents.iter().map(|document| document.1.clone()).collect();
            let weights: Vec<_> = documents.iter().map(|document| document.2).collect();
            let kernel = |x: &Value| ctc(x, &frames, &labels, &weights, 0);
            let reference = |x: &Tensor| reference_of(x, &frames, &labels, &weights);
            check_kernel(|x| kernel(&x[0]), |x| reference(&x[0]), &[random(&[n, v], 1)?])?;
        }
        Ok(())
    }

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
