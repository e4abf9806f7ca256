//! Runs that were trained here, for transformers, ONNX runtimes and llama.cpp: the tasks of the guide, trained for two steps.
//! `tests/readers` compares outputs with those of the other programs.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{TINY, ran, smalti};
use candle_core::Device;
use candle_core::quantized::gguf_file;
use smalti::config::RunConfig;
use smalti::inference::{Embedding, embed};
use smalti::pretrained::{self, ExportOptions, TrainedKind};
use smalti::registry::Modalities;
use smalti::run::{Run, Weights};
use smalti::train::{Checks, Storage};
use smalti_contract::Value;
use std::path::{Path, PathBuf};

/// The task of a kind in the guide, which begins with a comment of its name.
fn task_of(kind: &str) -> String {
    let page = std::fs::read_to_string("src/guide/export.md").unwrap();
    let begin = format!("```toml\n# {kind}\n");
    let (_, block) = page.split_once(&begin).unwrap_or_else(|| panic!("the guide has no task of {kind}"));
    block.split("```").next().unwrap().into()
}

/// A run of the guide's task of a kind with other settings, of two steps.
fn trained(kind: &str, place: &Path, settings: &[&str]) -> PathBuf {
    let run = place.join(format!("run-{kind}"));
    let pairs = place.join("pairs.csv");
    let rows = (0..40).map(|i| format!("the quick brown fox {i} jumps,over the lazy dog {i}\n"));
    std::fs::write(&pairs, format!("source,target\n{}", rows.collect::<String>())).unwrap();
    let mut set: Vec<String> = [
        "train.max_steps=2",
        "train.batch_size=2",
        "train.eval_samples=2",
        "train.warmup_steps=1",
        "train.learning_rate=0.01",
        "model.d_model=32",
        "model.n_layers=1",
        "model.attention.n_heads=4",
    ]
    .map(String::from)
    .into();
    if kind == "t5" {
        set.push(format!("data.source={}", pairs.display()));
        set.push("inputs.source.vocabulary={bpe=300}".into());
        set.push(format!("model.head.scale={}", 1.0 / 32_f64.sqrt()));
    }
    set.extend(settings.iter().map(|setting| setting.to_string()));
    let config = RunConfig::parse("export.md", &task_of(kind), &set).unwrap();
    Run::train(&run, config, &Device::Cpu, &Modalities::builtin()).unwrap();
    run
}

/// The vector of a text: the mean of the hidden states of its tokens.
fn vector(run: &Path, text: &str) -> Vec<f32> {
    let opened = Run::open(run).unwrap();
    let (model, tasks) = opened.load(Weights::Best, &Device::Cpu).unwrap();
    let values = vec![Value::Text(text.into())];
    embed((&model, 0, &tasks[0].task), 0, values, &Embedding::default(), 1).unwrap().vectors.remove(0)
}

#[test]
fn a_run_of_each_kind_is_exported_and_imported_again() {
    for kind in TrainedKind::ALL.map(TrainedKind::name) {
        let place = tempfile::tempdir().unwrap();
        let run = trained(kind, place.path(), &[]);
        let (out, again) = (place.path().join("out"), place.path().join("again"));
        pretrained::export(&run, &out, Storage::F32).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert!(config.contains(&format!("\"model_type\": \"{kind}\"")), "{kind}: {config}");
        pretrained::import(&out, &again, Storage::F32, None).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let n = |run: &Path| {
            let weights =
                candle_core::safetensors::load(run.join("model.safetensors"), &Device::Cpu).unwrap();
            weights.values().map(candle_core::Tensor::elem_count).sum::<usize>()
        };
        assert_eq!(n(&again), n(&run), "{kind}");
        if !["vit", "whisper"].contains(&kind) {
            assert_eq!(vector(&again, "a quick fox"), vector(&run, "a quick fox"), "{kind}");
        }
    }
}

#[test]
fn names_and_vocabularies_of_a_run_are_free() {
    for vocabulary in ["characters", "bytes", "words"] {
        let place = tempfile::tempdir().unwrap();
        let task = task_of("gpt2").replace("[outputs.text]", "[outputs.story]\nfield = \"text\"");
        let settings = [format!("outputs.story.vocabulary={vocabulary}"), "train.max_steps=1".into()];
        let config = RunConfig::parse("export.md", &task, &settings).unwrap();
        let (run, out, again) =
            (place.path().join("run"), place.path().join("out"), place.path().join("again"));
        Run::train(&run, config, &Device::Cpu, &Modalities::builtin()).unwrap();
        pretrained::export(&run, &out, Storage::F32).unwrap_or_else(|e| panic!("{vocabulary}: {e}"));
        pretrained::import(&out, &again, Storage::F32, None).unwrap();
        assert_eq!(vector(&again, "the tiles"), vector(&run, "the tiles"), "{vocabulary}");
    }
}

#[test]
fn a_setting_that_a_kind_lacks_is_named() {
    for (kind, setting, expected) in [
        (
            "vit",
            "model.embedding.positions=learned",
            "model.embedding.positions: expected \"grid\", as in vit; found \"learned\"",
        ),
        ("gpt2", "model.bias=false", "model.bias: expected true, as in gpt2; found false"),
        (
            "gpt2",
            "model.norm_placement=both",
            "model.norm_placement: expected \"pre\", as in gpt2; found \"both\"",
        ),
        (
            "llama",
            "model.attention.soft_cap=30.0",
            "model.attention.soft_cap: expected null, as in llama; found 30.0",
        ),
        ("t5", "model.attention.scale=0.5", "model.attention.scale: expected 1.0, as in t5; found 0.5"),
        (
            "whisper",
            "inputs.audio.mel.n_fft=512",
            "inputs.audio.mel.n_fft: expected 400, as in whisper; found 512",
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let run = trained(kind, place.path(), &[setting]);
        let out = place.path().join("out");
        let found = pretrained::export(&run, &out, Storage::F32).unwrap_err().to_string();
        assert!(found.contains(expected), "{kind}: {found}");
        assert!(!out.exists(), "{kind}");
    }
}

#[test]
fn a_gguf_file_has_the_tensors_and_the_tokens_of_the_run() {
    for kind in ["gpt2", "llama"] {
        let place = tempfile::tempdir().unwrap();
        let run = trained(kind, place.path(), &[]);
        let file = place.path().join("model.gguf");
        let options = ExportOptions { storage: Storage::F16, ..ExportOptions::default() };
        let n = pretrained::export_gguf(&run, &file, &options).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let mut reader = std::fs::File::open(&file).unwrap();
        let content = gguf_file::Content::read(&mut reader).unwrap();
        assert_eq!(content.tensor_infos.len(), n, "{kind}");
        assert_eq!(content.metadata["general.architecture"].to_string().unwrap(), kind);
        let table = content.tensor(&mut reader, "token_embd.weight", &Device::Cpu).unwrap();
        let tokens = content.metadata["tokenizer.ggml.tokens"].to_vec().unwrap().len();
        assert_eq!(table.shape().dims(), [tokens, 32], "{kind}");
        assert!(pretrained::export_gguf(&run, &file, &options).is_err(), "an export replaces no file");
    }
}

#[test]
fn onnx_files_name_their_inputs_and_outputs() {
    let place = tempfile::tempdir().unwrap();
    for (kind, input, output) in [("vit", "image", "class"), ("gpt2", "text", "text_logits")] {
        let run = trained(kind, place.path(), &[]);
        let file = place.path().join(format!("{kind}.onnx"));
        let report = pretrained::export_onnx(&run, &file, Checks::default()).unwrap();
        assert_eq!((report.inputs, report.outputs), (vec![input.into()], vec![output.into()]), "{kind}");
        assert_eq!(std::fs::metadata(&file).unwrap().len(), report.bytes as u64, "{kind}");
    }
}

#[test]
fn an_activation_that_gguf_lacks_is_named_as_in_the_settings() {
    let place = tempfile::tempdir().unwrap();
    let run = trained("gpt2", place.path(), &["model.mlp.activation=gelu"]);
    let found = pretrained::export_gguf(&run, &place.path().join("model.gguf"), &ExportOptions::default());
    let found = found.unwrap_err().to_string();
    assert!(found.contains("model.mlp.activation: expected \"gelu_tanh\", as in llama.cpp"), "{found}");
}

/// All settings of the preset `image` that ViT does not have.
const ALL_SETTINGS: &str = "train a new one with --set model.embedding.positions=grid --set \
                            model.embedding.type_embedding=false --set outputs.class.class_token_position=true";

#[test]
fn exports_that_cannot_be_written_say_why() {
    let place = tempfile::tempdir().unwrap();
    let line = |line: &str| ran(smalti(place.path()), line);
    let trained = line(&format!("train image {TINY} --set train.epochs=0 --set train.max_steps=1 --out run"));
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    for (options, code, expected) in [
        ("--out out", 1, "model.embedding.positions: expected \"grid\", as in vit"),
        ("--out out", 1, ALL_SETTINGS),
        ("--out out --kind gpt2", 1, "expected one with modality text, to export it as gpt2; found none"),
        ("--out out --kind gpt5", 2, "expected one of vit, bert, gpt2, llama, t5, whisper; found \"gpt5\""),
        ("--out out --format coreml", 2, "coreml"),
        (
            "--out out.onnx --format onnx --dtype f16",
            1,
            "expected f32 with --format onnx; found f16: leave it out",
        ),
        ("--out out.onnx --format onnx --kind vit", 1, "which has no kinds; found vit: leave it out"),
        (
            "--out out.gguf --format gguf",
            1,
            "kind: expected llama or gpt2, the kinds of an export as GGUF; found vit",
        ),
        ("--out run/run.toml --format onnx", 1, "run/run.toml: exists; expected a new file"),
    ] {
        let found = line(&format!("export run {options}"));
        assert_eq!(found.code, Some(code), "{options}: {}", found.err);
        assert!(found.err.contains(expected), "{options}: {}", found.err);
    }
    for name in ["out", "out.onnx", "out.gguf"] {
        assert!(!place.path().join(name).exists(), "{name}");
    }
}
