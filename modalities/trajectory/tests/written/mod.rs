//! Writing Parquet files for tests.

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// The values of a column, one row for each step.
#[derive(Clone)]
pub enum Column {
    Floats(Vec<f32>),
    Gaps(Vec<Option<f32>>),
    /// Lists of numbers.
    Lists(Vec<Vec<f32>>),
    /// Lists of integers.
    IntegerLists(Vec<Vec<i64>>),
    /// Lists of lists of numbers, such as the states of an episode.
    Nested(Vec<Vec<Vec<f32>>>),
    /// Lists of lists of bytes, such as the pixels of a step.
    Pixels(Vec<Vec<Vec<i32>>>),
    /// Lists of the contents of images, without paths.
    ImageLists(Vec<Vec<Vec<u8>>>),
    Integers(Vec<i64>),
    Flags(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
    /// Bytes outside of a group.
    Binary(Vec<Vec<u8>>),
    /// Bytes and paths of images.
    Images(Vec<Option<Vec<u8>>>, Vec<Option<Vec<u8>>>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Gaps(values) => values.len(),
            Self::Lists(values) => values.len(),
            Self::IntegerLists(values) => values.len(),
            Self::Nested(values) => values.len(),
            Self::Pixels(values) => values.len(),
            Self::ImageLists(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Flags(values) => values.len(),
            Self::Bytes(values) | Self::Binary(values) => values.len(),
            Self::Images(bytes, _) => bytes.len(),
        }
    }

    fn schema(&self, name: &str) -> String {
        match self {
            Self::Floats(_) => format!("required float {name};"),
            Self::Gaps(_) => format!("optional float {name};"),
            Self::Lists(_) => listed(name, "optional float element;"),
            Self::IntegerLists(_) => listed(name, "optional int64 element;"),
            Self::Nested(_) => listed(name, &listed("element", "optional float element;")),
            Self::Pixels(_) => listed(name, &listed("element", "optional int32 element (UINT_8);")),
            Self::ImageLists(_) => listed(
                name,
                "optional group element { optional binary bytes; optional binary path (STRING); }",
            ),
            Self::Integers(_) => format!("required int64 {name};"),
            Self::Flags(_) => format!("required boolean {name};"),
            Self::Bytes(_) => format!("required group {name} {{ required binary bytes; }}"),
            Self::Binary(_) => format!("required binary {name};"),
            Self::Images(..) => {
                format!("optional group {name} {{ optional binary bytes; optional binary path (STRING); }}")
            }
        }
    }

    /// The number of its columns in the file.
    fn leaves(&self) -> usize {
        if matches!(self, Self::Images(..) | Self::ImageLists(_)) { 2 } else { 1 }
    }

    fn write(&self, leaf: usize, writer: &mut ColumnWriter, rows: std::ops::Range<usize>) {
        let written = match (self, writer) {
            (Self::Floats(values), ColumnWriter::FloatColumnWriter(w)) => {
                w.write_batch(&values[rows], None, None)
            }
            (Self::Integers(values), ColumnWriter::Int64ColumnWriter(w)) => {
                w.write_batch(&values[rows], None, None)
            }
            (Self::Flags(values), ColumnWriter::BoolColumnWriter(w)) => {
                w.write_batch(&values[rows], None, None)
            }
            (Self::Images(bytes, paths), ColumnWriter::ByteArrayColumnWriter(w)) => {
                let values = &[bytes, paths][leaf][rows];
                let present: Vec<i16> =
                    values.iter().map(|value| if value.is_some() { 2 } else { 1 }).collect();
                let values: Vec<ByteArray> =
                    values.iter().flatten().map(|value| value.clone().into()).collect();
                w.write_batch(&values, Some(&present), None)
            }
            (Self::Bytes(values) | Self::Binary(values), ColumnWriter::ByteArrayColumnWriter(w)) => {
                let values: Vec<ByteArray> = values[rows].iter().map(|value| value.clone().into()).collect();
                w.write_batch(&values, None, None)
            }
            (Self::Gaps(values), ColumnWriter::FloatColumnWriter(w)) => {
                let present: Vec<i16> = values[rows.clone()].iter().map(|v| i16::from(v.is_some())).collect();
                let values: Vec<f32> = values[rows].iter().flatten().copied().collect();
                w.write_batch(&values, Some(&present), None)
            }
            (Self::Lists(values), ColumnWriter::FloatColumnWriter(w)) => {
                let (values, begins) = (values[rows.clone()].concat(), begins(&values[rows]));
                w.write_batch(&values, Some(&vec![3; values.len()]), Some(&begins))
            }
            (Self::IntegerLists(values), ColumnWriter::Int64ColumnWriter(w)) => {
                let (values, begins) = (values[rows.clone()].concat(), begins(&values[rows]));
                w.write_batch(&values, Some(&vec![3; values.len()]), Some(&begins))
            }
            (Self::Nested(values), ColumnWriter::FloatColumnWriter(w)) => {
                let begins = begins_of_lists(&values[rows.clone()]);
                let values = values[rows].concat().concat();
                w.write_batch(&values, Some(&vec![5; values.len()]), Some(&begins))
            }
            (Self::Pixels(values), ColumnWriter::Int32ColumnWriter(w)) => {
                let begins = begins_of_lists(&values[rows.clone()]);
                let values = values[rows].concat().concat();
                w.write_batch(&values, Some(&vec![5; values.len()]), Some(&begins))
            }
            (Self::ImageLists(values), ColumnWriter::ByteArrayColumnWriter(w)) => {
                let (images, begins) = (values[rows.clone()].concat(), begins(&values[rows]));
                let values: Vec<ByteArray> = images.iter().map(|image| image.clone().into()).collect();
                match leaf {
                    0 => w.write_batch(&values, Some(&vec![4; values.len()]), Some(&begins)),
                    _ => w.write_batch(&[], Some(&vec![3; values.len()]), Some(&begins)),
                }
            }
            _ => panic!("the schema has another type"),
        };
        written.unwrap();
    }
}

/// The schema of a list.
fn listed(name: &str, element: &str) -> String {
    format!("optional group {name} (LIST) {{ repeated group list {{ {element} }} }}")
}

/// The repetition levels of lists.
fn begins<T>(lists: &[Vec<T>]) -> Vec<i16> {
    lists.iter().flat_map(|list| (0..list.len()).map(|i| i16::from(i > 0))).collect()
}

/// The repetition levels of lists of lists.
fn begins_of_lists<T>(lists: &[Vec<Vec<T>>]) -> Vec<i16> {
    let of_row = |row: &Vec<Vec<T>>| {
        let mut begins: Vec<i16> =
            row.iter().flat_map(|step| (0..step.len()).map(|i| if i > 0 { 2 } else { 1 })).collect();
        begins[0] = 0;
        begins
    };
    lists.iter().flat_map(of_row).collect()
}

/// Write a Parquet file of columns, in groups of `rows_of_group` rows.
pub fn parquet(columns: &[(&str, Column)], rows_of_group: usize, zstd: bool) -> Vec<u8> {
    let compression = if zstd { Compression::ZSTD(ZstdLevel::default()) } else { Compression::SNAPPY };
    compressed(columns, rows_of_group, compression)
}

/// [`parquet`] with any compression.
pub fn compressed(columns: &[(&str, Column)], rows_of_group: usize, compression: Compression) -> Vec<u8> {
    let fields: String = columns.iter().map(|(name, column)| column.schema(name)).collect();
    let schema = Arc::new(parse_message_type(&format!("message steps {{ {fields} }}")).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut bytes = vec![];
    let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let rows = columns[0].1.len();
    for start in (0..rows).step_by(rows_of_group) {
        let mut group = file.next_row_group().unwrap();
        for (_, column) in columns {
            for leaf in 0..column.leaves() {
                let mut writer = group.next_column().unwrap().unwrap();
                column.write(leaf, writer.untyped(), start..rows.min(start + rows_of_group));
                writer.close().unwrap();
            }
        }
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

/// A placeholder for the image of a step.
pub fn png(step: u8) -> bytes::Bytes {
    vec![0x89, b'P', b'N', b'G', step].into()
}

/// Five steps of two episodes, as LeRobot writes them.
pub fn lerobot() -> Vec<(&'static str, Column)> {
    let states = (0..5).map(|step| vec![step as f32, step as f32 + 0.1]).collect();
    let actions = [0.5, -0.5, 1.5, -1.5, 2.5].map(|action| vec![action]);
    vec![
        ("observation.state", Column::Lists(states)),
        ("observation.pixels", Column::Bytes((0..5).map(|step| png(step).to_vec()).collect())),
        ("action", Column::Lists(actions.to_vec())),
        ("timestamp", Column::Floats(vec![0.0, 0.1, 0.2, 0.0, 0.1])),
        ("frame_index", Column::Integers(vec![0, 1, 2, 0, 1])),
        ("episode_index", Column::Integers(vec![4, 4, 4, 5, 5])),
        ("next.reward", Column::Floats(vec![1.0, 0.0, 2.0, 0.0, 0.25])),
        ("next.done", Column::Flags(vec![false, false, true, false, true])),
        ("language", Column::Bytes(vec![b"push".to_vec(); 5])),
    ]
}

/// Two episodes of two steps and of one, each in a row, with an observation after the last action.
pub fn episode_rows() -> Vec<(&'static str, Column)> {
    let pairs = |numbers: &[f32]| numbers.chunks(2).map(<[f32]>::to_vec).collect::<Vec<_>>();
    vec![
        ("id", Column::Integers(vec![0, 1])),
        (
            "observations",
            Column::Nested(vec![pairs(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), pairs(&[7.0, 8.0, 9.0, 10.0])]),
        ),
        ("actions", Column::IntegerLists(vec![vec![0, 1], vec![2]])),
        ("rewards", Column::Lists(vec![vec![1.0, 2.0], vec![3.0]])),
        ("terminated", Column::Flags(vec![true, false])),
    ]
}

/// Two episodes of two steps and of one, each in a row, with the content of an image at each step.
pub fn images() -> Vec<(&'static str, Column)> {
    let files = |steps: std::ops::Range<u8>| steps.map(|step| png(step).to_vec()).collect::<Vec<_>>();
    vec![
        ("image_observations", Column::ImageLists(vec![files(0..2), files(2..3)])),
        ("discrete_actions", Column::IntegerLists(vec![vec![0, 1], vec![2]])),
        ("rewards", Column::Lists(vec![vec![1.0, 2.0], vec![3.0]])),
    ]
}

/// An episode of two steps in a file of Minari, whose last row is padding but for the observation.
pub fn minari() -> Vec<(&'static str, Column)> {
    vec![
        ("observations", Column::Lists(vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]])),
        ("actions", Column::Integers(vec![2, 1, 0])),
        ("rewards", Column::Floats(vec![0.5, 1.5, 0.0])),
        ("terminations", Column::Flags(vec![false, true, false])),
        ("truncations", Column::Flags(vec![false; 3])),
    ]
}
