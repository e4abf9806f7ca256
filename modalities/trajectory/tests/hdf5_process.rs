//! Reading HDF5 in a separate process: valid and damaged files.
//!
//! It runs without the test harness, because the subprocess is this program again.

#[path = "written/hdf5.rs"]
mod written;

use smalti_mutation::mutated;
use smalti_trajectory::hdf5::{read, read_in_subprocess, serve};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let error = read_in_subprocess(b"\x89HDF\r\n\x1a\n").unwrap_err().to_string();
    assert!(error.contains("must begin with smalti_trajectory::hdf5::serve"), "{error}");
    if let Some(code) = serve() {
        return code;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = ["d4rl.hdf5", "main_data.hdf5", "images.hdf5"].map(|name| folder.path().join(name));
    let [d4rl, minari, images] = &paths;
    written::d4rl(d4rl);
    written::minari(minari);
    written::with_images(images);
    let valid = paths.each_ref().map(|path| std::fs::read(path).unwrap());
    for (path, bytes) in paths.iter().zip(&valid) {
        assert_eq!(read_in_subprocess(bytes).unwrap(), read(path).unwrap(), "{}", path.display());
    }
    println!("test the_subprocess_reads_the_same_episodes ... ok");
    damaged(&valid);
    println!("test damaged_files_are_errors ... ok");
    println!("\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

fn damaged(valid: &[Vec<u8>]) {
    let files = smalti_mutation::files() as u64;
    let (mut episodes, mut rejected, mut crashed, mut slowest) = (0, 0, 0, Duration::ZERO);
    for number in 0..files {
        let begun = Instant::now();
        match read_in_subprocess(&mutated(valid, number)) {
            Ok(read) => {
                assert!(read.iter().all(|episode| episode.validate().is_ok()), "mutation {number}");
                episodes += 1;
            }
            Err(error) if error.to_string().contains("crashed") => crashed += 1,
            Err(_) => rejected += 1,
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!(
        "HDF5: {files} mutations, {episodes} read, {rejected} rejected, {crashed} crashed the subprocess; slowest {:.0} ms",
        slowest.as_secs_f64() * 1e3
    );
    assert!(episodes > 0 && rejected > 0);
    assert!(slowest < Duration::from_secs(70), "the CPU time is limited to a minute");
}
