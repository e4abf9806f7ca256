//! Damaged data files.

use crate::place::{MIB, Place, rows, silence_decoders, tar};
#[cfg(feature = "trajectory")]
use crate::rlds;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use smalti::data::{DataError, Files, read};
use smalti::table::{Source, SourceRegistry};
use smalti_contract::Value;
use smalti_mutation::{Bound, survives};
use std::io::Write;
use std::sync::Arc;

#[test]
fn damaged_tars_are_read_or_an_error() {
    let long = format!("{}/größe.txt", "folder".repeat(30));
    let good = [
        tar(&[("a.txt", b"one"), ("b/two.txt", &[7; 700]), ("b/c/three.txt", b"three")]),
        tar(&[(&long, b"1"), ("x", b"")]),
    ];
    let place = Place::new("x.tar");
    survives("tar", &good, Bound::bytes(MIB).and_of_file(16), |bytes| {
        let files = Files::open(place.with(bytes))?;
        for path in files.list() {
            // An empty member is an error, but a valid one.
            let _ = files.read(path);
        }
        Ok::<_, DataError>(())
    });
}

#[test]
fn damaged_zips_are_read_or_an_error() {
    let zip = |method: zip::CompressionMethod| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for (path, bytes) in [("a.txt", &b"one"[..]), ("b/two.txt", &[7; 700]), ("b/c/._three.txt", b"three")]
        {
            zip.start_file(path, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let good = [zip(zip::CompressionMethod::Deflated), zip(zip::CompressionMethod::Stored)];
    let place = Place::new("x.zip");
    // The directory is kept; deflate expands a byte to at most 1,032, and a growing buffer is copied to one of twice the size.
    survives("zip", &good, Bound::bytes(MIB).and_of_file(4 * 1_032), |bytes| {
        let files = Files::open(place.with(bytes))?;
        for path in files.list() {
            let _ = files.read(path);
        }
        Ok::<_, DataError>(())
    });
}

#[test]
fn damaged_shards_are_read_or_an_error() {
    let good = [tar(&[("0.jpg", b"pixels"), ("0.cls", b"3"), ("1.cls", b"0\n"), ("1.png", b"pixels")])];
    let place = Place::new("x.tar");
    // There may be 65,536 classes without names.
    survives("shard", &good, Bound::bytes(8 * MIB).and_of_file(16), |bytes| rows(place.with(bytes)));
}

/// A NumPy array of two numbers.
fn npy() -> Vec<u8> {
    smalti_npy::write("<f4", "(1, 2)", [0, 0, 128, 63, 0, 0, 0, 64])
}

/// Open shards as a table, and read all its values that can be read.
fn values(location: &str) -> Result<(), DataError> {
    let source = Source { layout: Some("webdataset".into()), ..Source::new(location) };
    let table = SourceRegistry::builtin().open(&source)?;
    let read = |row: usize| table.fields().iter().map(move |field| (row, field));
    let read = (0..table.len()).flat_map(read).map(|(row, field)| table.value(row, field).map(drop));
    let read: Vec<Result<(), DataError>> = read.collect();
    read.into_iter().collect()
}

#[test]
fn damaged_shards_of_numbers_are_read_or_an_error() {
    let mut npz = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    npz.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
    npz.write_all(&npy()).unwrap();
    let npz = npz.finish().unwrap().into_inner();
    let packed = b"\x83\xa1x\x03\xa1y\x92\x01\xcb\x3f\xf8\0\0\0\0\0\0\xa1z\x84\xa2nd\xc3\xa4type\xa3|u1\xa5shape\x91\x02\xa4data\xc4\x02ab";
    let members: [(&str, &[u8]); 4] = [
        ("0.npy", &npy()),
        ("0.npz", &npz),
        ("0.mp", packed),
        ("0.json", b"{\"a\": [1, 2], \"b\": {\"c\": \"t\"}}"),
    ];
    // Each kind of member alone, so that damage reaches it, and all of them in gzip.
    let good: Vec<Vec<u8>> = members.iter().map(|member| tar(&[*member, ("0.txt", b"t")])).collect();
    let place = Place::new("x.tar");
    survives("shard of numbers", &good, Bound::bytes(8 * MIB).and_of_file(200), |bytes| {
        values(place.with(bytes))
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar(&members)).unwrap();
    let packed = Place::new("x.tgz");
    let bound = Bound::bytes(8 * MIB).and_of_file(4 * 1_032);
    survives("shard in gzip", &[gzip.finish().unwrap()], bound, |bytes| values(packed.with(bytes)));
}

#[test]
fn damaged_gzips_are_read_or_an_error() {
    let packed = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let text: Vec<u8> = (0..3_000_u32).flat_map(|i| format!("{i} ").into_bytes()).collect();
    let good =
        [packed(b"hello"), packed(&[0; 20_000]), packed(&text), [packed(b"two"), packed(b"parts")].concat()];
    let place = Place::new("x.gz");
    // Deflate expands a byte to at most 1,032, and a growing buffer is copied to one of twice the size.
    survives("gzip", &good, Bound::bytes(MIB).and_of_file(3 * 1_032), |bytes| read(place.with(bytes)));
}

fn manifests(format: &str, good: &[Vec<u8>], bound: Bound) {
    let place = Place::new(&format!("x.{format}"));
    survives(format, good, bound, |bytes| rows(place.with(bytes)));
    assert!(std::fs::read_dir(place.folder()).unwrap().count() == 1);
}

#[test]
fn damaged_tsv_is_read_or_an_error() {
    let good = b"path\ttext\tindex\na.wav\tone\t1\nb/c.wav\tgr\xc3\xbcn\t2\n".to_vec();
    manifests("tsv", &[good], Bound::bytes(MIB).and_of_file(200));
}

#[test]
fn damaged_csv_is_read_or_an_error() {
    let good = b"path,text,index\na.wav,\"one, and \"\"two\"\"\",1\nb/c.wav,\"over\nlines\",2\n".to_vec();
    manifests("csv", &[good], Bound::bytes(MIB).and_of_file(200));
}

#[test]
fn damaged_delimited_texts_are_read_or_an_error() {
    let text = "id;name;x\n1;\"one; \"\"two\"\"\";1,5\n2;grün;2\n";
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let indexed = ",a|b,c\n0,x,1\n1,y,2\n2,z,3\n";
    let good = [text.as_bytes().to_vec(), utf16, indexed.into(), text.replace(';', "|").into()];
    manifests("csv", &good, Bound::bytes(MIB).and_of_file(400));
}

#[test]
fn damaged_json_lines_are_read_or_an_error() {
    let flat = b"{\"path\": \"a.wav\", \"text\": \"one\", \"index\": 1}\n\
        {\"index\": 2.5, \"text\": \"gr\\u00fcn\", \"path\": \"b/c.wav\"}\n"
        .to_vec();
    let nested = b"\xef\xbb\xbf{\"path\": \"a.wav\", \"index\": 1, \"v\": [1, 2]}\n\n\
        {\"index\": 2.5, \"text\": \"gr\\u00fcn\", \"in\": {\"n\": null}}\n"
        .to_vec();
    manifests("jsonl", &[flat, nested], Bound::bytes(MIB).and_of_file(200));
}

/// A table of `path`, `text` and `index` in `groups` row groups.
pub fn parquet(compression: Compression, dictionary: bool, groups: usize) -> Vec<u8> {
    let schema = "message rows { required binary path (STRING); optional binary text (STRING); required int64 index; }";
    let properties =
        WriterProperties::builder().set_compression(compression).set_dictionary_enabled(dictionary).build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for group in 0..groups {
        let texts = |name: &str| -> Vec<ByteArray> {
            (0..20).map(|i| format!("{name}{group}/{i}.wav").as_bytes().to_vec().into()).collect()
        };
        let mut rows = writer.next_row_group().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts("p"), None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        let there: Vec<i16> = (0..20).map(|i| i16::from(i % 4 != 0)).collect();
        column.typed::<ByteArrayType>().write_batch(&texts("t")[..15], Some(&there), None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&(0..20).collect::<Vec<i64>>(), None, None).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn damaged_parquet_is_read_or_an_error() {
    let good = [
        parquet(Compression::UNCOMPRESSED, false, 1),
        parquet(Compression::SNAPPY, true, 2),
        parquet(Compression::ZSTD(Default::default()), true, 1),
    ];
    silence_decoders();
    manifests("parquet", &good, Bound::bytes(64 * MIB));
}

/// A stream of two record batches with texts, lists, classes and files.
fn arrow_stream() -> Vec<u8> {
    use arrow_array::types::{Int8Type, Int64Type};
    use arrow_array::{ArrayRef, DictionaryArray, ListArray, RecordBatch, StringArray};
    let kinds: DictionaryArray<Int8Type> = vec!["x", "y", "x"].into_iter().collect();
    let lists = [Some(vec![Some(1), Some(2)]), None, Some(vec![None])];
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new(StringArray::from(vec![Some("one"), None, Some("gr\u{fc}n")]))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ("kind", Arc::new(kinds)),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut bytes = vec![];
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    (0..2).for_each(|_| writer.write(&batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn damaged_arrow_streams_are_read_or_an_error() {
    silence_decoders();
    manifests("arrow", &[arrow_stream()], Bound::bytes(64 * MIB));
}

#[test]
fn a_parquet_manifest_has_its_rows() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        let place = Place::new("x.parquet");
        let source = Source::new(place.with(&parquet(compression, true, 2)));
        let table = SourceRegistry::builtin().open(&source).unwrap();
        assert_eq!((table.fields(), table.len()), (&["path", "text", "index"].map(String::from)[..], 40));
        let text = |row: usize, field: &str| table.peek(row, field).unwrap();
        assert!(matches!(text(21, "path"), Value::File(file) if file.name == "p1/1.wav"));
        assert_eq!(text(21, "text"), Value::Text("t1/0.wav".into()));
        assert_eq!(text(21, "index"), Value::Number(1.0));
        assert!(text(20, "text").is_missing());
    }
}

/// A TFRecord file and its description in a folder.
#[cfg(feature = "trajectory")]
fn tfrecords() -> Place {
    let place = Place::new("push-train.tfrecord-00000-of-00001");
    std::fs::write(place.folder.path().join("features.json"), rlds::FEATURES).unwrap();
    place
}

#[cfg(feature = "trajectory")]
#[test]
fn damaged_tfrecords_are_read_or_an_error() {
    let good = [[rlds::episode(3), rlds::episode(1)].concat(), rlds::episode(40)];
    let place = tfrecords();
    survives("TFRecord", &good, Bound::bytes(MIB).and_of_file(200), |bytes| rows(place.with(bytes)));
}

/// Damage under checksums that are right, which the first test does not reach: an integer of one byte becomes a number of 8
/// bytes and a value of 56.
#[cfg(feature = "trajectory")]
#[test]
fn damaged_records_are_read_or_an_error() {
    use smalti_trajectory::rlds::{HEADER, frame, record_data};
    let good = [3, 40].map(|steps| record_data(&rlds::episode(steps)[HEADER..]).unwrap().to_vec());
    let place = tfrecords();
    let bound = Bound::bytes(MIB).and_of_file(200);
    survives("tf.train.Example", &good, bound, |bytes| rows(place.with(&frame(bytes))));
}
