//! Damaged files of run folders: settings, tokenizers and metrics.

use crate::place::MIB;
use candle_core::Device;
use smalti::config::{PRESETS, RunConfig};
use smalti::registry::Modalities;
use smalti::report::curves;
use smalti::run::{CONFIG_FILE, REFERENCE_FILE, Run, TOKENIZERS_FILE};
use smalti::train::{Alone, Checks, METRICS_FILE, MetricsLog, log};
use smalti_mutation::{Bound, survives};
use std::path::Path;
use std::sync::Arc;

#[test]
fn settings_of_runs() {
    let written = |(name, _): (&str, &str)| {
        RunConfig::of_preset_or_file(name, &[]).unwrap().to_toml().unwrap().into_bytes()
    };
    let good = PRESETS.map(written);
    survives(CONFIG_FILE, &good, Bound::bytes(8 * MIB).and_of_file(400), |file| {
        let text = std::str::from_utf8(file).map_err(|e| e.to_string())?;
        RunConfig::parse(CONFIG_FILE, text, &[]).map_err(|e| e.to_string())
    });
}

/// Damage a file of a run without weights, and restore its tasks.
fn of_run(folder: &Path, name: &str) {
    let good = std::fs::read(folder.join(name)).unwrap();
    survives(name, &[good], Bound::bytes(32 * MIB).and_of_file(400), |file| {
        std::fs::write(folder.join(name), file).map_err(|e| e.to_string())?;
        let run = Run::open(folder).map_err(|e| e.to_string())?;
        run.tasks().map(|tasks| tasks.len()).map_err(|e| e.to_string())
    });
}

#[test]
fn tokenizers_of_runs() {
    let small = ["model.d_model=16", "model.n_layers=1", "model.attention.n_heads=2"];
    for (preset, more) in
        [("text", &["outputs.text.vocabulary={bpe=300}"][..]), ("image", &[]), ("trajectory", &[])]
    {
        let place = tempfile::tempdir().unwrap();
        let settings: Vec<String> = small.iter().chain(more).map(ToString::to_string).collect();
        let config = RunConfig::of_preset_or_file(preset, &settings).unwrap();
        let folder = place.path().join(preset);
        Run::create(&folder, config, &Device::Cpu, Arc::new(Alone)).unwrap();
        of_run(&folder, TOKENIZERS_FILE);
    }
}

#[test]
fn references_of_runs() {
    let place = tempfile::tempdir().unwrap();
    let [base, pairs, source] = ["base", "pairs", "pairs.jsonl"].map(|name| place.path().join(name));
    let row = |i: usize| {
        format!("{{\"chosen\": \"b{}\", \"rejected\": \"ba{}\"}}\n", "a".repeat(i % 4), "b".repeat(i % 3))
    };
    std::fs::write(&source, (1..9).map(row).collect::<String>()).unwrap();
    let config = |head: &str| {
        let settings = format!(
            "[data]\nsource = {source:?}\n[outputs.text]\nmodality = \"text\"\ncontext = 8\n{head}\n[model]\nd_model = 8\n\
             n_layers = 1\nattention.n_heads = 2\n[train]\nmax_steps = 1\nbatch_size = 2\n"
        );
        RunConfig::parse("test", &settings, &[]).unwrap()
    };
    let (device, modalities) = (&Device::Cpu, &Modalities::builtin());
    let of_base = config("head = \"generate\"\nfield = \"chosen\"");
    let (base, _) = Run::train(&base, of_base, device, modalities).unwrap();
    let of_pairs = config("head = \"prefer\"\nfield = [\"chosen\", \"rejected\"]");
    Run::create_from(&pairs, of_pairs, device, Arc::new(Alone), &base).unwrap();
    let good = std::fs::read(pairs.join(REFERENCE_FILE)).unwrap();
    survives(REFERENCE_FILE, &[good], Bound::bytes(32 * MIB).and_of_file(400), |file| {
        std::fs::write(pairs.join(REFERENCE_FILE), file).map_err(|e| e.to_string())?;
        let unchecked = Checks { checksums: false, finite: true };
        let run = Run::open_checked(&pairs, modalities, unchecked).map_err(|e| e.to_string())?;
        let tasks = run.splits(run.config()).map_err(|e| e.to_string())?;
        tasks[0].1.train.sample(0, None).map(|sample| sample.outputs.len()).map_err(|e| e.to_string())
    });
}

#[test]
fn metrics_of_runs() {
    let place = tempfile::tempdir().unwrap();
    let good = b"{\"step\": 1, \"losses\": {\"\": 2.5}, \"learning_rate\": 1e-3}\n\
        {\"step\": 2, \"eval\": {\"\": {\"text.loss\": 2.25, \"text.accuracy\": null}}}\n\
        {\"step\": 3, \"losses\": {\"\": null}"
        .to_vec();
    survives(METRICS_FILE, &[good], Bound::bytes(MIB).and_of_file(400), |file| {
        std::fs::write(place.path().join(METRICS_FILE), file).map_err(|e| e.to_string())?;
        let lines = log::read(place.path()).map_err(|e| e.to_string())?;
        curves::panels(&lines);
        MetricsLog::open(place.path(), 2).map_err(|e| e.to_string())
    });
}
