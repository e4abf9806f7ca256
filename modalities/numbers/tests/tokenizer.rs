//! Numbers become tokens and come back, in every form; what cannot is refused with what was expected and found.

use proptest::prelude::*;
use smalti_contract::{Content, Tokenizer, Value, testing};
use smalti_numbers::{MuLaw, NumbersConfig, NumbersSettings, NumbersTokenizer, OneOrAll, TokensPer};

fn fitted(settings: NumbersSettings, rows: &[Value]) -> Result<NumbersTokenizer, String> {
    let config = NumbersTokenizer::fit(settings, None, &rows.to_vec()).map_err(|e| e.to_string())?;
    NumbersTokenizer::new(config).map_err(|e| e.to_string())
}

fn vectors(rows: &[&[f32]]) -> Vec<Value> {
    rows.iter().map(|row| Value::vector(row.to_vec())).collect()
}

#[test]
fn every_form_keeps_the_contract() {
    let rows = vectors(&[&[1.0, -200.0, 0.0], &[3.0, 400.0, 0.0], &[2.0, 10.0, 0.0]]);
    let forms = [
        NumbersSettings::default(),
        NumbersSettings { tokens: TokensPer::Each, ..NumbersSettings::default() },
        NumbersSettings { scale: Some(0.0), ..NumbersSettings::default() },
        NumbersSettings { normalize: false, ..NumbersSettings::default() },
        NumbersSettings { mu_law: Some(MuLaw::default()), ..NumbersSettings::default() },
    ];
    for settings in forms {
        let tokenizer = fitted(settings.clone(), &rows).unwrap();
        testing::check(&tokenizer, &[vec![1.5, 7.0, 0.0], vec![-3.0, 900.0, 2.0]])
            .unwrap_or_else(|e| panic!("{settings:?}: {e}"));
    }
    let ids = NumbersSettings { ids: true, ..NumbersSettings::default() };
    let tokenizer = fitted(ids, &[Value::Number(0.0), Value::Number(4.0)]).unwrap();
    testing::check(&tokenizer, &[vec![0.0], vec![4.0]]).unwrap();
    assert_eq!(tokenizer.encode(&vec![3.0]).unwrap().groups[0].content, Content::Ids(vec![3]));
}

#[test]
fn columns_are_measured_one_by_one() {
    let rows = vectors(&[&[1e9, 5.0, 1e-9], &[1e9 + 128.0, 5.0, 3e-9]]);
    let NumbersConfig { mean, std, missing, .. } =
        NumbersTokenizer::fit(NumbersSettings::default(), None, &rows).unwrap();
    assert_eq!((mean[1], std[1]), (5.0, 1.0), "a constant column stays as it is");
    assert_eq!((mean[2], missing), (2e-9, false));
    assert!((std[2] - 1e-9).abs() < 1e-15 && mean[0] == 1e9 + 64.0);
    let given = NumbersSettings {
        mean: Some(OneOrAll::One(1.0)),
        std: Some(OneOrAll::All(vec![1.0, 2.0, 3.0])),
        ..NumbersSettings::default()
    };
    let config = NumbersTokenizer::fit(given, None, &rows).unwrap();
    assert_eq!((config.mean, config.std), (vec![1.0; 3], vec![1.0, 2.0, 3.0]));
    let scaled = NumbersSettings { scale: Some(0.0), ..NumbersSettings::default() };
    let config = NumbersTokenizer::fit(scaled, None, &vectors(&[&[-8.0], &[4.0]])).unwrap();
    assert_eq!((config.mean, config.std), (vec![0.0], vec![8.0]), "the largest magnitude");
}

#[test]
fn a_missing_number_is_told_apart_from_the_mean() {
    let rows = vectors(&[&[1.0, f32::NAN], &[3.0, 8.0], &[2.0, 4.0]]);
    let one = fitted(NumbersSettings::default(), &rows).unwrap();
    let tokens = one.encode(&vec![2.0, f32::NAN]).unwrap();
    assert_eq!(tokens.groups[0].content.features().unwrap(), [0.0, 0.0, 0.0, 1.0]);
    let back = one.decode(&tokens).unwrap();
    assert!(back[0] == 2.0 && back[1].is_nan());
    let each = NumbersSettings { tokens: TokensPer::Each, ..NumbersSettings::default() };
    let tokens = fitted(each, &rows).unwrap().encode(&vec![f32::NAN, 8.0]).unwrap();
    assert_eq!((tokens.len(), &tokens.groups[0].positions[..]), (1, &[1][..]));
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |settings: NumbersSettings, rows: &[Value]| fitted(settings, rows).err().expect("an error");
    let default = NumbersSettings::default;
    let error = refused(default(), &vectors(&[&[1.0, 2.0], &[1.0]]));
    assert_eq!(error, "numbers: expected 2 numbers, as in the first value; found 1");
    assert!(refused(default(), &[Value::Missing]).contains("every row's value is missing"));
    assert!(refused(default(), &[]).contains("every row's value is missing"));
    assert_eq!(refused(default(), &[Value::Text("red".into())]), "expected a number; found the text \"red\"");
    assert!(refused(default(), &vectors(&[&[f32::INFINITY]])).contains("expected finite numbers; found inf"));
    let both = NumbersSettings { ids: true, mu_law: Some(MuLaw::default()), ..default() };
    assert!(refused(both, &[Value::Number(1.0)]).contains("exclude each other"));
    let short = NumbersSettings { mean: Some(OneOrAll::All(vec![1.0])), ..default() };
    assert!(refused(short, &vectors(&[&[1.0, 2.0]])).contains("mean has 1 numbers; a value has 2"));
    let ids = fitted(NumbersSettings { ids: true, ..default() }, &[Value::Number(3.0)]).unwrap();
    for wrong in [4.0, -1.0, 0.5] {
        let error = ids.encode(&vec![wrong]).unwrap_err().to_string();
        assert_eq!(error, format!("expected a whole number from 0 to 3; found {wrong}"));
    }
    let unknown = serde_json::from_str::<NumbersSettings>("{\"normalise\": true}").unwrap_err().to_string();
    assert!(unknown.contains("normalise") && unknown.contains("normalize"), "{unknown}");
}

#[test]
fn noise_is_for_training_and_follows_the_seed() {
    let rows = vectors(&[&[0.0], &[2.0]]);
    let tokenizer = fitted(NumbersSettings { noise: 0.5, ..NumbersSettings::default() }, &rows).unwrap();
    let noisy = |seed| tokenizer.augment(vec![1.0], seed);
    assert_eq!(noisy(1), noisy(1));
    assert_ne!(noisy(1), noisy(2));
    assert_ne!(noisy(1), [1.0]);
}

proptest! {
    #[test]
    fn numbers_come_back(numbers in prop::collection::vec(-1e4_f32..1e4, 1..6), each: bool) {
        let other: Vec<f32> = numbers.iter().map(|x| x * 0.5 + 3.0).collect();
        let tokens = if each { TokensPer::Each } else { TokensPer::One };
        let rows = [Value::vector(numbers.clone()), Value::vector(other)];
        let tokenizer = fitted(NumbersSettings { tokens, ..NumbersSettings::default() }, &rows).unwrap();
        let back = tokenizer.decode(&tokenizer.encode(&numbers).unwrap()).unwrap();
        for (found, number) in back.iter().zip(&numbers) {
            prop_assert!((found - number).abs() <= 1e-3 * number.abs().max(1.0), "{found} of {number}");
        }
    }
}
