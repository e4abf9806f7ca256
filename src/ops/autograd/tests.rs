use super::*;
use crate::ops::testing::{assert_close, random};
use crate::ops::{add, linear, squared_error};

/// y = a + a + W·a through a value that is used three times, against candle's own gradients.
#[test]
fn a_value_used_three_times_gets_the_sum_of_gradients() -> Result<()> {
    let (x, w) = (Var::from_tensor(&random(&[3, 4], 1)?)?, Var::from_tensor(&random(&[4, 4], 2)?)?);
    let (a, weight) = (Value::parameter(&x, 0), Value::parameter(&w, 1));
    let doubled = add(&a, &a)?;
    let y = add(&add(&doubled, &linear(&doubled, &weight, None)?)?, &a)?;
    let loss = squared_error(&y, &[0.5; 12], &[1.0; 3])?;
    let found = backward(vec![(loss.clone(), 0.25), (loss, 0.5)])?;

    let d = (x.as_tensor() * 2.0)?;
    let y = ((&d + d.matmul(&w.t()?)?)? + x.as_tensor())?;
    let loss = ((y - 0.5)?.sqr()?.mean(1)?.sum_all()? * 0.75)?;
    let expected = loss.backward()?;
    assert_close("x", found.get(0).unwrap(), expected.get(&x).unwrap(), 1e-5)?;
    assert_close("w", found.get(1).unwrap(), expected.get(&w).unwrap(), 1e-5)
}

#[test]
fn without_gradients_records_nothing() -> Result<()> {
    let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
    let parameter = Value::parameter(&x, 0);
    assert!(!without_gradients(|| add(&parameter, &parameter))?.has_gradient());
    assert!(add(&parameter, &parameter)?.has_gradient());
    let constant = Value::constant(x.as_tensor().clone());
    assert!(!add(&constant, &constant)?.has_gradient());
    Ok(())
}

/// Two checkpointed layers, one with a third inside, that share a parameter with the operations before and after them
/// and use another value with a history.
#[test]
fn checkpointing_does_not_change_gradients() -> Result<()> {
    let variables = (0..3).map(|i| Var::from_tensor(&random(&[4, 4], i)?)).collect::<Result<Vec<_>>>()?;
    let gradients = |plain: bool| -> Result<Vec<Vec<f32>>> {
        let [x, w, t] = [0, 1, 2].map(|i| Value::parameter(&variables[i], i));
        let layer = |f: Box<Forward>| if plain { f() } else { checkpointed(f) };
        let shared = add(&linear(&t, &w, None)?, &t)?;
        let first = {
            let (x, w, shared) = (linear(&x, &w, None)?, w.clone(), shared.clone());
            layer(Box::new(move || add(&add(&x, &linear(&x, &w, None)?)?, &shared)))?
        };
        let second = {
            let (w, shared) = (w.clone(), shared.clone());
            let inner = move |x: &Value| {
                let (x, w) = (x.clone(), w.clone());
                checkpointed(move || linear(&x, &w, None))
            };
            layer(Box::new(move || add(&inner(&add(&first, &shared)?)?, &first)))?
        };
        let y = add(&linear(&second, &w, None)?, &shared)?;
        let loss = squared_error(&y, &[0.5; 16], &[1.0; 4])?;
        // Backward records the checkpointed functions even inside `without_gradients`.
        let found = without_gradients(|| backward(vec![(loss, 1.0)]))?;
        (0..3).map(|i| found.get(i).unwrap().flatten_all()?.to_vec1()).collect()
    };
    let (checkpointed, plain) = (gradients(false)?, gradients(true)?);
    assert!(checkpointed == plain && plain.iter().flatten().all(|g| *g != 0.0), "{checkpointed:?} {plain:?}");
    Ok(())
}

#[test]
fn checkpointed_values_without_gradients_are_constants() -> Result<()> {
    let x = Var::from_tensor(&random(&[2, 3], 1)?)?;
    let (constant, parameter) = (Value::constant(x.as_detached_tensor()), Value::parameter(&x, 0));
    let twice = |x: Value| checkpointed(move || add(&x, &x));
    assert!(!twice(constant)?.has_gradient());
    assert!(!without_gradients(|| twice(parameter.clone()))?.has_gradient());
    assert!(twice(parameter)?.has_gradient());
    Ok(())
}

#[test]
fn roots_must_be_scalars() -> Result<()> {
    let x = Var::from_tensor(&random(&[2], 1)?)?;
    let error = backward(vec![(Value::parameter(&x, 0), 1.0)]).err().unwrap().to_string();
    assert!(error.contains("expected a scalar"), "{error}");
    Ok(())
}
