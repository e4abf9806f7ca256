//! Arrays as files of NumPy.

use npyz::WriterBuilder;
use smalti_contract::{Array, Numbers, Value};
use std::io;

/// An array, or a series of numbers or of arrays of one shape, as a file of NumPy. A missing step is NaN.
///
/// # Errors
/// If it is another value, or the steps have different shapes.
pub(super) fn npy(value: &Value) -> Result<Vec<u8>, String> {
    let failed = |e: io::Error| e.to_string();
    match value {
        Value::Array(Array { shape, numbers: Numbers::U8(bytes) }) => write_npy(shape, bytes).map_err(failed),
        Value::Array(Array { shape, numbers: Numbers::F32(numbers) }) => {
            write_npy(shape, numbers).map_err(failed)
        }
        Value::Series(steps) => {
            let number = |step: &Value| match step {
                Value::Number(number) => Some(*number),
                Value::Missing => Some(f64::NAN),
                _ => None,
            };
            if let Some(numbers) = steps.iter().map(number).collect::<Option<Vec<f64>>>() {
                return write_npy(&[numbers.len()], &numbers).map_err(failed);
            }
            npy(&Value::Array(stacked(steps)?))
        }
        other => Err(other.unexpected("an array").to_string()),
    }
}

/// The arrays of all steps as one array, with an axis of steps before the others.
fn stacked(steps: &[Value]) -> Result<Array, String> {
    let first = steps.iter().find_map(|step| if let Value::Array(array) = step { Some(array) } else { None });
    let inner = first.map(|array| array.shape.clone()).unwrap_or_default();
    let has_missing = steps.iter().any(Value::is_missing);
    let (mut bytes, mut numbers) = (vec![], vec![]);
    for (number, step) in steps.iter().enumerate() {
        let array = match step {
            Value::Array(array) => array,
            Value::Missing => {
                numbers.extend(std::iter::repeat_n(f32::NAN, inner.iter().product()));
                continue;
            }
            other => {
                let expected = "an array, as in the other steps";
                return Err(format!("step {number}: {}", other.unexpected(expected)));
            }
        };
        if inner != array.shape {
            return Err(format!(
                "step {number}: expected the shape {inner:?} of the first step; found {:?}",
                array.shape
            ));
        }
        match &array.numbers {
            Numbers::U8(of_step) if has_missing => {
                numbers.extend(of_step.iter().map(|byte| f32::from(*byte)))
            }
            Numbers::U8(of_step) => bytes.extend_from_slice(of_step),
            Numbers::F32(of_step) => numbers.extend_from_slice(of_step),
        }
    }
    let shape = std::iter::once(steps.len()).chain(inner).collect();
    let numbers = if numbers.is_empty() { Numbers::U8(bytes) } else { Numbers::F32(numbers) };
    Ok(Array { shape, numbers })
}

fn write_npy<T: npyz::AutoSerialize + Copy>(shape: &[usize], numbers: &[T]) -> io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
    let mut bytes = vec![];
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(numbers.iter().copied())?;
    writer.finish()?;
    Ok(bytes)
}
