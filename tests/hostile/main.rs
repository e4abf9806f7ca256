//! Hostile files and settings, made by generators: each ends in an error of ours, under a limit of memory and of time.
//!
//! `cargo test --release --test hostile -- --nocapture --test-threads 1` prints a table of peak memory and processor time;
//! with `SMALTI_ATTACKED=PROGRAM` it measures another program and asserts nothing.

#![cfg(all(
    target_os = "linux",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

mod checkpoints;
mod files;
mod limits;
mod pickles;
mod runs;
mod settings;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the output of an attacked command is not read")]
mod support;
