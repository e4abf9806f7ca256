//! Folders and files that hold something already, and run folders whose files were replaced, removed or edited.

use super::{Place, text_place, text_train};

fn published() -> Place {
    let read = |name: &str| std::fs::read(format!("tests/checkpoints/gpt2-untied/{name}")).unwrap();
    Place::new(&[
        ("gpt/config.json", &read("config.json")),
        ("gpt/model.safetensors", &read("model.safetensors")),
    ])
}

/// The contents of all files in a folder.
fn contents(place: &Place, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(place.path(folder)).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_new_run_needs_a_folder_of_its_own() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let trained = |name: &str| std::fs::read(place.path(&format!("run/{name}"))).unwrap();
    let cases: [(&str, &str, &[u8]); 7] = [
        ("export", "model.safetensors", &trained("model.safetensors")),
        ("export", "config.json", b"{}"),
        ("state", "state.safetensors", &trained("state.safetensors")),
        ("data", "notes.txt", b"notes"),
        ("settings", "run.toml", b"# mine"),
        ("metrics", "metrics.jsonl", b"{\"step\": 1}\n"),
        ("begun", "published/config.json", b"{}"),
    ];
    for (folder, name, bytes) in cases {
        place.write(&format!("{folder}/{name}"), bytes);
        let before = contents(&place, folder);
        for line in [text_train(), "train --from run".into()] {
            let first = contents(&place, folder).len();
            let shown = if first > 1 { "config.json and 1 more" } else { name.split('/').next().unwrap() };
            let holds = format!("{folder} holds {shown}");
            place.fails(&format!("{line} --out {folder}"), &[&holds, "choose another --out"]);
        }
        assert!(contents(&place, folder) == before, "{folder} has changed");
    }
    place.fails(&format!("{} --out /", text_train()), &["/ holds ", "choose another --out"]);
    for (folder, hidden) in [("missing", None), ("empty", Some(".keep"))] {
        hidden.iter().for_each(|name| place.write(&format!("{folder}/{name}"), b""));
        place.works(&format!("{} --out {folder}", text_train()));
    }
}

#[test]
fn a_start_that_made_no_step_leaves_nothing_to_the_next_run() {
    let place = text_place();
    place.works(&format!("{} --out other", text_train()));
    place.works("train --from other --out run");
    for name in ["state.safetensors", "model.safetensors", "metrics.jsonl", "README.md"] {
        std::fs::remove_file(place.path(&format!("run/{name}"))).unwrap();
    }
    assert!(place.path("run/start.json").exists());
    place.works(&format!("{} --out run", text_train()));
    assert!(!place.path("run/start.json").exists());
    place.works("info run --verify");
}

#[test]
fn imports_and_exports_need_a_folder_of_their_own() {
    let place = published();
    place.works("import gpt --out run");
    place.works("export run --out out");
    place.write("notes/a.txt", b"notes");
    for (folder, holds) in
        [("out", "out holds README.md"), ("notes", "notes holds a.txt"), ("gpt", "gpt holds ")]
    {
        let before = contents(&place, folder);
        for line in ["import gpt", "export run"] {
            place.fails(&format!("{line} --out {folder}"), &[holds, "choose another --out"]);
        }
        assert!(contents(&place, folder) == before, "{folder} has changed");
    }
    place.fails("export run --out run", &["run holds a run already"]);
}

#[test]
fn vectors_do_not_replace_the_files_of_a_run() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let before = contents(&place, "run");
    for name in ["model.safetensors", "state.safetensors", "../run/model.safetensors"] {
        for line in ["embed run --text the", "tokenize a.txt"] {
            place.fails(&format!("{line} --out run/{name}"), &["a file of the run ", "new name"]);
        }
    }
    assert!(contents(&place, "run") == before, "the run has changed");
    place.works("tokenize a.txt --out run/tokens.safetensors");
}

#[test]
fn a_resumed_run_checks_its_model() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let model = "run/model.safetensors";
    let whole = std::fs::read(place.path(model)).unwrap();
    let resume = "train --resume --out run";
    for more in ["", " --set train.max_steps=8"] {
        for (bytes, problem) in [
            (&whole[..whole.len() - 1], "is not a safetensors file"),
            (&b"a text"[..], "is not"),
            (&super::damaged(whole.clone(), whole.len() - 1)[..], "is damaged"),
        ] {
            place.write(model, bytes);
            place.fails(
                &format!("{resume}{more}"),
                &[model, problem, "copy", "remove it: --resume then writes"],
            );
            assert_eq!(std::fs::read(place.path(model)).unwrap(), bytes);
        }
        std::fs::remove_file(place.path(model)).unwrap();
        let resumed = place.works(&format!("{resume}{more}"));
        assert!(resumed.err.contains(&format!("{model} was missing; it now has")), "{}", resumed.err);
        place.works("eval run");
        place.works("info run --verify");
    }
}

#[test]
fn settings_that_the_weights_were_not_trained_with_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let settings = std::fs::read_to_string(place.path("run/run.toml")).unwrap();
    for (before, edited, message) in [
        ("\nn_heads = 2", "\nn_heads = 4", "model.attention.n_heads: expected 2, with which the weights"),
        ("\nnorm_eps = ", "\nnorm_eps = 1", "model.norm_eps: expected "),
        ("\nactivation = \"gelu\"", "\nactivation = \"relu\"", "model.mlp.activation: expected "),
    ] {
        assert!(settings.contains(before), "{before}: {settings}");
        place.write("run/run.toml", settings.replacen(before, edited, 1).as_bytes());
        for line in ["eval run", "eval run --weights last", "generate run", "train --from run --out new"] {
            place.fails(line, &["run/run.toml: ", message, "--no-verify"]);
        }
        assert!(!place.path("new").exists());
        place.works("eval run --no-verify");
    }
    // Settings of the training change no prediction.
    place.write("run/run.toml", settings.replacen("\nbeta1 = 0.9", "\nbeta1 = 0.5", 1).as_bytes());
    place.works("eval run");
}

#[test]
fn an_import_keeps_the_settings_of_its_computation() {
    let place = published();
    place.works("import gpt --out run");
    place.works("generate run --prompt 5 --max-new-tokens 2");
    let settings = std::fs::read_to_string(place.path("run/run.toml")).unwrap();
    assert!(settings.contains("\nnorm_eps = "), "{settings}");
    place.write("run/run.toml", settings.replacen("\nnorm_eps = ", "\nnorm_eps = 1", 1).as_bytes());
    place.fails("generate run --prompt 5 --max-new-tokens 2", &["run/run.toml: model.norm_eps: expected "]);
}

#[test]
fn a_conversion_needs_a_folder_or_a_parquet_file() {
    let place = Place::new(&[("words.csv", b"word\na\nb\n"), ("notes.txt", b"notes")]);
    let mut cases = vec![("notes.txt", "found a file")];
    if cfg!(unix) {
        cases.push(("/dev/null", "found a character device"));
    }
    for (dest, found) in cases {
        for format in ["", " --to parquet"] {
            let message = [dest, "expected a folder, or a file name that ends in .parquet", found];
            place.fails(&format!("data convert words.csv {dest}{format}"), &message);
        }
    }
    assert_eq!(std::fs::read(place.path("notes.txt")).unwrap(), b"notes");
}
