//! `smalti tokenize`: the tokens of a file as a table, JSON, tensors and figures.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::commands;

use commands::{IDX, LOG, TEXT, WAV, at, bmp, folder, json, printed, refusal};
use safetensors::{Dtype, SafeTensors};
use smalti::modalities::audio::{AudioConfig, AudioTokenizer};
use smalti::modalities::image::{Image, ImageConfig, ImageTokenizer, fit as fit_image, read};
use smalti::modalities::text::{TextTokenizer, fit as fit_text};
use smalti::report::tokens;
use smalti_contract::{AnyTokenizer, Tokenizer};
use std::fs;

#[test]
fn each_modality_is_tokenized() {
    for (file, modality, kinds) in [
        (TEXT, "text", &["character"][..]),
        (IDX, "image", &["patch"]),
        (WAV, "audio", &["slice"]),
        (LOG, "trajectory", &["return_to_go.number", "observations.number", "actions.number"]),
    ] {
        let table = printed(&["tokenize", file]);
        let value = json(&["tokenize", file]);
        assert_eq!((value["file"].as_str(), value["modality"].as_str()), (Some(file), Some(modality)));
        let groups = value["groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|group| group["kind"].as_str().unwrap()).collect::<Vec<_>>(), kinds);
        let tokens = groups.iter().map(|group| group["tokens"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(value["tokens"].as_u64(), Some(tokens));
        for group in groups {
            let keys: Vec<_> = group.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["axes", "content", "kind", "order", "time", "tokens", "values"]);
        }
        assert!(
            table.contains(&format!("{modality}, row 0 of")) && kinds.iter().all(|kind| table.contains(kind))
        );
    }
}

#[test]
fn tokens_follow_the_options() {
    let image = json(&[
        "tokenize",
        IDX,
        "--patch-size",
        "2",
        "--image-size",
        "8x16",
        "--num-channels",
        "3",
        "--index",
        "359",
    ]);
    assert_eq!((image["rows"].as_u64(), image["tokens"].as_u64()), (Some(360), Some(32)));
    assert_eq!(image["groups"][0]["content"]["features"]["dim"], 12);
    let columns = serde_json::json!({ "name": "column", "span": { "least": 0, "most": 7 } });
    assert_eq!(image["groups"][0]["axes"][1], columns);

    let clip =
        json(&["tokenize", WAV, "--sampling-rate", "8000", "--n-mels", "20", "--frames-per-slice", "2"]);
    assert_eq!(clip["groups"][0]["content"]["features"]["dim"], 40);

    let steps = json(&["tokenize", LOG, "--context", "5", "--first", "3"]);
    assert_eq!(steps["tokens"], 15);
    let first = steps["first"].as_array().unwrap();
    assert_eq!(
        first.iter().map(|token| token["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["return_to_go.number", "observations.number", "actions.number"]
    );
    assert!(first[2]["id"].is_u64() && first[1]["features"].as_array().unwrap().len() == 4);

    let folder = folder(&[("greeting", "h\u{e9}".as_bytes())]);
    let file = at(&folder, "greeting");
    assert_eq!(json(&["tokenize", &file])["tokens"], 2);
    let bytes = json(&["tokenize", &file, "--bytes"]);
    assert_eq!((&bytes["tokens"], &bytes["groups"][0]["kind"]), (&3.into(), &"byte".into()));
    assert!(printed(&["tokenize", &file]).contains("1 \"é\""), "an id is shown with its character");
}

#[test]
fn published_settings_are_named() {
    for (name, patches, dim) in [("vit", 196, 768), ("clip", 196, 768), ("cifar", 64, 48)] {
        let image = json(&["tokenize", IDX, "--preset", name]);
        assert_eq!(image["tokens"], patches, "{name}");
        assert_eq!(image["groups"][0]["content"]["features"]["dim"], dim, "{name}");
    }
    let clip = json(&["tokenize", WAV, "--preset", "whisper"]);
    assert_eq!(
        (&clip["tokens"], &clip["groups"][0]["content"]["features"]["dim"]),
        (&3000.into(), &80.into())
    );

    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s"].join("\n");
    let folder = folder(&[("vocab.txt", words.as_bytes()), ("greeting", b"Hellos world")]);
    let (vocabulary, greeting) = (at(&folder, "vocab.txt"), at(&folder, "greeting"));
    let text = json(&["tokenize", &greeting, "--vocabulary", &vocabulary]);
    let ids: Vec<_> = text["first"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
    assert_eq!(ids, [2, 5, 6, 1, 3], "hello, ##s and an unknown word between [CLS] and [SEP]");

    let unknown = refusal(1, &["tokenize", WAV, "--preset", "vit"]);
    assert!(
        unknown.contains("000.wav") && unknown.contains("whisper, whisper128, ast, librosa"),
        "{unknown}"
    );
    let unknown = refusal(1, &["tokenize", IDX, "--preset", "ast"]);
    assert!(unknown.contains("`vit`") && unknown.contains("`mnist`"), "{unknown}");
    assert!(refusal(1, &["tokenize", LOG, "--preset", "vit"]).contains("--preset is for image and audio"));
    assert!(refusal(1, &["tokenize", WAV, "--vocabulary", &vocabulary]).contains("--vocabulary is for text"));
    refusal(2, &["tokenize", IDX, "--preset", "vit", "--patch-size", "8"]);
    let nowhere = refusal(1, &["tokenize", &greeting, "--vocabulary", "no/vocab.txt"]);
    assert!(nowhere.contains("no/vocab.txt"), "{nowhere}");
}

#[test]
fn tensors_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "tokens.safetensors");
    let value = json(&["tokenize", LOG, "--out", &out, "--first", "2"]);
    let bytes = fs::read(&out).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 12);
    let states = file.tensor("observations.number.content").unwrap();
    assert_eq!((states.dtype(), states.shape()), (Dtype::F32, &[20, 4][..]));
    let (first, _) = states.data().split_first_chunk::<4>().unwrap();
    let expected = value["first"][1]["features"][0].as_f64().unwrap();
    assert!((f64::from(f32::from_le_bytes(*first)) - expected).abs() < 1e-6);
    for (name, shape) in [
        ("actions.number.content", &[20][..]),
        ("actions.number.order", &[20]),
        ("return_to_go.number.positions", &[20, 0]),
    ] {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::U32, shape), "{name}");
    }
    let order: Vec<u8> = (0..20_u32).flat_map(|step| (3 * step + 2).to_le_bytes()).collect();
    assert_eq!(file.tensor("actions.number.order").unwrap().data(), order);

    let nowhere = at(&folder, "no/such/folder.safetensors");
    assert!(refusal(1, &["tokenize", LOG, "--out", &nowhere]).contains("no/such/folder.safetensors"));
}

#[test]
fn files_that_cannot_be_tokenized_are_named() {
    let wav = smalti::data::read(WAV).unwrap();
    let files = folder(&[
        ("empty.wav", b""),
        ("cut.wav", &wav[..wav.len() / 2]),
        ("text.wav", b"not a sound"),
        ("text.npz", b"not a log"),
        ("cut.bmp", &bmp()[..40]),
        ("latin.txt", b"caf\xe9"),
        ("log.jsonl", b"{\"observations\": [[1]], \"rewards\": [1]}"),
        ("blob", &[0xff, 0, 0xfe]),
    ]);
    let names = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names.map(|name| name.into_string().unwrap()).chain(["missing.wav".into()]) {
        let message = refusal(1, &["tokenize", &at(&files, &name)]);
        assert!(message.starts_with("error: ") && message.contains(&name), "{message}");
    }
    assert!(refusal(1, &["tokenize", &at(&files, "blob")]).contains("--as text, image, audio or trajectory"));
    assert!(refusal(1, &["tokenize", WAV, "--as", "image"]).contains("000.wav"));
    let stray = refusal(1, &["tokenize", WAV, "--patch-size", "4"]);
    assert!(stray.contains("--patch-size is for image") && stray.contains("read as audio"), "{stray}");
    let far = refusal(1, &["tokenize", IDX, "--index", "360"]);
    assert!(far.contains("--index: expected less than 360, the number of rows; found 360"), "{far}");
    assert!(refusal(1, &["tokenize", LOG, "--context", "0"]).contains("context"));
    let uneven = refusal(1, &["tokenize", IDX, "--patch-size", "3"]);
    assert!(uneven.contains("patch_size 3 does not divide"), "{uneven}");
}

/// The figure that a command draws.
fn drawn(file: &str, options: &[&str]) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "tokens.png");
    printed(&[&["tokenize", file, "--image", &out], options].concat());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the figure is written");
    read(&fs::read(out).unwrap()).unwrap()
}

/// The columns in a row of a figure whose pixels match.
fn columns(image: &Image, row: usize, is: impl Fn(&[u8]) -> bool) -> Vec<usize> {
    let row = &image.pixels[row * image.width * 3..][..image.width * 3];
    row.chunks_exact(3).enumerate().filter(|(_, pixel)| is(pixel)).map(|(x, _)| x).collect()
}

#[test]
fn each_modality_is_drawn() {
    for (file, options) in
        [(TEXT, &[][..]), (IDX, &["--patch-size", "2"]), (WAV, &[]), (LOG, &["--context", "12"])]
    {
        let image = drawn(file, options);
        let (width, height) = (image.width, image.height);
        assert!((200..1700).contains(&width) && (100..2000).contains(&height), "{file}: {width}×{height}");
        let ink = image.pixels.chunks_exact(3).filter(|pixel| pixel != &[255; 3]).count();
        assert!(ink * 20 > width * height, "{file}: {ink} of {width}×{height} pixels are drawn");
        let edge = columns(&image, height - 1, |pixel| pixel != [255; 3]);
        assert!(edge.is_empty(), "{file}: there is no margin: {edge:?}");
    }
}

#[test]
fn grid_lines_separate_patches() {
    // A black image of 8×12 pixels: three columns of patches of 4, enlarged 24 times.
    let mut black = bmp();
    black[18..26].copy_from_slice(&[12_u32, 8].map(u32::to_le_bytes).concat());
    black.truncate(54);
    black.extend([0; 12 * 8 * 3]);
    let folder = folder(&[("black.bmp", &black)]);
    let image = drawn(&at(&folder, "black.bmp"), &[]);
    let middle = image.height - 20 - 30; // within the lower row of patches, below its number
    let lines = columns(&image, middle, |pixel| pixel.iter().all(|c| (200..255).contains(c)));
    let gaps: Vec<usize> = lines.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [96, 96, 95], "{lines:?}");
    let black = columns(&image, middle, |pixel| pixel == [0; 3]);
    assert!(black.len() > 250 && black[0] > lines[0], "the image is visible between the lines");
}

#[test]
fn a_figure_may_be_svg() {
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "steps.SVG");
    printed(&["tokenize", LOG, "--context", "3", "--image", &out]);
    let svg = fs::read_to_string(&out).unwrap();
    for part in [
        "<svg",
        "9 tokens in 3 time steps",
        ">return_to_go.number<",
        ">observations.number<",
        ">actions.number<",
        ">time step<",
        "</svg>",
    ] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
    let out = at(&folder, "text.svg");
    let text = commands::folder(&[("a.txt", b"a <b\n")]);
    printed(&["tokenize", &at(&text, "a.txt"), "--image", &out]);
    let svg = fs::read_to_string(&out).unwrap();
    for part in [">␣</text>", ">&lt;</text>", ">⏎</text>", "5 tokens"] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
}

#[test]
fn a_figure_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(2, &["tokenize", WAV, "--image", &at(&folder, "slices.gif")]);
    assert!(message.contains("slices.gif") && message.contains(".png or .svg"), "{message}");
    let message = refusal(1, &["tokenize", WAV, "--image", &at(&folder, "no/such/folder.png")]);
    assert!(message.contains("cannot write") && message.contains("no/such/folder.png"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn printed_tokens_are_those_of_the_library() {
    let bytes = |file: &str| smalti::data::read(file).unwrap();
    let text = String::from_utf8(bytes(TEXT)).unwrap();
    let images = ImageTokenizer::new(ImageConfig::vit(1, 4, [8, 8])).unwrap();
    let images: Vec<Image> = images.raw_inputs(&bytes(IDX)).map(Result::unwrap).collect();
    let (mean, std) = fit_image::normalisation(&images, 1).unwrap();
    let image = ImageConfig { image_size: None, mean, std, ..ImageConfig::vit(1, 4, [8, 8]) };
    let tokenizers: [(&str, Box<dyn AnyTokenizer>); 3] = [
        (
            TEXT,
            Box::new(
                TextTokenizer::new(fit_text::characters([&text[..]], vec![], text.len()).unwrap()).unwrap(),
            ),
        ),
        (IDX, Box::new(ImageTokenizer::new(image).unwrap())),
        (WAV, Box::new(AudioTokenizer::new(AudioConfig::default()).unwrap())),
    ];
    for (file, tokenizer) in tokenizers {
        let bytes = bytes(file);
        let expected = tokenizer.encode_file(&bytes, None).next().unwrap().unwrap();
        let found = json(&["tokenize", file, "--first", "5000"]);
        let (spec, n) = (tokenizer.spec(), expected.len().min(5000));
        let as_json = |value: serde_json::Result<serde_json::Value>| value.unwrap();
        assert_eq!(found["tokens"], expected.len(), "{file}");
        let summary = as_json(serde_json::to_value(tokens::summary(spec, &expected)));
        assert_eq!(found["groups"], summary, "{file}");
        let first = as_json(serde_json::to_value(tokens::first(spec, &expected, n)));
        assert_eq!(found["first"], first, "{file}");
        let last = as_json(serde_json::to_value(tokens::last(spec, &expected)));
        assert_eq!(found["last"], last, "{file}");
    }
}

/// Each step is standardized with the statistics over all steps of the log.
#[test]
fn steps_are_normalized_by_the_whole_log() {
    let log = smalti::data::read(LOG).unwrap();
    let log = smalti::modalities::trajectory::episodes(&log).collect::<Result<Vec<_>, _>>().unwrap();
    let returns = log.iter().map(|episode| f64::from(episode.total_return()));
    let largest = returns.fold(0.0, f64::max);
    let column: Vec<f64> = log
        .iter()
        .flat_map(|episode| episode.observations.iter().step_by(4))
        .map(|&x| f64::from(x))
        .collect();
    let mean = column.iter().sum::<f64>() / column.len() as f64;
    let std = (column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64).sqrt();

    let found = json(&["tokenize", LOG, "--first", "6"]);
    let first = found["first"].as_array().unwrap();
    let near = |value: &serde_json::Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-5;
    for (step, tokens) in first.chunks(3).enumerate() {
        let to_go = f64::from(log[0].total_return()) - step as f64; // each step earns 1
        assert!(near(&tokens[0]["features"][0], to_go / largest), "{}", tokens[0]);
        assert!(near(&tokens[1]["features"][0], (column[step] - mean) / std), "{}", tokens[1]);
    }
}

#[test]
fn every_option_is_explained() {
    let help = printed(&["help", "tokenize"]);
    for option in [
        "--as",
        "--index",
        "--first",
        "--patch-size",
        "--image-size",
        "--image ",
        "--out",
        "--json",
        "Examples:",
    ] {
        assert!(help.contains(option), "{option} in {help}");
    }
    assert!(help.contains(".svg gives shapes") && help.contains("smalti tokenize photo.jpg"));
}
