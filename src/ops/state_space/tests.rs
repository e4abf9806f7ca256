#![allow(clippy::single_range_in_vec_init, reason = "a batch may have one document")]

use super::*;
use crate::ops::testing::{assert_close, input, random};
use candle_core::Device;

/// x, exponents that decay, and weights.
fn inputs(n: usize, states: usize, d: usize) -> Result<[Tensor; 3]> {
    let decay = (random(&[states, d], 2)?.abs()?.neg()? - 0.01)?;
    let exponents = Tensor::cat(&[(decay * 0.1)?, random(&[states, d], 3)?], 0)?;
    Ok([random(&[n, d], 1)?, exponents, random(&[2 * states, d], 4)?])
}

#[test]
fn one_real_state_is_a_running_sum_that_decays() -> Result<()> {
    let tensor = |x: &[f32], columns| Tensor::from_slice(x, (x.len() / columns, columns), &Device::Cpu);
    let x = tensor(&[1.0, 2.0, 4.0, 8.0], 1)?;
    let (exponents, weights) = (tensor(&[0.5_f32.ln(), 0.0], 1)?, tensor(&[2.0, 5.0], 1)?);
    let of = |documents: &[Range<usize>], reverse| {
        let y = state_space(&input(&x), &input(&exponents), &input(&weights), documents, reverse)?;
        y.into_tensor().flatten_all()?.to_vec1::<f32>()
    };
    assert_eq!(of(&[0..2, 2..4], false)?, [2.0, 5.0, 8.0, 20.0]);
    assert_eq!(of(&[1..4], true)?, [0.0, 12.0, 16.0, 16.0]);
    Ok(())
}

/// Each state by its recurrence, in complex numbers of `f64`.
#[test]
fn results_are_those_of_the_recurrence() -> Result<()> {
    let (n, states, d) = (150, 3, 18);
    let tensors = inputs(n, states, d)?;
    let [x, e, w] = [0, 1, 2].map(|i| tensors[i].to_dtype(DType::F64).and_then(|t| t.to_vec2::<f64>()));
    let (x, e, w) = (x?, e?, w?);
    let mut expected = vec![0.0; n * d];
    for column in 0..d {
        for s in 0..states {
            let size = e[s][column].exp();
            let (a, b) = (size * e[states + s][column].cos(), size * e[states + s][column].sin());
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (row, x) in x.iter().enumerate() {
                (real, imaginary) = (a * real - b * imaginary + x[column], b * real + a * imaginary);
                expected[row * d + column] += w[s][column] * real - w[states + s][column] * imaginary;
            }
        }
    }
    let expected = Tensor::from_vec(expected, (n, d), &Device::Cpu)?;
    let [x, e, w] = tensors.each_ref().map(input);
    assert_close("kernel", state_space(&x, &e, &w, &[0..n], false)?.tensor(), &expected, 1e-4)?;
    assert_close("reference", &reference::state_space(&tensors, &[0..n], false)?, &expected, 1e-4)
}

#[test]
fn a_state_gives_the_results_of_the_whole_document() -> Result<()> {
    let tensors = inputs(150, 4, 18)?;
    let [x, e, w] = tensors.each_ref().map(input);
    let whole = state_space(&x, &e, &w, &[0..150], false)?;
    let (mut state, mut pieces, mut start) = (None, vec![], 0);
    for n in [70, 1, 0, 1, 78] {
        let piece = tensors[0].narrow(0, start, n)?;
        // The same state continues in three documents, one of which has no next token.
        let documents = [0..n / 2, n / 2..n / 2, n / 2..n];
        let states = state.as_ref().map(|state: &Tensor| Tensor::cat(&[state; 3], 0)).transpose()?;
        let (y_of_three, of_three) = state_space_step(&input(&piece), &e, &w, &documents, states.as_ref())?;
        let pieces_of = [piece.clone(), tensors[1].clone(), tensors[2].clone()];
        let (plain, plain_states) = reference::step(&pieces_of, &documents, states.as_ref())?;
        assert_close("pieces", y_of_three.tensor(), &plain, 1e-4)?;
        assert_close("states", &of_three, &plain_states, 1e-4)?;
        let (y, next) = state_space_step(&input(&piece), &e, &w, &[0..n], state.as_ref())?;
        pieces.push(y.into_tensor());
        (state, start) = (Some(next), start + n);
    }
    assert_close("all pieces", &Tensor::cat(&pieces, 0)?, whole.tensor(), 1e-4)
}

#[test]
fn another_document_changes_no_bit() -> Result<()> {
    let tensors = inputs(100, 4, 18)?;
    let other = Tensor::cat(&[random(&[30, 18], 9)?, tensors[0].narrow(0, 30, 70)?], 0)?;
    for reverse in [false, true] {
        let of = |x: &Tensor| {
            let (e, w) = (input(&tensors[1]), input(&tensors[2]));
            let y = state_space(&input(x), &e, &w, &[0..30, 30..100], reverse)?;
            y.tensor().narrow(0, 30, 70)?.to_vec2::<f32>()
        };
        assert_eq!(of(&tensors[0])?, of(&other)?);
    }
    Ok(())
}

/// A constant input drives a state to −B/A·x, whatever the step.
#[test]
fn a_state_settles_where_its_equation_says() -> Result<()> {
    let tensor = |x: &[f32]| Tensor::from_slice(x, (x.len(), 1), &Device::Cpu).map(Value::constant);
    for step in [0.1_f32, 0.5] {
        let ln_step = input(&Tensor::new(&[step.ln()], &Device::Cpu)?);
        // A = −2 + 3i, B = 1 + 2i, C = 1: −B/A = (−4 + 7i)/13.
        let (decay, frequency) = (tensor(&[2_f32.ln()])?, tensor(&[3.0])?);
        let (b, c) = (tensor(&[1.0, 2.0])?, tensor(&[1.0, 0.0])?);
        let [e, w] = discretize(&ln_step, &decay, &frequency, &b, &c)?;
        let y = state_space(&tensor(&[1.0; 200])?, &e, &w, &[0..200], false)?;
        let last = y.into_tensor().flatten_all()?.to_vec1::<f32>()?[199];
        assert!((last + 4.0 / 13.0).abs() < 1e-3, "{step}: {last}");
    }
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_named() -> Result<()> {
    let of = |x: &[usize], e: &[usize], w: &[usize], rows| {
        let [x, e, w] = [x, e, w].map(|shape| random(shape, 1).map(Value::constant));
        state_space(&x?, &e?, &w?, &[rows], false)
    };
    let error = of(&[3, 4], &[6, 4], &[4, 4], 0..3).unwrap_err().to_string();
    assert!(error.contains("found [3, 4], [6, 4] and [4, 4]"), "{error}");
    assert!(of(&[3, 4], &[3, 4], &[3, 4], 0..3).is_err() && of(&[3, 4], &[6, 3], &[6, 3], 0..3).is_err());
    assert!(of(&[3, 4], &[6, 4], &[6, 4], 1..4).unwrap_err().to_string().contains("within 3 rows"));
    let [x, e, w] = inputs(3, 2, 4)?.each_ref().map(input);
    let states = random(&[1, 2, 4], 1)?;
    let error = state_space_step(&x, &e, &w, &[0..3], Some(&states)).unwrap_err().to_string();
    assert!(error.contains("expected states of [1, 4, 4]; found [1, 2, 4]"), "{error}");
    Ok(())
}
