//! Generating a token does not copy the cached keys and values of the tokens before it.

use candle_core::Device;
use smalti::data::{Sample, Stream, Target, collate};
use smalti::head::{Generate, HeadSpec};
use smalti::model::ModelConfig;
use smalti::model::{AttentionConfig, Model};
use smalti::rules::Rule;
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator; counting does not touch its memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONTEXT: usize = 250;
const D_MODEL: usize = 64;
const LAYERS: usize = 2;

#[test]
fn a_late_token_allocates_hardly_more_than_an_early_one() {
    let kind = KindSpec {
        name: "character".into(),
        content: ContentSpec::Ids { vocabulary: 20 },
        axes: vec![Axis::new("index", CONTEXT)],
        time_steps: None,
    };
    let task = TaskSpec {
        name: "text".into(),
        inputs: vec![(Stream::Main, vec![kind])],
        rules: vec![("character".into(), "character".into(), Rule::causal())],
        heads: vec![HeadSpec::new("", "character", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    };
    let config = ModelConfig {
        d_model: D_MODEL,
        n_layers: LAYERS,
        attention: AttentionConfig::of_heads(2),
        ..ModelConfig::default()
    };
    let model = Model::new(&config, &[task], 0, &Device::Cpu).unwrap();
    let mut cache = model.cache();
    let mut bytes_at = Vec::new();
    for place in 0..CONTEXT as u32 {
        let group = Group {
            content: Content::Ids(vec![place % 20]),
            positions: vec![place],
            order: vec![place],
            time: vec![place],
        };
        let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
        let sample = Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 };
        let batch = collate(model.layouts(), &[(0, sample)]).unwrap();
        let before = BYTES.load(Relaxed);
        model.step(&batch, &mut cache).unwrap();
        bytes_at.push(BYTES.load(Relaxed) - before);
    }
    // The median over several tokens: sometimes a list grows, or another thread allocates.
    let around = |place: usize| {
        let mut stretch = bytes_at[place - 20..place + 20].to_vec();
        stretch.sort_unstable();
        stretch[20]
    };
    let (early, late) = (around(40), around(220));
    let kept_by_one_token = LAYERS * 2 * D_MODEL * size_of::<f32>();
    // The bound allows a score per earlier token and layer, but no copy of its keys and values.
    let allowed = early + (220 - 40) * kept_by_one_token / 16;
    assert!(late <= allowed, "{early} bytes at token 40, {late} at token 220; at most {allowed}");
}
