//! The GPU's kernels: a block goes through each document's frames, forward for the loss and backward for the gradient.

use super::{Document, States};
use crate::cuda::{Launch, Source, element, empty, total, upload, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Error, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "ctc.cu", text: include_str!("ctc.cu") };

/// The loss of these documents, a scalar in `f32`; the caller has checked the inputs.
pub(super) fn ctc(logits: &Value, documents: &[Document], blank: u32) -> Result<Value> {
    let x = whole(logits.tensor())?;
    let (n, v) = x.dims2()?;
    // A document without frames has no labels and loss 0.
    let documents: Vec<&Document> = documents.iter().filter(|document| !document.frames.is_empty()).collect();
    if documents.is_empty() {
        let loss = Tensor::zeros((), DType::F32, x.device())?;
        return Ok(with_rule(loss, &[logits], move |_| Ok(vec![Some(Gradient::own(x.zeros_like()?))])));
    }
    let packed = PackedDocuments::of(&documents, n, blank, &x)?;
    let constants = [element(x.dtype())];
    let log_sums = empty(&x, n, DType::F32)?;
    let launch = Launch::of(&x, &SOURCE, "log_sums", &constants)?.each(32 * n);
    launch.tensor(&log_sums)?.tensor(&x)?.int(n)?.int(v)?.run()?;
    let (alphas, losses) = (empty(&x, packed.alphas, DType::F64)?, empty(&x, documents.len(), DType::F32)?);
    let launch = Launch::of(&x, &SOURCE, "forward", &constants)?.blocks(documents.len(), packed.threads);
    let launch = launch.tensor(&alphas)?.tensor(&losses)?.tensor(&x)?.tensor(&log_sums)?;
    let launch = launch.tensor(&packed.documents)?.tensor(&packed.symbols)?.tensor(&packed.weights)?;
    launch.int(v)?.int(blank as usize)?.run()?;
    Ok(with_rule(total(&losses)?, &[logits], move |dy| {
        Ok(vec![Some(Gradient::own(packed.gradient(&x, &log_sums, &alphas, dy, blank)?))])
    }))
}

/// Documents in the layout of the kernels.
struct PackedDocuments {
    /// `Document` of `ctc.cu`, seven numbers each.
    documents: Tensor,
    /// The document of each frame; `u32::MAX` for none.
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

impl PackedDocuments {
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
