use super::*;
use crate::data::Output;
use crate::modalities::text::{TextConfig, TextTokenizer, Vocabulary};
use crate::model::{AttentionConfig, Model, ModelConfig};
use crate::registry::Modalities;
use crate::sample::{Composition, TaskSettings};
use crate::task::{SavedTask, SavedTokenizer, Task};
use candle_core::Device;
use smalti_contract::Tokenizer;

/// A task that continues texts of bytes, and a model of it with these settings.
fn task_and_model(settings: &str) -> (Composition, Model) {
    let task: TaskSettings = toml::from_str(
        "data = { source = \"none.csv\" }\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\nwindows = true\n\
         context = 8\nend = 0\n",
    )
    .unwrap();
    let config = serde_json::to_value(TextConfig::new(Vocabulary::Bytes, 8)).unwrap();
    let tokenizer = SavedTokenizer { tokenizer: TextTokenizer::NAME.into(), config: config.into() };
    let state = serde_json::to_value(crate::head::Generate::new(256)).unwrap();
    let saved = SavedTask {
        tokenizers: [("text".to_string(), tokenizer)].into_iter().collect(),
        heads: [("text".to_string(), crate::head::SavedHead { name: "generate".into(), state })]
            .into_iter()
            .collect(),
        ..SavedTask::default()
    };
    let task = Composition::restore(("", 1.0), &task, &Modalities::builtin(), &saved).unwrap();
    let config = ModelConfig {
        d_model: 16,
        n_layers: 3,
        attention: AttentionConfig::of_heads(2),
        ..toml::from_str(settings).unwrap()
    };
    let model = Model::new(&config, &[task.spec().clone()], 7, &Device::Cpu).unwrap();
    (task, model)
}

fn batch(task: &Composition, model: &Model, n: u32) -> Batch {
    let tokens = task.parts()[0].sequence((0..n).collect()).unwrap();
    let outputs = vec![Output { head: 0, places: None, target: Target::Unknown }];
    collate(model.layouts(), &[(0, Sample { inputs: vec![(Stream::Main, tokens)], outputs, id: 0 })]).unwrap()
}

#[test]
fn recorded_weights_of_a_query_sum_to_1_and_causal_attention_has_zeros_above_the_diagonal() {
    let (task, model) = task_and_model("");
    let batch = batch(&task, &model, 5);
    let weights = model.attention_weights(&batch, 5).unwrap();
    assert!(weights.layers.len() == 3 && weights.left_out.is_empty());
    for layer in &weights.layers {
        let heads = layer.documents[0].as_ref().unwrap().to_vec3::<f32>().unwrap();
        assert_eq!((heads.len(), heads[0].len(), heads[0][0].len()), (2, 5, 5));
        for (query, row) in heads.iter().flat_map(|rows| rows.iter().enumerate()) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            assert!(row[query + 1..].iter().all(|weight| *weight == 0.0), "{query}: {row:?}");
        }
    }
    let [attended] = &attended(&weights, &[4]).unwrap()[..] else { panic!("one stream") };
    assert_eq!(attended.layers[0].len(), 2);
    assert!((attended.rollout.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let first = super::attended(&weights, &[0]).unwrap();
    assert_eq!(first[0].rollout, [1.0, 0.0, 0.0, 0.0, 0.0], "the first token attends to itself alone");
}

#[test]
fn long_documents_are_left_out_and_layers_without_attention_are_named() {
    let (task, model) = task_and_model("[[mixers]]\nkind = \"linear\"\nlayers = [1]\n");
    let batch = batch(&task, &model, 5);
    let weights = model.attention_weights(&batch, 5).unwrap();
    assert_eq!(weights.left_out, ["layer 1: linear attention"]);
    let layers: Vec<usize> = weights.of(Stream::Main, false).map(|layer| layer.place.layer).collect();
    assert_eq!(layers, [0, 2]);
    let short = model.attention_weights(&batch, 4).unwrap();
    assert!(short.layers.iter().all(|layer| layer.documents[0].is_none()));
    assert!(attended(&short, &[4]).unwrap().is_empty());
}

#[test]
fn a_window_is_cut_to_its_first_tokens() {
    let (task, _) = task_and_model("");
    let tokens = task.parts()[0].sequence(vec![9; 7]).unwrap();
    let cut = cut(Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![], id: 0 }, 4);
    let group = &cut.inputs[0].1.groups[0];
    assert_eq!((group.len(), group.positions.len(), group.time.len()), (4, 4, 4));
}
