//! With activation checkpointing, a block keeps its input alone between the forward and the backward pass.

use candle_core::Device;
use smalti::data::{Batch, Sample, Stream, Target, collate};
use smalti::head::{Generate, HeadSpec};
use smalti::model::ModelConfig;
use smalti::model::{AttentionConfig, Model};
use smalti::ops::backward;
use smalti::rules::Rule;
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
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

const CONTEXT: usize = 64;
const DOCUMENTS: u64 = 16;
const D_MODEL: usize = 32;
/// Bytes of a block's input.
const INPUT_BYTES: usize = DOCUMENTS as usize * CONTEXT * D_MODEL * size_of::<f32>();

/// The memory of a training step beside the weights, in bytes.
struct StepMemory {
    /// Allocated between the forward and the backward pass.
    between: usize,
    /// The peak.
    peak: usize,
}

fn step_memory(n_layers: usize, checkpoint_activations: bool) -> StepMemory {
    let config = ModelConfig {
        d_model: D_MODEL,
        n_layers,
        attention: AttentionConfig::of_heads(2),
        dropout: 0.1,
        ..ModelConfig::default()
    };
    let mut model = Model::new(&config, &[text()], 0, &Device::Cpu).unwrap();
    model.checkpoint_activations(checkpoint_activations);
    let batch = batch(&model);
    let step = || {
        let before = ALLOCATED.load(Relaxed);
        PEAK.store(before, Relaxed);
        let losses = model.loss(&batch, Some(1), 0.0).unwrap();
        let between = ALLOCATED.load(Relaxed) - before;
        let gradients = backward(losses.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
        assert!(gradients.iter().count() > 0);
        StepMemory { between, peak: PEAK.load(Relaxed) - before }
    };
    step(); // starts threads
    step()
}

fn text() -> TaskSpec {
    let kind = KindSpec {
        name: "character".into(),
        content: ContentSpec::Ids { vocabulary: 20 },
        axes: vec![Axis::new("index", CONTEXT)],
        time_steps: None,
    };
    TaskSpec {
        name: "text".into(),
        inputs: vec![(Stream::Main, vec![kind])],
        rules: vec![("character".into(), "character".into(), Rule::causal())],
        heads: vec![HeadSpec::new("", "character", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn batch(model: &Model) -> Batch {
    let ids = |id: u64| (0..CONTEXT as u32).map(|place| (place * 7 + id as u32) % 20).collect::<Vec<u32>>();
    let sample = |id: u64| {
        let inputs = vec![(Stream::Main, Tokens::new(vec![Group::sequence(Content::Ids(ids(id)))]))];
        (0, Sample { inputs, outputs: vec![Target::ids(ids(id + 7)).into()], id })
    };
    collate(model.layouts(), &(0..DOCUMENTS).map(sample).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_block_keeps_its_input_alone() {
    // A fixed number of threads: each has its own working memory.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let memory = |n_layers, checkpointed| threads.install(|| step_memory(n_layers, checkpointed));
    let (few, many) = (memory(2, true), memory(10, true));
    let (few_kept, many_kept) = (memory(2, false), memory(10, false));
    let inputs_per_block = |few: usize, many: usize| (many - few) as f64 / 8.0 / INPUT_BYTES as f64;
    let checkpointed = inputs_per_block(few.between, many.between);
    let kept = inputs_per_block(few_kept.between, many_kept.between);
    println!("between the passes, a block keeps {checkpointed:.3} times its input, or {kept:.3} times");
    let share = many.peak as f64 / many_kept.peak as f64;
    println!("peak: {} bytes, or {}: {share:.3}", many.peak, many_kept.peak);
    assert!((1.0..1.01).contains(&checkpointed), "{checkpointed}");
    assert!(kept > 10.0, "{kept}");
    assert!(share < 0.3, "{share}");
}
