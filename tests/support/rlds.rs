//! A small data set in the RLDS layout.

use smalti_trajectory::rlds::frame;

/// `features.json`.
pub const FEATURES: &str = r#"{"featuresDict": {"features": {
    "episode_metadata": {"featuresDict": {"features": {"file_path": {"text": {}}}}},
    "steps": {"sequence": {"length": "-1", "feature": {"featuresDict": {"features": {
        "action": {"tensor": {"shape": {"dimensions": ["2"]}, "dtype": "float32", "encoding": "none"}},
        "discount": {"tensor": {"shape": {}, "dtype": "float32", "encoding": "none"}},
        "is_first": {"tensor": {"shape": {}, "dtype": "bool", "encoding": "none"}},
        "is_last": {"tensor": {"shape": {}, "dtype": "bool", "encoding": "none"}},
        "is_terminal": {"tensor": {"shape": {}, "dtype": "bool", "encoding": "none"}},
        "language_instruction": {"text": {}},
        "observation": {"featuresDict": {"features": {
            "front": {"image": {"shape": {"dimensions": ["1", "1", "3"]}, "dtype": "uint8", "encodingFormat": "png"}},
            "gripper": {"tensor": {"shape": {}, "dtype": "float32", "encoding": "none"}},
            "map": {"tensor": {"shape": {"dimensions": ["1", "2"]}, "dtype": "uint8", "encoding": "none"}},
            "points": {"tensor": {"shape": {"dimensions": ["-1"]}, "dtype": "float32", "encoding": "none"}},
            "state": {"tensor": {"shape": {"dimensions": ["2"]}, "dtype": "float32", "encoding": "none"}}}}},
        "reward": {"tensor": {"shape": {}, "dtype": "float32", "encoding": "none"}}}}}}}}}}"#;

/// An image of one pixel.
pub const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\xda\
    c\x10P0\0\0\0\xa4\0a\n\x9b\xae\xde\0\0\0\0IEND\xaeB`\x82";

enum List {
    Bytes(Vec<Vec<u8>>),
    Floats(Vec<f32>),
    Integers(Vec<u8>),
}

/// A record of an episode in its frame. The last step is terminal.
pub fn episode(steps: usize) -> Vec<u8> {
    let floats =
        |of: fn(f32) -> Vec<f32>| List::Floats((0..steps).flat_map(|step| of(step as f32)).collect());
    let flags = |at: usize| List::Integers((0..steps).map(|step| u8::from(step == at)).collect());
    let texts = |text: &[u8]| List::Bytes(vec![text.to_vec(); steps]);
    let features = [
        ("steps/observation/front", texts(PNG)),
        ("steps/observation/gripper", floats(|step| vec![step])),
        ("steps/observation/map", List::Integers((0..2 * steps).map(|i| i as u8).collect())),
        ("steps/observation/state", floats(|step| vec![10.0 + step, 20.0 + step])),
        ("steps/action", floats(|step| vec![step / 2.0, -step])),
        ("steps/discount", floats(|_| vec![1.0])),
        ("steps/reward", floats(|step| vec![step])),
        ("steps/is_first", flags(0)),
        ("steps/is_last", flags(steps.saturating_sub(1))),
        ("steps/is_terminal", flags(steps.saturating_sub(1))),
        ("steps/language_instruction", texts(b"pick it up")),
        ("episode_metadata/file_path", List::Bytes(vec![b"a/b".to_vec()])),
    ];
    let entry = |(key, list): &(&str, List)| {
        let feature = match list {
            List::Bytes(strings) => {
                let strings: Vec<u8> = strings.iter().flat_map(|string| field(1, string)).collect();
                field(1, &strings)
            }
            List::Floats(floats) => {
                let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
                field(2, &field(1, &bytes))
            }
            List::Integers(integers) => field(3, &field(1, integers)),
        };
        field(1, &[field(1, key.as_bytes()), field(2, &feature)].concat())
    };
    let entries: Vec<u8> = features.iter().flat_map(entry).collect();
    frame(&field(1, &entries))
}

/// A field with bytes in the wire format of protocol buffers.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    bytes
}
