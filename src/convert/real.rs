//! Conversions of real data: `#[ignore]`d tests, which need `SMALTI_DATA`.

use super::*;
use crate::data::testing::real;
use crate::table::{Source, SourceRegistry};
use std::sync::Arc;
use tempfile::TempDir;

fn of(location: &str) -> Arc<dyn Table> {
    SourceRegistry::builtin().open(&Source::new(location)).unwrap()
}

/// Converts a table, and returns the number of rows that are read again.
fn converted(table: &dyn Table, options: &Options) -> usize {
    let folder = TempDir::new().unwrap();
    let never = AtomicBool::new(false);
    let outcome = convert(table, table.name(), folder.path(), options, &never, &mut |_, _| {}).unwrap();
    assert_eq!((outcome.corrupt, outcome.stopped), (vec![], false));
    let shards = outcome.shards.iter().map(|shard| folder.path().join(&shard.path));
    let read = |path: std::path::PathBuf| of(path.to_str().unwrap()).len();
    assert_eq!(shards.map(read).sum::<usize>(), table.len());
    table.len()
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn sets_of_images_and_clips_are_converted_to_both_formats() {
    for location in ["layouts/audio-classes", "layouts/ljspeech", "layouts/webdataset/digits-000000.tar"] {
        let table = of(&real(location));
        for format in [Format::Webdataset, Format::Parquet] {
            let options = Options { format, shard_size: ShardSize::Rows(7), ..Options::default() };
            assert!(converted(&*table, &options) > 0, "{location} {format:?}");
        }
    }
}

#[cfg(feature = "trajectory")]
#[test]
#[ignore = "needs SMALTI_DATA"]
fn logs_return_with_their_steps() {
    let folder = TempDir::new().unwrap();
    let never = AtomicBool::new(false);
    for (location, format) in [
        ("layouts/lerobot-v3", Format::Parquet),
        ("layouts/lerobot-v3", Format::Webdataset),
        ("layouts/rlds", Format::Parquet),
    ] {
        let source = of(&real(location));
        let dest = folder.path().join(format!("{}-{format:?}", location.replace('/', "-")));
        let options = Options { format, ..Options::default() };
        let outcome = convert(&*source, location, &dest, &options, &never, &mut |_, _| {}).unwrap();
        assert_eq!(outcome.corrupt, [], "{location}");
        let table = of(dest.to_str().unwrap());
        assert_eq!(table.len(), source.len(), "{location}");
        for row in 0..source.len() {
            assert_eq!(table.steps(row), source.steps(row), "{location}");
            for field in ["observations", "actions"] {
                assert_eq!(table.value(row, field).unwrap(), source.value(row, field).unwrap(), "{location}");
            }
        }
    }
}

#[cfg(feature = "audio")]
#[test]
#[ignore = "needs SMALTI_DATA"]
fn speech_is_resampled() {
    let table = of(&real("layouts/ljspeech"));
    let options = Options { sampling_rate: Some(16_000), ..Options::default() };
    assert!(converted(&*table, &options) > 0);
}
