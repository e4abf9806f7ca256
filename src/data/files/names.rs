//! What the names of files and folders mean: the words for splits, hidden files, and archives.

/// The canonical splits, each with its spellings.
const SPELLINGS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev", "devel", "development"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Words that may follow or precede a split in a name: `test_set`, `training-images`.
const FILLERS: [&str; 5] = ["data", "files", "images", "set", "split"];

/// The split that a name stands for, `train`, `validation` or `test`, in any spelling and case: `Training`, `val`, `test_set`,
/// `train2017`. `None` for any other name.
pub(crate) fn split_word(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(['-', '_', ' ', '.']).filter(|word| !word.is_empty() && !FILLERS.contains(word));
    let words: Vec<&str> = words.map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let [word] = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>()[..] else {
        return None;
    };
    let word = FILLERS
        .iter()
        .find_map(|filler| word.strip_suffix(filler))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(word);
    SPELLINGS.iter().find(|(_, spellings)| spellings.contains(&word)).map(|(split, _)| *split)
}

/// The name of a split in one spelling: `validation` of `val`; any other name as it is.
pub(crate) fn canonical_split(name: &str) -> &str {
    split_word(name).unwrap_or(name)
}

/// Whether a path is in a hidden file or folder, which programs leave beside data: a name that begins with a dot, such as
/// `.ipynb_checkpoints` and `._photo.jpg`, `__MACOSX`, `Thumbs.db` or `desktop.ini`.
pub(crate) fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| {
        name.starts_with('.') && name != "." && name != ".."
            || ["__MACOSX", "Thumbs.db", "desktop.ini"].contains(&name)
    })
}

/// The reason why a hidden file is not listed.
pub(super) const HIDDEN: &str = "hidden";

/// The topmost hidden file or folder of each of these hidden paths, which are sorted, each once.
pub(super) fn hidden_tops<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<(String, &'static str)> {
    let mut tops: Vec<(String, &'static str)> = vec![];
    for path in paths {
        let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let top = ends.find_map(|end| path.get(..end).filter(|top| is_hidden(top))).unwrap_or(path);
        if tops.last().is_none_or(|(last, _)| last != top) {
            tops.push((top.to_string(), HIDDEN));
        }
    }
    tops
}

/// Whether a location has the name of an archive of files: `.tar`, `.tgz`, `.tar.gz` or `.zip`.
pub(crate) fn is_archive(location: &str) -> bool {
    let lower = location.trim_end_matches('/').to_ascii_lowercase();
    [".tar", ".tgz", ".tar.gz", ".zip"].iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_have_many_spellings() {
        for (name, split) in [
            ("Training", Some("train")),
            ("training_set", Some("train")),
            ("testset", Some("test")),
            ("val2017", Some("validation")),
            ("dev", Some("validation")),
            ("Evaluation", Some("test")),
            ("train-images", Some("train")),
            ("cats", None),
            ("train_test", None),
            ("images", None),
            ("trainer", None),
            ("2017", None),
        ] {
            assert_eq!(split_word(name), split, "{name}");
        }
    }

    #[test]
    fn what_programs_leave_beside_data_is_hidden() {
        for path in
            [".ipynb_checkpoints/a.png", "__MACOSX/x/._a.png", "cats/._a.png", "cats/Thumbs.db", ".git"]
        {
            assert!(is_hidden(path), "{path}");
        }
        for path in ["cats/a.png", "a.b/c", "../cats/a.png", "./a.png"] {
            assert!(!is_hidden(path), "{path}");
        }
    }

    #[test]
    fn a_hidden_folder_is_named_once() {
        let paths = [".git/a", ".git/b/c", "__MACOSX/x/._y.png", "cats/._a.png", "cats/Thumbs.db"];
        let tops: Vec<String> = hidden_tops(paths.into_iter()).into_iter().map(|(top, _)| top).collect();
        assert_eq!(tops, [".git", "__MACOSX", "cats/._a.png", "cats/Thumbs.db"]);
    }

    #[test]
    fn archives_are_known_by_their_names() {
        assert!(["a.tar", "b/c.tgz", "c.tar.gz", "D.ZIP"].iter().all(|name| is_archive(name)));
        assert!(["a.npz", "a.gz", "a.zip/b.png", "zip"].iter().all(|name| !is_archive(name)));
    }
}
