//! The sections of a page about the inside of a model.
#![cfg(all(feature = "text", feature = "image"))]

use candle_core::Device;
use smalti::config::RunConfig;
use smalti::registry::Modalities;
use smalti::report::html::Section;
use smalti::report::inside;
use smalti::run::{Run, Weights};

/// A model of a few parameters, trained for two steps on shipped data.
fn sections(preset: &str, settings: &[&str]) -> Vec<Section> {
    let place = tempfile::tempdir().unwrap();
    let small = ["model.d_model=16", "model.n_layers=2", "model.attention.n_heads=2", "train.max_steps=2"];
    let overrides: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    let config = RunConfig::of_preset_or_file(preset, &overrides).unwrap();
    let (run, _) =
        Run::train(place.path().join("run"), config, &Device::Cpu, &Modalities::builtin()).unwrap();
    let (model, _) = run.load(Weights::Best, &Device::Cpu).unwrap();
    let tasks = run.splits(run.config()).unwrap();
    let twice = [(); 2].map(|()| inside::sections(&model, &tasks, 40));
    let [first, second] = twice;
    assert!(first == second, "the same page each time");
    first
}

fn body<'a>(sections: &'a [Section], id: &str) -> (&'a str, String) {
    let section = sections.iter().find(|section| section.id == id);
    let section = section.unwrap_or_else(|| {
        let known: Vec<&str> = sections.iter().map(|section| section.id.as_str()).collect();
        panic!("{id} in {known:?}")
    });
    (&section.title, section.body.clone().into_string())
}

#[test]
fn images_have_predictions_maps_of_attention_and_a_confusion_with_images_behind_its_cells() {
    let sections = sections("image", &[]);
    let (_, predictions) = body(&sections, "predictions");
    for text in ["<figure>", "class, target:", "class, prediction:", "probabilities of class: "] {
        assert!(predictions.contains(text), "{text}");
    }
    let (_, attention) = body(&sections, "attention");
    for text in ["the class token of class", "bright where rollout", "a column for each head", "Mean weight"]
    {
        assert!(attention.contains(text), "{text}");
    }
    assert!(attention.len() < 600_000, "{}", attention.len());
    let (title, confusion) = body(&sections, "confusion-class");
    assert_eq!(title, "Confusion of class");
    for text in
        ["<caption>Number of predictions by target", "<details>", "Worst errors", "data:image/png;base64,"]
    {
        assert!(confusion.contains(text), "{text}");
    }
    let (_, embeddings) = body(&sections, "embeddings");
    for text in ["positions of image.patch", "class vectors"] {
        assert!(embeddings.contains(text), "{text}");
    }
}

#[test]
fn texts_have_continuations_lines_of_shaded_tokens_and_embeddings_of_characters() {
    let sections = sections("text", &["outputs.text.context=32"]);
    let (_, predictions) = body(&sections, "predictions");
    assert!(predictions.contains("text, continued by the model (greedy):"), "{predictions}");
    let (_, attention) = body(&sections, "attention");
    assert!(attention.contains("class=\"tokens\"") && attention.contains("the last token"), "{attention}");
    assert!(sections.iter().all(|section| !section.id.starts_with("confusion")));
    let (_, embeddings) = body(&sections, "embeddings");
    assert!(embeddings.contains("principal components") && embeddings.contains("t-SNE"), "{embeddings}");
}
