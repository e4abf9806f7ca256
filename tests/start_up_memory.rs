//! Loading a run allocates its weights once: none is drawn, and no copy of the file is made.
#![cfg(feature = "text")]

use candle_core::Device;
use smalti::config::RunConfig;
use smalti::registry::Modalities;
use smalti::run::{Run, Weights};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the allocated bytes, and their peak.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator; counting does not touch its memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let allocated = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(allocated, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn loading_a_run_allocates_its_weights_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let settings = [
        "model.d_model=256",
        "data.context=8",
        "train.max_steps=1",
        "train.warmup_steps=1",
        "train.batch_size=1",
        "train.eval_samples=1",
    ];
    let config = RunConfig::of_preset_or_file("text", &settings.map(String::from)).unwrap();
    let (_, outcome) = Run::train(&folder, config, &Device::Cpu, &Modalities::builtin()).unwrap();
    assert_eq!(outcome.step, 1);
    let weights = std::fs::metadata(folder.join("model.safetensors")).unwrap().len();
    // The state has moments too.
    for which in [Weights::Best, Weights::Last] {
        let before = ALLOCATED.load(Relaxed);
        PEAK.store(before, Relaxed);
        let (model, _) = Run::open(&folder).unwrap().load(which, &Device::Cpu).unwrap();
        let share = (PEAK.load(Relaxed) - before) as f64 / weights as f64;
        assert!(model.params().count() as u64 * 4 > weights / 100 * 99);
        println!("{which:?}: {share:.3} of {weights} bytes");
        assert!((0.99..1.1).contains(&share), "{which:?}: {share:.3} of {weights} bytes");
    }
}
