use super::*;
use crate::data::{Output, Sample, Stream, Target, collate};
use crate::head::{Classify, Generate, HeadKind, Masked, Masking, Represent, SavedHead};
use crate::modalities::text::{TextConfig, TextTokenizer, Vocabulary};
use crate::model::ModelConfig;
use crate::model::{AttentionConfig, Model};
use crate::registry::Modalities;
use crate::sample::{Composition, Pool, Purpose, TaskSettings};
use crate::task::{SavedTask, SavedTokenizer, Task};
use candle_core::Device;
use smalti_contract::{Row, TokenizeError, Tokenizer, Value};

/// A task whose text parts have the vocabulary of bytes and a context of 8 tokens.
fn task(settings: &str, texts: &[&str], heads: &[(&str, &str, serde_json::Value)]) -> Composition {
    let settings: TaskSettings =
        toml::from_str(&format!("data = {{ source = \"none.csv\" }}\n{settings}")).unwrap();
    let config = serde_json::to_value(TextConfig::new(Vocabulary::Bytes, 8)).unwrap();
    let tokenizer = SavedTokenizer { tokenizer: TextTokenizer::NAME.into(), config: config.into() };
    let head = |(output, name, state): &(&str, &str, serde_json::Value)| {
        (output.to_string(), SavedHead { name: name.to_string(), state: state.clone() })
    };
    let saved = SavedTask {
        tokenizers: texts.iter().map(|name| (name.to_string(), tokenizer.clone())).collect(),
        heads: heads.iter().map(head).collect(),
        ..SavedTask::default()
    };
    Composition::restore(("", 1.0), &settings, &Modalities::builtin(), &saved).unwrap()
}

fn model(task: &Composition, n_encoder_layers: usize) -> Model {
    let config = ModelConfig {
        d_model: 16,
        n_layers: 2,
        n_encoder_layers,
        attention: AttentionConfig::of_heads(2),
        ..ModelConfig::default()
    };
    Model::new(&config, &[task.spec().clone()], 7, &Device::Cpu).unwrap()
}

fn state<H: HeadKind>(head: &H) -> serde_json::Value {
    serde_json::to_value(head).unwrap()
}

/// A task that continues texts.
fn continuing_task() -> Composition {
    let settings =
        "[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\nwindows = true\ncontext = 8\nend = 0\n";
    task(settings, &["text"], &[("text", "generate", state(&Generate::new(256)))])
}

/// A task with an embedding (`represent` with this pool) and a class as outputs.
fn embedding_task(pool: &str) -> Composition {
    let settings = format!(
        "[inputs.text]\nmodality = \"text\"\ncontext = 8\n[outputs.embedding]\nhead = \"represent\"\npool = \"{pool}\"\n\
         [outputs.label]\nhead = \"classify\"\n"
    );
    let heads = [
        ("embedding", "represent", state(&Represent::new(true, None))),
        ("label", "classify", state(&Classify::new(["a", "b"].map(String::from)))),
    ];
    task(&settings, &["text"], &heads)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// The most likely next id after a window, without a cache.
fn next(model: &Model, task: &Composition, window: &[u32]) -> u32 {
    let tokens = task.parts()[0].sequence(window.to_vec()).unwrap();
    let output = Output { head: 0, places: None, target: Target::Unknown };
    let sample = Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![output], id: 0 };
    let batch = collate(model.layouts(), &[(0, sample)]).unwrap();
    let logits = model.outputs(&batch).unwrap().remove(0).to_vec2::<f32>().unwrap();
    let last = logits.last().unwrap();
    (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap() as u32
}

/// When the context is full, the model reads its second half again; cached keys and values do not change a prediction.
#[test]
fn a_prompt_is_continued_beyond_the_context() {
    let task = continuing_task();
    let model = model(&task, 0);
    let mut continuation =
        Continuation::new(&model, 0, &task, 0, text("mosaic"), Sampling::greedy()).unwrap();
    assert_eq!((continuation.prompt_len(), continuation.context()), (6, 8));
    let mut window: Vec<u32> = b"mosaic".iter().map(|&byte| u32::from(byte)).collect();
    for n in 0..30 {
        let expected = next(&model, &task, &window);
        if expected == 0 {
            assert_eq!(continuation.next_id().unwrap(), None, "the text ends");
            break;
        }
        assert_eq!(continuation.next_id().unwrap(), Some(expected), "id {n} after {window:?}");
        if window.len() == 8 {
            // The last half of the full window, with the new id.
            window.drain(..5);
        }
        window.push(expected);
    }
    assert!(continuation.n_generated() > 0);
}

#[test]
fn a_prompt_without_tokens_and_settings_out_of_range_are_errors() {
    let task = continuing_task();
    let model = model(&task, 0);
    let error = |prompt: Value, sampling: Sampling| {
        Continuation::new(&model, 0, &task, 0, prompt, sampling).err().unwrap().to_string()
    };
    let greedy = Sampling::greedy();
    assert_eq!(error(text(""), greedy), "--prompt: expected at least one token; found \"\"");
    assert!(
        error(text("a"), Sampling { top_p: 2.0, ..greedy }).starts_with("--top-p: expected a number above 0")
    );
    let mut long = Continuation::new(&model, 0, &task, 0, text("longer than 8"), greedy).unwrap();
    assert_eq!(long.prompt_len(), 13);
    assert!(long.value(3).is_ok());
    let sample = task.sample(&|_| Ok(Value::Missing), 0..0, Purpose::Predict, 0).unwrap();
    let error = generate(&model, 0, &task, 0, &sample, &Generation::default()).unwrap_err().to_string();
    assert_eq!(error, "outputs.text: expected windows = false to generate the value of a row");
}

#[test]
fn predict_continues_the_value_of_the_outputs_field() {
    let task = continuing_task();
    let model = model(&task, 0);
    let get = |_: &str| Ok::<_, TokenizeError>(text("mosaic"));
    let missing = |_: &str| Ok::<_, TokenizeError>(Value::Missing);
    let generation = Generation { max_new_tokens: Some(4), ..Generation::default() };
    let predicted = predict(&model, 0, &task, &[(&get, 0..0), (&missing, 0..0)], &generation).unwrap();
    let mut continuation =
        Continuation::new(&model, 0, &task, 0, text("mosaic"), generation.sampling).unwrap();
    assert_eq!(predicted[0]["text"].value, continuation.value(4).unwrap());
    assert!(predicted[1].is_empty());
}

/// Texts of several lengths, more than are generated at one time, by an input in the main stream or in an encoder.
#[test]
fn texts_that_are_generated_together_are_those_alone() {
    let ends: Vec<String> = (1..60).map(|id| id.to_string()).collect();
    for (cross_attention, n_encoder_layers) in [(false, 0), (true, 1)] {
        let settings = format!(
            "[inputs.source]\nmodality = \"text\"\ncontext = 8\n[outputs.target]\nhead = \"generate\"\n\
             share = \"source\"\ncross_attention = {cross_attention}\nbegin = 0\nend = [{}]\n",
            ends.join(", ")
        );
        let heads = [("target", "generate", state(&Generate::new(256)))];
        let task = task(&settings, &["source", "target"], &heads);
        let model = model(&task, n_encoder_layers);
        let sample = |id: u64| {
            let source = &"mosaic"[..1 + id as usize % 6];
            let get = |field: &str| Ok(if field == "source" { text(source) } else { Value::Missing });
            task.sample(&get, 0..0, Purpose::Predict, id).unwrap()
        };
        let samples: Vec<Sample> = (0..19).map(sample).collect();
        let sampling = Sampling { temperature: 1.0, seed: 3, ..Sampling::default() };
        let generation = Generation { sampling, ..Generation::default() };
        let together = generate_batch(&model, 0, &task, 0, &samples, &generation).unwrap();
        for (sample, found) in samples.iter().zip(&together) {
            assert_eq!(*found, generate(&model, 0, &task, 0, sample, &generation).unwrap());
        }
        let mut lengths: Vec<usize> = together.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 3, "some texts end before others: {lengths:?}");
    }
}

#[test]
fn embeddings_are_pooled_hidden_states() {
    let values = || vec![text("ab"), text("mosaics of glass"), text("c")];
    let embedded = |task: &Composition, embedding: Embedding| {
        let model = model(task, 0);
        let part = embedded_part(task, None).unwrap();
        embed((&model, 0, task), part, values(), &embedding, 2).unwrap()
    };
    let of_mean = embedding_task("mean");
    let default = embedded(&of_mean, Embedding::default());
    assert_eq!((default.truncated, default.tokens), (1, 11));
    assert!(default.vectors.iter().all(|vector| vector.len() == 16));
    // `predict` sums in another order.
    let model = model(&of_mean, 0);
    let get = |_: &str| Ok::<_, TokenizeError>(text("ab"));
    let predicted = predict(&model, 0, &of_mean, &[(&get, 0..0)], &Generation::default()).unwrap();
    let expected = predicted[0]["embedding"].value.clone().into_numbers().unwrap();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&default.vectors[0], &expected));
    let first = Embedding { pool: Some(Pool::First), ..Embedding::default() };
    assert_eq!(embedded(&of_mean, first), embedded(&embedding_task("first"), Embedding::default()));
    let last = Embedding { pool: Some(Pool::Last), ..Embedding::default() };
    assert_eq!(embedded(&of_mean, last), embedded(&embedding_task("last"), Embedding::default()));
    assert!(!near(&embedded(&of_mean, last).vectors[0], &embedded(&of_mean, first).vectors[0]));
    let class = Embedding { pool: Some(Pool::ClassToken), ..Embedding::default() };
    assert!(!near(&embedded(&of_mean, class).vectors[0], &embedded(&of_mean, first).vectors[0]));
    let by_attention = embedding_task("attention");
    let attended = embedded(&by_attention, Embedding::default());
    let predicted =
        predict(&self::model(&by_attention, 0), 0, &by_attention, &[(&get, 0..0)], &Generation::default());
    let expected = predicted.unwrap()[0]["embedding"].value.clone().into_numbers().unwrap();
    assert!(near(&attended.vectors[0], &expected));
    let attention = Embedding { pool: Some(Pool::Attention), ..Embedding::default() };
    let part = embedded_part(&of_mean, None).unwrap();
    let refused = embed((&model, 0, &of_mean), part, values(), &attention, 2).unwrap_err().to_string();
    assert!(refused.contains("no output of the model embeds by attention"), "{refused}");
    let short = embedded(&of_mean, Embedding { max_tokens: 1, ..Embedding::default() });
    assert_eq!((short.truncated, short.tokens), (2, 3));
    let all: f32 = default.vectors.iter().map(|vector| vector.iter().map(|x| x * x).sum::<f32>()).sum();
    assert!((all - 3.0).abs() < 1e-5, "each of length 1");
}

/// Without inputs, the embedded text is the one that the task continues; it has no class token.
#[test]
fn a_task_without_inputs_embeds_its_generated_text() {
    let task = continuing_task();
    let model = model(&task, 0);
    let part = embedded_part(&task, None).unwrap();
    let of = (&model, 0, &task);
    let embedded = embed(of, part, vec![text("mosaic")], &Embedding::default(), 1).unwrap();
    assert!(embedded.vectors[0].iter().any(|x| *x != 0.0));
    let class = Embedding { pool: Some(Pool::ClassToken), ..Embedding::default() };
    let refused = embed(of, part, vec![text("mosaic")], &class, 1).unwrap_err().to_string();
    assert_eq!(refused, "--pool: the model has no class token; choose mean, first or last");
    let empty = embed(of, part, vec![text("")], &Embedding::default(), 1).unwrap_err().to_string();
    assert_eq!(empty, "value 1: expected at least one token; found 0");
}

#[test]
fn inputs_of_an_encoder_are_embedded_by_pooling_its_output() {
    let settings = "[inputs.source]\nmodality = \"text\"\ncontext = 8\n[outputs.target]\nhead = \"generate\"\n\
                    share = \"source\"\ncross_attention = true\nbegin = 0\nend = 1\n";
    let task = task(settings, &["source", "target"], &[("target", "generate", state(&Generate::new(256)))]);
    let model = model(&task, 1);
    let part = embedded_part(&task, Some("source")).unwrap();
    let embed = |values: &[&str], batch| {
        let values = values.iter().map(|value| text(value)).collect();
        embed((&model, 0, &task), part, values, &Embedding::default(), batch).unwrap().vectors
    };
    let (together, alone) = (embed(&["mosaic", "glass", "of"], 3), embed(&["glass"], 1));
    assert!(together[1].iter().zip(&alone[0]).all(|(a, b)| (a - b).abs() < 1e-6), "{together:?} {alone:?}");
    assert!(embedded_part(&task, Some("target")).is_err());
}

/// A diffusion task over bytes, whose mask has the id 256.
fn diffusion_task() -> Composition {
    let settings = "[outputs.text]\nhead = \"masked\"\ndiffusion = true\nmodality = \"text\"\ncontext = 8\n";
    let head = Masked::new(257, Masking::Diffusion { eval_rates: 4 });
    task(settings, &["text"], &[("text", "masked", state(&head))])
}

#[test]
fn a_share_of_the_tokens_is_masked_and_the_weights_sum_to_their_number() {
    let task = diffusion_task();
    let get = |_: &str| Ok::<_, TokenizeError>(text("mosaic"));
    let masked = |purpose: Purpose, id: u64| {
        let sample = task.sample(&get, 0..0, purpose, id).unwrap();
        let ids = sample.inputs[0].1.groups[0].content.ids().unwrap().to_vec();
        let Target::Ids { ids: targets, weights } = &sample.outputs[0].target else { panic!("ids") };
        assert_eq!(*targets, b"mosaic".map(u32::from));
        let k = ids.iter().filter(|id| **id == 256).count();
        for ((id, target), weight) in ids.iter().zip(targets).zip(weights) {
            let expected = if *id == 256 { 6.0 / k as f32 } else { 0.0 };
            assert!(*weight == expected && (*id == 256 || id == target), "{ids:?} {weights:?}");
        }
        k
    };
    let mut counts = [0; 7];
    (0..600).for_each(|seed| counts[masked(Purpose::Train(seed), 0)] += 1);
    assert!(counts[0] == 0 && counts[1..].iter().all(|n| (60..140).contains(n)), "uniform: {counts:?}");
    for id in 0..20 {
        let of_versions: Vec<usize> = (0..4).map(|version| masked(Purpose::Evaluate(version), id)).collect();
        assert!(of_versions.is_sorted() && of_versions[0] <= 2 && of_versions[3] >= 5, "{of_versions:?}");
    }
    assert_eq!(masked(Purpose::Train(5), 1), masked(Purpose::Train(5), 1));
}

#[test]
fn gaps_are_filled_in_every_order_and_the_rest_stays() {
    let task = diffusion_task();
    let model = model(&task, 0);
    let unmask = Unmask::new(&model, 0, &task, 0).unwrap();
    let none = |_: &str| Ok::<_, TokenizeError>(Value::Missing);
    let gaps = unmask.with_gaps("m_s__c", '_').unwrap();
    assert_eq!(gaps[..3], [Some(109), None, Some(115)]);
    for (order, steps) in [
        (UnmaskingOrder::Random, 0),
        (UnmaskingOrder::Random, 2),
        (UnmaskingOrder::Confidence, 0),
        (UnmaskingOrder::Confidence, 2),
        (UnmaskingOrder::Confidence, 99),
    ] {
        let unmasking = Unmasking { steps, order, sampling: Sampling::default() };
        let filled = unmask.fill(&none, &gaps, &unmasking).unwrap();
        assert_eq!(filled, unmask.fill(&none, &gaps, &unmasking).unwrap(), "a seed decides");
        assert!(filled.iter().all(|&id| id < 256), "no mask stays: {filled:?}");
        assert!(gaps.iter().zip(&filled).all(|(gap, id)| gap.is_none_or(|given| given == *id)));
    }
    let greedy = |order| Unmasking { steps: 0, order, sampling: Sampling::greedy() };
    let one = [Some(1), None, Some(2)];
    let [random, confident] = [UnmaskingOrder::Random, UnmaskingOrder::Confidence]
        .map(|order| unmask.fill(&none, &one, &greedy(order)).unwrap());
    assert_eq!(random, confident, "one gap has one order");
    let given = [Some(1), Some(2)];
    assert_eq!(unmask.fill(&none, &given, &greedy(UnmaskingOrder::Random)).unwrap(), [1, 2]);
    assert_eq!(unmask.continued("mos", 99).unwrap().len(), 8, "as many tokens as positions");
    let problem = |ids: Result<Vec<Option<u32>>, PredictError>| ids.unwrap_err().to_string();
    assert_eq!(problem(unmask.continued("mosaicos", 1)), "--prompt: expected fewer than 8 tokens; found 8");
    assert_eq!(
        problem(unmask.with_gaps("mosaic_glass", '_')),
        "--infill: expected at most 8 tokens; found 12"
    );
    let of_next = continuing_task();
    let refused = Unmask::new(&model, 0, &of_next, 0).err().unwrap().to_string();
    assert!(refused.contains("expected head = \"masked\""), "{refused}");
}

#[test]
fn a_prompt_is_completed_by_the_output_that_fits_it() {
    let completed = |task: &Composition, max_new_tokens| {
        let model = model(task, 0);
        let generation = Generation { max_new_tokens, ..Generation::default() };
        Prompted::of(&[task]).unwrap().complete(&model, text("mos"), &generation, || true).unwrap()
    };
    let continues = continuing_task();
    let model_of_texts = model(&continues, 0);
    let mut expected =
        Continuation::new(&model_of_texts, 0, &continues, 0, text("mos"), Sampling::greedy()).unwrap();
    let value = expected.value(3).unwrap();
    let found = completed(&continues, Some(3));
    assert_eq!((found.value, found.n_tokens), (value, expected.n_generated()));
    assert!(found.follows_prompt);
    assert_eq!(completed(&continues, Some(0)).value, text(""));
    assert!(completed(&continues, None).n_tokens <= 8);
    let masked = diffusion_task();
    assert_eq!(completed(&masked, Some(2)).n_tokens, 2);
    assert_eq!(completed(&masked, None).n_tokens, 5, "as many as there are positions");
    assert!(Prompted::of(&[&embedding_task("mean")]).is_none());
    assert!(Prompted::masked(&[&continues]).is_none());
}

#[test]
fn a_row_has_a_field_of_the_inputs() {
    let task = embedding_task("mean");
    let model = model(&task, 0);
    let predicted = |fields: &[(&str, Value)]| {
        let fields = fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        predict_rows(&model, 0, &task, &[Row { fields }], &Generation::default())
    };
    let error = |fields: &[(&str, Value)]| predicted(fields).unwrap_err().to_string();
    assert_eq!(error(&[("txt", text("a"))]), "row 1: expected a field of the inputs: text; found \"txt\"");
    let none = "row 1: expected a field of the inputs: text; found no value of one";
    assert_eq!(error(&[]), none);
    assert_eq!(error(&[("text", Value::Missing)]), none);
    assert!(predicted(&[("text", text("a")), ("place", text("b"))]).is_ok(), "a row may have more fields");
}
