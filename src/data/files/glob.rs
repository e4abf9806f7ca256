//! Patterns that stand for many locations: `shards/{000..127}.tar`, `texts/**/*.txt`.

use super::{Files, is_hidden, join};
use crate::data::error::DataError;
use smalti_contract::memory;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The most locations of a pattern.
const MAX_LOCATIONS: usize = 1_000_000;

/// The most digits of a number in braces.
const MAX_DIGITS: usize = 20;

/// Whether a location is a pattern: it has `*`, `?` or braces, and no file or folder has exactly this name.
pub fn is_pattern(location: &str) -> bool {
    let braces = location.split_once('{').is_some_and(|(_, rest)| rest.contains('}'));
    (braces || location.contains(['*', '?'])) && !Path::new(location).exists()
}

/// The locations that match a pattern, in order; there may be none.
///
/// Between slashes, `*` stands for any characters and `?` for any one; `**` alone stands for any number of folders. Hidden
/// files do not match, unless the pattern has their dot.
/// `{008..127}` stands for these numbers, with as many digits, and `{a,b}` for either. Braces are expanded without a list
/// of the files, so they also work on a server that gives none; whether the files exist is not checked then.
///
/// # Errors
/// [`DataError::Missing`] for a missing folder; [`DataError::Layout`] for braces that stand for nothing or for too many
/// locations.
pub fn expand(pattern: &str) -> Result<Vec<String>, DataError> {
    let mut all = Vec::new();
    for location in braces(pattern)? {
        match location.contains(['*', '?']) {
            true => matching(&location, &mut all)?,
            false => all.push(location),
        }
    }
    Ok(all)
}

/// A pattern with its braces expanded.
fn braces(pattern: &str) -> Result<Vec<String>, DataError> {
    let mut all = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, inside, after)) = first_braces(rest) {
        let choices = choices(inside).ok_or_else(|| {
            let problem =
                format!("{{{inside}}} is neither two numbers as in {{000..127}} nor a list as in {{a,b}}");
            DataError::layout(pattern, problem)
        })?;
        let n = all.len().saturating_mul(choices.len());
        let bytes = (n as u64).saturating_mul(pattern.len() as u64);
        if n > MAX_LOCATIONS || memory::check(bytes).is_err() {
            return Err(DataError::layout(
                pattern,
                format!("stands for more than {MAX_LOCATIONS} locations"),
            ));
        }
        let with = |start: &String| choices.iter().map(|choice| format!("{start}{before}{choice}")).collect();
        all = all.iter().flat_map(|start| -> Vec<String> { with(start) }).collect();
        rest = after;
    }
    all.iter_mut().for_each(|location| location.push_str(rest));
    Ok(all)
}

fn first_braces(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (inside, after) = rest.split_once('}')?;
    Some((before, inside, after))
}

fn choices(inside: &str) -> Option<Vec<String>> {
    if let Some((first, last)) = inside.split_once("..") {
        let number =
            |text: &str| text.parse::<usize>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let (from, to) = (number(first)?, number(last)?);
        let few = from <= to && to - from < MAX_LOCATIONS && first.len() <= MAX_DIGITS;
        // A leading zero sets the number of digits.
        let width = if first.starts_with('0') { first.len() } else { 0 };
        return few.then(|| (from..=to).map(|number| format!("{number:0width$}")).collect());
    }
    inside.contains(',').then(|| inside.split(',').map(str::to_string).collect())
}

/// Adds the files that match a pattern of `*` and `?`, sorted.
fn matching(pattern: &str, found: &mut Vec<String>) -> Result<(), DataError> {
    let wild = pattern.find(['*', '?']).unwrap_or(0);
    let start = pattern.get(..wild).and_then(|literal| literal.rfind(['/', ':'])).map_or(0, |end| end + 1);
    let (folder, rest) = pattern.split_at_checked(start).unwrap_or(("", pattern));
    let parts = parts_of(rest);
    let on_disk = if folder.is_empty() { "." } else { folder };
    let first = found.len();
    if Path::new(on_disk).is_dir() {
        walk(folder, &parts, found)?;
    } else {
        let tree = Files::open(on_disk)?;
        let matched =
            tree.list().iter().filter(|path| path_matches(&parts, &path.split('/').collect::<Vec<_>>()));
        found.extend(matched.map(|path| tree.location(path)));
    }
    found[first..].sort_unstable();
    // `**/**` matches a file in several ways.
    let mut sorted = found.split_off(first);
    sorted.dedup();
    found.append(&mut sorted);
    Ok(())
}

/// The parts of a pattern between slashes, with one `**` for several in a row, which stand for the same.
fn parts_of(pattern: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = pattern.split('/').collect();
    parts.dedup_by(|part, before| *part == "**" && *before == "**");
    parts
}

/// Adds the files on disk below `folder` that match the parts. Each folder is read once, with all numbers of parts that the
/// folders above it may have matched.
fn walk(folder: &str, parts: &[&str], found: &mut Vec<String>) -> Result<(), DataError> {
    let first = after_any(parts, &BTreeSet::from([0]));
    walk_from(folder, parts, &first, found)
}

/// The numbers of matched parts, with those after each `**` that stands for no folder.
fn after_any(parts: &[&str], matched: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut all = matched.clone();
    for &at in matched {
        // `parts_of` leaves no two in a row.
        if parts.get(at) == Some(&"**") {
            all.insert(at + 1);
        }
    }
    all
}

fn walk_from(
    folder: &str,
    parts: &[&str],
    matched: &BTreeSet<usize>,
    found: &mut Vec<String>,
) -> Result<(), DataError> {
    let on_disk = if folder.is_empty() { "." } else { folder };
    let io_error = |e| DataError::io(on_disk, "a folder", e);
    for entry in fs::read_dir(on_disk).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        // A name that is not Unicode cannot match a pattern that is.
        let Ok(name) = entry.file_name().into_string() else { continue };
        // As in a shell, only a pattern that names it matches a hidden file.
        let hidden = |part: &str| is_hidden(&name) && !part.starts_with('.') && part != name;
        let part = |at: usize| parts.get(at).filter(|part| !hidden(part));
        let is_last = |at: usize| at + 1 == parts.len();
        let fits = |at: usize| part(at).is_some_and(|part| *part != "**" && matches(part, &name));
        let path = join(folder, &name);
        let is_folder = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata.is_dir(),
            Err(e) if e.kind() == ErrorKind::NotFound => continue, // a link to nothing
            Err(_) if !matched.iter().any(|&at| part(at).is_some()) => continue,
            Err(e) => return Err(DataError::io(path, "a file", e)),
        };
        if !is_folder {
            found.extend(matched.iter().any(|&at| is_last(at) && fits(at)).then_some(path));
            continue;
        }
        // A link to a folder above would be a cycle.
        let any = |at: usize| part(at) == Some(&"**") && !entry.path().is_symlink();
        let below = |&at: &usize| match any(at) {
            true => Some(at),
            false => (!is_last(at) && fits(at)).then_some(at + 1),
        };
        let below: BTreeSet<usize> = matched.iter().filter_map(below).collect();
        if !below.is_empty() {
            walk_from(&path, parts, &after_any(parts, &below), found)?;
        }
    }
    Ok(())
}

/// The paths that match a pattern.
#[cfg(feature = "remote")]
pub(super) fn select<'a>(pattern: &str, paths: &[&'a str]) -> Result<Vec<&'a str>, DataError> {
    let mut found = vec![];
    for pattern in braces(pattern)? {
        let parts = parts_of(&pattern);
        let matched = |path: &&&str| path_matches(&parts, &path.split('/').collect::<Vec<_>>());
        found.extend(paths.iter().filter(matched).copied());
    }
    Ok(found)
}

/// Whether the names of a path match the parts of a pattern.
fn path_matches(parts: &[&str], path: &[&str]) -> bool {
    // The numbers of parts that the names so far match.
    let mut matched = after_any(parts, &BTreeSet::from([0]));
    for name in path {
        let next = matched.iter().filter_map(|&at| match parts.get(at) {
            Some(&"**") => Some(at),
            Some(part) => matches(part, name).then_some(at + 1),
            None => None,
        });
        matched = after_any(parts, &next.collect());
    }
    matched.contains(&parts.len())
}

/// Whether a name matches a pattern: `*` stands for any characters, `?` for any one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // reached[i]: the first i characters of the pattern match the characters of the name so far.
    let mut reached: Vec<bool> =
        (0..=pattern.len()).map(|i| pattern.iter().take(i).all(|c| *c == '*')).collect();
    for character in name {
        let before = reached.clone();
        let mut now = vec![false];
        for (i, expected) in pattern.iter().enumerate() {
            let at = |row: &[bool], i: usize| row.get(i).copied().unwrap_or(false);
            now.push(match expected {
                '*' => at(&before, i + 1) || at(&now, i),
                '?' => at(&before, i),
                _ => *expected == character && at(&before, i),
            });
        }
        reached = now;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{at, folder_of, tar_of};

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name) in
            [("*", ""), ("a*c", "ac"), ("a*b*c", "a-b-b-c"), ("?.tar", "ü.tar"), ("**x", "x")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*c", "acd"), ("?", ""), ("a", "ab"), ("*.tar", "x.tar.gz"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = format!("{}b", "**/a/".repeat(100));
        let parts = parts_of(&pattern);
        assert!(!path_matches(&parts, &["a"; 200]));
        assert_eq!(parts_of("**/**/**/x/**/**"), ["**", "x", "**"]);
    }

    #[test]
    fn braces_are_expanded_without_a_list_of_files() {
        let of = |pattern: &str| expand(pattern).unwrap();
        assert_eq!(
            of("s3://b/{08..11}.tar"),
            ["s3://b/08.tar", "s3://b/09.tar", "s3://b/10.tar", "s3://b/11.tar"]
        );
        assert_eq!(of("x{9..10}"), ["x9", "x10"]);
        assert_eq!(of("{a,b}-{0..1}.t"), ["a-0.t", "a-1.t", "b-0.t", "b-1.t"]);
        assert_eq!(of("plain"), ["plain"]);
        for wrong in ["{a}", "{3..1}", "{1..x}", "{-1..1}", "{0..9999999999}", "{0..999}{0..999}{0..999}"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_found_on_disk_and_in_archives() {
        let files: [(&str, &[u8]); 5] =
            [("a.txt", b"1"), ("x/b.txt", b"2"), ("x/y/c.txt", b"3"), ("x/y/d.md", b"4"), ("z/b.txt", b"5")];
        let folder = folder_of(&files);
        std::fs::write(folder.path().join("t.tar"), tar_of(&files)).unwrap();
        for (pattern, expected) in [
            ("*.txt", &["a.txt"][..]),
            ("*/b.txt", &["x/b.txt", "z/b.txt"]),
            ("**/*.txt", &["a.txt", "x/b.txt", "x/y/c.txt", "z/b.txt"]),
            ("**/y/*", &["x/y/c.txt", "x/y/d.md"]),
            ("**/**/c.txt", &["x/y/c.txt"]),
            ("**/x/**/y/**/*.txt", &["x/y/c.txt"]),
            ("x/?/*.{md,txt}", &["x/y/d.md", "x/y/c.txt"]),
            ("x/*/nothing", &[]),
        ] {
            for place in ["", "t.tar/"] {
                let found = expand(&at(&folder, &format!("{place}{pattern}"))).unwrap();
                let expected: Vec<String> =
                    expected.iter().map(|path| at(&folder, &format!("{place}{path}"))).collect();
                assert_eq!(found, expected, "{place}{pattern}");
            }
        }
        assert_eq!(expand("builtin:digits/t10k-*").unwrap().len(), 2);
        assert!(expand(&at(&folder, "none/*.txt")).is_err());
    }

    #[test]
    fn the_name_of_an_existing_file_is_no_pattern() {
        let folder = folder_of(&[("a{1,2}.txt", b"1")]);
        assert!(!is_pattern(&at(&folder, "a{1,2}.txt")) && !is_pattern("plain.txt") && !is_pattern("a{b"));
        assert!(is_pattern(&at(&folder, "a{1,3}.txt")) && is_pattern("*.tar"));
    }
}
