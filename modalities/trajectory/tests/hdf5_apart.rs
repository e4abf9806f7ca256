//! HDF5 in a process of its own: a program that serves, and damaged files that it is asked to read.
//!
//! It runs without the usual harness, as the process that reads is this program over again.

#[path = "written/hdf5.rs"]
mod written;

use smalti_mutation::mutated;
use smalti_trajectory::hdf5::{read, read_apart, serve};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let asked = read_apart(b"\x89HDF\r\n\x1a\n").unwrap_err().to_string();
    assert!(asked.contains("must begin with smalti_trajectory::hdf5::serve"), "{asked}");
    if let Some(code) = serve() {
        return code;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = ["d4rl.hdf5", "main_data.hdf5", "films.hdf5"].map(|name| folder.path().join(name));
    let [d4rl, minari, films] = &paths;
    written::d4rl(d4rl);
    written::minari(minari);
    written::films(films);
    let good = paths.each_ref().map(|path| std::fs::read(path).unwrap());
    for (path, bytes) in paths.iter().zip(&good) {
        assert_eq!(read_apart(bytes).unwrap(), read(path).unwrap(), "{}", path.display());
    }
    println!("test what_a_process_of_its_own_reads_is_what_this_one_does ... ok");
    damaged(&good);
    println!("test damaged_files_are_errors_here ... ok");
    println!("\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

fn damaged(good: &[Vec<u8>]) {
    let files = smalti_mutation::files() as u64;
    let (mut episodes, mut refused, mut ended, mut slowest) = (0, 0, 0, Duration::ZERO);
    for number in 0..files {
        let begun = Instant::now();
        match read_apart(&mutated(good, number)) {
            Ok(read) => {
                assert!(read.iter().all(|episode| episode.validate().is_ok()), "mutation {number}");
                episodes += 1;
            }
            Err(error) if error.to_string().contains("was ended") => ended += 1,
            Err(_) => refused += 1,
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!(
        "HDF5: {files} mutations, {episodes} read, {refused} refused, {ended} ended the process; slowest {:.0} ms",
        slowest.as_secs_f64() * 1e3
    );
    assert!(episodes > 0 && refused > 0);
    assert!(slowest < Duration::from_secs(70), "a process works for a minute at most");
}
