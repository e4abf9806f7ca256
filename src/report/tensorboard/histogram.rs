//! The distribution of a tensor's values.

use candle_core::{DType, Result, Tensor};
use prost::Message;

/// Buckets of a histogram, as many as TensorFlow's `tf.summary.histogram` has.
const BUCKETS: usize = 30;

/// Counts of values in buckets of equal width between the least and the largest value. Values that are not finite are left
/// out.
///
/// `HistogramProto` of TensorFlow's `histogram.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    /// The number of values.
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    /// The upper limit of each bucket.
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    /// The number of values in each bucket.
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

impl Histogram {
    /// The histogram of a tensor; `None` without a finite value.
    pub(super) fn of_tensor(tensor: &Tensor) -> Result<Option<Self>> {
        let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        Ok(Self::of(&values))
    }

    fn of(values: &[f32]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut num, mut sum, mut sum_squares) = (0.0, 0.0, 0.0);
        for value in finite() {
            (min, max) = (min.min(value), max.max(value));
            num += 1.0;
            sum += value;
            sum_squares += value * value;
        }
        if num == 0.0 {
            return None;
        }
        let buckets = if min == max { 1 } else { BUCKETS };
        let width = (max - min) / buckets as f64;
        let mut bucket = vec![0.0; buckets];
        for value in finite() {
            let place = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
            bucket[place.min(buckets - 1)] += 1.0;
        }
        let limit = |n| if n == buckets { max } else { min + n as f64 * width };
        let bucket_limit = (1..=buckets).map(limit).collect();
        Some(Self { min, max, num, sum, sum_squares, bucket_limit, bucket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_in_a_bucket() {
        let values: Vec<f32> = (0..=300).map(|n| n as f32).chain([f32::NAN, f32::INFINITY]).collect();
        let histogram = Histogram::of(&values).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.num), (0.0, 300.0, 301.0));
        assert_eq!(histogram.sum, 45_150.0);
        assert_eq!(histogram.bucket_limit[0], 10.0);
        assert_eq!(histogram.bucket_limit.last(), Some(&300.0));
        assert_eq!(histogram.bucket, [vec![10.0; 29], vec![11.0]].concat());
    }

    #[test]
    fn equal_values_are_one_bucket() {
        let histogram = Histogram::of(&[2.0, 2.0]).unwrap();
        assert_eq!((histogram.bucket_limit, histogram.bucket), (vec![2.0], vec![2.0]));
        assert_eq!(Histogram::of(&[f32::NAN]), None);
    }
}
