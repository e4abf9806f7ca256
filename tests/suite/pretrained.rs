//! Published checkpoints: every one in `$SMALTI_GOLDEN/models` gives its reference outputs.

use candle_core::{Device, Tensor};
use smalti::data::{Batch, Sample, Stream, Target, collate};
use smalti::inference::{Generation, generate};
use smalti::pretrained::{self, Pretrained, PretrainedError, Scales};
use smalti::sample::{Part, Pool, Purpose, Role};
use smalti::train::Storage;
use smalti_contract::{Array, Content, Group, Numbers, TokenizeError, Tokens, Value};
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

    /// The places of each input that are not padding.
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

/// The rows of a packed batch.
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

fn part<'a>(model: &'a Pretrained, name: &str) -> Option<&'a Part> {
    model.task.parts().iter().find(|part| part.name == name)
}

/// The sample of a row, for prediction.
fn sample(model: &Pretrained, id: usize, fields: &[(&str, Value)]) -> Sample {
    let get = |field: &str| -> Result<Value, TokenizeError> {
        let found = fields.iter().find(|(known, _)| *known == field);
        Ok(found.map_or(Value::Missing, |(_, value)| value.clone()))
    };
    model.task.sample(&get, 0..0, Purpose::Predict, id as u64).unwrap()
}

fn batch(model: &Pretrained, samples: Vec<Sample>) -> Batch {
    let samples: Vec<(usize, Sample)> = samples.into_iter().map(|sample| (0, sample)).collect();
    collate(model.model.layouts(), &samples).unwrap()
}

/// A document in which the first head predicts at every token of the kind that it reads.
fn document(id: usize, inputs: Vec<(Stream, Tokens)>) -> Sample {
    Sample { inputs, outputs: vec![Target::Unknown.into()], id: id as u64 }
}

fn check(name: &str, folder: &Path) {
    let (model, io) =
        (pretrained::open(folder).unwrap_or_else(|e| panic!("{name}: {e}")), Reference::read(folder));
    let has = |name: &str| part(&model, name).is_some();
    match () {
        () if has("image") => images(name, &model, &io),
        () if has("audio") => clips(name, &model, &io),
        () if has("observations") => trajectories(name, &model, &io),
        () if has("source") => answers(name, &model, &io),
        () => texts(name, &model, &io),
    }
}

/// The tokens of ids, each in its segment.
fn tokens_in(part: &Part, ids: &[u32], segments: &[u32]) -> Tokens {
    let mut tokens = part.sequence(ids.to_vec()).unwrap();
    if let [_, _] = &part.kinds[0].axes[..] {
        tokens.groups[0].positions =
            (0..).zip(segments).flat_map(|(index, &segment)| [index, segment]).collect();
    }
    tokens
}

fn texts(name: &str, model: &Pretrained, io: &Reference) {
    let text = part(model, "text").unwrap();
    let (ids, kept) = (io.ids("in.input_ids"), io.kept("in.input_ids"));
    let segments = if io.has("in.token_type_ids") { io.ids("in.token_type_ids") } else { ids.clone() };
    let documents = ids.iter().zip(&segments).zip(&kept).enumerate();
    let documents = documents.map(|(id, ((ids, segments), kept))| {
        document(id, vec![(Stream::Main, tokens_in(text, &pick(ids, kept), &pick(segments, kept)))])
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

/// The encoder's input, and the text so far.
fn pair(model: &Pretrained, encoder_input: Tokens, text: &[u32]) -> Vec<(Stream, Tokens)> {
    let generated = model.task.parts().iter().find(|part| matches!(part.role, Role::Generated(_)));
    vec![
        (Stream::Encoder, encoder_input),
        (Stream::Main, generated.unwrap().sequence(text.to_vec()).unwrap()),
    ]
}

fn answers(name: &str, model: &Pretrained, io: &Reference) {
    let source = part(model, "source").unwrap();
    let (ids, kept) = (io.ids("in.input_ids"), io.kept("in.input_ids"));
    let written = io.ids("in.decoder_input_ids");
    let all = vec![(0..written[0].len()).collect(); written.len()];
    let documents = ids.iter().zip(&kept).zip(&written).enumerate();
    let documents = documents.map(|(id, ((ids, kept), written))| {
        document(id, pair(model, source.sequence(pick(ids, kept)).unwrap(), written))
    });
    let batch = batch(model, documents.collect());
    let logits = model.model.outputs(&batch).unwrap().remove(0);
    compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &all));
    let encoded = model.model.encoded(&batch).unwrap().unwrap();
    compare(&format!("{name} encoder"), &encoded, &flat(&io.rows("out.encoder_last_hidden_state"), &kept));
}

fn images(name: &str, model: &Pretrained, io: &Reference) {
    let pixels = &io.0["in.pixel_values"];
    let (n, channels, height, width) = pixels.dims4().unwrap();
    let black = vec![0; height * width * channels];
    let black = Value::Array(Array { shape: vec![height, width, channels], numbers: Numbers::U8(black) });
    let like = sample(model, 0, &[("image", black)]);
    let Content::Features { values, dim } = &like.inputs[0].1.groups[0].content else {
        panic!("{name}: patches are features")
    };
    let (patches, side) = (values.len() / dim, (dim / channels).isqrt());
    let (rows, columns) = (height / side, width / side);
    assert_eq!((side * side * channels, rows * columns), (*dim, patches), "{name}");
    // [n, channels, row, y, column, x] → [n, row, column, y, x, channels]
    let features = pixels.reshape(&[n, channels, rows, side, columns, side][..]).unwrap();
    let features = features.permute(vec![0, 2, 4, 3, 5, 1]).unwrap().contiguous().unwrap();
    let features: Vec<Vec<f32>> = features.reshape((n, patches * dim)).unwrap().to_vec2().unwrap();
    let samples = features.into_iter().map(|values| {
        let mut sample = like.clone();
        sample.inputs[0].1.groups[0].content = Content::Features { values, dim: *dim };
        sample
    });
    let batch = batch(model, samples.collect());
    if io.has("out.logits") {
        let logits = model.model.outputs(&batch).unwrap().remove(0);
        compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &vec![vec![0]; n]));
    }
    if io.has("out.last_hidden_state") {
        // Published: the class token, registers, patches; here patches come first.
        let hidden = model.model.forward(&batch, None).unwrap().into_tensor();
        let total = hidden.dim(0).unwrap() / n;
        let learned = total - patches;
        let order: Vec<usize> = (learned..total).chain(0..learned).collect();
        let expected = io.rows("out.last_hidden_state");
        compare(&format!("{name} states"), &hidden, &flat(&expected, &vec![order; n]));
        if model.task.outputs()[0].head.width() == 0 {
            let vectors = model.model.outputs(&batch).unwrap().remove(0);
            compare(&format!("{name} vectors"), &vectors, &flat(&expected, &vec![vec![0]; n]));
        }
    }
}

fn clips(name: &str, model: &Pretrained, io: &Reference) {
    let frames = io.0["in.input_features"].transpose(1, 2).unwrap().contiguous().unwrap();
    let (n, length, bands) = frames.dims3().unwrap();
    let frames: Vec<Vec<f32>> = frames.reshape((n, length * bands)).unwrap().to_vec2().unwrap();
    let written = io.ids("in.decoder_input_ids");
    let documents = frames.into_iter().zip(&written).enumerate().map(|(id, (values, written))| {
        let mut group = Group::sequence(Content::Features { values, dim: 2 * bands });
        group.positions.clear();
        document(id, pair(model, Tokens::new(vec![group]), written))
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
    let fields = [
        ("return_to_go", io.rows("in.returns_to_go")),
        ("observations", io.rows("in.states")),
        ("actions", io.rows("in.actions")),
    ];
    let samples = (0..kept.len()).map(|document| {
        let kept = &kept[document];
        let series = |rows: &[Vec<f32>]| {
            Value::Series(kept.iter().map(|&step| Value::vector(rows[step].clone())).collect())
        };
        let row: Vec<_> = fields.iter().map(|(field, rows)| (*field, series(&rows[document]))).collect();
        let mut sample = sample(model, document, &row);
        for group in &mut sample.inputs[0].1.groups {
            group.time = pick(&times[document], kept);
        }
        sample
    });
    let batch = batch(model, samples.collect());
    let found = model.model.outputs(&batch).unwrap();
    let names: Vec<&str> = model.task.outputs().iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["actions", "next_state", "next_return"]);
    for (found, output) in found.iter().zip(["out.action_preds", "out.state_preds", "out.return_preds"]) {
        compare(&format!("{name} {output}"), found, &flat(&io.rows(output), &kept));
    }
}

/// All checkpoints in a folder, by name.
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

/// Tiny checkpoints with settings that the golden ones do not have; see `make.py` beside them.
fn shipped() -> BTreeMap<String, PathBuf> {
    checkpoints(Path::new("tests/checkpoints"))
}

#[test]
#[ignore = "needs the reference outputs in SMALTI_GOLDEN"]
fn golden_checkpoints_give_their_reference_outputs() {
    golden().iter().for_each(|(name, folder)| check(name, folder));
}

#[test]
fn tiny_checkpoints_give_their_reference_outputs() {
    shipped().iter().for_each(|(name, folder)| check(name, folder));
}

/// With cached keys and values, the most likely next token is that of a forward pass over the whole text.
#[test]
fn cached_generation_equals_the_forward_pass() {
    for (name, folder) in shipped() {
        let model = pretrained::open(&folder).unwrap();
        let question = [5, 9, 4, 11];
        let likeliest = |inputs: Vec<(Stream, Tokens)>, never: &[u32]| {
            let logits = model.model.outputs(&batch(&model, vec![document(0, inputs)])).unwrap().remove(0);
            let last: Vec<f32> = logits.get(logits.dim(0).unwrap() - 1).unwrap().to_vec1().unwrap();
            let ids = (0..last.len() as u32).filter(|id| !never.contains(id));
            ids.max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]).then(b.cmp(&a))).unwrap()
        };
        let whole =
            |ids: &[u32]| vec![(Stream::Main, part(&model, "text").unwrap().sequence(ids.into()).unwrap())];
        if let Some(source) = part(&model, "source") {
            let target = part(&model, "target").unwrap();
            let row = [("source", Value::Text("5 9 4 11".into()))];
            let generation = Generation { max_length: 7, ..Generation::default() };
            let found =
                generate(&model.model, 0, &model.task, 0, &sample(&model, 0, &row), &generation).unwrap();
            let mut written = target.special_ids.begin.clone();
            for step in 0..7 {
                let inputs = pair(&model, source.sequence(question.to_vec()).unwrap(), &written);
                let likeliest = likeliest(inputs, &target.special_ids.begin);
                if Some(likeliest) == target.special_ids.end {
                    assert_eq!(found.len(), step, "{name}");
                    break;
                }
                assert_eq!(found[step], likeliest, "{name} at {step}");
                written.push(likeliest);
            }
        } else if part(&model, "text")
            .is_some_and(|text| text.windows && matches!(text.role, Role::Generated(_)))
        {
            let (mut written, mut cache, mut read) = (question.to_vec(), model.model.cache(), 0);
            for _ in 0..7 {
                let mut next = whole(&written);
                let group = &mut next[0].1.groups[0];
                let after = |values: &mut Vec<u32>| _ = values.drain(..read.min(values.len()));
                group.content = Content::Ids(written[read..].to_vec());
                [&mut group.positions, &mut group.order, &mut group.time].into_iter().for_each(after);
                read = written.len();
                let logits = model.model.step(&batch(&model, vec![document(0, next)]), &mut cache).unwrap();
                let last = logits[0].get(logits[0].dim(0).unwrap() - 1).unwrap();
                let id: u32 = last.argmax(0).unwrap().to_scalar().unwrap();
                assert_eq!(id, likeliest(whole(&written), &[]), "{name} at {}", written.len());
                written.push(id);
            }
        }
    }
}

/// The tensors of a checkpoint, unconverted.
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
        let expected = expected.get(tensor).unwrap_or_else(|| panic!("{name}: unexpected tensor {tensor}"));
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
    // The export has the matrix of a tied head once.
    assert_eq!(after.len() + report.repeated.len(), before.len(), "{name}");
    assert_same(name, &after, &before);
    pretrained::import(&at("out"), &at("again"), Storage::F32, None).unwrap();
    let weights =
        |run: &str| candle_core::safetensors::load(at(run).join("model.safetensors"), &Device::Cpu).unwrap();
    assert_same(name, &weights("again"), &weights("run"));
    assert!(
        matches!(pretrained::import(folder, &at("run"), Storage::F32, None), Err(PretrainedError::Run(_))),
        "{name}: the folder holds a run"
    );
}

#[test]
fn export_inverts_import() {
    shipped().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

#[test]
#[ignore = "needs the reference outputs in SMALTI_GOLDEN"]
fn export_inverts_import_of_golden_checkpoints() {
    golden().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

/// The files beside the weights set the maximum length, the pooling and the normalization.
#[test]
fn the_settings_of_a_sentence_encoder_are_read() {
    let place = tempfile::tempdir().unwrap();
    let from = &shipped()["bert-trunk"];
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), place.path().join(name)).unwrap();
    }
    std::fs::create_dir(place.path().join("1_Pooling")).unwrap();
    for (name, json) in [
        ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
        ("modules.json", r#"[{"type": "sentence_transformers.models.Normalize"}]"#),
        ("sentence_bert_config.json", r#"{"max_seq_length": 4}"#),
    ] {
        std::fs::write(place.path().join(name), json).unwrap();
    }
    let model = pretrained::open(place.path()).unwrap();
    assert_eq!(part(&model, "text").unwrap().capacity(), Some(4));
    let output = &model.settings.outputs["embedding"];
    assert_eq!((output.pool, &output.settings["normalize"]), (Some(Pool::First), &true.into()));
    let row = [("text", Value::Text("5 9 4".into()))];
    let batch = batch(&model, vec![sample(&model, 0, &row)]);
    let found = model.model.outputs(&batch).unwrap().remove(0);
    let states: Vec<Vec<f32>> = model.model.forward(&batch, None).unwrap().into_tensor().to_vec2().unwrap();
    assert_eq!(found.to_vec2::<f32>().unwrap(), states[..1]);
    export_and_import("sentences", place.path());
}

/// The error of a checkpoint with changed tensors or settings.
fn error_of(folder: &Path, change: impl Fn(&mut HashMap<String, Tensor>, &mut serde_json::Value)) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut found = tensors(folder);
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    change(&mut found, &mut config);
    candle_core::safetensors::save(&found, place.path().join("model.safetensors")).unwrap();
    std::fs::write(place.path().join("config.json"), config.to_string()).unwrap();
    match pretrained::open(place.path()) {
        Ok(_) => panic!("{}: expected an error", folder.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn tensors_and_settings_that_do_not_fit_are_named() {
    for (name, folder) in shipped() {
        let read = tensors(&folder);
        let wide = read.iter().filter(|(name, x)| {
            x.rank() > 1 && !["wte", "lm_head", "classifier"].iter().any(|part| name.contains(part))
        });
        let (tensor, values) = wide.min_by_key(|(name, _)| name.to_string()).unwrap();
        let dims = values.dims();
        let missing = error_of(&folder, |tensors, _| _ = tensors.remove(tensor));
        assert!(missing.contains(&format!("{tensor} is missing")), "{name}: {missing}");
        let extra = error_of(&folder, |tensors, _| _ = tensors.insert("alien.weight".into(), values.clone()));
        assert!(
            extra.contains("alien.weight") && extra.contains("is not a tensor of this model"),
            "{name}: {extra}"
        );
        let wrong = error_of(&folder, |tensors, _| {
            let longer = Tensor::cat(&[values, values], dims.len() - 1).unwrap();
            tensors.insert(tensor.clone(), longer);
        });
        assert!(wrong.contains(&format!("{tensor} is [")) && wrong.contains("expected ["), "{name}: {wrong}");
        let unknown = error_of(&folder, |_, config| config["alien_setting"] = true.into());
        assert!(unknown.contains("config.json: alien_setting"), "{name}: {unknown}");
    }
}

#[test]
fn unsupported_settings_are_errors() {
    let folders = shipped();
    for (name, setting, value, expected) in [
        ("gpt2-untied", "model_type", serde_json::json!("mamba"), "found \"mamba\""),
        ("gpt2-untied", "n_head", serde_json::json!(3), "expected a divisor of d_model"),
        ("gpt2-untied", "n_embd", serde_json::json!(-16), "expected a count"),
        ("gpt2-untied", "activation_function", serde_json::json!("mish"), "\"mish\""),
        ("gpt2-untied", "add_cross_attention", serde_json::json!(true), "not supported"),
        ("llama-tied", "num_key_value_heads", serde_json::json!(3), "expected a divisor of n_heads"),
        ("llama-tied", "rope_parameters", serde_json::json!({"rope_type": "yarn"}), "\"yarn\""),
        ("bert-relu", "is_decoder", serde_json::json!(true), "not supported"),
        ("whisper", "encoder_ffn_dim", serde_json::json!(20), "decoder_ffn_dim"),
        ("dinov2", "patch_size", serde_json::json!([4, 2]), "square"),
    ] {
        let error = error_of(&folders[name], |_, config| config[setting] = value.clone());
        assert!(error.contains(expected), "{name} {setting}: {error}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let error = |path: &Path| match pretrained::open(path) {
        Ok(_) => panic!("{}: expected an error", path.display()),
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

/// Weights in 16 bits take half the space, and keep their bits through export and import.
#[test]
fn weights_are_stored_in_16_bits() {
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

/// A checkpoint does not hold the scaling of its training data: the import takes it from a log.
#[test]
fn trajectories_are_scaled_by_the_statistics_of_a_log() {
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
    let config = |part: &str| saved[""]["tokenizers"][part]["config"].clone();
    assert_eq!(config("observations")["mean"], serde_json::json!([2.0, 20.0, 1.0]));
    let deviation = 2.0_f64.sqrt();
    assert_eq!(config("observations")["std"], serde_json::json!([deviation, 10.0 * deviation, 1.0]));
    assert_eq!(config("return_to_go")["std"], serde_json::json!([1000.0]));
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
    assert!(error.unwrap_err().to_string().contains("expected a decision_transformer for scales"));
    assert!(!other.exists(), "nothing is written before the checkpoint and the log are read");
}
