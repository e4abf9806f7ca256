//! A learned codebook: one run learns to encode images as codes, another run generates codes, which become images.
#![cfg(all(feature = "image", feature = "numbers", feature = "cli"))]

use crate::support;

use smalti::codes::{CodesSettings, CodesTokenizer};
use smalti::modalities::image::{Image, read, write_png};
use smalti_contract::{File, Tokenizer, Value};
use std::path::Path;
use support::{Ran, ran, smalti};
use tempfile::TempDir;

/// An image of 8×8 pixels of which one half is lit: left (0), right (1), upper (2) or lower (3).
fn half(class: usize, light: u8) -> Image {
    let lit = |x: usize, y: usize| [x < 4, x >= 4, y < 4, y >= 4][class];
    let pixels = (0..64).map(|i| if lit(i % 8, i / 8) { light } else { 10 }).collect();
    Image::new(8, 8, 1, pixels).unwrap()
}

const CODEBOOK: &str = "[data]\nsource = \"halves.csv\"\n[inputs.image]\nmodality = \"image\"\nfield = \"path\"\npatch_size = 4\n\
                        [outputs.reconstruction]\nhead = \"reconstruct\"\ncodebook_size = 8\ncodebook_dim = 4\n\
                        [model]\nd_model = 32\nn_layers = 1\nn_encoder_layers = 1\nattention.n_heads = 2\n\
                        [train]\nmax_steps = 250\nbatch_size = 8\nlearning_rate = 3e-3\neval_every = 125\n";

const DRAW: &str = "[data]\nsource = \"halves.csv\"\n[inputs.class]\nmodality = \"numbers\"\nids = true\n\
                    [outputs.image]\nhead = \"generate\"\nmodality = \"codes\"\nfield = \"path\"\ncodebook = \"codebook\"\n\
                    [model]\nd_model = 32\nn_layers = 1\nattention.n_heads = 2\n\
                    [train]\nmax_steps = 150\nbatch_size = 8\nlearning_rate = 5e-3\neval_every = 75\n";

struct Halves(TempDir);

impl Halves {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut csv = String::from("path,class\n");
        for i in 0..48 {
            let name = format!("{i}.png");
            let png = write_png(&half(i % 4, 150 + 2 * i as u8)).unwrap();
            std::fs::write(folder.path().join(&name), png).unwrap();
            csv += &format!("{name},{}\n", i % 4);
        }
        let halves = Self(folder);
        halves.write("halves.csv", &csv);
        halves.write("codebook.toml", CODEBOOK);
        halves.write("draw.toml", DRAW);
        halves
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, line: &str) -> Ran {
        ran(smalti(self.0.path()), line)
    }

    fn json(&self, line: &str) -> serde_json::Value {
        let ran = self.run(&format!("{line} --json"));
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    fn fails(&self, line: &str, with: &[&str]) {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
        for part in with {
            assert!(ran.err.contains(part), "smalti {line}: expected {part:?} in\n{}", ran.err);
        }
    }
}

fn image(path: &Path) -> Image {
    read(&std::fs::read(path).unwrap()).unwrap()
}

/// The mean brightness of the left, right, upper and lower half.
fn brightness(image: &Image) -> [f64; 4] {
    std::array::from_fn(|class| {
        let lit = half(class, 255);
        let of_half = image.pixels.iter().zip(&lit.pixels).filter(|(_, lit)| **lit == 255);
        of_half.map(|(pixel, _)| f64::from(*pixel)).sum::<f64>() / 32.0
    })
}

#[test]
fn an_image_is_generated_from_a_class_through_codes() {
    let halves = Halves::new();
    let trained = halves.json("train codebook.toml --out codebook");
    let error = trained["metrics"]["reconstruction"]["mse_over_variance"].as_f64().unwrap();
    assert!(error < 0.1, "{trained}");
    let resumed = halves.json("train --resume --out codebook");
    assert_eq!(resumed["step"], 250, "{resumed}");

    // The codebook reconstructs an image from its codes alone.
    halves.json("predict codebook --table halves.csv --out again.csv --keep class");
    let folder = halves.path("codebook").display().to_string();
    let none: Vec<Value> = vec![];
    let config = CodesTokenizer::fit(CodesSettings { codebook: Some(folder) }, None, &none).unwrap();
    let config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    let tokenizer = CodesTokenizer::new(config).unwrap();
    for i in [0, 1, 2, 3] {
        let raw = Value::File(File {
            name: "half.png".into(),
            bytes: std::fs::read(halves.path(&format!("{i}.png"))).unwrap(),
        });
        let tokens = tokenizer.encode(&raw).unwrap();
        tokenizer.spec().check(&tokens).unwrap();
        assert_eq!(tokens.len(), 4);
        let Value::File(decoded) = tokenizer.decode(&tokens).unwrap() else { panic!("a file") };
        let predicted = image(&halves.path(&format!("again.files/{}-reconstruction.png", i + 1)));
        assert_eq!(read(&decoded.bytes).unwrap(), predicted);
    }
    let table = std::fs::read_to_string(halves.path("again.csv")).unwrap();
    assert!(
        table.starts_with("row,class,reconstruction.path\n")
            && table.contains(",3,again.files/4-reconstruction.png\n"),
        "{table}"
    );

    // The generating run holds a copy of the codebook.
    halves.json("train draw.toml --out draw");
    std::fs::rename(halves.path("codebook"), halves.path("elsewhere")).unwrap();
    halves.write("wanted.csv", "class\n0\n1\n2\n3\n");
    halves.json("predict draw --table wanted.csv --out drawn.csv");
    for class in 0..4 {
        let drawn = brightness(&image(&halves.path(&format!("drawn.files/{}-image.png", class + 1))));
        let brightest = (0..4).max_by(|a, b| drawn[*a].total_cmp(&drawn[*b]));
        assert_eq!(brightest, Some(class), "{drawn:?}");
    }
    assert!(halves.json("eval draw")["image"]["accuracy"].as_f64().unwrap() > 0.9);
    halves.json("data check draw.toml --set outputs.image.codebook=elsewhere");
}

/// The loader's threads compute codes while the training thread waits for them.
#[test]
fn training_on_codes_does_not_deadlock_with_one_thread() {
    let halves = Halves::new();
    halves.json("train codebook.toml --out codebook --set train.max_steps=2");
    let mut command = smalti(halves.0.path());
    command.env("RAYON_NUM_THREADS", "1");
    let ran = ran(command, "train draw.toml --out draw --set train.max_steps=2");
    assert_eq!(ran.code, Some(0), "{}", ran.err);

    // After two steps, the end id may be likely; still no image ends before its last code.
    halves.write("wanted.csv", &format!("class\n{}", "0\n".repeat(20)));
    halves.json("predict draw --table wanted.csv --temperature 3 --out drawn.csv");
    assert_eq!(std::fs::read_dir(halves.path("drawn.files")).unwrap().count(), 20);
    halves.fails("predict draw --row class=1 class=2", &["class=2", "given twice", "--table"]);
}

#[test]
fn a_run_that_is_not_a_codebook_is_an_error() {
    let halves = Halves::new();
    halves.fails("train draw.toml --out draw", &["outputs.image", "codebook", "is no run folder"]);
    let second = format!("{CODEBOOK}[outputs.class]\nhead = \"classify\"\n");
    halves.write("two.toml", &second);
    halves.fails(
        "train two.toml --out two",
        &["outputs.reconstruction", "expected one input and no other output", "2 outputs"],
    );
    halves.fails(
        "train codebook.toml --out one --set model.n_encoder_layers=0",
        &["model.n_encoder_layers is 0"],
    );
    halves.fails(
        "train codebook.toml --out one --set outputs.reconstruction.codebook_size=1",
        &["codebook_size: expected 2 to 65536; found 1"],
    );
    let ids = CODEBOOK
        .replace("\"image\"\nfield = \"path\"\npatch_size = 4", "\"numbers\"\nfield = \"class\"\nids = true");
    halves.write("ids.toml", &ids);
    halves.fails("train ids.toml --out ids", &["outputs.reconstruction", "tokens are features on a grid"]);
    let classes = CODEBOOK.replace(
        "outputs.reconstruction]\nhead = \"reconstruct\"\ncodebook_size = 8\ncodebook_dim = 4",
        "outputs.class]\nhead = \"classify\"",
    );
    halves.write("classes.toml", &classes.replace("n_encoder_layers = 1\n", ""));
    halves.json("train classes.toml --out classes --set train.max_steps=1");
    halves.fails(
        "train draw.toml --out draw --set outputs.image.codebook=classes",
        &["head = \"reconstruct\"", "outputs class"],
    );
    // An image of another size has another number of codes.
    halves.json("train codebook.toml --out codebook --set train.max_steps=2");
    std::fs::write(halves.path("0.png"), write_png(&Image::new(4, 8, 1, vec![9; 32]).unwrap()).unwrap())
        .unwrap();
    halves.fails("train draw.toml --out draw", &["0.png", "expected a value of 4 tokens", "found 2"]);
}
