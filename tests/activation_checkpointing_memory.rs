//! Blocks that are computed again on the way back keep what enters them, and nothing else.

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

/// Bytes that are held, and the most that were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own; counting touches none of its memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONTEXT: usize = 64;
const DOCUMENTS: u64 = 16;
const D_MODEL: usize = 32;
/// What enters a block.
const ENTERING: usize = DOCUMENTS as usize * CONTEXT * D_MODEL * size_of::<f32>();

/// What a step takes beside the weights, in bytes.
struct Taken {
    /// Held between the way forward and the way back.
    between: usize,
    /// The most at any moment.
    most: usize,
}

fn taken(n_layers: usize, recompute: bool) -> Taken {
    let config = ModelConfig {
        d_model: D_MODEL,
        n_layers,
        attention: AttentionConfig::of_heads(2),
        dropout: 0.1,
        ..ModelConfig::default()
    };
    let mut model = Model::new(&config, &[text()], 0, &Device::Cpu).unwrap();
    model.checkpoint_activations(recompute);
    let batch = batch(&model);
    let step = || {
        let before = HELD.load(Relaxed);
        MOST.store(before, Relaxed);
        let losses = model.loss(&batch, Some(1), 0.0).unwrap();
        let between = HELD.load(Relaxed) - before;
        let gradients = backward(losses.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
        assert!(gradients.iter().count() > 0);
        Taken { between, most: MOST.load(Relaxed) - before }
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
fn a_block_keeps_what_enters_it() {
    // What a thread needs to compute with must not count for more on a machine of many.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let taken = |n_layers, recompute| threads.install(|| taken(n_layers, recompute));
    let (few, many) = (taken(2, true), taken(10, true));
    let (few_kept, many_kept) = (taken(2, false), taken(10, false));
    let by_block = |few: usize, many: usize| (many - few) as f64 / 8.0 / ENTERING as f64;
    let (again, kept) = (by_block(few.between, many.between), by_block(few_kept.between, many_kept.between));
    println!("between the ways a block holds {again:.3} times what enters it, or {kept:.3}");
    let share = many.most as f64 / many_kept.most as f64;
    println!("at most {} bytes, or {}: {share:.3}", many.most, many_kept.most);
    assert!((1.0..1.01).contains(&again), "{again}");
    assert!(kept > 10.0, "{kept}");
    assert!(share < 0.3, "{share}");
}
