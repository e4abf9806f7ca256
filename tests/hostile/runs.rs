//! Folders and places of output that are not what they seem.

use crate::limits::withstands;
use crate::support::{TINY, ran, smalti, text};
use std::fs;
use std::io::Write as _;
use std::process::Command;

#[test]
fn an_output_never_replaces_what_is_no_file_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), text()).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    std::os::unix::fs::symlink("a.txt", folder.path().join("link")).unwrap();
    for (out, kind) in [("/dev/null", "/dev/null"), ("fifo", "fifo"), ("link", "link")] {
        let line = format!("tokenize a.txt --out {out}");
        withstands(&format!("tokenize --out {kind}"), folder.path(), &line, &[out]);
        let line = format!("train text {TINY} --set data.source=a.txt --set train.max_steps=1 --out {out}");
        withstands(&format!("train --out {kind}"), folder.path(), &line, &[out]);
    }
    assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), text());
}

#[test]
fn a_log_of_millions_of_lines_is_read_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), text()).unwrap();
    let train = format!(
        "train text {TINY} --set data.source=a.txt --set train.max_steps=2 --set outputs.text.context=16 --out run"
    );
    let trained = ran(smalti(folder.path()), &train);
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    let path = folder.path().join("run/metrics.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let line = log.lines().next().unwrap();
    let mut long = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    for _ in 0..2_000_000 {
        writeln!(long, "{line}").unwrap();
    }
    long.into_inner().unwrap();
    for line in ["info run", "train --resume --out run --set train.max_steps=3"] {
        let folder = folder.path();
        let name = format!("metrics.jsonl of 2,000,000 lines: {line}");
        let outcome = crate::limits::attacked(folder, line);
        println!("| {name} | {:?} | {} MiB | {:.1} s | |", outcome.code, outcome.peak, outcome.seconds);
        assert!(outcome.peak < 700 && outcome.code.is_some_and(|code| code < 3), "{name}: {}", outcome.error);
    }
}
