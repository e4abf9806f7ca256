//! Settings are fitted to training images, or give an error.

use serde_json::json;
use smalti_contract::{Array, File, Numbers, Registry, TokenizeError, Tokenizer, Value, Values};
use smalti_image::{
    Augment, Filter, Image, ImageConfig, ImageSettings, ImageTokenizer, Preset, RandomCrop, Resize, fit,
    write_jpeg,
};
use std::cell::{Cell, RefCell};

fn image(height: usize, width: usize, channels: usize) -> Image {
    let pixels = (0..height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
    Image::new(width, height, channels, pixels).unwrap()
}

fn value(image: &Image) -> Value {
    let shape = vec![image.height, image.width, image.channels];
    Value::Array(Array { shape, numbers: Numbers::U8(image.pixels.clone()) })
}

fn values(images: &[Image]) -> Vec<Value> {
    images.iter().map(value).collect()
}

fn fitted(settings: ImageSettings, values: &dyn Values) -> ImageConfig {
    ImageTokenizer::fit(settings, None, values).unwrap()
}

fn error_of(settings: ImageSettings, values: &dyn Values) -> String {
    ImageTokenizer::fit(settings, None, values).unwrap_err().to_string()
}

/// Many images, with a count of those that are read.
struct Counted {
    len: usize,
    read: Cell<usize>,
}

impl Counted {
    fn new(len: usize) -> Self {
        Self { len, read: Cell::new(0) }
    }
}

impl Values for Counted {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        self.read.set(self.read.get() + 1);
        Ok(value(&image(4, 4 + 4 * (index * 2 / self.len), 1)))
    }
}

#[test]
fn missing_settings_are_fitted_to_the_images() {
    let images = [image(8, 12, 3), image(20, 4, 3), image(4, 4, 1)];
    let mut rows = values(&images);
    rows.insert(0, Value::Missing);
    let config = fitted(ImageSettings { patch_size: Some(4), ..ImageSettings::default() }, &rows);
    let (mean, std) = fit::normalisation(&images, 3).unwrap();
    assert_eq!((config.num_channels, config.image_size, config.max_patches), (3, None, [5, 3]));
    assert_eq!((&config.mean, &config.std), (&mean, &std));
    let grey = fitted(ImageSettings { num_channels: Some(1), ..ImageSettings::default() }, &rows);
    assert_eq!((grey.mean, grey.std), fit::normalisation(&images, 1).unwrap());
    let sized = ImageSettings { image_size: Some([24, 8]), patch_size: Some(8), ..ImageSettings::default() };
    assert_eq!(fitted(sized, &rows).max_patches, [3, 1]);
    let native = ImageSettings { resize: Some(Resize::Native { patches: 9 }), ..ImageSettings::default() };
    assert_eq!(fitted(native, &values(&[image(8, 8, 1)])).max_patches, [3, 3]);
}

/// Values that keep the notes of a fit.
struct Noted {
    values: Vec<Value>,
    notes: RefCell<Vec<String>>,
}

impl Values for Noted {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        Ok(self.values[index].clone())
    }

    fn note(&self, note: &str) {
        self.notes.borrow_mut().push(note.into());
    }
}

/// The fitted configuration, and the note of the fit.
fn noted(settings: ImageSettings, values: Vec<Value>) -> (ImageConfig, Option<String>) {
    let values = Noted { values, notes: RefCell::default() };
    let config = fitted(settings, &values);
    let notes = values.notes.into_inner();
    assert!(notes.len() < 2, "{notes:?}");
    (config, notes.into_iter().next())
}

#[test]
fn channels_size_and_patches_are_guessed_and_noted() {
    let off = ImageSettings::default;
    let digits = vec![value(&image(28, 28, 1)); 1000];
    let (config, note) = noted(off(), digits.clone());
    let found = (config.num_channels, config.image_size, config.patch_size, config.max_patches);
    assert_eq!(found, (1, Some([28, 28]), 4, [7, 7]));
    assert_eq!(
        note.unwrap(),
        "28×28 pixels, 1 channel, patches of 4×4, from 200 of 1000 images; set image_size, num_channels, patch_size to \
         change them"
    );

    let file = |height, width, channels| {
        let bytes = write_jpeg(&image(height, width, channels), 90).unwrap();
        Value::File(File { name: "a.jpg".into(), bytes })
    };
    let (config, note) = noted(off(), vec![file(60, 80, 1), file(90, 64, 3), file(70, 64, 1)]);
    let found = (config.num_channels, config.image_size, config.patch_size, config.max_patches);
    assert_eq!(found, (3, Some([72, 72]), 8, [9, 9]));
    assert!(
        note.unwrap()
            .starts_with("resized to 72×72 pixels, 3 channels, patches of 8×8, from 3 of 3 images; ")
    );

    let (config, note) = noted(ImageSettings { patch_size: Some(7), ..off() }, digits.clone());
    assert_eq!((config.image_size, config.max_patches), (None, [4, 4]), "each image keeps its size");
    assert_eq!(note.unwrap(), "1 channel, from 200 of 1000 images; set num_channels to change it");
    let sized = ImageSettings { image_size: Some([96, 64]), num_channels: Some(1), ..off() };
    let (config, note) = noted(sized, digits);
    assert_eq!((config.patch_size, config.max_patches, note), (8, [12, 8], None));
}

#[test]
fn crops_and_blends_need_no_size() {
    let augment = Augment { crop: Some(RandomCrop::default()), ..Augment::default() };
    let settings = ImageSettings { augment, ..ImageSettings::default() };
    assert_eq!(fitted(settings, &values(&[image(32, 32, 3)])).image_size, Some([32, 32]));
}

#[test]
fn an_encoded_file_is_an_image() {
    let image = image(8, 8, 3);
    let file = |bytes| vec![Value::File(File { name: "a.jpg".into(), bytes })];
    let jpeg = write_jpeg(&image, 100).unwrap();
    assert_eq!(fitted(ImageSettings::default(), &file(jpeg)).num_channels, 3);
    assert!(
        error_of(ImageSettings::default(), &file(b"GIF89a".to_vec())).starts_with("not readable as image")
    );
}

#[test]
fn constant_images_are_not_scaled() {
    let black = Image::new(4, 4, 1, vec![0; 16]).unwrap();
    let config = fitted(ImageSettings::default(), &values(&[black.clone(), black.clone()]));
    assert_eq!((config.mean.clone(), config.std.clone()), (vec![0.0], vec![1.0]));
    let tokens = ImageTokenizer::new(config).unwrap().encode(&black).unwrap();
    assert!(tokens.groups[0].content.features().unwrap().iter().all(|&feature| feature == 0.0));
}

#[test]
fn no_more_images_are_read_than_needed() {
    let images = Counted::new(20_000);
    let config = fitted(ImageSettings::default(), &images);
    assert_eq!((images.read.get(), config.image_size), (5_200, Some([4, 4])), "200 headers, then pixels");
    let known = ImageSettings { mean: Some(vec![0.5]), std: Some(vec![0.5]), ..ImageSettings::default() };
    let images = Counted::new(20_000);
    fitted(ImageSettings { image_size: Some([8, 8]), ..known.clone() }, &images);
    assert_eq!(images.read.get(), 0);
    let guessed = Counted::new(20_000);
    fitted(known.clone(), &guessed);
    assert_eq!(guessed.read.get(), 200);
    fitted(ImageSettings { max_patches: Some([9, 9]), ..known }, &images);
    assert_eq!(images.read.get(), 0);
    fitted(ImageSettings { preset: Some(Preset::Mnist), ..ImageSettings::default() }, &images);
    assert_eq!(images.read.get(), 0);
}

#[test]
fn a_preset_gives_the_missing_settings() {
    let settings = ImageSettings {
        preset: Some(Preset::Clip),
        patch_size: Some(32),
        filter: Some(Filter::Nearest),
        augment: Augment { flip: true, ..Augment::default() },
        ..ImageSettings::default()
    };
    let config = fitted(settings, &Counted::new(0));
    let expected = ImageConfig {
        filter: Filter::Nearest,
        augment: Augment { flip: true, ..Augment::default() },
        ..ImageConfig::clip(32, 224)
    };
    assert_eq!(config, expected);
    for preset in [Preset::Vit, Preset::Clip, Preset::Imagenet, Preset::Cifar, Preset::Mnist] {
        let settings = ImageSettings { preset: Some(preset), ..ImageSettings::default() };
        assert_eq!(fitted(settings, &Counted::new(0)), preset.config());
    }
}

#[test]
fn a_run_that_starts_from_another_keeps_its_settings() {
    let augment = Augment { flip: true, ..Augment::default() };
    let before = ImageConfig { max_patches: [15, 14], augment, ..ImageConfig::imagenet(16, 256, 224) };
    let fit = |settings| ImageTokenizer::fit(settings, Some(before.clone()), &Counted::new(0)).unwrap();
    let kept = ImageConfig { augment: Augment::default(), ..before.clone() };
    assert_eq!(fit(ImageSettings::default()), kept);
    let larger = ImageSettings {
        image_size: Some([320, 320]),
        resize: Some(Resize::Stretch),
        ..ImageSettings::default()
    };
    let expected =
        ImageConfig { image_size: Some([320, 320]), resize: Resize::Stretch, max_patches: [20, 20], ..kept };
    assert_eq!(fit(larger), expected);
    let other = ImageSettings { preset: Some(Preset::Mnist), ..ImageSettings::default() };
    assert_eq!(fit(other), Preset::Mnist.config());
}

#[test]
fn a_size_and_native_sizes_replace_each_other_in_a_run_that_starts_from_another() {
    let fit = |settings, before| ImageTokenizer::fit(settings, Some(before), &Counted::new(0)).unwrap();
    let fixed = ImageConfig::vit(3, 16, [224, 224]);
    let native = ImageConfig {
        image_size: None,
        resize: Resize::Native { patches: 9 },
        max_patches: [9, 9],
        ..fixed.clone()
    };
    let to_native = ImageSettings {
        resize: Some(Resize::Native { patches: 9 }),
        max_patches: Some([9, 9]),
        ..ImageSettings::default()
    };
    assert_eq!(fit(to_native, fixed.clone()), native);
    let to_fixed = ImageSettings { image_size: Some([224, 224]), ..ImageSettings::default() };
    assert_eq!(fit(to_fixed, native), fixed);
}

#[test]
fn invalid_settings_are_errors() {
    let off = ImageSettings::default;
    let images = Counted::new(9);
    assert_eq!(
        error_of(ImageSettings { patch_size: Some(0), ..off() }, &images),
        "image: patch_size is 0 pixels; it must be within 1..=4096"
    );
    assert_eq!(
        error_of(ImageSettings { mean: Some(vec![0.5]), ..off() }, &images),
        "image: expected both mean and std, or neither; found mean without std"
    );
    assert_eq!(
        error_of(ImageSettings { num_channels: Some(3), preset: Some(Preset::Mnist), ..off() }, &images),
        "image: mean has 1 values; it must have one for each of 3 channels"
    );
    assert_eq!(
        error_of(ImageSettings { resize: Some(Resize::Native { patches: 0 }), ..off() }, &images),
        "image: resize.native.patches is 0; it must be within 1..=64000000"
    );
    assert_eq!(images.read.get(), 0, "settings are checked before the images are read");
    for (settings, setting) in [
        (off(), "num_channels"),
        (ImageSettings { num_channels: Some(1), ..off() }, "max_patches"),
        (ImageSettings { num_channels: Some(1), image_size: Some([8, 8]), ..off() }, "mean and std"),
    ] {
        assert_eq!(
            error_of(settings, &vec![Value::Missing]),
            format!(
                "image: {setting} is not set, and there is no training image to find it in; set {setting} or a preset"
            )
        );
    }
}

#[test]
fn values_that_are_no_images_are_errors() {
    let problem = |value: Value| {
        let problem = error_of(ImageSettings::default(), &vec![Value::Missing, value.clone()]);
        let tokenizer = ImageTokenizer::new(ImageConfig::mnist(4)).unwrap();
        assert_eq!(tokenizer.read(value).unwrap_err().to_string(), problem);
        problem
    };
    let expected =
        "expected an image: a file, or an array of bytes [height, width] or [height, width, channels]";
    assert_eq!(problem(Value::Number(3.0)), format!("{expected}; found a number"));
    assert_eq!(
        problem(Value::Text("a.png".into())),
        format!(
            "{expected}; found text; a column of paths of files is named path, file_name or NAME.path, such as image.path"
        )
    );
    assert_eq!(problem(Value::vector([0.5; 4])), format!("{expected}; found an array [4] of real numbers"));
    let bytes = |shape: Vec<usize>| {
        let numbers = Numbers::U8(vec![0; shape.iter().product()]);
        Value::Array(Array { shape, numbers })
    };
    assert_eq!(problem(bytes(vec![16])), format!("{expected}; found an array [16]"));
    assert_eq!(problem(bytes(vec![4, 4, 2])), "image has 2 channels; it must have 1 (grey) or 3 (RGB)");
}

#[test]
fn settings_survive_json() {
    let mut registry = Registry::new();
    registry.register::<ImageTokenizer>().unwrap();
    let rows = values(&[image(32, 32, 3)]);
    let fit = |settings| registry.fit("image", &settings, None, &rows);
    let tokenizer =
        fit(json!({"patch_size": 16, "resize": {"crop": {"shortest_edge": 48}}, "image_size": [32, 48]}));
    assert_eq!(tokenizer.unwrap().spec().kinds[0].axes[1].size, 3);
    let message = |settings| fit(settings).err().expect("an error").to_string();
    assert_eq!(
        message(json!({"patch": 16})),
        "image: unknown field `patch`, expected one of `preset`, `num_channels`, `patch_size`, `stride`, `image_size`, \
         `resize`, `filter`, `background`, `max_patches`, `permute`, `mean`, `std`, `augment`, `blend`"
    );
    assert!(message(json!({"preset": "vgg"})).contains("expected one of `vit`, `clip`, `imagenet`"));
    let settings = ImageSettings {
        preset: Some(Preset::Vit),
        image_size: Some([96, 96]),
        mean: Some(vec![0.5; 3]),
        ..ImageSettings::default()
    };
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(serde_json::from_value::<ImageSettings>(json).unwrap(), settings);
}
