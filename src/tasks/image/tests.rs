use super::*;
use crate::data::Targets;
use crate::model::Model;
use crate::tasks::{Builtin, TaskConfig};
use crate::transformer::ModelConfig;
use candle_core::Device;
use smalti_image::{Filter, Preset, Resize};

/// The settings under `[data]` of an image task.
fn settings(text: &str) -> Result<ImageTaskConfig, String> {
    match toml::from_str(&format!("modality = \"image\"\n{text}")).map_err(|e| e.to_string())? {
        TaskConfig::Image(config) => Ok(config),
        other => panic!("{other:?}"),
    }
}

fn open(config: ImageTaskConfig) -> Result<(Arc<ImageTask>, Splits), String> {
    match TaskConfig::Image(config).open("image", 1.0).map_err(|e| e.to_string())? {
        (Builtin::Image(task), splits) => Ok((task, splits)),
        _ => panic!("an image task"),
    }
}

fn digits() -> ImageTaskConfig {
    let part = |name: &str| Some(name.to_string());
    ImageTaskConfig { train: part("train"), valid: part("test"), ..ImageTaskConfig::default() }
}

#[test]
fn a_preset_is_written_out_as_what_it_means() {
    let clip = settings("preset = \"clip\"\npatch = 32\npath = \"photos\"").unwrap();
    assert_eq!((clip.channels, clip.patch, clip.path.as_str()), (3, 32, "photos"));
    assert_eq!((clip.size, clip.filter), (Some([224, 224]), Filter::Bicubic));
    assert_eq!(clip.resize, Resize::Crop { shortest_edge: 224 });
    assert_eq!(
        clip,
        ImageTaskConfig { patch: 32, path: "photos".into(), ..ImageTaskConfig::of_preset(Preset::Clip) }
    );
    for preset in [Preset::Vit, Preset::Clip, Preset::Imagenet, Preset::Cifar, Preset::Mnist] {
        let config = TaskConfig::Image(ImageTaskConfig::of_preset(preset));
        let written = toml::to_string(&config).unwrap();
        assert!(!written.contains("preset"), "{written}");
        assert_eq!(toml::from_str::<TaskConfig>(&written).unwrap(), config, "{written}");
    }
}

#[test]
fn what_a_preset_says_is_not_fitted() {
    let (task, _) = open(ImageTaskConfig { patch: 7, ..mnist() }).unwrap();
    let config = Tokenizer::config(task.tokenizer());
    assert_eq!((config.mean.as_slice(), config.max_patches), (&[0.1307][..], [4, 4]));
    let (fitted, _) = open(digits()).unwrap();
    assert_ne!(Tokenizer::config(fitted.tokenizer()).mean, [0.1307]);
}

/// The shipped digits, resized as MNIST's are.
fn mnist() -> ImageTaskConfig {
    let ImageTaskConfig { train, valid, path, .. } = digits();
    ImageTaskConfig { train, valid, path, ..ImageTaskConfig::of_preset(Preset::Mnist) }
}

#[test]
fn native_sizes_have_as_many_rows_and_columns_as_training_images() {
    let config = ImageTaskConfig { resize: Resize::Native { patches: 9 }, ..digits() };
    let (task, splits) = open(config).unwrap();
    assert_eq!(Tokenizer::config(task.tokenizer()).max_patches, [3, 3], "square images");
    let sample = splits.valid.sample(0, None).unwrap();
    assert_eq!(sample.inputs[0].1.len(), 9 + 1, "and the token that says the class");
}

fn blended() -> ImageTaskConfig {
    let blend = Blend { mixup: 0.8, cutmix: 1.0, probability: 0.7 };
    ImageTaskConfig { blend, augment: smalti_image::Augment { shift: 2.0, ..Default::default() }, ..mnist() }
}

#[test]
fn blended_images_ask_for_both_classes_and_only_in_training() {
    let (_, splits) = open(blended()).unwrap();
    let (mut shared, mut tokens) = (0, std::collections::BTreeSet::new());
    for seed in 0..200 {
        let sample = splits.train.sample(3, Some(seed)).unwrap();
        let features = sample.inputs[0].1.groups[0].content.features().unwrap().iter();
        tokens.insert(features.map(|feature| feature.to_bits()).collect::<Vec<_>>());
        match sample.target {
            Target::Shared(shares) => {
                shared += 1;
                let total: f32 = shares.iter().map(|(_, share)| share).sum();
                assert!((1..=2).contains(&shares.len()) && (total - 1.0).abs() < 1e-6, "{shares:?}");
                assert!(shares.iter().all(|(class, share)| *class < 10 && (0.0..=1.0).contains(share)));
            }
            target => assert!(matches!(target, Target::Ids { .. })),
        }
    }
    assert!((110..170).contains(&shared) && tokens.len() > 140, "{shared} of 200, {} differ", tokens.len());
    for i in 0..splits.valid.len() {
        assert!(matches!(splits.valid.sample(i, None).unwrap().target, Target::Ids { .. }));
    }
}

#[test]
fn a_variation_depends_on_the_seed_alone_whatever_thread_makes_it() {
    let (_, splits) = open(blended()).unwrap();
    let sample = |i: usize| {
        let sample = splits.train.sample(i, Some(31 * i as u64)).unwrap();
        (sample.inputs, sample.target)
    };
    let alone: Vec<_> = (0..40).map(sample).collect();
    for workers in [2, 3, 7] {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|worker| {
                    scope.spawn(move || {
                        (worker..40).step_by(workers).map(|i| (i, sample(i))).collect::<Vec<_>>()
                    })
                })
                .collect();
            for (i, made) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
                assert_eq!(made, alone[i], "sample {i} of {workers} workers");
            }
        });
    }
}

/// The loss of a shared target is that of its classes, in their shares, whatever the smoothing.
#[test]
fn the_loss_of_shares_is_the_mean_of_the_losses() {
    let (task, splits) = open(mnist()).unwrap();
    let config = ModelConfig { d_model: 16, n_layers: 1, n_heads: 2, ..ModelConfig::default() };
    let model = Model::new(&config, &[task.spec().clone()], 3, &Device::Cpu).unwrap();
    let sample = splits.valid.sample(0, None).unwrap();
    let loss = |targets: &[Target], smoothing: f32| -> Vec<f64> {
        let samples: Vec<_> =
            targets.iter().map(|target| (0, Sample { target: target.clone(), ..sample.clone() })).collect();
        let batch = collate(model.layouts(), &samples).unwrap();
        let losses = model.loss(&batch, None, smoothing).unwrap();
        losses.iter().map(|l| f64::from(l.sum.tensor().to_scalar::<f32>().unwrap()) / l.weight).collect()
    };
    for smoothing in [0.0, 0.1] {
        let of = |class| loss(&[Target::class(class)], smoothing)[0];
        let shared = loss(&[Target::classes([(4, 0.3), (7, 0.7)])], smoothing)[0];
        assert!((shared - (0.3 * of(4) + 0.7 * of(7))).abs() < 1e-5, "{shared}");
        let batch = [Target::class(4), Target::classes([(2, 0.5), (7, 0.5)]), Target::class(1)];
        let expected = (of(4) + (of(2) + of(7)) / 2.0 + of(1)) / 3.0;
        assert!((loss(&batch, smoothing)[0] - expected).abs() < 1e-5);
    }
    let batch = collate(
        model.layouts(),
        &[(0, Sample { target: Target::classes([(4, 0.25), (4, 0.5), (7, 0.25)]), ..sample.clone() })],
    )
    .unwrap();
    let head = &batch.heads[0];
    assert_eq!((head.rows.clone(), head.documents.len(), head.documents[0].clone()), (vec![49, 49], 1, 0..2));
    let Targets::Ids { ids, weights } = &head.targets else { panic!("{:?}", head.targets) };
    assert_eq!((ids.as_slice(), weights.as_slice()), (&[4, 7][..], &[0.75, 0.25][..]));
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    let blend = Blend { mixup: 1.0, ..Blend::default() };
    let refusal = |config| open(config).err().expect("is refused");
    assert_eq!(
        refusal(ImageTaskConfig { blend, ..digits() }),
        "data.blend: images of different sizes cannot be blended; say data.size"
    );
    let blend = Blend { probability: 2.0, ..blend };
    assert_eq!(
        refusal(ImageTaskConfig { blend, ..mnist() }),
        "data.blend: blend.probability is 2; it must be within 0..=1"
    );
    assert_eq!(
        refusal(ImageTaskConfig { std: None, ..mnist() }),
        "data.mean: and data.std go together; say both or neither"
    );
    assert_eq!(
        refusal(ImageTaskConfig { patch: 0, ..digits() }),
        "image: patch_size is 0 pixels; it must be within 1..=4096"
    );
}
