//! Errors in a file, a setting or a run folder: the message names it, with expected and found; the exit code is 1 (failure) or
//! 2 (usage); nothing is left on disk.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

mod audio;
mod episodes;
mod folders;
mod images;
mod layouts;
mod rows;
mod runs;
mod settings;
mod sizes;
mod texts;
mod unpacking;

use crate::files::{log, npz, png, wav};
use crate::support::{self, Ran, TINY, ran, smalti};
use smalti::config::RunConfig;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder to work in. Commands run there, so that paths in arguments and messages are short.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, bytes)| place.write(name, bytes));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, line: &str) -> Ran {
        ran(smalti(self.0.path()), line)
    }

    fn works(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran
    }

    /// Run a command that must fail with exit code 1 and a message with all of `message`.
    fn fails(&self, line: &str, message: &[&str]) {
        failed(1, line, &self.run(line), message);
    }

    /// [`fails`](Self::fails) for a `train` that must not create its run folder.
    fn fails_untouched(&self, line: &str, message: &[&str]) {
        self.fails(&format!("{line} --out refused"), message);
        assert!(!self.path("refused").exists(), "smalti {line} left a run folder");
    }
}

fn failed(code: i32, line: &str, ran: &Ran, message: &[&str]) {
    assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
    assert_eq!(ran.out, "", "smalti {line}");
    for part in message {
        assert!(ran.err.contains(part), "smalti {line}\nexpected {part:?} in: {}", ran.err);
    }
    assert!(!ran.err.contains("panicked"), "smalti {line}\n{}", ran.err);
}

fn text_train() -> String {
    format!("train text {TINY} --set train.max_steps=6 --set data.source=a.txt --set outputs.text.context=16")
}

fn image_train() -> String {
    format!(
        "train image {TINY} --set train.epochs=0 --set train.max_steps=6 --set data.source=images --set inputs.image.patch_size=4"
    )
}

fn audio_train() -> String {
    format!(
        "train audio {TINY} --set train.max_steps=6 --set data.source=clips/manifest.tsv --set data.concat=[1,1] \
         --set inputs.audio.mel.n_mels=8 --set inputs.audio.max_slices=64"
    )
}

fn trajectory_train() -> String {
    format!(
        "train trajectory {TINY} --set train.max_steps=6 --set data.source=log.npz --set data.context=4 \
         --set data.holdout=0.3"
    )
}

fn text_place() -> Place {
    Place::new(&[("a.txt", support::text().as_bytes())])
}

fn image_place() -> Place {
    let place = Place::new(&[]);
    for split in ["train", "test"] {
        for (class, height) in [("high", 16), ("low", 8)] {
            (0..3).for_each(|i| place.write(&format!("images/{split}/{class}/{i}.png"), &png(8, height)));
        }
    }
    place
}

fn audio_place() -> Place {
    let manifest = b"path\ttext\tsplit\na.wav\tab\ttrain\nb.wav\tba\ttrain\nc.wav\tab\tvalid\n";
    let place = Place::new(&[("clips/manifest.tsv", manifest)]);
    ["a", "b", "c"]
        .iter()
        .for_each(|clip| place.write(&format!("clips/{clip}.wav"), &wav(8000, 2400, 1, 16)));
    place
}

fn trajectory_place() -> Place {
    Place::new(&[("log.npz", &npz(&log()))])
}

/// Invert one byte. In a PNG, the byte 13 from the end is part of a checksum.
fn damaged(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0xff;
    bytes
}

/// Open the task and the data of a preset with these settings.
fn open(preset: &str, set: &[String]) -> Opened {
    let config = RunConfig::of_preset_or_file(preset, set).unwrap();
    config.tasks()[0].open(&Modalities::builtin(), Start::New).unwrap()
}
