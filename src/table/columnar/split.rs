//! The split of each file, from its name or its folders.

use crate::data::files::split_word;
use crate::table::place::{file_name, split_at_end, split_of};

/// The split of each file: `train`, `validation` or `test` if the start of its name or a folder is a word for it, as in
/// `train-00000-of-00002.parquet` and `eval/0.parquet`. Another start of the name or another folder is the split as it is
/// written, if the files differ in it.
pub fn of(name: &str, locations: &[String]) -> Vec<Option<String>> {
    let words: Vec<Option<&str>> = locations.iter().map(|location| word(below(name, location))).collect();
    if locations.iter().zip(&words).all(|(_, word)| word.is_none()) {
        let starts: Vec<&str> = locations.iter().map(|location| start(below(name, location))).collect();
        if starts.windows(2).all(|pair| pair[0] == pair[1]) {
            return vec![None; locations.len()];
        }
    }
    let splits = locations.iter().zip(words).map(|(location, word)| {
        let split = word.unwrap_or_else(|| start(below(name, location)));
        (!split.is_empty()).then(|| split.to_string())
    });
    splits.collect()
}

/// The path below the source, or the folder and the name if the source is a pattern.
fn below<'a>(name: &str, location: &'a str) -> &'a str {
    let inside = location.strip_prefix(name.trim_end_matches(['/', ':']));
    inside.map(|path| path.trim_start_matches(['/', ':'])).unwrap_or_else(|| {
        let folder = location.len() - file_name(location).len();
        let above = location[..folder].trim_end_matches(['/', ':']).rfind(['/', ':']);
        &location[above.map_or(0, |end| end + 1)..]
    })
}

/// The word of a split in the start of the name, or else in the nearest folder that has one.
fn word(path: &str) -> Option<&'static str> {
    let mut folders = path.rsplit('/').skip(1);
    split_word(split_at_end(path)).or_else(|| folders.find_map(split_word))
}

/// The start of the name, or else the folder; a name that only numbers shards says nothing.
fn start(path: &str) -> &str {
    match split_of(path) {
        "" | "data" | "part" | "shard" => path.rsplit('/').nth(1).unwrap_or(""),
        start => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(name: &str, paths: &[&str]) -> Vec<String> {
        let locations: Vec<String> = paths.iter().map(|path| path.to_string()).collect();
        of(name, &locations).into_iter().map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn splits_are_words_in_names_and_folders() {
        let hub = ["d/data/train-00000-of-00002.parquet", "d/data/dev-00000-of-00001.parquet"];
        assert_eq!(splits("d", &hub), ["train", "validation"]);
        assert_eq!(splits("d/", &["d/Eval/0.parquet", "d/en/train/0000.parquet"]), ["test", "train"]);
        assert_eq!(splits("x/*/*.arrow", &["x/test/data-00000-of-00001.arrow"]), ["test"]);
        assert_eq!(splits("d", &["d/fold1.parquet", "d/fold2.parquet"]), ["fold1", "fold2"]);
        assert_eq!(splits("d", &["d/train.parquet", "d/extra.parquet"]), ["train", "extra"]);
        assert_eq!(splits("d", &["d/x_train.parquet", "d/x_test.parquet"]), ["train", "test"]);
        assert_eq!(splits("d", &["d/part-00000.parquet", "d/part-00001.parquet"]), ["", ""]);
        assert_eq!(
            splits("train", &["train/0.parquet", "train/1.parquet"]),
            ["", ""],
            "the source's own name"
        );
    }
}
