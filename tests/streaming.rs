//! The memory of streaming does not grow with the number of samples.

#![cfg(all(target_os = "linux", feature = "image"))]

use candle_core::Device;
use smalti::bench::standard_images;
use smalti::data::{Dataset, Lane, Loader, Plan, Sampler};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::{Composition, Opened, Start};
use smalti::task::Task;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap()
}

/// Stream `shards` shards of 10,000 images once, and return the resident memory after each count of samples.
fn stream(shards: usize, counts: &[u64]) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let settings = standard_images(folder.path(), shards, 10_000).unwrap();
    let Opened { task, train, .. } =
        Composition::open(("", 1.0), &settings, &Modalities::builtin(), Start::New).unwrap();
    let model = Model::new(&Default::default(), &[task.spec().clone()], 0, &Device::Cpu).unwrap();
    let lane = Lane { task: 0, first: 0, samples: train.len(), share: 100 };
    let steps = counts.iter().max().unwrap().div_ceil(100);
    let plan = Plan { steps: 0..steps, draw: 0, accumulate: 1, tokens: None, workers: 2 };
    let datasets: Vec<Arc<dyn Dataset>> = vec![train];
    let sampler = Sampler::new(0, vec![lane], 10_000);
    let loader = Loader::new(model.layouts().to_vec(), datasets, sampler, plan);
    let (mut seen, mut held) = (0, Vec::new());
    for step in loader {
        seen += step.unwrap().micro[0].n_documents() as u64;
        if counts.contains(&seen) {
            held.push(resident());
            println!("{seen} samples: {:.1} MiB", resident() as f64 / 1048576.0);
        }
    }
    held
}

/// 40,000 samples of a few images, or `SMALTI_SAMPLES` samples of distinct images: a million take 4 GB of disk.
#[test]
fn memory_is_flat_over_streamed_samples() {
    let samples = std::env::var("SMALTI_SAMPLES").map(|samples| samples.parse::<u64>().unwrap());
    // One sample in a hundred is for validation.
    let shards = samples.as_ref().map_or(1, |samples| samples.div_ceil(9_900) as usize);
    let samples = samples.unwrap_or(40_000);
    let held = stream(shards, &[10_000, (samples / 10).max(20_000), samples / 3 / 100 * 100, samples]);
    let (first, last) = (held[0], held[held.len() - 1]);
    assert!(last as f64 <= 1.05 * first as f64 + 16e6, "{held:?}");
}
