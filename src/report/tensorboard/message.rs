//! The protobuf messages of an event file, written by hand: five messages of few fields. The crates that write event files
//! (tensorboard-rs 0.5.9, tboard 0.1.1) rest on old versions of protobuf, image and prost, and are not maintained.

use super::histogram::Histogram;

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

/// The wire types of protobuf.
const VARINT: u64 = 0;
const BITS_64: u64 = 1;
const LENGTH: u64 = 2;
const BITS_32: u64 = 5;

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number as u8) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn integer(mut self, field: u64, number: u64) -> Self {
        self.varint((field << 3) | VARINT);
        self.varint(number);
        self
    }

    fn double(mut self, field: u64, number: f64) -> Self {
        self.varint((field << 3) | BITS_64);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, number: f32) -> Self {
        self.varint((field << 3) | BITS_32);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint((field << 3) | LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn doubles(self, field: u64, numbers: &[f64]) -> Self {
        let packed: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }
}

/// What an event holds.
pub(super) enum What<'a> {
    /// The version of the file, its first event.
    Version,
    /// A new start: readers drop earlier events of this step and of later ones.
    Start,
    /// Values with their tags.
    Summary(&'a [(String, Value)]),
}

/// A value of a summary.
pub(super) enum Value {
    Scalar(f64),
    Histogram(Histogram),
    /// A PNG.
    Image {
        width: u32,
        height: u32,
        png: Vec<u8>,
    },
}

/// An `Event` at a step and a time, in seconds since 1970.
pub(super) fn event(seconds: f64, step: u64, what: &What) -> Vec<u8> {
    let event = Message::default().double(1, seconds).integer(2, step);
    let event = match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::Start => event.bytes(7, &Message::default().integer(1, 1).0),
        What::Summary(values) => {
            let summary = values.iter().fold(Message::default(), |summary, (tag, value)| {
                summary.bytes(1, &summary_value(tag, value).0)
            });
            event.bytes(5, &summary.0)
        }
    };
    event.0
}

/// A `Summary.Value`.
fn summary_value(tag: &str, value: &Value) -> Message {
    let message = Message::default().bytes(1, tag.as_bytes());
    match value {
        Value::Scalar(number) => message.float(2, *number as f32),
        Value::Image { width, height, png } => {
            let size = Message::default().integer(1, (*height).into()).integer(2, (*width).into());
            message.bytes(4, &size.integer(3, 3).bytes(4, png).0) // three channels
        }
        Value::Histogram(histogram) => {
            let Histogram { min, max, count, sum, squares, limits, counts } = histogram;
            let range = Message::default().double(1, *min).double(2, *max).double(3, *count);
            let sums = range.double(4, *sum).double(5, *squares);
            message.bytes(5, &sums.doubles(6, limits).doubles(7, counts).0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_the_bytes_of_protobuf() {
        let values = [("a".to_string(), Value::Scalar(1.0))];
        let expected = [
            &[9][..],
            &2.0_f64.to_le_bytes(),                           // wall_time
            &[16, 172, 2],                                    // step 300
            &[42, 10, 10, 8, 10, 1, b'a', 21, 0, 0, 128, 63], // summary { value { tag, simple_value } }
        ];
        assert_eq!(event(2.0, 300, &What::Summary(&values)), expected.concat());
    }

    #[test]
    fn a_new_start_names_its_step() {
        let event = event(0.0, 7, &What::Start);
        assert_eq!(event[9..], [16, 7, 58, 2, 8, 1]);
    }
}
