//! Run folders: damaged, missing or existing, and runs that diverge.

use super::{Place, TINY, failed, smalti, text_place, text_train};

#[test]
fn damaged_run_folders_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let whole = |name: &str| std::fs::read(place.path(&format!("run/{name}"))).unwrap();
    let settings = String::from_utf8(whole("run.toml")).unwrap();
    assert!(settings.starts_with("version = 3\n"), "{settings}");
    let (model, state) = (whole("model.safetensors"), whole("state.safetensors"));

    let of_version_1 = settings.replacen("version = 3", "version = 1", 1);
    let wider = settings.replacen("d_model = 16", "d_model = 32", 1);
    let unknown = settings.replacen("[train]", "[train]\nstesp = 1", 1);
    // The damaged file, its content, the command that fails, and fragments of the error.
    let cases: [(&str, &[u8], &str, &[&str]); 17] = [
        ("run.toml", of_version_1.as_bytes(), "eval run", &["run/run.toml", "version 1", "reads version 3"]),
        ("run.toml", of_version_1.as_bytes(), "train --resume --out run", &["run/run.toml", "version 1"]),
        ("run.toml", unknown.as_bytes(), "eval run", &["run/run.toml", "unknown field `stesp`"]),
        ("run.toml", &model, "info run", &["run", "run.toml"]),
        ("run.toml", wider.as_bytes(), "eval run", &["run/model.safetensors", "is [", "expected ["]),
        (
            "run.toml",
            wider.as_bytes(),
            "train --resume --out run",
            &["model.d_model: expected 16, the run's value; found 32", "run.toml"],
        ),
        ("tokenizers.json", b"", "eval run", &["run/tokenizers.json", "not a file of saved tokenizers"]),
        ("tokenizers.json", b"{}", "eval run", &["run/tokenizers.json is damaged", "expected CRC-32"]),
        (
            "tokenizers.json",
            b"{}",
            "eval run --no-verify",
            &["run", "tokenizers.json has nothing for the task"],
        ),
        ("model.safetensors", b"", "eval run", &["run/model.safetensors is not a safetensors file"]),
        (
            "model.safetensors",
            &model[..model.len() - 1],
            "generate run",
            &["run/model.safetensors is not a safetensors file", "the file has", "restore it from a copy"],
        ),
        ("model.safetensors", b"a text", "info run", &["run/model.safetensors is not a safetensors file"]),
        (
            "model.safetensors",
            &state,
            "eval run --no-verify",
            &["run/model.safetensors", "is not a parameter of this model"],
        ),
        ("model.safetensors", &state, "eval run", &["run/model.safetensors is damaged", "expected CRC-32"]),
        (
            "checksums.json",
            b"{",
            "eval run",
            &["run/checksums.json is not a file of checksums", "--no-verify"],
        ),
        (
            "state.safetensors",
            &state[..99],
            "train --resume --out run",
            &["run/state.safetensors is not a safetensors file"],
        ),
        ("state.safetensors", &model, "train --resume --out run", &["run/state.safetensors"]),
    ];
    for (name, damaged, line, message) in cases {
        let before = whole(name);
        place.write(&format!("run/{name}"), damaged);
        place.fails(line, message);
        assert_eq!(whole(name), damaged, "smalti {line} has written {name}");
        place.write(&format!("run/{name}"), &before);
    }
    place.write("run/metrics.jsonl", b"{\"step\": 1}\nnoise\n{\"step\": 2}\n");
    place.fails("train --resume --out run", &["run/metrics.jsonl", "line 2"]);
    assert_eq!((whole("model.safetensors"), whole("state.safetensors")), (model, state));

    for (name, problem) in [
        ("model.safetensors", "run has no weights yet"),
        ("tokenizers.json", "run is no run folder"),
        ("run.toml", "run is no run folder"),
    ] {
        std::fs::remove_file(place.path(&format!("run/{name}"))).unwrap();
        place.fails("eval run", &[problem, name]);
    }
}

/// The place of the first tensor in a safetensors file.
fn first_tensor(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

#[test]
fn flipped_bits_are_found_in_weights_state_and_tokenizers() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    assert!(place.works("info run --verify").out.contains("OK"));
    for (name, line) in [
        ("model.safetensors", "generate run"),
        ("state.safetensors", "train --resume --out run --set train.max_steps=8"),
        ("state.safetensors", "eval run --weights last"),
        ("tokenizers.json", "eval run"),
    ] {
        let file = format!("run/{name}");
        let whole = std::fs::read(place.path(&file)).unwrap();
        let start = if name == "tokenizers.json" { 0 } else { first_tensor(&whole) };
        for flip in 0..20 {
            let mut bytes = whole.clone();
            let at = start + (whole.len() - start) * flip / 20;
            bytes[at] ^= 1 << (flip % 8);
            place.write(&file, &bytes);
            match name {
                // It may no longer be JSON.
                "tokenizers.json" => place.fails(line, &["run/tokenizers.json", "restore it from a copy"]),
                _ => {
                    let parts = ["is damaged", "expected CRC-32", "found CRC-32", "a copy", "--no-verify"];
                    place.fails(line, &[&[file.as_str()][..], &parts].concat());
                }
            }
            let verified = place.run("info run --verify");
            assert_eq!(verified.code, Some(1), "{name}, byte {at}: {}", verified.err);
            assert!(verified.err.contains(name) && verified.out.contains("differs"), "{}", verified.err);
        }
        place.write(&file, &whole);
    }
    place.works("info run --verify");
    place.works("train --resume --out run --set train.max_steps=8");
    let verified = place.works("info run --verify --json").out;
    assert!(verified.contains("state.safetensors") && !verified.contains("differs"), "{verified}");
}

#[test]
fn a_file_of_another_run_is_found() {
    let place = text_place();
    for (run, seed) in [("run", 1), ("other", 2)] {
        place.works(&format!("{} --set train.seed={seed} --out {run}", text_train()));
    }
    let others = std::fs::read(place.path("other/model.safetensors")).unwrap();
    place.write("run/model.safetensors", &others);
    place.fails("eval run", &["run/model.safetensors is damaged, or not the run's own file"]);
    place.fails("train --from run --out new", &["run/model.safetensors is damaged"]);
    assert!(!place.path("new").exists());
    place.works("eval run --no-verify");
    std::fs::remove_file(place.path("run/checksums.json")).unwrap(); // a run of an earlier version
    place.works("eval run");
    assert!(place.works("info run --verify").out.contains("no checksum"));
    // Settings may be edited; the check says so.
    let settings = std::fs::read_to_string(place.path("other/run.toml")).unwrap();
    place.write("other/run.toml", format!("# mine\n{settings}").as_bytes());
    place.works("eval other");
    let verified = place.run("info other --verify");
    assert_eq!(verified.code, Some(1));
    assert!(verified.err.contains("run.toml may have been edited"), "{}", verified.err);
    place.fails("info none --verify", &["none is no run folder"]);
    place.works(&format!("{} --out damaged", text_train()));
    place.write("damaged/model.safetensors", &others);
    let verified = place.run("info damaged --verify");
    assert!(verified.err.contains("model.safetensors"), "{}", verified.err);
    assert!(!verified.err.contains("edited"), "the settings are as they were: {}", verified.err);
}

#[test]
fn weights_that_are_not_numbers_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let mut bytes = std::fs::read(place.path("run/model.safetensors")).unwrap();
    let start = first_tensor(&bytes);
    bytes[start..].as_chunks_mut::<4>().0.fill(f32::NAN.to_le_bytes());
    place.write("run/model.safetensors", &bytes);
    std::fs::remove_file(place.path("run/checksums.json")).unwrap();
    let parts = ["run/model.safetensors", "expected finite numbers; found NaN", "--allow-non-finite"];
    for line in ["eval run", "generate run", "train --from run --out new"] {
        place.fails(line, &parts);
    }
    place.works("eval run --allow-non-finite");

    let checkpoint = "tests/checkpoints/gpt2-untied";
    let read = |name: &str| std::fs::read(format!("{checkpoint}/{name}")).unwrap();
    let weights = read("model.safetensors");
    let start = first_tensor(&weights);
    let mut infinite = weights.clone();
    infinite[start..].as_chunks_mut::<4>().0.fill(f32::INFINITY.to_le_bytes());
    let header = String::from_utf8(weights[..start].to_vec()).unwrap();
    let integers = [header.replacen("\"F32\"", "\"I32\"", 1).as_bytes(), &weights[start..]].concat();
    for (name, bytes, found, flag) in [
        ("infinite", infinite, "expected finite numbers; found inf", "--allow-non-finite"),
        ("integers", integers, "expected floating-point numbers; found integers", "--allow-integers"),
    ] {
        place.write(&format!("{name}/config.json"), &read("config.json"));
        place.write(&format!("{name}/model.safetensors"), &bytes);
        let line = format!("import {name} --out {name}-run");
        place.fails(&line, &["model.safetensors: ", found, flag]);
        assert!(!place.path(&format!("{name}-run")).exists());
        place.works(&format!("{line} {flag}"));
    }
}

#[test]
fn damaged_published_files_are_found_by_an_export() {
    let checkpoint = "tests/checkpoints/gpt2-untied";
    let read = |name: &str| std::fs::read(format!("{checkpoint}/{name}")).unwrap();
    let place = Place::new(&[
        ("gpt/config.json", &read("config.json")),
        ("gpt/model.safetensors", &read("model.safetensors")),
    ]);
    place.works("import gpt --out run");
    place.works("info run --verify");
    let path = "run/published/config.json";
    let settings = std::fs::read_to_string(place.path(path)).unwrap();
    place.write(path, format!("{settings}\n").as_bytes());
    place.fails("export run --out out", &["run/published/config.json is damaged", "--no-verify"]);
    assert!(!place.path("out").exists());
    place.works("export run --out out --no-verify");
}

#[test]
fn missing_and_existing_run_folders_are_named() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let state = std::fs::read(place.path("run/state.safetensors")).unwrap();
    place.fails(&format!("{} --out run", text_train()), &["run holds a run already", "--resume", "--out"]);
    assert_eq!(std::fs::read(place.path("run/state.safetensors")).unwrap(), state);
    place.fails("train --resume --out none", &["none is no run folder", "run.toml"]);
    assert!(!place.path("none").exists());
    place.fails(
        "train --resume --out run --set train.batch_size=9",
        &["train.batch_size: expected 4, the run's value; found 9", "may change train.max_steps, "],
    );
    place.fails("train text --resume --out run", &["--resume", "leave out text"]);
    place.fails("eval none", &["none is no run folder"]);
    place.fails("info a.txt", &["a.txt is no run folder"]);
    place.fails(&format!("{} --out a.txt/run", text_train()), &["a.txt/run"]);
    std::fs::write(place.path("a.txt"), "ÄÖÜ ".repeat(200)).unwrap();
    place.fails("eval run", &["a.txt", "character 'Ä'", "vocabulary"]);
}

#[test]
fn edited_settings_and_a_missing_state_are_not_resumed() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let settings = std::fs::read_to_string(place.path("run/run.toml")).unwrap();
    let longer = settings.replacen("\nmax_steps = 6", "\nmax_steps = 8", 1);
    for (before, edited, message) in [
        ("\nseed = 1337", "\nseed = 7", "train.seed: expected 1337, the run's value; found 7"),
        ("\nn_heads = 2", "\nn_heads = 4", "model.attention.n_heads: expected 2, the run's value; found 4"),
        ("\nbeta1 = 0.9", "\nbeta1 = 0.5", "train.beta1: expected 0.9, the run's value; found 0.5"),
    ] {
        assert!(longer.contains(before), "{longer}");
        place.write("run/run.toml", longer.replacen(before, edited, 1).as_bytes());
        place.fails("train --resume --out run", &[message, "--from"]);
    }
    // The learning rate may change, with full effect, and is told.
    let faster = longer.replacen("\nlearning_rate = 0.001", "\nlearning_rate = 0.01", 1);
    place.write("run/run.toml", faster.as_bytes());
    let resumed = place.works("train --resume --out run");
    assert!(resumed.err.contains("the schedule in run.toml differs from that of step "), "{}", resumed.err);

    std::fs::remove_file(place.path("run/state.safetensors")).unwrap();
    let model = std::fs::read(place.path("run/model.safetensors")).unwrap();
    place.fails("train --resume --out run", &["run/state.safetensors is missing", "--from run --out RUN"]);
    assert_eq!(std::fs::read(place.path("run/model.safetensors")).unwrap(), model);
    place.fails(&format!("{} --out run", text_train()), &["run holds a run already"]);
}

#[test]
fn a_run_without_a_checkpoint_says_that_it_starts_at_step_0() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    for name in ["state.safetensors", "model.safetensors", "metrics.jsonl", "README.md"] {
        std::fs::remove_file(place.path(&format!("run/{name}"))).unwrap();
    }
    let resumed = place.works("train --resume --out run");
    assert!(resumed.err.contains("run has no checkpoint yet; it starts at step 0"), "{}", resumed.err);
    // No step was made in it, so that another training may start there.
    for name in ["state.safetensors", "model.safetensors", "metrics.jsonl", "README.md"] {
        std::fs::remove_file(place.path(&format!("run/{name}"))).unwrap();
    }
    place.works(&format!("{} --set train.seed=3 --out run", text_train()));
    assert!(std::fs::read_to_string(place.path("run/run.toml")).unwrap().contains("\nseed = 3"));
}

#[test]
fn a_refused_start_leaves_no_folder() {
    let place = text_place();
    let mix = format!("train mix {TINY} --set train.max_steps=3");
    place.fails_untouched(&format!("{mix} --set train.batch_size=1"), &["train.batch_size", "none of task"]);
    place.works(&format!("{mix} --set train.batch_size=8 --set train.eval_samples=4 --out refused"));
}

/// A lock of this process stands for another training.
#[test]
fn a_folder_with_a_training_in_it_is_refused() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let saved = |name: &str| std::fs::read(place.path(&format!("run/{name}"))).unwrap();
    place.write("run/.unfinished-a1", b"of the other");
    let writer = smalti::train::Writer::lock(&place.path("run")).unwrap();
    let (settings, state) = (saved("run.toml"), saved("state.safetensors"));
    let process = format!("process {} on host ", std::process::id());
    let message = ["run is written by", &process, "choose another --out"];
    place.fails(&format!("{} --out run", text_train()), &message);
    place.fails("train --resume --out run --set train.max_steps=9", &message);
    assert_eq!((saved("run.toml"), saved("state.safetensors")), (settings, state));
    assert!(place.path("run/.unfinished-a1").exists());
    // Reading needs no lock.
    place.works("eval run --samples 2");
    place.works("info run");
    drop(writer);
    place.works("train --resume --out run --set train.max_steps=9");
}

#[cfg(unix)]
#[test]
fn devices_links_and_other_files_are_not_replaced() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    place.write("other.txt", b"a file of the user's");
    std::os::unix::fs::symlink("other.txt", place.path("link.csv")).unwrap();
    std::os::unix::fs::symlink("other.txt", place.path("link.png")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for (line, found) in [
        ("tokenize a.txt --out socket", "found a socket"),
        ("tokenize a.txt --out /dev/null", "found a character device"),
        ("tokenize a.txt --out other.txt", "found a file of another format"),
        ("tokenize a.txt --out a.txt", "found a file of another format"),
        ("tokenize a.txt --image link.png", "found a symbolic link to other.txt"),
        ("embed run --text the --out /dev/null", "found a character device"),
        ("predict run --row text=the --out link.csv", "found a symbolic link"),
        ("show run --out /dev/null", "found a character device"),
        ("data get digits --out /dev/null", "/dev/null"),
        ("import tests --out /dev/null", "found a character device"),
    ] {
        place.fails(line, &[found]);
    }
    place.fails(&format!("{} --out /dev/null", text_train()), &["expected a folder", "a character device"]);
    assert_eq!(std::fs::read(place.path("other.txt")).unwrap(), b"a file of the user's");
    assert!(place.path("link.csv").is_symlink() && place.path("socket").exists());
}

#[test]
fn a_loss_that_rises_while_it_is_finite_is_warned_of() {
    let place = text_place();
    let wild = "--set train.learning_rate=3 --set train.min_learning_rate=3 --set train.warmup_steps=5 --set train.max_grad_norm=0 \
                --set train.max_steps=60 --set train.eval_every=0";
    let ran = place.run(&format!("{} {wild} --out run", text_train()));
    // It either diverges to infinity, which is an error, or is warned of at once and at the end.
    let warned = ran.err.matches("warning: the loss has risen to").count();
    assert!(ran.code == Some(1) || warned == 2, "{}", ran.err);
}

/// The error names the value that is not finite; the last checkpoint stays.
#[test]
fn a_run_that_diverges_keeps_its_checkpoint() {
    let place = text_place();
    place.works(&format!("{} --set train.warmup_steps=0 --out run", text_train()));
    let saved = |name: &str| std::fs::read(place.path(&format!("run/{name}.safetensors"))).unwrap();
    let (model, state) = (saved("model"), saved("state"));
    let settings = std::fs::read_to_string(place.path("run/run.toml")).unwrap();
    let wild = settings.replacen("\nlearning_rate = 0.001", "\nlearning_rate = 1e9", 1);
    place.write("run/run.toml", wild.replacen("\nmax_steps = 6", "\nmax_steps = 40", 1).as_bytes());
    let line = "train --resume --out run";
    let ran = place.run(line);
    failed(1, line, &ran, &["train.learning_rate", "is from before this step", "of step"]);
    assert!(["NaN", "inf"].iter().any(|not_finite| ran.err.contains(not_finite)), "{}", ran.err);
    assert_eq!((saved("model"), saved("state")), (model, state));
    place.works("eval run --weights last");
}

#[test]
fn imports_name_what_is_missing_or_unknown() {
    let checkpoint = "tests/checkpoints/gpt2-untied";
    let read = |name: &str| std::fs::read(format!("{checkpoint}/{name}")).unwrap();
    let place = Place::new(&[
        ("gpt/config.json", &read("config.json")),
        ("gpt/model.safetensors", &read("model.safetensors")),
        ("gpt/generation_config.json", br#"{"repetition_penalty": 1.2}"#),
    ]);
    place.fails("import nothing --out run", &["nothing: no such file or folder"]);
    let rule = [
        "gpt/generation_config.json: repetition_penalty",
        "expected 1",
        "--ignore-setting repetition_penalty",
    ];
    place.fails("import gpt --out run", &rule);
    place.fails("import gpt --out run --ignore-setting alien", &["repetition_penalty"]);
    assert!(!place.path("run").exists());
    let works = place.works("import gpt --out run --ignore-setting repetition_penalty");
    assert!(
        works.out.contains("setting ignored") && works.out.contains("repetition_penalty"),
        "{}",
        works.out
    );
    place.fails(
        "import gpt --out run --ignore-setting repetition_penalty",
        &["run holds a run already", "choose another --out"],
    );
}

#[test]
fn a_choice_between_two_models_needs_a_checkpoint_of_both() {
    let read = |name: &str| std::fs::read(format!("tests/checkpoints/clip-text/{name}")).unwrap();
    let both = br#"{"model_type": "clip", "projection_dim": 6, "text_config": {}, "vision_config": {}}"#;
    let place = Place::new(&[
        ("text/config.json", &read("config.json")),
        ("text/model.safetensors", &read("model.safetensors")),
        ("both/config.json", both),
        ("both/model.safetensors", &read("model.safetensors")),
    ]);
    place.fails(
        "import text --tower text --out run",
        &["expected a checkpoint of two models", "clip_text_model"],
    );
    place.fails("import both --out run", &["it holds two models", "--tower image or with --tower text"]);
    assert!(!place.path("run").exists());
    place.works("import text --out run");
    place.works("embed run --text 20");
}

#[test]
fn a_run_that_only_embeds_is_not_trained() {
    let read = |name: &str| std::fs::read(format!("tests/checkpoints/siglip-image/{name}")).unwrap();
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    let place = Place::new(&[("siglip/config.json", &config), ("siglip/model.safetensors", &weights)]);
    place.works("import siglip --out tower");
    let line = "train --from tower --set train.max_steps=2 --set data.source=builtin:digits";
    place.fails_untouched(line, &["outputs: expected one that learns", "head = \"represent\" alone"]);
}

#[test]
fn a_text_beyond_the_context_is_noted() {
    let read = |name: &str| std::fs::read(format!("tests/checkpoints/gpt2-untied/{name}")).unwrap();
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    let place = Place::new(&[("gpt/config.json", &config), ("gpt/model.safetensors", &weights)]);
    place.works("import gpt --out run");
    let note = "more than the model's context of 12";
    let command = |length| format!("generate run --prompt 5 --temperature 0 --max-new-tokens {length}");
    assert!(place.works(&command(30)).err.contains(note));
    assert!(!place.works(&command(4)).err.contains(note));
}

/// candle's errors have a backtrace where RUST_BACKTRACE is set.
#[test]
fn messages_have_no_backtrace() {
    let place =
        Place::new(&[("gpt/config.json", b"{\"model_type\": \"gpt2\"}"), ("gpt/model.safetensors", b"x")]);
    let output = smalti(place.0.path())
        .args(["import", "gpt", "--out", "run"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
}
