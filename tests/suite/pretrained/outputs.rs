//! Every checkpoint in `tests/checkpoints` and in `$SMALTI_GOLDEN/models` gives its reference outputs.

use super::{batch, document, golden, pair, part, sample, shipped};
use candle_core::{Device, Tensor};
use smalti::data::Stream;
use smalti::pretrained::{self, Pretrained};
use smalti::sample::{Part, ReadSite};
use smalti_contract::{Array, Content, Group, Numbers, Tokens, Value};
use std::collections::HashMap;
use std::path::Path;

const TOLERANCE: f32 = 1e-4;
/// The vectors of CLIP and SigLIP, with and without a projection.
const VECTORS: [&str; 3] = ["out.image_embeds", "out.text_embeds", "out.pooler_output"];

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

fn check(name: &str, folder: &Path) {
    let (model, io) =
        (pretrained::open(folder).unwrap_or_else(|e| panic!("{name}: {e}")), Reference::read(folder));
    let has = |name: &str| part(&model, name).is_some();
    match () {
        () if has("image") => images(name, &model, &io),
        () if has("audio") && io.has("in.input_values") => spectrograms(name, &model, &io),
        () if has("audio") => clips(name, &model, &io),
        () if has("observations") => trajectories(name, &model, &io),
        () if has("source") => answers(name, &model, &io),
        () => texts(name, &model, &io),
    }
}

/// A text of ids gets the same outputs as the ids.
fn texts_of_ids(name: &str, model: &Pretrained, io: &Reference) {
    let kept = io.kept("in.input_ids");
    let samples = io.ids("in.input_ids").into_iter().zip(&kept).enumerate().map(|(id, (ids, kept))| {
        let text: Vec<String> = pick(&ids, kept).iter().map(u32::to_string).collect();
        sample(model, id, &[("text", Value::Text(text.join(" ")))])
    });
    let logits = model.model.outputs(&batch(model, samples.collect())).unwrap().remove(0);
    let whole = io.0["out.logits"].rank() == 2;
    let read = if whole { vec![vec![0]; kept.len()] } else { kept };
    compare(&format!("{name} logits of texts"), &logits, &flat(&io.rows("out.logits"), &read));
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
    // Vectors of CLIP's and SigLIP's texts.
    for key in VECTORS.into_iter().filter(|key| io.has(key)) {
        let text = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let samples = ids.iter().enumerate();
        let samples = samples.map(|(id, ids)| sample(model, id, &[("text", Value::Text(text(ids)))]));
        let vectors = model.model.outputs(&batch(model, samples.collect())).unwrap().remove(0);
        compare(&format!("{name} {key}"), &vectors, &flat(&io.rows(key), &vec![vec![0]; ids.len()]));
    }
    let documents = ids.iter().zip(&segments).zip(&kept).enumerate();
    let documents = documents.map(|(id, ((ids, segments), kept))| {
        document(id, vec![(Stream::Main, tokens_in(text, &pick(ids, kept), &pick(segments, kept)))])
    });
    let batch = batch(model, documents.collect());
    if io.has("out.logits") {
        let mut logits = model.model.outputs(&batch).unwrap().remove(0);
        let mut read = kept.clone();
        if io.0["out.logits"].rank() == 2 {
            // A head of the whole text reads its first token, or its last.
            let is_last = model.task.outputs()[0].site == ReadSite::LastToken;
            let places = kept.iter().scan(0, |next, kept| {
                let first = *next;
                *next += kept.len() as u32;
                Some(if is_last { *next - 1 } else { first })
            });
            let places = Tensor::new(places.collect::<Vec<u32>>(), &Device::Cpu).unwrap();
            logits = logits.index_select(&places, 0).unwrap();
            read = vec![vec![0]; ids.len()];
        }
        compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &read));
    }
    if io.has("out.last_hidden_state") {
        let hidden = model.model.forward(&batch, None).unwrap().into_tensor();
        compare(&format!("{name} states"), &hidden, &flat(&io.rows("out.last_hidden_state"), &kept));
    }
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
    for key in VECTORS.into_iter().filter(|key| io.has(key)) {
        let vectors = model.model.outputs(&batch).unwrap().remove(0);
        compare(&format!("{name} {key}"), &vectors, &flat(&io.rows(key), &vec![vec![0]; n]));
    }
    if io.has("out.last_hidden_state") {
        // Published: the class token, registers, patches; here patches come first.
        let hidden = model.model.forward(&batch, None).unwrap().into_tensor();
        let total = hidden.dim(0).unwrap() / n;
        let learned = total - patches;
        let order: Vec<usize> = (learned..total).chain(0..learned).collect();
        let expected = io.rows("out.last_hidden_state");
        compare(&format!("{name} states"), &hidden, &flat(&expected, &vec![order; n]));
        if model.task.outputs()[0].head.width() == 0 && !io.has("out.pooler_output") {
            let vectors = model.model.outputs(&batch).unwrap().remove(0);
            compare(&format!("{name} vectors"), &vectors, &flat(&expected, &vec![vec![0]; n]));
        }
    }
}

fn clips(name: &str, model: &Pretrained, io: &Reference) {
    let frames = io.0["in.input_features"].transpose(1, 2).unwrap().contiguous().unwrap();
    let (n, length, bands) = frames.dims3().unwrap();
    let frames: Vec<Vec<f32>> = frames.reshape((n, length * bands)).unwrap().to_vec2().unwrap();
    let slices = |values: Vec<f32>| {
        let mut group = Group::sequence(Content::Features { values, dim: 2 * bands });
        group.positions.clear();
        Tokens::new(vec![group])
    };
    if !io.has("in.decoder_input_ids") {
        let documents = frames.into_iter().enumerate();
        let documents = documents.map(|(id, values)| document(id, vec![(Stream::Main, slices(values))]));
        let logits = model.model.outputs(&batch(model, documents.collect())).unwrap().remove(0);
        return compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &vec![vec![0]; n]));
    }
    let written = io.ids("in.decoder_input_ids");
    let documents = frames.into_iter().zip(&written).enumerate();
    let documents =
        documents.map(|(id, (values, written))| document(id, pair(model, slices(values), written)));
    let batch = batch(model, documents.collect());
    let all = |rows: usize| vec![(0..rows).collect::<Vec<usize>>(); n];
    let logits = model.model.outputs(&batch).unwrap().remove(0);
    compare(&format!("{name} logits"), &logits, &flat(&io.rows("out.logits"), &all(written[0].len())));
    let encoded = model.model.encoded(&batch).unwrap().unwrap();
    let expected = flat(&io.rows("out.encoder_last_hidden_state"), &all(length / 2));
    compare(&format!("{name} encoder"), &encoded, &expected);
}

/// Spectrograms in patches, whose positions the sample of a clip has.
fn spectrograms(name: &str, model: &Pretrained, io: &Reference) {
    let like = sample(model, 0, &[("path", super::clips::clip(2000))]);
    let [patch, rows, columns] = [4, 3, 2]; // patch_size, frequency_stride, time_stride
    let group = &like.inputs[0].1.groups[0];
    let corners: Vec<[usize; 2]> = (0..group.len())
        .map(|i| [rows * group.positions[2 * i] as usize, columns * group.positions[2 * i + 1] as usize])
        .collect();
    assert_eq!(corners.len(), 12, "3 patches of bands and 4 of frames");
    let samples = io.rows("in.input_values").into_iter().map(|frames| {
        let of = |[band, frame]: [usize; 2]| {
            let frames = &frames[frame..frame + patch];
            (band..band + patch).flat_map(move |band| frames.iter().map(move |frame| frame[band]))
        };
        let values = corners.iter().flat_map(|&corner| of(corner)).collect();
        let mut sample = like.clone();
        sample.inputs[0].1.groups[0].content = Content::Features { values, dim: patch * patch };
        sample
    });
    let batch = batch(model, samples.collect());
    let logits = model.model.outputs(&batch).unwrap().remove(0);
    let expected = io.rows("out.logits");
    compare(&format!("{name} logits"), &logits, &flat(&expected, &vec![vec![0]; expected.len()]));
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

#[test]
#[ignore = "needs the reference outputs in SMALTI_GOLDEN"]
fn golden_checkpoints_give_their_reference_outputs() {
    golden().iter().for_each(|(name, folder)| check(name, folder));
}

#[test]
fn heads_of_classes_give_their_reference_outputs_from_texts() {
    let folders = shipped();
    for name in [
        "bert-tags",
        "distilbert-labels",
        "distilbert-tags",
        "gpt2-classes",
        "gpt2-tags",
        "roberta-classes",
        "roberta-tags",
        "xlm-roberta-score",
        "xlm-roberta-tags",
    ] {
        let model = pretrained::open(&folders[name]).unwrap_or_else(|e| panic!("{name}: {e}"));
        texts_of_ids(name, &model, &Reference::read(&folders[name]));
    }
}

#[test]
fn tiny_checkpoints_give_their_reference_outputs() {
    shipped().iter().for_each(|(name, folder)| check(name, folder));
}
