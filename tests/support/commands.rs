//! Commands and their output; paths of built-in data.
#![allow(dead_code)] // a test file uses some of them

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

pub const WAV: &str = "builtin:touchtone.tar/clips/000.wav";
pub const IDX: &str = "builtin:digits/t10k-images-idx3-ubyte";
pub const LOG: &str = "builtin:cartpole-mixed.npz";
pub const TEXT: &str = "builtin:text/smalti.txt";

pub fn smalti(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smalti")).args(args).output().unwrap()
}

/// The output of a command, which must succeed.
pub fn printed(args: &[&str]) -> String {
    let output = smalti(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[args, &["--json"]].concat())).unwrap()
}

/// The error of a command, which must fail with this exit code.
pub fn refusal(code: i32, args: &[&str]) -> String {
    let output = smalti(args);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    errors
}

/// A folder with these files.
pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

pub fn at(folder: &TempDir, path: &str) -> String {
    folder.path().join(path).to_str().unwrap().into()
}

/// A 1×2 image.
pub fn bmp() -> Vec<u8> {
    let mut file = b"BM".to_vec();
    // Size of the file, reserved, offset of the pixels; size of the header, width, height.
    [62_u32, 0, 54, 40, 2, 1].iter().for_each(|number| file.extend(number.to_le_bytes()));
    [1_u16, 24].iter().for_each(|number| file.extend(number.to_le_bytes()));
    file.extend([0; 24]);
    file.extend([0, 0, 255, 255, 0, 0, 0, 0]); // red, blue, two bytes of padding
    file
}
