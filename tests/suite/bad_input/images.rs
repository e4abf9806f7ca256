//! Images: in training, in evaluation and to classify.

use super::{damaged, image_place, image_train, open};
use crate::files::{idx, png, wav};
use smalti::sample::Opened;

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
        ("loose", &["data.holdout: loose: needs at least 2 rows to hold one out; found 1"]),
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

/// A TIFF of one grey float.
fn tiff_of_float(grey: f32) -> Vec<u8> {
    // Size, bits of a sample, no compression, black is 0, place and size of the pixel, floats.
    let entries: [(u16, u32); 8] =
        [(256, 1), (257, 1), (258, 32), (259, 1), (262, 1), (273, 8), (279, 4), (339, 3)];
    let mut file = b"II\x2a\0\x0c\0\0\0".to_vec();
    file.extend(grey.to_le_bytes());
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        file.extend([tag, 4].map(u16::to_le_bytes).as_flattened()); // of 32 bits
        file.extend([1, value].map(u32::to_le_bytes).as_flattened());
    }
    file.extend([0; 4]);
    file
}

#[test]
fn corrupt_images_are_named() {
    let whole = png(8, 8);
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("empty", vec![], &["empty"]),
        (
            "cut",
            whole[..60].to_vec(),
            &["not readable as image", "end of file", "data.corrupt_samples = \"skip\""],
        ),
        ("corrupt", damaged(whole.clone(), whole.len() - 13), &["not readable as image", "CRC"]),
        (
            "float",
            tiff_of_float(4000.0),
            &["sample 0 of a TIFF of floats is 4000", "scale them to 0..=1, from black to white"],
        ),
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
        let message = [file, "patch_size 4 does not divide the image's 8×9 pixels"];
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

/// A run that fails saves the steps so far.
#[test]
fn a_corrupt_validation_image_costs_no_step() {
    let place = image_place();
    place.write("images/test/low/1.png", &png(9, 8));
    place.fails(
        &format!("{} --out run", image_train()),
        &["patch_size 4 does not divide the image's 8×9 pixels"],
    );
    assert!(place.path("run/state.safetensors").exists(), "six steps are lost");
    place.write("images/test/low/1.png", &png(8, 8));
    assert!(place.works("train --resume --out run").out.contains("run is at step 6"));
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
fn corrupt_images_to_classify_are_named() {
    let place = image_place();
    place.works(&format!("{} --out run", image_train()));
    let whole = png(8, 8);
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("empty.png", vec![], &["empty"]),
        ("cut.png", whole[..60].to_vec(), &["not readable as image"]),
        ("corrupt.png", damaged(whole.clone(), whole.len() - 13), &["not readable as image", "CRC"]),
        ("sound.png", wav(8000, 800, 1, 16), &["it is an audio clip (WAV"]),
        ("odd.png", png(8, 7), &["patch_size 4 does not divide the image's 7×8 pixels"]),
        (
            "large.png",
            png(8, 128),
            &["image is 128×8 pixels, 32×2 patches; the model is for at most 16×8, 4×2 patches"],
        ),
        ("cut-idx3-ubyte", idx(0x803, &[2, 8, 8], 100), &["has 2×8×8 = 128 bytes; 100 follow"]),
        ("claim-idx3-ubyte", idx(0x803, &[u32::MAX; 3], 8), &["IDX", "8 follow"]),
    ];
    for (name, bytes, message) in cases {
        place.write(name, &bytes);
        place.fails(&format!("classify run {name}"), &[&[name], message].concat());
    }
    place.fails("classify run none.png", &["none.png", "not found"]);
    let message = ["run: expected an audio input", "the run has inputs image; outputs class"];
    place.fails("transcribe run none.wav", &message);
}
