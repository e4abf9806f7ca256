//! The memory of a table does not grow with the bytes of its rows.

#![cfg(target_os = "linux")]

use smalti::table::{Source, SourceRegistry};
use std::io::{BufWriter, Write};

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap()
}

/// Rows of a CSV file and of JSON lines, 80 MB each. One test, because the memory is that of the process.
#[test]
fn a_table_holds_some_bytes_for_each_row() {
    const ROWS: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let words = "word ".repeat(80);
    for (name, header) in [("t.csv", "text,n\n"), ("t.jsonl", "")] {
        let path = folder.path().join(name);
        let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
        file.write_all(header.as_bytes()).unwrap();
        for row in 0..ROWS {
            match name {
                "t.csv" => writeln!(file, "\"{words}\n{row}\",{row}").unwrap(),
                _ => writeln!(file, "{{\"text\": \"{words}\", \"n\": {row}}}").unwrap(),
            }
        }
        drop(file);
        let before = resident();
        let table = SourceRegistry::builtin().open(&Source::new(path.to_str().unwrap())).unwrap();
        assert_eq!(table.len() as u64, ROWS);
        for row in 0..table.len() {
            assert_eq!(table.value(row, "n").unwrap(), (row as f64).into());
        }
        let held = resident().saturating_sub(before);
        assert!(held <= 16 * ROWS + (16 << 20), "{name}: {held} bytes");
    }
}
