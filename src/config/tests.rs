//! Settings are read and written unchanged, and errors name the wrong setting.

use super::*;

#[test]
fn inputs_and_outputs_keep_their_order_and_settings() {
    let text = "[data]\nsource = \"a.csv\"\n[inputs.z]\nmodality = \"image\"\npatch_size = 4\n[inputs.a]\n\
                modality = \"numbers\"\nfield = [\"x\", \"y\"]\n[outputs.m]\nhead = \"classify\"\n";
    let config = RunConfig::parse("my.toml", text, &["inputs.z.drop=0.5".into()]).unwrap();
    assert_eq!(config.inputs.keys().collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!((config.inputs["z"].drop, &config.inputs["z"].settings["patch_size"]), (0.5, &4.into()));
    assert_eq!(RunConfig::parse("again", &config.to_toml().unwrap(), &[]).unwrap(), config);
    let message = |text: &str| RunConfig::parse("my.toml", text, &[]).unwrap_err().to_string();
    assert!(message("[data]\nsource = \"a.csv\"\n").contains("add a table [outputs.NAME]"));
    assert!(message("[inputs.a]\nmodality = \"text\"\n").contains("[data]"));
    assert!(message("[data]\nsuorce = \"a.csv\"\n[outputs.m]\nhead = \"classify\"\n").contains("suorce"));
}

#[test]
fn every_preset_is_read_and_written_unchanged() {
    for (name, _) in PRESETS {
        let config = RunConfig::of_preset_or_file(name, &[]).unwrap();
        let written = config.to_toml().unwrap();
        assert_eq!(RunConfig::parse("again", &written, &[]).unwrap(), config, "{name}");
    }
}

#[test]
fn every_example_has_values_of_the_right_types() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tasks");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().display().to_string());
    for file in files.filter(|file| file.ends_with(".toml")) {
        RunConfig::of_preset_or_file(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn overrides_are_read_as_toml() {
    let overrides = ["train.max_steps=7", "data.source=a b.txt", "model.dropout = 0.25", "model.bias=false"];
    let config = RunConfig::of_preset_or_file("text", &overrides.map(String::from)).unwrap();
    assert_eq!((config.train.max_steps, config.model.dropout, config.model.bias), (7, 0.25, false));
    assert!(config.to_toml().unwrap().contains("path = \"a b.txt\""));
}

#[test]
fn an_empty_value_removes_an_input() {
    let set = ["inputs.return_to_go=".to_string(), "data.validation=".into()];
    let config = RunConfig::of_preset_or_file("trajectory", &set).unwrap();
    assert_eq!(config.inputs.keys().collect::<Vec<_>>(), ["observations"]);
    assert_eq!(config.data.unwrap().validation.as_deref(), Some(""));
}

#[test]
fn a_length_in_steps_replaces_one_in_epochs() {
    let length = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        RunConfig::of_preset_or_file("image", &overrides).map(|c| (c.train.max_steps, c.train.epochs))
    };
    assert_eq!(length(&["train.max_steps=7"]).unwrap(), (7, 0.0));
    assert_eq!(length(&["train.epochs=2.5"]).unwrap(), (0, 2.5));
    assert_eq!(length(&["train.epochs=3.0", "train.max_steps=0"]).unwrap(), (0, 3.0));
    assert_eq!(length(&["train.max_steps = 5"]).unwrap(), (5, 0.0));
    assert_eq!(length(&["train.epochs = 3.0", "train.max_steps = 0"]).unwrap(), (0, 3.0));
    assert!(length(&["train.epochs=3.0", "train.max_steps=5"]).is_err(), "either of the two");
}

#[test]
fn a_resumed_run_may_change_its_schedule_and_cost_alone() {
    let run = RunConfig::of_preset_or_file("image", &[]).unwrap();
    let changes = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(|text| text.to_string()).collect();
        let changes = run.changes(&run.resumed_with(&set)?)?;
        let text = |Change { key, before, now }| format!("{key}: {before} → {now}");
        Ok::<_, SettingsError>(changes.into_iter().map(text).collect::<Vec<_>>())
    };
    assert_eq!(changes(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(
        changes(&["train.checkpoint_activations=true", "train.workers = 1", "model.d_model=96"]).unwrap(),
        ["train.checkpoint_activations: false → true", "train.workers: 2 → 1"]
    );
    assert_eq!(
        changes(&["train.max_steps=900", "train.learning_rate=5e-4"]).unwrap(),
        ["train.epochs: 40.0 → 0.0", "train.learning_rate: 0.002 → 0.0005", "train.max_steps: 0 → 900"]
    );
    for (set, expected) in [
        ("model.d_model=64", "model.d_model: expected 96, the run's value; found 64"),
        ("train.seed=1", "train.seed: expected 1337, the run's value; found 1"),
        (
            "inputs.image.augment=",
            "inputs.image.augment.rotate: expected 8.0, the run's value; found nothing",
        ),
    ] {
        let error = changes(&[set]).unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.contains("may change train.max_steps, "), "{error}");
    }
}

#[test]
fn a_setting_of_a_preset_is_not_set_by_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    std::fs::write(&file, "train.learning_rate = 1e-4\n").unwrap();
    let set = |file: &str, overrides: &[&str], key: &str| {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        is_set(Some(file), &overrides, key)
    };
    assert!(!set("text", &[], "train.learning_rate"));
    assert!(set("text", &["train.learning_rate = 1"], "train.learning_rate"));
    assert!(set(file.to_str().unwrap(), &[], "train.learning_rate"));
    assert!(!set(file.to_str().unwrap(), &["train.learning_rate=1"], "train.min_learning_rate"));
}

#[test]
fn errors_name_the_wrong_setting() {
    let message = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        RunConfig::of_preset_or_file("text", &overrides).unwrap_err().to_string()
    };
    assert!(message(&["train.stesp=7"]).contains("stesp"));
    assert!(message(&["train.max_steps"]).contains("expected key=value"));
    assert!(message(&["train.max_steps=many"]).contains("steps"));
    assert!(message(&["train.max_steps.x=1"]).contains("steps is a setting"));
    assert!(message(&["model.attention.n_heads=3"]).contains("expected a divisor of d_model 128; found 3"));
    assert!(message(&["version=9"]).contains("9"));
    let unknown = RunConfig::of_preset_or_file("texts", &[]).unwrap_err().to_string();
    assert!(unknown.contains("neither a preset (text, image"), "{unknown}");
    let old = RunConfig::parse("run.toml", "version = 0", &[]).unwrap_err().to_string();
    assert_eq!(
        old,
        "run.toml: the run has version 0; this build reads version 3: train again, or use the build that wrote it"
    );
    assert!(matches!(RunConfig::parse("x", "", &[]), Err(SettingsError::Tasks(_))));
}
