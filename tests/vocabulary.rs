//! The words of the field: those that it does not use for a thing are in no source, document, preset or example.

use std::path::{Path, PathBuf};

/// Words and phrases, in lower case, and the term to write instead. A word in code is found between underscores too.
const BANNED: [(&str, &str); 24] = [
    ("picture", "image, or figure for a drawing"),
    ("pictures", "images, or figures for drawings"),
    ("film", "video"),
    ("films", "videos"),
    ("shot", "frame"),
    ("shots", "frames"),
    ("twin", "duplicate"),
    ("twins", "duplicates"),
    ("look around", "attend to"),
    ("looks around", "attends to"),
    ("looks at", "attends to, or reads"),
    ("looked at", "attended to, or read"),
    ("who sees whom", "attention mask"),
    ("visibility", "attention mask"),
    ("the other stack", "encoder"),
    ("turned by", "rotated by"),
    ("recompute", "activation checkpointing"),
    ("write on", "generate"),
    ("the tensor library refuses", "an operation fails"),
    ("where shapes differ", "if shapes differ"),
    ("is asked for", "is requested, or target"),
    ("gradient-cut", "unreached parameters"),
    ("on the way back", "in the backward pass"),
    ("a step is asked for", "a step is launched"),
];

/// Files with sentences or names of ours; the changelog keeps the words of its time.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "files", "data"].contains(&name.as_str()) {
                files(&path, found);
            }
        } else if ["rs", "md", "toml", "py", "sh", "cu", "cuh"]
            .iter()
            .any(|end| name.ends_with(&format!(".{end}")))
            && !["CHANGELOG.md", "vocabulary.rs"].contains(&name.as_str())
        {
            found.push(path);
        }
    }
}

/// A text in lower case in which everything but letters, digits and hyphens is one space, so that `look_around` is two words.
fn words(text: &str) -> String {
    let mut words = String::from(" ");
    for character in text.chars() {
        match character {
            c if c.is_alphanumeric() || c == '-' => words.extend(c.to_lowercase()),
            _ if !words.ends_with(' ') => words.push(' '),
            _ => {}
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[test]
fn no_text_uses_a_banned_word() {
    let mut paths: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "RESULTS.md"].map(PathBuf::from).into_iter().collect();
    for folder in ["src", "modalities", "tests", "benches", "examples", "presets", "python"] {
        files(Path::new(folder), &mut paths);
    }
    assert!(paths.len() > 300, "the test reads the tree; it found {} files", paths.len());
    let mut found = vec![];
    for path in &paths {
        for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            let line = words(line);
            let banned = BANNED.iter().filter(|(banned, _)| line.contains(&format!(" {banned} ")));
            found.extend(
                banned.map(|(banned, term)| {
                    format!("{}:{}: {banned}: write {term}", path.display(), number + 1)
                }),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn names_in_code_are_split_into_words() {
    assert_eq!(words("fn look_around(x: &Picture)"), " fn look around x picture ");
}
