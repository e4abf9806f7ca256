//! CTC: a block goes through each document's frames, forward for the loss and back for the gradient.

use super::compile::{Source, element};
use super::launch::{Launch, empty, whole};
use super::sum::total;
use super::transfer::upload;
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::ops::ctc::{Document, States};
use candle_core::{DType, Error, Result, Tensor};

pub(super) const SOURCE: Source = Source { name: "ctc.cu", text: include_str!("ctc.cu") };

/// The loss of these documents, a scalar in `f32`; what does not fit has been refused.
pub(in crate::ops) fn ctc(logits: &Value, documents: &[Document], blank: u32) -> Result<Value> {
    let x = whole(logits.tensor())?;
    let (n, v) = x.dims2()?;
    // No frames spell no labels, for certain.
    let spelled: Vec<&Document> = documents.iter().filter(|document| !document.frames.is_empty()).collect();
    if spelled.is_empty() {
        let loss = Tensor::zeros((), DType::F32, x.device())?;
        return Ok(with_rule(loss, &[logits], move |_| Ok(vec![Some(Gradient::own(x.zeros_like()?))])));
    }
    let laid = Laid::of(&spelled, n, blank, &x)?;
    let constants = [element(x.dtype())];
    let log_sums = empty(&x, n, DType::F32)?;
    let launch = Launch::of(&x, &SOURCE, "log_sums", &constants)?.each(32 * n);
    launch.tensor(&log_sums)?.tensor(&x)?.int(n)?.int(v)?.run()?;
    let (alphas, losses) = (empty(&x, laid.alphas, DType::F64)?, empty(&x, spelled.len(), DType::F32)?);
    let launch = Launch::of(&x, &SOURCE, "forward", &constants)?.blocks(spelled.len(), laid.threads);
    let launch = launch.tensor(&alphas)?.tensor(&losses)?.tensor(&x)?.tensor(&log_sums)?;
    let launch = launch.tensor(&laid.documents)?.tensor(&laid.symbols)?.tensor(&laid.weights)?;
    launch.int(v)?.int(blank as usize)?.run()?;
    Ok(with_rule(total(&losses)?, &[logits], move |dy| {
        Ok(vec![Some(Gradient::own(laid.gradient(&x, &log_sums, &alphas, dy, blank)?))])
    }))
}

/// Documents as the kernels read them.
struct Laid {
    /// `Document` of `ctc.cu`, seven numbers each.
    documents: Tensor,
    /// The document of each frame; the greatest number for none.
    document_of: Tensor,
    symbols: Tensor,
    order: Tensor,
    starts: Tensor,
    weights: Tensor,
    /// States of all documents.
    states: usize,
    /// States at each frame, of all documents.
    alphas: usize,
    /// Threads of a block that goes through a document.
    threads: usize,
}

impl Laid {
    fn of(documents: &[&Document], n: usize, blank: u32, like: &Tensor) -> Result<Self> {
        let (mut rows, mut document_of) = (Vec::new(), vec![u32::MAX; n]);
        let (mut symbols, mut order, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut alphas, mut longest) = (0, 0);
        for (number, document) in documents.iter().enumerate() {
            let own = States::new(&document.labels, blank).symbols;
            let mut by_symbol: Vec<u32> = (0..own.len() as u32).collect();
            by_symbol.sort_by_key(|&state| own[state as usize]);
            let symbol = |i: usize| own[by_symbol[i] as usize];
            let begins = (0..own.len()).filter(|&i| i == 0 || symbol(i - 1) != symbol(i));
            let begins: Vec<u32> = begins.chain([own.len()]).map(|i| i as u32).collect();
            let frames = document.frames.clone();
            let row = [
                frames.start,
                frames.len(),
                symbols.len(),
                own.len(),
                alphas,
                starts.len(),
                begins.len() - 1,
            ];
            for number in row {
                rows.push(u32::try_from(number).map_err(Error::wrap)?);
            }
            document_of[frames.clone()].fill(number as u32);
            alphas += frames.len() * own.len();
            longest = longest.max(own.len());
            symbols.extend(own);
            order.extend(by_symbol);
            starts.extend(begins);
        }
        let weights: Vec<f32> = documents.iter().map(|document| document.weight).collect();
        Ok(Self {
            documents: upload(like, &rows)?,
            document_of: upload(like, &document_of)?,
            states: symbols.len(),
            symbols: upload(like, &symbols)?,
            order: upload(like, &order)?,
            starts: upload(like, &starts)?,
            weights: upload(like, &weights)?,
            alphas,
            threads: longest.next_multiple_of(32).min(1024),
        })
    }

    fn gradient(
        &self,
        x: &Tensor,
        log_sums: &Tensor,
        alphas: &Tensor,
        dy: &Tensor,
        blank: u32,
    ) -> Result<Tensor> {
        let (n, v) = x.dims2()?;
        let constants = [element(x.dtype())];
        let (posteriors, betas) =
            (empty(x, self.alphas, DType::F32)?, empty(x, 2 * self.states, DType::F64)?);
        let launch =
            Launch::of(x, &SOURCE, "posteriors", &constants)?.blocks(self.weights.elem_count(), self.threads);
        let launch =
            launch.tensor(&posteriors)?.tensor(&betas)?.tensor(alphas)?.tensor(x)?.tensor(log_sums)?;
        let launch = launch.tensor(&self.documents)?.tensor(&self.symbols)?;
        launch.int(v)?.int(blank as usize)?.run()?;
        let dx = empty(x, (n, v), x.dtype())?;
        let launch = Launch::of(x, &SOURCE, "backward", &constants)?.blocks(n, 128);
        let launch = launch.tensor(&dx)?.tensor(x)?.tensor(log_sums)?.tensor(&posteriors)?;
        let launch = launch.tensor(&self.documents)?.tensor(&self.document_of)?.tensor(&self.symbols)?;
        let launch = launch.tensor(&self.order)?.tensor(&self.starts)?.tensor(&self.weights)?;
        launch.tensor(dy)?.int(v)?.run()?;
        Ok(dx)
    }
}
