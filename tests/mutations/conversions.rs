//! Damaged records of conversions.

use crate::place::{MIB, Place};
use smalti::convert::{ConvertError, Options, ShardSize, convert};
use smalti::table::{Source, SourceRegistry};
use smalti_mutation::{Bound, survives};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A conversion with a damaged `convert.json` is refused, or all of its shards are there in the end.
#[test]
fn damaged_records_are_refused_or_all_shards_are_written() {
    let source = Place::new("words.csv");
    let table = Source::new(source.with(b"word,n\na,1\nb,2\nc,3\n"));
    let table = SourceRegistry::builtin().open(&table).unwrap();
    let place = Place::new("convert.json");
    let folder = Path::new(place.folder());
    std::fs::remove_file(folder.join("convert.json")).unwrap();
    let options = Options { shard_size: ShardSize::Rows(2), ..Options::default() };
    let again = || -> Result<(), ConvertError> {
        let stop = AtomicBool::new(false);
        let found = convert(table.as_ref(), "words.csv", folder, &options, &stop, &mut |_, _| {})?;
        let rows: usize = found.shards.iter().map(|shard| shard.rows).sum();
        assert_eq!((found.all_shards, rows), (2, 3));
        assert!(found.shards.iter().all(|shard| folder.join(&shard.path).is_file()));
        Ok(())
    };
    again().unwrap();
    let record = std::fs::read(folder.join("convert.json")).unwrap();
    survives("convert.json", &[record], Bound::bytes(8 * MIB).and_of_file(64), |bytes| {
        place.with(bytes);
        again()
    });
}
