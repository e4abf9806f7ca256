//! Linear attention and state spaces, over documents of several lengths, of one chunk and of several.

use super::{Case, matrix, vector};
use crate::ops::linear_attention::{self, FeatureMap, Span, linear_attention};
use crate::ops::state_space::{self, discretize, state_space};
use crate::ops::{Heads, Value};
use candle_core::{Result, Tensor};
use std::ops::Range;

pub(super) fn cases() -> Result<Vec<Case>> {
    let all = [linear()?, state_spaces()?, discretized()?];
    Ok(all.into_iter().flatten().collect())
}

/// Consecutive documents of these lengths.
fn documents(lengths: &[usize]) -> Vec<Range<usize>> {
    let end = |end: &mut usize, n: &usize| {
        *end += n;
        Some(*end - n..*end)
    };
    lengths.iter().scan(0, end).collect()
}

fn linear() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for (lengths, small) in [(&[4, 1, 0, 5][..], true), (&[150, 64, 3], false), (&[0, 65], false)] {
        for (map, causal) in
            [FeatureMap::Elu, FeatureMap::Identity].into_iter().flat_map(|map| [(map, true), (map, false)])
        {
            for (n_heads, n_kv_heads, d_head) in [(2, 2, 3), (4, 2, 16), (1, 1, 2)] {
                // As many numbers as finite differences take quickly.
                let small = small && d_head < 16;
                let heads = Heads { n_heads, n_kv_heads, scale: 0.7, soft_cap: None };
                let spans: Vec<Span> =
                    documents(lengths).into_iter().map(|rows| Span { rows, causal }).collect();
                let n: usize = lengths.iter().sum();
                let case = Case::new(
                    format!(
                        "linear_attention {map:?}, causal: {causal}, {lengths:?}, {n_heads} heads of {d_head}"
                    ),
                    [matrix(n, n_heads * d_head, 1)?, matrix(n, 2 * n_kv_heads * d_head, 2)?],
                    spans,
                    move |spans, x| linear_attention(&x[0], &x[1], heads, map, spans),
                    move |spans, t| linear_attention::reference::linear_attention(t, heads, map, spans),
                );
                cases.push(Case { small, ..case });
            }
        }
    }
    Ok(cases)
}

fn state_spaces() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for (lengths, small) in [(&[4, 1, 0, 5][..], true), (&[150, 64, 3], false), (&[0, 65], false)] {
        for (states, d) in [(2, 3), (1, 1), (5, 33)] {
            let n: usize = lengths.iter().sum();
            for reverse in [false, true] {
                // Sizes below 1, so that no state grows.
                let sizes = (matrix(states, d, 2)?.abs()? * -0.3)?;
                let exponents = Tensor::cat(&[sizes, matrix(states, d, 3)?], 0)?;
                let case = Case::new(
                    format!("state_space {lengths:?}, {states} states of {d} columns, reverse: {reverse}"),
                    [matrix(n, d, 1)?],
                    documents(lengths),
                    move |documents, x| state_space(&x[0], &x[1], &x[2], documents, reverse),
                    move |documents, t| state_space::reference::state_space(t, documents, reverse),
                );
                let case = case.parameters([exponents, matrix(2 * states, d, 4)?]);
                cases.push(Case { small: small && d < 16, ..case });
            }
        }
    }
    Ok(cases)
}

fn discretized() -> Result<Vec<Case>> {
    /// A name, the number of inputs that the result depends on, the result of both, and its reference.
    type Part = (&'static str, usize, fn([Value; 2]) -> Value, fn(&[Tensor]) -> Result<Tensor>);
    let each: [Part; 2] = [
        ("exponents", 3, |[exponents, _]| exponents, state_space::exponents),
        ("weights", 5, |[_, weights]| weights, state_space::weights),
    ];
    let (states, d) = (3, 4);
    let inputs = [
        vector(d, 1)?,
        matrix(states, d, 2)?,
        matrix(states, d, 3)?,
        matrix(2 * states, d, 4)?,
        matrix(2 * states, d, 5)?,
    ];
    let case = |(name, used, of, reference): Part| {
        let rest = inputs.clone();
        let run = move |_: &(), x: &[Value]| {
            let all: Vec<Value> = (0..5)
                .map(|i| x.get(i).cloned().unwrap_or_else(|| Value::constant(rest[i].clone())))
                .collect();
            Ok(of(discretize(&all[0], &all[1], &all[2], &all[3], &all[4])?))
        };
        let case = Case::new(format!("discretize, {name}"), Vec::<Tensor>::new(), (), run, move |(), t| {
            reference(t)
        });
        Case { small: true, ..case.parameters(&inputs[..used]) }
    };
    Ok(each.into_iter().map(case).collect())
}
