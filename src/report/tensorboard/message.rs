//! The protobuf messages of an event file, with the numbers of their fields in TensorFlow's `event.proto` and `summary.proto`.

use super::histogram::Histogram;
use prost::{Message, Oneof};

/// `Event`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub(super) what: Option<What>,
}

/// What an event holds.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    /// The version of the file, its first event.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values with their tags.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A new start: readers drop earlier events of its step and of later ones.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `SessionLog`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `SessionLog.SessionStatus.START`.
pub(super) const START: i32 = 1;

/// `Summary`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<SummaryValue>,
}

/// `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SummaryValue {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(oneof = "Value", tags = "2, 4, 5")]
    pub(super) value: Option<Value>,
}

/// A value of a summary.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Value {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

/// `Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// The number of channels.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    /// A PNG.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded_image_string: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_the_bytes_of_protobuf() {
        let value = SummaryValue { tag: "a".into(), value: Some(Value::Scalar(1.0)) };
        let what = Some(What::Summary(Summary { value: vec![value] }));
        let expected = [
            &[9][..],
            &2.0_f64.to_le_bytes(),                           // wall_time
            &[16, 172, 2],                                    // step 300
            &[42, 10, 10, 8, 10, 1, b'a', 21, 0, 0, 128, 63], // summary { value { tag, simple_value } }
        ];
        assert_eq!(Event { wall_time: 2.0, step: 300, what }.encode_to_vec(), expected.concat());
    }

    #[test]
    fn a_new_start_names_its_step() {
        let what = Some(What::SessionLog(SessionLog { status: START }));
        let event = Event { wall_time: 1.0, step: 7, what }.encode_to_vec();
        assert_eq!(event[9..], [16, 7, 58, 2, 8, 1]);
    }
}
