//! Round trips: converted tables have the values of their sources, and their bytes do not depend on threads or interruptions.

use super::*;
use crate::table::{MemoryTable, Source, SourceRegistry};
use smalti_contract::{Array, File, Numbers, Row, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

fn file(name: &str, bytes: &[u8]) -> Value {
    Value::File(File { name: name.into(), bytes: bytes.to_vec() })
}

fn converted(rows: &[Row], dest: &Path, options: &Options) -> Outcome {
    let table = MemoryTable::new("rows", rows.to_vec());
    convert(&table, "rows", dest, options, &AtomicBool::new(false), &mut |_, _| {}).unwrap()
}

fn message(rows: &[Row], dest: &Path, options: &Options) -> String {
    let table = MemoryTable::new("rows", rows.to_vec());
    let result = convert(&table, "rows", dest, options, &AtomicBool::new(false), &mut |_, _| {});
    result.unwrap_err().to_string()
}

fn reread(path: &Path) -> Arc<dyn Table> {
    SourceRegistry::builtin().open(&Source::new(path.to_str().unwrap())).unwrap()
}

/// The values of a field in all rows.
fn values(table: &dyn Table, field: &str) -> Vec<Value> {
    (0..table.len()).map(|row| table.value(row, field).unwrap()).collect()
}

fn parquet() -> Options {
    Options { format: Format::Parquet, ..Options::default() }
}

/// All files below a folder with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = crate::data::Files::open(folder.to_str().unwrap()).unwrap();
    files.list().iter().map(|path| (path.clone(), std::fs::read(folder.join(path)).unwrap())).collect()
}

/// A clip of one sample at 8 kHz.
fn wav() -> Vec<u8> {
    let mut bytes = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend([8000_u32, 16_000].map(u32::to_le_bytes).concat());
    bytes.extend(b"\x02\0\x10\0data\x02\0\0\0\x01\x02");
    bytes
}

/// Rows of a file, a class and a text, of which some miss the text.
fn clips() -> Vec<Row> {
    let clip = |i: u8| {
        let text = if i.is_multiple_of(3) { Value::Missing } else { format!("clip {i}").as_str().into() };
        let label = if i.is_multiple_of(2) { "dog" } else { "cat" };
        let split = if i < 6 { "train" } else { "test" };
        Row::from([
            ("audio", file(&format!("clips/{i}.dat"), &[b'R', b'I', i])),
            ("label", label.into()),
            ("split", split.into()),
            ("text", text),
        ])
    };
    (0..8).map(clip).collect()
}

fn column(rows: &[Row], field: &str) -> Vec<Value> {
    rows.iter().map(|row| row.get(field).clone()).collect()
}

#[test]
fn files_classes_and_texts_return_from_webdataset() {
    let folder = TempDir::new().unwrap();
    let rows = clips();
    let options = Options { shard_size: ShardSize::Rows(4), ..Options::default() };
    let outcome = converted(&rows, folder.path(), &options);
    let shards: Vec<_> = outcome.shards.iter().map(|shard| (shard.path.as_str(), shard.rows)).collect();
    assert_eq!(shards, [("train-000000.tar", 4), ("train-000001.tar", 2), ("test-000000.tar", 2)]);
    let table = reread(&folder.path().join("*.tar"));
    // The pattern lists the test split first.
    let sorted: Vec<Row> = rows[6..].iter().chain(&rows[..6]).cloned().collect();
    assert_eq!(values(&*table, "cls"), column(&sorted, "label"));
    assert_eq!(values(&*table, "text"), column(&sorted, "text"));
    assert_eq!(values(&*table, "split"), column(&sorted, "split"));
    assert_eq!(table.classes("cls").unwrap(), ["cat", "dog"]);
    for (value, row) in values(&*table, "dat").into_iter().zip(&sorted) {
        let (Value::File(found), Value::File(expected)) = (value, row.get("audio")) else {
            panic!("no file")
        };
        assert_eq!(found.bytes, expected.bytes);
    }
}

#[test]
fn files_classes_and_texts_return_from_parquet() {
    let folder = TempDir::new().unwrap();
    let rows = clips();
    let outcome = converted(&rows, folder.path(), &parquet());
    let paths: Vec<_> = outcome.shards.iter().map(|shard| shard.path.as_str()).collect();
    assert_eq!(paths, ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]);
    let table = reread(&folder.path().join("data/train-*.parquet"));
    for field in ["label", "text", "split"] {
        assert_eq!(values(&*table, field), column(&rows[..6], field), "{field}");
    }
    assert_eq!(table.classes("label").unwrap(), ["cat", "dog"]);
    assert_eq!(table.value(1, "audio").unwrap(), file("1.dat", &[b'R', b'I', 1]));
}

#[test]
fn numbers_and_arrays_return() {
    let folder = TempDir::new().unwrap();
    let grid = Array { shape: vec![2, 3], numbers: Numbers::F32(vec![0.1, 2.0, 3.0, 4.0, 5.0, 6.5]) };
    let long: Vec<f32> = (0..300).map(|i| i as f32 / 7.0).collect();
    let row = |number: f64| {
        Row::from([
            ("count", Value::Number(number)),
            ("grid", Value::Array(grid.clone())),
            ("long", Value::vector(long.clone())),
            ("speed", if number > 1.0 { Value::Missing } else { Value::Number(number / 4.0) }),
        ])
    };
    let rows = [row(1.0), row(2.0)];
    converted(&rows, &folder.path().join("tars"), &Options::default());
    let table = reread(&folder.path().join("tars/train-000000.tar"));
    for field in ["count", "grid", "speed"] {
        assert_eq!(values(&*table, &format!("json.{field}")), column(&rows, field), "{field}");
    }
    assert!(table.fields().iter().any(|field| field == "long.npy"), "{:?}", table.fields());
    converted(&rows, &folder.path().join("rows.parquet"), &parquet());
    let table = reread(&folder.path().join("rows.parquet"));
    assert_eq!(table.fields(), ["count", "grid", "long", "speed"]);
    for field in table.fields() {
        assert_eq!(values(&*table, field), column(&rows, field), "{field}");
    }
}

#[test]
fn long_arrays_are_files_of_numpy() {
    let folder = TempDir::new().unwrap();
    let steps = |i: usize| Value::Series(vec![Value::vector([i as f32, 0.5]); 200]);
    let row = |i: usize| Row::from([("path", steps(i)), ("scan", Value::vector(vec![f32::NAN, i as f32]))]);
    converted(&[row(0), row(1)], folder.path(), &Options::default());
    let tar = folder.path().join("train-000000.tar");
    let read = |member: &str| {
        let bytes = crate::data::read(&format!("{}/{member}", tar.display())).unwrap();
        let array = npyz::NpyFile::new(bytes.as_slice()).unwrap();
        (array.shape().to_vec(), array.into_vec::<f32>().unwrap())
    };
    assert_eq!(read("00000001.path.series.npy"), (vec![200, 2], [1.0, 0.5].repeat(200)));
    let (shape, numbers) = read("00000001.scan.npy");
    assert!(shape == [2] && numbers[0].is_nan() && numbers[1] == 1.0);
}

/// Episodes of different lengths, with parts of the state, texts, and steps without a value.
fn episodes() -> Vec<Row> {
    let row = |length: usize| {
        let series = |of: &dyn Fn(usize) -> Value| Value::Series((0..length).map(of).collect());
        let known = |step: usize, value: Value| if step == 1 { Value::Missing } else { value };
        Row::from([
            ("actions", series(&|step| Value::Number((step % 2) as f64))),
            ("arm", series(&|step| known(step, Value::Number(step as f64 / 8.0)))),
            ("end", if length > 3 { "terminated".into() } else { Value::Missing }),
            ("grip", series(&|step| known(step, Value::vector([step as f32, 1.5])))),
            ("observations", series(&|step| Value::vector([step as f32, 0.5]))),
            ("observations.state", series(&|step| Value::vector([step as f32]))),
            ("rewards", series(&|step| Value::Number(step as f64 / 2.0))),
            ("task", "stack the cubes".into()),
        ])
    };
    vec![row(3), row(5), row(2)]
}

#[test]
fn episodes_return_with_their_steps() {
    let folder = TempDir::new().unwrap();
    let rows = episodes();
    converted(&rows, &folder.path().join("log.parquet"), &parquet());
    converted(&rows, &folder.path().join("parquet"), &parquet());
    converted(&rows, &folder.path().join("tars"), &Options::default());
    for name in ["log.parquet", "parquet", "tars"] {
        let table = reread(&folder.path().join(name));
        assert_eq!([0, 1, 2].map(|row| table.steps(row)), [3, 5, 2], "{name}");
        for field in ["actions", "arm", "grip", "observations", "observations.state", "rewards"] {
            assert_eq!(values(&*table, field), column(&rows, field), "{name}: {field}");
            let window = table.window(1, field, 2..9).unwrap();
            assert_eq!(window, rows[1].get(field).clone().window(2..9), "{name}: {field}");
        }
        let texts = if name == "tars" { ["json.end", "json.task"] } else { ["end", "task"] };
        for (field, of_source) in texts.iter().zip(["end", "task"]) {
            assert_eq!(values(&*table, field), column(&rows, of_source), "{name}: {field}");
        }
        assert!(table.skipped().is_empty(), "{name}: {:?}", table.skipped());
    }
}

#[test]
fn series_of_arrays_of_different_shapes_return() {
    let folder = TempDir::new().unwrap();
    let ragged = |n: f32| Value::Series(vec![Value::vector([n, 2.0]), Value::vector([3.0])]);
    let rows = [Row::from([("x", ragged(1.0))]), Row::from([("x", ragged(5.0))])];
    converted(&rows, &folder.path().join("tars"), &Options::default());
    converted(&rows, &folder.path().join("x.parquet"), &parquet());
    assert_eq!(values(&*reread(&folder.path().join("tars")), "json.x"), column(&rows, "x"));
    assert_eq!(values(&*reread(&folder.path().join("x.parquet")), "x"), column(&rows, "x"));
}

#[test]
fn series_of_files_return_from_parquet() {
    let folder = TempDir::new().unwrap();
    let frames =
        |n: u8| Value::Series((0..n).map(|step| file(&format!("{step}.dat"), &[0xff, step])).collect());
    let rows = [Row::from([("camera", frames(3))]), Row::from([("camera", frames(1))])];
    let path = folder.path().join("frames.parquet");
    converted(&rows, &path, &parquet());
    let table = reread(&path);
    assert_eq!([table.steps(0), table.steps(1)], [3, 1]);
    assert_eq!(values(&*table, "camera"), column(&rows, "camera"));
    assert_eq!(table.window(0, "camera", 1..2).unwrap(), Value::Series(vec![file("1.dat", &[0xff, 1])]));
}

/// `datasets` takes the format of a folder from the endings of all its files, unless their names have a split.
#[test]
fn shards_of_a_table_without_splits_are_named_train() {
    let folder = TempDir::new().unwrap();
    let rows = [Row::from([("n", Value::Number(1.0))])];
    for (options, path) in
        [(Options::default(), "train-000000.tar"), (parquet(), "data/train-00000-of-00001.parquet")]
    {
        let dest = folder.path().join(path.len().to_string());
        assert_eq!(converted(&rows, &dest, &options).shards[0].path, path);
        let table = reread(&dest);
        assert_eq!(values(&*table, "split"), ["train".into()]);
        assert!(table.skipped().is_empty(), "{:?}", table.skipped());
    }
}

/// The bytes of a file are kept, but only of a file that can be decoded.
#[cfg(all(feature = "image", feature = "audio"))]
#[test]
fn files_that_cannot_be_decoded_are_left_out() {
    use crate::modalities::image::{Image, write_jpeg};
    let pixels = (0..32 * 32).map(|pixel| (pixel * 7 % 251) as u8).collect();
    let jpeg = write_jpeg(&Image::new(32, 32, 1, pixels).unwrap(), 90).unwrap();
    let row =
        |image: &[u8], audio: &[u8]| Row::from([("a", file("a.jpg", image)), ("b", file("b.wav", audio))]);
    let page = b"<!DOCTYPE html><html><body>404</body></html>";
    let cut = &jpeg[..jpeg.len() / 4];
    let rows = [row(&jpeg, &wav()), row(cut, &wav()), row(page, &wav()), row(&jpeg, page)];
    for options in [Options::default(), parquet()] {
        let folder = TempDir::new().unwrap();
        let outcome = converted(&rows, folder.path(), &options);
        let corrupt: Vec<_> =
            outcome.corrupt.iter().map(|corrupt| (corrupt.row.as_str(), corrupt.field.as_str())).collect();
        assert_eq!(corrupt, [("rows row 2", "a"), ("rows row 3", "a"), ("rows row 4", "b")]);
        assert_eq!(outcome.shards[0].rows, 1);
    }
}

#[test]
fn parquet_has_the_features_of_datasets() {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    let folder = TempDir::new().unwrap();
    let rows = [Row::from([
        ("audio", file("a.wav", &wav())),
        ("boxes", Value::Series(vec![Value::vector([0.5])])),
        ("class", "cat".into()),
        ("n", Value::Number(3.0)),
        ("other", file("a.bin", &[0xff, 0, 1])),
        ("text", "a".into()),
    ])];
    let path = folder.path().join("a.parquet");
    converted(&rows, &path, &parquet());
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let json = pairs.iter().find(|pair| pair.key == "huggingface").unwrap().value.as_deref().unwrap();
    let value = |dtype: &str| serde_json::json!({ "dtype": dtype, "_type": "Value" });
    let list = |inner: serde_json::Value| serde_json::json!({ "feature": inner, "_type": "Sequence" });
    let features = serde_json::json!({
        "audio": { "_type": "Audio" },
        "boxes": list(list(value("float32"))),
        "class": { "names": ["cat"], "_type": "ClassLabel" },
        "n": value("int64"),
        "other": { "bytes": value("binary"), "path": value("string") },
        "text": value("string"),
    });
    let found: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(found, serde_json::json!({ "info": { "features": features } }));
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    for format in [Format::Webdataset, Format::Parquet] {
        let of = |threads: usize| {
            let folder = TempDir::new().unwrap();
            let shard_size = ShardSize::Rows(3);
            let options = Options { format, shard_size, threads: Some(threads), ..Options::default() };
            converted(&clips(), folder.path(), &options);
            contents(folder.path())
        };
        assert!(of(1) == of(3), "{format:?}");
    }
}

#[test]
fn an_interrupted_conversion_continues_to_the_same_bytes() {
    for (format, shard) in
        [(Format::Webdataset, "train-000001.tar"), (Format::Parquet, "data/train-00001-of-00002.parquet")]
    {
        let folder = TempDir::new().unwrap();
        let options = Options { format, shard_size: ShardSize::Rows(3), ..Options::default() };
        let whole = converted(&clips(), folder.path(), &options);
        assert_eq!((whole.kept, whole.stopped), (0, false));
        let expected = contents(folder.path());
        std::fs::remove_file(folder.path().join(shard)).unwrap();
        let unfinished = folder.path().join(shard).with_file_name(".unfinished-a1");
        std::fs::write(&unfinished, "half").unwrap();
        let again = converted(&clips(), folder.path(), &options);
        assert_eq!((again.kept, again.shards), (2, whole.shards.clone()));
        assert!(contents(folder.path()) == expected, "{format:?}");
        // A shard that was cut short has another size.
        std::fs::write(folder.path().join(shard), "half").unwrap();
        assert_eq!(converted(&clips(), folder.path(), &options).kept, 2);
        assert!(contents(folder.path()) == expected, "{format:?}");
    }
}

#[test]
fn a_stopped_conversion_writes_no_part_of_a_shard() {
    let folder = TempDir::new().unwrap();
    let table = MemoryTable::new("rows", clips());
    let stop = AtomicBool::new(true);
    let run =
        |stop| convert(&table, "rows", folder.path(), &Options::default(), stop, &mut |_, _| {}).unwrap();
    let outcome = run(&stop);
    assert!(outcome.stopped && outcome.shards.is_empty() && outcome.all_shards == 2);
    assert_eq!(contents(folder.path()).keys().collect::<Vec<_>>(), ["classes.txt", "convert.json"]);
    let outcome = run(&AtomicBool::new(false));
    assert!(!outcome.stopped && outcome.shards.len() == 2);
}

#[cfg(feature = "image")]
#[test]
fn images_are_resized_and_corrupt_ones_are_left_out() {
    use crate::modalities::image::{Image, read, write_png};
    let png = write_png(&Image::new(8, 4, 1, (0..32).collect()).unwrap()).unwrap();
    let rows = [
        Row::from([("image", file("a.png", &png)), ("n", Value::Number(0.0))]),
        Row::from([("image", file("b.png", &png[..40])), ("n", Value::Number(1.0))]),
        Row::from([("image", Value::Missing), ("n", Value::Number(2.0))]),
    ];
    let folder = TempDir::new().unwrap();
    let image_size = Some(ImageSize::ShorterSide(2));
    let image_format = ImageFormat::Jpeg;
    let options = Options { image_size, image_format, ..Options::default() };
    for _ in 0..2 {
        let outcome = converted(&rows, folder.path(), &options);
        let [corrupt] = &outcome.corrupt[..] else { panic!("{:?}", outcome.corrupt) };
        assert_eq!((corrupt.row.as_str(), corrupt.field.as_str()), ("rows row 2", "image"));
        assert_eq!(outcome.shards[0].rows, 2);
    }
    let table = reread(&folder.path().join("train-000000.tar"));
    assert_eq!(values(&*table, "json.n"), [0.0, 2.0].map(Value::Number));
    let Value::File(resized) = table.value(0, "jpg").unwrap() else { panic!("no file") };
    let resized = read(&resized.bytes).unwrap();
    assert_eq!((resized.height, resized.width), (2, 4));
    assert!(table.value(1, "jpg").unwrap().is_missing());
}

#[cfg(feature = "image")]
#[test]
fn arrays_of_pixels_are_images() {
    let pixels = Array { shape: vec![2, 3], numbers: Numbers::U8((0..6).collect()) };
    let folder = TempDir::new().unwrap();
    converted(&[Row::from([("image", Value::Array(pixels))])], folder.path(), &Options::default());
    let Value::File(png) = reread(&folder.path().join("train-000000.tar")).value(0, "png").unwrap() else {
        panic!("no file")
    };
    let image = crate::modalities::image::read(&png.bytes).unwrap();
    assert_eq!((image.height, image.width, image.pixels), (2, 3, (0..6).collect()));
}

#[cfg(feature = "audio")]
#[test]
fn clips_are_resampled() {
    use crate::modalities::audio::{Waveform, read, write_wav};
    let clip = Waveform { sampling_rate: 8000, samples: vec![0.25; 800] };
    let rows = [Row::from([("audio", file("a.wav", &write_wav(&clip, 16).unwrap())), ("text", "a".into())])];
    let folder = TempDir::new().unwrap();
    let options = Options { sampling_rate: Some(4000), ..Options::default() };
    converted(&rows, folder.path(), &options);
    let Value::File(wav) = reread(&folder.path().join("train-000000.tar")).value(0, "wav").unwrap() else {
        panic!("no file")
    };
    let clip = read(&wav.bytes).unwrap();
    assert_eq!((clip.sampling_rate, clip.samples.len()), (4000, 400));
}

#[test]
fn other_settings_and_other_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    converted(&clips(), path, &Options::default());
    let other = Options { shard_size: ShardSize::Rows(2), ..Options::default() };
    let error = message(&clips(), path, &other);
    assert!(
        error.contains("convert.json: the folder has a conversion with other settings: shard_size was"),
        "{error}"
    );
    let overwritten = converted(&clips(), path, &Options { overwrite: true, ..other });
    assert_eq!((overwritten.kept, overwritten.shards.len()), (0, 4));
    let foreign = TempDir::new().unwrap();
    std::fs::write(foreign.path().join("thesis.tex"), "mine").unwrap();
    for overwrite in [false, true] {
        let error = message(&clips(), foreign.path(), &Options { overwrite, ..Options::default() });
        assert!(error.contains("the folder has files, but no convert.json"), "{error}");
    }
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let folder = TempDir::new().unwrap();
    let frames = Row::from([("camera", Value::Series(vec![file("a.png", b"x"), file("b.png", b"y")]))]);
    let error = message(&[frames], &folder.path().join("a"), &Options::default());
    assert!(error.contains("field \"camera\": a series of files has no place in WebDataset"), "{error}");
    let twice = Row::from([("X", file("a.png", b"x")), ("x", file("b.png", b"y"))]);
    let error = message(&[twice], &folder.path().join("b"), &Options::default());
    assert!(error.contains("field \"x\": it has the place of the field \"X\""), "{error}");
    let mixed = [Row::from([("x", Value::Number(1.0))]), Row::from([("x", Value::vector([1.0]))])];
    let error = message(&mixed, &folder.path().join("c"), &Options::default());
    assert!(error.contains("the field \"x\" holds a whole number and an array of 1 axes"), "{error}");
    let sized = Options { image_size: Some(ImageSize::ShorterSide(8)), ..Options::default() };
    let error = message(&mixed[..1], &folder.path().join("d"), &sized);
    assert!(error.starts_with("image_size: "), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn sizes_of_images_are_read() {
    assert_eq!("224".parse(), Ok(ImageSize::ShorterSide(224)));
    assert_eq!("224x336".parse(), Ok(ImageSize::Exact([224, 336])));
    for wrong in ["", "0", "224x", "x", "-3", "1x2x3", "70000"] {
        assert!(wrong.parse::<ImageSize>().unwrap_err().starts_with("expected a shorter side"), "{wrong}");
    }
}
