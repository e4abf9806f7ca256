//! Texts, vocabularies and prompts.

use super::{text_place, text_train};
use crate::files::png;
use crate::support::TINY;

#[test]
fn unusable_texts_are_named() {
    let place = text_place();
    place.write("empty.txt", b"");
    place.write("short.txt", b"hi");
    place.write("latin.txt", &b"caf\xe9 ".repeat(99));
    place.write("image.txt", &png(8, 8));
    place.write("folder/a.bin", b"1");
    place.write("nan.jsonl", b"{\"text\": \"one\"}\n{\"text\": \"two\", \"n\": NaN}\n");
    place.write("gone.jsonl", b"{\"body\": \"one\"}\n");
    let cases: [(&str, &[&str]); 8] = [
        ("nan.jsonl", &["nan.jsonl", "line 2: NaN is not JSON; write null for a missing number"]),
        ("gone.jsonl", &["outputs.text.field: no row has the field \"text\"", "gone.jsonl has body"]),
        ("none.txt", &["none.txt", "not found", "expected a file"]),
        ("empty.txt", &["empty.txt", "empty"]),
        ("short.txt", &["short.txt", "expected at least 17 tokens", "found 1"]),
        ("latin.txt", &["latin.txt", "UTF-8", "0xe9 at offset 3"]),
        ("image.txt", &["image.txt", "UTF-8", "0x89 at offset 0"]),
        ("folder", &["folder", "it is in none of the known layouts"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", text_train()), message);
    }
    place.fails_untouched(&format!("{} --set data.source=", text_train()), &["data.source"]);
}

/// The setting is that of the part, and with it the texts are read.
#[test]
fn characters_unseen_in_training_name_the_setting() {
    let place = text_place();
    place.write("new.txt", "the quick brown f\u{f6}x jumps over\n".repeat(20).as_bytes());
    let unseen = |part: &str| {
        format!("is not in the vocabulary of 30 characters: try --set {part}.unknown=true in training")
    };
    let line = format!("{} --set data.validation_source=new.txt", text_train());
    place.fails_untouched(&line, &["new.txt: character 'ö' (U+00F6) at index 17", &unseen("outputs.text")]);
    place.works(&format!("{} --out run", text_train()));
    place.fails("eval run --data new.txt", &["new.txt: ", &unseen("outputs.text")]);
    place.works(&format!("{line} --set outputs.text.unknown=true --out known"));
    place.works("eval known --data new.txt");

    let rows = |text: &str, n: usize| format!("{{\"said\": {text:?}, \"meant\": \"one\"}}\n").repeat(n);
    place.write("rows.jsonl", rows("abc", 8).as_bytes());
    place.write("new.jsonl", rows("abd", 2).as_bytes());
    let task = "[data]\nsource = \"rows.jsonl\"\nvalidation_source = \"new.jsonl\"\n[inputs.said]\nmodality = \"text\"\n\
                unknown = false\n[outputs.meant]\nhead = \"classify\"\n";
    place.write("task.toml", task.as_bytes());
    let message = "character 'd' (U+0064) at index 2 of the text is not in the vocabulary of 3 characters: try --set \
                   inputs.said.unknown=true in training";
    place.fails(&format!("train task.toml {TINY} --set train.max_steps=2 --out rows"), &[message]);
}

/// A column of texts trains a language model; its rows are documents.
#[test]
fn columns_of_texts_are_trained() {
    let place = text_place();
    let lines: String = (0..80).map(|n| format!("{{\"story\": \"The end of story {n}.\"}}\n")).collect();
    place.write("stories.jsonl", lines.as_bytes());
    for (run, more) in [("apart", ""), ("joined", " --set outputs.text.append_eos=false")] {
        let train = format!("{} --set data.source=stories.jsonl --set train.max_steps=3{more}", text_train());
        place.works(&format!("{train} --out {run}"));
        let saved = std::fs::read_to_string(place.path(run).join("tokenizers.json")).unwrap();
        assert_eq!(saved.contains("<|endoftext|>"), run == "apart", "{saved}");
        place.works(&format!("generate {run} --prompt The --max-new-tokens 5"));
    }
}

/// A trained and a published vocabulary train and generate; others are errors.
#[test]
fn vocabularies_are_trained_read_or_named() {
    let place = text_place();
    place.write("words/vocab.txt", b"[UNK]\n[CLS]\n[SEP]\nthe\nquick\n##s\n");
    place.write("twice.txt", b"[UNK]\n[CLS]\n[SEP]\nthe\nthe\n");
    place.write("none.json", b"{\"version\": \"1.0\"}");
    place.write("alone/encoder.json", b"{\"a\": 0}");
    let with = |vocabulary: &str| format!("{} --set outputs.text.vocabulary={vocabulary}", text_train());
    let cases: [(&str, &[&str]); 7] = [
        ("letters", &["outputs.text.vocabulary: expected one of characters, bytes, words", "\"letters\""]),
        ("{bpe=256}", &["outputs.text: text: vocabulary.bpe: expected 257 or more", "found 256"]),
        ("{file=\"nowhere\"}", &["nowhere: not found; expected a vocabulary: tokenizer.json"]),
        (
            "{file=\"alone\"}",
            &["alone/encoder.json: not found; expected vocab.bpe or merges.txt in the same folder"],
        ),
        ("{file=\"none.json\"}", &["none.json: not readable as tokenizer.json: it has no \"model\""]),
        (
            "{file=\"twice.txt\"}",
            &["twice.txt: not readable as vocab.txt: line 5 is \"the\", the same as line 4"],
        ),
        ("{file=\"a.txt\"}", &["a.txt: not readable as vocab.txt"]),
    ];
    for (vocabulary, message) in cases {
        place.fails_untouched(&with(vocabulary), message);
    }
    for (run, vocabulary) in [("pairs", "{bpe=290}"), ("published", "{file=\"words\"}")] {
        place.works(&format!("{} --set outputs.text.context=4 --out {run}", with(vocabulary)));
        let written = place.works(&format!("generate {run} --prompt the --max-new-tokens 5")).out;
        assert!(written.starts_with("the"), "{written}");
        let metrics = place.works(&format!("eval {run} --json")).out;
        assert_eq!(metrics.contains("bits_per_byte"), run == "pairs", "{metrics}");
    }
    std::fs::remove_dir_all(place.path("words")).unwrap();
    place.works("train --resume --out published");
}

#[test]
fn invalid_prompts_and_sampling_options_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let cases: [(&str, &[&str]); 5] = [
        (
            "--prompt ox\u{e9}",
            &[
                "--prompt: character 'é' (U+00E9) at index 2",
                "not in the vocabulary of 30 characters: try --set outputs.text.unknown=true in training",
            ],
        ),
        ("--prompt=", &["--prompt: expected at least one token; found \"\""]),
        ("--top-p 2", &["--top-p: expected a number above 0 and at most 1; found 2"]),
        ("--top-p 0", &["--top-p: expected a number above 0 and at most 1; found 0"]),
        ("--temperature=-1", &["--temperature: expected a number of at least 0; found -1"]),
    ];
    for (options, message) in cases {
        place.fails(&format!("generate run {options}"), message);
    }
    place.works("generate run --prompt ox --max-new-tokens 3");
}
