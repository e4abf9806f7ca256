//! Imports and exports of small tensors.

use super::*;
use candle_core::Device;

fn numbers(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::arange(0.0, n as f32, &Device::Cpu).unwrap().reshape(shape).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn map() -> NameMap {
    let mut map = NameMap::default();
    map.rows(&["query.weight", "key_value.weight"], &["c_attn.weight"], Layout::Transposed);
    map.key_value_without_key_bias("cross", "k", "v");
    map.rows(&["patch.weight"], &["conv.weight"], Layout::Conv2d { channels: 3, patch: [2, 2] });
    map.rows(&["first.weight"], &["conv1.weight"], Layout::Conv1d { width: 3 });
    map.rows(&["class", "grid"], &["positions"], Layout::Boxed { dims: 3 });
    map.rows(&["index"], &["table"], Layout::Rows { from: 1, n: 2, of: 5 });
    map.rows(&["norm"], &["ln"], Layout::MinusOne);
    map.rows(&["q", "kv"], &["qkv"], Layout::ByHead { heads: 2 });
    map.repeats("lm_head.weight", "conv1.weight");
    map.unread(&["pooler.weight"]);
    map
}

fn published() -> Tensors {
    [
        ("c_attn.weight", vec![2, 6]),
        ("k.weight", vec![2, 2]),
        ("v.weight", vec![2, 2]),
        ("v.bias", vec![2]),
        ("conv.weight", vec![5, 3, 2, 2]),
        ("conv1.weight", vec![4, 2, 3]),
        ("positions", vec![1, 5, 2]),
        ("table", vec![5, 3]),
        ("ln", vec![2]),
        ("qkv", vec![6, 1]),
        ("lm_head.weight", vec![4, 2, 3]),
        ("old.pooler.weight", vec![1]),
    ]
    .map(|(name, shape)| (name.to_string(), numbers(&shape)))
    .into()
}

fn expected() -> BTreeMap<String, Vec<usize>> {
    [
        ("query.weight", vec![2, 2]),
        ("key_value.weight", vec![4, 2]),
        ("cross.weight", vec![4, 2]),
        ("cross.bias", vec![4]),
        ("patch.weight", vec![5, 12]),
        ("first.weight", vec![4, 6]),
        ("class", vec![1, 2]),
        ("grid", vec![4, 2]),
        ("index", vec![2, 3]),
        ("norm", vec![2]),
        ("q", vec![2, 1]),
        ("kv", vec![4, 1]),
    ]
    .map(|(name, shape)| (name.to_string(), shape))
    .into()
}

#[test]
fn export_inverts_import() {
    let (ours, unread, report) = map().import("file", &published(), &expected()).unwrap();
    assert_eq!(values(&ours["query.weight"]), [0.0, 6.0, 1.0, 7.0]);
    assert_eq!(values(&ours["cross.bias"]), [0.0, 0.0, 0.0, 1.0]);
    // The first patch's first pixel has channels 0, 4 and 8 of a kernel of 3·2·2.
    assert_eq!(values(&ours["patch.weight"])[..3], [0.0, 4.0, 8.0]);
    assert_eq!(values(&ours["first.weight"])[..4], [0.0, 3.0, 1.0, 4.0]);
    assert_eq!(values(&ours["class"]), [0.0, 1.0]);
    assert_eq!(values(&ours["index"]), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(values(&ours["norm"]), [1.0, 2.0]);
    assert_eq!((values(&ours["q"]), values(&ours["kv"])), (vec![0.0, 3.0], vec![1.0, 4.0, 2.0, 5.0]));
    assert_eq!(report.unread, ["old.pooler.weight", "table"]);
    assert_eq!(report.repeated, [("lm_head.weight".to_string(), "conv1.weight".to_string())]);
    assert_eq!(unread.len(), 2);
    let back = map().export(&ours, &unread).unwrap();
    for (name, tensor) in
        published().iter().filter(|(n, _)| !["lm_head.weight", "old.pooler.weight"].contains(&n.as_str()))
    {
        assert_eq!((back[name].dims(), values(&back[name])), (tensor.dims(), values(tensor)), "{name}");
    }
    assert_eq!(back.len(), 11);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let error = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = published();
        change(&mut tensors);
        map().import("model.safetensors", &tensors, &expected()).unwrap_err().to_string()
    };
    let missing = error(&|t| _ = t.remove("v.bias"));
    assert_eq!(missing, "model.safetensors: v.bias is missing");
    let extra = error(&|t| _ = t.insert("alien".into(), numbers(&[7])));
    assert_eq!(extra, "model.safetensors: alien [7] is not a tensor of this model");
    let wrong = error(&|t| _ = t.insert("conv.weight".into(), numbers(&[5, 3, 2, 1])));
    assert_eq!(wrong, "model.safetensors: conv.weight is [5, 3, 2, 1], expected [5, 3, 2, 2]");
    let flat = error(&|t| _ = t.insert("c_attn.weight".into(), numbers(&[12])));
    assert_eq!(flat, "model.safetensors: c_attn.weight is [12], expected [2, 6]");
    let other = error(&|t| _ = t.insert("lm_head.weight".into(), numbers(&[4, 2, 4])));
    assert!(other.contains("expected lm_head.weight to equal conv1.weight"), "{other}");
}

#[test]
fn the_mean_of_two_layers_is_one_layer_of_both_inputs() {
    let mut map = NameMap::default();
    map.mean_of_maps("head", &["one", "other"]);
    let numbers = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
    let published: Tensors = [
        ("one.weight", numbers(&[2.0, 4.0], &[1, 2])),
        ("one.bias", numbers(&[1.0], &[1])),
        ("other.weight", numbers(&[6.0, 8.0], &[1, 2])),
        ("other.bias", numbers(&[4.0], &[1])),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor))
    .into();
    let expected = BTreeMap::from([("head.weight".into(), vec![1, 4]), ("head.bias".into(), vec![1])]);
    let (mut ours, unread, _) = map.import("x", &published, &expected).unwrap();
    assert_eq!(values(&ours["head.weight"]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&ours["head.bias"]), [2.5]);
    let exported = map.export(&ours, &unread).unwrap();
    assert!(published.iter().all(|(name, tensor)| values(tensor) == values(&exported[name])));
    // A bias that has changed moves both.
    ours.insert("head.bias".into(), numbers(&[3.5], &[1]));
    let exported = map.export(&ours, &unread).unwrap();
    assert_eq!([values(&exported["one.bias"]), values(&exported["other.bias"])], [[2.0], [5.0]]);
    let short = BTreeMap::from([("head.weight".into(), vec![1, 2]), ("head.bias".into(), vec![1])]);
    let error = map.import("x", &published, &short).unwrap_err().to_string();
    assert!(error.contains("one.weight and other.weight are [[1, 2], [1, 2]]"), "{error}");
    let missing = Tensors::from([("one.weight".into(), published["one.weight"].clone())]);
    assert!(map.import("x", &missing, &expected).unwrap_err().to_string().contains("other.bias is missing"));
}

#[test]
fn columns_that_are_not_read_are_zeros_in_an_export() {
    let mut map = NameMap::default();
    map.maps(&["head"], &["classifier"], true, Layout::FirstHalf);
    map.rows(&["class"], &["class_embedding"], Layout::Vector);
    let number = |shape: &[usize]| numbers(shape);
    let ours: Tensors =
        [("head.weight", number(&[1, 2])), ("head.bias", number(&[1])), ("class", number(&[1, 3]))]
            .map(|(name, tensor)| (name.to_string(), tensor))
            .into();
    let exported = map.export(&ours, &Tensors::new()).unwrap();
    assert_eq!(values(&exported["classifier.weight"]), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(exported["class_embedding"].dims(), [3]);
    let expected = ours.iter().map(|(name, x)| (name.clone(), x.dims().to_vec())).collect();
    let (again, ..) = map.import("x", &exported, &expected).unwrap();
    assert!(ours.iter().all(|(name, x)| values(x) == values(&again[name])));
}
