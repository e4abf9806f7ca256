//! Operations, losses and the optimizer against candle-nn, and layers of candle-nn in a model.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, linear, ops as nn, rotary_emb::rope_slow};
use smalti::data::{Pooling, Sample, Stream, Target, collate};
use smalti::head::{Classify, HeadSpec};
use smalti::model::{
    AttentionConfig, CandleLayer, CustomLayers, Layer, Model, ModelConfig, ModelError, Params,
};
use smalti::ops::{self, AdamwParameter, AdamwSettings, Angles, OptimizerStep, Value};
use smalti::rules::Rule;
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Values in −1..1 that look random.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 37 + seed * 101 + 11) as f32 * 0.739).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn assert_close(what: &str, a: &Tensor, b: &Tensor) {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    let difference = difference.to_scalar::<f32>().unwrap();
    assert!(difference < 1e-5, "{what}: {difference}");
}

/// Compares `ours` with `theirs`: the output, and the gradient of each input for a fixed upstream gradient.
fn same(
    what: &str,
    inputs: &[Tensor],
    ours: impl Fn(&[Value]) -> Result<Value>,
    theirs: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let variables: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let values_of: Vec<Value> = variables.iter().enumerate().map(|(i, x)| Value::parameter(x, i)).collect();
    let tensors: Vec<Tensor> = variables.iter().map(|x| x.as_tensor().clone()).collect();
    let (y, expected) = (ours(&values_of).unwrap(), theirs(&tensors).unwrap());
    assert_close(what, y.tensor(), &expected.detach());
    let upstream = values(expected.dims(), 99);
    let weighted = |y: &Tensor| (y * &upstream).and_then(|y| y.sum_all());
    let loss = ops::from_candle(&[&y], |y| weighted(&y[0])).unwrap();
    let (found, gradients) =
        (ops::backward(vec![(loss, 1.0)]).unwrap(), weighted(&expected).unwrap().backward().unwrap());
    for (i, variable) in variables.iter().enumerate() {
        assert_close(
            &format!("{what}, gradient {i}"),
            found.get(i).unwrap(),
            gradients.get(variable).unwrap(),
        );
    }
}

#[test]
fn operations_equal_those_of_candle_nn() {
    let x = values(&[6, 8], 1);
    same(
        "linear",
        &[x.clone(), values(&[5, 8], 2), values(&[5], 3)],
        |t| ops::linear(&t[0], &t[1], Some(&t[2])),
        |t| Linear::new(t[1].clone(), Some(t[2].clone())).forward(&t[0]),
    );
    same(
        "layer_norm",
        &[x.clone(), values(&[8], 2), values(&[8], 3)],
        |t| ops::layer_norm(&t[0], &t[1], Some(&t[2]), 1e-5),
        |t| nn::layer_norm_slow(&t[0], &t[1], &t[2], 1e-5),
    );
    same(
        "rms_norm",
        &[x.clone(), values(&[8], 2)],
        |t| ops::rms_norm(&t[0], &t[1], 1e-5),
        |t| nn::rms_norm_slow(&t[0], &t[1], 1e-5),
    );
    // candle-nn's rope takes [batch, heads, tokens, d_head], and cosines and sines of half a head.
    let (tokens, heads, d_head) = (6, 2, 4);
    let angle = |i: usize, pair: usize| i as f64 * 100f64.powf(-2.0 * pair as f64 / d_head as f64);
    let table = |f: fn(f64) -> f64| {
        let values = (0..tokens).flat_map(|i| (0..d_head / 2).map(move |pair| f(angle(i, pair)) as f32));
        Tensor::from_vec(values.collect::<Vec<_>>(), (tokens, d_head / 2), &Device::Cpu).unwrap()
    };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let angles = Arc::new(Angles::new(&[0, 1, 2, 3, 4, 5], d_head, 100.0, None));
    same(
        "rotary",
        &[x],
        |t| ops::rotary(&t[0], 8, &angles),
        |t| {
            let by_head = t[0].reshape((1, tokens, heads, d_head))?.transpose(1, 2)?.contiguous()?;
            rope_slow(&by_head, &cos, &sin)?.transpose(1, 2)?.contiguous()?.reshape((tokens, 8))
        },
    );
}

#[test]
fn cross_entropy_equals_that_of_candle_nn() {
    let ids = [2_u32, 0, 4, 1, 1, 3];
    let targets = Tensor::new(&ids, &Device::Cpu).unwrap();
    same(
        "cross_entropy",
        &[values(&[6, 5], 1)],
        |t| ops::scale(&ops::cross_entropy(&t[0], &ids, &[1.0; 6], 0.0)?, 1.0 / 6.0),
        |t| candle_nn::loss::cross_entropy(&t[0], &targets),
    );
}

#[test]
fn adamw_equals_that_of_candle_nn() -> Result<()> {
    let (ours, theirs) = (Var::from_tensor(&values(&[4, 3], 1))?, Var::from_tensor(&values(&[4, 3], 1))?);
    let (mean, square) = (Var::from_tensor(&ours.zeros_like()?)?, Var::from_tensor(&ours.zeros_like()?)?);
    let (lr, beta1, beta2, eps, weight_decay) = (0.05, 0.9, 0.99, 1e-8, 0.1);
    let mut optimizer =
        candle_nn::AdamW::new(vec![theirs.clone()], ParamsAdamW { lr, beta1, beta2, eps, weight_decay })?;
    for step in 1..=20 {
        let loss = (theirs.as_tensor().sqr()?.sum_all()? + theirs.as_tensor().sin()?.sum_all()?)?;
        let gradients = loss.backward()?;
        // Both follow the gradient at candle-nn's parameters.
        let gradient = gradients.get(&theirs).unwrap().clone();
        optimizer.step(&gradients)?;
        let settings = AdamwSettings { beta1, beta2, eps, weight_decay };
        let all = [AdamwParameter {
            parameter: &ours,
            gradient: &gradient,
            mean: &mean,
            square: &square,
            average: None,
            decays: true,
        }];
        OptimizerStep { settings, learning_rate: lr, step, clip: 0.0, average_decay: 0.0 }.apply(&all)?;
        assert_close(&format!("step {step}"), ours.as_tensor(), theirs.as_tensor());
    }
    Ok(())
}

/// Any layer of candle-nn by itself.
struct Plain<M>(CandleLayer<M>);

impl<M: Module + Send + Sync> Layer for Plain<M> {
    fn forward(&self, x: &Value, _: &[Range<usize>]) -> Result<Value> {
        self.0.forward(x)
    }
}

fn dense(scope: smalti::model::Scope, inputs: usize, outputs: usize) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Plain(CandleLayer::new(scope, |vb| linear(inputs, outputs, vb))?)))
}

fn layers() -> CustomLayers {
    CustomLayers::default().stem("slice", dense).sublayer(1, dense).head("class", dense)
}

fn task() -> TaskSpec {
    let slice = KindSpec {
        name: "slice".into(),
        content: ContentSpec::Features { dim: 3 },
        axes: vec![Axis::new("index", 8)],
        time_steps: None,
    };
    TaskSpec {
        name: String::new(),
        inputs: vec![(Stream::Main, vec![slice])],
        rules: vec![("slice".into(), "slice".into(), Rule::ALL)],
        heads: vec![HeadSpec {
            pool: Pooling::Mean,
            ..HeadSpec::new("class", "slice", Classify::numbered(3))
        }],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn model(params: Params, layers: &CustomLayers) -> std::result::Result<Model, ModelError> {
    let attention = AttentionConfig::of_heads(2);
    let config = ModelConfig { d_model: 8, n_layers: 2, attention, ..ModelConfig::default() };
    Model::with_layers(&config, &[task()], params, layers)
}

fn sample(id: u64) -> (usize, Sample) {
    let features = values(&[4, 3], id as usize).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let group = Group::sequence(Content::Features { values: features, dim: 3 });
    let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
    (0, Sample { inputs, outputs: vec![Target::class(id as u32 % 3).into()], id })
}

#[test]
fn layers_of_candle_nn_are_trained_saved_and_frozen() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let trained = model(Params::new(3, &Device::Cpu), &layers())?;
    let names: BTreeSet<&str> = trained.params().iter().map(|(name, _)| name).collect();
    for name in ["embed.slice.stem.weight", "stack.blocks.1.custom.bias", "head.class.weight"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let batch = collate(trained.layouts(), &[sample(1), sample(2), sample(3)])?;
    let losses = trained.loss(&batch, None, 0.0)?;
    let gradients = ops::backward(losses.into_iter().map(|loss| (loss.sum, 1.0)).collect())?;
    for (place, (name, _)) in trained.params().iter().enumerate() {
        assert!(gradients.get(place).is_some(), "{name} is unreached");
    }

    // The same seed gives the same parameters; saved ones, in place of none, give the same outputs.
    let again = model(Params::new(3, &Device::Cpu), &layers())?;
    assert_close("seeded", &trained.outputs(&batch)?[0], &again.outputs(&batch)?[0]);
    let loaded = model(Params::blank(&Device::Cpu), &layers())?;
    let drawn = |(_, var): (&str, &Var)| var.flatten_all()?.to_vec1::<f32>();
    for values in loaded.params().iter().map(drawn) {
        assert!(values?.iter().all(|x| *x == 0.0), "a value is drawn before it is loaded");
    }
    let saved: HashMap<String, Tensor> = trained.params().tensors().into_iter().collect();
    loaded.params().load(&saved)?;
    assert_close("loaded", &trained.outputs(&batch)?[0], &loaded.outputs(&batch)?[0]);

    // Frozen parameters get no gradient.
    let frozen = ["*.stem.*", "*.custom.*"].map(String::from);
    let frozen = model(Params::new(3, &Device::Cpu).freeze(&frozen), &layers())?;
    let losses = frozen.loss(&batch, None, 0.0)?;
    let gradients = ops::backward(losses.into_iter().map(|loss| (loss.sum, 1.0)).collect())?;
    for (place, (name, _)) in frozen.params().iter().enumerate() {
        let is_frozen = name.contains(".stem.") || name.contains(".custom.");
        assert_eq!(gradients.get(place).is_none(), is_frozen, "{name}");
    }
    Ok(())
}

#[test]
fn a_documents_output_does_not_depend_on_the_others() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = model(Params::new(3, &Device::Cpu), &layers())?;
    let output = |samples: &[(usize, Sample)], place: usize| -> Result<Tensor> {
        let batch = collate(model.layouts(), samples).unwrap();
        model.outputs(&batch)?[0].narrow(0, place, 1)
    };
    assert_close("packed", &output(&[sample(2)], 0)?, &output(&[sample(1), sample(2)], 1)?);
    Ok(())
}

#[test]
fn parameters_serve_layers_of_candle_nn() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = model(Params::new(3, &Device::Cpu), &CustomLayers::default())?;
    let vb = model.params().var_builder();
    let head = linear(8, 3, vb.pp("head.class"))?;
    let x = values(&[2, 8], 1);
    let batch = [0..1, 1..2];
    let expected = model.head(0, 0).forward(&Value::constant(x.clone()), &[0, 1], None, &batch)?;
    assert_close("head", &head.forward(&x)?, expected.tensor());
    assert!(linear(8, 4, vb.pp("head.class")).is_err(), "another shape");
    assert!(linear(8, 3, vb.pp("head.none")).is_err(), "another name");
    assert_eq!(vb.dtype(), DType::F32);
    Ok(())
}

#[test]
fn a_layer_without_a_place_is_an_error() {
    for (layers, what) in [
        (CustomLayers::default().stem("patch", dense), "the stem of patch"),
        (CustomLayers::default().sublayer(2, dense), "the sublayer of block 2"),
        (CustomLayers::default().head("label", dense), "the head of label"),
    ] {
        let error = model(Params::new(3, &Device::Cpu), &layers).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(&*format!("{what}: the model has none of this name")));
    }
}
