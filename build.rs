//! Packs the data that ships into `OUT_DIR/shipped`: the files of `data/`, and as a text for language modelling this
//! project's own source.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The files of `data/` that ship.
const FILES: [&str; 6] = [
    "digits/train-images-idx3-ubyte",
    "digits/train-labels-idx1-ubyte",
    "digits/t10k-images-idx3-ubyte",
    "digits/t10k-labels-idx1-ubyte",
    "touchtone.tar",
    "cartpole-mixed.npz",
];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);

    let mut paths = Vec::new();
    for folder in ["examples", "modalities", "src"] {
        // Cargo watches a folder with all that is in it. A published package has no `modalities`.
        if root.join(folder).is_dir() {
            println!("cargo::rerun-if-changed={folder}");
            find(&root.join(folder), "rs", &mut paths)?;
        }
    }
    for entry in fs::read_dir(&root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            println!("cargo::rerun-if-changed={}", path.display());
            paths.push(path);
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let shipped = out.join("shipped");
    for file in FILES {
        println!("cargo::rerun-if-changed=data/{file}");
        pack(&fs::read(root.join("data").join(file))?, &shipped, file)?;
    }

    let mut files = paths.iter().map(|path| Ok((name(&root, path), path))).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let mut text = String::new();
    for (name, path) in files {
        text += &format!("\n// {name}\n");
        fs::read_to_string(path)?.chars().for_each(|character| push_plain(&mut text, character));
    }
    pack(text.as_bytes(), &shipped, "text/smalti.txt")
}

/// Writes `bytes` to `folder` as gzip, under `file` and `.gz`.
fn pack(bytes: &[u8], folder: &Path, file: &str) -> io::Result<()> {
    let path = folder.join(format!("{file}.gz"));
    fs::create_dir_all(path.parent().unwrap_or(folder))?;
    let mut encoder = GzEncoder::new(fs::File::create(path)?, Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

/// The files below `folder` whose names end in `.extension`.
fn find(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, extension, found)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// The path below `root`, with `/` on every system.
fn name(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Adds `character` to `text` in printable ASCII. A model of characters gives each one a row of its table,
/// and those beyond ASCII are too rare here to be learned: what has a usual spelling is spelt, the rest left out.
fn push_plain(text: &mut String, character: char) {
    match character {
        '\n' | ' '..='~' => text.push(character),
        '\t' => text.push_str("    "),
        '×' => text.push('x'),
        '·' => text.push('*'),
        '–' | '—' | '−' => text.push('-'),
        '‘' | '’' => text.push('\''),
        '“' | '”' => text.push('"'),
        '…' => text.push_str("..."),
        '→' => text.push_str("->"),
        '↔' => text.push_str("<->"),
        '≤' => text.push_str("<="),
        '≥' => text.push_str(">="),
        '≈' => text.push('~'),
        _ => {}
    }
}
