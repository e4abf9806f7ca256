use super::*;
use crate::ops::testing::{assert_close, input, random};
use crate::ops::{linear, without_gradients};
use candle_core::Var;

const TYPES: [QuantizedType; 2] = [QuantizedType::Int8, QuantizedType::Int4];

fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}

#[test]
fn a_rounded_weight_is_off_by_a_step_at_most() -> Result<()> {
    for (outputs, inputs) in [(1, 1), (3, 31), (4, 32), (7, 70), (130, 384), (0, 5), (5, 0)] {
        let weight = random(&[outputs, inputs], 7)?;
        for dtype in TYPES {
            let quantized = QuantizedWeight::quantize(&weight, dtype)?;
            let found = quantized.dequantize()?;
            assert_eq!(found.dims(), weight.dims());
            assert_eq!((quantized.dims(), quantized.dtype()), ([outputs, inputs], dtype));
            // Weights are −2..2: half a step of 127, and a whole step of 8 where the scale leaves some out.
            let most = if dtype == QuantizedType::Int8 { 2.0 / 253.0 } else { 0.5 };
            for (found, expected) in values(&found)?.into_iter().zip(values(&weight)?) {
                assert!((found - expected).abs() <= most, "{dtype}: {expected} became {found}");
            }
            let share = if dtype == QuantizedType::Int8 { 0.006 } else { 0.09 };
            assert_close(&format!("{dtype} weight"), &found, &weight, share)?;
        }
    }
    Ok(())
}

#[test]
fn zeros_and_the_smallest_numbers_round_to_zeros() -> Result<()> {
    for value in [0.0_f32, 1e-45, 1e-38] {
        let weight = Tensor::full(value, (5, 33), &Device::Cpu)?;
        for dtype in TYPES {
            let found = values(&QuantizedWeight::quantize(&weight, dtype)?.dequantize()?)?;
            assert!(found.iter().all(|x| x.abs() <= 1.1e-38), "{dtype}: {value} became {:?}", &found[..2]);
        }
    }
    Ok(())
}

#[test]
fn a_product_is_that_of_the_dequantized_weight() -> Result<()> {
    // Few rows and many, inputs that are no multiple of a group, outputs that are none of a band, several tasks.
    let shapes = [(1, 384, 1536), (3, 33, 5), (8, 31, 130), (1, 1, 1), (9, 70, 66), (70, 384, 130)];
    let shapes = shapes.into_iter().chain([(1, 1024, 2300)]);
    for (n, k, m) in shapes.chain([(0, 5, 3), (2, 0, 3), (2, 3, 0), (40, 1100, 1000)]) {
        let (x, weight) = (random(&[n, k], 1)?, random(&[m, k], 2)?);
        let (x, bias) = (input(&x), input(&random(&[m], 3)?));
        for dtype in TYPES {
            let quantized = QuantizedWeight::quantize(&weight, dtype)?;
            let reference = input(&quantized.dequantize()?);
            for bias in [None, Some(&bias)] {
                let found = quantized_linear(&x, &quantized, bias)?;
                let expected = linear(&x, &reference, bias)?;
                assert_close(&format!("{dtype} {n}×{k}×{m}"), found.tensor(), expected.tensor(), 2e-4)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() -> Result<()> {
    let (x, weight) = (random(&[7, 100], 1)?, random(&[33, 100], 2)?);
    for dtype in TYPES {
        let quantized = QuantizedWeight::quantize(&weight, dtype)?;
        let all = quantized_linear(&input(&x), &quantized, None)?;
        let one = quantized_linear(&input(&x.narrow(0, 4, 1)?), &quantized, None)?;
        assert_eq!(values(one.tensor())?, values(&all.tensor().narrow(0, 4, 1)?)?);
    }
    Ok(())
}

#[test]
fn a_number_that_is_not_finite_is_not_hidden() -> Result<()> {
    let weight = random(&[6, 40], 2)?;
    let mut x = values(&random(&[2, 40], 1)?)?;
    for bad in [f32::NAN, f32::INFINITY] {
        x[45] = bad;
        for dtype in TYPES {
            let quantized = QuantizedWeight::quantize(&weight, dtype)?;
            let x = input(&Tensor::from_slice(&x, (2, 40), &Device::Cpu)?);
            let y = values(quantized_linear(&x, &quantized, None)?.tensor())?;
            assert!(y[..6].iter().all(|y| y.is_finite()), "{dtype}: the other row");
            assert!(y[6..].iter().all(|y| !y.is_finite()), "{dtype}: {bad} is lost in {:?}", &y[6..]);
        }
    }
    Ok(())
}

#[test]
fn int8_takes_a_fourth_and_int4_less_than_a_sixth_of_the_bytes() -> Result<()> {
    let weight = random(&[64, 256], 2)?;
    let bytes = |dtype| Ok::<_, candle_core::Error>(QuantizedWeight::quantize(&weight, dtype)?.bytes());
    assert_eq!(bytes(QuantizedType::Int8)?, 64 * 256 + 64 * 4);
    assert_eq!(bytes(QuantizedType::Int4)?, 64 * 256 / 2 + 64 * 8 * 4);
    Ok(())
}

#[test]
fn gradients_and_shapes_that_do_not_fit_are_errors() -> Result<()> {
    let quantized = QuantizedWeight::quantize(&random(&[4, 3], 2)?, QuantizedType::Int8)?;
    let x = input(&random(&[2, 3], 1)?);
    let error = quantized_linear(&input(&random(&[2, 5], 1)?), &quantized, None).unwrap_err().to_string();
    assert!(error.contains("[n, 3]") && error.contains("[2, 5]"), "{error}");
    assert!(quantized_linear(&x, &quantized, Some(&input(&random(&[3], 1)?))).is_err());
    let bias = Value::parameter(&Var::from_tensor(&random(&[4], 1)?)?, 0);
    let error = quantized_linear(&x, &quantized, Some(&bias)).unwrap_err().to_string();
    assert!(error.contains("a weight in int8 has no gradient"), "{error}");
    assert!(without_gradients(|| quantized_linear(&x, &quantized, Some(&bias))).is_ok());
    assert!(QuantizedWeight::quantize(&random(&[4], 1)?, QuantizedType::Int8).is_err());
    Ok(())
}

#[test]
fn rows_of_a_file_are_the_values_and_round_to_themselves() -> Result<()> {
    for (outputs, inputs, dtype) in
        [(5, 33, QuantizedType::Int8), (7, 64, QuantizedType::Int8), (7, 96, QuantizedType::Int4)]
    {
        let quantized = QuantizedWeight::quantize(&random(&[outputs, inputs], 9)?, dtype)?;
        let (bytes, scales) = quantized.to_rows();
        let mut found = vec![0.0; outputs * inputs];
        QuantizedWeight::values_of_rows(dtype, inputs, &bytes, &scales, &mut found);
        assert_eq!(found, values(&quantized.dequantize()?)?, "{dtype}");
        let again = Tensor::from_slice(&found, (outputs, inputs), &Device::Cpu)?;
        let again = values(&QuantizedWeight::quantize(&again, dtype)?.dequantize()?)?;
        for (again, found) in again.into_iter().zip(found) {
            assert!((again - found).abs() <= 1e-5, "{dtype}: {found} became {again}");
        }
    }
    Ok(())
}
