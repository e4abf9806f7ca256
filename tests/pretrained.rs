//! Published checkpoints: every one in `$SMALTI_GOLDEN/models` gives its reference outputs.

use candle_core::{Device, Tensor};
use smalti::data::{Batch, Output, Sample, Stream, Target, collate};
use smalti::pretrained::{self, Pretrained, PretrainedError, Scales};
use smalti::tasks::Builtin;
use smalti::tasks::text::{Generator, Objective, Sampling};
use smalti::tasks::trajectory::{NEXT_RETURN, NEXT_STATE};
use smalti::train::Storage;
use smalti_contract::{Content, Group, Tokenizer, Tokens};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

const TOLERANCE: f32 = 1e-4;

/// A checkpoint's reference inputs and outputs.
struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn read(folder: &Path) -> Self {
        Self(candle_core::safetensors::load(folder.join("io.safetensors"), &Device::Cpu).unwrap())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let ids = self.0[name].to_dtype(candle_core::DType::U32).unwrap();
        ids.to_vec2().unwrap()
    }

    /// `[batch, places, width]`, or `[batch, width]` as one place.
    fn rows(&self, name: &str) -> Vec<Vec<Vec<f32>>> {
        let tensor = &self.0[name];
        let tensor = if tensor.rank() == 2 { tensor.unsqueeze(1).unwrap() } else { tensor.clone() };
        tensor.to_vec3().unwrap()
    }

    /// Which places of each input count.
    fn kept(&self, like: &str) -> Vec<Vec<usize>> {
        let dims = self.0[like].dims();
        match self.0.get("in.attention_mask") {
            None => vec![(0..dims[1]).collect(); dims[0]],
            Some(_) => {
                let places = |mask: Vec<u32>| (0..mask.len()).filter(|&i| mask[i] == 1).collect();
                self.ids("in.attention_mask").into_iter().map(places).collect()
            }
        }
    }
}

fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&place| values[place]).collect()
}

/// Rows one below the other, as a batch without padding has them.
fn flat(rows: &[Vec<Vec<f32>>], kept: &[Vec<usize>]) -> Vec<Vec<f32>> {
    rows.iter().zip(kept).flat_map(|(rows, kept)| kept.iter().map(|&place| rows[place].clone())).collect()
}

fn compare(what: &str, found: &Tensor, expected: &[Vec<f32>]) {
    let found: Vec<Vec<f32>> = found.to_vec2().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    let mut worst = 0.0_f32;
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: width");
        for (a, b) in found.iter().zip(expected) {
            assert!(a.is_finite(), "{what}: {a}");
            worst = worst.max((a - b).abs());
        }
    }
    println!("{what}: {} rows, off by at most {worst:e}", found.len());
    assert!(worst <= TOLERANCE, "{what}: off by {worst:e}");
}

fn batch(model: &Pretrained, documents: Vec<Vec<(Stream, Tokens)>>) -> Batch {
    let sample = |(id, inputs)| (0, Sample { inputs, outputs: vec![Target::Unknown.into()], id });
    collate(model.model.layouts(), &(0..).zip(documents).map(sample).collect::<Vec<_>>()).unwrap()
}

fn check(name: &str, folder: &Path) {
    let (model, io) =
        (pretrained::open(folder).unwrap_or_else(|e| panic!("{name}: {e}")), Reference::read(folder));
    match &model.task {
        Builtin::Text(_) if io.has("in.decoder_input_ids") => answers(name, &model, &io),
        Builtin::Text(_) => texts(name, &model, &io),
        Builtin::Image(_) => pictures(name, &model, &io),
        Builtin::Audio(_) => clips(name, &model, &io),
        Builtin::Trajectory(_) => trajectories(name, &model, &io),
        Builtin::Parts(_) => panic!("{name}: imports are of one modality"),
    }
}

fn texts(name: &str, model: &Pretrained, io: &Reference) {
    let Builtin::Text(task) = &model.task else { panic!("{name} is no text") };
    let (ids, kept) = (io.ids("in.input_ids"), io.kept("in.input_ids"));
    let segments = if io.has("in.token_type_ids") { io.ids("in.token_type_ids") } else { ids.clone() };
    let documents = ids.iter().zip(&segments).zip(&kept).map(|((ids, segments), kept)| {
        vec![(Stream::Main, task.tokenizer().tokens_in(&pick(ids, kept), &pick(segments, kept)).unwrap())]
    });
    let batch = batch(model, documents.collect());
    if io.has("out.logits") {
        let logits = model.model.outputs(&batch).unwrap().remove(0);
        compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &kept));
    }
    if io.has("out.last_hidden_state") {
        let hidden = model.model.forward(&batch, None).unwrap().into_tensor();
        compare(&format!("{name} states"), &hidden, &flat(&io.rows("out.last_hidden_state"), &kept));
    }
}

fn answers(name: &str, model: &Pretrained, io: &Reference) {
    let Builtin::Text(task) = &model.task else { panic!("{name} is no text") };
    let (ids, kept) = (io.ids("in.input_ids"), io.kept("in.input_ids"));
    let written = io.ids("in.decoder_input_ids");
    let all = vec![(0..written[0].len()).collect(); written.len()];
    let documents = ids.iter().zip(&kept).zip(&written);
    let documents = documents.map(|((ids, kept), written)| task.pair(&pick(ids, kept), written).unwrap());
    let batch = batch(model, documents.collect());
    let logits = model.model.outputs(&batch).unwrap().remove(0);
    compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &all));
    let encoded = model.model.encoded(&batch).unwrap().unwrap();
    compare(&format!("{name} encoder"), &encoded, &flat(&io.rows("out.encoder_last_hidden_state"), &kept));
}

fn pictures(name: &str, model: &Pretrained, io: &Reference) {
    let Builtin::Image(task) = &model.task else { panic!("{name} is no picture") };
    let pixels = &io.0["in.pixel_values"];
    let (n, channels, height, width) = pixels.dims4().unwrap();
    let side = task.tokenizer().config().patch;
    let (rows, columns) = (height / side, width / side);
    // [n, channels, row, y, column, x] → [n, row, column, y, x, channels]
    let patches = pixels.reshape(&[n, channels, rows, side, columns, side][..]).unwrap();
    let patches = patches.permute(vec![0, 2, 4, 3, 5, 1]).unwrap().contiguous().unwrap();
    let patches: Vec<Vec<f32>> =
        patches.reshape((n, rows * columns * side * side * channels)).unwrap().to_vec2().unwrap();
    let documents = patches.into_iter().map(|values| {
        let mut group = Group::sequence(Content::Features { values, dim: side * side * channels });
        let cells =
            (0..rows as u32).flat_map(|row| (0..columns as u32).flat_map(move |column| [row, column]));
        group.positions = cells.collect();
        task.inputs(Tokens::new(vec![group]))
    });
    let batch = batch(model, documents.collect());
    if io.has("out.logits") {
        let logits = model.model.outputs(&batch).unwrap().remove(0);
        compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &vec![vec![0]; n]));
    }
    if io.has("out.last_hidden_state") {
        // Published: the class token, registers, patches; here patches come first.
        let hidden = model.model.forward(&batch, None).unwrap().into_tensor();
        let (total, patches) = (hidden.dim(0).unwrap() / n, rows * columns);
        let learned = total - patches;
        let order: Vec<usize> = (learned..total).chain(0..learned).collect();
        compare(
            &format!("{name} states"),
            &hidden,
            &flat(&io.rows("out.last_hidden_state"), &vec![order; n]),
        );
    }
}

fn clips(name: &str, model: &Pretrained, io: &Reference) {
    let Builtin::Audio(task) = &model.task else { panic!("{name} is no clip") };
    let frames = io.0["in.input_features"].transpose(1, 2).unwrap().contiguous().unwrap();
    let (n, length, bands) = frames.dims3().unwrap();
    let frames: Vec<Vec<f32>> = frames.reshape((n, length * bands)).unwrap().to_vec2().unwrap();
    let written = io.ids("in.decoder_input_ids");
    let documents = frames.into_iter().zip(&written).map(|(values, written)| {
        let mut group = Group::sequence(Content::Features { values, dim: 2 * bands });
        group.positions.clear();
        task.inputs(Tokens::new(vec![group]), written).unwrap()
    });
    let batch = batch(model, documents.collect());
    let all = |rows: usize| vec![(0..rows).collect::<Vec<usize>>(); n];
    let logits = model.model.outputs(&batch).unwrap().remove(0);
    compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &all(written[0].len())));
    let encoded = model.model.encoded(&batch).unwrap().unwrap();
    let expected = flat(&io.rows("out.encoder_last_hidden_state"), &all(length / 2));
    compare(&format!("{name} encoder"), &encoded, &expected);
}

fn trajectories(name: &str, model: &Pretrained, io: &Reference) {
    let kept = io.kept("in.states");
    let times = io.ids("in.timesteps");
    let parts: Vec<_> =
        ["in.returns_to_go", "in.states", "in.actions"].iter().map(|part| io.rows(part)).collect();
    let documents = (0..kept.len()).map(|document| {
        let kept = &kept[document];
        let groups = (0..).zip(&parts).map(|(place, part)| {
            let rows: Vec<&Vec<f32>> = kept.iter().map(|&step| &part[document][step]).collect();
            Group {
                content: Content::Features {
                    values: rows.iter().flat_map(|row| row.iter().copied()).collect(),
                    dim: rows[0].len(),
                },
                positions: vec![],
                order: (0..kept.len() as u32).map(|step| 3 * step + place).collect(),
                time: pick(&times[document], kept),
            }
        });
        vec![(Stream::Main, Tokens::new(groups.collect()))]
    });
    let task = model.task.as_task();
    let heads = &task.spec().heads;
    let outputs = |head| Output { head, ..Target::Unknown.into() };
    let sample = |(id, inputs)| (0, Sample { inputs, outputs: (0..heads.len()).map(outputs).collect(), id });
    let samples: Vec<_> = (0..).zip(documents).map(sample).collect();
    let batch = collate(model.model.layouts(), &samples).unwrap();
    let found = model.model.outputs(&batch).unwrap();
    let names: Vec<&str> = heads.iter().map(|head| head.name.as_str()).collect();
    assert_eq!(names, ["", NEXT_STATE, NEXT_RETURN]);
    for (found, output) in found.iter().zip(["out.action_preds", "out.state_preds", "out.return_preds"]) {
        compare(&format!("{name} {output}"), found, &flat(&io.rows(output), &kept));
    }
}

/// Every checkpoint of a folder.
fn checkpoints(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let found: BTreeMap<_, _> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    assert!(
        found.len() >= 7,
        "{} holds {} checkpoints; at least 7 are expected",
        folder.display(),
        found.len()
    );
    found
}

fn golden() -> BTreeMap<String, PathBuf> {
    let golden = std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN names the folder of reference outputs");
    checkpoints(&Path::new(&golden).join("models"))
}

/// Tiny checkpoints in settings that the usual ones do not have; see `make.py` beside them.
fn shipped() -> BTreeMap<String, PathBuf> {
    checkpoints(Path::new("tests/checkpoints"))
}

#[test]
#[ignore = "wants the reference outputs in SMALTI_GOLDEN"]
fn golden_checkpoints_give_their_outputs() {
    golden().iter().for_each(|(name, folder)| check(name, folder));
}

#[test]
fn checkpoints_of_other_settings_give_their_outputs() {
    shipped().iter().for_each(|(name, folder)| check(name, folder));
}

/// With kept keys and values, token by token, what is likeliest is what the whole text gives.
#[test]
fn texts_go_on_as_the_whole_says() {
    for (name, folder) in shipped() {
        let model = pretrained::open(&folder).unwrap();
        let Builtin::Text(task) = &model.task else { continue };
        let question = [5, 9, 4, 11];
        let answers = match task.objective() {
            Objective::Next => false,
            Objective::Answer => true,
            _ => continue,
        };
        let prompt = task.tokenizer().text(&question);
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let mut generator = Generator::new(&model.model, 0, task, &prompt, sampling).unwrap();
        let mut written = if answers { vec![task.start()] } else { question.to_vec() };
        for _ in 0..7 {
            let inputs = match answers {
                true => task.pair(&task.question(&prompt).unwrap(), &written).unwrap(),
                false => vec![(Stream::Main, task.tokenizer().tokens(&written).unwrap())],
            };
            let logits = model.model.outputs(&batch(&model, vec![inputs])).unwrap().remove(0);
            let likeliest: u32 =
                logits.get(written.len() - 1).unwrap().argmax(0).unwrap().to_scalar().unwrap();
            match generator.next_id().unwrap() {
                Some(id) => assert_eq!(id, likeliest, "{name} at {}", written.len()),
                None => {
                    assert_eq!(task.end(), Some(likeliest), "{name}");
                    break;
                }
            }
            written.push(likeliest);
        }
    }
}

/// The tensors of a checkpoint, as they are.
fn tensors(folder: &Path) -> HashMap<String, Tensor> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "io.safetensors") {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("safetensors") => {
                    found.extend(candle_core::safetensors::load(&path, &Device::Cpu).unwrap())
                }
                Some("bin") => found.extend(candle_core::pickle::read_all(&path).unwrap()),
                _ => {}
            }
        }
    }
    found
}

fn assert_same(name: &str, found: &HashMap<String, Tensor>, expected: &HashMap<String, Tensor>) {
    for (tensor, values) in found {
        let expected =
            expected.get(tensor).unwrap_or_else(|| panic!("{name}: {tensor} was not there before"));
        assert_eq!(values.dims(), expected.dims(), "{name}: {tensor}");
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(values), numbers(expected), "{name}: {tensor}");
    }
}

fn export_and_import(name: &str, folder: &Path) {
    let place = tempfile::tempdir().unwrap();
    let at = |part: &str| place.path().join(part);
    let report =
        pretrained::import(folder, &at("run"), Storage::F32, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
    let (before, after) = (tensors(folder), tensors(&at("out")));
    // A head that repeats the embedding is written once.
    assert_eq!(after.len() + report.repeated.len(), before.len(), "{name}");
    assert_same(name, &after, &before);
    pretrained::import(&at("out"), &at("again"), Storage::F32, None).unwrap();
    let weights =
        |run: &str| candle_core::safetensors::load(at(run).join("model.safetensors"), &Device::Cpu).unwrap();
    assert_same(name, &weights("again"), &weights("run"));
    assert!(
        matches!(pretrained::import(folder, &at("run"), Storage::F32, None), Err(PretrainedError::Run(_))),
        "{name}: there is a run"
    );
}

#[test]
fn what_is_exported_is_what_was_imported() {
    shipped().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

#[test]
#[ignore = "wants the reference outputs in SMALTI_GOLDEN"]
fn golden_checkpoints_come_back_as_they_were() {
    golden().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

/// The error of a checkpoint whose tensors or settings were changed.
fn refused(folder: &Path, change: impl Fn(&mut HashMap<String, Tensor>, &mut serde_json::Value)) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut found = tensors(folder);
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    change(&mut found, &mut config);
    candle_core::safetensors::save(&found, place.path().join("model.safetensors")).unwrap();
    std::fs::write(place.path().join("config.json"), config.to_string()).unwrap();
    match pretrained::open(place.path()) {
        Ok(_) => panic!("{} is taken", folder.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_does_not_fit_is_named() {
    for (name, folder) in shipped() {
        let read = tensors(&folder);
        let wide = read.iter().filter(|(name, x)| {
            x.rank() > 1 && !["wte", "lm_head", "classifier"].iter().any(|part| name.contains(part))
        });
        let (tensor, values) = wide.min_by_key(|(name, _)| name.to_string()).unwrap();
        let dims = values.dims();
        let missing = refused(&folder, |tensors, _| _ = tensors.remove(tensor));
        assert!(missing.contains(&format!("{tensor} is missing")), "{name}: {missing}");
        let extra = refused(&folder, |tensors, _| _ = tensors.insert("alien.weight".into(), values.clone()));
        assert!(
            extra.contains("alien.weight") && extra.contains("is no tensor of this model"),
            "{name}: {extra}"
        );
        let wrong = refused(&folder, |tensors, _| {
            let longer = Tensor::cat(&[values, values], dims.len() - 1).unwrap();
            tensors.insert(tensor.clone(), longer);
        });
        assert!(wrong.contains(&format!("{tensor} is [")) && wrong.contains("expected ["), "{name}: {wrong}");
        let unknown = refused(&folder, |_, config| config["alien_setting"] = true.into());
        assert!(unknown.contains("config.json: alien_setting"), "{name}: {unknown}");
    }
}

#[test]
fn settings_that_no_one_has_are_refused() {
    let folders = shipped();
    for (name, setting, value, expected) in [
        ("gpt2-untied", "model_type", serde_json::json!("mamba"), "\"mamba\" is none of"),
        ("gpt2-untied", "n_head", serde_json::json!(3), "must be a multiple"),
        ("gpt2-untied", "n_embd", serde_json::json!(-16), "expected a count"),
        ("gpt2-untied", "activation_function", serde_json::json!("mish"), "\"mish\""),
        ("gpt2-untied", "add_cross_attention", serde_json::json!(true), "not supported"),
        ("llama-tied", "num_key_value_heads", serde_json::json!(3), "must divide"),
        ("llama-tied", "rope_parameters", serde_json::json!({"rope_type": "yarn"}), "\"yarn\""),
        ("bert-relu", "is_decoder", serde_json::json!(true), "not supported"),
        ("whisper", "encoder_ffn_dim", serde_json::json!(20), "decoder_ffn_dim"),
        ("dinov2", "patch_size", serde_json::json!([4, 2]), "square"),
    ] {
        let error = refused(&folders[name], |_, config| config[setting] = value.clone());
        assert!(error.contains(expected), "{name} {setting}: {error}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let error = |path: &Path| match pretrained::open(path) {
        Ok(_) => panic!("{} is taken", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(error(place.path()).contains("has no weights"));
    assert!(error(&place.path().join("none")).contains("has no weights"));
    let from = &shipped()["gpt2-untied"];
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), place.path().join(name)).unwrap();
    }
    let whole = std::fs::read(from.join("model.safetensors")).unwrap();
    for bytes in [&whole[..0], &whole[..7], &whole[..whole.len() / 2], &[255; 64]] {
        std::fs::write(place.path().join("model.safetensors"), bytes).unwrap();
        assert!(error(place.path()).contains("model.safetensors"), "{} bytes", bytes.len());
    }
    std::fs::write(place.path().join("config.json"), "{").unwrap();
    assert!(error(place.path()).contains("config.json"));
    std::fs::write(place.path().join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../b"}}"#)
        .unwrap();
    std::fs::remove_file(place.path().join("model.safetensors")).unwrap();
    assert!(error(place.path()).contains("outside the folder"));
}

/// Half the bits: near the outputs, and the same when it is written and read once more.
#[test]
fn halves_are_stored() {
    let place = tempfile::tempdir().unwrap();
    for (name, storage) in [("bf16", Storage::Bf16), ("f16", Storage::F16)] {
        let run = place.path().join(name);
        pretrained::import(&shipped()["llama3-rope"], &run, storage, None).unwrap();
        let size = |path: &Path| std::fs::metadata(path).unwrap().len() as f64;
        let whole =
            tensors(&shipped()["llama3-rope"]).values().map(|x| 4 * x.elem_count()).sum::<usize>() as f64;
        assert!(size(&run.join("model.safetensors")) < 0.7 * whole, "{name}");
        let exported = place.path().join(format!("{name}-out"));
        pretrained::export(&run, &exported, storage).unwrap();
        let again = place.path().join(format!("{name}-again"));
        pretrained::import(&exported, &again, storage, None).unwrap();
        let bytes = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
        assert_eq!(bytes(&run), bytes(&again), "{name}");
    }
}

/// What was scaled before training is said at import: the weights do not know it.
#[test]
fn trajectories_are_scaled_as_a_log_says() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log.jsonl");
    let step = |t: i32| format!("[{t}, {}, 1]", 10 * t);
    let states: Vec<String> = (0..5).map(step).collect();
    let episode = format!(
        r#"{{"observations": [{}], "actions": [[-2, 1], [2, 1], [0, 3], [0, 1], [0, 1]], "rewards": [1, 1, 1, 1, 1], "terminated": true}}"#,
        states.join(", ")
    );
    std::fs::write(&log, episode).unwrap();
    let scales = |log: &Path| Scales { log: Some(log.display().to_string()), return_scale: Some(1000.0) };
    let run = place.path().join("run");
    pretrained::import(&shipped()["decision-transformer"], &run, Storage::F32, Some(&scales(&log))).unwrap();
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("tokenizers.json")).unwrap()).unwrap();
    let config = saved["trajectory"]["tokenizers"]["trajectory"]["config"].to_string();
    assert!(
        config.contains("\"state_mean\":[2.0,20.0,1.0]") && config.contains("\"return_scale\":1000.0"),
        "{config}"
    );
    let other = place.path().join("other");
    std::fs::write(
        &log,
        r#"{"observations": [[1], [2]], "actions": [0, 1], "rewards": [1, 1], "terminated": true}"#,
    )
    .unwrap();
    let error =
        pretrained::import(&shipped()["decision-transformer"], &other, Storage::F32, Some(&scales(&log)));
    assert!(error.unwrap_err().to_string().contains("expected states of 3 numbers and actions of 2"));
    let error = pretrained::import(&shipped()["gpt2-untied"], &other, Storage::F32, Some(&scales(&log)));
    assert!(error.unwrap_err().to_string().contains("scales are of trajectories"));
    assert!(!other.exists(), "nothing is written before all is read");
}
