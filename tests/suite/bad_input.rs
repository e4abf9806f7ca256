//! Errors in a file, a setting or a run folder: the message names it, with expected and found; the exit code is 1 (failure) or
//! 2 (usage); nothing is left on disk.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::files;
use crate::support;

use files::{actions, idx, log, log_with, npz, png, wav};
use smalti::config::RunConfig;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use support::smalti_under;
use support::{Ran, TINY, ran, smalti};
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

#[test]
fn unusable_texts_are_named() {
    let place = text_place();
    place.write("empty.txt", b"");
    place.write("short.txt", b"hi");
    place.write("latin.txt", &b"caf\xe9 ".repeat(99));
    place.write("image.txt", &png(8, 8));
    place.write("folder/a.bin", b"1");
    let cases: [(&str, &[&str]); 6] = [
        ("none.txt", &["none.txt", "not found", "expected a file"]),
        ("empty.txt", &["empty.txt", "empty"]),
        ("short.txt", &["short.txt", "expected at least 17 tokens", "found 1"]),
        ("latin.txt", &["latin.txt", "UTF-8", "0xe9 at offset 3"]),
        ("image.txt", &["image.txt", "UTF-8", "0x89 at offset 0"]),
        ("folder", &["folder", "it is in none of the known layouts"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", text_train()), message);
    }
    place.fails_untouched(&format!("{} --set data.source=", text_train()), &["data.source"]);
}

/// A trained and a published vocabulary train and generate; others are errors.
#[test]
fn vocabularies_are_trained_read_or_named() {
    let place = text_place();
    place.write("words/vocab.txt", b"[UNK]\n[CLS]\n[SEP]\nthe\nquick\n##s\n");
    place.write("twice.txt", b"[UNK]\n[CLS]\n[SEP]\nthe\nthe\n");
    place.write("none.json", b"{\"version\": \"1.0\"}");
    place.write("alone/encoder.json", b"{\"a\": 0}");
    let with = |vocabulary: &str| format!("{} --set outputs.text.vocabulary={vocabulary}", text_train());
    let cases: [(&str, &[&str]); 7] = [
        ("letters", &["unknown variant `letters`"]),
        ("{bpe=256}", &["outputs.text: text: vocabulary.bpe: expected 257 or more", "found 256"]),
        ("{file=\"nowhere\"}", &["nowhere: not found; expected a vocabulary: tokenizer.json"]),
        (
            "{file=\"alone\"}",
            &["alone/encoder.json: not found; expected vocab.bpe or merges.txt in the same folder"],
        ),
        ("{file=\"none.json\"}", &["none.json: not readable as tokenizer.json: it has no \"model\""]),
        (
            "{file=\"twice.txt\"}",
            &["twice.txt: not readable as vocab.txt: line 5 is \"the\", the same as line 4"],
        ),
        ("{file=\"a.txt\"}", &["a.txt: not readable as vocab.txt"]),
    ];
    for (vocabulary, message) in cases {
        place.fails_untouched(&with(vocabulary), message);
    }
    for (run, vocabulary) in [("pairs", "{bpe=290}"), ("published", "{file=\"words\"}")] {
        place.works(&format!("{} --set outputs.text.context=4 --out {run}", with(vocabulary)));
        let written = place.works(&format!("generate {run} --prompt the --max-length 5")).out;
        assert!(written.starts_with("the"), "{written}");
        let metrics = place.works(&format!("eval {run} --json")).out;
        assert_eq!(metrics.contains("bits_per_byte"), run == "pairs", "{metrics}");
    }
    std::fs::remove_dir_all(place.path("words")).unwrap();
    place.works("train --resume --out published");
}

#[test]
fn invalid_prompts_and_sampling_options_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let cases: [(&str, &[&str]); 5] = [
        (
            "--prompt ox\u{e9}",
            &["--prompt: character 'é' (U+00E9) at index 2", "not in the vocabulary of 30 characters"],
        ),
        ("--prompt=", &["--prompt: expected at least one token; found \"\""]),
        ("--top-p 2", &["--top-p: expected a number above 0 and at most 1; found 2"]),
        ("--top-p 0", &["--top-p: expected a number above 0 and at most 1; found 0"]),
        ("--temperature=-1", &["--temperature: expected a number of at least 0; found -1"]),
    ];
    for (options, message) in cases {
        place.fails(&format!("generate run {options}"), message);
    }
    place.works("generate run --prompt ox --max-length 3");
}

#[test]
fn unusable_image_sources_are_named() {
    let place = image_place();
    place.write("empty.tar", b"");
    place.write("text.tar", &b"no archive ".repeat(99));
    place.write("loose/train/one.png", &png(8, 8));
    for (name, file) in
        [("train-images-idx3", idx(0x803, &[4, 8, 8], 256)), ("train-labels-idx1", idx(0x801, &[4], 4))]
    {
        let set = |folder: &str, bytes: &[u8]| place.write(&format!("{folder}/{name}-ubyte"), bytes);
        set("cut", &file[..file.len() - 1]);
        set("swapped", &if file[3] == 3 { idx(0x801, &[4], 4) } else { idx(0x803, &[4, 8, 8], 256) });
        set("fewer", &if file[3] == 3 { file } else { idx(0x801, &[3], 3) });
    }
    let cases: [(&str, &[&str]); 7] = [
        ("none", &["none", "not found", "expected a file, a folder, an archive or a pattern"]),
        ("empty.tar", &["empty.tar", "empty"]),
        ("text.tar", &["text.tar", "not readable as a tar archive"]),
        ("loose", &["loose", "no field \"split\"", "file, label"]),
        ("cut", &["cut/train-images-idx3-ubyte", "IDX", "has 4×8×8 = 256 bytes; 255 follow"]),
        (
            "swapped",
            &["swapped/train-images-idx3-ubyte", "begins with [00, 00, 08, 01]; expected [00, 00, 08, 03]"],
        ),
        ("fewer", &["fewer/train-images-idx3-ubyte", "expected a label for each of 4 images; found 3"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", image_train()), message);
    }
    let splits = format!("{} --set data.train=split=practice", image_train());
    place.fails_untouched(&splits, &["images", "data.train: selects none of the 12 rows"]);
}

#[test]
fn corrupt_images_are_named() {
    let whole = png(8, 8);
    let cases: [(&str, Vec<u8>, &[&str]); 4] = [
        ("empty", vec![], &["empty"]),
        ("cut", whole[..60].to_vec(), &["not readable as image", "end of file"]),
        ("corrupt", damaged(whole.clone(), whole.len() - 13), &["not readable as image", "CRC"]),
        ("text", b"a cat".to_vec(), &["unknown format; PNG, JPEG, GIF, BMP, TIFF, WebP and IDX are known"]),
    ];
    for (name, bytes, message) in cases {
        let place = image_place();
        place.write("images/train/low/1.png", &bytes);
        let message = [&["images/train/low/1.png"], message].concat();
        place.fails_untouched(&image_train(), &message);
        assert!(!place.path("refused").exists(), "{name}");
    }
}

/// The size of an image is checked when its sample is read: in training, and in evaluation.
#[test]
fn an_image_that_does_not_divide_into_patches_is_named() {
    for file in ["images/train/low/1.png", "images/test/low/1.png"] {
        let place = image_place();
        place.write(file, &png(9, 8));
        let message = [file, "image is 8×9 pixels; width must be a multiple of the patch size 4"];
        place.fails(&format!("{} --out run", image_train()), &message);
    }
}

/// Images that cannot be read or tokenized: in training, in evaluation, and while the tokenizer is fitted.
#[test]
fn skipped_corrupt_samples_are_replaced_and_named() {
    let place = image_place();
    place.write("images/train/low/1.png", b"torn");
    place.write("images/train/high/2.png", &png(9, 8));
    place.write("images/test/low/0.png", b"torn too");
    let line = format!("{} --set data.corrupt_samples=skip --set train.log_every=1 --out run", image_train());
    let trained = place.works(&line);
    let named = ["train/low/1.png", "train/high/2.png", "test/low/0.png"];
    let info = place.works("info run").out;
    for name in named {
        assert_eq!(trained.out.matches(name).count(), 1, "{}", trained.out);
        assert_eq!(trained.err.matches(name).count(), 1, "{}", trained.err);
        assert_eq!(info.matches(name).count(), 1, "{info}");
    }
    assert!(info.contains("not used: "), "{info}");
    let eval = place.works("eval run --json");
    assert!(eval.err.contains("not used: ") && eval.err.contains("test/low/0.png"), "{}", eval.err);
    place.works("train --resume --out run");
    for name in ["train/high/0.png", "train/high/1.png", "train/low/0.png", "train/low/2.png"] {
        place.write(&format!("images/{name}"), b"torn");
    }
    place.fails(&line.replace("--out run", "--out none"), &["images/train/"]);
}

/// The tokenizer of the first source reads all sources of a task; each has its weight.
#[test]
fn additional_sources_are_mixed_in() {
    let place = image_place();
    (0..3).for_each(|i| place.write(&format!("others/train/low/{i}.png"), &png(8, 8)));
    (0..2).for_each(|i| place.write(&format!("others/test/low/{i}.png"), &png(8, 8)));
    place.write("others/train/low/notes.txt", b"n");
    let more = |path: &str, weight: &str| {
        format!(r#"--set data.source=["images",{{path="{path}",weight={weight}}}]"#)
    };
    let ran = place.works(&format!("{} {} --out run", image_train(), more("others", "2")));
    assert!(ran.err.contains("not used: others/train/low/notes.txt"), "{}", ran.err);
    place.works("train --resume --out run");
    let message = ["others: expected a positive weight; found 0"];
    place.fails_untouched(&format!("{} {}", image_train(), more("others", "0.0")), &message);
    place.write("others/test/wide/0.png", &png(8, 8));
    let message = ["wide/0.png: expected a label of the training rows: high, low; found \"wide\""];
    place.fails_untouched(&format!("{} {}", image_train(), more("others", "1")), &message);
    std::fs::remove_dir_all(place.path("others/test/wide")).unwrap();
    let message = ["train.batch_size", "a batch of 4 has none of task"];
    place.fails(&format!("{} {} --out thin", image_train(), more("images", "0.01")), &message);
}

#[test]
fn cached_tokens_give_the_same_weights() {
    let place = image_place();
    let line = format!("{} --set inputs.image.augment={{}}", image_train());
    place.works(&format!("{line} --out plain"));
    for run in ["first", "second"] {
        place.works(&format!("{line} --set data.cache=kept --out {run}"));
        for file in ["model.safetensors", "state.safetensors"] {
            let bytes = |run: &str| std::fs::read(place.path(&format!("{run}/{file}"))).unwrap();
            assert!(bytes("plain") == bytes(run), "{run}/{file}");
        }
    }
    let folders = std::fs::read_dir(place.path("kept")).unwrap();
    let files =
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>();
    assert_eq!(files, 12, "each image is cached once");
}

/// A run that fails saves the steps so far.
#[test]
fn a_corrupt_validation_image_costs_no_step() {
    let place = image_place();
    place.write("images/test/low/1.png", &png(9, 8));
    place.fails(&format!("{} --out run", image_train()), &["width must be a multiple of the patch size 4"]);
    assert!(place.path("run/state.safetensors").exists(), "six steps are lost");
    place.write("images/test/low/1.png", &png(8, 8));
    assert!(place.works("train --resume --out run").out.contains("run is at step 6"));
}

/// Other data may have fewer classes, or classes in another order.
#[test]
fn classes_are_matched_by_name() {
    let place = image_place();
    let (high, low) = (png(8, 16), png(8, 8));
    let write = |source: &str, images: &[(&str, &[u8])]| {
        for (class, image) in images {
            place.write(&format!("{source}/train/{class}/0.png"), image);
            place.write(&format!("{source}/test/{class}/0.png"), image);
        }
    };
    write("sorted", &[("high", &high), ("low", &low)]);
    write("turned", &[("high", &high), ("low", &low)]);
    place.write("turned/classes.txt", b"low\nhigh\n");
    write("fewer", &[("low", &low)]);
    write("wrong", &[("high", &low)]);
    write("more", &[("high", &high), ("low", &low), ("wide", &low)]);

    place.works(&format!("{} --out run", image_train()));
    let eval = |data: &str| place.works(&format!("eval run --data {data} --json")).out;
    assert_eq!(eval("sorted"), eval("turned"));
    assert_ne!(eval("fewer"), eval("wrong"), "each has a single class, and they differ");
    let message = ["wide/0.png", "expected a label of the training rows: high, low; found \"wide\""];
    place.fails("eval run --data more", &message);
}

#[test]
fn a_class_that_the_training_split_lacks_is_named() {
    let place = Place::new(&[]);
    for (split, n) in [("train", 3_u8), ("t10k", 4)] {
        let images = idx(0x803, &[u32::from(n), 8, 8], 64 * usize::from(n));
        let labels: Vec<u8> = idx(0x801, &[u32::from(n)], 0).into_iter().chain(0..n).collect();
        place.write(&format!("numbered/{split}-images-idx3-ubyte"), &images);
        place.write(&format!("numbered/{split}-labels-idx1-ubyte"), &labels);
    }
    let message = [
        "outputs.class: numbered/t10k-images-idx3-ubyte image 4: expected a label of the training rows: 0, 1, 2; found \"3\"",
    ];
    place.fails_untouched(&format!("{} --set data.source=numbered", image_train()), &message);
}

/// Open the task and the data of a preset with these settings.
fn open(preset: &str, set: &[String]) -> Opened {
    let config = RunConfig::of_preset_or_file(preset, set).unwrap();
    config.tasks()[0].open(&Modalities::builtin(), Start::New).unwrap()
}

#[test]
fn files_that_are_not_images_are_listed() {
    let place = image_place();
    place.write("images/train/low/notes.txt", b"n");
    place.write("images/test/low/scan.pdf", b"t");
    let source = format!("data.source={:?}", place.path("images").display().to_string());
    let Opened { train, .. } = open("image", &[source, "inputs.image.patch_size=4".into()]);
    let names: Vec<&str> = train.skipped().iter().filter_map(|(path, _)| path.rsplit('/').next()).collect();
    assert_eq!(names, ["scan.pdf", "notes.txt"], "both splits, each file once");
    assert!(train.skipped().iter().all(|(_, why)| *why == "not an image or audio clip"));
}

#[test]
fn unusable_manifests_are_named() {
    let place = audio_place();
    place.write("png.tsv", &png(8, 8));
    place.write("empty.tsv", b"");
    place.write("headless.tsv", b"a.wav\tab\nb.wav\tba\nc.wav\tab\n");
    place.write("ragged.tsv", b"path\ttext\na.wav\tab\nb.wav\n");
    place.write("rowless.tsv", b"path\ttext\tsplit\n");
    place.write("out.tsv", b"path\ttext\n../secret.wav\tab\n../secret.wav\tba\n");
    let cases: [(&str, &[&str]); 7] = [
        ("none.tsv", &["none.tsv", "not found"]),
        ("png.tsv", &["png.tsv", "UTF-8"]),
        ("empty.tsv", &["empty.tsv", "empty"]),
        ("headless.tsv", &["inputs.audio.field: no row has the field \"audio\"; headless.tsv has a.wav, ab"]),
        ("ragged.tsv", &["ragged.tsv", "line 3: expected 2 fields, as the header names; found 1"]),
        ("rowless.tsv", &["rowless.tsv", "expected rows below the header"]),
        ("out.tsv", &["out.tsv row ", "../secret.wav", "leads out of its folder"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", audio_train()), message);
    }
    let filter = format!("{} --set data.train=speaker=theo", audio_train());
    place.fails_untouched(&filter, &["manifest.tsv", "no field \"speaker\"", "path, text, split"]);
    let nobody = format!("{} --set data.validation=split=none", audio_train());
    place.fails_untouched(&nobody, &["data.validation", "selects none of the 3 rows"]);
    let both = format!("{} --set data.train=text=ab --set data.validation=split=valid", audio_train());
    place.fails_untouched(&both, &["data.validation", "selects 1 rows that data.train selects too"]);
    let all = format!("{} --set data.validation=text!=none", audio_train());
    place.fails_untouched(&all, &["data.train", "selects none of the 3 rows"]);
}

/// Rows outside the validation split are training rows. A trained run may be evaluated on any rows.
#[test]
fn a_row_is_in_the_training_or_the_validation_split() {
    let place = audio_place();
    let source = format!("data.source={:?}", place.path("clips/manifest.tsv").display().to_string());
    let Opened { train, validation, .. } = open("audio", &[source, "data.validation=\"split=valid\"".into()]);
    assert_eq!((train.len(), validation.len()), (2, 1));
    let splits = "--set data.train=split=train --set data.validation=split=valid";
    place.works(&format!("{} {splits} --out run", audio_train()));
    place.works("eval run --set data.train=split=valid --set data.validation=split=train");
}

/// Corrupt audio clips, and fragments of their errors.
fn corrupt_clips() -> [(Vec<u8>, &'static [&'static str]); 7] {
    [
        (vec![], &["empty"]),
        (wav(8000, 0, 1, 16), &["not readable as WAV", "the clip has no samples"]),
        (wav(1, 100, 1, 16), &["not readable as WAV", "1 Hz; 1000 to 384000 Hz are accepted"]),
        (wav(8000, 800, 7, 8), &["not readable as WAV", "mu-law; only PCM and IEEE float are supported"]),
        (wav(8000, 800, 1, 12), &["not readable as WAV", "12 bits; 8, 16, 24 and 32 are supported"]),
        (
            wav(8000, 800, 1, 16)[..500].to_vec(),
            &["not readable as WAV", "truncated: expected 1600 bytes in its chunk \"data\"; found 456"],
        ),
        (png(8, 8), &["not readable as audio", "expected WAV, FLAC, MP3"]),
    ]
}

/// A clip is read when its sample is needed, after the run folder is created. The run resumes with a repaired file.
#[test]
fn corrupt_clips_in_training_are_named() {
    for (bytes, message) in corrupt_clips() {
        let place = audio_place();
        place.write("clips/c.wav", &bytes);
        let message = [&["c.wav"], message].concat();
        place.fails(&format!("{} --out run", audio_train()), &message); // while the bands are measured
        let unmeasured = format!("{} --set inputs.audio.normalize=false --out run", audio_train());
        place.fails(&unmeasured, &message); // in training
        place.write("clips/c.wav", &wav(8000, 2400, 1, 16));
        assert!(place.works("train --resume --out run").out.contains("run is at step 6"));
    }
    let place = audio_place();
    std::fs::remove_file(place.path("clips/c.wav")).unwrap();
    place.fails(&format!("{} --out run", audio_train()), &["clips/c.wav", "not found"]);
}

/// Lists of a corpus that cannot be read are errors before a run folder is created.
#[test]
fn unusable_corpora_of_speech_are_named() {
    let place = Place::new(&[
        ("command/wav.scp", b"a sph2pipe -f wav a.sph |\n"),
        ("command/text", b"a one\n"),
        ("kaldi/wav.scp", b"a a.wav\nb b.wav\n"),
        ("kaldi/text", b"a one\nc two\n"),
        ("cut/wav.scp", b"r r.wav\n"),
        ("cut/segments", b"a r 2 1\n"),
        ("libri/1/1-2.trans.txt", b"1-2-0 ONE\n1-2-0 TWO\n"),
        ("libri/1/1-2-0.flac", b"fLaC"),
        ("lj/metadata.csv", b"a|one\nb\n"),
        ("lj/wavs/a.wav", b"RIFF"),
        ("cv/train.tsv", b"client_id\tpath\tsentence\ns\ta.mp3\n"),
        ("cv/clips/a.mp3", b"x"),
        ("nemo.jsonl", b"{\"audio_filepath\": \"a.wav\", \"text\": \"one\"}\n{\n"),
        ("path.jsonl", b"{\"path\": \"a.wav\"}\n"),
    ]);
    let cases: [(&str, &[&str]); 9] = [
        (
            "command",
            &["command/wav.scp", "line 1", "sph2pipe -f wav a.sph |", "never run", "WAV or FLAC files"],
        ),
        ("kaldi", &["kaldi/text", "line 2", "expected an utterance of wav.scp; found \"c\""]),
        ("cut", &["cut/segments", "line 1", "a start and a later end in seconds; found 2 and 1"]),
        ("libri", &["libri/1/1-2.trans.txt", "line 2", "the id \"1-2-0\" occurs twice"]),
        ("lj", &["lj/metadata.csv", "line 2", "expected id|text", "found 1 fields"]),
        ("cv", &["cv/train.tsv", "line 2", "expected 3 fields", "found 2"]),
        ("nemo.jsonl", &["nemo.jsonl", "line 2", "expected a JSON object"]),
        (
            "{path=\"path.jsonl\",layout=\"nemo\"}",
            &["path.jsonl", "no field \"audio_filepath\"", "there is path"],
        ),
        ("{path=\"lj\",layout=\"kaldi\"}", &["lj: expected a folder with the file wav.scp; found none"]),
    ];
    for (source, message) in cases {
        place.fails_untouched(&format!("train audio {TINY} --set data.source={source}"), message);
    }
    place.write("kaldi/text", b"a one\nb two\n");
    let message = [".wav: not found", "kaldi/wav.scp row", "folders above"];
    place.fails(&format!("train audio {TINY} --set data.source=kaldi --out run"), &message);
}

#[test]
fn corrupt_clips_to_transcribe_are_named() {
    let place = audio_place();
    place.works(&format!("{} --out run", audio_train()));
    for (bytes, message) in corrupt_clips() {
        place.write("bad.wav", &bytes);
        place.fails("transcribe run clips/a.wav bad.wav", &[&["bad.wav"], message].concat());
    }
    place.write("long.wav", &wav(8000, 8000 * 60, 1, 16));
    place.fails(
        "transcribe run long.wav",
        &["long.wav", "6000 frames make 1500 slices of 4; max_slices is 64"],
    );
    place.fails("transcribe run none.wav", &["none.wav", "not found"]);
    for option in ["--language en", "--task translate", "--timestamps", "--beams 2", "--temperature 0.5"] {
        let name = option.split(' ').next().unwrap();
        let message = "applies to outputs with head = \"generate\" only; leave it out for outputs.text";
        place.fails(&format!("transcribe run clips/a.wav {option}"), &[name, message]);
    }
    let found = "the run has inputs audio; outputs text";
    place.fails("classify run clips/a.wav", &["run: expected an output with classes", found]);
    place.fails("generate run", &["run: expected an output that continues texts", found]);
}

#[test]
fn corrupt_images_to_classify_are_named() {
    let place = image_place();
    place.works(&format!("{} --out run", image_train()));
    let whole = png(8, 8);
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("empty.png", vec![], &["empty"]),
        ("cut.png", whole[..60].to_vec(), &["not readable as image"]),
        ("corrupt.png", damaged(whole.clone(), whole.len() - 13), &["not readable as image", "CRC"]),
        ("sound.png", wav(8000, 800, 1, 16), &["unknown format"]),
        ("odd.png", png(8, 7), &["image is 7×8 pixels; height must be a multiple of the patch size 4"]),
        ("large.png", png(8, 128), &["image has 32×2 patches; at most 4×2 are allowed"]),
        ("cut-idx3-ubyte", idx(0x803, &[2, 8, 8], 100), &["has 2×8×8 = 128 bytes; 100 follow"]),
        ("claim-idx3-ubyte", idx(0x803, &[u32::MAX; 3], 8), &["IDX", "8 follow"]),
    ];
    for (name, bytes, message) in cases {
        place.write(name, &bytes);
        place.fails(&format!("classify run images/test/low/0.png {name}"), &[&[name], message].concat());
    }
    place.fails("classify run none.png", &["none.png", "not found"]);
    let message = ["run: expected an audio input", "the run has inputs image; outputs class"];
    place.fails("transcribe run none.wav", &message);
}

#[test]
fn unusable_logs_are_named() {
    let place = trajectory_place();
    let mut nan: Vec<u8> = log()[0].3.clone();
    nan[60..64].copy_from_slice(&f32::NAN.to_le_bytes());
    let whole = npz(&log());
    let without = |name: &str| npz(&log().into_iter().filter(|array| array.0 != name).collect::<Vec<_>>());
    let cases: [(&str, Vec<u8>, &[&str]); 15] = [
        ("empty.npz", vec![], &["empty"]),
        ("cut.npz", whole[..300].to_vec(), &["npz"]),
        ("corrupt.npz", damaged(whole, 100), &["npz", "obs"]),
        ("sound.npz", wav(8000, 800, 1, 16), &["npz", "JSON lines"]),
        (
            "nan.npz",
            log_with(("obs", "<f4", "(24, 2)".into(), nan)),
            &["episode 1: observations at step 1 is NaN; it must be finite"],
        ),
        (
            "ragged.npz",
            log_with(("rewards", "<f4", "(23,)".into(), vec![0; 92])),
            &["rewards must have 24 rows, as obs has; found 23"],
        ),
        (
            "starts.npz",
            without("episode_starts"),
            &["no column for episode boundaries", "\"episode_starts\"", "found: actions, obs, rewards"],
        ),
        ("negative.npz", log_with(actions(|_| -1)), &["actions at step 0 is -1; it must be a number from 0"]),
        (
            "claim.npz",
            log_with(("obs", "<f4", "(1000000000, 2)".into(), vec![0; 192])),
            &["\"obs\"", "(1000000000, 2)", "exceeds"],
        ),
        (
            "ragged.jsonl",
            br#"{"observations": [[1], [1, 2]], "actions": [0, 1], "rewards": [1, 1]}"#.to_vec(),
            &["line 1", "observations"],
        ),
        (
            "unknown.jsonl",
            br#"{"observation": [[1]], "actions": [0], "rewards": [1]}
{"observation": [[1]], "actions": [0], "rewards": [1]}"#
                .to_vec(),
            &["no row has the field \"observations\"", "observation, actions, rewards"],
        ),
        (
            "cell.csv",
            b"episode,obs.x,action,reward\n0,1,left,1\n".to_vec(),
            &["line 2", "\"action\"", "left"],
        ),
        (
            "column.csv",
            b"episode,obs.x,action,colour\n0,1,0,1\n".to_vec(),
            &["line 1", "\"colour\" is unknown"],
        ),
        ("cut.parquet", b"PAR1 and no more".to_vec(), &["Parquet"]),
        ("cut.hdf5", b"\x89HDF\r\n\x1a\n and no more".to_vec(), &["HDF5"]),
    ];
    for (name, bytes, message) in cases {
        place.write(name, &bytes);
        let line = format!("{} --set data.source={name}", trajectory_train());
        place.fails_untouched(&line, &[&[name], message].concat());
    }
    place.fails_untouched(
        &format!("{} --set data.source=none.npz", trajectory_train()),
        &["none.npz", "not found"],
    );
}

/// An action number of 4,000,000,000 must not create a head of as many classes.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_action_number_is_an_error_in_bounded_memory() {
    let place = Place::new(&[("log.npz", &log_with(actions(|step| step % 2 * 4_000_000_000)))]);
    let line = format!("{} --out refused", trajectory_train());
    let ran = ran(smalti_under("ulimit -v 4000000", place.0.path()), &line);
    failed(1, &line, &ran, &["outputs.actions", "4000000000"]);
    assert!(!place.path("refused").exists());
}

#[test]
fn rollouts_that_do_not_fit_are_named() {
    let place = trajectory_place();
    place.works(&format!("{} --out run", trajectory_train()));
    place.fails(
        "rollout run --env nonsense",
        &["--env nonsense: expected a built-in environment (cartpole) or a command", "no program"],
    );
    place.fails(
        "rollout run",
        &["--env cartpole: has states of 4 numbers", "the model has learned states of 2"],
    );
    place.fails("rollout run --episodes 0", &["--episodes: expected 1 or more"]);
}

#[test]
fn unusable_files_to_tokenize_are_named() {
    let place = Place::new(&[
        ("a.txt", b"abc"),
        ("empty.txt", b""),
        ("latin.txt", b"caf\xe9"),
        ("blob", b"\xff\0\x01"),
    ]);
    place.write("cut.png", &png(8, 8)[..60]);
    place.write("odd.png", &png(9, 8));
    place.write("hz.wav", &wav(1, 100, 1, 16));
    place.write("cut.npz", &npz(&log())[..300]);
    let cases: [(&str, &[&str]); 12] = [
        ("none.txt", &["none.txt", "not found"]),
        ("empty.txt", &["empty.txt", "empty"]),
        ("latin.txt", &["latin.txt", "UTF-8"]),
        ("blob", &["blob", "--as text, image, audio or trajectory"]),
        ("cut.png", &["cut.png", "not readable as image"]),
        ("odd.png", &["odd.png", "8×9 pixels; width must be a multiple of the patch size 4"]),
        ("hz.wav", &["hz.wav", "1 Hz; 1000 to 384000 Hz"]),
        ("cut.npz", &["cut.npz", "npz"]),
        ("a.txt --as image", &["a.txt", "unknown format"]),
        ("a.txt --as audio", &["a.txt", "expected WAV, FLAC, MP3"]),
        ("a.txt --patch-size 4", &["--patch-size is for image", "read as text"]),
        ("a.txt --index 1", &["--index: expected less than 1, the number of rows; found 1"]),
    ];
    for (line, message) in cases {
        place.fails(&format!("tokenize {line} --out tokens.safetensors"), message);
        assert!(!place.path("tokens.safetensors").exists(), "{line}");
    }
}

#[test]
fn invalid_settings_are_named() {
    let place = text_place();
    let cases: [(&str, &[&str]); 16] = [
        ("train.stesp=1", &["unknown field `stesp`", "`max_steps`", "in `train`"]),
        ("data.suorce=a.txt", &["unknown field `suorce`", "`source`", "in `data`"]),
        ("trian.steps=1", &["unknown field `trian`", "`train`"]),
        ("outputs.text.modality=video", &["\"video\"", "audio, codes, image, numbers, text"]),
        ("train.max_steps=many", &["\"many\", expected u64", "train.max_steps"]),
        ("train.max_steps=-1", &["-1", "expected u64", "train.max_steps"]),
        ("train.max_steps", &["train.max_steps", "expected key=value"]),
        ("train.max_steps.x=1", &["steps is a setting, not a table"]),
        ("train.batch_size=0", &["train.batch_size", "at least 1; found 0"]),
        ("train.learning_rate=nan", &["train.learning_rate", "found NaN"]),
        ("train.learning_rate=-1", &["train.learning_rate", "at least 0; found -1"]),
        ("train.ema_decay=1", &["train.ema_decay", "below 1; found 1"]),
        (
            "model.attention.n_heads=3",
            &["model.attention.n_heads", "expected a divisor of d_model 16; found 3"],
        ),
        ("model.d_model=0", &["model.d_model", "expected 1 or more; found 0"]),
        ("data.holdout=2", &["data.holdout", "between 0 and 1; found 2"]),
        ("outputs.text.context=0", &["context is 0; it must be at least 1"]),
    ];
    for (setting, message) in cases {
        place.fails_untouched(&format!("{} --set {setting}", text_train()), message);
    }
    place.fails_untouched(
        "train texts",
        &["\"texts\"", "neither a preset (text, image, audio, trajectory, mix)"],
    );
    place.write("mine.toml", b"[data]\nsource = \"a.txt\"\n[train]\nsteps == 5\n");
    place.fails_untouched("train mine.toml", &["mine.toml", "steps == 5"]);
    place.write("both.toml", b"[data]\nsource = \"a.txt\"\n[mix.b.data]\nsource = \"a.txt\"\n");
    place.fails_untouched(
        "train both.toml",
        &["both.toml", "either [data], for one task, or [mix.NAME.data]"],
    );
}

/// An invalid setting of a modality is named with its part, before data is read.
#[test]
fn invalid_settings_of_modalities_are_named() {
    let place = image_place();
    place.write("clips/manifest.tsv", b"path\ttext\tsplit\n");
    let cases: [(String, &str, &[&str]); 6] = [
        (
            image_train(),
            "inputs.image.pacth_size=4",
            &["inputs.image", "unknown field `pacth_size`", "`patch_size`"],
        ),
        (image_train(), "inputs.image.augment.crop.aera=1", &["inputs.image", "unknown field `aera`"]),
        (image_train(), "inputs.image.filter=cubic", &["inputs.image", "unknown variant `cubic`"]),
        (
            image_train(),
            "inputs.image.preset=resnet",
            &["inputs.image", "unknown variant `resnet`", "`imagenet`"],
        ),
        (
            image_train(),
            "inputs.image.blend.mixup=0.2",
            &["inputs.image", "blend is set; it needs an image_size"],
        ),
        (
            text_train(),
            "outputs.text.vocabulry=bytes",
            &["outputs.text", "unknown field `vocabulry`", "`vocabulary`"],
        ),
    ];
    place.write("a.txt", support::text().as_bytes());
    for (line, setting, message) in cases {
        place.fails_untouched(&format!("{line} --set {setting}"), message);
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let place = text_place();
    let cases: [(&str, &[&str]); 7] = [
        ("train text --frobnicate", &["--frobnicate"]),
        ("trian text", &["trian"]),
        ("classify", &["<RUN>", "<FILES>"]),
        ("train text --device tpu", &["--device", "expected auto, cpu, cuda or cuda:N; found \"tpu\""]),
        ("rollout run --episodes many", &["--episodes", "many"]),
        ("tokenize a.txt --as video", &["video", "text, image, audio, trajectory"]),
        ("tokenize a.png --image-size 8", &["--image-size", "expected HEIGHTxWIDTH"]),
    ];
    for (line, message) in cases {
        failed(2, line, &place.run(line), message);
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_without_the_cuda_feature_is_an_error() {
    let line = format!("{} --device cuda", text_train());
    text_place().fails_untouched(&line, &["built without CUDA", "--features cuda", "--device cpu"]);
}

#[test]
fn damaged_run_folders_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let whole = |name: &str| std::fs::read(place.path(&format!("run/{name}"))).unwrap();
    let settings = String::from_utf8(whole("run.toml")).unwrap();
    assert!(settings.starts_with("version = 3\n"), "{settings}");
    let (model, state) = (whole("model.safetensors"), whole("state.safetensors"));

    let of_version_1 = settings.replacen("version = 3", "version = 1", 1);
    let wider = settings.replacen("d_model = 16", "d_model = 32", 1);
    let unknown = settings.replacen("[train]", "[train]\nstesp = 1", 1);
    // The damaged file, its content, the command that fails, and fragments of the error.
    let cases: [(&str, &[u8], &str, &[&str]); 14] = [
        ("run.toml", of_version_1.as_bytes(), "eval run", &["run/run.toml", "version 1", "reads version 3"]),
        ("run.toml", of_version_1.as_bytes(), "train --resume --out run", &["run/run.toml", "version 1"]),
        ("run.toml", unknown.as_bytes(), "eval run", &["run/run.toml", "unknown field `stesp`"]),
        ("run.toml", &model, "info run", &["run", "run.toml"]),
        ("run.toml", wider.as_bytes(), "eval run", &["run/model.safetensors", "is [", "expected ["]),
        (
            "run.toml",
            wider.as_bytes(),
            "train --resume --out run",
            &["run/state.safetensors", "is [", "expected ["],
        ),
        ("tokenizers.json", b"", "eval run", &["run/tokenizers.json", "not a file of saved tokenizers"]),
        ("tokenizers.json", b"{}", "eval run", &["run", "tokenizers.json has nothing for the task"]),
        ("model.safetensors", b"", "eval run", &["run/model.safetensors is not a safetensors file"]),
        (
            "model.safetensors",
            &model[..model.len() - 1],
            "generate run",
            &["run/model.safetensors is not a safetensors file"],
        ),
        ("model.safetensors", b"a text", "info run", &["run/model.safetensors is not a safetensors file"]),
        (
            "model.safetensors",
            &state,
            "eval run",
            &["run/model.safetensors", "is not a parameter of this model"],
        ),
        (
            "state.safetensors",
            &state[..99],
            "train --resume --out run",
            &["run/state.safetensors is not a safetensors file"],
        ),
        ("state.safetensors", &model, "train --resume --out run", &["run/state.safetensors"]),
    ];
    for (name, damaged, line, message) in cases {
        let before = whole(name);
        place.write(&format!("run/{name}"), damaged);
        place.fails(line, message);
        assert_eq!(whole(name), damaged, "smalti {line} has written {name}");
        place.write(&format!("run/{name}"), &before);
    }
    place.write("run/metrics.jsonl", b"{\"step\": 1}\nnoise\n{\"step\": 2}\n");
    place.fails("train --resume --out run", &["run/metrics.jsonl", "line 2"]);
    assert_eq!((whole("model.safetensors"), whole("state.safetensors")), (model, state));

    for (name, line) in
        [("model.safetensors", "eval run"), ("tokenizers.json", "eval run"), ("run.toml", "eval run")]
    {
        std::fs::remove_file(place.path(&format!("run/{name}"))).unwrap();
        place.fails(line, &["run is no run folder", name]);
    }
}

#[test]
fn missing_and_existing_run_folders_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let state = std::fs::read(place.path("run/state.safetensors")).unwrap();
    place.fails(&format!("{} --out run", text_train()), &["run holds a run already", "--resume", "--out"]);
    assert_eq!(std::fs::read(place.path("run/state.safetensors")).unwrap(), state);
    place.fails("train --resume --out none", &["none is no run folder", "run.toml"]);
    assert!(!place.path("none").exists());
    place.fails(
        "train --resume --out run --set train.max_steps=9",
        &["--set \"train.max_steps=9\"", "except train.checkpoint_activations"],
    );
    place.fails("train text --resume --out run", &["--resume", "leave out text"]);
    place.fails("eval none", &["none is no run folder"]);
    place.fails("info a.txt", &["a.txt is no run folder"]);
    place.fails(&format!("{} --out a.txt/run", text_train()), &["a.txt/run"]);
    std::fs::write(place.path("a.txt"), "ÄÖÜ ".repeat(200)).unwrap();
    place.fails("eval run", &["a.txt", "character 'Ä'", "vocabulary"]);
}

/// The error names the value that is not finite; the last checkpoint stays.
#[test]
fn a_run_that_diverges_keeps_its_checkpoint() {
    let place = text_place();
    place.works(&format!("{} --set train.warmup_steps=0 --out run", text_train()));
    let saved = |name: &str| std::fs::read(place.path(&format!("run/{name}.safetensors"))).unwrap();
    let (model, state) = (saved("model"), saved("state"));
    let settings = std::fs::read_to_string(place.path("run/run.toml")).unwrap();
    let wild = settings.replacen("\nlearning_rate = 0.001", "\nlearning_rate = 1e9", 1);
    place.write("run/run.toml", wild.replacen("\nmax_steps = 6", "\nmax_steps = 40", 1).as_bytes());
    let line = "train --resume --out run";
    let ran = place.run(line);
    failed(1, line, &ran, &["train.learning_rate", "the last checkpoint is from before", "of step"]);
    assert!(["NaN", "inf"].iter().any(|not_finite| ran.err.contains(not_finite)), "{}", ran.err);
    assert_eq!((saved("model"), saved("state")), (model, state));
    place.works("eval run --weights last");
}
