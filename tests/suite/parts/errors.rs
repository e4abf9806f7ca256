//! Errors name the setting.

use super::{PARTS, Words, open};
use crate::support::{self, TINY};

fn error_of(parts: &str) -> String {
    open(parts).err().expect("an error")
}

#[test]
fn invalid_compositions_name_the_setting() {
    let with = |change: &str, to: &str| error_of(&PARTS.replace(change, to));
    let error = with(
        "[inputs.speed]\nmodality = \"numbers\"",
        "[inputs.speed]\nmodality = \"numbers\"\nfield = \"sped\"",
    );
    assert!(
        error.contains("inputs.speed.field") && error.contains("\"sped\"") && error.contains("action, "),
        "{error}"
    );
    let error = with("modality = \"numbers\"", "modality = \"radar\"");
    assert!(
        error.contains("inputs.speed") && error.contains("\"radar\"") && error.contains("audio"),
        "{error}"
    );
    let error = with("head = \"classify\"", "head = \"clasify\"");
    assert!(error.contains("outputs.label") && error.contains("classify, ctc, generate"), "{error}");
    let error = with("[outputs.label]", "[outputs.front]");
    assert!(
        error.contains("inputs.front") && error.contains("expected different names for all parts"),
        "{error}"
    );
    let error = with("patch_size = 2", "pacth_size = 2");
    assert!(error.contains("inputs.front") && error.contains("pacth_size"), "{error}");
    let error = with("context = 16", "context = 16\nhidden = \"tanh\"");
    assert!(error.contains("outputs.goal.hidden") && error.contains("no hidden layer"), "{error}");
    let error = with("head = \"classify\"", "head = \"classify\"\nhidden = \"tan\"");
    assert!(error.contains("tan") && error.contains("tanh"), "{error}");
    let error = with("head = \"classify\"", "head = \"classify\"\nsmoothness = 2");
    assert!(error.contains("outputs.label.smoothness"), "{error}");
    let error = with("context = 16", "context = 16\nshare = \"front\"");
    assert!(error.contains("outputs.goal.share") && error.contains("image"), "{error}");
    let error = with("context = 16", "context = 16\ncross_attention = true");
    assert!(error.contains("outputs.label.cross_attention"), "{error}");
    let error = with("head = \"classify\"", "head = \"classify\"\ncross_attention = true");
    assert!(error.contains("expected a generated output"), "{error}");
    let error = with("context = 16", "context = 16\nbegin = 900");
    assert!(error.contains("found 900"), "{error}");
    let error = with("context = 16", "context = 16\nweight_field = \"speed\"");
    assert!(error.contains("outputs.goal.weight_field"), "{error}");
    let error = with("context = 16", "context = 16\nfield = \"action\"");
    assert!(error.contains("the field is a series"), "{error}");
    assert!(error_of("[outputs.label]\nhead = \"classify\"\n").contains("[inputs.NAME]"));
    let error = with("context = 16", "context = 16\nshare = \"lidar\"");
    assert!(error.contains("\"lidar\"") && error.contains("front, speed, goal"), "{error}");
    let error = with("head = \"generate\"\nmodality = \"text\"\ncontext = 16", "head = \"generate\"");
    assert!(error.contains("outputs.goal.modality"), "{error}");
    let error =
        with("modality = \"text\"\ncontext = 16", "modality = \"image\"\npatch_size = 2\nfield = \"front\"");
    assert!(error.contains("ids of one vocabulary"), "{error}");
    let (opened, _) = open(&PARTS.replace("context = 16", "context = 3")).unwrap();
    let error = opened.train.sample(0, None).unwrap_err().to_string();
    assert!(error.contains("outputs.goal") && error.contains("context holds 3"), "{error}");
}

#[test]
fn invalid_data_and_settings_are_named() {
    let words = Words::new();
    let untouched = |set: &str, with: &[&str]| {
        words.fails(&format!("train words.toml --out no {TINY} {set}"), with);
        assert!(!words.0.path().join("no").exists(), "{set} left a run folder");
    };
    untouched(
        "--set inputs.first.field=frist",
        &["inputs.first.field", "\"frist\"", "first, second, longer, by"],
    );
    untouched("--set data.validation=size>3", &["size"]);
    untouched("--set data.source=nothing.csv", &["nothing.csv"]);
    std::fs::write(words.0.path().join("fox.txt"), support::text()).unwrap();
    untouched("--set data.source=fox.txt", &["data.holdout", "at least 2 rows", "found 1"]);
    untouched("--set data.source={path=\"words.csv\",layout=\"tables\"}", &["\"tables\"", "webdataset"]);
    untouched("--set inputs.first.drop=1.5", &["inputs.first.drop", "1.5"]);
    untouched("--set outputs.by.weight=-1", &["outputs.by.weight", "-1"]);
    untouched("--set outputs.by.field=longer", &["outputs.by", "expected a number"]);

    // A label that the training split lacks, and a text among numbers.
    std::fs::write(
        words.0.path().join("other.csv"),
        "first,second,longer,by\na,bee,neither,0\nbee,a,first,2\n",
    )
    .unwrap();
    words.fails(
        &format!("train words.toml --out no {TINY} --set data.validation_source=other.csv"),
        &["other.csv row 1", "outputs.longer", "\"neither\"", "first, second"],
    );
    assert!(!words.0.path().join("no").exists(), "labels are checked before the first step");
    std::fs::write(
        words.0.path().join("types.csv"),
        "first,second,longer,by\na,bee,second,-2\nbee,a,second,much\n",
    )
    .unwrap();
    words.fails(
        &format!("train words.toml --out types {TINY} --set data.source=types.csv --set data.holdout=0.5"),
        &["\"much\""],
    );
    words.fails("train --resume --out nowhere", &["nowhere"]);
}
