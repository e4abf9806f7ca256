use super::*;
use crate::ops::testing::{assert_close, input, random};
use candle_core::Device;

const BOTH: [FeatureMap; 2] = [FeatureMap::Elu, FeatureMap::Identity];

fn span(rows: Range<usize>, causal: bool) -> Span {
    Span { rows, causal }
}

#[test]
fn values_are_those_by_hand() -> Result<()> {
    // One head of width 1; φ(0) = 1, φ(1) = 2.
    let query = Tensor::new(&[[0_f32], [1.0]], &Device::Cpu)?;
    let key_value = Tensor::new(&[[0_f32, 3.0], [1.0, 6.0]], &Device::Cpu)?;
    let of = |map, causal| {
        let heads = Heads { scale: 0.5, ..Heads::even(1, 1) };
        linear_attention(&input(&query), &input(&key_value), heads, map, &[span(0..2, causal)])?
            .into_tensor()
            .flatten_all()?
            .to_vec1::<f32>()
    };
    let close = |found: Vec<f32>, expected: [f32; 2]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}, {expected:?}");
    };
    close(of(FeatureMap::Elu, true)?, [3.0, (2.0 * 3.0 + 4.0 * 6.0) / 6.0]);
    close(of(FeatureMap::Elu, false)?, [(3.0 + 2.0 * 6.0) / 3.0, 5.0]);
    close(of(FeatureMap::Identity, true)?, [0.0, 0.5 * 6.0]);
    Ok(())
}

#[test]
fn a_state_gives_the_results_of_the_whole_document() -> Result<()> {
    let (query, key_value) = (random(&[150, 12], 1)?, random(&[150, 12], 2)?);
    let heads = Heads { n_kv_heads: 2, ..Heads::even(4, 12) };
    for map in BOTH {
        let whole = linear_attention(&input(&query), &input(&key_value), heads, map, &[span(0..150, true)])?;
        let (mut state, mut pieces, mut start) = (None, vec![], 0);
        for n in [70, 1, 0, 1, 78] {
            let piece = |x: &Tensor| x.narrow(0, start, n).map(Value::constant);
            let (q, kv) = (piece(&query)?, piece(&key_value)?);
            // The same state continues in three documents, one of which has no next token.
            let documents = [0..n / 2, n / 2..n / 2, n / 2..n].map(|rows| span(rows, true));
            let states = state.as_ref().map(|state: &Tensor| Tensor::cat(&[state; 3], 0)).transpose()?;
            let (y_of_three, of_three) =
                linear_attention_step(&q, &kv, heads, map, &documents, states.as_ref())?;
            let tensors = [q.tensor().clone(), kv.tensor().clone()];
            let (plain, plain_states) = reference::step(&tensors, heads, map, &documents, states.as_ref())?;
            assert_close("pieces", y_of_three.tensor(), &plain, 1e-4)?;
            assert_close("states", &of_three, &plain_states, 1e-4)?;
            let (y, next) = linear_attention_step(&q, &kv, heads, map, &[span(0..n, true)], state.as_ref())?;
            pieces.push(y.into_tensor());
            (state, start) = (Some(next), start + n);
        }
        assert_close("all pieces", &Tensor::cat(&pieces, 0)?, whole.tensor(), 1e-4)?;
    }
    Ok(())
}

#[test]
fn another_document_changes_no_bit() -> Result<()> {
    let (query, key_value) = (random(&[100, 8], 1)?, random(&[100, 16], 2)?);
    let others = [random(&[30, 8], 3)?, random(&[30, 16], 4)?];
    for (map, causal) in BOTH.into_iter().flat_map(|map| [(map, true), (map, false)]) {
        let of = |query: &Tensor, key_value: &Tensor| {
            let documents = [span(0..30, causal), span(30..100, causal)];
            let y = linear_attention(&input(query), &input(key_value), Heads::even(2, 8), map, &documents)?;
            y.tensor().narrow(0, 30, 70)?.to_vec2::<f32>()
        };
        let replaced = |x: &Tensor, other: &Tensor| Tensor::cat(&[other, &x.narrow(0, 30, 70)?], 0);
        let changed = of(&replaced(&query, &others[0])?, &replaced(&key_value, &others[1])?)?;
        assert_eq!(of(&query, &key_value)?, changed, "{map:?}");
    }
    Ok(())
}

#[test]
fn rows_of_no_document_give_zero() -> Result<()> {
    let (query, key_value) = (random(&[5, 2], 1)?, random(&[5, 4], 2)?);
    let documents = [span(1..3, true)];
    let y = linear_attention(&input(&query), &input(&key_value), Heads::even(1, 2), BOTH[0], &documents)?;
    let y = y.into_tensor().to_vec2::<f32>()?;
    assert!([0, 3, 4].iter().all(|&row| y[row] == [0.0; 2]) && y[1] != [0.0; 2]);
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_named() -> Result<()> {
    let of = |query: &[usize], key_value: &[usize], n_heads, rows| {
        let (query, key_value) = (input(&random(query, 1)?), input(&random(key_value, 1)?));
        linear_attention(&query, &key_value, Heads::even(n_heads, 4), BOTH[0], &[span(rows, true)])
    };
    let error = of(&[3, 4], &[4, 8], 2, 0..3).unwrap_err().to_string();
    assert!(error.contains("found [3, 4], [4, 8], 2 and 2 heads"), "{error}");
    assert!(of(&[3, 4], &[3, 8], 3, 0..3).is_err() && of(&[3, 4], &[3, 8], 0, 0..3).is_err());
    let error = of(&[3, 4], &[3, 8], 2, 0..4).unwrap_err().to_string();
    assert!(error.contains("within 3 rows; found 0..4"), "{error}");
    let (query, key_value) = (input(&random(&[3, 4], 1)?), input(&random(&[3, 8], 1)?));
    let state = random(&[1, 4, 4], 1)?;
    let heads = Heads::even(2, 4);
    let error = linear_attention_step(&query, &key_value, heads, BOTH[0], &[span(0..3, true)], Some(&state))
        .unwrap_err();
    assert!(error.to_string().contains("expected states of [1, 4, 3]; found [1, 4, 4]"), "{error}");
    Ok(())
}
