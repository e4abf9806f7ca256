//! The files beside the weights: tokenizers and generation.

use super::{copied, error, write};
use serde_json::{Value as Json, json};
use smalti::inference::{Continuation, Sampling};
use smalti::pretrained::{self, Pretrained};
use smalti::train::Storage;
use smalti_contract::Value;
use std::path::Path;

fn set(folder: &Path, key: &str, value: Json) {
    let path = folder.join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

/// Greedy ids after a prompt, at most `n`, and the number of ids of the prompt.
fn continued(model: &Pretrained, prompt: &str, n: usize) -> (Vec<u32>, usize) {
    let prompt = Value::Text(prompt.into());
    let mut ids = Continuation::new(&model.model, 0, &model.task, 0, prompt, Sampling::greedy()).unwrap();
    let length = ids.prompt_len();
    let next = std::iter::from_fn(|| ids.next_id().unwrap());
    (next.take(n).collect(), length)
}

/// A tokenizer of the words `<unk> <s> </s> a b c …`, with `more` words than 23.
fn words(post_processor: Json, more: &[&str]) -> Json {
    let letters = ('a'..='t').map(String::from);
    let names = ["<unk>", "<s>", "</s>"].map(String::from).into_iter().chain(letters);
    let vocab: serde_json::Map<String, Json> = names
        .chain(more.iter().map(|name| name.to_string()))
        .zip(0..)
        .map(|(name, id)| (name, json!(id)))
        .collect();
    let added = |name: &str| {
        json!({ "id": vocab[name], "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let added: Vec<Json> = ["<s>", "</s>"].iter().chain(more).map(|name| added(name)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": post_processor, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    })
}

fn template(single: &[&str]) -> Json {
    let piece = |name: &&str| match *name {
        "A" => json!({ "Sequence": { "id": "A", "type_id": 0 } }),
        name => json!({ "SpecialToken": { "id": name, "type_id": 0 } }),
    };
    json!({
        "type": "TemplateProcessing",
        "single": single.iter().map(piece).collect::<Vec<_>>(),
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": {
            "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] },
            "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] },
        },
    })
}

#[test]
fn every_end_id_of_both_files_ends_a_text() {
    let place = copied("gpt2-untied");
    let (free, _) = continued(&pretrained::open(place.path()).unwrap(), "5 7 9", 6);
    assert_eq!(free.len(), 6);
    let last = free[5];
    let before = free.iter().position(|&id| id == last).unwrap();
    let other = (0..23).find(|id| !free.contains(id)).unwrap();
    let ended = || continued(&pretrained::open(place.path()).unwrap(), "5 7 9", 6).0;
    for ids in [json!(last), json!([other, last])] {
        set(place.path(), "eos_token_id", ids);
        assert_eq!(ended(), free[..before]);
    }
    set(place.path(), "eos_token_id", json!(other));
    assert_eq!(ended(), free);
    for ids in [json!(last), json!([50256, last])] {
        write(
            place.path(),
            "generation_config.json",
            &json!({ "eos_token_id": ids, "_from_model_config": true }),
        );
        assert_eq!(ended(), free[..before]);
    }
    let run = place.path().join("run");
    pretrained::import(place.path(), &run, Storage::F32, None).unwrap();
    let toml = std::fs::read_to_string(run.join("run.toml")).unwrap();
    assert!(
        toml.contains(&format!("end = [{other}, {last}]")) || toml.contains(&format!("    {last},")),
        "{toml}"
    );
}

#[test]
fn rules_of_generation_that_generate_lacks_are_errors() {
    let place = copied("gpt2-untied");
    for (key, value) in [
        ("repetition_penalty", json!(1.1)),
        ("no_repeat_ngram_size", json!(3)),
        ("suppress_tokens", json!([4])),
        ("forced_bos_token_id", json!(0)),
        ("alien", json!(1)),
    ] {
        write(
            place.path(),
            "generation_config.json",
            &json!({ key: value, "temperature": 0.6, "top_p": 0.9 }),
        );
        let found = error(place.path());
        assert!(
            found.contains("generation_config.json: ") && found.contains(&format!("--ignore-setting {key}")),
            "{found}"
        );
        let run = place.path().join(format!("run-{key}"));
        let ignored = [key.to_string()];
        let report = pretrained::import_ignoring(place.path(), &run, Storage::F32, None, &ignored).unwrap();
        assert_eq!(report.ignored, ignored);
        pretrained::export(&run, &place.path().join(format!("out-{key}")), Storage::F32).unwrap();
    }
    write(
        place.path(),
        "generation_config.json",
        &json!({ "suppress_tokens": [], "repetition_penalty": 1.0 }),
    );
    pretrained::open(place.path()).unwrap();
    let unknown = pretrained::open_ignoring(place.path(), &["no_such_key".into()]).err().unwrap().to_string();
    assert!(unknown.contains("no_such_key: expected a setting"), "{unknown}");
}

/// Each post-processor of the `tokenizers` library that puts a token before a text.
#[test]
fn the_token_before_a_text_precedes_a_prompt() {
    let ids = copied("llama-tied");
    let ids = pretrained::open(ids.path()).unwrap();
    let (with, without) = (continued(&ids, "1 10 12", 6).0, continued(&ids, "10 12", 6).0);
    assert_ne!(with, without, "the test needs a model for which the token matters");
    let place = copied("llama-tied");
    let found = |post_processor: Json, config: Json| {
        write(place.path(), "tokenizer.json", &words(post_processor, &[]));
        write(place.path(), "tokenizer_config.json", &config);
        continued(&pretrained::open(place.path()).unwrap(), "h j", 6)
    };
    let (begin, plain) = (template(&["<s>", "A"]), json!({}));
    let bert = json!({ "type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1] });
    let roberta = json!({
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true,
        "add_prefix_space": false,
    });
    let bytes =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    for post_processor in [
        begin.clone(),
        template(&["<s>", "A", "</s>"]),
        json!({ "type": "Sequence", "processors": [bytes, begin] }),
        bert,
        roberta,
    ] {
        assert_eq!(found(post_processor.clone(), plain.clone()), (with.clone(), 3), "{post_processor}");
    }
    assert_eq!(found(Json::Null, plain.clone()), (without.clone(), 2));
    // transformers' class for Llama puts the token there itself, unless the settings say otherwise.
    let class =
        |add: Json| json!({ "tokenizer_class": "LlamaTokenizer", "add_bos_token": add, "bos_token": "<s>" });
    assert_eq!(found(Json::Null, class(json!(true))), (with.clone(), 3));
    assert_eq!(found(Json::Null, class(Json::Null)), (with, 3));
    assert_eq!(found(template(&["<s>", "A"]), class(json!(false))), (without, 2));
}

#[test]
fn a_tokenizer_with_more_ids_than_the_model_is_imported() {
    let place = copied("llama-tied");
    write(place.path(), "tokenizer.json", &words(Json::Null, &[]));
    let plain = continued(&pretrained::open(place.path()).unwrap(), "a b", 6);
    write(place.path(), "tokenizer.json", &words(Json::Null, &["<pad>"]));
    let model = pretrained::open(place.path()).unwrap();
    assert_eq!(continued(&model, "a b", 6), plain);
    let prompt = Value::Text("a <pad> b".into());
    let refused = Continuation::new(&model.model, 0, &model.task, 0, prompt, Sampling::greedy());
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("\"<pad>\"") && refused.contains("below 23"), "{refused}");
    let run = place.path().join("run");
    pretrained::import(place.path(), &run, Storage::F32, None).unwrap();
    pretrained::export(&run, &place.path().join("out"), Storage::F32).unwrap();
    // The same token, named by the settings alone.
    write(place.path(), "tokenizer.json", &words(Json::Null, &[]));
    write(place.path(), "special_tokens_map.json", &json!({ "pad_token": { "content": "<pad>" } }));
    let model = pretrained::open(place.path()).unwrap();
    let prompt = Value::Text("a <pad>".into());
    assert!(Continuation::new(&model.model, 0, &model.task, 0, prompt, Sampling::greedy()).is_err());
}

#[test]
fn an_unknown_setting_of_a_tokenizer_is_an_error() {
    let place = copied("llama-tied");
    write(place.path(), "tokenizer.json", &words(Json::Null, &[]));
    write(
        place.path(),
        "tokenizer_config.json",
        &json!({ "alien": 1, "model_max_length": 8, "chat_template": "{}" }),
    );
    let found = error(place.path());
    assert!(found.contains("tokenizer_config.json: alien"), "{found}");
    pretrained::open_ignoring(place.path(), &["alien".into()]).unwrap();
}
