//! Runs: several outputs, a mix, an input added to a trained run, predictions as tables.

use super::{Words, phrase};
use crate::support::TINY;
use smalti::registry::Modalities;

#[test]
fn two_outputs_are_trained_evaluated_predicted_and_written() {
    let words = Words::new();
    let trained = words.json(&format!("train words.toml --out run {TINY}"));
    let metrics = &trained["metrics"];
    assert!(metrics["longer"]["accuracy"].as_f64().unwrap() >= 0.8, "{metrics}");
    assert!(
        metrics["by"]["r2"].as_f64().unwrap() > 0.3 && metrics["longer"]["macro_f1"].is_number(),
        "{metrics}"
    );
    std::fs::write(words.0.path().join("few.csv"), "first,longer\nelephants,first\ndonkeys,first\n").unwrap();
    let evaluated = words.json("eval run --confusion confusion.csv");
    assert_eq!(evaluated["longer"]["accuracy"], metrics["longer"]["accuracy"]);
    assert!(evaluated["longer"]["classes"]["first"]["recall"].is_number(), "{evaluated}");
    let csv = std::fs::read_to_string(words.0.path().join("confusion.csv")).unwrap();
    assert!(csv.starts_with("target,first,second\n"), "{csv}");

    let one = words.json("predict run --row first=elephants second=a");
    assert_eq!(one["rows"][0]["longer"]["value"], "first", "{one}");
    assert!(one["rows"][0]["longer"]["probabilities"]["first"].as_f64().unwrap() > 0.5, "{one}");
    assert!(one["rows"][0]["by"]["value"].as_f64().unwrap() > 1.0, "in the units of the data: {one}");
    for out in ["p.csv", "p.jsonl", "p.parquet"] {
        words.works(&format!("predict run --table words.csv --out {out}"));
        let table = Modalities::builtin()
            .sources()
            .open(&smalti::table::Source::new(words.0.path().join(out).display().to_string()));
        let table = table.unwrap();
        assert_eq!(table.fields(), ["row", "longer", "longer.first", "longer.second", "by"], "{out}");
        assert_eq!(table.len(), 60, "{out}");
        assert_eq!(table.value(0, "longer").unwrap(), phrase("second"), "{out}");
    }
    let other = words.json("eval run --data few.csv");
    assert_eq!(other["longer"]["classes"]["first"]["support"], 2, "all rows of another source: {other}");
    words.fails("predict run --row third=x", &["\"third\"", "first, second"]);
    words.fails("predict run", &["--row FIELD=VALUE", "first, second"]);
    words.fails("predict run --table words.csv --out p.xls", &[".csv", ".jsonl", ".parquet"]);
}

#[test]
fn tasks_of_a_mix_share_a_vocabulary() {
    let words = Words::new();
    let task = |name: &str, share: &str| {
        format!(
            "[mix.{name}.data]\nsource = \"words.csv\"\n[mix.{name}.inputs.first]\nmodality = \"text\"\n{share}\
             [mix.{name}.outputs.longer]\nhead = \"classify\"\n"
        )
    };
    let write = |first: &str, second: &str| {
        std::fs::write(words.0.path().join("mix.toml"), task("a", first) + &task("b", second)).unwrap();
    };
    write("share = \"b.first\"\n", "context = 12\n");
    words.works(&format!("train mix.toml --out shared {TINY}"));
    let kinds = words.json("info shared")["parameters"].clone();
    write("context = 12\n", "context = 12\n");
    words.works(&format!("train mix.toml --out apart {TINY}"));
    let apart = words.json("info apart")["parameters"].clone();
    assert!(kinds["embed"].as_u64() < apart["embed"].as_u64(), "one table, not two: {kinds} {apart}");
    words.works("eval shared");
    write("share = \"b.second\"\n", "context = 12\n");
    words.fails("train mix.toml --out none", &["inputs.first.share", "\"b.second\""]);
    write("share = \"b.first\"\n", "share = \"a.first\"\n");
    words.fails("train mix.toml --out none", &["share: the tasks a, b share vocabularies in a cycle"]);
}

#[test]
fn an_input_is_added_to_a_trained_run() {
    let words = Words::new();
    let settings = std::fs::read_to_string(words.0.path().join("words.toml")).unwrap();
    let before = settings.replace("[inputs.second]\nmodality = \"text\"\nshare = \"first\"\n", "");
    std::fs::write(words.0.path().join("before.toml"), before).unwrap();
    words.works(&format!("train before.toml --out before {TINY}"));
    words.works(&format!("train words.toml --from before --out after {TINY}"));
    let start = std::fs::read_to_string(words.0.path().join("after/start.json")).unwrap();
    let start: serde_json::Value = serde_json::from_str(&start).unwrap();
    let names = |key: &str| {
        start[key].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert!(names("loaded").contains(&"embed.first.character.table".to_string()), "{start}");
    assert!(names("loaded").iter().any(|name| name.starts_with("stack.")), "{start}");
    assert!(names("new") == ["embed.types of second.character"] && names("skipped").is_empty(), "{start}");
}

#[test]
fn a_head_with_other_labels_is_initialized_anew() {
    let words = Words::new();
    words.works(&format!("train words.toml --out before {TINY}"));
    let csv = std::fs::read_to_string(words.0.path().join("words.csv")).unwrap();
    let csv = csv.replace(",second,-", ",other,-").replace(",second,0", ",other,0");
    std::fs::write(words.0.path().join("words.csv"), csv).unwrap();
    words.works(&format!("train words.toml --from before --out after {TINY}"));
    let start = std::fs::read_to_string(words.0.path().join("after/start.json")).unwrap();
    assert!(start.contains("head.longer.weight: its head has other labels in the new model"), "{start}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let words = Words::new();
    let whole = words.json(&format!("train words.toml --out whole {TINY} --set train.checkpoint_every=20"));
    words.works(&format!("train words.toml --out run {TINY} --set train.checkpoint_every=20"));
    for file in ["state.safetensors", "model.safetensors"] {
        std::fs::remove_file(words.0.path().join("run").join(file)).unwrap();
    }
    let resumed = words.json("train --resume --out run");
    assert_eq!(resumed["metrics"], whole["metrics"]);
    let model = |run: &str| std::fs::read(words.0.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("whole"));
}

#[test]
fn rows_are_inspected_field_by_field() {
    let words = Words::new();
    let checked = words.json("data check words.toml");
    let train = &checked["tasks"][""]["splits"][0];
    assert_eq!((&train["split"], train["rows"].as_u64()), (&"train".into(), Some(54)));
    let field = |name: &str| {
        let fields = train["fields"].as_array().unwrap();
        fields
            .iter()
            .find(|field| field["field"] == name)
            .unwrap_or_else(|| panic!("{name}: {train}"))
            .clone()
    };
    assert_eq!(field("longer")["classes"].as_object().unwrap().len(), 2);
    assert_eq!(field("by")["range"], serde_json::json!([-6.0, 6.0]));
    let shown = words.works("data check words.toml");
    assert!(shown.contains("train: 54 rows") && shown.contains("classes"), "{shown}");
}

#[test]
fn texts_are_generated_as_a_prefix_and_by_cross_attention() {
    let words = Words::new();
    let task = "[data]\nsource = \"words.csv\"\n[inputs.first]\nmodality = \"text\"\ncontext = 12\n[inputs.second]\n\
                modality = \"text\"\nshare = \"first\"\n[outputs.longer]\nhead = \"generate\"\nmodality = \"text\"\n\
                context = 8\n[train]\nmax_steps = 120\nbatch_size = 16\nlearning_rate = 5e-3\neval_every = 0\n";
    std::fs::write(words.0.path().join("text.toml"), task).unwrap();
    let small = "--set model.d_model=32 --set model.n_layers=1 --set model.attention.n_heads=2";
    let cross = "--set outputs.longer.cross_attention=true --set model.n_encoder_layers=1";
    for (run, set) in [("prefix", ""), ("cross", cross)] {
        words.works(&format!("train text.toml --out {run} {small} {set}"));
        let scores = words.json(&format!("eval {run} --data words.csv --generate 60"));
        let scores = &scores["longer"];
        assert!(
            scores["exact"].as_f64().unwrap() >= 0.8 && scores["cer"].as_f64().unwrap() < 0.2,
            "{run}: {scores}"
        );
        assert!(
            scores["bleu"].is_number() && scores["perplexity"].as_f64().unwrap() < 1.5,
            "{run}: {scores}"
        );
        let one = words.json(&format!("predict {run} --row first=elephants second=a"));
        assert_eq!(one["rows"][0]["longer"]["value"], "first", "{run}: {one}");
    }
}
