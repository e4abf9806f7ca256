//! Heads: fitting, targets, predictions and metrics.

#![allow(clippy::single_range_in_vec_init, reason = "one document is a range of rows")]

use super::*;
use crate::data::Targets;
use crate::ops::preference::Pair;
use candle_core::Device;
use serde_json::json;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn fit(name: &str, settings: serde_json::Value, values: &[Value]) -> std::result::Result<SavedHead, String> {
    let values = values.to_vec();
    let of = FitData { values: &values, classes: None, vocabulary: None, features: None };
    let fitted = HeadRegistry::builtin().unwrap().fit(name, settings, &of);
    fitted.map(|(saved, _)| saved).map_err(|e| e.to_string())
}

/// A head fitted to these values, saved and restored.
fn head(name: &str, settings: serde_json::Value, values: &[Value]) -> Arc<dyn Head> {
    let saved = fit(name, settings, values).unwrap();
    let saved: SavedHead = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    HeadRegistry::builtin().unwrap().restore(&saved).unwrap()
}

fn context(tokens: usize) -> TargetContext {
    TargetContext { tokens, content: None }
}

fn output(rows: &[Vec<f32>]) -> Tensor {
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu).unwrap()
}

/// The metrics of these output rows, each one document.
fn metrics(head: &dyn Head, rows: &[Vec<f32>], targets: Targets) -> Metrics {
    let n = rows.len();
    let read = HeadBatch {
        task: 0,
        head: 0,
        rows: (0..n as u32).collect(),
        pools: None,
        documents: (0..n).map(|row| row..row + 1).collect(),
        places: (0..n).collect(),
        targets,
    };
    let output = output(rows);
    let loss = head.loss(&ops::Value::constant(output.clone()), &read, 0.0).unwrap();
    let loss = f64::from(loss.tensor().to_scalar::<f32>().unwrap());
    let mut accumulator = head.accumulator();
    accumulator.add(&output, &read, loss, &NoTranscript).unwrap();
    let mut metrics = accumulator.metrics();
    assert!(!metrics.contains_key("loss"), "the evaluation adds the mean loss");
    metrics.insert("loss".into(), loss / read.targets.weight());
    metrics
}

fn feature_targets(head: &dyn Head, values: &[Value]) -> Targets {
    let (mut all, mut dim, mut weights) = (vec![], 0, vec![]);
    for value in values {
        let Ok(Target::Features { values, dim: d, weights: w }) = head.target(value.clone(), &context(1))
        else {
            panic!("expected features")
        };
        all.extend(values);
        weights.extend(w);
        dim = d;
    }
    Targets::Features { values: all, dim, weights }
}

#[test]
fn the_registry_lists_heads_and_their_settings() {
    let mut registry = HeadRegistry::builtin().unwrap();
    let names: Vec<&str> = registry.names().collect();
    let expected = [
        "classify",
        "ctc",
        "generate",
        "masked",
        "multilabel",
        "prefer",
        "reconstruct",
        "regress",
        "represent",
        "tag",
    ];
    assert_eq!(names, expected);
    assert_eq!(registry.keys("tag").unwrap(), ["ignore", "separator"]);
    assert_eq!(registry.keys("regress").unwrap(), ["bounded", "normalize"]);
    assert!(registry.keys("classify").unwrap().is_empty());
    let twice = registry.register::<Tag>().unwrap_err().to_string();
    assert_eq!(twice, "a head named \"tag\" is registered already");
    let unknown = registry.keys("segment").unwrap_err().to_string();
    assert!(unknown.starts_with("no head is named \"segment\"; known: classify, ctc,"), "{unknown}");
    let misspelt = fit("multilabel", json!({ "seperator": ";" }), &[text("a")]).unwrap_err();
    assert!(misspelt.starts_with("multilabel: unknown field `seperator`"), "{misspelt}");
}

#[test]
fn a_classifier_is_fitted_to_the_labels_of_the_training_rows() {
    let values = [text("low"), Value::Missing, text("high"), text("low")];
    let classify = head("classify", json!({}), &values);
    assert_eq!(classify.labels(), ["high", "low"]);
    assert_eq!(classify.target(text("low"), &context(1)).unwrap(), Target::class(1));
    let steps = Value::Series(vec![text("low"), Value::Missing]);
    let target = Target::Ids { ids: vec![1, 0], weights: vec![1.0, 0.0] };
    assert_eq!(classify.target(steps, &context(2)).unwrap(), target);
    let refused = |value, tokens| classify.target(value, &context(tokens)).unwrap_err().to_string();
    assert_eq!(refused(text("wide"), 1), "expected a label of the training rows: high, low; found \"wide\"");
    assert!(refused(text("low"), 3).ends_with("each of the 3 tokens that the head reads; found text"));
    let declared = ["b".to_string(), "a".to_string()];
    let of = FitData { values: &vec![], classes: Some(&declared), vocabulary: None, features: None };
    assert_eq!(Classify::fit(ClassifySettings {}, &of).unwrap().labels(), declared);
    assert!(fit("classify", json!({}), &[]).unwrap_err().contains("found none"));
}

#[test]
fn a_classifier_predicts_probabilities() {
    let classify = Classify::new(["a", "b"].map(String::from));
    let half = (0.5_f32).ln();
    let rows = [vec![half, half], vec![(0.2_f32).ln(), (0.8_f32).ln()], vec![3.0, 0.0]];
    let predicted = classify.predict(&output(&rows), &[1..2, 1..3]).unwrap();
    assert_eq!(predicted[0].value, text("b"));
    let probabilities = &predicted[0].probabilities;
    assert_eq!([&*probabilities[0].0, &*probabilities[1].0], ["b", "a"]);
    assert!((probabilities[0].1 - 0.8).abs() < 1e-6 && (probabilities[1].1 - 0.2).abs() < 1e-6);
    assert_eq!(predicted[1].value, Value::Series(vec![text("b"), text("a")]), "of two rows");
    assert!(predicted[1].probabilities.is_empty());
    let targets = Targets::Ids { ids: vec![0, 1, 1], weights: vec![0.0, 1.0, 1.0] };
    let found = metrics(&classify, &rows, targets);
    assert_eq!(found["accuracy"], 0.5, "a row of weight 0 does not count");
    assert!((found["macro_f1"] - 1.0 / 3.0).abs() < 1e-9, "of 2/3 and 0: {found:?}");
}

#[test]
fn multilabel_values_are_texts_or_arrays_of_0_and_1() {
    let multilabel = head("multilabel", json!({}), &[text("red, green"), text(""), text("blue")]);
    assert_eq!(multilabel.labels(), ["blue", "green", "red"]);
    let target = |values: &[f32]| Target::Features { values: values.into(), dim: 3, weights: vec![1.0] };
    assert_eq!(multilabel.target(text("red,blue"), &context(1)).unwrap(), target(&[1.0, 0.0, 1.0]));
    assert_eq!(multilabel.target(text(""), &context(1)).unwrap(), target(&[0.0; 3]));
    let flags = Value::vector([0.0, 1.0, 1.0]);
    assert_eq!(multilabel.target(flags, &context(1)).unwrap(), target(&[0.0, 1.0, 1.0]));
    let refused = multilabel.target(Value::vector([0.0, 2.0, 1.0]), &context(1)).unwrap_err().to_string();
    assert!(refused.starts_with("expected 3 numbers that are 0 or 1"), "{refused}");
    let rows = [vec![2.0, -2.0, 0.0], vec![-1.0, -1.0, -1.0], vec![-1.0, 1.0, 1.0]];
    let predicted = multilabel.predict(&output(&rows), &[0..1, 1..2, 2..3]).unwrap();
    let values: Vec<&Value> = predicted.iter().map(|prediction| &prediction.value).collect();
    assert_eq!(values, [&text("blue,red"), &text(""), &text("green,red")]);
    assert_eq!(predicted[0].probabilities[0].0, "blue");
    let targets = feature_targets(multilabel.as_ref(), &["blue", "red", "green,red"].map(text));
    let found = metrics(multilabel.as_ref(), &rows, targets);
    assert!((found["micro_f1"] - 6.0 / 8.0).abs() < 1e-9, "{found:?}");
    assert!((found["macro_f1"] - (1.0 + 1.0 + 0.5) / 3.0).abs() < 1e-9, "{found:?}");
    assert_eq!(head("multilabel", json!({}), &[Value::vector([1.0, 0.0])]).labels(), ["0", "1"]);
    let both = fit("multilabel", json!({}), &[Value::vector([1.0]), text("a")]).unwrap_err();
    assert!(both.ends_with("expected texts of labels or arrays of 0 and 1; found both"), "{both}");
}

#[test]
fn tag_predicts_a_label_for_each_token() {
    let tag = head("tag", json!({ "ignore": ["_"] }), &[text("HHC"), text("CE_")]);
    assert_eq!(tag.labels(), ["C", "E", "H"]);
    assert_eq!(Tag::INPUT, HeadInput::InputTokens);
    let target = Target::Ids { ids: vec![2, 0, 1], weights: vec![1.0, 0.0, 1.0] };
    assert_eq!(tag.target(text("H_E\n"), &context(3)).unwrap(), target);
    let refused = tag.target(text("HH"), &context(3)).unwrap_err().to_string();
    assert_eq!(refused, "expected one label for each of the input's 3 tokens; found 2");
    let rows = [vec![0.0, 1.0, 0.0], vec![2.0, 0.0, 1.0]];
    assert_eq!(tag.predict(&output(&rows), &[0..2]).unwrap()[0].value, text("EC"));
    let words = head("tag", json!({ "separator": " " }), &[text("noun  verb"), text("noun")]);
    assert_eq!(words.labels(), ["noun", "verb"]);
    let series = Value::Series(vec![text("verb"), Value::Missing]);
    let target = Target::Ids { ids: vec![1, 0], weights: vec![1.0, 0.0] };
    assert_eq!(words.target(series, &context(2)).unwrap(), target);
    let numbers = head("tag", json!({}), &[Value::vector([10.0, 9.0])]);
    assert_eq!(numbers.labels(), ["9", "10"]);
}

#[test]
fn targets_are_normalized_and_predictions_are_in_units_of_the_data() {
    let values: Vec<Value> = [1.0, 3.0, 5.0].map(|x| Value::vector([x, 7.0])).into();
    let regress = head("regress", json!({}), &values);
    let std = (8.0_f32 / 3.0).sqrt();
    let target = regress.target(values[2].clone(), &context(1)).unwrap();
    let expected = Target::Features { values: vec![2.0 / std, 0.0], dim: 2, weights: vec![1.0] };
    assert_eq!(target, expected, "a constant dimension is not divided by its deviation");
    let rows = [vec![-2.0 / std, 1.0], vec![0.0, 0.0], vec![2.0 / std, 0.0]];
    let predicted = regress.predict(&output(&rows), &[0..1]).unwrap().remove(0).value;
    assert_eq!(predicted, Value::vector([1.0, 8.0]));
    let found = metrics(regress.as_ref(), &rows, feature_targets(regress.as_ref(), &values));
    let cosine = 189.0 / (182.0_f64 * 197.0).sqrt();
    for (name, expected) in
        [("mae", 1.0 / 6.0), ("rmse", (1.0_f64 / 6.0).sqrt()), ("r2", 1.0), ("cosine", cosine)]
    {
        assert!((found[name] - expected).abs() < 1e-6, "{name}: {found:?}");
    }
    let plain = head("regress", json!({ "normalize": false }), &[Value::Number(4.0)]);
    assert_eq!(plain.predict(&output(&[vec![9.0]]), &[0..1]).unwrap()[0].value, Value::Number(9.0));
    assert!(head("regress", json!({ "bounded": true }), &values).labels().is_empty());
    let both = fit("regress", json!({ "bounded": true, "normalize": true }), &values).unwrap_err();
    assert!(both.contains("set normalize = false"), "{both}");
    let refused = |value| regress.target(value, &context(1)).unwrap_err().to_string();
    assert_eq!(refused(Value::Number(1.0)), "expected 2 numbers, as in training; found 1");
    assert_eq!(refused(Value::vector([1.0, f32::NAN])), "expected finite numbers; found NaN");
    let uneven = fit("regress", json!({}), &[Value::Number(1.0), values[0].clone()]).unwrap_err();
    assert_eq!(uneven, "regress: expected values of 1 numbers, like the first; found 2");
}

#[test]
fn heads_of_ids_need_a_vocabulary_and_an_id_for_each_token() {
    let refused = fit("generate", json!({}), &[]).unwrap_err();
    assert!(refused.starts_with("generate: expected a modality whose tokens are ids"), "{refused}");
    let of = FitData { values: &vec![], classes: None, vocabulary: Some(5), features: None };
    let registry = HeadRegistry::builtin().unwrap();
    let (_, generate) = registry.fit("generate", json!({}), &of).unwrap();
    assert_eq!(
        (generate.width(), Generate::INPUT, generate.is_vocabulary()),
        (5, HeadInput::NextTokens, true)
    );
    let ids = TargetContext { tokens: 2, content: Some(Content::Ids(vec![3, 4])) };
    assert_eq!(generate.target(text("ab"), &ids).unwrap(), Target::ids(vec![3, 4]));
    let short =
        generate.target(text("ab"), &TargetContext { tokens: 3, ..ids.clone() }).unwrap_err().to_string();
    assert_eq!(short, "expected an id for each of the 3 tokens that the head reads; found 2");
    let rows = [vec![0.0, 1.0], vec![5.0, 1.0]];
    assert_eq!(
        Generate::new(2).predict(&output(&rows), &[0..2]).unwrap()[0].value,
        Value::vector([1.0, 0.0])
    );
    let found = metrics(&Generate::new(2), &rows, Targets::Ids { ids: vec![1, 1], weights: vec![1.0; 2] });
    assert_eq!((found["accuracy"], found["perplexity"]), (0.5, found["loss"].exp()));

    let (saved, masked) = registry.fit("masked", json!({ "mask": 0.4 }), &of).unwrap();
    assert_eq!(
        (saved.state, masked.masking()),
        (json!({ "vocabulary": 5, "mask": 0.4 }), Some(Masking::Share(0.4)))
    );
    let of_none = registry.fit("masked", json!({ "mask": 0.0 }), &of).unwrap_err().to_string();
    assert_eq!(of_none, "masked: mask: expected a share above 0 and at most 1; found 0");
    let (saved, diffusion) = registry.fit("masked", json!({ "diffusion": true }), &of).unwrap();
    assert_eq!(saved.state, json!({ "vocabulary": 5, "diffusion": true, "eval_rates": 8 }));
    assert_eq!(diffusion.masking(), Some(Masking::Diffusion { eval_rates: 8 }));
    for (settings, problem) in [
        (
            json!({ "diffusion": true, "mask": 0.3 }),
            "mask: with diffusion = true a share is drawn for each sample; remove mask",
        ),
        (json!({ "eval_rates": 4 }), "eval_rates: expected diffusion = true; other masks have one share"),
        (json!({ "diffusion": true, "eval_rates": 0 }), "eval_rates: expected 1 to 1024; found 0"),
    ] {
        assert_eq!(
            registry.fit("masked", settings, &of).unwrap_err().to_string(),
            format!("masked: {problem}")
        );
    }

    let ctc = registry.fit("ctc", json!({}), &of).unwrap().1;
    assert_eq!((ctc.width(), Ctc::INPUT), (6, HeadInput::InputTokens), "five ids and the blank");
    assert_eq!(
        ctc.target(text("ab"), &TargetContext { tokens: 9, ..ids }).unwrap(),
        Target::Labels(vec![3, 4])
    );
    let row = |best: usize| (0..6).map(|i| if i == best { 1.0 } else { 0.0 }).collect();
    let path = output(&[1, 1, 5, 1, 2].map(row));
    assert_eq!(ctc.predict(&path, &[0..5]).unwrap()[0].value, Value::vector([1.0, 1.0, 2.0]));
}

#[test]
fn a_completion_that_gains_more_than_the_other_has_the_higher_reward() {
    let rows = [vec![0.0, 1.0], vec![0.0, 1.0]];
    let pair = |reference| Pair { chosen: 0..1, rejected: 1..2, reference };
    let of = |reference| {
        let (ids, weights) = (vec![1, 0], vec![1.0; 2]);
        metrics(&Prefer::new(2, 0.5), &rows, Targets::Pairs { ids, weights, pairs: vec![pair(reference)] })
    };
    // The log-probability of id 1 is 1 nat above that of id 0.
    let found = of([-1.0, -1.0]);
    assert!((found["margin"] - 0.5).abs() < 1e-6 && found["accuracy"] == 1.0, "{found:?}");
    assert!((found["loss"] - (-0.5_f64).exp().ln_1p()).abs() < 1e-6, "{found:?}");
    let found = of([0.0, -2.0]);
    assert!((found["margin"] + 0.5).abs() < 1e-6 && found["accuracy"] == 0.0, "{found:?}");
    let refused = fit("prefer", json!({ "beta": 0.0 }), &[]).unwrap_err();
    assert_eq!(refused, "prefer: beta: expected a number above 0; found 0");
}
