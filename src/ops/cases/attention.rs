//! Attention under several rules, over documents of several lengths, with heads of sizes for the matrix units and others.

use super::{Case, matrix};
use crate::ops::{
    Buckets, Distances, Heads, Memory, RelativeBias, Value, attention, retrieval, retrieve, slopes,
};
use crate::rules::{AttentionMask, AttentionRules, TokenMeta};
use candle_core::{DType, Result};
use std::sync::Arc;

pub(super) fn cases() -> Result<Vec<Case>> {
    let mut cases = of_small_documents()?;
    cases.extend(of_long_documents()?);
    cases.extend(with_biases()?);
    cases.extend(with_memory()?);
    let one = Arc::new(TokenMeta::document(&[0; 197]));
    for (rule, n_kv_heads) in [("causal", 4), ("causal & near(70, order)", 2), ("all", 1)] {
        let heads = Heads { n_heads: 4, n_kv_heads, scale: 0.125, soft_cap: None };
        cases.push(case(rule, &one, &one, heads, 64, None)?);
    }
    // Several tiles of keys, and more keys than a block of few queries has.
    for rule in ["causal", "mixed", "causal & near(300, order)"] {
        let meta = documents(&[1300, 70]);
        cases.push(case(rule, &meta, &meta, Heads::even(2, 32), 16, None)?);
    }
    // Queries and keys of two lists.
    cases.push(case("mixed", &documents(&[3, 70, 2]), &documents(&[9, 80, 0]), Heads::even(2, 8), 4, None)?);
    cases.push(case(
        "all",
        &documents(&[3, 70, 2]),
        &documents(&[90, 80, 0]),
        Heads::even(2, 128),
        64,
        None,
    )?);
    // Caps below the largest scores, of few and of many tokens.
    for (lengths, small) in [(&[4, 1, 5][..], true), (&[90, 33], false)] {
        let (meta, heads) = (documents(lengths), Heads { soft_cap: Some(1.5), ..Heads::even(2, 8) });
        cases.push(Case { small, ..case("causal", &meta, &meta, heads, 4, None)? });
    }
    Ok(cases)
}

/// No document of one token alone: its only weight is 1 for any score, so the score's gradient is rounding alone.
fn of_small_documents() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for rule in ["causal", "mixed"] {
        let meta = documents(&[4, 1, 5]);
        cases.push(Case { small: true, ..case(rule, &meta, &meta, Heads::even(2, 4), 2, None)? });
    }
    for rule in ["all", "causal", "never", "strict_past", "mixed"] {
        for lengths in [&[2][..], &[7, 0, 3], &[150], &[64, 65, 130, 2]] {
            let meta = documents(lengths);
            for (n_heads, d) in [(3, 12), (1, 32)] {
                let case = case(rule, &meta, &meta, Heads::even(n_heads, d), d / n_heads, None)?;
                cases.push(Case { small: meta.len() < 20, ..case });
            }
        }
    }
    Ok(cases)
}

fn of_long_documents() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for (rule, lengths) in [
        ("all", &[150, 64, 1][..]),
        ("causal", &[300, 20]),
        ("past", &[90, 66]),
        ("strict_past", &[130]),
        ("near(3)", &[200]),
        ("causal & near(70, order)", &[400]),
        ("mixed", &[100, 0, 37]),
    ] {
        let meta = documents(lengths);
        for (n_heads, d_head) in [(2, 64), (1, 128), (3, 32), (2, 24), (2, 16)] {
            cases.push(case(rule, &meta, &meta, Heads::even(n_heads, n_heads * d_head), d_head, None)?);
        }
    }
    Ok(cases)
}

/// Retrieval of keys beyond a window, with key heads that query heads share.
fn with_memory() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for (lengths, top_k, soft_cap) in [(&[7, 3][..], 2, None), (&[9], 3, Some(1.5)), (&[300, 0, 20], 8, None)]
    {
        let meta = documents(lengths);
        let (n, d_head) = (meta.len(), 4);
        let of_rule = |rule: &str| mask(rule, &meta, &meta);
        let (attended, allowed) = (of_rule("causal & near(2, order)"), of_rule("causal"));
        let memory = Memory { attended, allowed, size: 100, top_k };
        let heads = Heads { n_heads: 4, n_kv_heads: 2, scale: 0.7, soft_cap };
        // Keys that `bf16` holds, so that the same ones are chosen in both types.
        let key_value = matrix(n, 4 * d_head, 3)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let case = Case::new(
            format!("retrieve {top_k} of {lengths:?}"),
            [matrix(n, 4 * d_head, 1)?, matrix(n, 4 * d_head, 2)?],
            (key_value, heads, memory),
            |(key_value, heads, memory), x| {
                let key_value =
                    key_value.to_device(x[0].tensor().device())?.to_dtype(x[0].tensor().dtype())?;
                retrieve(&x[0], &Value::constant(key_value), &x[1], &x[2], *heads, memory)
            },
            |(key_value, heads, memory), t| retrieval::reference::retrieve(t, key_value, *heads, memory),
        );
        cases.push(Case { small: n < 20, ..case.parameters([matrix(1, 4, 4)?.flatten_all()?]) });
    }
    Ok(cases)
}

/// Scores that also depend on the distance; some query heads share key heads.
fn with_biases() -> Result<Vec<Case>> {
    let mut cases = vec![];
    for (rule, both_ways) in [("all", true), ("causal", false), ("mixed", true)] {
        for lengths in [&[5, 3][..], &[70, 0, 40]] {
            let (meta, buckets) = (documents(lengths), Buckets::new(8, 20, both_ways));
            let heads = Heads { n_heads: 4, n_kv_heads: 2, scale: 0.7, soft_cap: None };
            let buckets = Distances::Buckets(Arc::new(buckets));
            for distances in [buckets, Distances::Slopes(slopes(4))] {
                let case = case(rule, &meta, &meta, heads, 3, Some(distances))?;
                cases.push(Case { small: meta.len() < 20, ..case });
            }
        }
    }
    let meta = documents(&[200, 0, 66, 2]);
    for (rule, both_ways, n_kv_heads, d_head, buckets) in
        [("all", true, 4, 64, 32), ("causal", false, 2, 32, 32), ("mixed", true, 1, 24, 40)]
    {
        let heads = Heads { n_heads: 4, n_kv_heads, scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None };
        let buckets = Distances::Buckets(Arc::new(Buckets::new(buckets, 128, both_ways)));
        for distances in [buckets, Distances::Slopes(slopes(4))] {
            cases.push(case(rule, &meta, &meta, heads, d_head, Some(distances))?);
        }
    }
    Ok(cases)
}

fn case(
    rule: &str,
    queries: &Arc<TokenMeta>,
    keys: &Arc<TokenMeta>,
    heads: Heads,
    d_head: usize,
    distances: Option<Distances>,
) -> Result<Case> {
    let mask = mask(rule, queries, keys);
    let Heads { n_heads, n_kv_heads, .. } = heads;
    let (n, m) = mask.shape();
    let biases = match distances {
        None => "",
        Some(Distances::Buckets(_)) => " with biases",
        Some(Distances::Slopes(_)) => " with slopes",
    };
    let capped = if heads.soft_cap.is_some() { " with a soft cap" } else { "" };
    let table = match &distances {
        Some(Distances::Buckets(buckets)) => Some(matrix(buckets.len(), n_heads, 3)?),
        _ => None,
    };
    let case = Case::new(
        format!("attention {rule}{biases}{capped}, {n} to {m}, {n_heads} and {n_kv_heads} heads of {d_head}"),
        [matrix(n, n_heads * d_head, 1)?, matrix(m, 2 * n_kv_heads * d_head, 2)?],
        (mask, distances),
        move |(mask, distances), x| {
            let bias = distances.as_ref().map(|distances| RelativeBias { table: x.get(2), distances });
            attention(&x[0], &x[1], bias, heads, mask)
        },
        move |(mask, distances), t| attention::reference::attention(t, distances.as_ref(), heads, mask),
    );
    Ok(case.parameters(table.into_iter().collect::<Vec<_>>()))
}

/// One rule for all pairs of the tokens' kinds; for `mixed`, rules for four pairs, so that kind c attends to no
/// token.
pub(in crate::ops) fn mask(
    rule: &str,
    queries: &Arc<TokenMeta>,
    keys: &Arc<TokenMeta>,
) -> Arc<AttentionMask> {
    const KINDS: [&str; 3] = ["a", "b", "c"];
    let rules = match rule.parse() {
        Ok(rule) => {
            let last = queries.kind.iter().chain(&keys.kind).max().copied().unwrap_or(0);
            AttentionRules::uniform(KINDS.into_iter().take(last as usize + 1), rule)
        }
        Err(_) => {
            let mut rules = AttentionRules::never(KINDS);
            for (query, key, rule) in
                [("a", "a", "all"), ("a", "b", "past"), ("b", "a", "causal"), ("b", "c", "near(4)")]
            {
                if let Ok(rule) = rule.parse() {
                    let _ = rules.set(query, key, rule); // the kinds are those above
                }
            }
            rules
        }
    };
    Arc::new(AttentionMask::new(Arc::new(rules), queries.clone(), keys.clone()))
}

/// Documents of these lengths, with three alternating kinds and three tokens for each time step.
pub(in crate::ops) fn documents(lengths: &[usize]) -> Arc<TokenMeta> {
    let mut meta = TokenMeta::default();
    for (document, &n) in lengths.iter().enumerate() {
        let start = meta.len();
        let next = TokenMeta::document(&(0..n as u32).map(|i| i % 3).collect::<Vec<_>>());
        meta.document.extend(vec![document as u32; n]);
        meta.kind.extend(next.kind);
        meta.order.extend(next.order);
        meta.time.extend(next.time.iter().map(|time| time / 3));
        meta.positions.extend((0..n as u32).map(|i| [i / 10, i % 10]));
        meta.documents.push(start..start + n);
    }
    Arc::new(meta)
}
