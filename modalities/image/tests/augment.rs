//! Augmentation of training images: determined by the seed, and of the model's input size.

use smalti_contract::Tokenizer;
use smalti_image::{
    Augment, Erase, Image, ImageConfig, ImageTokenizer, Jitter, RandAugment, RandomCrop, Resize,
};

fn image(width: usize, height: usize, channels: usize) -> Image {
    let pixels = (0..width * height * channels).map(|i| (i * 37 % 256) as u8).collect();
    Image::new(width, height, channels, pixels).unwrap()
}

/// Each augmentation alone, and all together.
fn augmentations() -> Vec<Augment> {
    let off = Augment::default();
    let all = Augment {
        shift: 2.0,
        rotate: 10.0,
        scale: 0.1,
        flip: true,
        crop: Some(RandomCrop::default()),
        rand_augment: Some(RandAugment::default()),
        jitter: Some(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
        erase: Some(Erase::default()),
    };
    vec![
        Augment { shift: 4.0, flip: true, ..off },
        Augment { rotate: 20.0, ..off },
        Augment { crop: all.crop, ..off },
        Augment { rand_augment: all.rand_augment, ..off },
        Augment { jitter: all.jitter, ..off },
        Augment { erase: all.erase, ..off },
        all,
    ]
}

/// Settings with every type of resizing.
fn settings() -> Vec<ImageConfig> {
    let native = ImageConfig {
        image_size: None,
        resize: Resize::Native { patches: 40 },
        max_patches: [12, 12],
        ..ImageConfig::vit(3, 8, [8, 8])
    };
    vec![ImageConfig::vit(1, 8, [32, 24]), ImageConfig::clip(8, 32), ImageConfig::imagenet(8, 40, 32), native]
}

#[test]
fn the_same_seed_gives_the_same_image_and_other_seeds_others() {
    for config in settings() {
        for augment in augmentations() {
            let tokenizer = ImageTokenizer::new(ImageConfig { augment, ..config.clone() }).unwrap();
            let vary = |seed| tokenizer.encode(&tokenizer.augment(image(60, 45, 3), seed)).unwrap();
            assert_eq!(vary(7), vary(7), "{augment:?}");
            let mut seen: Vec<_> = (0..24).map(vary).collect();
            seen.dedup();
            assert!(seen.len() > 8, "{} of 24 differ under {augment:?}", seen.len());
            seen.iter().for_each(|tokens| tokenizer.spec().check(tokens).unwrap());
        }
    }
}

#[test]
fn encoding_an_augmented_image_equals_cutting_the_varied_one() {
    for config in settings() {
        for augment in augmentations() {
            let tokenizer = ImageTokenizer::new(ImageConfig { augment, ..config.clone() }).unwrap();
            for (seed, raw) in (0..).zip([image(60, 45, 3), image(32, 32, 1), image(9, 50, 3)]) {
                let varied = tokenizer.vary(&raw, seed).unwrap();
                let direct = tokenizer.cut(&varied).unwrap();
                assert_eq!(tokenizer.encode(&tokenizer.augment(raw, seed)).unwrap(), direct, "{augment:?}");
            }
        }
    }
}

#[test]
fn one_setting_does_not_change_the_draws_of_another() {
    let vary = |augment| {
        let config = ImageConfig { augment, ..ImageConfig::vit(3, 8, [32, 32]) };
        ImageTokenizer::new(config).unwrap().vary(&image(32, 32, 3), 11).unwrap()
    };
    let shifted = Augment { shift: 3.0, ..Augment::default() };
    let blind = Erase { probability: 0.0, ..Erase::default() };
    assert_eq!(
        vary(shifted),
        vary(Augment { erase: Some(blind), jitter: Some(Jitter::default()), ..shifted })
    );
}

#[test]
fn invalid_augmentations_are_errors() {
    let error_of = |augment| {
        let config = ImageConfig { image_size: None, augment, ..ImageConfig::vit(1, 8, [32, 32]) };
        ImageTokenizer::new(config).err().expect("an error").to_string()
    };
    let off = Augment::default();
    assert_eq!(
        error_of(Augment { crop: Some(RandomCrop::default()), ..off }),
        "image: augment.crop is set; it needs an image_size, to which crops are resized"
    );
    let changes = RandAugment { changes: 0, magnitude: 9.0 };
    assert_eq!(
        error_of(Augment { rand_augment: Some(changes), ..off }),
        "image: augment.rand_augment.changes is 0; it must be within 1..=14"
    );
    let hue = Jitter { hue: 0.6, ..Jitter::default() };
    assert_eq!(
        error_of(Augment { jitter: Some(hue), ..off }),
        "image: augment.jitter.hue is 0.6; it must be within 0..=0.5"
    );
    let area = Erase { area: [0.4, 0.2], ..Erase::default() };
    assert_eq!(
        error_of(Augment { erase: Some(area), ..off }),
        "image: augment.erase.area is [0.4, 0.2]; it must be a range, minimum first, within 0.0001..=1"
    );
}
