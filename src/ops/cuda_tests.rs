//! Compiles all kernels, for which no GPU is needed but CUDA's NVRTC is:
//! `cargo test --release --features cuda --lib cuda`.

use super::activation::Activation;
use super::activation::cuda as activation;
use super::adamw::cuda as adamw;
use super::attention::cuda as attention;
use super::cross_entropy::cuda as cross_entropy;
use super::ctc::cuda as ctc;
use super::dropout::cuda as dropout;
use super::gate::cuda as gate;
use super::gather::cuda as gather;
use super::norm::cuda as norm;
use super::residual::cuda as residual;
use super::rotary::cuda as rotary;
use super::scale::cuda as scale;
use super::squared_error::cuda as squared_error;
use crate::cuda::{self, Constant, Source, element, number, vector};
use candle_core::DType;
use rayon::prelude::*;

/// The oldest GPUs that are supported, and those that the kernels are tuned for.
const ARCHITECTURES: [&str; 2] = ["compute_80", "compute_90"];

/// A source, the text of the file that launches its kernels, and sets of constants.
type Checked = (Source, &'static str, Vec<Vec<Constant>>);

/// Each set for `f32` and `bf16`, with vectors for rows of each of these widths.
fn sets(widths: &[usize], others: &dyn Fn(usize) -> Vec<Constant>) -> Vec<Vec<Constant>> {
    let dtypes = [DType::F32, DType::BF16];
    let of = |(dtype, &width): (DType, &usize)| {
        [element(dtype), vector(dtype, width).0].into_iter().chain(others(width)).collect()
    };
    dtypes.into_iter().flat_map(|dtype| widths.iter().map(move |width| of((dtype, width)))).collect()
}

fn all() -> Vec<Checked> {
    let none = |_: usize| vec![];
    let heads = |dtypes: &[DType], sizes: &[usize]| {
        let pairs = dtypes.iter().flat_map(|&dtype| sizes.iter().map(move |&d| (dtype, d)));
        pairs.map(|(dtype, d)| vec![element(dtype), number("D", d)]).collect()
    };
    let attention_text =
        concat!(include_str!("attention/cuda/mod.rs"), include_str!("attention/cuda/mask.rs"));
    vec![
        (activation::SOURCE, include_str!("activation/cuda.rs"), activations()),
        (adamw::SOURCE, include_str!("adamw/cuda.rs"), vec![vec![]]),
        (attention::MATRIX, attention_text, heads(&[DType::BF16], &[16, 32, 64, 80, 96, 128])),
        (attention::PLAIN, attention_text, heads(&[DType::F32, DType::BF16], &[16, 24, 64, 128])),
        (cross_entropy::SOURCE, include_str!("cross_entropy/cuda.rs"), sets(&[64, 65], &none)),
        (ctc::SOURCE, include_str!("ctc/cuda.rs"), sets(&[64], &none)),
        (dropout::SOURCE, include_str!("dropout/cuda.rs"), sets(&[64], &none)),
        (gate::SOURCE, include_str!("gate/cuda.rs"), activations()),
        (gather::SOURCE, include_str!("gather/cuda.rs"), sets(&[64, 33], &none)),
        (norm::SOURCE, include_str!("norm/cuda.rs"), norms()),
        (residual::SOURCE, include_str!("residual/cuda.rs"), sets(&[64, 33], &none)),
        (rotary::SOURCE, include_str!("rotary/cuda.rs"), sets(&[64], &none)),
        (scale::SOURCE, include_str!("scale/cuda.rs"), sets(&[64, 33], &none)),
        (squared_error::SOURCE, include_str!("squared_error/cuda.rs"), sets(&[64], &none)),
        (cuda::SUM, include_str!("../cuda/sum.rs"), sets(&[64, 33], &none)),
    ]
}

fn activations() -> Vec<Vec<Constant>> {
    let of = |activation| sets(&[64, 33], &|_| vec![activation::function(activation)]);
    Activation::ALL.into_iter().flat_map(of).collect()
}

fn norms() -> Vec<Vec<Constant>> {
    let of = |centre| sets(&[1, 384, 768, norm::WIDEST], &|d| vec![number("D", d), number("CENTRE", centre)]);
    [0, 1].into_iter().flat_map(of).collect()
}

#[test]
fn every_kernel_compiles() {
    let sources = all();
    let calls = sources.iter().flat_map(|(source, _, sets)| sets.iter().map(move |set| (source, set)));
    let calls: Vec<_> = calls.collect();
    calls.par_iter().for_each(|(source, set)| {
        for architecture in ARCHITECTURES {
            let ptx = source.compile(architecture, &set.join("\n")).unwrap().to_src();
            for kernel in source.kernels() {
                assert!(ptx.contains(&format!(".entry {kernel}(")), "{} defines no {kernel}", source.name);
            }
        }
    });
}

#[test]
fn every_launched_kernel_exists_and_every_kernel_is_launched() {
    for (source, text, _) in all() {
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
        let kernels: Vec<&str> = source.kernels().collect();
        for call in ["SOURCE, \"", "PLAIN, \"", "MATRIX, \"", ".launch(\""] {
            for launched in code.split(call).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(kernels.contains(&launched), "{} has no {launched}: {kernels:?}", source.name);
            }
        }
        for kernel in kernels {
            assert!(code.contains(&format!("\"{kernel}\"")), "{kernel} of {} is never launched", source.name);
        }
    }
}
