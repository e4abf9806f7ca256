//! Small files that unpack to large ones, wide and deep tables, and patterns that backtrack.

use crate::limits::withstands;
use crate::support::{TINY, text};
use flate2::{Compression, write::GzEncoder};
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

/// Bytes that a file unpacks to: more than the budget of 256 MiB.
const UNPACKED: usize = 600 << 20;

/// Write `head` and then `piece` until [`UNPACKED`] bytes.
fn fill(file: &mut impl Write, head: &[u8], piece: &[u8]) {
    file.write_all(head).unwrap();
    let piece = piece.repeat((1 << 20) / piece.len());
    for _ in 0..UNPACKED / piece.len() {
        file.write_all(&piece).unwrap();
    }
}

/// A file in gzip of [`UNPACKED`] bytes.
fn gzip(path: &Path, level: Compression, head: &[u8], piece: &[u8]) {
    let mut file = GzEncoder::new(fs::File::create(path).unwrap(), level);
    fill(&mut file, head, piece);
    file.finish().unwrap();
}

/// A zip archive of these members, each deflated.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A zip archive of members that begin with their own bytes and go on with zeros until [`UNPACKED`] bytes.
fn zip_of_zeros(path: &Path, members: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, head) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        fill(&mut archive, head, &[0; 64]);
    }
    archive.finish().unwrap();
}

/// The header of an array of NumPy.
fn npy(descr: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn packed_files_have_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let best = Compression::best();
    gzip(&at("rows.tsv.gz"), best, b"path\ttext\n", b"0.wav\tab\n");
    gzip(&at("rows.jsonl.gz"), best, b"", b"{\"text\": \"ab\"}\n");
    gzip(&at("long.txt.gz"), best, b"", b"abcdefgh");
    // Packed so badly that it could be a log: the number of rows is bounded.
    gzip(&at("many.csv.gz"), Compression::fast(), b"a\n", b"1\n2\n3\n4\n5\n6\n7\n8\n");
    let idx = [0, 0, 8, 3, 0, 0x96, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8];
    fs::create_dir(at("idx")).unwrap();
    gzip(&at("idx/train-images-idx3-ubyte.gz"), best, &idx, &[0; 64]);
    gzip(&at("idx/train-labels-idx1-ubyte.gz"), best, &[0, 0, 8, 1, 0, 0x96, 0, 0], &[0; 64]);
    let states = npy("|i1", &format!("({}, 4)", UNPACKED / 4));
    let one = npy("|i1", &format!("({UNPACKED},)"));
    zip_of_zeros(
        &at("episodes.npz"),
        &[("obs.npy", &states), ("actions.npy", &one), ("rewards.npy", &one), ("episode_starts.npy", &one)],
    );
    fs::create_dir(at("zips")).unwrap();
    zip_of_zeros(&at("zips/images.zip"), &[("cat/1.png", b""), ("dog/1.png", b"")]);
    for path in ["rows.tsv.gz", "rows.jsonl.gz", "many.csv.gz", "idx", "episodes.npz", "zips/images.zip"] {
        let line = format!("data check {path}");
        withstands(&format!("{line}, {} MiB", UNPACKED >> 20), folder.path(), &line, &["SMALTI_MEMORY"]);
    }
    withstands("tokenize episodes.npz", folder.path(), "tokenize episodes.npz", &["SMALTI_MEMORY"]);
    for line in ["tokenize long.txt.gz", "data check long.txt.gz"] {
        withstands(line, folder.path(), line, &["error: "]);
    }
}

#[test]
fn long_texts_are_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let mut long = fs::File::create(folder.path().join("long.txt")).unwrap();
    let piece = text().repeat(1_000);
    for _ in 0..(300 << 20) / piece.len() {
        long.write_all(piece.as_bytes()).unwrap();
    }
    for line in ["tokenize long.txt", "data check long.txt"] {
        withstands(&format!("{line}, 300 MiB"), folder.path(), line, &[]);
    }
}

#[test]
fn members_that_state_absurd_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = vec![0_u8; 512];
    header[..7].copy_from_slice(b"cat.png");
    header[100..107].copy_from_slice(b"0000644");
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 9, 0x18, 0x4e, 0x72, 0xa0, 0]); // 10 TB
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    fs::write(folder.path().join("a.tar"), [header, vec![0; 1024]].concat()).unwrap();
    withstands("data check, a member of 10 TB", folder.path(), "data check a.tar", &["a.tar"]);
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x01\0\0\0\x02\0\0\0\x02\0\x10\0data\xff\xff\xff\x7f".to_vec();
    wav.extend([0; 64]);
    fs::write(folder.path().join("a.wav"), wav).unwrap();
    withstands("tokenize, a WAV of 2 GiB at 1 Hz", folder.path(), "tokenize a.wav", &["a.wav"]);
    let array = [npy("<f8", "(4611686018427387904, 4)"), vec![0; 64]].concat();
    fs::write(folder.path().join("a.npz"), zip(&[("obs.npy", &array)])).unwrap();
    withstands("tokenize, an array of 2^64 numbers", folder.path(), "tokenize a.npz", &["a.npz"]);
}

#[test]
fn wide_and_deep_tables_take_linear_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let names: Vec<String> = (0..100_000).map(|i| format!("obs.{i}")).collect();
    let ones = ["1"].repeat(names.len()).join(",");
    let episodes = format!(
        "episode,reward,terminated,truncated,action.x,{}\n0,1,0,0,0,{ones}\n0,1,1,0,0,{ones}\n",
        names.join(",")
    );
    fs::write(at("episodes.csv"), episodes).unwrap();
    withstands("tokenize, 100,000 columns", folder.path(), "tokenize episodes.csv --as trajectory", &[]);
    fs::write(at("rows.csv"), format!("{}\n{ones}\n{ones}\n", names.join(","))).unwrap();
    withstands("data check, 100,000 columns", folder.path(), "data check rows.csv", &[]);
    let mut object = String::new();
    names.iter().for_each(|name| write!(object, "\"{name}\": 1, ").unwrap());
    let object = format!("{{{object}\"text\": \"a\"}}\n");
    fs::write(at("rows.jsonl"), object.repeat(2)).unwrap();
    withstands("data check, 100,000 keys", folder.path(), "data check rows.jsonl", &[]);
    let deep = format!("{{\"text\": {}1{}}}\n", "[".repeat(1_000_000), "]".repeat(1_000_000));
    fs::write(at("deep.jsonl"), deep).unwrap();
    withstands(
        "data check, a list of 1,000,000 levels",
        folder.path(),
        "data check deep.jsonl",
        &["deep.jsonl"],
    );
}

#[test]
fn patterns_take_linear_time() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), text()).unwrap();
    let mut deep = folder.path().join("d");
    for _ in 0..40 {
        deep.push("a");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.txt"), text()).unwrap();
    for pattern in [format!("d/{}b.txt", "**/".repeat(20)), format!("d/**/{}b.txt", "*a".repeat(20))] {
        withstands(
            &format!("data check {pattern}"),
            folder.path(),
            &format!("data check {pattern}"),
            &["error: "],
        );
    }
    let freeze = format!("{}x", "*a".repeat(200));
    let line = format!(
        "train text {TINY} --set data.source=a.txt --set train.max_steps=1 --set train.freeze=[\"{freeze}\"] --out run"
    );
    withstands("train.freeze of 200 stars", folder.path(), &line, &["freeze"]);
}
